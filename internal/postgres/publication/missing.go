package publication

import (
	"context"
	"fmt"
)

// Missing is a subscribed table whose changes a publication does not send.
type Missing struct {
	Name
	NotFound bool     // there is no such table
	Problem  *LeftOut // why it must not simply be added; nil if it can be
	// SQL mends it: the table first where that is needed, then the publication.
	SQL string
}

// Reconcile returns which of the tables the publication does not send, and the SQL that mends it.
func Reconcile(ctx context.Context, conn Conn, name string, tables []Name) ([]Missing, error) {
	missing, err := reconcile(ctx, conn, name, tables)
	if err != nil {
		return nil, fmt.Errorf("reconcile publication %q: %w", name, err)
	}
	return missing, nil
}

func reconcile(ctx context.Context, conn Conn, name string, names []Name) ([]Missing, error) {
	version, err := serverVersion(ctx, conn)
	if err != nil {
		return nil, err
	}
	found, err := tablesNamed(ctx, conn, names)
	if err != nil {
		return nil, err
	}
	byName := map[Name]*table{}
	for _, t := range found {
		byName[t.Name] = t
	}
	covered, err := coveredTables(ctx, conn, name, found, version)
	if err != nil {
		return nil, err
	}
	var missing []Missing
	for _, n := range names {
		t, ok := byName[n]
		if !ok {
			missing = append(missing, Missing{Name: n, NotFound: true})
			continue
		}
		if covered[t.oid] {
			continue
		}
		m, err := notCovered(ctx, conn, name, t, version)
		if err != nil {
			return nil, err
		}
		if m != nil {
			missing = append(missing, *m)
		}
	}
	return missing, nil
}

// notCovered describes what is missing of a table that is not in the publication by itself. A partitioned table is complete when each of its
// partitions is; nil means that nothing is missing.
func notCovered(ctx context.Context, conn Conn, name string, t *table, version int) (*Missing, error) {
	add, leaves := []*table{t}, []*table(nil)
	if t.kind == "p" {
		tree, err := leavesOf(ctx, conn, []uint32{t.oid})
		if err != nil {
			return nil, err
		}
		leaves = tree[t.oid]
		rest, err := uncovered(ctx, conn, name, leaves, version)
		if err != nil || len(leaves) > 0 && len(rest) == 0 {
			return nil, err
		}
		if version < 130000 {
			add = rest
		}
	}
	m := &Missing{Name: t.Name, Problem: obstacle(t, leaves, add, version)}
	if m.Problem != nil {
		if m.Problem.Repair == "" {
			return m, nil
		}
		m.SQL = m.Problem.Repair + "; "
	}
	if len(add) > 0 {
		m.SQL += fmt.Sprintf("alter publication %s add table %s", quoteIdent(name), onlyList(add))
	}
	return m, nil
}

// uncovered are the tables that the publication does not send.
func uncovered(ctx context.Context, conn Conn, name string, tables []*table, version int) ([]*table, error) {
	covered, err := coveredTables(ctx, conn, name, tables, version)
	if err != nil {
		return nil, err
	}
	var rest []*table
	for _, t := range tables {
		if !covered[t.oid] {
			rest = append(rest, t)
		}
	}
	return rest, nil
}

// obstacle says why the table, or on 12 one of the partitions to add in its place, must not simply be added.
func obstacle(t *table, leaves, add []*table, version int) *LeftOut {
	if t.kind != "p" || version >= 130000 {
		return t.judge(leaves, version)
	}
	for _, leaf := range add {
		if l := leaf.harm(); l != nil {
			l.Name, l.Partition = t.Name, &leaf.Name
			return l
		}
	}
	return nil
}

