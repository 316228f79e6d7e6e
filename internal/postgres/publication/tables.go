package publication

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Reason says why a table is left out of a publication, or why a publication breaks it.
type Reason string

// The reasons.
const (
	NoKey            Reason = "no_primary_key"       // replica identity default, and no primary key
	DeferrableKey    Reason = "deferrable_key"       // the primary key is deferrable or invalid, so it identifies nothing
	IdentityNothing  Reason = "identity_nothing"     // replica identity nothing
	IndexGone        Reason = "identity_index_gone"  // replica identity index, and the index is gone or invalid
	FuturePartitions Reason = "partitions_not_keyed" // partitions added later would have no replica identity
	NotOwner         Reason = "not_owner"            // only an owner may put the table into a publication
	NotPublishable   Reason = "not_publishable"      // a view, a foreign, unlogged or temporary table, or a partitioned table on 12
	ColumnList       Reason = "identity_not_in_column_list"
	RowFilter        Reason = "row_filter_beyond_identity"
)

// LeftOut is a table that a publication leaves out, or breaks.
type LeftOut struct {
	Name
	Reason    Reason
	Partition *Name  // the partition at fault, when it is not the table itself
	Repair    string // SQL that mends the table, without putting it into the publication
}

// Explain says it in words.
func (l LeftOut) Explain() string {
	switch l.Reason {
	case NoKey:
		return l.subject() + " has no primary key: UPDATE and DELETE on it would fail"
	case DeferrableKey:
		return l.subject() + " has a primary key that is deferrable or invalid, which does not identify rows: UPDATE and DELETE on it would fail"
	case IdentityNothing:
		return l.subject() + " has replica identity nothing: UPDATE and DELETE on it would fail"
	case IndexGone:
		return l.subject() + " has lost the index of its replica identity: UPDATE and DELETE on it would fail"
	case FuturePartitions:
		return l.subject() + " is partitioned and has no primary key: UPDATE and DELETE on partitions added later would fail"
	case NotOwner:
		return l.subject() + " belongs to another role, and only an owner may publish it"
	case NotPublishable:
		return l.subject() + " is not a permanent table, and Postgres cannot publish it"
	case ColumnList:
		return l.subject() + " is published without some columns of its replica identity: UPDATE and DELETE on it fail"
	case RowFilter:
		return l.subject() + " is published with a row filter on columns outside its replica identity: UPDATE and DELETE on it fail"
	}
	return l.subject() + ": " + string(l.Reason)
}

func (l LeftOut) subject() string {
	if l.Partition != nil {
		return fmt.Sprintf("partition %s of table %s", l.Partition, l.Name)
	}
	return fmt.Sprintf("table %s", l.Name)
}

// table is what decides whether a table can be published.
type table struct {
	Name
	oid       uint32
	kind      string // pg_class.relkind
	permanent bool
	root      uint32 // of the partition tree, 0 for a table outside of one
	partition bool
	verdict   string // of tablesQuery: ok, no_key, deferrable, nothing, index_gone
	keyed     bool   // has a primary key that identifies rows
	index     string // a unique index that could be the replica identity, or ""
	owned     bool
	owner     string
	user      string // we
}

// usable is what Postgres asks of an index before it identifies rows by it (RelationGetIndexList).
const usable = `i.indisvalid and i.indisunique and i.indimmediate and i.indpred is null`

const tablesQuery = `
select c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 'p',
  coalesce(pg_partition_root(c.oid)::oid, 0::oid), c.relispartition,
  case c.relreplident
    when 'f' then 'ok'
    when 'n' then 'nothing'
    when 'i' then case when exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident and ` + usable + `) then 'ok' else 'index_gone' end
    else case
      when exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and ` + usable + `) then 'ok'
      when exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary) then 'deferrable'
      else 'no_key' end
  end,
  exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and ` + usable + `),
  coalesce((select x.relname::text from pg_index i join pg_class x on x.oid = i.indexrelid
    where i.indrelid = c.oid and not i.indisprimary and ` + usable + ` and 0 <> all (i.indkey::int2[])
      and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum = any (i.indkey::int2[]) and not a.attnotnull)
    order by i.indnatts, i.indexrelid limit 1), ''),
  pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner)::text, current_user::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where %s
order by 2, 3`

