package where_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/where"
)

var orders = where.Table{
	Schema: "public", Name: "orders", Identity: 'f',
	Columns: []where.Column{
		{Name: "id", TypeOID: 20},
		{Name: "status", TypeOID: 25},
		{Name: "paid", TypeOID: 16},
		{Name: "total", TypeOID: 1700},
		{Name: "body", TypeOID: 3802},
		{Name: "note", TypeOID: 25, Collation: &where.C},
		{Name: "Odd", TypeOID: 23},
		{Name: "thing", TypeOID: 90001},
	},
}

var english = where.Options{Major: 17, Collation: where.Collation{Name: "en_US.utf8"}}

func ordersRelation() *cdc.Relation {
	r := &cdc.Relation{Schema: "public", Name: "orders", Identity: 'f'}
	for _, c := range orders.Columns {
		r.Columns = append(r.Columns, cdc.Column{Name: c.Name, TypeOID: c.TypeOID})
	}
	return r
}

// row makes a tuple; nil is null, and "\x00" an unchanged TOAST value.
func row(values ...any) cdc.Tuple {
	raw := make([][]byte, len(orders.Columns))
	var unchanged []int
	for i, v := range values {
		switch v := v.(type) {
		case nil:
		case string:
			if v == toast {
				unchanged = append(unchanged, i)
			}
			raw[i] = []byte(v)
		default:
			raw[i] = fmt.Append(nil, v)
		}
	}
	return mark(tuple(raw), raw, unchanged)
}

const toast = "\x00unchanged"

// mark replaces values by the letter for unchanged ones.
func mark(t cdc.Tuple, raw [][]byte, unchanged []int) cdc.Tuple {
	if len(unchanged) == 0 {
		return t
	}
	out := append(cdc.Tuple(nil), t[:2]...)
	w := t.Columns()
	for i := range raw {
		d, _ := w.Next()
		switch {
		case string(d.Text) == toast:
			out = append(out, 'u')
		case d.Null():
			out = append(out, 'n')
		default:
			one := tuple([][]byte{raw[i]})
			out = append(out, one[2:]...)
		}
	}
	return out
}

func compile(t testing.TB, text string) *where.Program {
	t.Helper()
	p, _, err := where.Compile(text, orders, english)
	require.NoError(t, err)
	require.Equal(t, text, p.String())
	return p
}

