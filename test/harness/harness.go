// Package harness runs the real sequin binary in tests: as a process of its own that can be killed at any moment, against a real Postgres, with
// the clients and receivers that the tests need.
package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Token is the API token of every configuration that Config writes.
const Token = "harness-token-0123456789abcdef"

// built is a binary that is built once for each test binary.
type built struct {
	once sync.Once
	path string
	err  error
}

var asTested, asReleased built //nolint:gochecknoglobals // one build for all tests of a package

// Binary builds cmd/sequin, with the race detector when the tests have it.
func Binary(t testing.TB) string {
	t.Helper()
	if raceEnabled {
		return asTested.binary(t, "-race")
	}
	return asTested.binary(t)
}

// ReleaseBinary builds cmd/sequin as it is released, for tests that measure memory.
func ReleaseBinary(t testing.TB) string {
	t.Helper()
	return asReleased.binary(t, "-trimpath", "-ldflags", "-s -w")
}

func (b *built) binary(t testing.TB, flags ...string) string {
	t.Helper()
	b.once.Do(func() {
		dir, err := os.MkdirTemp("", "sequin-bin") //nolint:usetesting // it outlives the test that is first
		if err != nil {
			b.err = err
			return
		}
		b.path = filepath.Join(dir, "sequin")
		args := append([]string{"build", "-o", b.path}, flags...)
		cmd := exec.Command("go", append(args, "github.com/sequinstream/sequin/cmd/sequin")...) //nolint:noctx // shared by all tests
		if !slices.Contains(flags, "-race") {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("build sequin: %w\n%s", err, out)
		}
	})
	require.NoError(t, b.err)
	return b.path
}

// CleanUp removes the built binaries; call it at the end of TestMain.
func CleanUp() {
	for _, b := range []*built{&asTested, &asReleased} {
		if b.path != "" {
			_ = os.RemoveAll(filepath.Dir(b.path)) // best effort: a temporary directory
		}
	}
}

// Sequin is one installation: a data directory, a configuration, and at most one process.
type Sequin struct {
	t        testing.TB
	dir      string
	args     []string
	URL      string // of the API
	Metrics  string // URL of /metrics
	cmd      *exec.Cmd
	exited   chan struct{}
	ready    chan struct{}
	exitErr  error
	log      *logBuffer
	Env      []string // more environment for the next Start
	Released bool     // run the binary as it is released, without the race detector
}

// New prepares an installation with the given sequin.yaml. It starts nothing.
func New(t testing.TB, yaml string, args ...string) *Sequin {
	t.Helper()
	s := &Sequin{t: t, dir: t.TempDir(), args: args, log: &logBuffer{}}
	s.Configure(yaml)
	t.Cleanup(func() {
		if s.cmd != nil {
			s.Kill()
		}
		if t.Failed() {
			t.Logf("log of sequin:\n%s", s.log.tail(200))
		}
	})
	return s
}

// Configure replaces the configuration file.
func (s *Sequin) Configure(yaml string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(s.ConfigPath(), []byte(yaml), 0o600))
}

// ConfigPath is the configuration file, DataDir the data directory.
func (s *Sequin) ConfigPath() string { return filepath.Join(s.dir, "sequin.yaml") }

// DataDir is the data directory.
func (s *Sequin) DataDir() string { return filepath.Join(s.dir, "data") }

// Start runs the process and waits until it is ready.
func (s *Sequin) Start() {
	s.t.Helper()
	require.NoError(s.t, s.TryStart())
}

// TryStart is Start for a process that may refuse.
func (s *Sequin) TryStart() error {
	if err := s.Launch(); err != nil {
		return err
	}
	select {
	case <-s.ready:
		return nil
	case <-s.exited:
		s.cmd = nil
		return fmt.Errorf("sequin ended before it was ready: %w\n%s", s.exitErr, s.log.tail(20))
	case <-time.After(30 * time.Second):
		return fmt.Errorf("sequin was not ready within 30 s\n%s", s.log.tail(50))
	}
}

