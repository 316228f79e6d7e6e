package harness

import "syscall"

// sysProcAttr ends the process with the test that started it.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