func TestEvalSeesTheRowThatTheActionHas(t *testing.T) {
	t.Parallel()
	relation := ordersRelation()
	when := cdc.Timestamp(time.Date(2024, 5, 31, 10, 0, 0, 0, time.UTC).UnixMicro())
	insert := &cdc.Change{Op: cdc.OpInsert, Relation: relation, New: row(1, "new", "t", "9.50", `{"a": 1}`), CommitTime: when, Annotations: []byte(`{"user": "ann"}`)}
	update := &cdc.Change{Op: cdc.OpUpdate, Relation: relation, OldKind: 'O', Old: row(1, "new", "t", "9.50"), New: row(1, "paid", "t", "9.50")}
	blind := &cdc.Change{Op: cdc.OpUpdate, Relation: relation, New: row(1, "paid", "t", "9.50", toast)}
	full := &cdc.Change{Op: cdc.OpUpdate, Relation: relation, OldKind: 'O', Old: row(1, "new", "t", "1", `{"a": 2}`), New: row(1, "paid", "t", "1", toast)}
	gone := &cdc.Change{Op: cdc.OpDelete, Relation: relation, OldKind: 'O', Old: row(1, "paid")}
	key := &cdc.Change{Op: cdc.OpDelete, Relation: relation, OldKind: 'K', Old: row(1)}
	truncate := &cdc.Change{Op: cdc.OpTruncate, Relation: relation}
	for name, tc := range map[string]struct {
		text   string
		change *cdc.Change
		want   where.Truth
	}{
		"insert":                       {"status = 'new'", insert, where.True},
		"insert, no old row":           {"old.status is null", insert, where.True},
		"update, bare is new":          {"status = 'paid'", update, where.True},
		"update, both":                 {"old.status = 'new' and new.status = 'paid'", update, where.True},
		"update, changed":              {"old.status is distinct from new.status", update, where.True},
		"update, old row unknown":      {"old.status = 'new'", blind, where.Unknown},
		"delete, bare is old":          {"status = 'paid'", gone, where.True},
		"delete, new is null":          {"new.status is null", gone, where.True},
		"delete, key only":             {"status is null and id = 1", key, where.True},
		"toast from the full old row":  {"body->>'a' = '2'", full, where.True},
		"toast, decided without it":    {"body->>'a' = '2' and status = 'x'", blind, where.False},
		"toast, decided without, or":   {"body is null or status = 'paid'", blind, where.True},
		"truncate":                     {"status = 'nothing'", truncate, where.True},
		"metadata":                     {"metadata.action = 'insert' and metadata.table_name = 'orders' and metadata.table_schema = 'public'", insert, where.True},
		"commit timestamp":             {"metadata.commit_timestamp = '2024-05-31 10:00:00+00'", insert, where.True},
		"annotations":                  {"metadata.transaction_annotations->>'user' = 'ann'", insert, where.True},
		"no annotations":               {"metadata.transaction_annotations is null", update, where.True},
		"qualified by the table":       {"orders.id = 1 and public.orders.id = 1", insert, where.True},
		"quoted name":                  {`"Odd" is null`, insert, where.True},
		"null is not true":             {"note = 'x'", insert, where.Unknown},
		"a type that is not supported": {"thing is null", insert, where.True},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := compile(t, tc.text).Eval(tc.change)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestUnknownValueIsAnErrorOfTheMessage(t *testing.T) {
	t.Parallel()
	change := &cdc.Change{Op: cdc.OpUpdate, Relation: ordersRelation(), New: row(1, "paid", "t", "9.50", toast)}
	for _, text := range []string{"body->>'a' = '2'", "body is null", "status = 'paid' and body is not null", "not (body is null) or status = 'x'"} {
		_, err := compile(t, text).Eval(change)
		require.Equal(t, where.CodeUnknownValue, problem.Code(err), text)
		require.ErrorContains(t, err, `"body"`)
	}
}

func TestRuntimeErrors(t *testing.T) {
	t.Parallel()
	change := &cdc.Change{Op: cdc.OpInsert, Relation: ordersRelation(), New: row(0, "x")}
	for text, want := range map[string]string{"1 / id = 1": "division by zero", "status::int = 1": "invalid input syntax for type integer"} {
		_, err := compile(t, text).Eval(change)
		require.Equal(t, where.CodeEvaluation, problem.Code(err))
		require.ErrorContains(t, err, want)
	}
	for _, text := range []string{"id <> 0 and 1 / id = 1", "id = 0 or 1 / id = 1"} {
		_, err := compile(t, text).Eval(change)
		require.NoError(t, err, "the left side decides")
	}
}

func TestMistakesHaveAPlaceACodeAndAHint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ code, message, hint string }{
		"":                                    {where.CodeSyntax, "line 1, column 1: the condition is empty", "status = 'paid'"},
		"id = ":                               {where.CodeSyntax, "ends too early", ""},
		"id = 1;":                             {where.CodeSyntax, "line 1, column 7", "semicolon"},
		"id =\n  1 1":                         {where.CodeSyntax, "line 2, column 5", ""},
		"where id = 1":                        {where.CodeSyntax, `near "where"`, "without WHERE"},
		"id = 'a":                             {where.CodeSyntax, "not ended", "'"},
		"id < 1 < 2":                          {where.CodeSyntax, "line 1, column 8", "parentheses"},
		"id = $1":                             {where.CodeSyntax, "parameters", "literal"},
		"id in (select 1)":                    {where.CodeSyntax, "subqueries", ""},
		"statis = 'x'":                        {where.CodeName, `no column "statis"`, "status"},
		"odd = 1":                             {where.CodeName, `no column "odd"`, `"Odd"`},
		"metadata.nope = 1":                   {where.CodeName, "no key", "commit_timestamp"},
		"frobnicate(id)":                      {where.CodeName, "no function frobnicate", ""},
		"id":                                  {where.CodeType, "must be boolean, not bigint", "<> 0"},
		"id = 'x'":                            {where.CodeType, "invalid input syntax for type bigint", ""},
		"status = 1":                          {where.CodeType, "operator does not exist: text = integer", "casts"},
		"1 / 0 = id":                          {where.CodeType, "division by zero", "every change"},
		"status < 'x'":                        {where.CodeUnsupported, "order of texts", `COLLATE "C"`},
		"now() > '2024-01-01'":                {where.CodeUnsupported, "now()", "metadata.commit_timestamp"},
		"current_timestamp > '2024-01-01'":    {where.CodeSyntax, "current_timestamp", "metadata.commit_timestamp"},
		"count(id) > 1":                       {where.CodeUnsupported, "aggregate", "one row"},
		"body @? '$.a'":                       {where.CodeUnsupported, "operator @?", "@>"},
		`status ~ '(a)\1'`:                    {where.CodeUnsupported, "regular expression", "LIKE"},
		"thing = 1":                           {where.CodeUnsupported, "cannot be compared", "IS NULL"},
		"metadata.commit_timestamp > 'today'": {where.CodeUnsupported, "read once", "literal"},
	} {
		_, _, err := where.Compile(text, orders, english)
		require.Equal(t, want.code, problem.Code(err), "%s: %v", text, err)
		p, _ := problem.As(err)
		require.Contains(t, p.Message, want.message, text)
		require.Contains(t, p.Hint, want.hint, text)
		require.Contains(t, p.Detail, "^", text)
	}
}