// Launch starts the process and waits for nothing, for tests that kill it on its way up.
func (s *Sequin) Launch() error {
	args := append([]string{
		"serve", "--config", s.ConfigPath(), "--data-dir", s.DataDir(), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
		"--log-format", "json", "--ephemeral",
	}, s.args...)
	binary := Binary
	if s.Released {
		binary = ReleaseBinary
	}
	cmd := exec.Command(binary(s.t), args...) //nolint:gosec,noctx // our own binary; it is killed by Kill
	cmd.Env = append(append(os.Environ(), "GORACE=halt_on_error=1"), s.Env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = sysProcAttr()
	if err := cmd.Start(); err != nil {
		return err
	}
	ready, exited := make(chan struct{}), make(chan struct{})
	go s.read(stderr, ready)
	go func() {
		s.exitErr = cmd.Wait()
		close(exited)
	}()
	s.cmd, s.exited, s.ready = cmd, exited, ready
	return nil
}

// read keeps the log and learns the addresses from the line that says ready.
func (s *Sequin) read(r io.Reader, ready chan struct{}) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	told := false
	for lines.Scan() {
		line := lines.Text()
		s.log.add(line)
		if told || !strings.Contains(line, `"msg":"ready"`) {
			continue
		}
		var at struct{ Listen, Metrics string }
		if json.Unmarshal([]byte(line), &at) == nil {
			s.URL, s.Metrics = "http://"+at.Listen, "http://"+at.Metrics+"/metrics"
			told = true
			close(ready)
		}
	}
}

// Kill ends the process with SIGKILL.
func (s *Sequin) Kill() {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.exited
	s.cmd = nil
}

// Stop ends the process with SIGTERM and expects it to end well.
func (s *Sequin) Stop() {
	s.t.Helper()
	require.NotNil(s.t, s.cmd, "sequin is not running")
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-s.exited:
	case <-time.After(60 * time.Second):
		s.t.Fatal("sequin did not stop within 60 s")
	}
	s.cmd = nil
	require.NoError(s.t, s.exitErr)
}

// Running reports whether the process still runs.
func (s *Sequin) Running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Exited is closed when the current process has ended.
func (s *Sequin) Exited() <-chan struct{} { return s.exited }

// Reload sends SIGHUP.
func (s *Sequin) Reload() {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGHUP))
}

// PID of the process.
func (s *Sequin) PID() int { return s.cmd.Process.Pid }

// PeakMemory is the process's VmHWM in bytes.
func (s *Sequin) PeakMemory() int64 { s.t.Helper(); return s.memory("VmHWM") }

// Memory is the process's VmRSS in bytes: what is resident now.
func (s *Sequin) Memory() int64 { s.t.Helper(); return s.memory("VmRSS") }

func (s *Sequin) memory(line string) int64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	require.NoError(s.t, err)
	for text := range strings.Lines(string(status)) {
		var kb int64
		if _, err := fmt.Sscanf(text, line+": %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	s.t.Fatalf("no %s in /proc", line)
	return 0
}

// Log is everything that the processes of this installation logged.
func (s *Sequin) Log() string { return s.log.tail(1 << 20) }

// Get fetches a path of the API server without a token and returns status and body.
func (s *Sequin) Get(path string) (int, string) {
	s.t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = s.URL + path
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	require.NoError(s.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, string(body)
}

// WaitHealthy waits until /healthz shows no error and no initializing entity.
func (s *Sequin) WaitHealthy(patience time.Duration) {
	s.t.Helper()
	var status int
	var body string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if status, body = s.Get("/healthz"); status == http.StatusOK && !strings.Contains(body, `"initializing"`) {
			return
		}
	}
	s.t.Fatalf("not healthy within %s: %d %s", patience, status, body)
}

// WaitProblem waits until /healthz shows the problem with this code, and returns the body.
func (s *Sequin) WaitProblem(code string, patience time.Duration) string {
	s.t.Helper()
	var body string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, body = s.Get("/healthz"); strings.Contains(body, `"code":"`+code+`"`) {
			return body
		}
	}
	s.t.Fatalf("no problem %s within %s: %s", code, patience, body)
	return ""
}

// logBuffer keeps lines; it is bounded so that a chatty process does not fill memory.
type logBuffer struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBuffer) add(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) > 20000 {
		b.lines = append(b.lines[:0], b.lines[10000:]...)
	}
	b.lines = append(b.lines, line)
}

func (b *logBuffer) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines[max(0, len(b.lines)-n):], "\n")
}
