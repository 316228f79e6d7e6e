package backfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/problem"
)

// table is what the catalog and the publication say of the table.
type table struct {
	oid       uint32
	kind      string // r or p
	published []entry
}

// entry is a table under which the walsender reports changes: the table itself, or one of its partitions.
type entry struct {
	oid     uint32
	columns []string // nil for all
	filter  string   // which rows are published
}

// leaf is a partition that holds rows.
type leaf struct {
	oid   uint32
	name  string // for SQL
	entry entry
}

// source is what a page is read from, in the form in which its changes come.
type source struct {
	leaf     leaf   // its oid is 0 unless the table is partitioned
	oid      uint32 // whose rows are read; 0 when a partitioned table has no partitions
	from     string
	relation *cdc.Relation
	entry    entry
	order    []column // what the rows are read along; nil for blocks
	key      []column
	nullable bool   // order[0] may be null: those rows come last
	lockable bool   // we may take the table's weakest lock
	rowBytes int    // of a row, on average; 0 when nothing is known
	shape    string // of what the catalog said
}

const tableQuery = `
select c.oid::int8, c.relkind::text, c.relpersistence = 'p', c.relispartition
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1::text and c.relname = $2::text`

// describe finds the table, what of it is published, and its leaves.
func (r *Reader) describe(ctx context.Context) error {
	var (
		oid                  int64
		kind                 string
		permanent, ofAnother bool
		known                = r.table.oid
	)
	err := r.conn.QueryRow(ctx, tableQuery, r.spec.Schema, r.spec.Table).Scan(&oid, &kind, &permanent, &ofAnother)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.New("backfill_table_missing", "there is no table %s", r.label()).WithHint("see what there is: select schemaname, tablename from pg_tables")
	}
	if err != nil {
		return fmt.Errorf("look up table %s: %w", r.label(), err)
	}
	switch {
	case kind != "r" && kind != "p":
		return problem.New("backfill_not_a_table", "%s is no table", r.label()).WithDetail("only tables and partitioned tables have changes that can be captured").
			WithHint("backfill the tables that it is made of")
	case !permanent:
		return problem.New("backfill_not_a_table", "table %s is unlogged or temporary", r.label()).WithDetail("its changes are not in the WAL").
			WithHint("alter table %s set logged", r.name())
	case ofAnother:
		return problem.New("backfill_not_a_table", "table %s is a partition", r.label()).WithDetail("its changes are reported as those of its partitioned table").
			WithHint("backfill the partitioned table")
	case known != 0 && known != uint32(oid): //nolint:gosec // an oid
		return problem.New("backfill_table_changed", "table %s was dropped and created anew", r.label()).WithHint("start another backfill")
	}
	r.table.oid, r.table.kind = uint32(oid), kind //nolint:gosec // an oid
	if err := r.findPublished(ctx); err != nil {
		return err
	}
	return r.findLeaves(ctx)
}

// findPublished asks the publication how it has the table: by itself, by its partitions, or by some of these.
func (r *Reader) findPublished(ctx context.Context) error {
	r.table.published = nil
	if r.spec.Publication == "" {
		return nil
	}
	columns, filter := "null::text[]", "''"
	if r.version >= 150000 {
		columns, filter = "p.attnames::text[]", "coalesce(p.rowfilter, '')"
	}
	rows, err := r.conn.Query(ctx, fmt.Sprintf(`
		select c.oid::int8, %s, %s from pg_publication_tables p join pg_namespace n on n.nspname = p.schemaname
		join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
		where p.pubname = $1::text and (c.oid = $2::oid or c.relispartition and pg_partition_root(c.oid)::oid = $2::oid)`, columns, filter),
		r.spec.Publication, r.table.oid)
	if err != nil {
		return fmt.Errorf("look up publication %q: %w", r.spec.Publication, err)
	}
	r.table.published, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (entry, error) {
		var oid int64
		var e entry
		err := row.Scan(&oid, &e.columns, &e.filter)
		e.oid = uint32(oid) //nolint:gosec // an oid
		return e, err
	})
	if err != nil {
		return fmt.Errorf("look up publication %q: %w", r.spec.Publication, err)
	}
	return nil
}