func TestOrderOfTextsByBytes(t *testing.T) {
	t.Parallel()
	change := &cdc.Change{Op: cdc.OpInsert, Relation: ordersRelation(), New: row(1, "a", nil, nil, nil, "b")}
	for text, want := range map[string]where.Truth{`status collate "C" < 'b'`: where.True, "note > 'a'": where.True, "note < 'B'": where.False} {
		got, err := compile(t, text).Eval(change)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
	}
}

func TestWarningsTellOfOldValuesThatWillBeNull(t *testing.T) {
	t.Parallel()
	table := orders
	table.Identity, table.IdentityColumns = 'd', []string{"id"}
	for name, tc := range map[string]struct {
		text    string
		options where.Options
		want    int
	}{
		"old value":           {"old.status = 'x' and old.status <> 'y'", english, 1},
		"key":                 {"old.id = 1 and id = 2", english, 0},
		"deletes":             {"status = 'x'", english, 1},
		"no deletes":          {"status = 'x'", where.Options{Major: 17, Insert: true, Update: true}, 0},
		"new row in a delete": {"new.status = 'x'", english, 0},
	} {
		_, warnings, err := where.Compile(tc.text, table, tc.options)
		require.NoError(t, err, name)
		require.Len(t, warnings, tc.want, name)
		for _, w := range warnings {
			require.Contains(t, w.Hint, `ALTER TABLE "public"."orders" REPLICA IDENTITY FULL`)
		}
	}
}

// A change that was made before an ALTER TABLE is judged by the types that it has.
func TestAnotherShapeOfTheTable(t *testing.T) {
	t.Parallel()
	p := compile(t, "total > 5")
	relation := &cdc.Relation{Schema: "public", Name: "orders", Columns: []cdc.Column{{Name: "total", TypeOID: 23}, {Name: "id", TypeOID: 20}}}
	change := &cdc.Change{Op: cdc.OpInsert, Relation: relation, New: tuple([][]byte{[]byte("7"), []byte("1")})}
	for range 2 {
		got, err := p.Eval(change)
		require.NoError(t, err)
		require.Equal(t, where.True, got)
	}
	relation = &cdc.Relation{Schema: "public", Name: "orders", Columns: []cdc.Column{{Name: "id", TypeOID: 20}}}
	_, err := p.Eval(&cdc.Change{Op: cdc.OpInsert, Relation: relation, New: tuple([][]byte{[]byte("1")})})
	require.Equal(t, where.CodeEvaluation, problem.Code(err))
	require.ErrorContains(t, err, `"total"`)
}

func TestColumnsAndSQL(t *testing.T) {
	t.Parallel()
	p := compile(t, "status = 'id' and (new.id > 1 or orders.paid) -- only these")
	require.Equal(t, []string{"id", "status", "paid"}, p.Columns())
	sql, err := p.SQL("r")
	require.NoError(t, err)
	require.Equal(t, `("r"."status" = 'id' and ("r"."id" > 1 or "r"."paid") -- only these`+"\n)", sql)
	for _, text := range []string{"old.id = 1", "metadata.action = 'x'"} {
		_, err := compile(t, text).SQL("")
		require.Equal(t, where.CodeBackfill, problem.Code(err))
	}
}

