package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	harness.CleanUp()
	os.Exit(code)
}

// patience is far beyond what anything here needs on a quiet machine.
const patience = time.Minute

// text is what a command writes to standard error.
type text struct {
	mu     sync.Mutex
	b      bytes.Buffer
	change chan struct{} // closed and replaced when there is more
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.change != nil {
		close(x.change)
		x.change = nil
	}
	return x.b.Write(p)
}

func (x *text) String() string {
	s, _ := x.state()
	return s
}

func (x *text) state() (string, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.change == nil {
		x.change = make(chan struct{})
	}
	return x.b.String(), x.change
}

// has waits until a text was written.
func (x *text) has(t *testing.T, want string) {
	t.Helper()
	over := time.After(patience)
	for {
		s, change := x.state()
		if strings.Contains(s, want) {
			return
		}
		select {
		case <-change:
		case <-over:
			require.Contains(t, s, want)
		}
	}
}

// command is a command that runs inside the test.
type command struct {
	t     *testing.T
	stop  context.CancelFunc // as an interrupt
	out   *io.PipeReader
	lines chan string
	errs  *text
	code  chan int
}

// begin starts a command.
func begin(t *testing.T, args ...string) *command {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	c := &command{t: t, stop: stop, out: r, lines: make(chan string, 1000), errs: &text{}, code: make(chan int, 1)}
	go func() {
		defer close(c.lines)
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			c.lines <- s.Text()
		}
	}()
	go func() {
		code := cli.Main(ctx, cli.Streams{In: strings.NewReader(""), Out: w, Err: c.errs}, args)
		_ = w.Close()
		c.code <- code
	}()
	t.Cleanup(func() {
		stop()
		_ = r.Close()
		if t.Failed() {
			t.Logf("standard error of sequin %s:\n%s", strings.Join(args, " "), c.errs)
		}
	})
	return c
}

// line returns the next line of the output.
func (c *command) line() string {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		require.True(c.t, ok, "the output has ended; standard error: %s", c.errs)
		return line
	case <-time.After(patience):
		c.t.Fatalf("no line came; standard error: %s", c.errs)
		return ""
	}
}

// message is the next line as a message; a gap has only Gap.
type message struct {
	Record   json.RawMessage `json:"record"`
	Changes  json.RawMessage `json:"changes"`
	Action   string          `json:"action"`
	Metadata struct {
		Table       string          `json:"table_name"`
		Annotations json.RawMessage `json:"transaction_annotations"`
		Key         string          `json:"idempotency_key"`
	} `json:"metadata"`
	Gap *struct {
		From   string    `json:"from_lsn"`
		To     string    `json:"to_lsn"`
		At     time.Time `json:"at"`
		Reason string    `json:"reason"`
	} `json:"gap"`
}

func (c *command) message() message {
	c.t.Helper()
	line := c.line()
	var m message
	require.NoError(c.t, json.Unmarshal([]byte(line), &m), "%s", line)
	return m
}

// end waits for the end and returns the exit code. Lines that nobody read are dropped.
func (c *command) end() int {
	c.t.Helper()
	select {
	case code := <-c.code:
		return code
	case <-time.After(patience):
		c.t.Fatalf("the command does not end; standard error: %s", c.errs)
		return 0
	}
}

// run runs a command to its end.
func run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Main(t.Context(), cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e}, args)
	return code, o.String(), e.String()
}
