package filter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/filter"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestSourceSelectsTables(t *testing.T) {
	t.Parallel()
	refs := func(names ...string) []filter.TableRef {
		var out []filter.TableRef
		for _, n := range names {
			out = append(out, filter.TableRef{Schema: "public", Name: n})
		}
		return out
	}
	tests := map[string]struct {
		source filter.Source
		schema string
		table  string
		want   bool
	}{
		"empty takes everything":               {filter.Source{}, "x", "y", true},
		"included schema":                      {filter.Source{IncludeSchemas: []string{"a", "b"}}, "b", "y", true},
		"other schema":                         {filter.Source{IncludeSchemas: []string{"a"}}, "b", "y", false},
		"excluded schema":                      {filter.Source{ExcludeSchemas: []string{"a"}}, "a", "y", false},
		"not the excluded schema":              {filter.Source{ExcludeSchemas: []string{"a"}}, "b", "y", true},
		"included table":                       {filter.Source{IncludeTables: refs("t")}, "public", "t", true},
		"included table's name elsewhere":      {filter.Source{IncludeTables: refs("t")}, "other", "t", false},
		"other table":                          {filter.Source{IncludeTables: refs("t")}, "public", "u", false},
		"excluded table":                       {filter.Source{ExcludeTables: refs("t")}, "public", "t", false},
		"excluded table's name elsewhere":      {filter.Source{ExcludeTables: refs("t")}, "other", "t", true},
		"included schema, excluded table":      {filter.Source{IncludeSchemas: []string{"public"}, ExcludeTables: refs("t")}, "public", "t", false},
		"excluded schema beats included table": {filter.Source{ExcludeSchemas: []string{"public"}, IncludeTables: refs("t")}, "public", "t", false},
		"names are case sensitive":             {filter.Source{IncludeTables: refs("T")}, "public", "t", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := filter.New(tt.source, nil)
			require.NoError(t, err)
			require.Equal(t, tt.want, f.Match(&cdc.Relation{Schema: tt.schema, Name: tt.table}, cdc.OpInsert))
		})
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	all := []cdc.Op{cdc.OpInsert, cdc.OpUpdate, cdc.OpDelete, cdc.OpTruncate, cdc.OpRead, cdc.OpMessage, cdc.Op('?')}
	tests := map[string]struct {
		actions []string
		want    []cdc.Op
	}{
		"default":       {nil, []cdc.Op{cdc.OpInsert, cdc.OpUpdate, cdc.OpDelete, cdc.OpRead}},
		"insert":        {[]string{"insert"}, []cdc.Op{cdc.OpInsert, cdc.OpRead}},
		"update":        {[]string{"update"}, []cdc.Op{cdc.OpUpdate, cdc.OpRead}},
		"delete":        {[]string{"delete"}, []cdc.Op{cdc.OpDelete, cdc.OpRead}},
		"with truncate": {filter.Actions(), []cdc.Op{cdc.OpInsert, cdc.OpUpdate, cdc.OpDelete, cdc.OpTruncate, cdc.OpRead}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := filter.New(filter.Source{}, tt.actions)
			require.NoError(t, err)
			var got []cdc.Op
			for _, op := range all {
				if f.Match(&cdc.Relation{}, op) {
					got = append(got, op)
				}
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestNoRelationNoMatch(t *testing.T) {
	t.Parallel()
	f, err := filter.New(filter.Source{}, nil)
	require.NoError(t, err)
	require.False(t, f.Match(nil, cdc.OpInsert))
}

func TestMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	tables := []filter.TableRef{{Schema: "a", Name: "b"}}
	_, err := filter.New(filter.Source{
		IncludeSchemas: []string{"a"}, ExcludeSchemas: []string{"b"}, IncludeTables: tables, ExcludeTables: tables,
	}, []string{"insert", "upsert", "merge"})
	p, ok := problem.As(err)
	require.True(t, ok)
	require.Equal(t, "invalid_filter", p.Code)
	require.Len(t, p.Fields["source"], 2)
	require.Len(t, p.Fields["actions"], 2)
	require.Contains(t, p.Fields["actions"][0], "upsert")
	require.Equal(t, "a.b", tables[0].String())
}
