package where

import (
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// SQL is the condition as it is sent to Postgres when existing rows are read: in parentheses, its columns qualified by the alias, or by the table's
// name for an empty one. What only a change has, the old row and the metadata, is refused.
func (p *Program) SQL(alias string) (string, error) {
	if alias == "" {
		alias = quoteName(p.table.Schema) + "." + quoteName(p.table.Name)
	} else {
		alias = quoteName(alias)
	}
	var columns []*syntax.Column
	walk(p.node, func(n syntax.Node) {
		if column, ok := n.(*syntax.Column); ok {
			columns = append(columns, column)
		}
	})
	slices.SortFunc(columns, func(a, b *syntax.Column) int { return a.Pos() - b.Pos() })
	var b strings.Builder
	b.WriteByte('(')
	at := 0
	for _, column := range columns {
		name := column.Parts[len(column.Parts)-1]
		if len(column.Parts) == 2 && (column.Parts[0] == "old" || column.Parts[0] == "metadata") {
			line, col := syntax.Place(p.text, column.Pos())
			return "", problem.New(CodeBackfill, "where, line %d, column %d: %s.%s is not known of rows that are read by a backfill", line, col, column.Parts[0], name).
				WithDetail("%s", syntax.Excerpt(p.text, column.Pos())).
				WithHint("give the backfill a condition of its own")
		}
		b.WriteString(p.text[at:column.Pos()])
		b.WriteString(alias + "." + quoteName(name))
		at = column.End
	}
	b.WriteString(p.text[at:])
	b.WriteString("\n)") // a comment may end the text
	return b.String(), nil
}
