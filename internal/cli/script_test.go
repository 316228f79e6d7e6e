package cli_test

import (
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sequinstream/sequin/test/harness"
)

// TestScripts runs each script of testdata/script against a fake server of its own. -update rewrites what is compared.
func TestScripts(t *testing.T) {
	t.Parallel()
	binary := harness.ReleaseBinary(t) // hundreds of short runs: with the race detector they would take minutes
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			f := newFakeHandler()
			f.Server = httptest.NewServer(f)
			env.Defer(f.Close)
			env.Values[theFake{}] = f
			dir := socketDir(env)
			local := newFakeHandler()
			local.local = true
			listen(env, local, filepath.Join(dir, "admin.sock"))
			env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			if cache, err := os.UserCacheDir(); err == nil {
				env.Setenv("GOCACHE", filepath.Join(cache, "go-build")) // what the Go toolchain has built already
			}
			env.Setenv("FAKE", f.URL)
			env.Setenv("HOST", strings.TrimPrefix(f.URL, "http://"))
			env.Setenv("SEQUIN_URL", f.URL)
			env.Setenv("SEQUIN_TOKEN", adminToken)
			env.Setenv("READER_TOKEN", readerToken)
			env.Setenv("SEQUIN_DATA_DIR", dir)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"exactly": exactly,
			"redact":  redact,
			"status":  status,
			"asked":   asked,
			"queue":   queue,
		},
	})
}

// exits runs a command and checks its exit code: exits 4 sequin sinks show x.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%s: %v", args[1], err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// exactly compares a file that ends without a line end, byte for byte, with one of the script, which cannot.
func exactly(ts *testscript.TestScript, _ bool, args []string) {
	if got, want := ts.ReadFile(args[0]), strings.TrimSuffix(ts.ReadFile(args[1]), "\n"); got != want {
		ts.Fatalf("%s is %q, want %q", args[0], got, want)
	}
}

// redact writes stdout or stderr to a file with what differs from run to run replaced.
func redact(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	host := ts.Getenv("HOST")
	for _, r := range [][2]string{{ts.Getenv("FAKE"), "$FAKE"}, {host, "$HOST"}, {strings.ReplaceAll(host, ":", "-"), "$CONTEXT"}, {ts.Getenv("SEQUIN_DATA_DIR"), "$DATA"}, {ts.Getenv("WORK"), "$WORK"}} {
		if r[0] != "" {
			text = strings.ReplaceAll(text, r[0], r[1])
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

func socketDir(env *testscript.Env) string {
	dir, err := os.MkdirTemp("", "sq")
	if err != nil {
		env.T().Fatal(err)
	}
	env.Defer(func() { _ = os.RemoveAll(dir) })
	return dir
}

func listen(env *testscript.Env, h *fakeServer, path string) {
	l, err := net.Listen("unix", path) //nolint:noctx // closed by the server
	if err != nil {
		env.T().Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener = l
	s.Start()
	env.Defer(s.Close)
}

// theFake is where a script keeps its server.
type theFake struct{}

func fakeOf(ts *testscript.TestScript) *fakeServer { return ts.Value(theFake{}).(*fakeServer) }

// status makes a file the answer of GET /api/status.
func status(ts *testscript.TestScript, _ bool, args []string) {
	f := fakeOf(ts)
	text := ts.ReadFile(args[0])
	f.set(func() { f.status = text })
}

// asked writes what the server was asked to a file.
func asked(ts *testscript.TestScript, _ bool, args []string) {
	f := fakeOf(ts)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(f.asked(), "\n")+"\n"), 0o600))
}

// queue gives the server messages and dead letters.
func queue(ts *testscript.TestScript, _ bool, _ []string) {
	f := fakeOf(ts)
	f.set(func() {
		for i, state := range []string{"delivering", "backing_off", "backing_off", "available"} {
			f.messages = append(f.messages, object{
				"seq": i + 1, "ack_id": id(100 + i), "state": state, "table": "public.orders", "action": "insert", "key": strconv.Itoa(i + 1), "group": strconv.Itoa(i + 1),
				"attempts": i, "last_error": nil, "commit_timestamp": when(1), "not_visible_until": nil, "bytes": 100,
			})
		}
		f.messages[1]["last_error"], f.messages[1]["not_visible_until"] = "webhook answered 500:\n\x1b[31mred", when(5)
		f.dead = []object{
			{"seq": 7, "reason": "attempts", "error": "500", "attempts": 9, "at": when(2), "schema": "public", "table": "orders", "action": "update", "redriving": false},
			{"seq": 9, "reason": "rejected", "error": "bad", "attempts": 1, "at": when(3), "schema": "public", "table": "orders", "action": "delete", "redriving": true},
		}
	})
}
