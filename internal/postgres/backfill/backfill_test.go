package backfill_test

import (
	"context"
	"os"
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

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func connector(t *testing.T, db *pgtest.DB) func(ctx context.Context) (*pgx.Conn, error) {
	t.Helper()
	cfg, err := postgres.ParseURL(db.URL)
	require.NoError(t, err)
	return cfg.Connect
}

func open(t *testing.T, db *pgtest.DB, spec backfill.Spec) *backfill.Reader {
	t.Helper()
	if spec.Schema == "" {
		spec.Schema = "public"
	}
	r, err := backfill.New(t.Context(), connector(t, db), spec)
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(context.WithoutCancel(t.Context())) })
	return r
}

// all reads everything in pages of a few rows, and returns the named column.
func all(t *testing.T, r *backfill.Reader, limit int, column string) []string {
	t.Helper()
	var out []string
	var at backfill.Cursor
	for range 10_000 {
		p, err := r.Page(t.Context(), at, limit)
		require.NoError(t, err)
		i := p.Relation.ColumnIndex(column)
		for _, row := range p.Rows {
			d, ok := row.Column(i)
			require.True(t, ok)
			if d.Null() {
				out = append(out, "NULL")
			} else {
				out = append(out, string(d.Text))
			}
		}
		if p.Done {
			return out
		}
		at = p.Next
	}
	t.Fatal("it does not end")
	return nil
}

// Every row is read once, in the order of its key, whatever the key is made of.
func TestEveryKeyIsCovered(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	for name, values := range map[string]string{
		"int":              "(-2147483648), (-7), (0), (1), (2147483647)",
		"bigint":           "(-9223372036854775808), (0), (9223372036854775807)",
		"numeric":          "('-1e40'), ('1.00'), ('1.5'), ('NaN'), (0)",
		"float8":           "('-infinity'), ('-0'), (1e-300), ('infinity'), ('nan'), (0.1)",
		"text":             "(''), (' '), ('a'), ('A'), ('ä'), ('zz'), ('it''s'), ('back\\slash'), ('1:2')",
		`text collate "C"`: "(''), ('Z'), ('a'), ('é')",
		"char(4)":          "('a'), ('ab'), ('abcd'), ('')",
		"bpchar":           "('a'), ('ab'), ('abcd')",
		`"char"`:           "('a'), ('b')",
		"name":             "('a'), ('b')",
		"uuid":             "('00000000-0000-0000-0000-000000000000'), ('ffffffff-ffff-ffff-ffff-ffffffffffff'), ('7d444840-9dc0-11d1-b245-5ffdce74fad2')",
		"boolean":          "(false), (true)",
		"date":             "('-infinity'), ('4713-01-01 BC'), ('2000-01-01'), ('infinity'), ('9999-12-31')",
		"time":             "('00:00'), ('24:00'), ('12:00:00.000001')",
		"timetz":           "('00:00+02'), ('12:00-05:30')",
		"timestamp":        "('-infinity'), ('0044-03-15 BC'), ('2000-01-01 00:00:00.000001'), ('infinity')",
		"timestamptz":      "('-infinity'), ('2000-01-01 00:00:00+05'), ('infinity')",
		"interval":         "('-1 year'), ('1 mon -1 day'), ('00:00:00.5')",
		"bytea":            `('\x'), ('\x00'), ('\xff')`,
		"inet":             "('10.0.0.1'), ('::1'), ('10.0.0.0/8')",
		"bit varying":      "('1'), ('10'), ('0')",
		"int4range":        "('empty'), ('[1,5)'), ('(,3)')",
		"int[]":            "('{}'), ('{1,2}'), ('{1,NULL}')",
		"jsonb":            `('{"a": 1}'), ('[]'), ('null'), ('"x"')`,
		"mood":             "('sad'), ('ok'), ('happy')",
		"positive":         "(1), (2), (3)",
		"pair":             "('(1,a)'), ('(1,b)'), ('(0,)')",
		"oid":              "(0), (4294967295)",
		"macaddr":          "('08:00:2b:01:02:03'), ('00:00:00:00:00:00')",
		"money":            "(-1), (0), (12.34)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := server.Database(t)
			db.Exec(t, `create type mood as enum ('sad', 'ok', 'happy'); create domain positive as int check (value > 0); create type pair as (a int, b text)`)
			db.Exec(t, "create table t (k "+name+" primary key, n serial); insert into t (k) values "+values)
			want := pgtest.Value[[]string](t, db, "select array_agg(n::text order by k) from t")
			for _, limit := range []int{1, 2, 100} {
				require.Equal(t, want, all(t, open(t, db, backfill.Spec{Table: "t"}), limit, "n"), "in pages of %d", limit)
			}
		})
	}
}

