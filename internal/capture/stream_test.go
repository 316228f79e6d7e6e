package capture_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/problem"
)

// insert writes and waits until the log has it.
func (r *rig) insert(id int) {
	r.t.Helper()
	before := r.log.End().Seq
	r.db.Exec(r.t, "insert into t values ($1)", id)
	r.eventually("the row arrives", func() bool { return r.log.End().Seq > before })
}

func TestKilledWalsenderIsANonEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	for i := range 5 {
		r.insert(2 * i)
		reconnects := r.cap.Status().Reconnects
		r.db.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1", r.slot)
		r.eventually("it notices", func() bool { return r.cap.Status().Reconnects > reconnects })
		r.insert(2*i + 1)
		r.eventually("it is well again", func() bool { return r.cap.Status().Problem == nil })
	}
	require.Len(t, r.entries(), 10)
}

// The walsender goes in the middle of a transaction whose first parts are in the log already.
func TestConnectionLostInABigTransaction(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.insert(0)
	r.db.Exec(t, "insert into t select i, repeat(md5(i::text), 20) from generate_series(1, 60000) i")
	for range 3 {
		start := r.cap.Status().Changes
		r.eventually("a part of it has come", func() bool { return r.cap.Status().Changes > start+3000 || r.log.End().Seq > 1 })
		r.db.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1", r.slot)
	}
	r.insert(-1)
	r.caughtUp()
	require.Equal(t, uint64(60002), r.log.End().Seq)
	require.Equal(t, []string{"I t 60000", "I t -1"}, r.entries()[60000:])
}

func TestPostgresRestartsAndCrashes(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := newRig(t, server, table)
	r.start()
	r.streaming()
	r.insert(1)
	server.Restart(t) // it waits for what we confirm: a stream that did not answer would hold it up
	r.insert(2)
	server.Crash(t)
	r.insert(3)
	r.eventually("it is well again", func() bool { return r.cap.Status().Problem == nil })
	r.caughtUp()
	require.Equal(t, []string{"I t 1", "I t 2", "I t 3"}, r.entries())
}

// A rotated password is read at the next connection, and a wrong one is named at once.
func TestPasswordRotates(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := newRig(t, server, table)
	server.SetHBA(t, "local all all trust", "host all postgres all trust", "host all app all scram-sha-256", "host replication app all scram-sha-256")
	r.db.Exec(t, "create role app login replication password 'first-secret'; grant all on database "+r.db.Name+" to app; alter table t owner to app")
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("first-secret"), 0o600))
	var logged lockedBuffer
	r.logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.change = func(c *capture.Config) {
		c.Source.User = "app"
		c.Source.Password = func(context.Context) (string, error) {
			text, err := os.ReadFile(file)
			return string(text), err
		}
	}
	r.start()
	r.streaming()
	r.insert(1)
	r.db.Exec(t, "alter role app password 'second-secret'")
	r.db.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
	st := r.stopped("wrong_password")
	require.NotContains(t, st.Problem.Text(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("second-secret"), 0o600))
	r.streaming()
	r.insert(2)
	require.Equal(t, []string{"I t 1", "I t 2"}, r.entries())
	r.stop()
	require.NotContains(t, logged.String(), "first-secret")
	require.NotContains(t, logged.String(), "second-secret")
	require.Contains(t, logged.String(), "wrong_password")
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A stream that starts and breaks, again and again, never looks well in between.
func TestStreamThatKeepsBreakingLooksIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.change = func(c *capture.Config) { c.CreatePublication = false }
	r.db.Exec(t, "create publication "+r.pub+" for table t")
	r.start()
	r.streaming()
	r.insert(1)
	// The changes are decoded with a publication that did not exist yet when they were made: Postgres refuses, after the stream has begun.
	r.db.Exec(t, "drop publication "+r.pub)
	r.db.Exec(t, "insert into t values (2)")
	r.db.Exec(t, "create publication "+r.pub+" for table t")
	r.eventually("it has broken several times", func() bool { return r.cap.Status().Reconnects > 3 })
	began := r.cap.Status()
	require.NotNil(t, began.Problem)
	for r.cap.Status().Reconnects < 6 {
		st := r.cap.Status()
		require.NotNil(t, st.Problem, "state %s after %d breaks", st.State, st.Reconnects)
		require.Equal(t, began.Since, st.Since, "it has been so all the time")
		time.Sleep(5 * time.Millisecond)
	}
}

