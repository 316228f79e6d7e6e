package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The sinks: two that the demonstration empties, and one for whoever watches.
const (
	pulled = "pull"
	pushed = "webhook"
	yours  = "yours"
)

const (
	apiAddr  = "127.0.0.1:7376"
	metAddr  = "127.0.0.1:8376"
	anywhere = "127.0.0.1:0"
)

// readyTime is how long Sequin may take from its start until changes flow; a busy machine is slow.
const readyTime = 60 * time.Second

// secret is a password or a token that nobody else knows: other users of the machine reach loopback too.
func secret() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// yaml is the configuration: the database over its unix socket, which is faster than TCP, and three sinks.
func (d *demo) yaml() string {
	return fmt.Sprintf(`account: {name: demo}
api_tokens: [{name: demo, token: %s}]
databases:
  - name: shop
    hostname: %q
    port: %d
    database: postgres
    username: postgres
    password: not asked for on the socket
    slot: {name: demo, create_if_not_exists: true}
    publication: {name: demo, create_if_not_exists: true}
http_endpoints:
  - {name: receiver, url: %q}
sinks:
  - {name: %s, database: shop, destination: {type: sequin_stream}}
  - {name: %s, database: shop, destination: {type: webhook, http_endpoint: receiver, batch: false}}
  - {name: %s, database: shop, destination: {type: sequin_stream}}
`, d.token, d.pg.SocketDir(), d.pg.Port(), d.hook.url, pulled, pushed, yours)
}

// serve starts Sequin and waits until it listens: at its usual addresses if they are free, else anywhere.
func (d *demo) serve(ctx context.Context) error {
	d.token = secret()
	config := filepath.Join(d.dir, "sequin.yaml")
	if err := os.WriteFile(config, []byte(d.yaml()), 0o600); err != nil {
		return err
	}
	api, metrics := address(ctx, apiAddr), address(ctx, metAddr)
	err := d.launch(ctx, config, api, metrics)
	if errors.Is(err, errEnded) && (api == apiAddr || metrics == metAddr) {
		err = d.launch(ctx, config, anywhere, anywhere) // somebody may have been faster
	}
	return err
}

func (d *demo) launch(ctx context.Context, config, api, metrics string) error {
	ready := make(chan string, 1)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), d.opts.binary, "serve", "--config", config, "--data-dir", filepath.Join(d.dir, "data"), "--ephemeral",
		"--listen", api, "--metrics-listen", metrics, "--log-format", "json", "--shutdown-timeout", "5s")
	var err error
	d.sequin, err = spawn(cmd, func(line []byte) {
		var said struct{ Msg, Listen, Metrics string }
		if json.Unmarshal(line, &said) == nil && said.Msg == "ready" {
			d.metrics = "http://" + said.Metrics + "/metrics"
			ready <- "http://" + said.Listen
		}
	})
	if err != nil {
		return err
	}
	select {
	case d.api = <-ready:
		return nil
	case <-d.sequin.done:
		return d.sequin.ended()
	case <-time.After(readyTime):
		return fmt.Errorf("sequin does not listen after %s\n%s", readyTime, d.sequin.said())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// address is the usual one if it is free, else one with any free port.
func address(ctx context.Context, usual string) string {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", usual)
	if err != nil || l.Close() != nil {
		return anywhere
	}
	return usual
}

// await waits until the slot streams and every sink runs: what is changed before that is nobody's.
func (d *demo) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTime, fmt.Errorf("sequin is not healthy after %s", readyTime))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, body, err := d.call(ctx, http.MethodGet, "/healthz", "")
		if err == nil && status == http.StatusOK && !bytes.Contains(body, []byte(`"initializing"`)) {
			return nil
		}
		select {
		case <-tick.C:
		case <-d.sequin.done:
			return d.sequin.ended()
		case <-ctx.Done():
			return fmt.Errorf("%w: %s\n%s", context.Cause(ctx), body, d.sequin.said())
		}
	}
}

// child is the program. It dies with this process where the system can arrange that.
type child struct {
	cmd  *exec.Cmd
	each func(line []byte)
	done chan struct{} // closed when it has ended and was waited for

	mu   sync.Mutex
	rest []byte
	last []string // lines of its log
}

func spawn(cmd *exec.Cmd, each func(line []byte)) (*child, error) {
	c := &child{cmd: cmd, each: each, done: make(chan struct{})}
	cmd.Stderr = c
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
			_ = cmd.Wait() // ended tells
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return c, nil
}

// Write takes what the program logs.
func (c *child) Write(p []byte) (int, error) {
	const kept = 30
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, p...)
	for {
		line, rest, ok := bytes.Cut(c.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		c.each(line)
		c.last = append(c.last, string(line))
		c.last = c.last[max(0, len(c.last)-kept):]
		c.rest = rest
	}
}

// said is the end of the log.
func (c *child) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.last, "\n")
}

var errEnded = errors.New("sequin has ended")

// ended says how the program ended, which it should not have done.
func (c *child) ended() error {
	return fmt.Errorf("%w: %s\n%s", errEnded, c.cmd.ProcessState, c.said())
}

// stop asks the program to drain and end, and ends it when that takes too long.
func (c *child) stop(patience time.Duration) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-c.done:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}