// Several columns, a sort column that is null or the same in many rows, and tables with another unique index.
func TestWhatIsReadAlong(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `
		create table two (b int, a text, primary key (a, b)); insert into two select i % 7, 'k' || i from generate_series(1, 50) i;
		create table sorted (id int primary key, at timestamptz, grp int not null);
		insert into sorted select i, case when i % 3 > 0 then timestamptz '2025-01-01' + (i % 5) * interval '1 day' end, i % 2 from generate_series(1, 60) i;
		create table uniq (a int not null, b int, c int not null); create unique index on uniq (c, a); create unique index on uniq (b);
		insert into uniq select i, null, -i from generate_series(1, 20) i;
		create table idents (a int not null, b int not null); create unique index idents_b on idents (b); alter table idents replica identity using index idents_b;
		insert into idents select i, -i from generate_series(1, 20) i;`)
	require.Equal(t, pgtest.Value[[]string](t, db, "select array_agg(a order by a, b) from two"), all(t, open(t, db, backfill.Spec{Table: "two"}), 7, "a"))
	for _, column := range []string{"at", "grp"} {
		require.Equal(t, pgtest.Value[[]string](t, db, "select array_agg(id::text order by "+column+", id) from sorted"),
			all(t, open(t, db, backfill.Spec{Table: "sorted", SortColumn: column}), 4, "id"), column)
	}
	require.Equal(t, pgtest.Value[[]string](t, db, "select array_agg(id::text order by at, id) from sorted where at >= '2025-01-02' and at < '2025-01-04'"),
		all(t, open(t, db, backfill.Spec{Table: "sorted", SortColumn: "at", From: "2025-01-02", To: "2025-01-04"}), 4, "id"))
	require.Equal(t, []string{"10", "11"}, all(t, open(t, db, backfill.Spec{Table: "sorted", From: "10", To: "12"}), 4, "id"))
	require.Equal(t, pgtest.Value[[]string](t, db, "select array_agg(a::text order by c, a) from uniq"), all(t, open(t, db, backfill.Spec{Table: "uniq"}), 3, "a"))
	require.Equal(t, pgtest.Value[[]string](t, db, "select array_agg(a::text order by b) from idents"), all(t, open(t, db, backfill.Spec{Table: "idents"}), 3, "a"))
}

// A part of a table: by a condition, by keys, by a query.
func TestPartsOfATable(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `
		create table orders (id int primary key, customer int, state text);
		insert into orders select i, i % 10, case when i % 2 = 0 then 'open' else 'shut' end from generate_series(1, 100) i;
		create table customers (id int primary key, vip boolean); insert into customers select i, i = 3 from generate_series(0, 9) i;
		create table lines (a int, b int, primary key (a, b)); insert into lines select i, j from generate_series(1, 9) i, generate_series(1, 3) j;`)
	read := func(spec backfill.Spec) []string { return all(t, open(t, db, spec), 3, "id") }
	require.Len(t, read(backfill.Spec{Table: "orders", Where: "state = 'open' -- only these"}), 50)
	require.Equal(t, []string{"3", "13", "23", "33", "43", "53", "63", "73", "83", "93"},
		read(backfill.Spec{Table: "orders", KeyQuery: "select o.id from orders o join customers c on c.id = o.customer where vip"}))
	require.ElementsMatch(t, []string{"3", "60"}, read(backfill.Spec{Table: "orders", Keys: [][]string{{"60"}, {"3"}, {"999"}}}))
	require.Len(t, all(t, open(t, db, backfill.Spec{Table: "lines", Keys: [][]string{{"1", "2"}, {"2", "3"}}}), 1, "a"), 2)
	r := open(t, db, backfill.Spec{Table: "orders", Where: "state = 'open'"})
	n, err := r.Count(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 50, n)
	n, err = r.Estimate(t.Context())
	require.NoError(t, err)
	require.Positive(t, n)
}

