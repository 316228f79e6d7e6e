package backfill

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// query is a statement with the values of its parameters, as text.
type query struct {
	sql   string
	args  [][]byte
	limit int // of its rows
}

// value puts a value into the query, cast to a type.
func (q *query) value(text, typ string) string {
	q.args = append(q.args, []byte(text))
	return "$" + strconv.Itoa(len(q.args)) + "::text::" + typ
}

// values casts one value for each column.
func (q *query) values(columns []column, texts []string) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = q.value(texts[i], c.typ) //nolint:gosec // there is a text for each column
	}
	return out
}

// query builds the statement of a page. window is the last of the rows that are looked at, if not all are.
func (r *Reader) query(after Cursor, limit int, window []string) *query {
	q := query{limit: limit}
	columns := make([]string, 0, len(r.at.relation.Columns)+1)
	for i := range r.at.relation.Columns {
		columns = append(columns, pgx.Identifier{r.at.relation.Columns[i].Name}.Sanitize())
	}
	if r.at.order == nil {
		columns = append(columns, "ctid")
	}
	if len(columns) == 0 {
		columns = append(columns, "null")
	}
	conditions := r.selected(&q, after)
	switch {
	case r.at.order != nil:
		conditions = append(conditions, r.behind(&q, after, window)...)
	case r.at.oid != 0:
		conditions = append(conditions, r.inBlocks(after))
	}
	q.sql = "select " + strings.Join(columns, ", ") + " from " + r.at.from + whereAll(conditions) + r.orderBy(after) + " limit " + strconv.Itoa(limit)
	return &q
}

// windowQuery asks for what the limit-th of the rows behind the cursor has in the columns that are read along, whether it is wanted or not.
func (r *Reader) windowQuery(after Cursor, limit int) *query {
	var q query
	order := r.along(after)
	names := make([]string, len(order))
	for i, c := range order {
		names[i] = c.name
	}
	q.sql = "select " + strings.Join(names, ", ") + " from " + r.at.from + whereAll(r.behind(&q, after, nil)) + r.orderBy(after) +
		fmt.Sprintf(" offset %d limit 1", limit-1)
	return &q
}

func whereAll(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return " where " + strings.Join(conditions, " and ")
}

// along is what the rows are read along from the cursor on.
func (r *Reader) along(after Cursor) []column {
	if r.at.nullable && after.Nulls {
		return r.at.order[1:]
	}
	return r.at.order
}

func (r *Reader) orderBy(after Cursor) string {
	order := r.along(after)
	if len(order) == 0 {
		return ""
	}
	names := make([]string, len(order))
	for i, c := range order {
		names[i] = c.name
	}
	return " order by " + strings.Join(names, ", ")
}

// selected are the conditions of the spec and of the publication. SQL of others stands on lines of its own, so that a comment ends with it.
func (r *Reader) selected(q *query, after Cursor) []string {
	var all []string
	if r.at.entry.filter != "" {
		all = append(all, "("+r.at.entry.filter+")")
	}
	if r.spec.Where != "" {
		all = append(all, "(\n"+r.spec.Where+"\n)")
	}
	if r.at.order == nil {
		return all
	}
	first := r.at.order[:1]
	if r.spec.From != "" {
		all = append(all, compare(first, ">=", q.values(first, []string{r.spec.From})))
	}
	if r.spec.To != "" {
		all = append(all, compare(first, "<", q.values(first, []string{r.spec.To})))
	}
	if r.spec.KeyQuery != "" {
		names := make([]string, len(r.at.key))
		for i, c := range r.at.key {
			names[i] = c.name
		}
		all = append(all, "("+strings.Join(names, ", ")+") in (select * from (\n"+r.spec.KeyQuery+"\n) keys)")
	}
	if len(r.spec.Keys) > 0 {
		all = append(all, r.listed(q, after))
	}
	return all
}

// maxKeys of a list go into one statement: the values of a statement are at most 65,535, and a key has at most 32 columns.
const maxKeys = 500

// listed is the condition that a row's key is one of the next in the list.
func (r *Reader) listed(q *query, after Cursor) string {
	from := min(max(after.Key, 0), len(r.spec.Keys))
	keys := r.spec.Keys[from:min(from+maxKeys, len(r.spec.Keys))]
	if len(keys) == 0 {
		return "false"
	}
	or := make([]string, len(keys))
	if one := r.at.key; len(one) == 1 {
		for i, key := range keys {
			or[i] = q.value(key[0], one[0].typ)
		}
		return one[0].name + " " + inSchema(one[0].ops, "=") + " any (array[" + strings.Join(or, ", ") + "])"
	}
	for i, key := range keys {
		or[i] = equal(r.at.key, q.values(r.at.key, key))
	}
	return "(" + strings.Join(or, " or ") + ")"
}

// behind is the condition that rows are behind the cursor, and not behind the window's end.
func (r *Reader) behind(q *query, after Cursor, window []string) []string {
	var all []string
	if r.at.nullable {
		if after.Nulls {
			all = append(all, r.at.order[0].name+" is null")
		} else {
			all = append(all, r.at.order[0].name+" is not null")
		}
	}
	order := r.along(after)
	if len(after.After) == len(order) && len(order) > 0 {
		all = append(all, compare(order, ">", q.values(order, after.After)))
	}
	if len(window) > 0 {
		all = append(all, compare(order, "<=", q.values(order, window)))
	}
	return all
}

// inBlocks is the condition that rows lie behind the cursor, in its blocks.
func (r *Reader) inBlocks(at Cursor) string {
	if r.version >= 140000 {
		return fmt.Sprintf("ctid > '(%d,%d)' and ctid < '(%d,0)'", at.Block, at.Row, at.Until)
	}
	// Before 14 there is no scan of a range. 28 bytes are the least that a row takes of a block.
	return fmt.Sprintf(`ctid > '(%d,%d)' and ctid = any (array(select format('(%%s,%%s)', b, i)::tid
		from generate_series(%d, %d) b, generate_series(1, current_setting('block_size')::int4 / 28) i))`, at.Block, at.Row, at.Block, at.Until-1)
}
