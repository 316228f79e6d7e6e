package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/resource"
)

// retentionKeys are those of a change retention's keys that have to do with what its databases have.
var retentionKeys = []string{"status", "source_database", "source_table_schema", "source_table_name", "destination_database", "destination_table_schema", "destination_table_name", "filters"}

// checkRetentions looks up the tables and columns of new and changed change retentions. A destination that is not there yet is worth a warning: the
// retention waits for it.
func (p *Plane) checkRetentions(ctx context.Context, next *resource.Set, changes []Change, tables func(ctx context.Context, db *resource.Database) ([]Table, error)) (warnings []string, err error) {
	for i := range next.ChangeRetentions {
		r := &next.ChangeRetentions[i]
		changed := slices.ContainsFunc(changes, func(c Change) bool {
			return c.Kind == KindChangeRetention && c.Name == r.Name && c.Action != ActionDelete &&
				(c.Action == ActionCreate || slices.ContainsFunc(c.Changed, func(key string) bool { return slices.Contains(retentionKeys, key) }))
		})
		if !changed {
			continue
		}
		look := func(database string) []Table {
			db, ok := next.Database(database)
			if !ok {
				return nil
			}
			known, err := tables(ctx, db)
			if err != nil {
				warnings = append(warnings, fmt.Sprintf("the tables of change retention %q could not be looked up: %v", r.Name, err))
			}
			return known
		}
		if known := look(r.SourceDatabase); known != nil {
			more, mistakes := unknownSource(fmt.Sprintf("change_retentions[%d]", i), r, known)
			warnings = append(warnings, more...)
			switch {
			case len(mistakes) > 0 && r.Status == resource.RetentionActive:
				return warnings, &resource.InvalidError{Mistakes: mistakes}
			case len(mistakes) > 0: // it may be declared before its table is made
				warnings = append(warnings, fmt.Sprintf("change retention %q is disabled, and could not run: %s %s", r.Name, mistakes[0].Path, mistakes[0].What))
			}
		}
		if known := look(r.DestinationDatabase); known != nil && tableNamed(known, r.DestinationTable) == nil {
			warnings = append(warnings, fmt.Sprintf("change retention %q waits for table %s, which database %q does not have yet: sequin retentions ddl %s prints what makes it",
				r.Name, r.DestinationTable, r.DestinationDatabase, r.DestinationTable))
		}
	}
	return warnings, nil
}

func tableNamed(known []Table, name resource.TableName) *Table {
	i := slices.IndexFunc(known, func(t Table) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &known[i]
}

// unknownSource finds what the source of a change retention does not have.
func unknownSource(at string, r *resource.ChangeRetention, known []Table) (warnings []string, mistakes []resource.Mistake) {
	t := tableNamed(known, r.SourceTable)
	if t == nil {
		return nil, []resource.Mistake{{
			Path: at + ".source_table_name", Code: resource.CodeReference,
			What: fmt.Sprintf("is %q, which the database does not have%s", r.SourceTable, similar(r.SourceTable, known)), Hint: "create the table first, or correct the name",
		}}
	}
	if !t.Published {
		warnings = append(warnings, fmt.Sprintf("table %s is not in the publication of database %q, so nothing comes of it: ALTER PUBLICATION … ADD TABLE %s",
			r.SourceTable, r.SourceDatabase, r.SourceTable))
	}
	for i := range r.Filters {
		if column := r.Filters[i].Column; !slices.Contains(t.Columns, column) {
			mistakes = append(mistakes, resource.Mistake{
				Path: fmt.Sprintf("%s.filters[%d].column_name", at, i), Code: resource.CodeReference,
				What: fmt.Sprintf("is %q, which table %s does not have; its columns: %s", column, t.Name, strings.Join(t.Columns, ", ")),
			})
		}
	}
	return warnings, mistakes
}