func (r *Reader) notPublished() error {
	return problem.New("backfill_table_not_published", "publication %q does not have table %s", r.spec.Publication, r.label()).
		WithDetail("what changes while it is read would not be noticed").
		WithHint("alter publication %s add table %s", pgx.Identifier{r.spec.Publication}.Sanitize(), r.name())
}

// entryOf is the entry under which the changes of a table come, given the tables that it is a partition of.
func (r *Reader) entryOf(oid uint32, ancestors []int64) (entry, bool) {
	if r.spec.Publication == "" {
		return entry{oid: oid}, true
	}
	for _, e := range r.table.published {
		if e.oid == oid || slices.Contains(ancestors, int64(e.oid)) {
			return e, true
		}
	}
	return entry{}, false
}

// findLeaves lists the partitions that hold published rows. Foreign and unlogged ones have no changes, so their rows are not read either.
func (r *Reader) findLeaves(ctx context.Context) error {
	r.leaves = nil
	if r.table.kind != "p" {
		if _, ok := r.entryOf(r.table.oid, nil); !ok {
			return r.notPublished()
		}
		return nil
	}
	rows, err := r.conn.Query(ctx, `
		select c.oid::int8, n.nspname::text, c.relname::text, array(select relid::oid::int8 from pg_partition_ancestors(c.oid)),
			has_table_privilege(c.oid, 'select') or has_any_column_privilege(c.oid, 'select')
		from pg_partition_tree($1::oid::regclass) t join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace
		where t.isleaf and c.relkind = 'r' and c.relpersistence = 'p' order by c.oid`, r.table.oid)
	if err != nil {
		return fmt.Errorf("partitions of table %s: %w", r.label(), err)
	}
	defer rows.Close()
	partitions := 0
	for rows.Next() {
		var (
			oid           int64
			schema, table string
			ancestors     []int64
			readable      bool
		)
		if err := rows.Scan(&oid, &schema, &table, &ancestors, &readable); err != nil {
			return fmt.Errorf("partitions of table %s: %w", r.label(), err)
		}
		partitions++
		l := leaf{oid: uint32(oid), name: pgx.Identifier{schema, table}.Sanitize()} //nolint:gosec // an oid
		var published bool
		if l.entry, published = r.entryOf(l.oid, ancestors); !published {
			continue
		}
		if !readable {
			return problem.New("backfill_no_privilege", "partition %s of table %s cannot be read", l.name, r.label()).
				WithDetail("a backfill reads each partition by itself").WithHint("grant select on %s to Sequin's role", l.name)
		}
		r.leaves = append(r.leaves, l)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("partitions of table %s: %w", r.label(), err)
	}
	if partitions > 0 && len(r.leaves) == 0 {
		return r.notPublished()
	}
	return nil
}

// enter reads the facts about what the next pages are read from: the leaf, or the table itself.
func (r *Reader) enter(ctx context.Context, l leaf) error {
	s := &source{leaf: l, oid: l.oid, from: "only " + l.name + " as " + pgx.Identifier{r.spec.Table}.Sanitize()}
	e := l.entry
	if l.oid == 0 {
		e, _ = r.entryOf(r.table.oid, nil)
		e.oid = r.table.oid
		s.from = r.name()
		if r.table.kind == "r" {
			s.oid, s.from = r.table.oid, "only "+r.name()
		}
	}
	s.entry = e
	// What is read after this was taken can only be newer, and then the next page finds another shape.
	shape, err := r.shape(ctx, s)
	if err != nil {
		return err
	}
	if s.relation, err = r.describeEntry(ctx, e); err != nil {
		return err
	}
	err = r.conn.QueryRow(ctx, `
		select coalesce(has_table_privilege($1::oid, 'select'), false),
			coalesce((select least(pg_table_size(c.oid) / c.reltuples, 1000000000) from pg_class c where c.oid = $1::oid and c.reltuples > 0 and c.relpages > 0), 0)::int4`, s.oid).
		Scan(&s.lockable, &s.rowBytes)
	if err != nil {
		return fmt.Errorf("size of table %s: %w", r.label(), err)
	}
	if err := r.choose(ctx, s); err != nil {
		return err
	}
	if r.at != nil && r.at.relation.SourceID == s.relation.SourceID && sameRelation(r.at.relation, s.relation) {
		s.relation = r.at.relation // whoever compares pointers sees that nothing changed
	}
	s.shape, r.at = shape, s
	return nil
}

