package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/resource"
)

// sourceTime bounds the looks at source databases of one change: clients of the original give up after 10 seconds without a word.
const sourceTime = 9 * time.Second

// checkSource connects to new and changed databases, and looks up the tables and columns of new and changed sinks. A database that cannot be
// reached refuses its own declaration; for sinks it only means that their tables could not be looked up.
func (p *Plane) checkSource(ctx context.Context, next *resource.Set, changes []Change, await bool) (warnings []string, err error) {
	if p.source == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTime)
	defer cancel()
	for i := range changes {
		c := &changes[i]
		if c.Kind != KindDatabase || c.Action != ActionCreate {
			continue
		}
		db, _ := next.Database(c.Name)
		look := p.source.Check
		if await {
			look = p.await
		}
		if err := look(ctx, db); err != nil {
			return nil, fmt.Errorf("database %q: %w", db.Name, err)
		}
	}
	tables := map[string][]Table{}
	for i := range next.Sinks {
		sink := &next.Sinks[i]
		if !touched(changes, sink) {
			continue
		}
		db, ok := next.Database(sink.Database)
		if !ok || !namesTables(sink) && !conditional(sink) {
			continue
		}
		at := fmt.Sprintf("sinks[%d]", i)
		known, asked := tables[db.Name]
		if !asked {
			if known, err = p.source.Tables(ctx, db); err != nil {
				warnings = append(warnings, fmt.Sprintf("the tables of sink %q could not be looked up: %v", sink.Name, err))
				known = nil
			}
			tables[db.Name] = known
		}
		if known == nil {
			continue
		}
		more, mistakes := unknownTables(at, sink, known)
		warnings = append(warnings, more...)
		if len(mistakes) == 0 && conditional(sink) {
			more, mistakes = p.checkConditions(ctx, at, db, sink, known)
			warnings = append(warnings, more...)
		}
		if len(mistakes) == 0 && sink.Enrichment != "" {
			more, mistakes = p.checkEnrichment(ctx, at, next, sink)
			warnings = append(warnings, more...)
		}
		if len(mistakes) > 0 {
			return warnings, &resource.InvalidError{Mistakes: mistakes}
		}
	}
	more, err := p.checkRetentions(ctx, next, changes, func(ctx context.Context, db *resource.Database) ([]Table, error) {
		known, asked := tables[db.Name]
		if asked {
			return known, nil
		}
		known, err := p.source.Tables(ctx, db)
		tables[db.Name] = known
		return known, err
	})
	return append(warnings, more...), err
}

// await tries to reach a new database for as long as it asks for.
func (p *Plane) await(ctx context.Context, db *resource.Database) error {
	ctx, cancel := context.WithTimeout(ctx, max(db.AwaitDatabase.Timeout, time.Second))
	defer cancel()
	for {
		err := p.source.Check(ctx, db)
		if err == nil || !transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(max(db.AwaitDatabase.Interval, 100*time.Millisecond)):
		}
	}
}

// transient tells whether asking again may help. Whoever looked may have said for what, so the error that knows may be a wrapped one.
func transient(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

// sourceKeys are those of a sink's keys that have to do with what its database has.
var sourceKeys = []string{"source", "tables", "database", "where", "route", "actions", "enrichment"}

func touched(changes []Change, sink *resource.Sink) bool {
	return slices.ContainsFunc(changes, func(c Change) bool {
		if c.Kind == KindFunction && c.Name == sink.Enrichment {
			return c.Action != ActionDelete
		}
		return c.Kind == KindSink && c.Name == sink.Name && c.Action != ActionDelete &&
			(c.Action == ActionCreate || slices.ContainsFunc(c.Changed, func(key string) bool { return slices.Contains(sourceKeys, key) }))
	})
}

func namesTables(s *resource.Sink) bool {
	return len(s.Source.IncludeTables)+len(s.Source.ExcludeTables)+len(s.Source.IncludeSchemas)+len(s.Tables) > 0
}

// unknownTables finds tables and columns that the database does not have, and warns of tables that are not published.
func unknownTables(at string, sink *resource.Sink, known []Table) (warnings []string, mistakes []resource.Mistake) {
	lookup := func(name resource.TableName) *Table {
		i := slices.IndexFunc(known, func(t Table) bool { return t.Name == name })
		if i < 0 {
			return nil
		}
		return &known[i]
	}
	unknown := func(path string, name resource.TableName) {
		mistakes = append(mistakes, resource.Mistake{
			Path: at + path, Code: resource.CodeReference, What: fmt.Sprintf("is %q, which the database does not have%s", name, similar(name, known)),
			Hint: "create the table first, or correct the name; write it as schema.table",
		})
	}
	for i, name := range sink.Source.IncludeTables {
		if name.IsPattern() {
			if !slices.ContainsFunc(known, func(t Table) bool { return name.Matches(t.Name.Schema, t.Name.Name) }) {
				warnings = append(warnings, fmt.Sprintf("%s.source.include_tables[%d], %q, matches no table yet", at, i, name))
			}
			continue
		}
		t := lookup(name)
		if t == nil {
			unknown(fmt.Sprintf(".source.include_tables[%d]", i), name)
		} else if !t.Published {
			warnings = append(warnings, fmt.Sprintf("table %s is not in the publication of database %q, so nothing comes of it: ALTER PUBLICATION … ADD TABLE %s", name, sink.Database, name))
		}
	}
	for i, name := range sink.Source.ExcludeTables {
		if !name.IsPattern() && lookup(name) == nil {
			unknown(fmt.Sprintf(".source.exclude_tables[%d]", i), name)
		}
	}
	for i := range sink.Tables {
		t := lookup(sink.Tables[i].Name)
		if t == nil {
			unknown(fmt.Sprintf(".tables[%d].name", i), sink.Tables[i].Name)
			continue
		}
		for j, column := range sink.Tables[i].GroupColumns {
			if !slices.Contains(t.Columns, column) {
				mistakes = append(mistakes, resource.Mistake{
					Path: fmt.Sprintf("%s.tables[%d].group_column_names[%d]", at, i, j), Code: resource.CodeReference,
					What: fmt.Sprintf("is %q, which table %s does not have; its columns: %s", column, t.Name, strings.Join(t.Columns, ", ")),
				})
			}
		}
	}
	return warnings, mistakes
}

// similar names the table that was probably meant.
func similar(name resource.TableName, known []Table) string {
	for i := range known {
		t := known[i].Name
		if t.Name == name.Name || strings.EqualFold(t.String(), name.String()) {
			return fmt.Sprintf("; there is %s", t)
		}
	}
	return ""
}
