package catalog_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// capture runs the setup, makes publication and slot, runs the changes, and returns the relation messages that the server sends for them.
func capture(t *testing.T, db *pgtest.DB, setup, publish, changes string) map[string]cdc.Relation {
	t.Helper()
	db.Exec(t, setup)
	slot, pub := db.Slot(t), db.Publication(t)
	db.Exec(t, `create publication "`+pub+`" `+publish)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, slot)
	db.Exec(t, changes)
	rows, err := db.Conn(t).Query(t.Context(), `select data from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', $2)`, slot, pub)
	require.NoError(t, err)
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(t, err)
	sent := map[string]cdc.Relation{}
	for _, m := range messages {
		if pgoutput.Kind(m) != pgoutput.KindRelation {
			continue
		}
		r, err := pgoutput.ParseRelation(m)
		require.NoError(t, err)
		rel := cdc.Relation{SourceID: r.OID, Schema: r.Schema, Name: r.Name, Identity: r.Identity}
		for i, c := range r.Columns {
			rel.Columns = append(rel.Columns, cdc.Column{Name: c.Name, TypeOID: c.TypeOID, TypeMod: c.TypeMod})
			if c.Key {
				rel.IdentityKey = append(rel.IdentityKey, i)
			}
		}
		sent[r.Name] = rel
	}
	return sent
}

func attnums(r *cdc.Relation) []int16 {
	var out []int16
	for _, c := range r.Columns {
		out = append(out, c.AttNum)
	}
	return out
}

func TestRelationKeysAndAttributeNumbers(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	sent := capture(t, db, `
		create table plain (gone int, b int, a int, x text, primary key (a, b)); alter table plain drop column gone;
		create table full_id (x text, id int primary key); alter table full_id replica identity full;
		create table by_index (a int not null, b int not null, id int primary key); create unique index by_index_ab on by_index (b, a);
		alter table by_index replica identity using index by_index_ab;
		create table keyless (x int);
		create table deferred (id int primary key deferrable); alter table deferred replica identity full;
		create table including (payload text, id int, extra text, primary key (id) include (extra));`,
		`for all tables`,
		`insert into plain values (1, 2, 'x'); insert into full_id values ('x', 1); insert into by_index values (1, 2, 3);
		insert into keyless values (1); insert into deferred values (1); insert into including values ('p', 1, 'e')`)
	conn := db.Conn(t)
	cases := map[string]struct {
		attnums       []int16
		primary, iden []int
	}{
		"plain":     {[]int16{2, 3, 4}, []int{0, 1}, []int{0, 1}},
		"full_id":   {[]int16{1, 2}, []int{1}, []int{0, 1}},
		"by_index":  {[]int16{1, 2, 3}, []int{2}, []int{0, 1}},
		"keyless":   {[]int16{1}, nil, nil},
		"deferred":  {[]int16{1}, []int{0}, []int{0}},
		"including": {[]int16{1, 2, 3}, []int{1}, []int{1}},
	}
	for name, c := range cases {
		got, err := catalog.Relation(t.Context(), conn, sent[name])
		require.NoError(t, err, name)
		require.Equal(t, c.attnums, attnums(got), name)
		require.Equal(t, c.primary, got.PrimaryKey, name)
		require.Equal(t, c.iden, got.IdentityKey, name)
		require.Equal(t, got.SourceID, got.OID, name)

		encoded, err := json.Marshal(got)
		require.NoError(t, err)
		var decoded cdc.Relation
		require.NoError(t, json.Unmarshal(encoded, &decoded))
		require.Empty(t, cmp.Diff(*got, decoded), "facts survive being stored")
	}
}

// TestRelationAfterDDL: the message tells the table of its moment, the catalog that of now.
func TestRelationAfterDDL(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	sent := capture(t, db, `create type mood as enum ('ok'); create domain age as int;
		create table renamed (id int primary key, old_name age); create table dropped (id int primary key, a age, m mood);
		create table moved (id int primary key)`, `for all tables`,
		`insert into renamed values (1, 2); insert into dropped values (1, 2, 'ok'); insert into moved values (1)`)
	conn := db.Conn(t)
	db.Exec(t, `alter table renamed rename id to key; alter table renamed rename old_name to new_name; drop table dropped; drop type mood;
		create schema elsewhere; alter table moved set schema elsewhere; alter table elsewhere.moved rename to other`)

	got, err := catalog.Relation(t.Context(), conn, sent["renamed"])
	require.NoError(t, err)
	require.Equal(t, []int{0}, got.PrimaryKey, "the flags know the key under its old name")
	require.Equal(t, []int16{0, 0}, attnums(got))
	require.Equal(t, cdc.KindInt, got.Columns[1].Type.Kind, "the domain is known by its OID")

	got, err = catalog.Relation(t.Context(), conn, sent["dropped"])
	require.ErrorIs(t, err, catalog.ErrGone)
	require.Equal(t, "dropped", got.Name)
	require.Equal(t, []int{0}, got.PrimaryKey)
	require.Equal(t, cdc.KindInt, got.Columns[0].Type.Kind)
	require.Equal(t, cdc.KindInt, got.Columns[1].Type.Kind)
	require.Equal(t, cdc.KindText, got.Columns[2].Type.Kind)

	got, err = catalog.Relation(t.Context(), conn, sent["moved"])
	require.NoError(t, err)
	require.Equal(t, "public.moved", got.Schema+"."+got.Name, "it was called so when it changed")
}

