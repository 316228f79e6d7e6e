//go:build !unix

package postgres

import "os/exec"

// leadGroup leaves the command as it is: this system has no process groups, and the command alone is ended when it is called off.
func leadGroup(*exec.Cmd) func() { return func() {} }
