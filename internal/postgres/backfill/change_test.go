package backfill_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
	"github.com/sequinstream/sequin/internal/problem"
)

func numbers(from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, strconv.Itoa(i))
	}
	return out
}

// as connects as a role that may do what it is granted and nothing else.
func as(t *testing.T, db *pgtest.DB, grants string) func(ctx context.Context) (*pgx.Conn, error) {
	t.Helper()
	role := db.Name + "_r"
	db.Exec(t, "create role "+role+" login")
	t.Cleanup(func() { db.Exec(t, "drop owned by "+role+"; drop role "+role) })
	db.Exec(t, "grant usage on schema public to "+role)
	db.Exec(t, grants+" to "+role)
	cfg, err := postgres.ParseURL(db.URL)
	require.NoError(t, err)
	cfg.User = role
	return cfg.Connect
}

// ids reads the rest of a table behind a cursor.
func ids(t *testing.T, r *backfill.Reader, at backfill.Cursor, limit int) []string {
	t.Helper()
	var out []string
	for done := false; !done; {
		p, err := r.Page(t.Context(), at, limit)
		require.NoError(t, err)
		i := p.Relation.ColumnIndex("id")
		for _, row := range p.Rows {
			d, _ := row.Column(i)
			out = append(out, string(d.Text))
		}
		at, done = p.Next, p.Done
	}
	return out
}

// A table that is written anew looks empty to snapshots from before. A page that waited for the lock must not take it for read to the end.
func TestATableThatIsWrittenAnew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ddl   string
		keyed bool
		grant string
		want  []string
	}{
		"new type":                 {"alter table t alter v type text using v || '!'", true, "grant select on t", numbers(1, 100)},
		"new type, columns only":   {"alter table t alter v type text using v || '!'", true, "grant select (id, v) on t", numbers(1, 100)},
		"new type, keyless":        {"alter table t alter v type text using v || '!'", false, "grant select on t", numbers(1, 100)},
		"truncated, columns only":  {"truncate t; insert into t values (7, 1)", true, "grant select (id, v) on t", []string{"7"}},
		"a column, keyless":        {"alter table t add w int default random() * 9", false, "grant select on t", numbers(1, 100)},
		"another default, no file": {"alter table t add w int default 7", true, "grant select on t", numbers(1, 100)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t).Database(t)
			db.Exec(t, "create table t (id int, v int); insert into t select i, i from generate_series(1, 100) i; analyze t")
			if c.keyed {
				db.Exec(t, "alter table t add primary key (id)")
			}
			r, err := backfill.New(t.Context(), as(t, db, c.grant), backfill.Spec{Schema: "public", Table: "t", Timeout: time.Minute})
			require.NoError(t, err)
			defer r.Close(context.WithoutCancel(t.Context()))
			other, watcher := db.Conn(t), db.Conn(t)
			_, err = other.Exec(t.Context(), "begin; "+c.ddl, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			committed := make(chan error, 1)
			go func() {
				err := waitForReader(context.WithoutCancel(t.Context()), watcher)
				_, end := other.Exec(context.WithoutCancel(t.Context()), "commit")
				committed <- errors.Join(err, end)
			}()
			require.ElementsMatch(t, c.want, ids(t, r, backfill.Cursor{}, 1000))
			require.NoError(t, <-committed)
		})
	}
}

// A column that makes room for another of its name while a page waits is not taken for it.
func TestAColumnThatMakesRoomForAnother(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, "create table t (id int primary key, v int); insert into t select i, i from generate_series(1, 5) i")
	r, err := backfill.New(t.Context(), as(t, db, "grant select on t"), backfill.Spec{Schema: "public", Table: "t", Timeout: time.Minute})
	require.NoError(t, err)
	defer r.Close(context.WithoutCancel(t.Context()))
	other, watcher := db.Conn(t), db.Conn(t)
	_, err = other.Exec(t.Context(), "begin; alter table t drop v; alter table t add v text default 'seven'", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	committed := make(chan error, 1)
	go func() {
		err := waitForReader(context.WithoutCancel(t.Context()), watcher)
		_, end := other.Exec(context.WithoutCancel(t.Context()), "commit")
		committed <- errors.Join(err, end)
	}()
	p, err := r.Page(t.Context(), backfill.Cursor{}, 10)
	require.NoError(t, err)
	require.NoError(t, <-committed)
	require.EqualValues(t, 3, p.Relation.Columns[1].AttNum)
	require.Equal(t, "text", p.Relation.Columns[1].Type.Name)
	d, _ := p.Rows[0].Column(1)
	require.Equal(t, "seven", string(d.Text))
}

