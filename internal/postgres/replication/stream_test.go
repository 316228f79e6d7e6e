package replication_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/replication"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// recorder keeps what the stream hands over.
type recorder struct {
	mu        sync.Mutex
	kinds     strings.Builder
	payload   int
	tooBig    []int
	commitEnd atomic.Uint64
	walEnd    atomic.Uint64
	commits   chan struct{}
	drained   atomic.Int64
	block     chan struct{} // when set, Data waits for it
}

func newRecorder() *recorder { return &recorder{commits: make(chan struct{}, 1<<16)} }

func (r *recorder) Data(msg []byte) error {
	if r.block != nil {
		<-r.block
	}
	r.mu.Lock()
	r.kinds.WriteByte(msg[0])
	r.payload += len(msg)
	r.mu.Unlock()
	if msg[0] == 'C' {
		var end uint64
		for _, b := range msg[10:18] {
			end = end<<8 | uint64(b)
		}
		r.commitEnd.Store(end)
		r.commits <- struct{}{}
	}
	return nil
}

func (r *recorder) TooBig(_ byte, _ uint32, size int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tooBig = append(r.tooBig, size)
	r.kinds.WriteByte('!')
	return nil
}

func (r *recorder) Keepalive(walEnd cdc.LSN, _ bool) { r.walEnd.Store(uint64(walEnd)) }
func (r *recorder) Drained()                         { r.drained.Add(1) }

func (r *recorder) seen() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kinds.String()
}

// running is a stream under test.
type running struct {
	*recorder
	confirmed atomic.Uint64
	advanced  chan struct{}
	stop      context.CancelFunc
	done      chan error
}

func (r *running) confirm(lsn uint64) {
	r.confirmed.Store(lsn)
	select {
	case r.advanced <- struct{}{}:
	default:
	}
}

type setup struct {
	db   *pgtest.DB
	slot string
	pub  string
}

func prepare(t *testing.T, server *pgtest.Server, ddl string) setup {
	t.Helper()
	db := server.Database(t)
	s := setup{db: db, slot: db.Slot(t), pub: db.Publication(t)}
	db.Exec(t, ddl)
	db.Exec(t, fmt.Sprintf("create publication %s for all tables", s.pub))
	db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
	return s
}

func (s setup) stream(t *testing.T, url string, change func(*replication.Options)) *running {
	t.Helper()
	cfg, err := postgres.ParseURL(url)
	require.NoError(t, err)
	conn, err := cfg.ConnectReplication(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{recorder: newRecorder(), advanced: make(chan struct{}, 1), stop: cancel, done: make(chan error, 1)}
	opts := replication.Options{
		Slot: s.slot, Publications: []string{s.pub}, Advanced: r.advanced,
		Confirmed: func() cdc.LSN { return cdc.LSN(r.confirmed.Load()) },
	}
	if change != nil {
		change(&opts)
	}
	go func() { r.done <- replication.Stream(ctx, conn, opts, r) }()
	t.Cleanup(cancel)
	return r
}

func (r *running) wait(t *testing.T, commits int) {
	t.Helper()
	for range commits {
		select {
		case <-r.commits:
		case err := <-r.done:
			t.Fatalf("the stream ended: %v; seen %q", err, r.seen())
		case <-time.After(20 * time.Second):
			t.Fatalf("no commit within 20 s; seen %q", r.seen())
		}
	}
}

func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the stream did not end")
	}
}

func confirmedFlush(t *testing.T, s setup) cdc.LSN {
	t.Helper()
	lsn, err := cdc.ParseLSN(pgtest.Value[string](t, s.db, "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", s.slot))
	require.NoError(t, err)
	return lsn
}

func TestStreamOverTCPAndSocket(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	for _, way := range []string{"tcp", "socket"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, server, "create table t (id int primary key, v text)")
			url := s.db.URL
			if way == "socket" {
				url = s.db.SocketURL
			}
			r := s.stream(t, url, nil)
			s.db.Exec(t, "insert into t select i, repeat('x', 50000) from generate_series(1, 50) i")
			s.db.Exec(t, "update t set v = 'y' where id = 1")
			s.db.Exec(t, "delete from t where id = 2")
			r.wait(t, 3)
			require.Equal(t, "BR"+strings.Repeat("I", 50)+"CBUCBDC", r.seen())
			r.confirm(r.commitEnd.Load())
			r.end(t)
			require.Equal(t, cdc.LSN(r.commitEnd.Load()), confirmedFlush(t, s), "the last words before the end must arrive")
		})
	}
}

