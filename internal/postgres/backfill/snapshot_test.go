package backfill_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
)

func number(t *testing.T, row cdc.Tuple, column int) int {
	t.Helper()
	d, ok := row.Column(column)
	require.True(t, ok)
	n, err := strconv.Atoi(string(d.Text))
	require.NoError(t, err)
	return n
}

// Beside writers, a page has of each row exactly the changes whose transactions its snapshot sees.
func TestAPageHasWhatItsSnapshotSees(t *testing.T) {
	t.Parallel()
	const keys, writers = 40, 4
	db := pgtest.Shared(t).Database(t)
	w := newWAL(t, db, "for all tables")
	db.Exec(t, `create table t (id int primary key, n int not null); insert into t select i, 0 from generate_series(1, 40) i`)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	for range writers {
		conn := db.Conn(t)
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := conn.Exec(context.WithoutCancel(ctx), writes(), pgx.QueryExecModeSimpleProtocol); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r := open(t, db, backfill.Spec{Table: "t", Publication: w.pub})
	var read []*backfill.Page
	for range 25 {
		read = append(read, pages(t, r, 7)...)
	}
	stop()
	group.Wait()
	changes := map[int][]walRow{}
	for _, c := range w.read(t) {
		changes[number(t, c.row, 0)] = append(changes[number(t, c.row, 0)], c)
	}
	compared, unseen := 0, 0
	for _, p := range read {
		for _, row := range p.Rows {
			id, n := number(t, row, 0), number(t, row, 1)
			for _, c := range changes[id] {
				sees := p.Snapshot.Sees(c.xid)
				require.Equal(t, number(t, c.row, 1) <= n, sees, "row %d was read with n = %d in %+v; transaction %d made it %d", id, n, p.Snapshot, c.xid, number(t, c.row, 1))
				compared++
				if !sees {
					unseen++
				}
			}
		}
	}
	require.Greater(t, unseen, 100, "writers went on behind the pages")
	require.Greater(t, compared-unseen, 100)
}

// writes is a transaction of a few updates, in the order of their keys, so that none waits for another in a circle; some with savepoints.
func writes() string {
	first := 1 + rand.IntN(30) //nolint:gosec // a test's choice
	up := func(id int) string { return "update t set n = n + 1 where id = " + strconv.Itoa(id) + ";" }
	return "begin; set local synchronous_commit = off;" + up(first) + "savepoint s;" + up(first+1) + "release s; savepoint r;" + up(first+2) + "rollback to r;" + up(first+9) + "commit"
}

// A transaction that waits for a synchronous standby is in the WAL, and received as committed, before any snapshot sees it.
func TestACommitThatWaitsForAStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db := server.Database(t)
	w := newWAL(t, db, "for all tables")
	db.Exec(t, `set synchronous_commit = local; create table t (id int primary key, n int not null); insert into t values (1, 0)`)
	release := db.HoldCommit(t, "update t set n = n + 1 where id = 1")
	changes := w.read(t)
	held := changes[len(changes)-1]
	r := open(t, db, backfill.Spec{Table: "t", Publication: w.pub})
	before := pages(t, r, 10)[0]
	require.Equal(t, number(t, held.row, 1)-1, number(t, before.Rows[0], 1))
	require.True(t, before.Snapshot.Sees(changes[0].xid))
	require.False(t, before.Snapshot.Sees(held.xid), "%+v", before.Snapshot)

	release()
	after := pages(t, r, 10)[0]
	require.Equal(t, number(t, held.row, 1), number(t, after.Rows[0], 1))
	require.True(t, after.Snapshot.Sees(held.xid))
}