// TestPartitionsReportTheirTopmostTable covers sub-partitions, other column orders, and inheritance, which is not partitioning.
func TestPartitionsReportTheirTopmostTable(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	sent := capture(t, db, `
		create schema events;
		create table events.root (region text, id int, x text, primary key (region, id)) partition by list (region);
		create table mid partition of events.root for values in ('eu') partition by range (id);
		create table leaf (x text, junk int, id int not null, region text not null); alter table leaf drop column junk;
		alter table mid attach partition leaf for values from (0) to (100);
		create table keyless_root (id int not null) partition by range (id);
		create table keyed_leaf partition of keyless_root (primary key (id)) for values from (0) to (100);
		create table parent (id int primary key); create table child (extra int, primary key (id)) inherits (parent);`,
		`for all tables`,
		`insert into events.root values ('eu', 1, 'x'); insert into keyless_root values (1); insert into child values (1, 2)`)
	conn := db.Conn(t)

	got, err := catalog.Relation(t.Context(), conn, sent["leaf"])
	require.NoError(t, err)
	require.Equal(t, "events.root", got.Schema+"."+got.Name)
	require.Equal(t, pgtest.Value[uint32](t, db, `select 'events.root'::regclass::oid`), got.OID)
	require.Equal(t, sent["leaf"].SourceID, got.SourceID)
	require.Equal(t, []int16{3, 2, 1}, attnums(got), "columns x, id, region by their numbers in the root")
	require.Equal(t, []int{2, 1}, got.PrimaryKey, "the root's key, in its order")

	got, err = catalog.Relation(t.Context(), conn, sent["keyed_leaf"])
	require.NoError(t, err)
	require.Equal(t, "keyless_root", got.Name)
	require.Equal(t, []int{0}, got.PrimaryKey, "the partition's own, since the whole has none")

	got, err = catalog.Relation(t.Context(), conn, sent["child"])
	require.NoError(t, err)
	require.Equal(t, "child", got.Name)
	require.Equal(t, got.SourceID, got.OID)

	db.Exec(t, `alter table mid detach partition leaf`)
	got, err = catalog.Relation(t.Context(), conn, sent["leaf"])
	require.NoError(t, err)
	require.Equal(t, "public.leaf", got.Schema+"."+got.Name)
}

func TestPublishedViaRoot(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	if db.Server.Version(t) < 130000 {
		return // publish_via_partition_root came with 13
	}
	sent := capture(t, db, `create table root (id int primary key) partition by range (id); create table leaf partition of root for values from (0) to (9)`,
		`for table root with (publish_via_partition_root)`, `insert into root values (1)`)
	got, err := catalog.Relation(t.Context(), db.Conn(t), sent["root"])
	require.NoError(t, err)
	require.Equal(t, "root", got.Name)
	require.Equal(t, got.SourceID, got.OID)
	require.Equal(t, []int{0}, got.PrimaryKey)
}

