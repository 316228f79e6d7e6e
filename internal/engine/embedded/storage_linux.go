package embedded

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ephemeralStorage names the file system under dir when it does not outlive the machine or container, and is "" otherwise. It follows dir
// upwards to what exists.
func ephemeralStorage(dir string) (string, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return "", &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		switch int64(st.Type) { //nolint:unconvert // its size differs between architectures
		case unix.TMPFS_MAGIC:
			return "tmpfs", nil
		case unix.RAMFS_MAGIC:
			return "ramfs", nil
		case unix.OVERLAYFS_SUPER_MAGIC:
			return "overlay file system of a container", nil
		}
		return "", nil
	}
}
