package pgtest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// inner stands for a test whose end this test observes.
type inner struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (i *inner) Cleanup(f func()) { i.cleanups = append(i.cleanups, f) }
func (i *inner) Errorf(format string, args ...any) {
	i.errors = append(i.errors, fmt.Sprintf(format, args...))
}

func (i *inner) end() {
	for _, cleanup := range slices.Backward(i.cleanups) {
		cleanup()
	}
}

func TestASlotLeftBehindFailsTheTest(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	outside := server.Database(t)
	in := &inner{TB: t}
	db := server.Database(in)
	announced := db.Slot(in)
	for _, slot := range []string{announced, "nobody_announced_this"} {
		db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, slot)
	}
	in.end()
	require.Len(t, in.errors, 1)
	require.Contains(t, in.errors[0], "nobody_announced_this")
	require.Zero(t, pgtest.Value[int](t, outside, `select count(*) from pg_replication_slots where database = $1`, db.Name))
	require.Zero(t, pgtest.Value[int](t, outside, `select count(*) from pg_database where datname = $1`, db.Name))
}

func TestAStreamStillRunningIsEnded(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	outside := server.Database(t)
	in := &inner{TB: t}
	db := server.Database(in)
	slot := db.Slot(in)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, slot)
	publication := db.Publication(in)
	db.Exec(t, `create publication `+publication)

	stream, err := pgconn.Connect(t.Context(), db.URL+"&replication=database")
	require.NoError(t, err)
	stream.Frontend().SendQuery(&pgproto3.Query{String: fmt.Sprintf(
		`START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '%s')`, slot, publication)})
	require.NoError(t, stream.Frontend().Flush())
	for {
		msg, err := stream.ReceiveMessage(t.Context())
		require.NoError(t, err)
		if _, streaming := msg.(*pgproto3.CopyBothResponse); streaming {
			break
		}
	}
	in.end()
	require.Empty(t, in.errors)
	require.Zero(t, pgtest.Value[int](t, outside, `select count(*) from pg_replication_slots where slot_name = $1`, slot))
	require.NoError(t, stream.Close(t.Context()))
}

func TestOwnServerRestartsAndCrashes(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db := server.Database(t)
	db.Exec(t, `create table kept (id int)`)
	server.Restart(t)
	db.Exec(t, `insert into kept values (1)`)
	server.Crash(t)
	require.Equal(t, 1, pgtest.Value[int](t, db, `select count(*) from kept`))
	require.Equal(t, server.Cluster(t).Installation().Major, server.Major(t))
	server.Kill(t)
	require.False(t, server.Cluster(t).Running())
	server.StartAgain(t)
	require.Equal(t, 1, pgtest.Value[int](t, db, `select count(*) from kept`))
	server.Stop(t)
}
