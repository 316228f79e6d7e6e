package cli_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/test/harness"
)

// session is the real command on a real terminal.
type session struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	slave  *os.File

	mu   sync.Mutex
	out  bytes.Buffer
	more chan struct{}
	read chan struct{} // closed when there is no more to read
}

// openTerminal makes a pseudo terminal of a width.
func openTerminal(t *testing.T, columns int) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	fd := int(master.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: uint16(columns)}))
	return master, slave
}

// onTerminal starts a command with a home of its own, speaking to a server.
func onTerminal(t *testing.T, f *fakeServer, home string, columns int, args ...string) *session {
	t.Helper()
	s := &session{t: t, more: make(chan struct{}), read: make(chan struct{})}
	s.master, s.slave = openTerminal(t, columns)
	s.cmd = exec.Command(harness.ReleaseBinary(t), args...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.slave, s.slave, s.slave
	s.cmd.Env = []string{"HOME=" + home, "SEQUIN_URL=" + f.URL, "SEQUIN_TOKEN=" + adminToken, "TERM=xterm"}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	require.NoError(t, s.cmd.Start())
	go s.follow()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // usually it has ended
		_ = s.cmd.Wait()
		_ = s.slave.Close()
		<-s.read
		_ = s.master.Close()
		if t.Failed() {
			t.Logf("the terminal of sequin %s:\n%s", strings.Join(args, " "), s.text())
		}
	})
	return s
}

// follow reads until nobody has the terminal open any more.
func (s *session) follow() {
	defer close(s.read)
	buf := make([]byte, 4096)
	for {
		n, err := s.master.Read(buf)
		s.mu.Lock()
		s.out.Write(buf[:n])
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *session) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// sees waits for a text.
func (s *session) sees(want string) {
	s.t.Helper()
	over := time.After(patience)
	for {
		s.mu.Lock()
		found, more := strings.Contains(s.out.String(), want), s.more
		s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-over:
			require.Contains(s.t, s.text(), want)
		}
	}
}

func (s *session) types(text string) {
	s.t.Helper()
	_, err := s.master.WriteString(text)
	require.NoError(s.t, err)
}

func (s *session) ends(code int) {
	s.t.Helper()
	_ = s.cmd.Wait() // the exit code tells
	require.Equal(s.t, code, s.cmd.ProcessState.ExitCode(), "%s", s.text())
}

// echoes reports whether what is typed shows.
func (s *session) echoes() bool {
	s.t.Helper()
	state, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	require.NoError(s.t, err)
	return state.Lflag&unix.ECHO != 0
}

func withSink(t *testing.T) *fakeServer {
	t.Helper()
	f := newFake(t)
	f.set(func() {
		f.tables["postgres_databases"] = []object{{"id": id(50), "name": "shop"}}
		f.tables["sinks"] = []object{{"id": id(51), "name": "orders", "database": "shop", "destination": object{"type": "webhook"}, "status": "active"}}
	})
	return f
}

func TestDeleteAsksOnATerminal(t *testing.T) {
	t.Parallel()
	f := withSink(t)
	s := onTerminal(t, f, t.TempDir(), 80, "sinks", "delete", "orders")
	s.sees(`delete sink "orders"? [y/N]`)
	s.types("n\n")
	s.ends(cli.ExitError)
	s.sees("nothing was done")
	require.Len(t, f.table("sinks"), 1)

	s = onTerminal(t, f, t.TempDir(), 80, "sinks", "delete", "orders")
	s.sees("[y/N]")
	s.types("y\n")
	s.ends(cli.ExitOK)
	require.Empty(t, f.table("sinks"))
}

func TestAnInterruptAtAQuestionDoesNothing(t *testing.T) {
	t.Parallel()
	f := withSink(t)
	s := onTerminal(t, f, t.TempDir(), 80, "sinks", "delete", "orders")
	s.sees("[y/N]")
	s.types("\x03")
	s.ends(cli.ExitError)
	s.sees("interrupted")
	require.Len(t, f.table("sinks"), 1)
}

func TestTheEndOfTheInputIsNoAnswer(t *testing.T) {
	t.Parallel()
	f := withSink(t)
	s := onTerminal(t, f, t.TempDir(), 80, "sinks", "delete", "orders")
	s.sees("[y/N]")
	s.types("\x04")
	s.ends(cli.ExitError)
	s.sees("nothing was answered, and nothing was done")
	require.Len(t, f.table("sinks"), 1)
}