// An idle server without heartbeats is asked for a sign of life, and answers.
func TestIdleServerIsHeardOf(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{}) // nobody else writes
	r := newRig(t, server, table)
	r.db.Exec(t, "alter database "+r.db.Name+" set wal_sender_timeout = '1200ms'")
	r.start()
	r.streaming()
	r.insert(1)
	r.caughtUp()
	for range 3 {
		heard := r.cap.Status().Received
		r.eventually("the server speaks", func() bool { return r.cap.Status().Received.After(heard) })
	}
	require.Zero(t, r.cap.Status().Reconnects)
	busy, began := r.cap.Status().Busy, time.Now()
	time.Sleep(500 * time.Millisecond) // time that the reader waits
	require.Less(t, r.cap.Status().Busy-busy, time.Since(began)/2, "waiting is not work")
}

func TestHeartbeatsComeBack(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	r := newRig(t, server, table)
	r.change = func(c *capture.Config) { c.Heartbeat = 50 * time.Millisecond }
	if server.Major(t) < 14 {
		r.start()
		r.eventually("the missing table is named", func() bool {
			for _, w := range r.cap.Status().Warnings {
				if w.Code == "heartbeat_table_missing" {
					return true
				}
			}
			return false
		})
		r.stop()
		r.db.Exec(t, `create table public.sequin_logical_messages (id serial primary key, slot_id text not null, subject text not null, content jsonb not null,
			created_at timestamptz not null default now(), updated_at timestamptz not null default now(), unique (slot_id, subject))`)
		r.db.Exec(t, "alter publication "+r.pub+" add table public.sequin_logical_messages")
	}
	r.start()
	r.streaming()
	for range 3 {
		last := r.cap.Status().Heartbeat
		r.eventually("a heartbeat comes back", func() bool { return r.cap.Status().Heartbeat.After(last) })
	}
	require.GreaterOrEqual(t, r.cap.Status().HeartbeatLatency, time.Duration(0))
	require.Less(t, r.cap.Status().HeartbeatLatency, 10*time.Second)
	r.insert(1)
	require.Equal(t, []string{"I t 1"}, r.entries(), "heartbeats do not reach the log")
	require.Empty(t, r.cap.Status().Warnings)
}

// While reading is held nothing more comes, the connection stays, and what was received is confirmed; then it goes on where it stopped.
func TestHoldAndResume(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.db.Exec(t, "alter database "+r.db.Name+" set wal_sender_timeout = '600ms'")
	r.start()
	r.streaming()
	r.insert(1)
	r.cap.Hold(problem.New("log_full", "no room").WithHint("make room"))
	st := r.cap.Status()
	require.Equal(t, capture.Held, st.State)
	require.Equal(t, "log_full", st.Problem.Code)
	for i := 2; i <= 50; i++ {
		r.db.Exec(t, "insert into t values ($1)", i)
	}
	time.Sleep(1500 * time.Millisecond) // more than twice wal_sender_timeout
	require.Equal(t, uint64(1), r.log.End().Seq)
	require.Zero(t, r.cap.Status().Reconnects, "the connection is kept")
	busy := r.cap.Status().Busy
	time.Sleep(200 * time.Millisecond)
	require.Less(t, r.cap.Status().Busy-busy, 100*time.Millisecond, "waiting for room is not work")
	r.cap.Resume()
	r.caughtUp()
	require.Len(t, r.entries(), 50)
	require.Equal(t, capture.Streaming, r.cap.Status().State)
}

