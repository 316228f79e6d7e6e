package slot_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func connector(db *pgtest.DB) slot.Connect {
	return func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, db.URL) }
}

// replication opens a replication connection that ends with the test.
func replication(t *testing.T, db *pgtest.DB) *pgconn.PgConn {
	t.Helper()
	cfg, err := pgconn.ParseConfig(db.URL)
	require.NoError(t, err)
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestCreateAndInspect(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	conn := db.Conn(t)
	name := db.Slot(t)

	_, err := slot.Inspect(t.Context(), conn, name)
	require.ErrorIs(t, err, slot.ErrNotFound)

	lsn, err := slot.Create(t.Context(), connector(db), slot.Options{Name: name})
	require.NoError(t, err)
	s, err := slot.Inspect(t.Context(), conn, name)
	require.NoError(t, err)
	require.Equal(t, name, s.Name)
	require.Equal(t, "pgoutput", s.Plugin)
	require.Equal(t, "logical", s.Type)
	require.Equal(t, db.Name, s.Database)
	require.Equal(t, lsn, s.ConfirmedFlush)
	require.NotZero(t, s.RestartLSN)
	require.LessOrEqual(t, s.RestartLSN, s.ConfirmedFlush)
	require.False(t, s.Active)
	require.False(t, s.Temporary)
	require.NoError(t, s.Check(db.Name, 0))
	if db.Server.Version(t) >= 130000 {
		require.Equal(t, "reserved", s.WALStatus)
	}

	db.Exec(t, `create table filler (x text); insert into filler select repeat('x', 1000) from generate_series(1, 1000)`)
	later, err := slot.Inspect(t.Context(), conn, name)
	require.NoError(t, err)
	require.Greater(t, later.Retained, s.Retained+1_000_000)
	require.Greater(t, later.Unconfirmed, int64(1_000_000))

	_, err = slot.Create(t.Context(), connector(db), slot.Options{Name: name})
	require.ErrorIs(t, err, slot.ErrExists)
	require.Equal(t, "slot_exists", problem.Code(err))

	require.NoError(t, slot.Drop(t.Context(), conn, name))
	require.ErrorIs(t, slot.Drop(t.Context(), conn, name), slot.ErrNotFound)
}

func TestCreateWithFailover(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	name := db.Slot(t)
	_, err := slot.Create(t.Context(), connector(db), slot.Options{Name: name, Failover: true})
	if db.Server.Version(t) < 170000 {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	s, err := slot.Inspect(t.Context(), db.Conn(t), name)
	require.NoError(t, err)
	require.True(t, s.Failover)
}

func TestCreateRefusesNamesThatTheServerWouldCut(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Upper", "with-dash", "quo'te", strings.Repeat("a", 64)} {
		_, err := slot.Create(t.Context(), nil, slot.Options{Name: name})
		require.Equal(t, "slot_name_invalid", problem.Code(err), name)
	}
}

// TestCreateNamesWhomItWaitsFor keeps a transaction open, which creation has to wait for.
func TestCreateNamesWhomItWaitsFor(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table orders (id int primary key)`)
	db.Exec(t, `alter database "`+db.Name+`" set lock_timeout = '500ms'`) // meant for queries; must not end the wait
	blocker := db.Conn(t)
	tx, err := blocker.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `insert into orders values (1)`)
	require.NoError(t, err)

	name := db.Slot(t)
	waits := make(chan slot.Wait, 100)
	done := make(chan error, 1)
	go func() {
		_, err := slot.Create(t.Context(), connector(db), slot.Options{Name: name, Waiting: func(w slot.Wait) {
			select {
			case waits <- w:
			default:
			}
		}})
		done <- err
	}()

	wait := nextBlockedBy(t, blocker.PgConn().PID(), waits, done)
	require.Equal(t, "idle in transaction", wait.Blockers[0].State)
	require.Contains(t, wait.Blockers[0].Query, "insert into orders")
	require.Positive(t, wait.Blockers[0].TransactionAge)
	require.False(t, wait.Blockers[0].TransactionAt.IsZero())
	p := wait.Problem(name)
	require.Equal(t, "slot_creation_waits", p.Code)
	require.Contains(t, p.Hint, "pg_terminate_backend")

	nextBlockedBy(t, blocker.PgConn().PID(), waits, done) // it outlives lock_timeout
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-done)
	_, err = slot.Inspect(t.Context(), db.Conn(t), name)
	require.NoError(t, err)
}

// nextBlockedBy waits for a report that names the backend. Before that, transactions of other tests may be named.
func nextBlockedBy(t *testing.T, pid uint32, waits <-chan slot.Wait, done <-chan error) slot.Wait {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case w := <-waits:
			if len(w.Blockers) > 0 && w.Blockers[0].PID == int32(pid) {
				return w
			}
		case err := <-done:
			require.Fail(t, "creation ended early", "%v", err)
		case <-timeout:
			require.Fail(t, "the backend was not named")
		}
	}
}

// TestCreateCalledOffLeavesNoSlot ends the context during the wait: when the transaction commits later, no slot may appear.
func TestCreateCalledOffLeavesNoSlot(t *testing.T) {
	t.Parallel()
	for name, temporary := range map[string]bool{"permanent": false, "temporary": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t).Database(t)
			db.Exec(t, `create table orders (id int primary key)`)
			tx, err := db.Conn(t).Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), `insert into orders values (1)`)
			require.NoError(t, err)

			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("called off")
			slotName := db.Slot(t)
			opts := slot.Options{Name: slotName, Waiting: func(slot.Wait) { cancel(stop) }}
			if temporary {
				_, err = slot.CreateTemporary(ctx, replication(t, db), connector(db), opts)
			} else {
				_, err = slot.Create(ctx, connector(db), opts)
			}
			require.ErrorIs(t, err, stop)
			require.NoError(t, tx.Commit(t.Context()))
			_, err = slot.Inspect(t.Context(), db.Conn(t), slotName)
			require.ErrorIs(t, err, slot.ErrNotFound)
		})
	}
}

func TestTemporarySlotEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	name := db.Slot(t)
	repl := replication(t, db)
	lsn, err := slot.CreateTemporary(t.Context(), repl, connector(db), slot.Options{Name: name})
	require.NoError(t, err)
	require.NotZero(t, lsn)

	conn := db.Conn(t)
	s, err := slot.Inspect(t.Context(), conn, name)
	require.NoError(t, err)
	require.True(t, s.Temporary)
	require.True(t, s.Active)
	require.Equal(t, int32(repl.PID()), s.ActivePID)
	require.False(t, s.Reader.Since.IsZero())

	require.NoError(t, s.Check(db.Name, s.ActivePID))
	err = s.Check(db.Name, 0)
	require.ErrorIs(t, err, slot.ErrInUse)
	require.Equal(t, "slot_in_use", problem.Code(err))

	_, err = conn.Exec(t.Context(), `select pg_drop_replication_slot($1)`, name)
	require.ErrorIs(t, slot.Classify(err), slot.ErrInUse)

	require.NoError(t, repl.Close(t.Context()))
	<-repl.CleanupDone()
	gone := func() bool {
		_, err := slot.Inspect(t.Context(), conn, name)
		return errors.Is(err, slot.ErrNotFound)
	}
	require.Eventually(t, gone, 10*time.Second, 10*time.Millisecond)
}

func TestCheckRefusesOtherKinds(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	other := db.Slot(t)
	physical := db.Slot(t)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'test_decoding')`, other)
	db.Exec(t, `select pg_create_physical_replication_slot($1)`, physical)
	t.Cleanup(func() { db.Exec(t, `select pg_drop_replication_slot($1)`, physical) })
	for name, want := range map[string]string{other: "test_decoding", physical: "physical"} {
		s, err := slot.Inspect(t.Context(), db.Conn(t), name)
		require.NoError(t, err)
		err = s.Check(db.Name, 0)
		require.ErrorIs(t, err, slot.ErrUnusable)
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, slot.Slot{Type: "logical", Plugin: "pgoutput", Database: "a"}.Check("b", 0), slot.ErrUnusable)
	require.ErrorIs(t, slot.Slot{Type: "logical", Plugin: "pgoutput", Database: "a", TwoPhase: true}.Check("a", 0), slot.ErrUnusable)
}

