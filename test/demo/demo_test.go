package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.CleanUp()
	if program, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(program)) // a temporary directory
	}
	os.Exit(code)
}

// patience is far beyond what a run needs on a quiet machine.
const patience = 90 * time.Second

// show is a demonstration under test.
type show struct {
	t      *testing.T
	cmd    *exec.Cmd
	temp   string // its temporary directory
	exited chan struct{}
	err    error

	mu     sync.Mutex
	out    bytes.Buffer
	change chan struct{} // closed and replaced when there is more output
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sequin-demo")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "demo")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, nil
})

func start(t *testing.T) *show {
	t.Helper()
	program, err := build()
	require.NoError(t, err)
	// The server's user has to reach it, which keeps t.TempDir out.
	temp, err := os.MkdirTemp("/tmp", "demo") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	require.NoError(t, os.Chmod(temp, 0o755))
	s := &show{t: t, temp: temp, exited: make(chan struct{}), change: make(chan struct{})}
	s.cmd = exec.Command(program, "-interval", "100ms", "-sequin", harness.Binary(t))
	s.cmd.Env = append(os.Environ(), "TMPDIR="+s.temp)
	s.cmd.Stdout, s.cmd.Stderr = s, s
	require.NoError(t, s.cmd.Start())
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // usually it has ended
		<-s.exited
	})
	return s
}

// Write takes what the demonstration prints.
func (s *show) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.change)
	s.change = make(chan struct{})
	return s.out.Write(p)
}

func (s *show) printed() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String(), s.change
}

// sees waits for a match of the pattern and returns its groups.
func (s *show) sees(pattern string) []string {
	s.t.Helper()
	p := regexp.MustCompile(pattern)
	over := time.After(patience)
	for {
		text, change := s.printed()
		if match := p.FindStringSubmatch(text); match != nil {
			return match
		}
		select {
		case <-change:
		case <-s.exited:
			text, _ := s.printed()
			require.Regexp(s.t, pattern, text, "it ended: %v", s.err)
		case <-over:
			require.Regexp(s.t, pattern, text)
		}
	}
}

// ends waits for the end and returns the exit code.
func (s *show) ends() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		text, _ := s.printed()
		s.t.Fatalf("the demonstration does not end:\n%s", text)
	}
	return s.cmd.ProcessState.ExitCode()
}

// children are the processes below the demonstration, its own one included: pid and command line.
func (s *show) children() map[int]string {
	s.t.Helper()
	below := map[int]string{s.cmd.Process.Pid: ""}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(s.t, err)
	parents := map[int]int{}
	for _, stat := range stats {
		content, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		require.NoError(s.t, err)
		// The name, in parentheses, may hold anything.
		rest := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
		parents[pid], err = strconv.Atoi(rest[1])
		require.NoError(s.t, err)
	}
	for grown := true; grown; {
		grown = false
		for pid, parent := range parents {
			_, known := below[pid]
			if _, ours := below[parent]; ours && !known {
				below[pid], grown = commandLine(pid), true
			}
		}
	}
	return below
}

func commandLine(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.TrimRight(strings.ReplaceAll(string(content), "\x00", " "), " ")
}

// child finds the process whose command line matches.
func (s *show) child(pattern string) int {
	s.t.Helper()
	all := s.children()
	for pid, line := range all {
		if regexp.MustCompile(pattern).MatchString(line) {
			return pid
		}
	}
	s.t.Fatalf("no %s among %v", pattern, all)
	return 0
}

// running watches a demonstration until both consumers have printed, and returns what checks that nothing of it is left.
func (s *show) running() (nothingLeft func()) {
	s.t.Helper()
	s.sees(`(?m)^  pull +insert +orders \d+ +\d+\.\d ms  customer: \w+, item: .+, quantity: \d, status: new$`)
	s.sees(`(?m)^  webhook +update +orders \d+ +\d+\.\d ms  status: new → paid$`)
	port := s.sees(`psql 'postgres://postgres:\w+@127\.0\.0\.1:(\d+)/`)[1]
	before := s.children()
	require.GreaterOrEqual(s.t, len(before), 4, "itself, the watchdog, the postmaster, sequin: %v", before)
	left, err := os.ReadDir(s.temp)
	require.NoError(s.t, err)
	require.Len(s.t, left, 1)
	return func() {
		s.t.Helper()
		require.Eventually(s.t, func() bool {
			left, err := os.ReadDir(s.temp)
			return err == nil && len(left) == 0
		}, patience, 20*time.Millisecond, "the temporary directory is left")
		require.Eventually(s.t, func() bool {
			for pid, line := range before {
				if line != "" && commandLine(pid) == line {
					return false
				}
			}
			return true
		}, patience, 20*time.Millisecond, "processes are left of %v", before)
		_, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		require.ErrorIs(s.t, err, syscall.ECONNREFUSED)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	s := start(t)
	nothingLeft := s.running()

	// What it invites to works as printed.
	dsn := s.sees(`psql '([^']+)'`)[1]
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	statement := s.sees(`-c "([^"]+)"`)[1]
	_, err = conn.Exec(t.Context(), statement)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	s.sees(`(?m)^  webhook +insert +orders \d+ +\d+\.\d ms  customer: me, item: a piano, quantity: 1, status: new$`)
	s.sees(`(?m)^  pull +insert +orders \d+ +\d+\.\d ms  customer: me, item: a piano, quantity: 1, status: new$`)
	curl := s.sees(`curl -s -H 'Authorization: ([^']+)' '([^']+)'`)
	require.Contains(t, receive(t, curl[1], curl[2]), `"item":"a piano"`)

	require.NoError(t, s.cmd.Process.Signal(syscall.SIGINT))
	require.Zero(t, s.ends())
	s.sees(`nothing is left behind`)
	nothingLeft()
}

func receive(t *testing.T, authorization, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", authorization)
	client := &http.Client{}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	return string(body)
}

func TestCrash(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		crash  func(s *show) error
		code   int
		reason string
	}{
		{"terminated", func(s *show) error { return s.cmd.Process.Signal(syscall.SIGTERM) }, 0, `nothing is left behind`},
		{"killed", func(s *show) error { return s.cmd.Process.Kill() }, -1, ``},
		{"sequin", func(s *show) error { return syscall.Kill(s.child(`sequin serve`), syscall.SIGKILL) }, 1, `demo: sequin has ended: signal: killed`},
		{"postgres", func(s *show) error { return syscall.Kill(s.child(`postgres -D`), syscall.SIGQUIT) }, 1, `demo: the throwaway PostgreSQL has ended`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t)
			nothingLeft := s.running()
			require.NoError(t, tt.crash(s))
			require.Equal(t, tt.code, s.ends())
			s.sees(tt.reason)
			nothingLeft()
		})
	}
}

func TestItSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	program, err := build()
	require.NoError(t, err)
	out, err := exec.Command(program, "-sequin", "/nonexistent/sequin").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "make build")
}
