package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// child is a program under measurement. It dies with this process.
type child struct {
	name  string
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended and was waited for
	err   error         // how it ended; valid once done is closed
	since time.Time
	errs  *tail
}

// spawn starts a program with a bare environment. Standard error goes to its tail, and line by line to each, if given.
func spawn(name string, cmd *exec.Cmd, each func(line []byte)) (*child, error) {
	c := &child{name: name, cmd: cmd, done: make(chan struct{}), since: time.Now(), errs: &tail{each: each}}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C", "TZ=UTC"}
	cmd.Stderr = c.errs
	cmd.SysProcAttr = childAttributes()
	started := make(chan error, 1)
	go func() {
		// The signal at the parent's death is sent when the starting thread ends: so that thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// cpu is the CPU time so far, also after the end.
func (c *child) cpu() time.Duration {
	select {
	case <-c.done:
		return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
	default:
		return cpuOf(c.pid())
	}
}

// alive is nil while the program runs, else says how it ended.
func (c *child) alive() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s has ended: %w\n%s", c.name, errors.Join(c.err, errors.New("unexpectedly")), c.errs.text())
	default:
		return nil
	}
}

// kill ends the program at once.
func (c *child) kill() {
	if c == nil {
		return
	}
	_ = c.cmd.Process.Kill() // it may have ended by itself
	<-c.done
}

// terminate asks the program to end and waits for that.
func (c *child) terminate(ctx context.Context) error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		c.kill()
		return ctx.Err()
	}
}

// tail keeps the last part of what a program says.
type tail struct {
	each func(line []byte)

	mu      sync.Mutex
	kept    []byte
	partial []byte
}

const tailBytes = 8 << 10

// Write takes what the program says.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	t.kept = t.kept[max(0, len(t.kept)-tailBytes):]
	if t.each == nil {
		return len(p), nil
	}
	t.partial = append(t.partial, p...)
	for {
		line, rest, ok := bytes.Cut(t.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		t.each(line)
		t.partial = rest
	}
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