func TestColumnFilters(t *testing.T) {
	t.Parallel()
	change := &cdc.Change{Op: cdc.OpInsert, Relation: ordersRelation(), New: row(7, "Paid", "t", "19.990", `{"user": {"name": "Ann", "age": 30, "odd.key": null}}`)}
	for name, tc := range map[string]struct {
		filter where.ColumnFilter
		want   where.Truth
	}{
		"number":             {where.ColumnFilter{Column: "total", Operator: "==", Value: json.RawMessage("19.99")}, where.True},
		"number as text":     {where.ColumnFilter{Column: "id", Operator: ">=", Value: json.RawMessage(`"7.0"`)}, where.True},
		"text":               {where.ColumnFilter{Column: "status", Operator: "!=", Value: json.RawMessage(`"paid"`)}, where.True},
		"boolean":            {where.ColumnFilter{Column: "paid", Operator: "=", Value: json.RawMessage("false")}, where.False},
		"in, text":           {where.ColumnFilter{Column: "id", Operator: "IN", Value: json.RawMessage(`"[1, 7]"`)}, where.True},
		"not_in, list":       {where.ColumnFilter{Column: "id", Operator: "not_in", Value: json.RawMessage("[1, 7]")}, where.False},
		"null":               {where.ColumnFilter{Column: "note", Operator: "is_null"}, where.True},
		"null compares":      {where.ColumnFilter{Column: "Odd", Operator: ">", Value: json.RawMessage("5")}, where.Unknown},
		"field":              {where.ColumnFilter{Column: "body", FieldPath: "user.name", Operator: "=", Value: json.RawMessage(`"Ann"`)}, where.True},
		"field, any case":    {where.ColumnFilter{Column: "body", FieldPath: "user.name", FieldType: "cistring", Operator: "=", Value: json.RawMessage(`"aNN"`)}, where.True},
		"field, number":      {where.ColumnFilter{Column: "body", FieldPath: "user.age", FieldType: "number", Operator: ">", Value: json.RawMessage("29.5")}, where.True},
		"field, other type":  {where.ColumnFilter{Column: "body", FieldPath: "user.name", FieldType: "number", Operator: ">", Value: json.RawMessage("1")}, where.Unknown},
		"field, missing":     {where.ColumnFilter{Column: "body", FieldPath: "user.nope", Operator: "is null"}, where.True},
		"field, list":        {where.ColumnFilter{Column: "body", FieldPath: "user.age", Operator: "in", Value: json.RawMessage("[30, 31]")}, where.True},
		"text with a quote":  {where.ColumnFilter{Column: "status", Operator: "=", Value: json.RawMessage(`"' or 'x'='x"`)}, where.False},
		"operator, any case": {where.ColumnFilter{Column: "status", Operator: "IS NOT NULL"}, where.True},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _, err := where.FromColumnFilters([]where.ColumnFilter{tc.filter}, orders, english)
			require.NoError(t, err)
			got, err := p.Eval(change)
			require.NoError(t, err)
			require.Equal(t, tc.want, got, p)
		})
	}
	for name, f := range map[string]where.ColumnFilter{
		"no column":      {Column: "nope", Operator: "=", Value: json.RawMessage("1")},
		"no operator":    {Column: "id", Operator: "~", Value: json.RawMessage("1")},
		"no number":      {Column: "id", Operator: "=", Value: json.RawMessage(`"x"`)},
		"no value":       {Column: "id", Operator: "="},
		"path into text": {Column: "status", FieldPath: "a", Operator: "=", Value: json.RawMessage("1")},
	} {
		_, _, err := where.FromColumnFilters([]where.ColumnFilter{f}, orders, english)
		require.Equal(t, where.CodeColumnFilter, problem.Code(err), name)
	}
	p, _, err := where.FromColumnFilters(nil, orders, english)
	require.NoError(t, err)
	require.Equal(t, "true", p.String())
}

var common = map[string]string{
	"integers": "id = 7 or id > 100", "text": "status = 'paid'", "boolean": "paid", "null tests": "note is null and status is not null", "numeric": "total > 9.5",
	"in": "id in (1, 2, 3, 7)", "long in": "id in (1,2,3,4,5,6,7,8,9,10,11,12)", "in texts": "status in ('a', 'paid', 'c')", "not": "not (id = 8)",
	"between": "id between 1 and 10", "like": "status like 'pa%'", "distinct": "old.status is distinct from status", "metadata": "metadata.action = 'update'",
	"mixed": "(status = 'paid' and total >= 10.00) or (paid and not id < 0 and note is null)",
}