func TestAPasswordIsNotSeen(t *testing.T) {
	t.Parallel()
	f, home := newFake(t), t.TempDir()
	s := onTerminal(t, f, home, 80, "login", "--email", "ops@acme.test", "--context", "acme", "--url", f.URL)
	s.sees("password: ")
	require.Eventually(t, func() bool { return !s.echoes() }, patience, pollEvery)
	s.types("correct horse\n")
	s.ends(cli.ExitOK)
	s.sees(`the session is kept in context "acme"`)
	require.NotContains(t, s.text(), "correct horse")
	info, err := os.Stat(filepath.Join(home, ".sequin", "contexts", "acme.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestANewPasswordIsAskedForTwice(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := onTerminal(t, f, t.TempDir(), 80, "users", "create", "dev@acme.test")
	s.sees("password: ")
	require.Eventually(t, func() bool { return !s.echoes() }, patience, pollEvery)
	s.types("long enough\n")
	s.sees("again: ")
	require.Eventually(t, func() bool { return !s.echoes() }, patience, pollEvery)
	s.types("long enougt\n")
	s.ends(cli.ExitError)
	s.sees("the two passwords differ")
	require.Len(t, f.table("users"), 1)
}

func TestAnInterruptGivesTheEchoBack(t *testing.T) {
	t.Parallel()
	s := onTerminal(t, newFake(t), t.TempDir(), 80, "users", "create", "dev@acme.test")
	s.sees("password: ")
	require.Eventually(t, func() bool { return !s.echoes() }, patience, pollEvery)
	s.types("\x03")
	s.ends(cli.ExitError)
	require.True(t, s.echoes())
}

func TestAContextIsPickedByNumberOrName(t *testing.T) {
	t.Parallel()
	f, home := newFake(t), t.TempDir()
	for _, name := range []string{"dev", "prod", "test"} {
		s := onTerminal(t, f, home, 80, "context", "add", name, "--hostname", "localhost", "--api-token", "x", "--set-default")
		s.ends(cli.ExitOK)
	}
	s := onTerminal(t, f, home, 80, "context", "select")
	s.sees("select which context?")
	s.types("9\n")
	s.sees("answer with a number from 1 to 3")
	s.types("2\n") // the selected one, test, comes first
	s.ends(cli.ExitOK)
	s.sees(`context "dev" is selected`)
	s = onTerminal(t, f, home, 80, "context", "rm")
	s.sees("remove which context?")
	s.types("prod\n")
	s.ends(cli.ExitOK)
	s.sees(`context "prod" is removed`)
}

func TestContextAddAsksForWhatIsMissing(t *testing.T) {
	t.Parallel()
	f, home := newFake(t), t.TempDir()
	s := onTerminal(t, f, home, 80, "context", "add")
	s.sees("name of the context:")
	s.types("dev\n")
	s.sees("API token (empty for none):")
	require.Eventually(t, func() bool { return !s.echoes() }, patience, pollEvery)
	s.types("the-secret\n")
	s.ends(cli.ExitOK)
	require.NotContains(t, s.text(), "the-secret")
	text, err := os.ReadFile(filepath.Join(home, ".sequin", "contexts", "dev.json"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"api_token": "the-secret"`)

	s = onTerminal(t, f, home, 80, "context", "add", "second", "--api-token", "x")
	s.sees(`select "second"? [y/N]`)
	s.types("yes\n")
	s.ends(cli.ExitOK)
	s = onTerminal(t, f, home, 80, "context", "edit", "second", "--hostname", "example.com")
	s.sees(`change context "second"? [y/N]`)
	s.types("y\n")
	s.ends(cli.ExitOK)
}

func TestApplyTakesYesAlone(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	file := filepath.Join(t.TempDir(), "sequin.yaml")
	require.NoError(t, os.WriteFile(file, []byte("databases: [{name: shop}]\n"), 0o600))
	for answer, code := range map[string]int{"y\n": cli.ExitError, "\n": cli.ExitError, "yes\n": cli.ExitOK} {
		f.set(func() { f.tables["postgres_databases"] = nil })
		s := onTerminal(t, f, t.TempDir(), 80, "config", "apply", file)
		s.sees("Only 'yes' is taken as yes:")
		s.types(answer)
		s.ends(code)
		require.Equal(t, code == cli.ExitOK, len(f.table("postgres_databases")) == 1, "%q", answer)
	}
}

func TestRestoreShowsWhatItChanges(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.set(func() { f.revise("create", "sinks", object{"name": "orders"}) })
	s := onTerminal(t, f, t.TempDir(), 80, "revisions", "restore", "1")
	s.sees("batch_size: 1 → 10")
	s.sees("restore revision 1?")
	s.types("y\n")
	s.ends(cli.ExitOK)
}

func TestATableFitsTheTerminal(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.set(func() {
		f.tables["destinations/http_endpoints"] = []object{
			{"id": id(60), "name": "hook", "url": "https://api.example.com/" + strings.Repeat("long/", 30), "headers": object{}, "encrypted_headers": object{"Authorization": "B*****t"}},
		}
	})
	s := onTerminal(t, f, t.TempDir(), 60, "endpoints", "list")
	s.ends(cli.ExitOK)
	s.sees("…")
	for line := range strings.SplitSeq(strings.ReplaceAll(s.text(), "\r", ""), "\n") {
		plain := strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "").Replace(line)
		require.LessOrEqual(t, len([]rune(plain)), 60, "%q", plain)
	}
	require.Contains(t, s.text(), "\x1b[1mNAME\x1b[0m", "headings are bold on a terminal")
}

func TestAWaitIsShownAndTakenBack(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	seen := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-seen
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(slow.Close)
	s := onTerminal(t, f, t.TempDir(), 80, "sinks", "list", "--url", slow.URL)
	s.sees("waiting for the server")
	close(seen)
	s.ends(cli.ExitOK)
	s.sees("\r\x1b[Kthere are no sinks")
}

func TestStatusWatchesUntilInterrupted(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	status := func(delivered int) string {
		return fmt.Sprintf(`{"status":"healthy","version":"1","instance":"i","accounts":1,"databases":[],"sinks":[{"id":"s","name":"orders","type":"webhook","status":"active","health":"healthy","delivered":%d}]}`, delivered)
	}
	f.set(func() { f.status = status(0) })
	s := onTerminal(t, f, t.TempDir(), 200, "status", "--watch", "--every", "100ms")
	s.sees("RATE")
	f.set(func() { f.status = status(100000) })
	s.sees("100000")
	s.types("\x03")
	s.ends(cli.ExitOK)
	require.Contains(t, s.text(), "\x1b[2J")
}
