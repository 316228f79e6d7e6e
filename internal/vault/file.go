package vault

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
)

// fileHead begins the file, for whoever opens it.
const fileHead = `# The keys that open the secrets in this data directory, the current one first. Without them the secrets are lost: back this
# file up, apart from the directory.
`

// maxFile is more than any file of keys has.
const maxFile = 1 << 20

// fileMode lets nobody else read the keys.
const fileMode = 0o600

// readKeys reads the file; one that is not there has no keys.
func readKeys(path string) ([]*key, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, err)
	}
	// Access for the group is let pass: where a volume belongs to a group, as under Kubernetes' fsGroup, it is given at each start.
	if open := info.Mode().Perm() & 0o007; open != 0 {
		return nil, problem.New(CodeKeyUnreadable, "vault key file %q is open to every user of this machine", path).
			WithDetail("its mode is %04o", info.Mode().Perm()).WithHint("chmod 600 %s", path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, unreadable(path, err)
	}
	return parseFile(path, content)
}

// parseFile reads keys, one a line. Empty lines and those that begin with # are left out; anything else is a mistake that is named by its line.
func parseFile(path string, content []byte) ([]*key, error) {
	var keys []*key
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := parseKey(line)
		if err != nil {
			return nil, problem.New(CodeKeyUnreadable, "vault key file %q is damaged", path).WithDetail("line %d %v", n, err).WithHint("%s", restoreHint)
		}
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, unreadable(path, err)
	}
	if len(keys) == 0 {
		return nil, problem.New(CodeKeyUnreadable, "vault key file %q holds no key", path).WithHint("%s", restoreHint)
	}
	return keys, nil
}

const restoreHint = "restore it from a backup; only if nothing was sealed yet, remove it, and a new one is made"

func unreadable(path string, err error) error {
	return problem.New(CodeKeyUnreadable, "vault key file %q cannot be read or written", path).WithDetail("%v", err).Because(err).
		WithHint("make it a file that this user may read and write, in a directory that it may write")
}

// makeFile makes the first key.
func makeFile(path string) ([]*key, error) {
	if path == "" {
		return nil, problem.New(CodeKeyInvalid, "there is no vault key, and no file to keep one in").
			WithHint("give a vault key: openssl rand -base64 32")
	}
	first, err := randomKey()
	if err != nil {
		return nil, err
	}
	keys := []*key{first}
	return keys, writeKeys(path, keys)
}

// writeKeys replaces the file: a crash leaves the old one or the new one, and when it returns nil the new one is durable.
func writeKeys(path string, keys []*key) error {
	content := []byte(fileHead)
	for _, k := range keys {
		content = base64.StdEncoding.AppendEncode(content, k.secret)
		content = append(content, '\n')
	}
	temporary := path + ".new"
	err := writeSynced(temporary, content)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return unreadable(path, err)
	}
	return nil
}

// writeSynced makes the file anew, so that its mode is ours even where one of that name was left.
func writeSynced(path string, content []byte) (err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// removeFile removes the file durably; one that is not there is fine.
func removeFile(path string) error {
	if path == "" {
		return nil
	}
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return unreadable(path, err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
