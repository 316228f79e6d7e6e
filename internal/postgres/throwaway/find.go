package throwaway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Supported lists the major versions of Postgres that the product works with, oldest first.
var Supported = []int{12, 13, 14, 15, 16, 17, 18}

// ErrNotFound is returned when no fitting server is installed, and none could be fetched.
var ErrNotFound = errors.New("postgres not found")

// Installation is a set of Postgres server programs.
type Installation struct {
	Bin     string // the directory that holds postgres and initdb
	Major   int
	Version string // as the server tells it, such as "15.18"
}

// Find returns an installation of the given major version, or the first supported one if major is 0. It looks in PATH, where the packages of
// Linux distributions, Homebrew and Postgres.app put it, and in CacheDir.
func Find(ctx context.Context, major int) (Installation, error) {
	for _, bin := range candidates() {
		found, ok := inspect(ctx, bin)
		if ok && slices.Contains(Supported, found.Major) && (major == 0 || found.Major == major) {
			return found, nil
		}
	}
	what, target := "PostgreSQL server", "all"
	if major != 0 {
		what, target = fmt.Sprintf("PostgreSQL %d server", major), strconv.Itoa(major)
	}
	return Installation{}, fmt.Errorf("%w: no %s in PATH, in the usual directories or in %s; fetch one with: make pg-%s",
		ErrNotFound, what, CacheDir(), target)
}

// CacheDir is where fetched installations are kept, one directory per major version: .cache/postgres of the checkout this process works in, or
// else of the user.
func CacheDir() string {
	if dir, err := os.Getwd(); err == nil {
		for {
			content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && strings.HasPrefix(string(content), "module github.com/sequinstream/sequin\n") {
				return filepath.Join(dir, ".cache", "postgres")
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "sequin", "postgres")
	}
	return filepath.Join(os.TempDir(), "sequin-postgres")
}

// candidates lists directories that may hold a server, the preferred ones first. Of several in one place, the newest goes first.
func candidates() []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/%d/bin",
		"/usr/pgsql-%d/bin",
		"/usr/local/pgsql-%d/bin",
		"/opt/homebrew/opt/postgresql@%d/bin",
		"/usr/local/opt/postgresql@%d/bin",
		"/Applications/Postgres.app/Contents/Versions/%d/bin",
		strings.ReplaceAll(CacheDir(), "%", "%%") + "/%d/bin",
	} {
		for _, major := range slices.Backward(Supported) {
			dirs = append(dirs, fmt.Sprintf(pattern, major))
		}
	}
	return append(dirs, "/usr/bin", "/usr/local/pgsql/bin")
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[.\w]*)`)

// inspect asks the server in a directory for its version.
func inspect(ctx context.Context, bin string) (Installation, bool) {
	for _, program := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(bin, program)); err != nil || info.Mode().Perm()&0o111 == 0 {
			return Installation{}, false
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return Installation{}, false
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return Installation{}, false
	}
	major, err := strconv.Atoi(string(match[2]))
	return Installation{Bin: bin, Major: major, Version: string(match[1])}, err == nil
}
