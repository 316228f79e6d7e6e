//go:build unix

package postgres

import (
	"os/exec"
	"syscall"
)

// leadGroup makes the command lead a process group of its own, which ends as a whole when the command is called off. The function returned ends
// what is left of the group.
func leadGroup(cmd *exec.Cmd) func() {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	return func() { _ = kill() } // nobody may be left
}
