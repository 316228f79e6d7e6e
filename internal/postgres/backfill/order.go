package backfill

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/problem"
)

// column is a column that rows are ordered or selected by.
type column struct {
	name    string // for SQL
	typ     string // that values are cast to: what domains are made of, since their constraints need not hold for old rows
	ops     string // the schema of the operators that its index uses
	index   int    // in the relation
	notNull bool
}

// choose finds what to read along.
func (r *Reader) choose(ctx context.Context, s *source) error {
	key, err := r.keyColumns(ctx, s)
	if err != nil {
		return err
	}
	s.key = key
	bounded := r.spec.From != "" || r.spec.To != ""
	switch {
	case r.spec.SortColumn != "":
		sort, err := r.columnNamed(ctx, s, r.spec.SortColumn)
		if err != nil {
			return err
		}
		if len(key) == 0 {
			return r.keyless("be read along another column: rows that are alike in it could be missed")
		}
		if sort.name != key[0].name {
			if err := r.checkIndex(ctx, s, sort); err != nil {
				return err
			}
		}
		s.order, s.nullable = []column{sort}, !sort.notNull && !bounded
		for _, c := range key {
			if c.name != sort.name {
				s.order = append(s.order, c)
			}
		}
	case r.spec.Blocks != nil || len(key) == 0:
		if len(r.spec.Keys) > 0 || r.spec.KeyQuery != "" || bounded {
			return r.keyless("be read by keys")
		}
	default:
		s.order = key
	}
	for i, k := range r.spec.Keys {
		if len(k) != len(key) {
			return problem.New("backfill_query", "key %d of the list has %d values", i+1, len(k)).WithDetail("the key of table %s has %d columns", r.label(), len(key)).
				WithHint("give each key a value for each column of the key, in the order of its index")
		}
	}
	if bounded && r.spec.SortColumn == "" && len(key) != 1 {
		return problem.New("backfill_bounds", "the bounds need a sort column").WithDetail("the key of table %s has %d columns", r.label(), len(key)).
			WithHint("set sort_column to the column that they are meant for")
	}
	return nil
}

func (r *Reader) keyless(what string) error {
	return problem.New("backfill_no_key", "table %s has no key", r.label()).WithDetail("it cannot %s", what).
		WithHint("add a primary key, or backfill the whole table, or a part of it by where")
}

// columnFacts are what a column's values are cast to and compared by: the base type of domains, and the schema of the type's own operators.
// Operators of an extension may be in no search path, and then a bare > finds those of another type, which order otherwise than the index.
const columnFacts = `
	quote_ident(a.attname), format_type(b.oid, -1), coalesce(o.nspname, 'pg_catalog')::text, a.attnotnull, a.attname::text
	%s join lateral (
		with recursive walk (oid, depth) as (
			select a.atttypid, 0 union all select t.typbasetype, w.depth + 1 from walk w join pg_type t on t.oid = w.oid where t.typtype = 'd'
		) select oid from walk order by depth desc limit 1
	) b on true left join lateral (
		select n.nspname from pg_opclass c join pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
		join pg_amop p on p.amopfamily = c.opcfamily and p.amoplefttype = c.opcintype and p.amoprighttype = c.opcintype and p.amopstrategy = 5
		join pg_operator g on g.oid = p.amopopr join pg_namespace n on n.oid = g.oprnamespace
		where c.opcdefault and c.opcintype = b.oid limit 1
	) o on true`

// keyColumns are the columns of the primary key, of the replica identity's index, or of another index on columns that are never null and in which no
// two rows are alike. An index that is ordered otherwise than by default would not help to find the next page.
func (r *Reader) keyColumns(ctx context.Context, s *source) ([]column, error) {
	oid := s.oid
	if oid == 0 {
		oid = r.table.oid
	}
	from := `from pg_index i
		join lateral unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) with ordinality k(num, at) on true
		join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num`
	rows, err := r.conn.Query(ctx, "select "+fmt.Sprintf(columnFacts, from)+`
		where i.indexrelid = (select i.indexrelid from pg_index i
			where i.indrelid = $1::oid and `+usable+` and i.indexprs is null
			and not exists (select from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1], i.indclass::oid[], i.indcollation::oid[], i.indoption::int2[]) u(num, opclass, coll, opt)
				left join pg_attribute b on b.attrelid = i.indrelid and b.attnum = u.num left join pg_opclass c on c.oid = u.opclass
				where u.num is not null and not coalesce(b.attnotnull and (i.indisprimary or i.indisreplident or c.opcdefault and b.attcollation = u.coll and u.opt = 0), false))
			order by i.indisprimary desc, i.indisreplident desc, i.indnkeyatts, i.indexrelid limit 1)
		order by k.at`, oid)
	if err != nil {
		return nil, fmt.Errorf("key of table %s: %w", r.label(), err)
	}
	key, err := r.collect(rows, s)
	for _, c := range key {
		if c.index < 0 {
			return nil, nil // not published: as if there were none
		}
	}
	return key, err
}