// Tables without a key are read along their blocks, partitioned ones leaf by leaf, with the columns of the whole in their order.
func TestTablesWithoutAKey(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `
		create table plain (n int, pad text); insert into plain select i, repeat('x', 500) from generate_series(1, 2000) i;
		create table parts (a int, b text) partition by range (a);
		create table parts_1 partition of parts for values from (0) to (100);
		create table parts_2 (b text, a int); alter table parts attach partition parts_2 for values from (100) to (200);
		insert into parts select i, i::text from generate_series(0, 199) i;
		create table keyed (a int primary key, b text) partition by range (a);
		create table keyed_1 partition of keyed for values from (0) to (100);
		create table keyed_2 partition of keyed for values from (100) to (200);
		insert into keyed select i, i::text from generate_series(0, 199) i;
		create table empty (n int); create table none (n int) partition by list (n);
		create table parent (n int primary key); create table child () inherits (parent); insert into parent values (1); insert into child values (2);`)
	numbers := func(from, to int) []string {
		var out []string
		for i := from; i <= to; i++ {
			out = append(out, strconv.Itoa(i))
		}
		return out
	}
	r := open(t, db, backfill.Spec{Table: "plain"})
	require.True(t, r.ByBlocks())
	require.ElementsMatch(t, numbers(1, 2000), all(t, r, 100, "n"))
	require.ElementsMatch(t, numbers(0, 199), all(t, open(t, db, backfill.Spec{Table: "parts"}), 10, "a"))
	require.Equal(t, numbers(0, 199), all(t, open(t, db, backfill.Spec{Table: "keyed"}), 10, "b"))
	require.Empty(t, all(t, open(t, db, backfill.Spec{Table: "empty"}), 10, "n"))
	require.Empty(t, all(t, open(t, db, backfill.Spec{Table: "none"}), 10, "n"))
	require.Equal(t, []string{"1"}, all(t, open(t, db, backfill.Spec{Table: "parent"}), 10, "n"))
	half := func(b backfill.Blocks) []string {
		return all(t, open(t, db, backfill.Spec{Table: "plain", Blocks: &b}), 100, "n")
	}
	require.ElementsMatch(t, numbers(1, 2000), append(half(backfill.Blocks{To: 50}), half(backfill.Blocks{From: 50})...))
}

// The publication decides which columns and rows there are.
func TestThePublicationCounts(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	if server.Major(t) < 15 {
		t.SkipNow() // publications have neither lists of columns nor conditions
	}
	db := server.Database(t)
	db.Exec(t, `
		create table t (id int primary key, secret text, shown text, twice int generated always as (id * 2) stored);
		insert into t select i, 'secret', 'shown' from generate_series(1, 10) i;
		create publication p for table t (id, shown) where (id > 5); create publication q for table t; create table other (id int primary key)`)
	r := open(t, db, backfill.Spec{Table: "t", Publication: "p"})
	require.Equal(t, []string{"6", "7", "8", "9", "10"}, all(t, r, 2, "id"))
	require.Len(t, r.Relation().Columns, 2)
	require.Len(t, open(t, db, backfill.Spec{Table: "t", Publication: "q"}).Relation().Columns, 3)
	_, err := backfill.New(t.Context(), connector(t, db), backfill.Spec{Schema: "public", Table: "other", Publication: "p"})
	require.Equal(t, "backfill_table_not_published", problem.Code(err))
}

func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `
		create table t (id int primary key, j json); create view v as select * from t; create unlogged table u (id int primary key); create table k (a int);
		create table p (a int primary key) partition by range (a); create table p1 partition of p for values from (0) to (9);
		create table two (a int, b int, primary key (a, b))`)
	for name, c := range map[string]struct {
		spec backfill.Spec
		code string
	}{
		"no table":         {backfill.Spec{Table: "nowhere"}, "backfill_table_missing"},
		"a view":           {backfill.Spec{Table: "v"}, "backfill_not_a_table"},
		"unlogged":         {backfill.Spec{Table: "u"}, "backfill_not_a_table"},
		"a partition":      {backfill.Spec{Table: "p1"}, "backfill_not_a_table"},
		"no column":        {backfill.Spec{Table: "t", SortColumn: "nope"}, "backfill_column_missing"},
		"no order":         {backfill.Spec{Table: "t", SortColumn: "j"}, "backfill_query"},
		"where":            {backfill.Spec{Table: "t", Where: "id = "}, "backfill_query"},
		"where two":        {backfill.Spec{Table: "t", Where: "true; drop table t"}, "backfill_query"},
		"where writes":     {backfill.Spec{Table: "t", KeyQuery: "delete from t returning id"}, "backfill_query"},
		"key query":        {backfill.Spec{Table: "t", KeyQuery: "select 1, 2"}, "backfill_query"},
		"keys":             {backfill.Spec{Table: "two", Keys: [][]string{{"1"}}}, "backfill_query"},
		"key of no number": {backfill.Spec{Table: "t", Keys: [][]string{{"x"}}}, "backfill_query"},
		"keys without key": {backfill.Spec{Table: "k", Keys: [][]string{{"1"}}}, "backfill_no_key"},
		"bounds":           {backfill.Spec{Table: "two", From: "1"}, "backfill_bounds"},
		"sort without key": {backfill.Spec{Table: "k", SortColumn: "a"}, "backfill_no_key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.spec.Schema = "public"
			_, err := backfill.New(t.Context(), connector(t, db), c.spec)
			require.Equal(t, c.code, problem.Code(err), "%v", err)
		})
	}
}

