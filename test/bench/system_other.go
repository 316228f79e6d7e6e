//go:build !linux

package main

import "syscall"

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func settle() {}

func fileSystem(string) string { return "unknown" }
