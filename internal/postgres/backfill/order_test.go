package backfill_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
)

// What compares as alike but reads otherwise, and types whose operators are in no search path.
func TestKeysThatCompareOtherwiseThanTheirText(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	for name, c := range map[string]struct{ ddl, sort string }{
		"citext elsewhere":     {`create table t (k ext.citext primary key, n serial); insert into t (k) select unnest(array['a', 'B', 'c', 'D', 'ab', 'AC', 'Z', 'ä', ''])`, ""},
		"citext and number":    {`create table t (k ext.citext, j int, n serial, primary key (k, j)); insert into t (k, j) select k, j from unnest(array['a', 'B', 'c', 'D']) k, generate_series(-1, 1) j`, ""},
		"citext in the middle": {`create table t (i int, k ext.citext, j int, n serial, primary key (i, k, j)); insert into t (i, k, j) select i, k, j from generate_series(1, 3) i, unnest(array['a', 'B', 'c', 'D']) k, generate_series(-1, 1) j`, ""},
		"citext alike":         {`create table t (n int primary key, s ext.citext); insert into t select i, case when i % 2 = 0 then 'abc' else 'ABC' end from generate_series(1, 11) i`, "s"},
		"numeric alike":        {`create table t (n int primary key, s numeric); insert into t select i, (case i % 3 when 0 then '1.0' when 1 then '1.00' else 'NaN' end)::numeric from generate_series(1, 11) i`, "s"},
		"float alike":          {`create table t (n int primary key, s float8); insert into t select i, (case i % 4 when 0 then '0' when 1 then '-0' when 2 then 'nan' else null end)::float8 from generate_series(1, 19) i`, "s"},
		"no case":              {`create collation nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false); create table t (n int primary key, s text collate nocase); insert into t select i, case when i % 2 = 0 then 'abc' else 'ABC' end from generate_series(1, 11) i`, "s"},
		"unique without case":  {`create collation nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false); create table t (k text collate nocase primary key, n serial); insert into t (k) select unnest(array['a', 'B', 'c', 'D', 'ab', 'AC'])`, ""},
		"a language":           {`create table t (k text collate "de-x-icu" primary key, n serial); insert into t (k) select unnest(array['a', 'Z', 'ä', 'b', 'B', 'A', 'ss', 'ß', '-', ' ', ''])`, ""},
		"a domain's language":  {`create domain d as text collate "C"; create table t (k d collate "de-x-icu" primary key, n serial); insert into t (k) select unnest(array['a', 'Z', 'ä', 'b', 'B', 'A'])`, ""},
		"a broken domain":      {`create domain d as int; create table t (k d primary key, n serial); insert into t (k) select i from generate_series(-5, 5) i; alter domain d add check (value > 0) not valid`, ""},
		"domain of domain":     {`create domain d as ext.citext; create domain e as d; create table t (k e primary key, n serial); insert into t (k) select unnest(array['a', 'B', 'c', 'D', 'ab'])`, ""},
		"descending index":     {`create table t (a int not null, n int not null); create unique index on t (a desc); create unique index on t (n, a); insert into t select i % 5 + i * 10, i from generate_series(1, 11) i`, ""},
		"null dates":           {`create table t (n int primary key, s date); insert into t select i, case when i % 2 = 0 then 'infinity'::date end from generate_series(1, 11) i`, "s"},
		"sorted by its key":    {`create table t (a int, n int, primary key (a, n)); insert into t select i % 3, i from generate_series(1, 11) i`, "n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := server.Database(t)
			db.Exec(t, "create schema ext; create extension citext schema ext; set client_min_messages = error")
			db.Exec(t, c.ddl)
			want := pgtest.Value[[]string](t, db, "select array_agg(n::text) from t")
			for _, limit := range []int{1, 2, 3, 100} {
				got := all(t, open(t, db, backfill.Spec{Table: "t", SortColumn: c.sort}), limit, "n")
				require.ElementsMatch(t, want, got, "in pages of %d", limit)
			}
		})
	}
}

