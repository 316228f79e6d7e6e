package hard_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// A prepared transaction is delivered when it is committed, in the order of commits, also when both sides were restarted between; one that is
// rolled back never shows.
func TestHard25PreparedTransactions(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_prepared_transactions": "10"}})
	r := begin(t, setup{server: server, ddl: "create table t (id int primary key)", sinks: byTable})
	r.exec("begin; insert into t values (1); prepare transaction 'kept'")
	r.exec("begin; insert into t values (2); prepare transaction 'dropped'")
	r.exec("insert into t values (3)")
	require.Equal(t, []string{`insert t {"id":3}`}, saidAll(r.drain("pull")), "nothing of what is only prepared")
	r.Stop()
	server.Restart(t)
	r.exec("insert into t values (4)")
	r.start()
	r.exec("insert into t values (5)")
	r.exec("commit prepared 'kept'")
	r.exec("rollback prepared 'dropped'")
	r.exec("insert into t values (6)")
	got := r.drain("pull")
	require.Equal(t, []string{`insert t {"id":4}`, `insert t {"id":5}`, `insert t {"id":1}`, `insert t {"id":6}`}, saidAll(got))
	require.True(t, increasing(got), "it stands where it was committed")
}

// Rows that another server wrote here, with their origin, are changes like any other.
func TestHard25RowsWithAnOriginAreDelivered(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key)"})
	conn := r.db.Conn(t)
	origin := r.db.Slot(t) // any unique name
	t.Cleanup(func() { r.exec("select pg_replication_origin_drop($1)", origin) })
	for _, sql := range []string{
		fmt.Sprintf("select pg_replication_origin_create('%s')", origin), fmt.Sprintf("select pg_replication_origin_session_setup('%s')", origin),
		"begin", "select pg_replication_origin_xact_setup('0/99', '2025-01-01')", "insert into t values (1)", "update t set id = 2", "commit",
		"select pg_replication_origin_session_reset()", "insert into t values (3)",
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	got := inOrder(r.drain("pull"))
	require.Equal(t, []string{`insert t {"id":1}`, `update t {"id":2} was {"id":1}`, `insert t {"id":3}`}, saidAll(got))
	require.Equal(t, uint32(0), got[0].Data.Metadata.CommitIdx, "an origin takes no number")
}

// Generated columns are absent unless the publication sends them, which it can from 18 on.
func TestHard25GeneratedColumns(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]string{"absent": "", "sent": " with (publish_generated_columns = stored)"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if options != "" && pgtest.Shared(t).Major(t) < 18 {
				options = "" // they are absent then
			}
			r := begin(t, setup{
				ddl:       "create table t (id int primary key, n int, double int generated always as (n * 2) stored)",
				published: "for table t, fence" + options,
			})
			r.exec("insert into t values (1, 5)")
			r.exec("update t set n = 6")
			want := []string{`insert t {"id":1,"n":5}`, `update t {"id":1,"n":6} was {}`}
			if options != "" {
				want = []string{`insert t {"id":1,"n":5,"double":10}`, `update t {"id":1,"n":6,"double":12} was {}`}
			}
			require.Equal(t, want, r.drained("pull"))
		})
	}
}

// Logical messages outside transactions have no place in the order of commits: they are no changes, take no number, and only move the slot.
func TestHard25LogicalMessagesOutsideTransactions(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key)"})
	for range 5 {
		r.exec("select pg_logical_emit_message(false, 'any tool', repeat('x', 1000))")
	}
	r.exec("begin; insert into t values (1); select pg_logical_emit_message(false, 'any tool', 'x'); insert into t values (2); commit")
	got := inOrder(r.drain("pull"))
	require.Equal(t, []string{`insert t {"id":1}`, `insert t {"id":2}`}, saidAll(got))
	require.Equal(t, uint32(1), got[1].Data.Metadata.CommitIdx)
	r.confirmedAll()
}

// promote makes the server a standby of nobody and promotes it: a new timeline of the same history.
func promote(t *testing.T, server *pgtest.Server, db *pgtest.DB) {
	t.Helper()
	server.Stop(t)
	signal := filepath.Join(server.Cluster(t).DataDir(), "standby.signal")
	require.NoError(t, os.WriteFile(signal, nil, 0o666)) //nolint:gosec // the server runs as another user
	require.NoError(t, os.Chmod(signal, 0o666))          //nolint:gosec // the umask must not win
	server.StartAgain(t)
	db.Exec(t, "select pg_promote()")
	require.False(t, pgtest.Value[bool](t, db, "select pg_is_in_recovery()"))
}

// A primary that was once promoted keeps telling the replay position of its time as a standby. What is new begins at its WAL's end all the same,
// and the slot follows it.
func TestHard25APrimaryThatWasOncePromoted(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := prepare(t, setup{server: server, ddl: "create table t (id int primary key)"})
	promote(t, server, r.db)
	r.start()
	r.exec("insert into t values (1)")
	r.confirmedAll()
	r.declare(pull + "  - {name: late, database: db, start: now, destination: {type: sequin_stream}}\n")
	r.eventually(func() bool {
		status, _ := r.post("/api/sequin_streams/late/receive", `{"batch_size":1}`)
		return status == 200
	}, "the new sink is there")
	r.exec("insert into t values (2)")
	require.Equal(t, []string{`insert t {"id":2}`}, r.drained("late"))
	require.Equal(t, []string{`insert t {"id":1}`, `insert t {"id":2}`}, r.drained("pull"))
}

// A promotion while Sequin runs: the new timeline branches off where the log ends or later, so the stream goes on and nothing is missed.
func TestHard25APromotionIsFollowed(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := begin(t, setup{server: server, ddl: "create table t (id int primary key)"})
	r.exec("insert into t values (1)")
	promote(t, server, r.db)
	r.eventually(r.streaming, "it streams from the new timeline")
	r.exec("insert into t values (2)")
	require.Equal(t, []string{`insert t {"id":1}`, `insert t {"id":2}`}, r.drained("pull"))
	require.Contains(t, r.Log(), "new timeline")
	r.confirmedAll()
}