func TestCommonConditionsDoNotAllocate(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	change := &cdc.Change{Op: cdc.OpUpdate, Relation: ordersRelation(), OldKind: 'O', Old: row(7, "new"), New: row(7, "paid", "t", "19.990")}
	for name, text := range common {
		p := compile(t, text)
		_, err := p.Eval(change)
		require.NoError(t, err)
		best := 1.0
		for range 50 { // a collection empties the pool of frames, and the race detector drops some on purpose
			best = min(best, testing.AllocsPerRun(1, func() {
				if _, err := p.Eval(change); err != nil {
					panic(err)
				}
			}))
		}
		require.Zero(t, best, name)
	}
}

// What is used twice is evaluated once: nested, it would never end.
func TestNestingCostsNoMoreThanItsLength(t *testing.T) {
	t.Parallel()
	change := &cdc.Change{Op: cdc.OpInsert, Relation: ordersRelation(), New: row(7, "paid", "t")}
	for _, nest := range []string{
		"(%s is distinct from paid)", "(%s is distinct from null)", "nullif(%s, id = 8)", "(%s between symmetric paid and (id = 1))", "(%s in (paid, id = 8, true))",
		"(case %s when paid then false else true end)", "(not %s)", "(%s = paid)", "coalesce(%s, paid)",
	} {
		text := "(id = 9)"
		for range 60 {
			text = fmt.Sprintf(nest, text)
		}
		_, err := compile(t, text).Eval(change)
		require.NoError(t, err)
	}
}

func TestProgramsAreSmall(t *testing.T) { //nolint:paralleltest // it measures the process' memory
	text := "status = 'paid' and (total >= 10.00 or id in (1,2,3,4,5,6,7,8,9,10)) and body->>'a' = 'b' and lower(note) like 'x%'"
	compile(t, text) // the catalog of the version is read once
	const count, limit = 100, 5 << 20
	programs := make([]*where.Program, count)
	before := liveBytes()
	for i := range programs {
		programs[i] = compile(t, text)
	}
	used := liveBytes() - before
	t.Logf("%d programs: %d bytes", count, used)
	require.Less(t, used, int64(limit))
	runtime.KeepAlive(programs)
}

func liveBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkEval(b *testing.B) {
	change := &cdc.Change{Op: cdc.OpUpdate, Relation: ordersRelation(), OldKind: 'O', Old: row(7, "new"), New: row(7, "paid", "t", "19.990", `{"a": "b"}`)}
	all := map[string]string{"json": "body->>'a' = 'b'", "regex": "status ~ '^p.*d$'", "lower": "lower(status) = 'paid'"}
	maps.Copy(all, common)
	for name, text := range all {
		b.Run(name, func(b *testing.B) {
			p := compile(b, text)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Eval(change); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	text := "status = 'paid' and (total >= 10.00 or id in (1,2,3,4,5,6,7,8,9,10)) and body->>'a' = 'b' and lower(note) like 'x%'"
	b.ReportAllocs()
	for b.Loop() {
		compile(b, text)
	}
}

func FuzzCompile(f *testing.F) {
	for _, text := range common {
		f.Add(text)
	}
	f.Add(`E'\u00e9' || U&'\0061' = $$x$$ and a[1:2] = array[1] and b'1' = x'f' or date '2024-01-01' > interval '1' day + now()`)
	f.Add(`case when id = 1 then 'a' else "Odd"::text end similar to '%' escape '!' /* c /* n */ */ -- x`)
	change := &cdc.Change{Op: cdc.OpUpdate, Relation: ordersRelation(), OldKind: 'O', Old: row(7, "new"), New: row(7, "paid", "t", "19.990", `{"a": "b"}`)}
	f.Fuzz(func(t *testing.T, text string) {
		p, _, err := where.Compile(text, orders, english)
		if err != nil {
			require.NotEmpty(t, problem.Code(err))
			return
		}
		_, _ = p.Eval(change) // an error of the row is an answer too
		_, _ = p.SQL("")
	})
}