// A page finds its rows by the index of the key, without sorting.
func TestPagesUseTheIndex(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create schema ext; create extension citext schema ext;
		create table one (k int primary key); create table two (a int, k text, primary key (a, k)); create table other (k ext.citext primary key, v int); create table mixed (a int, k ext.citext, primary key (a, k));
		create domain d as text; create table domains (k d primary key);
		insert into one select generate_series(1, 20000); insert into two select i, i from generate_series(1, 20000) i; insert into other select i::text from generate_series(1, 20000) i;
		insert into mixed select i / 9, i::text from generate_series(1, 20000) i; insert into domains select i::text from generate_series(1, 20000) i; analyze`)
	for _, table := range []string{"one", "two", "other", "mixed", "domains"} {
		r := open(t, db, backfill.Spec{Table: table})
		p, err := r.Page(t.Context(), backfill.Cursor{}, 9000)
		require.NoError(t, err)
		p, err = r.Page(t.Context(), p.Next, 9000)
		require.NoError(t, err)
		plan, err := r.Plan(t.Context(), p.Next, 10)
		require.NoError(t, err)
		require.Contains(t, plan, "Index Cond", table)
		require.NotContains(t, plan, "Sort", table)
	}
	keyless := open(t, db, backfill.Spec{Table: "one", Blocks: &backfill.Blocks{}})
	plan, err := keyless.Plan(t.Context(), backfill.Cursor{Block: 3, Until: 9}, 10)
	require.NoError(t, err)
	require.Contains(t, plan, "Tid ")
}

// A cursor survives its form on disk.
func TestCursorsAreStored(t *testing.T) {
	t.Parallel()
	for _, c := range []backfill.Cursor{
		{}, {After: []string{"1", `a"b`, ""}}, {After: []string{"ä", "2"}, Nulls: true, Key: 500, Leaf: 4294967295}, {Leaf: 7, File: 9, Block: 12, Row: 3, End: 99},
	} {
		text, err := json.Marshal(c)
		require.NoError(t, err)
		var back backfill.Cursor
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, c, back, string(text))
	}
	require.Equal(t, "block 12", backfill.Cursor{Leaf: 7, File: 9, Block: 12}.String())
	require.Equal(t, "1:b", backfill.Cursor{After: []string{"1", "b"}}.String())
	require.Equal(t, "key 500 of the list", backfill.Cursor{Key: 500}.String())
}

// Lists of more keys than a statement takes, in pages of any size, each key once.
func TestLongListsOfKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key, s int); insert into t select i, case when i % 2 = 0 then i end from generate_series(1, 3000) i;
		create table two (a int, b text, primary key (a, b)); insert into two select i, 'x' || i from generate_series(1, 3000) i`)
	var keys, pairs [][]string
	var want []string
	for i := 1300; i > 0; i-- {
		id := strconv.Itoa(i * 2)
		keys, pairs, want = append(keys, []string{id}), append(pairs, []string{id, "x" + id}), append(want, id)
	}
	for _, limit := range []int{61, 499, 5000} {
		require.ElementsMatch(t, want, all(t, open(t, db, backfill.Spec{Table: "t", Keys: keys}), limit, "id"))
		require.ElementsMatch(t, want, all(t, open(t, db, backfill.Spec{Table: "t", Keys: keys, SortColumn: "s"}), limit, "id"))
		require.ElementsMatch(t, want, all(t, open(t, db, backfill.Spec{Table: "two", Keys: pairs}), limit, "a"))
	}
	n, err := open(t, db, backfill.Spec{Table: "t", Keys: keys}).Count(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1300, n)
}

// SQL that does not stay in its place is refused before the server sees it.
func TestConditionsStayInTheirPlace(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key, v text); insert into t values (1, 'a'), (2, ')'), (3, 'it''s (')`)
	connect := connector(t, db)
	for where, want := range map[string]int{
		`v = ')'`: 1, `v = 'it''s ('`: 1, `v = E'it\'s ('`: 1, `"v" = $$)$$`: 1, `v = $a$)$a$ /* ( /* ) */ */`: 1, "id > 1 -- :-)": 2, "(id > 1) and (v <> '')": 2,
		`v = U&'\0029'`: 1, `id = 1 or v = e'\\'`: 1, "v = 'a' -- '\n": 1, `v <> 'x\' and id < 0`: 0,
	} {
		require.Len(t, all(t, open(t, db, backfill.Spec{Table: "t", Where: where}), 10, "id"), want, where)
	}
	for _, where := range []string{
		`true) union all (select 1, usename from pg_user where (true`, `true) or (true`, `(true`, `v = 'a`, `v = "a`, `v = $$a`, `v = $a$ $b$`, `/* /* */ true`, `v = E'\'`,
		"v = E'a'\n'\\') or (true'", `v = U&'\') or (true'`,
	} {
		_, err := backfill.New(t.Context(), connect, backfill.Spec{Schema: "public", Table: "t", Where: where})
		require.ErrorContains(t, err, "where is not complete in itself", where)
		_, err = backfill.New(t.Context(), connect, backfill.Spec{Schema: "public", Table: "t", KeyQuery: where})
		require.ErrorContains(t, err, "key_query is not complete in itself", where)
	}
	require.NotContains(t, strings.Join(all(t, open(t, db, backfill.Spec{Table: "t", Where: "true"}), 10, "v"), ""), "postgres")
}