// Behind a backlog the stream naps instead of being woken for nearly every message; without naps it finds the socket empty far more often.
func TestBacklogIsGathered(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	for _, way := range []string{"tcp", "socket"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, server, "create table t (id int)")
			const transactions = 3000
			s.db.Exec(t, fmt.Sprintf("do $$ begin for i in 1..%d loop insert into t values (i); commit; end loop; perform pg_sleep(0.2); end $$", transactions))
			url := s.db.URL
			if way == "socket" {
				url = s.db.SocketURL
			}
			drained := func(noNaps bool) int64 {
				r := s.stream(t, url, func(o *replication.Options) { o.NoNaps = noNaps })
				r.wait(t, transactions)
				n := r.drained.Load()
				r.end(t)
				return n
			}
			never, always := drained(true), drained(false)
			require.Less(t, always, max(never/2, 100), "without naps the socket was empty %d times", never)
		})
	}
}

// A change that is not confirmed comes again, and a confirmed one does not.
func TestOnlyWhatWasConfirmedIsGone(t *testing.T) {
	t.Parallel()
	s := prepare(t, pgtest.Shared(t), "create table t (id int primary key)")
	r := s.stream(t, s.db.URL, nil)
	s.db.Exec(t, "insert into t values (1)")
	r.wait(t, 1)
	r.confirm(r.commitEnd.Load())
	s.db.Exec(t, "insert into t values (2)")
	r.wait(t, 1)
	r.end(t)

	again := s.stream(t, s.db.URL, nil)
	again.confirmed.Store(uint64(confirmedFlush(t, s)))
	again.wait(t, 1)
	require.Equal(t, "BRIC", again.seen())
	again.end(t)
}

// Promise P2: a handler that takes nothing for many times wal_sender_timeout keeps its connection.
func TestBlockedHandlerKeepsTheConnection(t *testing.T) {
	t.Parallel()
	s := prepare(t, pgtest.Shared(t), "create table t (id int primary key, v text)")
	s.db.Exec(t, fmt.Sprintf("alter role current_user in database %s set wal_sender_timeout = '500ms'", pgtest.Value[string](t, s.db, "select current_database()")))
	cfg, err := pgconn.ParseConfig(s.db.URL)
	require.NoError(t, err)
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	r := &running{recorder: newRecorder(), advanced: make(chan struct{}, 1), done: make(chan error, 1)}
	r.block = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() {
		r.done <- replication.Stream(ctx, conn, replication.Options{
			Slot: s.slot, Publications: []string{s.pub}, StatusInterval: 80 * time.Millisecond,
			Confirmed: func() cdc.LSN { return 0 },
		}, r)
	}()
	s.db.Exec(t, "insert into t select i, repeat('x', 10000) from generate_series(1, 2000) i")
	select {
	case err := <-r.done:
		t.Fatalf("the stream ended while its handler was blocked: %v", err)
	case <-time.After(4 * time.Second): // eight times wal_sender_timeout
	}
	close(r.block)
	r.wait(t, 1)
	r.end(t)
}

func TestLongMessageIsDrained(t *testing.T) {
	t.Parallel()
	s := prepare(t, pgtest.Shared(t), "create table t (id int primary key, v text)")
	s.db.Exec(t, "alter table t alter v set storage external")
	r := s.stream(t, s.db.URL, func(o *replication.Options) { o.MaxMessage, o.ReadBuffer = 1<<20, 64<<10 })
	s.db.Exec(t, "insert into t values (1, repeat('x', 900000)), (2, repeat('y', 3000000)), (3, 'small'), (4, repeat('z', 1048577))")
	r.wait(t, 1)
	require.Equal(t, "BI!I!C", strings.ReplaceAll(r.seen(), "R", ""), "relations may be described again at any time")
	require.Greater(t, r.tooBig[0], 3000000)
	require.Less(t, r.tooBig[0], 3000100)
	r.end(t)
}

func TestKilledWalsenderIsAnError(t *testing.T) {
	t.Parallel()
	s := prepare(t, pgtest.Shared(t), "create table t (id int primary key)")
	r := s.stream(t, s.db.URL, nil)
	s.db.Exec(t, "insert into t values (1)")
	r.wait(t, 1)
	s.db.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1", s.slot)
	select {
	case err := <-r.done:
		require.Error(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the end of the connection was not noticed")
	}
}

func TestMissingSlotNamesIt(t *testing.T) {
	t.Parallel()
	s := prepare(t, pgtest.Shared(t), "create table t (id int primary key)")
	other := s
	other.slot = "no_such_slot"
	r := other.stream(t, s.db.URL, nil)
	err := <-r.done
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "42704", pgErr.Code)
	require.ErrorContains(t, err, `start replication on slot "no_such_slot"`)
}
