package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/pgtest"
)

const orders = `create table orders (id int primary key, status text, doc json); alter table orders replica identity full`

// follow starts sequin tail and returns when its slot exists.
func follow(t *testing.T, db *pgtest.DB, args ...string) *command {
	t.Helper()
	c := begin(t, append([]string{"tail", db.URL}, args...)...)
	c.errs.has(t, "following ")
	return c
}

func publications(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	return pgtest.Value[string](t, db, `select coalesce(string_agg(pubname, ',' order by pubname), '') from pg_publication`)
}

// nothingLeft checks that neither slot nor publication is left in the database.
func nothingLeft(t *testing.T, db *pgtest.DB) {
	t.Helper()
	require.Empty(t, publications(t, db))
	noSlotLeft(t, db)
}

// noSlotLeft waits until no slot is left: the server drops a temporary one when it notices the end of the connection.
func noSlotLeft(t *testing.T, db *pgtest.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		return pgtest.Value[int](t, db, `select count(*) from pg_replication_slots where database = current_database()`) == 0
	}, patience, pollEvery)
}

func TestTailPrintsInsertsUpdatesDeletesAndTruncates(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	c := follow(t, db)
	db.Exec(t, `insert into orders values (1, 'new', '{"a": 1}')`)
	db.Exec(t, `begin; update orders set status = 'paid'; delete from orders; commit`)
	db.Exec(t, `truncate orders`)

	m := c.message()
	require.Equal(t, "insert", m.Action)
	require.Equal(t, "orders", m.Metadata.Table)
	require.JSONEq(t, `{"id": 1, "status": "new", "doc": {"a": 1}}`, string(m.Record))
	require.JSONEq(t, `null`, string(m.Changes))
	m = c.message()
	require.Equal(t, "update", m.Action)
	require.JSONEq(t, `{"id": 1, "status": "paid", "doc": {"a": 1}}`, string(m.Record))
	require.JSONEq(t, `{"status": "new"}`, string(m.Changes))
	m = c.message()
	require.Equal(t, "delete", m.Action)
	require.JSONEq(t, `{"id": 1, "status": "paid", "doc": {"a": 1}}`, string(m.Record))
	m = c.message()
	require.Equal(t, "truncate", m.Action)

	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailKeepsAMessageOnOneLine(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	c := follow(t, db, "--record-only", "--limit", "1")
	db.Exec(t, "insert into orders values (1, E'two\nlines', E'{\n  \"a\" : [ 1,\n 2 ],\n  \"b\": \"x y\"\n}')")
	require.Equal(t, `{"id":1,"status":"two\nlines","doc":{"a":[1,2],"b":"x y"}}`, c.line())
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailEndsAtItsLimit(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	c := follow(t, db, "-n", "3")
	db.Exec(t, `insert into orders select g, 'new' from generate_series(1, 1000) g`)
	require.Equal(t, cli.ExitOK, c.end())
	var all []string
	for line := range c.lines {
		all = append(all, line)
	}
	require.Len(t, all, 3)
	nothingLeft(t, db)
}

func TestTailEndsWhenItsReaderIsGone(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	c := follow(t, db)
	require.NoError(t, c.out.Close())
	db.Exec(t, `insert into orders values (1, 'new')`)
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

// fullDisk is an output that cannot be written.
type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestTailFailsWhenItCannotWrite(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	errs, code := &text{}, make(chan int, 1)
	go func() {
		code <- cli.Main(t.Context(), cli.Streams{In: strings.NewReader(""), Out: fullDisk{}, Err: errs}, []string{"tail", db.URL})
	}()
	errs.has(t, "following ")
	db.Exec(t, `insert into orders values (1, 'new')`)
	require.Equal(t, cli.ExitError, <-code)
	require.Contains(t, errs.String(), errFull.Error())
	nothingLeft(t, db)
}

func TestTailNamesWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders+`; create table log (line text); create table visits (id int not null, at date); create unique index visits_id on visits (id)`)
	c := follow(t, db)
	for _, want := range []string{
		`left out "public"."log": table "public"."log" has no primary key: UPDATE and DELETE on it would fail`,
		`repair: alter table "public"."log" replica identity full`,
		`left out "public"."visits"`,
		`repair: alter table "public"."visits" replica identity using index "visits_id"`,
	} {
		require.Contains(t, c.errs.String(), want)
	}
	// What was left out goes on working, and is not printed.
	db.Exec(t, `insert into log values ('x'); update log set line = 'y'; delete from log`)
	db.Exec(t, `insert into orders values (1, 'new')`)
	require.Equal(t, "orders", c.message().Metadata.Table)
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailFollowsOnlyTheTablesNamed(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders+`; create table other (id int primary key); create schema app; create table app.users (id int primary key);
		create table parts (id int primary key) partition by range (id); create table parts_1 partition of parts for values from (0) to (100)`)
	c := follow(t, db, "--table", "orders", "--table", "app.users", "--table", "parts")
	db.Exec(t, `insert into other values (1); insert into app.users values (7); insert into parts values (1); insert into orders values (1, 'new')`)
	require.JSONEq(t, `{"id": 7}`, string(c.message().Record))
	require.Equal(t, "parts", c.message().Metadata.Table)
	require.Equal(t, "orders", c.message().Metadata.Table)
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())

	c = follow(t, db, "--table", "parts_1")
	db.Exec(t, `insert into orders values (2, 'new'); insert into parts values (2)`)
	require.JSONEq(t, `{"id": 2}`, string(c.message().Record))
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailWithoutATableToFollow(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	code, out, errs := run(t, "tail", db.URL)
	require.Equal(t, cli.ExitError, code)
	require.Empty(t, out)
	require.Contains(t, errs, "[publication_empty]")
	require.Contains(t, errs, "hint:")

	db.Exec(t, `create table log (line text)`)
	code, _, errs = run(t, "tail", db.URL)
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errs, `left out "public"."log"`)
	require.Contains(t, errs, "[publication_empty]")

	code, _, errs = run(t, "tail", db.URL, "--table", "log", "--table", "nowhere.nothing")
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errs, `"nowhere"."nothing"`)
	require.Contains(t, errs, "[table_not_found]")
	nothingLeft(t, db)
}