// TestInvalidatedSlotIsTold lets the server remove the WAL that a slot still needs.
func TestInvalidatedSlotIsTold(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB", "min_wal_size": "32MB", "wal_keep_size": "0",
	}, Major: atLeast13()})
	db := server.Database(t)
	name := db.Slot(t)
	_, err := slot.Create(t.Context(), connector(db), slot.Options{Name: name})
	require.NoError(t, err)
	for range 3 {
		db.Exec(t, `select pg_logical_emit_message(false, 'filler', repeat('x', 20000000))`)
		db.Exec(t, `select pg_switch_wal()`)
	}
	db.Exec(t, `checkpoint`)

	s, err := slot.Inspect(t.Context(), db.Conn(t), name)
	require.NoError(t, err)
	_, yes := s.Invalidated()
	require.True(t, yes)
	require.Equal(t, "lost", s.WALStatus)
	err = s.Check(db.Name, 0)
	require.ErrorIs(t, err, slot.ErrInvalidated)
	require.Equal(t, "slot_invalidated", problem.Code(err))
	if server.Version(t) >= 170000 {
		require.Equal(t, "wal_removed", s.InvalidationReason)
	}
}

// TestIdleSlotIsInvalidated: from 18 on, a server can be told to give up slots that nobody reads.
func TestIdleSlotIsInvalidated(t *testing.T) {
	t.Parallel()
	if pgtest.Shared(t).Major(t) < 18 {
		return
	}
	db := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"idle_replication_slot_timeout": "1s"}}).Database(t)
	name := db.Slot(t)
	_, err := slot.Create(t.Context(), connector(db), slot.Options{Name: name})
	require.NoError(t, err)
	// The server looks at checkpoints, and only at slots that hold WAL back.
	db.Exec(t, `select pg_logical_emit_message(false, 'filler', 'x'), pg_switch_wal(), pg_sleep(1.5)`)
	db.Exec(t, `checkpoint`)
	s, err := slot.Inspect(t.Context(), db.Conn(t), name)
	require.NoError(t, err)
	require.Equal(t, "idle_timeout", s.InvalidationReason)
	require.False(t, s.InactiveSince.IsZero())
	err = s.Check(db.Name, 0)
	require.ErrorIs(t, err, slot.ErrInvalidated)
	p, _ := problem.As(err)
	require.Contains(t, p.Hint, "idle_replication_slot_timeout")
}