// sameRelation tells whether two relations of one table are alike.
func sameRelation(a, b *cdc.Relation) bool {
	text := func(r *cdc.Relation) string {
		var s strings.Builder
		for i := range r.Columns {
			fmt.Fprintf(&s, "%q %d %d %d,", r.Columns[i].Name, r.Columns[i].AttNum, r.Columns[i].TypeOID, r.Columns[i].TypeMod)
		}
		fmt.Fprintf(&s, "%q %q %q %q %v %v %c", r.Schema, r.Name, r.PartitionSchema, r.PartitionName, r.PrimaryKey, r.IdentityKey, r.Identity)
		return s.String()
	}
	return text(a) == text(b)
}

// describeEntry is the relation that the walsender would send, with the facts that capture adds.
func (r *Reader) describeEntry(ctx context.Context, e entry) (*cdc.Relation, error) {
	sent := cdc.Relation{SourceID: e.oid}
	var identity string
	err := r.conn.QueryRow(ctx, `
		select n.nspname::text, c.relname::text, c.relreplident::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1::oid`, e.oid).
		Scan(&sent.Schema, &sent.Name, &identity)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errStale
	}
	if err != nil {
		return nil, fmt.Errorf("look up table %s: %w", r.label(), err)
	}
	sent.Identity = identity[0]
	if err := r.columns(ctx, &sent, e); err != nil {
		return nil, err
	}
	rel, err := catalog.Relation(ctx, r.conn, sent)
	if errors.Is(err, catalog.ErrGone) {
		return nil, errStale
	}
	return rel, err
}

// usable is what Postgres asks of an index before it identifies rows by it.
const usable = "i.indisvalid and i.indisunique and i.indimmediate and i.indpred is null"

// columns fills in the columns that are sent, in their order, and which of them identify a row.
func (r *Reader) columns(ctx context.Context, sent *cdc.Relation, e entry) error {
	rows, err := r.conn.Query(ctx, `
		select a.attname::text, a.atttypid, a.atttypmod, a.attgenerated::text <> '',
			c.relreplident = 'f' or exists (select from pg_index i where i.indrelid = a.attrelid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
				and `+usable+` and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end)
		from pg_attribute a join pg_class c on c.oid = a.attrelid
		where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped order by a.attnum`, e.oid)
	if err != nil {
		return fmt.Errorf("columns of table %s: %w", r.label(), err)
	}
	defer rows.Close()
	for rows.Next() {
		var c cdc.Column
		var generated, key bool
		if err := rows.Scan(&c.Name, &c.TypeOID, &c.TypeMod, &generated, &key); err != nil {
			return fmt.Errorf("columns of table %s: %w", r.label(), err)
		}
		if e.columns != nil && !slices.Contains(e.columns, c.Name) || generated && (r.version < 180000 || e.columns == nil) {
			continue
		}
		if key {
			sent.IdentityKey = append(sent.IdentityKey, len(sent.Columns))
		}
		sent.Columns = append(sent.Columns, c)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("columns of table %s: %w", r.label(), err)
	}
	return nil
}