// A page that takes too long says so, and the reader goes on.
func TestATimeout(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key); insert into t select generate_series(1, 5)`)
	r := open(t, db, backfill.Spec{Table: "t", Where: "id < 3 or pg_sleep(3) is null", Timeout: 300 * time.Millisecond})
	_, err := r.Page(t.Context(), backfill.Cursor{}, 5)
	require.ErrorIs(t, err, backfill.ErrTimeout)
	p, err := r.Page(t.Context(), backfill.Cursor{}, 2)
	require.NoError(t, err)
	require.Len(t, p.Rows, 2)
}

// Huge rows make short pages.
func TestPagesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (id int primary key, b text); insert into t select i, repeat('x', 1000000) from generate_series(1, 20) i`)
	r := open(t, db, backfill.Spec{Table: "t"})
	p, err := r.Page(t.Context(), backfill.Cursor{}, 1000)
	require.NoError(t, err)
	require.Len(t, p.Rows, 9, "nothing was known of their size")
	require.False(t, p.Done)
	p, err = r.Page(t.Context(), p.Next, 1000)
	require.NoError(t, err)
	require.Len(t, p.Rows, 5)
	require.Len(t, all(t, r, 1000, "id"), 20)
}

// Columns that come and go between pages.
func TestTheTableChanges(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table t (gone int, id int primary key); insert into t select i, i from generate_series(1, 10) i`)
	r := open(t, db, backfill.Spec{Table: "t"})
	p, err := r.Page(t.Context(), backfill.Cursor{}, 5)
	require.NoError(t, err)
	db.Exec(t, `alter table t drop column gone; alter table t add column fresh text default 'f'`)
	p, err = r.Page(t.Context(), p.Next, 5)
	require.NoError(t, err)
	require.Equal(t, "fresh", p.Relation.Columns[1].Name)
	require.Equal(t, "10", p.Next.String())
	db.Exec(t, `drop table t; create table t (id int primary key)`)
	_, err = r.Page(t.Context(), p.Next, 5)
	require.Equal(t, "backfill_table_changed", problem.Code(err))
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	s, err := backfill.ParseSnapshot("4294967290:4294967300:4294967292,4294967298")
	require.NoError(t, err)
	for xid, want := range map[uint32]bool{
		4294967289: true, 4294967290: true, 4294967292: false, 4294967295: true, 1: true, 2: false, 3: true, 4: false, 5: false, 4000000000: true,
	} {
		require.Equal(t, want, s.Sees(xid), "%d", xid)
	}
	for _, text := range []string{"", "1", "1:2", "a:2:", "1:b:", "1:2:c", "1:2:3:4"} {
		_, err := backfill.ParseSnapshot(text)
		require.Error(t, err, text)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		notes func(*backfill.Sizer)
		want  int
	}{
		"first":          {func(*backfill.Sizer) {}, 1000},
		"twice":          {func(s *backfill.Sizer) { s.Note(100, 200*ms, 0, false) }, 200},
		"as it is":       {func(s *backfill.Sizer) { s.Note(100, 450*ms, 0, false) }, 100},
		"too long":       {func(s *backfill.Sizer) { s.Note(200, 0, 0, true) }, 150},
		"in the middle":  {func(s *backfill.Sizer) { s.Note(150, 100*ms, 0, false); s.Note(250, 0, 0, true) }, 200},
		"too many bytes": {func(s *backfill.Sizer) { s.Note(1000, ms, 2*backfill.PageBytes, false) }, 500},
		"at most":        {func(s *backfill.Sizer) { s.Note(backfill.MaxSize, ms, 0, false) }, backfill.MaxSize},
		"at least":       {func(s *backfill.Sizer) { s.Note(1, 0, 0, true) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := backfill.NewSizer(500 * ms)
			c.notes(s)
			require.Equal(t, c.want, s.Next())
		})
	}
}
