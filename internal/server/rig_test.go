package server_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/server"
	"github.com/sequinstream/sequin/internal/transform/runtimes"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
	"github.com/sequinstream/sequin/test/harness"
)

func TestMain(m *testing.M) {
	if sandbox.IsWorker(os.Args) {
		sandbox.Main(runtimes.All)
	}
	os.Exit(pgtest.Main(m))
}

// patience bounds each wait for something that takes milliseconds on a quiet machine.
const patience = 45 * time.Second

const table = "create table t (id int primary key, v text)"

// pull is a sink that is pulled.
const pull = "  - {name: pull, database: db, destination: {type: sequin_stream}}\n"

// rig is a server in this process.
type rig struct {
	t      *testing.T
	db     *pgtest.DB
	config harness.Config
	dir    string
	bare   bool // nothing is declared
	opts   server.Options
	log    *logLines

	server *server.Server
	reload chan *control.Document
	stop   context.CancelFunc
	ended  chan error
}

func newRig(t *testing.T, pg *pgtest.Server, ddl, sinks string) *rig {
	t.Helper()
	db := pg.Database(t)
	if ddl != "" {
		db.Exec(t, ddl)
	}
	r := &rig{
		t: t, db: db, dir: t.TempDir(), log: &logLines{},
		config: harness.Config{DB: db, Slot: db.Slot(t), Publication: db.Publication(t), Sinks: sinks},
	}
	r.opts = server.Options{
		Version: "test", DataDir: filepath.Join(r.dir, "data"), Ephemeral: true, Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		ShutdownTimeout: 10 * time.Second,
	}
	t.Cleanup(func() {
		if r.server != nil {
			r.end()
		}
		if t.Failed() {
			t.Logf("log of the server:\n%s", r.log.tail(100))
		}
	})
	return r
}

// document is the declaration as it stands in the configuration.
func (r *rig) document() *control.Document {
	if r.bare {
		return nil
	}
	doc := document(r.config.YAML(r.t))
	doc.Prune = r.opts.Prune
	return doc
}

func document(yaml string) *control.Document {
	return &control.Document{Name: "sequin.yaml", Data: []byte(yaml)}
}

// start runs the server and returns once it has applied the declaration.
func (r *rig) start() {
	r.t.Helper()
	r.opts.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	s, err := server.New(r.t.Context(), r.opts)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	r.server, r.reload, r.stop, r.ended = s, make(chan *control.Document), cancel, make(chan error, 1)
	doc, reload, ended := r.document(), r.reload, r.ended
	go func() { ended <- s.Run(ctx, doc, reload) }()
	r.eventually("it serves", func() bool { status, _ := r.get("/livez"); return status == http.StatusOK })
}

// begin also waits until all is well.
func (r *rig) begin() {
	r.t.Helper()
	r.start()
	r.healthy()
}

// apply declares what stands in the configuration while the server runs, and returns when it is in force.
func (r *rig) apply() { r.t.Helper(); require.NoError(r.t, r.declare(r.config.YAML(r.t))) }

// declare applies a document like one of the operator's.
func (r *rig) declare(yaml string) error {
	r.t.Helper()
	doc := document(yaml)
	doc.Prune = r.opts.Prune
	return r.server.Declare(r.t.Context(), doc)
}

func (r *rig) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		require.NoError(r.t, err)
	case <-time.After(patience):
		r.t.Fatal("the server does not end")
	}
	r.server = nil
	http.DefaultClient.CloseIdleConnections()
}

func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_, body := r.get("/healthz")
			r.t.Fatalf("not in time: %s; health %s", what, body)
		}
	}
}

// get fetches a path of the API's listener; 0 when nothing answers.
func (r *rig) get(path string) (int, string) {
	r.t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = "http://" + r.server.Addr() + path
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(r.t, err)
	return do(r.t, req)
}

// do sends a request; 0 when nothing answers.
func do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func (r *rig) healthy() {
	r.t.Helper()
	r.eventually("all is well", func() bool {
		status, body := r.get("/healthz")
		return status == http.StatusOK && !strings.Contains(body, "initializing")
	})
}

// entity is one line of /healthz.
type entity struct {
	Kind     string `json:"entity_type"`
	Name     string `json:"entity_name"`
	Status   string `json:"status"`
	Problems []struct {
		Severity, Code, Message, Detail, Hint string
		Since                                 time.Time
	} `json:"problems"`
}

func (e entity) has(code string) bool {
	for _, p := range e.Problems {
		if p.Code == code {
			return true
		}
	}
	return false
}

// entity is the health of a database or sink.
func (r *rig) entity(name string) entity {
	r.t.Helper()
	_, body := r.get("/healthz")
	var reply struct{ Entities []entity }
	require.NoError(r.t, json.Unmarshal([]byte(body), &reply), body)
	for _, e := range reply.Entities {
		if e.Name == name {
			return e
		}
	}
	return entity{}
}

// troubled waits for a problem of an entity.
func (r *rig) troubled(name, code string) entity {
	r.t.Helper()
	var e entity
	r.eventually(name+" has "+code, func() bool { e = r.entity(name); return e.has(code) })
	return e
}

func (r *rig) stream(name string) *harness.Stream {
	return &harness.Stream{Base: func() string { return "http://" + r.server.Addr() }, Name: name}
}

// receive pulls and acknowledges n messages and returns their ids.
func (r *rig) receive(name string, n int) []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	ids := []string{}
	for len(ids) < n {
		batch, err := r.stream(name).Receive(ctx, min(n-len(ids), 1000), 5*time.Second)
		require.NoError(r.t, err, "after %d messages", len(ids))
		if len(batch) > 0 {
			require.NoError(r.t, r.stream(name).Ack(ctx, harness.AckIDs(batch)...))
		}
		ids = append(ids, idsOf(batch)...)
	}
	return ids
}

func idsOf(batch []harness.Received) []string {
	var ids []string
	for _, m := range batch {
		var record struct{ ID json.Number }
		_ = json.Unmarshal(m.Data.Record, &record)
		ids = append(ids, record.ID.String())
	}
	return ids
}

// nothing expects that a sink has nothing to give at the moment.
func (r *rig) nothing(name string) {
	r.t.Helper()
	batch, err := r.stream(name).Receive(r.t.Context(), 10, 100*time.Millisecond)
	require.NoError(r.t, err)
	require.Empty(r.t, idsOf(batch))
}

func (r *rig) lsn(sql string, args ...any) cdc.LSN {
	r.t.Helper()
	lsn, err := cdc.ParseLSN(pgtest.Value[string](r.t, r.db, "select ("+sql+")::text", args...))
	require.NoError(r.t, err)
	return lsn
}

// caughtUp waits until the slot has confirmed everything written so far.
func (r *rig) caughtUp() {
	r.t.Helper()
	end := r.lsn("pg_current_wal_lsn()")
	r.eventually("the slot follows", func() bool {
		return r.lsn("select confirmed_flush_lsn from pg_replication_slots where slot_name = $1", r.config.Slot) >= end
	})
}

// hook is a webhook receiver.
func hook(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
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
