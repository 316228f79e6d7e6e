package backfill_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
	"github.com/sequinstream/sequin/internal/problem"
)

// Parts have every row once between them.
func TestPartsHaveEveryRowOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `
		create table ints (id int primary key, pad text) with (fillfactor = 10); insert into ints select i, repeat('x', 700) from generate_series(-20000, 20000) i;
		create table texts (k text collate "C", id int, pad text, primary key (k, id)) with (fillfactor = 10); insert into texts select 'k,"' || i % 100, i, repeat('x', 700) from generate_series(1, 40000) i;
		create table alike (k int, id int, primary key (k, id), pad text) with (fillfactor = 10); insert into alike select 1, i, repeat('x', 700) from generate_series(1, 40000) i;
		create table keyless (id int, pad text) with (fillfactor = 10); insert into keyless select i, repeat('x', 700) from generate_series(1, 40000) i;
		create table parts (id int primary key, pad text) partition by hash (id);
		create table parts_0 partition of parts for values with (modulus 2, remainder 0) with (fillfactor = 10); create table parts_1 partition of parts for values with (modulus 2, remainder 1) with (fillfactor = 10);
		insert into parts select * from ints;
		create table small (id int primary key); insert into small values (1), (2);
		create table nulls (id int primary key, at int, pad text) with (fillfactor = 10); insert into nulls select i, nullif(i % 10, 3), repeat('x', 700) from generate_series(1, 40000) i;
		create index on nulls (at desc);
		create table empty (id int primary key)`)
	for name, c := range map[string]struct {
		spec  backfill.Spec
		parts int
		rows  string
	}{
		"ints":      {backfill.Spec{Table: "ints"}, 4, "ints"},
		"bounded":   {backfill.Spec{Table: "ints", From: "-5000", To: "5000"}, 4, "ints where id >= -5000 and id < 5000"},
		"where":     {backfill.Spec{Table: "ints", Where: "id > 0"}, 4, "ints where id > 0"},
		"key query": {backfill.Spec{Table: "ints", KeyQuery: "select id from ints where id > 15000"}, 4, "ints where id > 15000"},
		"texts":     {backfill.Spec{Table: "texts"}, 4, "texts"},
		"alike":     {backfill.Spec{Table: "alike"}, 2, "alike"},
		"keyless":   {backfill.Spec{Table: "keyless"}, 4, "keyless"},
		"parts":     {backfill.Spec{Table: "parts"}, 4, "parts"},
		"small":     {backfill.Spec{Table: "small"}, 1, "small"},
		"nulls":     {backfill.Spec{Table: "nulls", SortColumn: "at"}, 1, "nulls"},
		"keys":      {backfill.Spec{Table: "ints", Keys: [][]string{{"5"}}}, 1, "ints where id = 5"},
		"empty":     {backfill.Spec{Table: "empty"}, 1, "empty"},
		"nothing":   {backfill.Spec{Table: "ints", Where: "false"}, 1, "ints where false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := open(t, db, c.spec)
			shares, err := r.Split(t.Context(), 4)
			require.NoError(t, err)
			require.Len(t, shares, c.parts)
			seen, smallest := map[string]int{}, 1<<30
			for _, share := range shares {
				text, err := json.Marshal(share)
				require.NoError(t, err)
				part := c.spec
				require.NoError(t, json.Unmarshal(text, &part.Blocks), "a share is kept as JSON")
				got := all(t, open(t, db, part), 5000, "id")
				smallest = min(smallest, len(got))
				for _, id := range got {
					seen[id]++
					require.Equal(t, 1, seen[id], id)
				}
			}
			want := pgtest.Value[[]string](t, db, "select coalesce(array_agg(id::text), '{}') from "+c.rows)
			require.Len(t, seen, len(want))
			if c.parts == 4 && len(want) > 30_000 { // of fewer the sample has too few to be even
				require.Greater(t, smallest, len(want)/12, "about equal shares")
			}
			n, err := r.Estimate(t.Context())
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, int64(-1))
		})
	}
}

// A large table is not sorted for each page.
func TestALargeTableIsNotSorted(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key, at int, pad text) with (fillfactor = 10); insert into t select i, i % 10, repeat('x', 700) from generate_series(1, 9000) i;
		create index on t (at) where at > 3; create index on t using hash (at); create index on t (pad, at)`)
	_, err := backfill.New(t.Context(), connector(t, db), backfill.Spec{Schema: "public", Table: "t", SortColumn: "at"})
	require.Equal(t, "backfill_sort_unindexed", problem.Code(err), "%v", err)
	require.Len(t, all(t, open(t, db, backfill.Spec{Table: "t", SortColumn: "id"}), 5000, "id"), 9000)
	db.Exec(t, "create index on t (at)")
	require.Len(t, all(t, open(t, db, backfill.Spec{Table: "t", SortColumn: "at"}), 5000, "id"), 9000)
}