// candidates are the tables of users: not of the system, of an extension, temporary, or Sequin's own.
const candidates = `c.relkind in ('r', 'p') and c.relpersistence = 'p' and c.oid >= 16384
  and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'sequin_config', 'sequin_streams')
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  and ($1::text[] is null or n.nspname = any ($1::text[]))`

// named are the relations with the given names, whatever they are.
const named = `c.relkind in ('r', 'p', 'v', 'm', 'f') and (n.nspname, c.relname) in (select * from unnest($1::text[], $2::text[]))`

func queryTables(ctx context.Context, conn Conn, where string, args ...any) ([]*table, error) {
	rows, err := conn.Query(ctx, fmt.Sprintf(tablesQuery, where), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*table, error) {
		t := new(table)
		err := r.Scan(&t.oid, &t.Schema, &t.Table, &t.kind, &t.permanent, &t.root, &t.partition, &t.verdict, &t.keyed, &t.index, &t.owned, &t.owner, &t.user)
		return t, err
	})
}

func tablesNamed(ctx context.Context, conn Conn, names []Name) ([]*table, error) {
	schemas, tables := make([]string, 0, len(names)), make([]string, 0, len(names))
	for _, n := range names {
		schemas, tables = append(schemas, n.Schema), append(tables, n.Table)
	}
	return queryTables(ctx, conn, named, schemas, tables)
}

// leavesOf are the permanent partitions without partitions of their own under the given partitioned tables, by root or by themselves.
func leavesOf(ctx context.Context, conn Conn, oids []uint32) (map[uint32][]*table, error) {
	leaves := map[uint32][]*table{}
	for _, oid := range oids {
		list, err := queryTables(ctx, conn,
			`c.relkind = 'r' and c.relpersistence = 'p' and c.oid in (select relid from pg_partition_tree($1::oid) where isleaf)`, oid)
		if err != nil {
			return nil, err
		}
		leaves[oid] = list
	}
	return leaves, nil
}

// harm says what a publication would do, or does, to the table itself; nil means none.
func (t *table) harm() *LeftOut {
	l := &LeftOut{Name: t.Name}
	switch t.verdict {
	case "ok":
		return nil
	case "nothing":
		l.Reason = IdentityNothing
	case "index_gone":
		l.Reason = IndexGone
	case "deferrable":
		l.Reason = DeferrableKey
	default:
		l.Reason = NoKey
	}
	l.Repair = t.repair()
	return l
}

// repair is the cheapest replica identity that the table can have as it is.
func (t *table) repair() string {
	switch {
	case t.keyed:
		return fmt.Sprintf("alter table %s replica identity default", t.Name)
	case t.index != "":
		return fmt.Sprintf("alter table %s replica identity using index %s", t.Name, quoteIdent(t.index))
	default:
		return fmt.Sprintf("alter table %s replica identity full", t.Name)
	}
}

// judge says why the table must be left out of a publication that we create, or returns nil. leaves are its partitions, if it is partitioned.
func (t *table) judge(leaves []*table, version int) *LeftOut {
	switch {
	case !t.permanent || (t.kind != "r" && t.kind != "p") || (t.kind == "p" && version < 130000):
		return &LeftOut{Name: t.Name, Reason: NotPublishable, Repair: ""}
	case !t.owned:
		return &LeftOut{Name: t.Name, Reason: NotOwner, Repair: fmt.Sprintf("grant %s to %s", quoteIdent(t.owner), quoteIdent(t.user))}
	case t.kind == "r":
		return t.harm()
	}
	for _, leaf := range leaves {
		if l := leaf.harm(); l != nil {
			l.Name, l.Partition = t.Name, &leaf.Name
			return l
		}
	}
	if !t.keyed {
		// Partitions take over a primary key, but never a replica identity.
		return &LeftOut{Name: t.Name, Reason: FuturePartitions, Repair: fmt.Sprintf("alter table %s add primary key (…)", t.Name)}
	}
	return nil
}

// onlyList writes tables as a publication takes them. ONLY keeps tables out that inherit from them: those have keys of their own.
func onlyList(tables []*table) string {
	parts := make([]string, 0, len(tables))
	for _, t := range tables {
		parts = append(parts, "only "+t.Name.String())
	}
	return strings.Join(parts, ", ")
}