// waitForReader waits until somebody waits for a lock in this database.
func waitForReader(ctx context.Context, conn *pgx.Conn) error {
	for waiting := false; !waiting; {
		err := conn.QueryRow(ctx, `select exists (select from pg_locks l join pg_database d on d.oid = l.database
			where not l.granted and d.datname = current_database()) from pg_sleep(0.01)`).Scan(&waiting)
		if err != nil {
			return err
		}
	}
	return nil
}

// VACUUM FULL moves all rows without a change in the WAL: the blocks are read again from the first.
func TestRowsThatMoveWithoutAChange(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int, pad text); insert into t select i, repeat('x', 400) from generate_series(1, 2000) i;
		delete from t where id % 2 = 0 and id < 1500`)
	db.Exec(t, "vacuum analyze t")
	want := pgtest.Value[[]string](t, db, "select array_agg(id::text order by id) from t")
	r := open(t, db, backfill.Spec{Table: "t"})
	p, err := r.Page(t.Context(), backfill.Cursor{}, 1000)
	require.NoError(t, err)
	require.False(t, p.Done)
	db.Exec(t, "vacuum full t")
	require.ElementsMatch(t, want, ids(t, r, p.Next, 300), "all of them, from the beginning")
	// Without that, what lies there once is read once.
	require.ElementsMatch(t, want, ids(t, r, backfill.Cursor{}, 7))
}

// Partitions come and go.
func TestPartitionsComeAndGo(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key) partition by range (id);
		create table t1 partition of t for values from (0) to (100); create table t2 partition of t for values from (100) to (200); create table t3 partition of t for values from (200) to (300);
		insert into t select generate_series(0, 299)`)
	r := open(t, db, backfill.Spec{Table: "t"})
	p, err := r.Page(t.Context(), backfill.Cursor{}, 50)
	require.NoError(t, err)
	require.Equal(t, "t1", p.Relation.PartitionName)
	db.Exec(t, `drop table t1; alter table t detach partition t2; create table t4 partition of t for values from (300) to (400); insert into t select generate_series(300, 309)`)
	require.Equal(t, numbers(200, 309), ids(t, r, p.Next, 50))
	db.Exec(t, `drop table t3; drop table t4`)
	require.Empty(t, ids(t, r, p.Next, 50))
}

// A reader outlives its connection.
func TestAConnectionThatBreaks(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key); insert into t select generate_series(1, 20)`)
	r := open(t, db, backfill.Spec{Table: "t"})
	p, err := r.Page(t.Context(), backfill.Cursor{}, 10)
	require.NoError(t, err)
	db.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	_, err = r.Page(t.Context(), p.Next, 10)
	require.Error(t, err)
	require.True(t, postgres.Transient(err), "%v", err)
	require.NotErrorIs(t, err, backfill.ErrTimeout)
	require.Equal(t, numbers(11, 20), ids(t, r, p.Next, 10))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Page(gone, p.Next, 10)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, numbers(11, 20), ids(t, r, p.Next, 10))
}

// A condition that almost no row meets makes no page too long: after a timeout a page ends when so many rows were looked at.
func TestRareRows(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key, at date); insert into t select i, case when i % 3 > 0 then '2025-01-01'::date + i end from generate_series(1, 300) i;
		create function slow(i int) returns boolean language plpgsql as $$ begin perform pg_sleep(0.003); return i % 100 = 0; end $$`)
	for _, sort := range []string{"", "at"} {
		r := open(t, db, backfill.Spec{Table: "t", SortColumn: sort, Where: "slow(id)", Timeout: 600 * time.Millisecond})
		_, err := r.Page(t.Context(), backfill.Cursor{}, 50)
		require.ErrorIs(t, err, backfill.ErrTimeout, "the third such row is too far away")
		require.ElementsMatch(t, []string{"100", "200", "300"}, ids(t, r, backfill.Cursor{}, 50))
	}
	keyless := open(t, db, backfill.Spec{Table: "t", Where: "slow(id)", Blocks: &backfill.Blocks{}, Timeout: time.Minute})
	require.ElementsMatch(t, []string{"100", "200", "300"}, ids(t, keyless, backfill.Cursor{}, 50))
}