// Being asked to stop while reading is held is answered at once, and what is complete is confirmed.
func TestStopWhileHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.insert(1)
	end := r.log.End().CommitEnd
	r.cap.Hold(problem.New("log_full", "no room"))
	r.db.Exec(t, "insert into t values (2)")
	began := time.Now()
	r.stop()
	require.Less(t, time.Since(began), 10*time.Second)
	require.GreaterOrEqual(t, r.confirmed(), end)
	r.start()
	r.streaming()
	r.caughtUp()
	require.Equal(t, []string{"I t 1", "I t 2"}, r.entries())
}

// Changes of the configuration reconnect; none loses or repeats anything.
func TestUpdateReconnects(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	var stop atomic.Bool
	written := make(chan int)
	writer := r.db.Conn(t)
	go func() {
		n := 0
		for ; !stop.Load(); n++ {
			if _, err := writer.Exec(context.Background(), "insert into t values ($1)", n); err != nil {
				break
			}
		}
		written <- n
	}()
	for i := range 20 {
		r.change = func(c *capture.Config) { c.Heartbeat = time.Duration(1+i) * time.Minute }
		before := r.log.End().Seq
		r.cap.Update(r.config())
		if i%2 == 0 {
			r.eventually("changes flow", func() bool { return r.log.End().Seq > before })
		}
	}
	stop.Store(true)
	n := <-written
	r.eventually("all have come", func() bool { return r.log.End().Seq >= uint64(n) })
	r.caughtUp()
	require.Equal(t, uint64(n), r.log.End().Seq)
	for i, e := range r.entries() {
		require.Equal(t, fmt.Sprintf("I t %d", i), e)
	}
}

// Another client on the slot is named, and its end is noticed.
func TestSlotInUse(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	other := newRig(t, pgtest.Shared(t), "select 1")
	other.db, other.slot, other.pub = r.db, r.slot, r.pub
	other.change = func(c *capture.Config) { c.Source.AppName = "the other" }
	other.start()
	st := other.stopped("slot_in_use")
	require.True(t, st.Transient)
	r.insert(1)
	r.stop()
	other.stopped("slot_marked_by_another")
}

// A slot whose creation waits for somebody's transaction says for whom.
func TestSlotCreationNamesWhoItWaitsFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Start(t, pgtest.Options{}), table)
	blocker := r.db.Conn(t)
	_, err := blocker.Exec(t.Context(), "begin; insert into t values (1)")
	require.NoError(t, err)
	r.start()
	var st capture.Status
	r.eventually("it waits", func() bool { st = r.cap.Status(); return st.State == capture.Waiting })
	require.Equal(t, "slot_creation_waits", st.Problem.Code)
	require.Contains(t, st.Problem.Hint, "pg_terminate_backend")
	_, err = blocker.Exec(t.Context(), "commit")
	require.NoError(t, err)
	r.streaming()
	require.Nil(t, r.cap.Status().Problem)
	r.insert(2)
}

// Stopping while a slot is being created leaves none behind.
func TestStopWhileTheSlotIsCreated(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Start(t, pgtest.Options{}), table)
	blocker := r.db.Conn(t)
	_, err := blocker.Exec(t.Context(), "begin; insert into t values (1)")
	require.NoError(t, err)
	r.start()
	r.eventually("it waits", func() bool { return r.cap.Status().State == capture.Waiting })
	r.stop()
	_, err = blocker.Exec(t.Context(), "commit")
	require.NoError(t, err)
	require.Zero(t, pgtest.Value[int64](t, r.db, "select count(*) from pg_replication_slots"))
}

func TestWarningsAreInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), "create table t (v int)") // no key: left out, so the publication is empty
	r.start()
	r.streaming()
	r.eventually("it warns of the empty publication", func() bool {
		var codes []string
		for _, w := range r.cap.Status().Warnings {
			codes = append(codes, w.Code)
		}
		return strings.Contains(strings.Join(codes, " "), "publication_empty")
	})
}

// A publication that somebody drops shows: from 18 on the server goes on without its tables' changes and does not end the stream.
func TestADroppedPublicationShows(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "drop publication "+r.pub)
	r.eventually("it says that the publication is gone", func() bool {
		for _, w := range r.cap.Status().Warnings {
			if w.Code == "publication_not_found" {
				return true
			}
		}
		return false
	})
}
