// Package contract_test holds a real server to the contract of its API, openapi/openapi.yaml: every route with its statuses and bodies, who may
// call it, what becomes of nonsense, that files and the API declare the same things, and that no secret gets out. Every reply that a test
// receives is held against the contract, whatever the test is about.
package contract_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/server"
	"github.com/sequinstream/sequin/internal/transform/runtimes"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.IsWorker(os.Args) {
		sandbox.Main(runtimes.All)
	}
	os.Exit(pgtest.Main(m))
}

// patience bounds each wait for something that takes milliseconds on a quiet machine.
const patience = 45 * time.Second

// The tokens of every rig.
const (
	adminToken   = "adm-2f6b4c0e8a570f4bb0a5a8f1"
	readToken    = "red-9c1d4c0e8a570f4bb0a5a8f1"
	consumeToken = "con-77aa4c0e8a570f4bb0a5a8f1" // of the sink "pull"
	otherToken   = "oth-15ce4c0e8a570f4bb0a5a8f1" // an administrator of another account
)

const (
	password = "correct-horse-battery"
	table    = "create table public.t (id int primary key, v text)"
)

// rig is a server in this process, and the database that it is given.
type rig struct {
	t        testing.TB
	db       *pgtest.DB
	slot     string
	pub      string
	dir      string
	log      *logLines
	server   *server.Server
	contract *contract
	answered *answers
	chaotic  bool // whatever slots there are in the end may be there
	network  *http.Client
	socket   *http.Client
}

// newRig starts a server that declares an account with tokens, a database "db" with the table t, and a pull sink "pull".
func newRig(t testing.TB) *rig {
	t.Helper()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, table)
	r := &rig{t: t, db: db, slot: db.Slot(t), pub: db.Publication(t), dir: dataDir(t), log: &logLines{}, contract: loadContract(t), answered: &answers{all: map[string]map[int]bool{}}}
	t.Cleanup(func() { // after the server has ended
		if r.chaotic {
			db.Exec(t, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()")
		}
	})
	s, err := server.New(t.Context(), server.Options{
		Version: "test", DataDir: r.dir, Ephemeral: true, Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", ShutdownTimeout: 10 * time.Second,
		Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	r.server = s
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, &control.Document{Name: "sequin.yaml", Data: []byte(r.boot())}, make(chan *control.Document))
	}()
	r.network = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	r.socket = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(r.dir, server.SocketName))
	}}}
	t.Cleanup(func() {
		stop()
		r.network.CloseIdleConnections()
		r.socket.CloseIdleConnections()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Error("the server does not end")
		}
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", r.log.tail(60))
		}
	})
	r.eventually("it is ready", func() bool { return strings.Contains(r.log.all(), "msg=ready") })
	r.operator("POST", "/api/admin/accounts", object{"name": "other"}).require(200)
	r.operator("POST", "/api/api_keys", object{"name": "theirs", "token": otherToken}, "X-Sequin-Account: other").require(200)
	return r
}

// dataDir is a directory whose path is short enough for a unix socket.
func dataDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sequin") //nolint:usetesting // t.TempDir is too long a name for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "data")
}

func (r *rig) boot() string {
	return fmt.Sprintf(`account: {name: acme}
api_tokens:
  - {name: admin, token: %s}
  - {name: reader, token: %s, scopes: [read]}
  - {name: worker, token: %s, scopes: ["consume:pull"]}
users:
  - {email: owner@example.com, password: %s}
  - {email: editor@example.com, password: %s, role: editor}
  - {email: viewer@example.com, password: %s, role: viewer}
databases: [%s]
sinks:
  - {name: pull, database: db, destination: {type: sequin_stream}}
`, adminToken, readToken, consumeToken, password, password, password, encode(r.database("db", r.slot, r.pub, true)))
}

