// Package filter decides which changes a consumer wants: by schema, by table and by action. It is pure and safe for concurrent use. It looks
// at a change's relation and operation alone, so a caller may keep the answer for as long as it keeps the relation.
package filter

import (
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// TableRef names a table.
type TableRef struct {
	Schema string
	Name   string
}

func (t TableRef) String() string { return t.Schema + "." + t.Name }

// Source selects tables. Empty, it selects everything that is published, including tables to come. Include and exclude lists of one kind
// exclude each other. An asterisk in a name stands for any characters.
type Source struct {
	IncludeSchemas []string
	ExcludeSchemas []string
	IncludeTables  []TableRef
	ExcludeTables  []TableRef
}

// Actions are the names of the operations that a filter can select. Reads (backfilled rows) are always let through.
func Actions() []string { return []string{"insert", "update", "delete", "truncate"} }

// DefaultActions are selected when none are named. A truncate is delivered only to those who ask for it.
func DefaultActions() []string { return []string{"insert", "update", "delete"} }

// Filter is a checked Source with its actions.
type Filter struct {
	source                           Source
	insert, update, delete, truncate bool
}

// New checks the source and the actions; no actions mean DefaultActions.
func New(source Source, actions []string) (*Filter, error) {
	fields := map[string][]string{}
	if len(source.IncludeSchemas) > 0 && len(source.ExcludeSchemas) > 0 {
		fields["source"] = append(fields["source"], "include_schemas and exclude_schemas exclude each other")
	}
	if len(source.IncludeTables) > 0 && len(source.ExcludeTables) > 0 {
		fields["source"] = append(fields["source"], "include_tables and exclude_tables exclude each other")
	}
	if len(actions) == 0 {
		actions = DefaultActions()
	}
	f := &Filter{source: source}
	for _, a := range actions {
		switch a {
		case "insert":
			f.insert = true
		case "update":
			f.update = true
		case "delete":
			f.delete = true
		case "truncate":
			f.truncate = true
		default:
			fields["actions"] = append(fields["actions"], "unknown action \""+a+"\"")
		}
	}
	if len(fields) > 0 {
		e := problem.New("invalid_filter", "the filter is not valid").
			WithHint("name one kind of list only; actions are %s", strings.Join(Actions(), ", "))
		e.Fields = fields
		return nil, e
	}
	return f, nil
}

// Match reports whether the consumer wants changes of this kind to this table. Logical messages belong to no table and never match.
func (f *Filter) Match(rel *cdc.Relation, op cdc.Op) bool {
	return rel != nil && f.wants(op) && f.selects(rel)
}

func (f *Filter) wants(op cdc.Op) bool {
	switch op {
	case cdc.OpInsert:
		return f.insert
	case cdc.OpUpdate:
		return f.update
	case cdc.OpDelete:
		return f.delete
	case cdc.OpTruncate:
		return f.truncate
	case cdc.OpRead:
		return true
	case cdc.OpMessage:
		return false
	}
	return false
}

// selects applies the lists in the order that users know: excluded schema, included schemas, excluded table, included tables.
func (f *Filter) selects(rel *cdc.Relation) bool {
	s := &f.source
	schemas := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return resource.MatchName(p, rel.Schema) })
	}
	tables := func(patterns []TableRef) bool {
		return slices.ContainsFunc(patterns, func(p TableRef) bool { return resource.TableName(p).Matches(rel.Schema, rel.Name) })
	}
	if schemas(s.ExcludeSchemas) || len(s.IncludeSchemas) > 0 && !schemas(s.IncludeSchemas) || tables(s.ExcludeTables) {
		return false
	}
	return len(s.IncludeTables) == 0 || tables(s.IncludeTables)
}
