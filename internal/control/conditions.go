package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// Condition is a condition in SQL on the changes of a table.
type Condition struct {
	Table   resource.TableName
	Text    string
	Actions []resource.Action // which changes it will see
}

// Verdict is what became of a condition that was checked against its table: an error, a *problem.Error, or things worth knowing.
type Verdict struct {
	Err      error
	Warnings []string
}

// maxConditionTables bounds the tables that one condition is checked against when it is saved. Those beyond are checked when their changes come.
const maxConditionTables = 200

// conditional reports whether a sink has anything that must fit its tables.
func conditional(s *resource.Sink) bool {
	return s.Conditional() || slices.ContainsFunc(s.Routes, func(r resource.Route) bool { return r.Where != "" })
}

// checkConditions compiles a sink's conditions for the tables that it selects.
func (p *Plane) checkConditions(ctx context.Context, at string, db *resource.Database, sink *resource.Sink, known []Table) (warnings []string, mistakes []resource.Mistake) {
	asks, paths := conditionsOf(at, sink, known)
	verdicts, err := p.source.CheckConditions(ctx, db, asks)
	if err != nil {
		return []string{fmt.Sprintf("the conditions of sink %q could not be checked: %v", sink.Name, err)}, nil
	}
	told := map[string]bool{}
	for i, v := range verdicts {
		table, path := asks[i].Table, paths[i]
		for _, w := range v.Warnings {
			warnings = append(warnings, fmt.Sprintf("%s, table %s: %s", path, table, w))
		}
		if v.Err == nil || told[path] { // one table is enough to see what is wrong
			continue
		}
		told[path] = true
		m := resource.Mistake{Path: path, Code: resource.CodeInvalid, What: fmt.Sprintf("does not fit table %s: %v", table, v.Err)}
		if e, ok := problem.As(v.Err); ok {
			m.What, m.Hint = fmt.Sprintf("does not fit table %s: %s", table, e.Message), e.Hint
		}
		if len(tablesOf(sink, known)) > 1 && path == at+".where" {
			m.Hint = joined(m.Hint, "a condition of one table goes into tables: [{name: …, where: …}]")
		}
		mistakes = append(mistakes, m)
	}
	return warnings, mistakes
}

// checkEnrichment has the query of a sink's enrichment read where it will run. A database that cannot be reached is no mistake of the query's.
func (p *Plane) checkEnrichment(ctx context.Context, at string, next *resource.Set, sink *resource.Sink) (warnings []string, mistakes []resource.Mistake) {
	err := p.source.CheckEnrichment(ctx, next, sink)
	e, ok := problem.As(err)
	switch {
	case err == nil:
	case ok && e.Code == "enrichment_failed":
		m := resource.Mistake{Path: at + ".enrichment", Code: resource.CodeInvalid, What: "cannot be used here: " + e.Message, Hint: e.Hint}
		mistakes = append(mistakes, m)
	default:
		warnings = append(warnings, fmt.Sprintf("the enrichment of sink %q could not be checked: %v", sink.Name, err))
	}
	return warnings, mistakes
}

func joined(hint, more string) string {
	if hint == "" {
		return more
	}
	return hint + "; " + more
}

// conditionsOf pairs each condition of a sink with each table that it is for, and tells where it stands.
func conditionsOf(at string, sink *resource.Sink, known []Table) (asks []Condition, paths []string) {
	add := func(path, text string, table resource.TableName) {
		if text != "" {
			asks, paths = append(asks, Condition{table, text, sink.Actions}), append(paths, path)
		}
	}
	for _, table := range tablesOf(sink, known) {
		add(at+".where", sink.Where, table)
		for i := range sink.Routes {
			add(fmt.Sprintf("%s.route[%d].where", at, i), sink.Routes[i].Where, table)
		}
	}
	for i := range sink.Tables {
		add(fmt.Sprintf("%s.tables[%d].where", at, i), sink.Tables[i].Where, sink.Tables[i].Name)
	}
	return asks, paths
}

// tablesOf are the tables whose changes reach the sink: those that are published, and partitions under the name of the table they are of.
func tablesOf(sink *resource.Sink, known []Table) []resource.TableName {
	var names []resource.TableName
	for i := range known {
		t := &known[i]
		named := slices.Contains(sink.Source.IncludeTables, t.Name) // a partition by its own name
		if sink.Source.Selects(t.Name.Schema, t.Name.Name) && (named || t.Published && !t.Partition) {
			names = append(names, t.Name)
		}
	}
	return names[:min(len(names), maxConditionTables)]
}