func (r *Reader) collect(rows pgx.Rows, s *source) ([]column, error) {
	key, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (column, error) {
		var c column
		var name string
		err := row.Scan(&c.name, &c.typ, &c.ops, &c.notNull, &name)
		c.index = s.relation.ColumnIndex(name)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("key of table %s: %w", r.label(), err)
	}
	return key, nil
}

func (r *Reader) columnNamed(ctx context.Context, s *source, name string) (column, error) {
	rows, err := r.conn.Query(ctx, "select "+fmt.Sprintf(columnFacts, "from pg_attribute a")+`
		where a.attrelid = $1::oid and a.attname = $2::text and a.attnum > 0 and not a.attisdropped`, s.entry.oid, name)
	if err != nil {
		return column{}, fmt.Errorf("column %q of table %s: %w", name, r.label(), err)
	}
	found, err := r.collect(rows, s)
	if err != nil {
		return column{}, err
	}
	if len(found) == 0 || found[0].index < 0 {
		return column{}, problem.New("backfill_column_missing", "table %s has no published column %q", r.label(), name).
			WithHint("set sort_column to one of its columns: %s", strings.Join(columnNames(s), ", "))
	}
	return found[0], nil
}

// checkIndex refuses to read a large table along a column that no index begins with: each page would sort all of it.
func (r *Reader) checkIndex(ctx context.Context, s *source, c column) error {
	if s.oid == 0 {
		return nil
	}
	var blocks int64
	var indexed bool
	err := r.conn.QueryRow(ctx, `
		select pg_relation_size($1::oid) / current_setting('block_size')::int8, exists (
			select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
			join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam and m.amname = 'btree' join pg_opclass o on o.oid = i.indclass[0] and o.opcdefault
			where i.indrelid = $1::oid and a.attname = $2::text and i.indisvalid and i.indpred is null and i.indoption[0] in (0, 3) and i.indcollation[0] = a.attcollation)`,
		s.oid, s.relation.Columns[c.index].Name).Scan(&blocks, &indexed)
	if err != nil {
		return fmt.Errorf("indexes of table %s: %w", r.label(), err)
	}
	if indexed || blocks < smallTable {
		return nil
	}
	of := s.leaf.name
	if of == "" {
		of = r.name()
	}
	return problem.New("backfill_sort_unindexed", "no index of table %s begins with %s", r.label(), c.name).WithDetail("each page would sort the whole of %s", of).
		WithHint("create index concurrently on %s (%s), or leave sort_column out", of, c.name)
}

func columnNames(s *source) []string {
	names := make([]string, len(s.relation.Columns))
	for i := range s.relation.Columns {
		names[i] = s.relation.Columns[i].Name
	}
	return names
}

// compare is a comparison of columns with values, as a whole: (a, b) > (1, 2).
func compare(columns []column, operator string, values []string) string {
	names := make([]string, len(columns))
	alike := true
	for i, c := range columns {
		names[i] = c.name
		alike = alike && c.ops == columns[0].ops
	}
	if alike {
		return "(" + strings.Join(names, ", ") + ") " + inSchema(columns[0].ops, operator) + " (" + strings.Join(values, ", ") + ")"
	}
	// Operators of several schemas cannot be named at once. The first bound lets an index help.
	strict := strings.TrimSuffix(operator, "=")
	or := make([]string, len(columns))
	for i, c := range columns {
		last := strict
		if i == len(columns)-1 {
			last = operator
		}
		and := make([]string, 0, i+1)
		for j, before := range columns[:i] {
			and = append(and, before.name+" "+inSchema(before.ops, "=")+" "+values[j])
		}
		or[i] = "(" + strings.Join(append(and, c.name+" "+inSchema(c.ops, last)+" "+values[i]), " and ") + ")"
	}
	return columns[0].name + " " + inSchema(columns[0].ops, strict+"=") + " " + values[0] + " and (" + strings.Join(or, " or ") + ")"
}

// equal is the condition that columns have these values.
func equal(columns []column, values []string) string {
	and := make([]string, len(columns))
	for i, c := range columns {
		and[i] = c.name + " " + inSchema(c.ops, "=") + " " + values[i]
	}
	return "(" + strings.Join(and, " and ") + ")"
}

func inSchema(schema, operator string) string {
	return "operator(" + pgx.Identifier{schema}.Sanitize() + "." + operator + ")"
}