func TestTypes(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	types := []struct {
		sql  string
		want cdc.Type
	}{
		{"int8", cdc.Type{Kind: cdc.KindInt, Name: "int8"}},
		{"box[]", array("_box", ';', cdc.Type{Kind: cdc.KindText, Name: "box"})},
		{"age", cdc.Type{Kind: cdc.KindInt, Name: "int4"}},
		{"old_age", cdc.Type{Kind: cdc.KindInt, Name: "int4"}},
		{"old_age[]", array("_old_age", ',', cdc.Type{Kind: cdc.KindInt, Name: "int4"})},
		{"ages", array("_int4", ',', cdc.Type{Kind: cdc.KindInt, Name: "int4"})},
		{"grids", array("_old_age", ',', cdc.Type{Kind: cdc.KindInt, Name: "int4"})},
		{"boxes[]", array("_boxes", ';', cdc.Type{Kind: cdc.KindText, Name: "box"})},
		{"document", cdc.Type{Kind: cdc.KindJSON, Name: "jsonb"}},
		{"mood", cdc.Type{Kind: cdc.KindText, Name: "mood"}},
		{"mood[]", array("_mood", ',', cdc.Type{Kind: cdc.KindText, Name: "mood"})},
		{"pair", cdc.Type{Kind: cdc.KindText, Name: "pair"}},
		{"pair[]", array("_pair", ',', cdc.Type{Kind: cdc.KindText, Name: "pair"})},
		{"floats", cdc.Type{Kind: cdc.KindText, Name: "floats"}},
		{`"_odd"`, cdc.Type{Kind: cdc.KindText, Name: "_odd"}},
		{"vector", cdc.Type{Kind: cdc.KindVector, Name: "vector"}},
		{"vector[]", array("_vector", ',', cdc.Type{Kind: cdc.KindVector, Name: "vector"})},
		{"embedding", cdc.Type{Kind: cdc.KindVector, Name: "vector"}},
		{"hstore", cdc.Type{Kind: cdc.KindText, Name: "hstore"}},
		{"citext", cdc.Type{Kind: cdc.KindText, Name: "citext"}},
		{"int2vector", cdc.Type{Kind: cdc.KindText, Name: "int2vector"}},
		{"trap.vector", cdc.Type{Kind: cdc.KindText, Name: "vector"}},
	}
	// A type named vector, as the extension of that name makes it; its text stands for itself.
	db.Exec(t, `create extension hstore; create extension citext;
		create domain age as int; create domain old_age as age; create domain ages as int[]; create domain grids as old_age[];
		create domain boxes as box; create domain document as jsonb; create type mood as enum ('ok'); create type pair as (a int, b text);
		create type floats as range (subtype = float8); create type "_odd" as enum ('x');
		create type vector;
		create function vector_in(cstring) returns vector language internal immutable strict as 'textin';
		create function vector_out(vector) returns cstring language internal immutable strict as 'textout';
		create type vector (input = vector_in, output = vector_out, like = text);
		create domain embedding as vector;
		create schema trap; create type trap.vector as enum ('up')`)
	columns := []string{"id int primary key"}
	for i, c := range types {
		columns = append(columns, "c"+string(rune('a'+i))+" "+c.sql)
	}
	sent := capture(t, db, "create table t ("+strings.Join(columns, ", ")+")", "for table t", "insert into t values (1)")
	got, err := catalog.Relation(t.Context(), db.Conn(t), sent["t"])
	require.NoError(t, err)
	for i, c := range types {
		require.Empty(t, cmp.Diff(c.want, got.Columns[i+1].Type), c.sql)
	}
}

func array(name string, delim byte, elem cdc.Type) cdc.Type {
	return cdc.Type{Kind: cdc.KindArray, Name: name, Delim: delim, Elem: &elem}
}

func TestTables(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create schema app; create table app.orders (gone int, id bigint, total numeric(10,2) not null, double int generated always as (1) stored, primary key (id));
		alter table app.orders drop column gone; create unlogged table u (a int); create view v as select 1;
		create table root (id int primary key deferrable) partition by range (id); create table leaf partition of root for values from (0) to (9);
		create table ix (a int not null, b int not null); create unique index ix_ba on ix (b, a); alter table ix replica identity using index ix_ba`)
	tables, err := catalog.Tables(t.Context(), db.Conn(t))
	require.NoError(t, err)
	byName := map[string]catalog.Table{}
	var order []string
	for _, x := range tables {
		byName[x.Name] = x
		order = append(order, x.Schema+"."+x.Name)
	}
	require.Equal(t, []string{"app.orders", "public.ix", "public.leaf", "public.root", "public.u"}, order)
	orders := byName["orders"]
	orders.OID = 0
	require.Empty(t, cmp.Diff(catalog.Table{
		Schema: "app", Name: "orders", Kind: "r", Identity: "d", PrimaryKey: []string{"id"}, IdentityIndex: []string{}, KeyUsable: true, Permanent: true, Rows: -1,
		Columns: []catalog.Column{
			{Name: "id", AttNum: 2, TypeOID: 20, Type: "bigint", NotNull: true},
			{Name: "total", AttNum: 3, TypeOID: 1700, Type: "numeric(10,2)", NotNull: true},
			{Name: "double", AttNum: 4, TypeOID: 23, Type: "integer", Generated: true},
		},
	}, orders))
	require.Equal(t, byName["root"].OID, byName["leaf"].Root)
	require.Equal(t, "p", byName["root"].Kind)
	require.False(t, byName["root"].KeyUsable)
	require.False(t, byName["u"].Permanent)
	require.Equal(t, []string{"a", "b"}, byName["ix"].IdentityIndex)
	column, ok := orders.Column("total")
	require.True(t, ok)
	require.Equal(t, int16(3), column.AttNum)
	_, ok = orders.Column("gone")
	require.False(t, ok)

	columns, err := catalog.Columns(t.Context(), db.Conn(t), byName["orders"].OID)
	require.NoError(t, err)
	require.Len(t, columns, 2)
	require.Equal(t, cdc.KindNumeric, columns[1].Type.Kind)
	_, err = catalog.Columns(t.Context(), db.Conn(t), 4_000_000_000)
	require.ErrorIs(t, err, catalog.ErrGone)
}
