package capture_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// patience bounds each wait for something that takes milliseconds on a quiet machine.
const patience = 45 * time.Second

type logAdapter struct{ *changelog.Log }

func (l logAdapter) Writer(epoch uint32) capture.Writer { return l.Log.Writer(epoch) }
func (l logAdapter) CommitEnd() cdc.LSN                 { return l.End().CommitEnd }

// wire is a proxy to Postgres that can be cut, so that a capture goes without its farewell, as a killed process does.
type wire struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: l, target: target}
	go w.serve()
	t.Cleanup(w.sever)
	return w
}

func (w *wire) serve() {
	for {
		in, err := w.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", w.target) //nolint:noctx // a test's proxy
		if err != nil {
			_ = in.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, in, out)
		if w.cut {
			_, _ = in.Close(), out.Close()
		}
		w.mu.Unlock()
		go func() { _, _ = io.Copy(in, out); _, _ = in.Close(), out.Close() }()
		go func() { _, _ = io.Copy(out, in); _, _ = in.Close(), out.Close() }()
	}
}

func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	_ = w.listener.Close()
	for _, c := range w.conns {
		_ = c.Close()
	}
}

// rig is one installation on one database: a disk, and what of it runs.
type rig struct {
	t         *testing.T
	db        *pgtest.DB
	slot, pub string
	disk      *powerloss.Disk
	change    func(*capture.Config) // of each start
	logger    *slog.Logger

	engine  *embedded.Engine
	log     *changelog.Log
	cap     *capture.Capture
	wire    *wire
	stopLog context.CancelFunc
	stopCap context.CancelFunc
	logEnd  chan error
	capEnd  chan error
}

func newRig(t *testing.T, server *pgtest.Server, ddl string) *rig {
	t.Helper()
	db := server.Database(t)
	r := &rig{t: t, db: db, slot: db.Slot(t), pub: db.Publication(t), disk: powerloss.New(), logger: slog.New(slog.DiscardHandler)}
	db.Exec(t, ddl)
	t.Cleanup(func() {
		if r.cap != nil {
			r.stop()
		}
	})
	return r
}

func (r *rig) config() capture.Config {
	source, err := postgres.ParseURL(r.db.URL)
	require.NoError(r.t, err)
	if r.wire != nil {
		host, port, err := net.SplitHostPort(r.wire.listener.Addr().String())
		require.NoError(r.t, err)
		n, err := strconv.ParseUint(port, 10, 16)
		require.NoError(r.t, err)
		source.Hosts = []postgres.Host{{Name: host, Port: uint16(n)}}
	}
	cfg := capture.Config{
		Source: source, Database: r.db.Name, Slot: r.slot, CreateSlot: true, Publication: r.pub, CreatePublication: true, MaxChange: 1 << 20,
	}
	if r.change != nil {
		r.change(&cfg)
	}
	return cfg
}

// start opens what is on the disk and runs the capture, over a wire that can be cut.
func (r *rig) start() {
	r.t.Helper()
	u, err := url.Parse(r.db.URL)
	require.NoError(r.t, err)
	r.wire = newWire(r.t, u.Host)
	r.engine, err = r.disk.Open(r.t.Context(), powerloss.Options{})
	require.NoError(r.t, err)
	r.open(r.engine.State())
}

// open runs the parts above the engine.
func (r *rig) open(state engine.State) {
	r.t.Helper()
	blocks, err := r.engine.Log(r.t.Context(), "db")
	require.NoError(r.t, err)
	r.log, err = changelog.Open(r.t.Context(), changelog.Options{Name: "db", Blocks: blocks})
	require.NoError(r.t, err)
	logCtx, stopLog := context.WithCancel(context.WithoutCancel(r.t.Context()))
	capCtx, stopCap := context.WithCancel(context.WithoutCancel(r.t.Context()))
	r.stopLog, r.stopCap, r.logEnd, r.capEnd = stopLog, stopCap, make(chan error, 1), make(chan error, 1)
	log, logEnd, capEnd := r.log, r.logEnd, r.capEnd
	go func() { logEnd <- log.Run(logCtx) }()
	r.cap = capture.New(capture.Deps{
		ID: "db", Name: "db", Instance: r.engine.Instance(), Log: logAdapter{log}, State: state, Logger: r.logger,
	}, r.config())
	c := r.cap
	go func() { capEnd <- c.Run(capCtx) }()
}

// stop ends everything in order, as SIGTERM does.
func (r *rig) stop() {
	r.t.Helper()
	r.stopCap()
	require.NoError(r.t, r.ended(r.capEnd))
	r.stopLog()
	require.NoError(r.t, r.ended(r.logEnd))
	require.NoError(r.t, r.engine.Close())
	r.cap = nil
}

func (r *rig) ended(ch chan error) error {
	r.t.Helper()
	select {
	case err := <-ch:
		return err
	case <-time.After(patience):
		r.t.Fatal("it does not end")
		return nil
	}
}

// crash leaves the disk as a power cut at this moment does; Postgres hears nothing any more.
func (r *rig) crash(seed uint64) {
	r.t.Helper()
	r.wire.sever()
	left := r.disk.Cut(seed)
	r.stop()
	r.disk = left
}

func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			if r.cap != nil {
				r.t.Logf("status: %+v, problem %v", r.cap.Status(), r.cap.Status().Problem)
			}
			r.t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *rig) streaming() {
	r.t.Helper()
	r.eventually("it streams", func() bool { return r.cap.Status().State == capture.Streaming })
}

// stopped waits for a problem with this code.
func (r *rig) stopped(code string) capture.Status {
	r.t.Helper()
	var st capture.Status
	r.eventually("stopped with "+code, func() bool {
		st = r.cap.Status()
		return st.State == capture.Stopped && st.Problem != nil && st.Problem.Code == code
	})
	return st
}

func (r *rig) lsn(sql string, args ...any) cdc.LSN {
	r.t.Helper()
	lsn, err := cdc.ParseLSN(pgtest.Value[string](r.t, r.db, "select ("+sql+")::text", args...))
	require.NoError(r.t, err)
	return lsn
}

func (r *rig) wal() cdc.LSN { return r.lsn("pg_current_wal_lsn()") }

func (r *rig) confirmed() cdc.LSN {
	return r.lsn("select confirmed_flush_lsn from pg_replication_slots where slot_name = $1", r.slot)
}

// caughtUp waits until everything written so far is confirmed.
func (r *rig) caughtUp() cdc.LSN {
	r.t.Helper()
	end := r.wal()
	r.eventually("the slot has followed", func() bool { return r.confirmed() >= end })
	return end
}

// entries are the changes in the log as "op table first-column".
func (r *rig) entries() []string {
	r.t.Helper()
	var all []string
	for seq := r.log.FirstSeq(); seq <= r.log.End().Seq; {
		s, err := r.log.Segment(r.t.Context(), seq)
		require.NoError(r.t, err)
		for i := range s.Changes {
			all = append(all, describe(&s.Changes[i]))
		}
		seq = s.Last + 1
	}
	return all
}

func describe(c *cdc.Change) string {
	text := string(rune(c.Op))
	if c.Relation != nil {
		text += " " + c.Relation.Name
	}
	if c.TooBig {
		return text + " too big"
	}
	row := c.New
	if row == nil {
		row = c.Old
	}
	if d, ok := row.Column(0); ok {
		text += " " + string(d.Text)
	}
	return text
}
