package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes end the child with this process, and keep the terminal's Ctrl-C from it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// settle writes back what is in memory, so that a measurement does not pay for what came before it.
func settle() { unix.Sync() }

// fileSystem names the file system that holds a directory.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return "unknown"
	}
	switch int64(st.Type) { //nolint:unconvert // its type differs between architectures
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	}
	return "another file system"
}