// coverage is true for relation c when the publication sends its changes: itself, a table that it is a partition of, its schema, or all.
func coverage(version int) string {
	own := `c.oid = r.prrelid or exists (select from pg_partition_ancestors(c.oid) a where a.relid = r.prrelid)`
	where := `(exists (select from pg_publication p where p.pubname = $1 and p.puballtables and c.relpersistence = 'p' and c.oid >= 16384)
  or exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where p.pubname = $1 and (` + own + `))`
	if version >= 150000 {
		where += `
  or exists (select from pg_publication_namespace pn join pg_publication p on p.oid = pn.pnpubid
    where p.pubname = $1 and c.relpersistence = 'p' and (c.relnamespace = pn.pnnspid
      or exists (select from pg_partition_ancestors(c.oid) a join pg_class x on x.oid = a.relid where x.relnamespace = pn.pnnspid)))`
	}
	return where + `)`
}

func coveredTables(ctx context.Context, conn Conn, name string, tables []*table, version int) (map[uint32]bool, error) {
	oids := make([]uint32, 0, len(tables))
	for _, t := range tables {
		oids = append(oids, t.oid)
	}
	list, err := queryTables(ctx, conn, `c.oid = any ($2::oid[]) and c.relkind in ('r', 'p') and `+coverage(version), name, oids)
	if err != nil {
		return nil, err
	}
	covered := map[uint32]bool{}
	for _, t := range list {
		covered[t.oid] = true
	}
	return covered, nil
}

// breaks are the tables that the publication covers and that have no usable replica identity.
func breaks(ctx context.Context, conn Conn, name string, version int) ([]LeftOut, error) {
	list, err := queryTables(ctx, conn, `c.relkind = 'r' and c.relpersistence = 'p' and n.nspname <> 'information_schema' and `+coverage(version), name)
	if err != nil {
		return nil, err
	}
	var out []LeftOut
	for _, t := range list {
		if l := t.harm(); l != nil {
			out = append(out, *l)
		}
	}
	if version < 150000 {
		return out, nil
	}
	limited, err := limits(ctx, conn, name)
	return append(out, limited...), err
}

// limitsQuery finds tables whose column list lacks columns of the replica identity, or whose row filter uses others. The server records the
// columns that a filter uses as dependencies; with a column list beside it these cannot be told apart, and only the list is judged.
const limitsQuery = `
with entry as (
  select r.oid, r.prrelid, r.prattrs is not null as listed, r.prqual is not null as filtered, r.prattrs::int2[] as list, c.relreplident,
    (select i.indkey::int2[] from pg_index i where i.indrelid = c.oid and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end) as identity
  from pg_publication_rel r join pg_publication p on p.oid = r.prpubid join pg_class c on c.oid = r.prrelid
  where p.pubname = $1)
select n.nspname::text, c.relname::text,
  e.listed and (e.relreplident = 'f' or not e.identity <@ e.list),
  e.filtered and not e.listed and e.relreplident <> 'f' and exists (select from pg_depend d
    where d.classid = 'pg_publication_rel'::regclass and d.objid = e.oid and d.refclassid = 'pg_class'::regclass and d.refobjid = e.prrelid
      and d.refobjsubid > 0 and d.refobjsubid <> all (e.identity))
from entry e join pg_class c on c.oid = e.prrelid join pg_namespace n on n.oid = c.relnamespace
where (e.listed or e.filtered) and (e.identity is not null or e.relreplident = 'f')
order by 1, 2`

func limits(ctx context.Context, conn Conn, name string) ([]LeftOut, error) {
	rows, err := conn.Query(ctx, limitsQuery, name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []LeftOut
	for rows.Next() {
		var (
			l                   LeftOut
			byColumns, byFilter bool
		)
		if err := rows.Scan(&l.Schema, &l.Table, &byColumns, &byFilter); err != nil {
			return nil, err
		}
		switch {
		case byColumns:
			l.Reason = ColumnList
		case byFilter:
			l.Reason = RowFilter
		default:
			continue
		}
		l.Repair = fmt.Sprintf("alter publication %[1]s drop table %[2]s; alter publication %[1]s add table %[2]s", quoteIdent(name), l.Name)
		out = append(out, l)
	}
	return out, rows.Err()
}