// atLeast13 keeps this test off 12, which has no limit on what a slot retains: 0 stands for the version that is being tested.
func atLeast13() int {
	if os.Getenv(pgtest.EnvMajor) == "12" {
		return 13
	}
	return 0
}

func TestCreateExplainsAFullOrUnpreparedServer(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		settings map[string]string
		code     string
	}{
		"no slot left": {map[string]string{"max_replication_slots": "1"}, "no_slot_left"},
		"wal_level":    {map[string]string{"wal_level": "replica"}, "wal_level_not_logical"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.Options{Settings: c.settings})
			db := server.Database(t)
			if c.code == "no_slot_left" {
				db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, db.Slot(t))
			}
			_, err := slot.Create(t.Context(), connector(db), slot.Options{Name: "one_more"})
			require.Equal(t, c.code, problem.Code(err), "%v", err)
		})
	}
}

func TestCreateExplainsAMissingPrivilege(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	role := db.Publication(t) // a unique name
	db.Exec(t, `create role "`+role+`" login`)
	t.Cleanup(func() { db.Exec(t, `drop role "`+role+`"`) })
	connect := func(ctx context.Context) (*pgx.Conn, error) {
		cfg, err := pgx.ParseConfig(db.URL)
		if err != nil {
			return nil, err
		}
		cfg.User = role
		return pgx.ConnectConfig(ctx, cfg)
	}
	_, err := slot.Create(t.Context(), connect, slot.Options{Name: "never"})
	require.Equal(t, "replication_privilege_missing", problem.Code(err), "%v", err)
}

// A standby's copy of a slot cannot be read; the same slot can once the standby is promoted, although the server goes on calling it synced.
func TestSyncedSlotIsUsableAfterAPromotion(t *testing.T) {
	t.Parallel()
	s := slot.Slot{Name: "s", Type: "logical", Plugin: slot.Plugin, Database: "db", Synced: true, InRecovery: true}
	require.ErrorIs(t, s.Check("db", 0), slot.ErrUnusable)
	s.InRecovery = false
	require.NoError(t, s.Check("db", 0))
}
