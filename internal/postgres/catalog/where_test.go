package catalog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/where"
)

func TestWhereTable(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	conn := db.Conn(t)
	db.Exec(t, `
		create schema shop;
		create type shop.mood as enum ('ok', 'sad');
		alter type shop.mood add value 'happy' before 'ok';
		create domain shop.small as int4;
		create domain shop.smaller as shop.small;
		create type shop.span as range (subtype = int8);
		create table shop.orders (id int8, name text collate "C", "Free Text" text, mood shop.mood, moods shop.mood[], n shop.smaller, s shop.span, d int4 generated always as (1) stored, primary key (id));
		alter table shop.orders drop column d`)
	oid := pgtest.Value[uint32](t, db, `select 'shop.orders'::regclass::oid`)
	table, err := catalog.WhereTable(t.Context(), conn, oid)
	require.NoError(t, err)
	require.Equal(t, "shop", table.Schema)
	require.Equal(t, "orders", table.Name)
	require.Equal(t, byte('d'), table.Identity)
	require.Equal(t, []string{"id"}, table.IdentityColumns)
	require.Len(t, table.Columns, 7)
	require.Equal(t, &where.C, table.Columns[1].Collation)
	require.Nil(t, table.Columns[2].Collation)
	kinds := map[string]byte{}
	for _, u := range table.Types {
		kinds[u.Name] = u.Kind
		if u.Name == "mood" {
			require.Equal(t, []string{"happy", "ok", "sad"}, u.Labels)
		}
	}
	require.Equal(t, byte('e'), kinds["mood"])
	require.Equal(t, byte('a'), kinds["_mood"])
	require.Equal(t, byte('d'), kinds["smaller"])
	require.Equal(t, byte('d'), kinds["small"])
	require.Equal(t, byte('r'), kinds["span"])

	options, err := catalog.WhereOptions(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, pgtest.Shared(t).Major(t), options.Major)
	require.False(t, options.NotUTF8)
	for _, text := range []string{"mood > 'happy' and 'ok' = any (moods)", "n + 1 = 5", "s @> 5::int8", `"Free Text" = 'x'`, "name < 'b'"} {
		_, _, err := where.Compile(text, table, options)
		require.NoError(t, err, text)
	}
	db.Exec(t, `create unique index by_name on shop.orders (name); alter table shop.orders alter name set not null, replica identity using index by_name`)
	table, err = catalog.WhereTable(t.Context(), conn, oid)
	require.NoError(t, err)
	require.Equal(t, byte('i'), table.Identity)
	require.Equal(t, []string{"name"}, table.IdentityColumns)
	_, err = catalog.WhereTable(t.Context(), conn, 1)
	require.ErrorIs(t, err, catalog.ErrGone)
}
