package resource_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/resource"
)

// paths lists the paths of mistakes.
func paths(mistakes []resource.Mistake) []string {
	var all []string
	for _, m := range mistakes {
		all = append(all, m.Path)
	}
	return all
}

func TestFunctionBounds(t *testing.T) {
	t.Parallel()
	transform := func(language resource.Language, code string) resource.Function {
		return resource.Function{Name: "f", Type: resource.FunctionTransform, Language: language, Code: code}
	}
	path := func(p string) resource.Function {
		return resource.Function{Name: "f", Type: resource.FunctionPath, Path: p}
	}
	tests := []struct {
		name string
		f    resource.Function
		want []string
	}{
		{"code of 10,000", transform(resource.LanguageElixir, strings.Repeat("x", 10_000)), nil},
		{"code of 10,001", transform(resource.LanguageElixir, strings.Repeat("x", 10_001)), []string{"code"}},
		{"a module of a mebibyte", transform(resource.LanguageGo, strings.Repeat("x", 1<<20)), nil},
		{"a module of more", transform(resource.LanguageGo, strings.Repeat("x", 1<<20+1)), []string{"code"}},
		{"a script of 100,000", transform(resource.LanguageLua, strings.Repeat("x", 100_000)), nil},
		{"a script of 100,001", transform(resource.LanguageJavaScript, strings.Repeat("x", 100_001)), []string{"code"}},
		{"a query of 10,001", resource.Function{Name: "f", Type: resource.FunctionEnrichment, Language: resource.LanguageSQL, Code: "$1" + strings.Repeat("x", 9_999)}, []string{"code"}},
		{"code that is no text", transform(resource.LanguageLua, "a\x00"), []string{"code"}},
		{"blank code", transform(resource.LanguageLua, " \n"), []string{"code"}},
		{"no language", transform("", "x"), []string{"language"}},
		{"a path of 2000", path("record." + strings.Repeat("x", 1993)), nil},
		{"a path of 2001", path("record." + strings.Repeat("x", 1994)), []string{"path"}},
		{"a root alone", path("metadata"), nil},
		{"a root of something else", path("recordings"), []string{"path"}},
		{"an end in a dot", path("record."), []string{"path"}},
		{"a reserved name", resource.Function{Name: "Nil", Type: resource.FunctionPath, Path: "record"}, []string{"name"}},
		{"nothing", resource.Function{}, []string{"name", "type"}},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, paths(tt.f.Validate("")), tt.name)
	}
	require.Equal(t, []string{"functions[3].path"}, paths(tests[11].f.Validate("functions[3]")))
}

func TestLanguageOf(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]resource.Language{
		"def transform(a, b, c, d) do": resource.LanguageElixir, "# note\n  def route(x), do: x": resource.LanguageElixir, "def filter(a) do": resource.LanguageElixir,
		"function transform(a) end": "", "const transform = () => 1": "", "def other(a) do": "", "undef transform": "", "def transformer(": "", "": "",
	} {
		require.Equal(t, want, resource.LanguageOf(resource.FunctionFilter, code), code)
	}
	require.Equal(t, resource.LanguageSQL, resource.LanguageOf(resource.FunctionEnrichment, "select $1"))
	require.Empty(t, resource.LanguageOf(resource.FunctionPath, "def transform("))
}

func TestParseOperator(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"==": "=", "=": "=", "NOT_IN": "not in", "Is  Null": "is null", "not_null": "is not null", "IS_NOT_NULL": "is not null", "like": "like", "": "",
	} {
		require.Equal(t, want, resource.ParseOperator(text), text)
	}
	for _, op := range resource.FilterOperators() {
		require.Equal(t, op, resource.ParseOperator(strings.ToUpper(strings.ReplaceAll(op, " ", "_"))))
	}
}

func validRetention() resource.ChangeRetention {
	return resource.ChangeRetention{
		Name: "audit", Status: resource.RetentionActive, SourceDatabase: "prod", SourceTable: resource.ParseTableName("users"),
		DestinationDatabase: "prod", DestinationTable: resource.ParseTableName("audit.events"), Actions: []resource.Action{resource.ActionDelete},
	}
}

func TestFilterValues(t *testing.T) {
	t.Parallel()
	tests := []struct {
		operator, fieldType, value string
		want                       []string
	}{
		{"=", "", `"a"`, nil},
		{"=", "", `null`, []string{"comparison_value"}},
		{"=", "", `{"a":1}`, []string{"comparison_value"}},
		{"=", "number", `"1.5"`, nil},
		{"=", "number", `true`, []string{"comparison_value"}},
		{"=", "datetime", `"2026-01-31"`, nil},
		{"=", "datetime", `"2026-01-31 09:30:00+02:00"`, nil},
		{"=", "datetime", `20260131`, []string{"comparison_value"}},
		{"=", "boolean", `"false"`, nil},
		{"<", "boolean", `true`, []string{"operator"}},
		{"in", "list", `["a",1]`, nil},
		{"in", "number", `[1,"2"]`, nil},
		{"in", "number", `[1,"two"]`, []string{"comparison_value"}},
		{"in", "", `"a"`, []string{"comparison_value"}},
		{"in", "", `[]`, []string{"comparison_value"}},
		{"in", "", `[[1]]`, []string{"comparison_value"}},
		{"is null", "", ``, nil},
		{"is null", "", `1`, []string{"comparison_value"}},
		{"like", "", `"a"`, []string{"operator"}},
	}
	for _, tt := range tests {
		r := validRetention()
		r.Filters = []resource.ColumnFilter{{Column: "c", Operator: tt.operator, FieldType: tt.fieldType, Value: json.RawMessage(tt.value)}}
		var want []string
		for _, key := range tt.want {
			want = append(want, "filters[0]."+key)
		}
		require.Equal(t, want, paths(r.Validate("")), "%+v", tt)
	}
}

