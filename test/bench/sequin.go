package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// token opens the API.
const token = "bench-token-0123456789abcdef"

// config is a sequin.yaml with one database.
type config struct {
	slot        string
	publication string
	socket      bool     // connect over the unix socket
	endpoints   []string // YAML mappings
	functions   []string // YAML mappings
	sinks       []string // YAML mappings
}

func (b *bench) yaml(c config) string {
	host := "127.0.0.1"
	if c.socket {
		host = b.pg.SocketDir()
	}
	var y strings.Builder
	fmt.Fprintf(&y, "account: {name: bench}\napi_tokens: [{name: bench, token: %s}]\n", token)
	fmt.Fprintf(&y, "databases:\n  - {name: db, hostname: %q, port: %d, database: %s, username: postgres, password: unused, sslmode: disable,\n",
		host, b.pg.Port(), database)
	fmt.Fprintf(&y, "     slot: {name: %s}, publication: {name: %s}}\n", c.slot, c.publication)
	list := func(key string, items []string) {
		if len(items) > 0 {
			y.WriteString(key + ":\n  - " + strings.Join(items, "\n  - ") + "\n")
		}
	}
	list("http_endpoints", c.endpoints)
	list("functions", c.functions)
	list("sinks", c.sinks)
	return y.String()
}

// pullSink declares a sink that is pulled, from the beginning of the log.
func pullSink(name string) string {
	return fmt.Sprintf("{name: %s, database: db, start: beginning, destination: {type: sequin_stream}}", name)
}

// sequin is one installation of the program under measurement.
type sequin struct {
	*child
	dir    string
	listen string // the address to listen on; "" for a free port
	url    string
	client *http.Client
}

// serve starts Sequin on a data directory of its own and waits until it listens.
func (b *bench) serve(ctx context.Context, c config) (*sequin, error) {
	dir := filepath.Join(b.dir, b.unique("data"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s := &sequin{dir: dir}
	if err := s.configure(b.yaml(c)); err != nil {
		return nil, err
	}
	return s, b.start(ctx, s)
}

func (s *sequin) configure(yaml string) error {
	return os.WriteFile(filepath.Join(s.dir, "sequin.yaml"), []byte(yaml), 0o600)
}

// anyPort lets the system choose a port.
const anyPort = "127.0.0.1:0"

// start runs the program, for the first time or again.
func (b *bench) start(ctx context.Context, s *sequin) error {
	cmd := exec.Command(b.binary, "serve", "--config", filepath.Join(s.dir, "sequin.yaml"), "--data-dir", filepath.Join(s.dir, "data"),
		"--listen", cmp.Or(s.listen, anyPort), "--metrics-listen", anyPort, "--log-format", "json", "--ephemeral", "--prune")
	ready := make(chan string, 1)
	var err error
	s.child, err = spawn("sequin", cmd, func(line []byte) {
		var said struct{ Msg, Listen string }
		if json.Unmarshal(line, &said) == nil && said.Msg == "ready" {
			ready <- said.Listen
		}
	})
	if err != nil {
		return err
	}
	select {
	case address := <-ready:
		s.url = "http://" + address
		s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
		return nil
	case <-s.done:
		return s.alive()
	case <-ctx.Done():
		s.kill()
		return ctx.Err()
	}
}

// remove ends the program and deletes its data.
func (s *sequin) remove() {
	if s == nil {
		return
	}
	if s.child != nil {
		s.kill()
	}
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	_ = os.RemoveAll(s.dir) // it goes with the bench's directory at the latest
}

// reload puts another configuration in force.
func (s *sequin) reload(yaml string) error {
	return errors.Join(s.configure(yaml), s.cmd.Process.Signal(syscall.SIGHUP))
}

// peak is the largest resident memory so far, in bytes.
func (s *sequin) peak() int64 { return memoryOf(s.pid(), "VmHWM") }

// call posts to the API of a pull sink and returns the reply's body.
func (s *sequin) call(ctx context.Context, sink, verb, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/sequin_streams/"+sink+"/"+verb, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %w: %s", verb, statusError(resp.StatusCode), reply)
	}
	return reply, err
}

// statusError is a reply other than 200.
type statusError int

func (e statusError) Error() string { return "status " + strconv.Itoa(int(e)) }

// exists waits until a pull sink answers.
func (s *sequin) exists(ctx context.Context, sink string) error {
	for {
		_, err := s.call(ctx, sink, "receive", `{"batch_size":1,"visibility_timeout_ms":1}`)
		if !errors.Is(err, statusError(http.StatusNotFound)) && !errors.Is(err, statusError(http.StatusServiceUnavailable)) {
			return err
		}
		if err := s.alive(); err != nil {
			return err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
