//go:build !linux

package throwaway

import "syscall"

// childAttributes put a child into a process group of its own, out of reach of the terminal's Ctrl-C. The watchdog stops it when this process
// dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