// A set over a stored one may refer to it and must not contradict it; what it replaces does not count.
func TestValidateOver(t *testing.T) {
	t.Parallel()
	stored := validSet()
	over := func(change func(*resource.Set)) []string {
		s := &resource.Set{Account: resource.Account{Name: "acme"}}
		change(s)
		return paths(s.ValidateOver(stored))
	}
	require.Empty(t, over(func(s *resource.Set) {
		k := stored.Sinks[0]
		k.Name = "second"
		s.Sinks = []resource.Sink{k}
		s.ChangeRetentions = []resource.ChangeRetention{validRetention()}
		s.APITokens = []resource.APIToken{{Name: "a", Scopes: []resource.Scope{resource.ConsumeScope("orders"), resource.ConsumeScope("second")}}}
	}))
	require.Empty(t, over(func(s *resource.Set) { s.Databases = []resource.Database{stored.Databases[0]} }), "the same database again")
	require.Equal(t, []string{"databases[0].slot.name"}, over(func(s *resource.Set) {
		d := stored.Databases[0]
		d.Name, d.Hostname = "second", "LOCALHOST"
		s.Databases = []resource.Database{d}
	}))
	require.Equal(t, []string{"change_retentions[0].source_database", "change_retentions[0].destination_database"}, over(func(s *resource.Set) {
		r := validRetention()
		r.SourceDatabase, r.DestinationDatabase = "a", "b"
		s.ChangeRetentions = []resource.ChangeRetention{r}
	}))
	require.ElementsMatch(t, []string{"functions[1].name", "change_retentions[1].name"}, over(func(s *resource.Set) {
		f := resource.Function{Name: "f", Type: resource.FunctionPath, Path: "record"}
		s.Functions = []resource.Function{f, f}
		s.ChangeRetentions = []resource.ChangeRetention{validRetention(), validRetention()}
	}))
}

func TestSlotID(t *testing.T) {
	t.Parallel()
	d := resource.Database{}
	require.Empty(t, d.SlotID())
	d.ID = "6a1d1c0e-3c5c-4c56-8d6f-2f2a8a0f6c11"
	first := d.SlotID()
	require.Equal(t, first, d.SlotID())
	require.NotEqual(t, d.ID, first)
	d.ID = "7a1d1c0e-3c5c-4c56-8d6f-2f2a8a0f6c11"
	require.NotEqual(t, first, d.SlotID())
}

// What would keep its own rows is refused, by whatever names its databases go and however long the way round is.
func TestRetentionsThatFeedThemselves(t *testing.T) {
	t.Parallel()
	stored := validSet()
	alias := stored.Databases[0]
	alias.Name, alias.Slot.Name = "alias", "another"
	other := alias
	other.Name, other.Slot.Name, other.Database = "other", "third", "other"
	stored.Databases = append(stored.Databases, alias, other)
	retention := func(name, from, table, to, events string) resource.ChangeRetention {
		r := validRetention()
		r.Name, r.SourceDatabase, r.SourceTable, r.DestinationDatabase, r.DestinationTable = name, from, resource.ParseTableName(table), to, resource.ParseTableName(events)
		return r
	}
	stored.ChangeRetentions = []resource.ChangeRetention{retention("first", "prod", "users", "other", "events")}
	over := func(all ...resource.ChangeRetention) []string {
		s := &resource.Set{Account: resource.Account{Name: "acme"}, ChangeRetentions: all}
		return paths(s.ValidateOver(stored))
	}
	const at = "change_retentions[0].destination_table_name"
	require.Equal(t, []string{at}, over(retention("r", "prod", "a", "prod", "a")))
	require.Equal(t, []string{at}, over(retention("r", "prod", "a", "alias", "a")), "one database under two names")
	require.Empty(t, over(retention("r", "prod", "a", "other", "a")))
	require.Empty(t, over(retention("r", "other", "events", "other", "events2")))
	require.Equal(t, []string{at}, over(retention("r", "other", "events", "alias", "users")), "the way back of a stored one")
	require.Empty(t, over(retention("r", "other", "events", "alias", "users"), retention("first", "prod", "users", "other", "else")), "which is another now")
	require.Len(t, over(retention("a", "prod", "a", "prod", "b"), retention("b", "prod", "b", "prod", "c"), retention("c", "prod", "c", "prod", "a")), 3)
	r := validRetention()
	r.SourceTable.Name = "tenant_*"
	require.Equal(t, []string{"source_table_name"}, paths(r.Validate("")))
}
