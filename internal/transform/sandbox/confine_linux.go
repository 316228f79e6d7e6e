package sandbox

import (
	"errors"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// executable is this process's own binary, also after the file was replaced by a newer one: both ends speak the same protocol.
func executable() string { return "/proc/self/exe" }

// attributes let no worker outlive the server.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

const (
	maxFiles = 256     // pipes, the poller, and what runtimes keep memory in
	hardBase = 1 << 30 // of data: the runtimes, and the compiling of large modules
)

// confine gives up what a worker does not need. What the system does not allow to give up is kept: it is one wall of several.
func confine(l Limits) {
	closeInherited()
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_NOFILE: maxFiles,
		unix.RLIMIT_FSIZE:  64 << 20,                      // for the cache of compiled code
		unix.RLIMIT_DATA:   hardBase + 4*uint64(l.Memory), //nolint:gosec // positive
	} {
		_ = unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit})
	}
	// Of all threads, where that is possible; else of this one and those that it starts.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	// If the machine has no memory left, it is a worker that goes, and not the server.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	debug.SetMaxStack(maxStack)
}

const maxStack = 64 << 20

// closeInherited closes what the server inherited itself and passes on unknowingly. The Go runtime's own descriptors are anonymous.
func closeInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if errors.Is(err, os.ErrNotExist) || strings.HasPrefix(target, "anon_inode:") {
			continue
		}
		_ = unix.Close(fd)
	}
}
