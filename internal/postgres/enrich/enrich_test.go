package enrich_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/postgres/enrich"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const ddl = `
	create type kind as enum ('small', 'big');
	create table orders (id bigint primary key, customer int);
	create table customers (id int primary key, name text, total numeric, born date, kind kind, doc jsonb, big bigint, at timestamptz);
	insert into customers values (1, 'Ann "A"', 12.50, '2000-01-02', 'big', '{"a":1.10}', 9007199254740993, '2024-05-06 07:08:09.123456+02'), (2, null, null, null, null, null, null, null);
	insert into orders select i, 1 + i % 3 from generate_series(1, 10) i`

func relation(name string, key ...string) *cdc.Relation {
	rel := &cdc.Relation{OID: 1, Schema: "public", Name: name, Identity: 'd'}
	for i, k := range key {
		rel.Columns = append(rel.Columns, cdc.Column{Name: k, TypeOID: 20})
		rel.PrimaryKey = append(rel.PrimaryKey, i)
	}
	return rel
}

func insert(rel *cdc.Relation, values ...any) *cdc.Change {
	return &cdc.Change{Op: cdc.OpInsert, Relation: rel, New: cdctest.Tuple(values...)}
}

func query(t *testing.T, db *pgtest.DB, sql string, change func(*enrich.Options)) *enrich.Query {
	t.Helper()
	source, err := postgres.ParseURL(db.URL)
	require.NoError(t, err)
	o := enrich.Options{Name: "e", SQL: sql, Connect: source.Connect}
	if change != nil {
		change(&o)
	}
	q := enrich.New(o)
	t.Cleanup(q.Close)
	return q
}

func TestEnrich(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, ddl)
	orders := relation("orders", "id")
	q := query(t, db, `select o.id, c.* from (select id as oid, * from orders) o left join lateral (select name, total, born, kind, doc, big, at from customers c where c.id = o.customer) c on true where o.id = any($1)`, nil)
	deleted := &cdc.Change{Op: cdc.OpDelete, Relation: orders, OldKind: 'K', Old: cdctest.Tuple("3")}
	found, err := q.Enrich(t.Context(), []*cdc.Change{insert(orders, "3"), insert(orders, "1"), insert(orders, "99"), insert(orders, "3"), deleted})
	require.NoError(t, err)
	const ann = `{"id":3,"name":"Ann \"A\"","total":"12.50","born":"2000-01-02","kind":"big","doc":{"a": 1.10},"big":9007199254740993,"at":"2024-05-06T05:08:09.123456Z"}`
	require.NoError(t, found[0].Err)
	require.Equal(t, ann, string(found[0].Object), "as in messages, to the last digit")
	require.Equal(t, `{"id":1,"name":null,"total":null,"born":null,"kind":null,"doc":null,"big":null,"at":null}`, string(found[1].Object))
	require.Nil(t, found[2].Object, "no such row")
	require.Equal(t, ann, string(found[3].Object), "two messages of one row")
	require.Equal(t, ann, string(found[4].Object), "the key of a deleted row")
}

// Parameters are the columns of the key in the order of their names; values may hold anything.
func TestCompositeKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create domain code as text; create table invoices (tenant uuid, no bigint, c code, title text, primary key (tenant, no, c));
		insert into invoices values ('00000000-0000-0000-0000-000000000001', 7, 'a"\b,{}', 'seven'), ('00000000-0000-0000-0000-000000000001', 8, '', 'eight')`)
	rel, err := catalogRelation(t, db, "invoices")
	require.NoError(t, err)
	q := query(t, db, "select * from invoices where (c, no, tenant) in (select * from unnest($1, $2, $3))", nil)
	found, err := q.Enrich(t.Context(), []*cdc.Change{
		insert(rel, "00000000-0000-0000-0000-000000000001", "7", `a"\b,{}`, nil), insert(rel, "00000000-0000-0000-0000-000000000001", "8", "", nil),
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"tenant":"00000000-0000-0000-0000-000000000001","no":7,"c":"a\"\\b,{}","title":"seven"}`, string(found[0].Object))
	require.JSONEq(t, `{"tenant":"00000000-0000-0000-0000-000000000001","no":8,"c":"","title":"eight"}`, string(found[1].Object))
}

func catalogRelation(t *testing.T, db *pgtest.DB, name string) (*cdc.Relation, error) {
	t.Helper()
	oid := pgtest.Value[uint32](t, db, "select $1::regclass::oid", name)
	columns, err := catalog.Columns(t.Context(), db.Conn(t), oid)
	if err != nil {
		return nil, err
	}
	return &cdc.Relation{OID: oid, Schema: "public", Name: name, Columns: columns, PrimaryKey: []int{0, 1, 2}}, nil
}

func TestWhatFails(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, ddl)
	orders := relation("orders", "id")
	for name, test := range map[string]struct {
		sql    string
		change func(*enrich.Options)
		says   string
	}{
		"no such column":      {"select id, nix from orders where id = any($1)", nil, `column "nix" does not exist (SQLSTATE 42703)`},
		"without the key":     {"select customer from orders where id = any($1)", nil, `does not return "id"`},
		"too many parameters": {"select id from orders where id = any($1) and customer = any($2)", nil, "has 2 parameters, and the primary key 1 columns"},
		"too many rows":       {"select o.id from orders o, orders where o.id = any($1)", func(o *enrich.Options) { o.MaxRows = 5 }, "returns more than 5 rows"},
		"too slow":            {"select id from orders where id = any($1) and pg_sleep(10) is null", func(o *enrich.Options) { o.Timeout = 50 * time.Millisecond }, "did not answer within 50ms"},
		"it writes":           {"with d as (delete from orders where id = any($1) returning id) select id from d", nil, "read-only transaction"},
		"two statements":      {"select id from orders where id = any($1); drop table orders", nil, "multiple commands"},
		"a row that fails":    {"select id, 1 / (id - 3) from orders where id = any($1)", nil, "division by zero"},
		"nobody can be asked": {"select 1", func(o *enrich.Options) {
			o.Connect = func(context.Context) (*pgx.Conn, error) { return nil, errors.New("no route") }
		}, "cannot be reached: no route"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := query(t, db, test.sql, test.change)
			for range 2 { // and the connection is not the worse for it
				_, err := q.Enrich(t.Context(), []*cdc.Change{insert(orders, "3")})
				require.ErrorContains(t, err, test.says)
				require.Equal(t, "enrichment_failed", problem.Code(err))
			}
		})
	}
	q := query(t, db, "select o.id from orders o join generate_series(1, 2) on o.id <> 4 where o.id = any($1)", nil)
	found, err := q.Enrich(t.Context(), []*cdc.Change{insert(orders, "3"), insert(orders, "4"), insert(relation("nokey"), "1"), insert(orders, nil)})
	require.NoError(t, err)
	require.ErrorContains(t, found[0].Err, "more than one row for a key")
	require.NoError(t, found[1].Err)
	require.ErrorContains(t, found[2].Err, "no primary key")
	require.ErrorContains(t, found[3].Err, "does not tell its row's primary key")
}

// Connections that died, and statements that the server has forgotten or that return other columns now, are replaced without anybody noticing.
func TestConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, ddl)
	orders := relation("orders", "id")
	q := query(t, db, "select * from orders where id = any($1)", nil)
	get := func() string {
		found, err := q.Enrich(t.Context(), []*cdc.Change{insert(orders, "3")})
		require.NoError(t, err)
		require.NoError(t, found[0].Err)
		return string(found[0].Object)
	}
	require.JSONEq(t, `{"id":3,"customer":1}`, get())
	db.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	require.JSONEq(t, `{"id":3,"customer":1}`, get())
	db.Exec(t, "alter table orders add column more text default 'x'")
	require.JSONEq(t, `{"id":3,"customer":1,"more":"x"}`, get())
}

// One query for a batch, a bounded number of connections, answers kept for as long as was allowed.
func TestBatchesPoolAndCache(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, ddl+"; create sequence asked")
	orders := relation("orders", "id")
	q := query(t, db, "select id, customer from orders where id = any($1) and (select setval('asked', 1, false) is null) is not true", nil)
	_, err := q.Enrich(t.Context(), []*cdc.Change{insert(orders, "1")})
	require.ErrorContains(t, err, "read-only")

	var mu sync.Mutex
	open, most := 0, 0
	q = query(t, db, "select id, customer, clock_timestamp()::text as at from orders where id = any($1)", func(o *enrich.Options) {
		connect := o.Connect
		o.Connections, o.CacheFor = 2, time.Hour
		o.Connect = func(ctx context.Context) (*pgx.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			open++
			most = max(most, open)
			return connect(ctx)
		}
	})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			var batch []*cdc.Change
			for i := range 10 {
				batch = append(batch, insert(orders, strconv.Itoa(i+1)))
			}
			found, err := q.Enrich(t.Context(), batch)
			if err != nil || len(found) != 10 || found[9].Object == nil {
				t.Errorf("%v %v", found, err)
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most, 2)
	first, err := q.Enrich(t.Context(), []*cdc.Change{insert(orders, "1"), insert(orders, "77")})
	require.NoError(t, err)
	again, err := q.Enrich(t.Context(), []*cdc.Change{insert(orders, "1"), insert(orders, "77")})
	require.NoError(t, err)
	require.Equal(t, first, again, "nothing is asked again, not even for what was not there")
}