// database declares the test's database.
func (r *rig) database(name, slot, publication string, create bool) object {
	u, err := url.Parse(r.db.URL)
	require.NoError(r.t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(r.t, err)
	secret, _ := u.User.Password()
	if secret == "" {
		secret = "unused-but-secret"
	}
	return object{
		"name": name, "hostname": u.Hostname(), "port": port, "database": strings.TrimPrefix(u.Path, "/"), "username": u.User.Username(), "password": secret,
		"slot": object{"name": slot, "create_if_not_exists": create}, "publication": object{"name": publication, "create_if_not_exists": create},
	}
}

// object is a JSON object.
type object = map[string]any

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // what tests make can be encoded
	}
	return string(text)
}

// reply is what the server answered.
type reply struct {
	t       testing.TB
	request string
	status  int
	header  http.Header
	body    []byte
}

// admin sends a request with the administrator's token; headers are "Name: value".
func (r *rig) admin(method, path string, body any, headers ...string) reply {
	r.t.Helper()
	return r.as(adminToken, method, path, body, headers...)
}

// as sends a request with a token; "" for none.
func (r *rig) as(token, method, path string, body any, headers ...string) reply {
	r.t.Helper()
	if token != "" {
		headers = append(headers, "Authorization: Bearer "+token)
	}
	return r.send(r.network, "http://"+r.server.Addr(), method, path, body, headers)
}

// socketHost stands for the server in requests over the socket.
const socketHost = "sequin"

// operator sends a request over the socket.
func (r *rig) operator(method, path string, body any, headers ...string) reply {
	r.t.Helper()
	return r.send(r.socket, "http://"+socketHost, method, path, body, headers)
}

func (r *rig) send(client *http.Client, base, method, path string, body any, headers []string) reply {
	r.t.Helper()
	var payload []byte
	switch b := body.(type) {
	case nil:
	case string:
		payload = []byte(b)
	default:
		payload = []byte(encode(b))
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(payload))
	require.NoError(r.t, err)
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	require.NoError(r.t, err, "%s %s", method, path)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	got := reply{r.t, method + " " + path, resp.StatusCode, resp.Header, text}
	require.NotEmpty(r.t, resp.Header.Get("X-Request-Id"))
	if op := r.contract.holds(r.t, req, got); op != nil {
		r.answered.note(op.id, got.status)
	}
	return got
}

// require expects a status.
func (p reply) require(status int) reply {
	p.t.Helper()
	require.Equal(p.t, status, p.status, "%s: %s", p.request, p.body)
	return p
}

// value is the body.
func (p reply) value() any {
	p.t.Helper()
	var v any
	require.NoError(p.t, json.Unmarshal(p.body, &v), "%s: %s", p.request, p.body)
	return v
}

// object is the body as an object.
func (p reply) object() object {
	p.t.Helper()
	v, ok := p.value().(object)
	require.True(p.t, ok, "%s: %s", p.request, p.body)
	return v
}

// at is the value at a path of the body: "data.0.name".
func (p reply) at(path string) any {
	p.t.Helper()
	v := p.value()
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case object:
			v = x[part]
		case []any:
			i, err := strconv.Atoi(part)
			require.NoError(p.t, err)
			require.Less(p.t, i, len(x), "%s: %s", path, p.body)
			v = x[i]
		default:
			p.t.Fatalf("%s: no %s in %s", p.request, path, p.body)
		}
	}
	return v
}

func (p reply) text(path string) string {
	p.t.Helper()
	s, ok := p.at(path).(string)
	require.True(p.t, ok, "%s: %s", path, p.body)
	return s
}

// refused expects an error with a status and a code.
func (p reply) refused(status int, code string) reply {
	p.t.Helper()
	p.require(status)
	require.Equal(p.t, code, p.at("code"), "%s: %s", p.request, p.body)
	return p
}

// signIn opens a session.
func (r *rig) signIn(email string) string {
	r.t.Helper()
	return r.as("", "POST", "/api/sessions", object{"email": email, "password": password}).require(200).text("token")
}

func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not in time: %s\n%s", what, r.log.tail(40))
		}
	}
}

// healthy waits until nothing starts any more and all is well.
func (r *rig) healthy() {
	r.t.Helper()
	r.eventually("all is well", func() bool { return r.admin("GET", "/api/status", nil).require(200).at("status") == "healthy" })
}

// logLines keeps what was logged.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logLines) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-n):], "")
}

func (l *logLines) all() string { return l.tail(1 << 30) }
