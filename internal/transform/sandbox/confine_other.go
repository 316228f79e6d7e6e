//go:build !linux

package sandbox

import (
	"os"
	"runtime/debug"
	"syscall"
)

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// attributes are the default: a worker notices that its standard input has ended, and the watchdog ends one that is busy.
func attributes() *syscall.SysProcAttr { return nil }

// confine leaves memory to the watchdog here.
func confine(Limits) { debug.SetMaxStack(maxStack) }

const maxStack = 64 << 20