func TestTailUsesAPublicationThatIsThere(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders+`; create table other (id int primary key); create table third (id int primary key); create publication mine for table orders, other`)
	c := follow(t, db, "--publication", "mine", "--table", "other")
	db.Exec(t, `insert into orders values (1, 'new'); insert into third values (1); insert into other values (2)`)
	m := c.message()
	require.Equal(t, "other", m.Metadata.Table)
	require.Equal(t, "mine", publications(t, db), "it makes none of its own")
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())

	c = follow(t, db, "--publication", "mine")
	db.Exec(t, `insert into third values (2); insert into orders values (2, 'new')`)
	require.Equal(t, "orders", c.message().Metadata.Table)
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	require.Equal(t, "mine", publications(t, db), "it is not ours to remove")
	noSlotLeft(t, db)

	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"does not cover", []string{"--publication", "mine", "--table", "third"}, []string{"[table_not_published]", `alter publication "mine" add table only "public"."third"`}},
		{"unknown table", []string{"--publication", "mine", "--table", "nothing"}, []string{"[table_not_found]", `"public"."nothing"`}},
		{"unknown publication", []string{"--publication", "yours"}, []string{"[publication_not_found]", `"yours"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := run(t, append([]string{"tail", db.URL}, tt.args...)...)
			require.Equal(t, cli.ExitError, code)
			require.Empty(t, out)
			for _, want := range tt.want {
				require.Contains(t, errs, want)
			}
		})
	}
}

// TestTailShowsAPartitionByItsOwnOrItsParentsName covers publications that send a partition's changes as its own.
func TestTailShowsAPartitionedTableOfAPublication(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table parts (id int primary key) partition by range (id);
		create table parts_1 partition of parts for values from (0) to (100) partition by range (id);
		create table parts_1a partition of parts_1 for values from (0) to (100); create table other (id int primary key);
		create publication mine for table parts_1a, other`)
	for _, name := range []string{"parts", "parts_1", "parts_1a"} {
		c := follow(t, db, "--publication", "mine", "--table", name)
		db.Exec(t, `insert into other values (1); insert into parts values (1); delete from other; delete from parts`)
		require.Equal(t, "parts", c.message().Metadata.Table)
		require.Equal(t, "parts", c.message().Metadata.Table)
		c.stop()
		require.Equal(t, cli.ExitOK, c.end())
	}
	noSlotLeft(t, db)
}

func TestTailAnnotatesTransactions(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	db := server.Database(t)
	db.Exec(t, orders)
	c := follow(t, db)
	db.Exec(t, `begin; select pg_logical_emit_message(true, 'sequin:transaction_annotations.set', '{"by": "ann"}'); insert into orders values (1, 'new'); commit`)
	m := c.message()
	if server.Major(t) >= 14 {
		require.JSONEq(t, `{"by": "ann"}`, string(m.Metadata.Annotations))
	} else {
		require.Equal(t, json.RawMessage("null"), m.Metadata.Annotations, "13 does not send logical messages")
	}
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailIsInterruptedWhileItsSlotWaits(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	blocker := db.Conn(t)
	_, err := blocker.Exec(t.Context(), `begin; insert into orders values (1, 'new')`)
	require.NoError(t, err)
	c := begin(t, "tail", db.URL)
	c.errs.has(t, "[slot_creation_waits]")
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	_, err = blocker.Exec(context.WithoutCancel(t.Context()), `rollback`)
	require.NoError(t, err)
	nothingLeft(t, db)
}
