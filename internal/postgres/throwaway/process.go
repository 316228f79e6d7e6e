package throwaway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A shutdown is the signal that asks the postmaster for one of its shutdown modes.
type shutdown syscall.Signal

const (
	fast      = shutdown(syscall.SIGINT)
	immediate = shutdown(syscall.SIGQUIT)
)

// process is a child; done is closed when it has ended and was waited for. err says how it ended.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// spawn starts a child that dies with this process where the system can arrange that.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// Linux sends the parent-death signal when the starting thread ends, not the process; so this thread waits until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	return p, <-started
}

// run runs a child to its end and returns what it printed.
func run(cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := spawn(cmd)
	if err == nil {
		<-p.done
		err = p.err
	}
	return out.Bytes(), err
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end shuts the postmaster down and waits for it. When ctx is done first it is killed, and end reports false.
func (p *process) end(ctx context.Context, mode shutdown) bool {
	if err := p.cmd.Process.Signal(syscall.Signal(mode)); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false
	}
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		_ = p.cmd.Process.Kill() // it has ended by itself otherwise
		<-p.done
		return false
	}
}

// launch starts the postmaster as a direct child: pg_ctl would make it a daemon that nobody waits for.
func (c *Cluster) launch(ctx context.Context) (*process, error) {
	// A postmaster that was killed leaves its file behind, and ready must not read an old one.
	if err := os.Remove(c.pidFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	log, err := os.OpenFile(c.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	cmd := c.account.command(context.WithoutCancel(ctx), filepath.Join(c.installation.Bin, "postgres"), "-D", c.DataDir())
	cmd.Stdout, cmd.Stderr = log, log
	return spawn(cmd)
}

func (c *Cluster) pidFile() string { return filepath.Join(c.DataDir(), "postmaster.pid") }

// ready waits until the postmaster has written "ready" to the eighth line of its pid file, which is how pg_ctl waits.
func (c *Cluster) ready(ctx context.Context, p *process) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if content, err := os.ReadFile(c.pidFile()); err == nil {
			lines := strings.Split(string(content), "\n")
			if len(lines) >= 8 && lines[0] == strconv.Itoa(p.pid()) && strings.TrimSpace(lines[7]) == "ready" {
				return nil
			}
		}
		select {
		case <-p.done:
			return errors.New("the server ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (c *Cluster) logFile() string { return filepath.Join(c.dir, "log") }

// LogTail returns the last lines of the server's log.
func (c *Cluster) LogTail(lines int) string {
	content, err := os.ReadFile(c.logFile())
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(content, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

func (c *Cluster) portWasTaken() bool {
	return strings.Contains(c.LogTail(20), "could not create any TCP/IP sockets")
}

// freePort picks a port below the ranges from which systems give out ports, so that nobody gets it while the server is restarting.
func freePort(ctx context.Context) (int, error) {
	const first, count = 20000, 12000
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(count))
		if err != nil {
			return 0, err
		}
		port := first + int(n.Int64())
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d", first, first+count)
}