// Small rows say nothing of the large ones behind them; a page ends all the same.
func TestLargeRowsBehindSmallOnes(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key, v text); alter table t alter v set storage external; insert into t select i, repeat('x', case when i > 500 then 500000 else 1 end) from generate_series(1, 560) i;
		create table k (id int, v text); alter table k alter v set storage external; insert into k select * from t`)
	narrow := as(t, db, "grant select (id, v) on t")
	for _, table := range []string{"t", "k"} {
		for _, connect := range []func(ctx context.Context) (*pgx.Conn, error){connector(t, db), narrow} {
			if table == "k" {
				connect = connector(t, db) // the place of a row is for those who may read all of the table
			}
			r, err := backfill.New(t.Context(), connect, backfill.Spec{Schema: "public", Table: table})
			require.NoError(t, err)
			var got []string
			at, done := backfill.Cursor{}, false
			for !done {
				p, err := r.Page(t.Context(), at, 1000)
				require.NoError(t, err)
				require.Less(t, p.Bytes, 2*backfill.PageBytes+600_000)
				for _, row := range p.Rows {
					d, _ := row.Column(0)
					got = append(got, string(d.Text))
				}
				at, done = p.Next, p.Done
			}
			require.Equal(t, numbers(1, 560), got, table)
			r.Close(t.Context())
		}
	}
}

// What a role may not see is an error, not missing.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key, v int); create table hidden (id int primary key); alter table hidden enable row level security;
		create table listed (id int primary key, secret int); create table p (id int primary key) partition by range (id); create table p1 partition of p for values from (0) to (9);
		insert into t values (1, 1); insert into listed values (1, 2)`)
	connect := as(t, db, "grant select (id) on listed")
	db.Exec(t, "grant select on hidden, p to "+db.Name+"_r")
	for table, code := range map[string]string{"t": "backfill_no_privilege", "hidden": "backfill_row_security", "listed": "backfill_no_privilege", "p": "backfill_no_privilege"} {
		_, err := backfill.New(t.Context(), connect, backfill.Spec{Schema: "public", Table: table})
		require.Equal(t, code, problem.Code(err), "%s: %v", table, err)
	}
	if db.Server.Major(t) < 15 {
		return // publications have no lists of columns
	}
	db.Exec(t, "create publication listed_ids for table listed (id)")
	r, err := backfill.New(t.Context(), connect, backfill.Spec{Schema: "public", Table: "listed", Publication: "listed_ids"})
	require.NoError(t, err)
	defer r.Close(t.Context())
	require.Equal(t, []string{"1"}, ids(t, r, backfill.Cursor{}, 5))
	db.Exec(t, "revoke select (id) on listed from "+db.Name+"_r")
	_, err = r.Page(t.Context(), backfill.Cursor{}, 5)
	require.Equal(t, "backfill_no_privilege", problem.Code(err))
	db.Exec(t, "alter publication listed_ids drop table listed")
	_, err = r.Page(t.Context(), backfill.Cursor{}, 5)
	require.Equal(t, "backfill_table_not_published", problem.Code(err))
}

// What happens to the table and its columns between two pages is said clearly, or made up for.
func TestWhatBecomesOfTheTable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec backfill.Spec
		ddl  string
		code string
	}{
		"dropped":              {backfill.Spec{}, "drop table t", "backfill_table_missing"},
		"renamed":              {backfill.Spec{}, "alter table t rename to u", "backfill_table_missing"},
		"moved":                {backfill.Spec{}, "create schema s; alter table t set schema s", "backfill_table_missing"},
		"schema renamed":       {backfill.Spec{Schema: "x"}, "alter schema x rename to y", "backfill_table_missing"},
		"sort column gone":     {backfill.Spec{SortColumn: "at"}, "alter table t drop at", "backfill_column_missing"},
		"column of where gone": {backfill.Spec{Where: "at is null"}, "alter table t drop at", "backfill_query"},
		"key gone":             {backfill.Spec{Keys: [][]string{{"1"}, {"15"}}}, "alter table t drop constraint t_pkey", "backfill_no_key"},
		"unlogged":             {backfill.Spec{}, "alter table t set unlogged", "backfill_not_a_table"},
		"key renamed":          {backfill.Spec{}, "alter table t rename id to id2; alter table t add id int", ""},
		"another type":         {backfill.Spec{}, "alter table t alter id type bigint", ""},
		"key taken away":       {backfill.Spec{}, "alter table t drop constraint t_pkey", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t).Database(t)
			db.Exec(t, "create schema x; create table t (id int primary key, at date); insert into t select generate_series(1, 20); create table x.t as select * from t; alter table x.t add primary key (id)")
			c.spec.Table = "t"
			r := open(t, db, c.spec)
			p, err := r.Page(t.Context(), backfill.Cursor{}, 5)
			require.NoError(t, err)
			db.Exec(t, c.ddl)
			next := p.Next
			p, err = r.Page(t.Context(), next, 50)
			if c.code != "" {
				require.Equal(t, c.code, problem.Code(err), "%v", err)
				require.NotErrorIs(t, err, backfill.ErrTimeout)
				return
			}
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(p.Rows), 15, "what was left at least")
		})
	}
}
