package throwaway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user the server runs as. A nil credential is the user of this process.
type account struct {
	credential *syscall.Credential
}

// serverAccount is the current user, unless that is root: then "postgres" or, without it, "nobody", which needs nothing added to the system.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return &account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return nil, fmt.Errorf("user %q: %w", name, err)
		}
		return &account{credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return nil, errors.New(`postgres does not run as root, and there is no user "postgres" or "nobody" to run it as`)
}

// command is a command of this user in a small, fixed environment.
func (a *account) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = childAttributes()
	cmd.SysProcAttr.Credential = a.credential
	// It leads a process group: initdb has a shell and a server below it that would outlive it.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// tempDir makes the cluster's directory, owned by the account, below the parent or the first temporary directory that it can reach. Unix socket
// paths are limited to about 100 bytes, so a long TMPDIR is passed over.
func (a *account) tempDir(parent string) (string, error) {
	candidates := []string{parent}
	if parent == "" {
		candidates = []string{os.TempDir(), "/tmp", "/var/tmp"}
	}
	const longest = 60
	for _, candidate := range candidates {
		if resolved, err := filepath.EvalSymlinks(candidate); err != nil || len(resolved) > longest || !a.canReach(resolved) {
			continue
		}
		dir, err := os.MkdirTemp(candidate, "sequin-pg-")
		if err != nil {
			continue
		}
		return dir, a.give(dir)
	}
	return "", fmt.Errorf("the server's user can reach none of %q by a path of at most %d bytes", candidates, longest)
}

// give makes the account the owner of a file.
func (a *account) give(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Chown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// canReach reports whether the account may enter a directory and all above it.
func (a *account) canReach(path string) bool {
	if a.credential == nil {
		return true
	}
	for {
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		if !a.may(info, 1) {
			return false
		}
		if path == "/" {
			return true
		}
		path = filepath.Dir(path)
	}
}

// may looks at the permission bits of the class that the account belongs to.
func (a *account) may(info fs.FileInfo, bit fs.FileMode) bool {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case stat.Uid == a.credential.Uid:
			bit <<= 6
		case stat.Gid == a.credential.Gid:
			bit <<= 3
		}
	}
	return info.Mode().Perm()&bit != 0
}

// reach returns an installation that the account can run: the given one, or a copy of it, when it lies below a directory that is closed to others,
// such as root's home. Links are as good as a copy, but the directory may be on another file system.
func (a *account) reach(in Installation, dir string) (Installation, error) {
	if a.canReach(in.Bin) {
		return in, nil
	}
	root := filepath.Dir(in.Bin)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dir, relative)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755) //nolint:gosec // the server's user has to enter it; the directory above is its own
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		default:
			if os.Link(path, target) == nil {
				return nil
			}
			return copyFile(path, target)
		}
	})
	if err != nil {
		return in, fmt.Errorf("copy postgres to where the server's user can reach it: %w", err)
	}
	in.Bin = filepath.Join(dir, filepath.Base(in.Bin))
	return in, nil
}

func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, info.Mode().Perm())
}
