// Package catalog reads the facts about tables that pgoutput leaves out: primary keys, attribute numbers, the types behind domains and arrays,
// and the partitioned table that a partition belongs to.
//
// The catalog tells how a table is now, a relation message how it was when its changes were made; where both speak, the message wins, and the
// catalog only adds. Results are plain values that can be stored as JSON. Functions use the connection they are given and nothing else.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
)

// ErrGone reports a relation that the catalog does not know any more.
var ErrGone = errors.New("relation is gone from the catalog")

// Querier runs queries; a connection, a transaction or a pool does.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Relation completes what the walsender said of a relation: sent holds SourceID, Schema, Name, Identity, IdentityKey, and each column's Name,
// TypeOID and TypeMod. A partition is reported as its topmost partitioned table, with the columns that were sent; a table that merely inherits
// is reported as itself. If the relation is gone, what the message alone tells comes with an error that wraps ErrGone. The result shares
// nothing with sent.
func Relation(ctx context.Context, conn Querier, sent cdc.Relation) (*cdc.Relation, error) {
	rel := sent
	rel.OID = sent.SourceID
	rel.Columns = slices.Clone(sent.Columns)
	rel.IdentityKey = slices.Clone(sent.IdentityKey)
	if err := FillTypes(ctx, conn, rel.Columns); err != nil {
		return nil, fmt.Errorf("catalog facts of %s.%s: %w", sent.Schema, sent.Name, err)
	}
	rel.PrimaryKey = keyByFlags(&rel)
	found, err := lookUp(ctx, conn, sent.SourceID)
	if errors.Is(err, pgx.ErrNoRows) {
		return &rel, fmt.Errorf("catalog facts of %s.%s: %w", sent.Schema, sent.Name, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("catalog facts of %s.%s: %w", sent.Schema, sent.Name, err)
	}
	found.apply(&rel)
	return &rel, nil
}

// keyByFlags is the primary key as the message itself tells it: with the default replica identity, the flagged columns are the primary key of
// that moment, whatever the columns are called now. Columns come in attnum order.
func keyByFlags(rel *cdc.Relation) []int {
	if rel.Identity != 'd' || len(rel.IdentityKey) == 0 {
		return nil
	}
	key := slices.Clone(rel.IdentityKey)
	slices.Sort(key)
	return key
}

// facts are what the catalog says of a relation or, for a partition, of its topmost partitioned table.
type facts struct {
	oid     uint32
	schema  string
	name    string
	mapped  bool // a partition
	attnums map[string]int16
	key     []string // names of the primary key's columns in attnum order
}

const factsQuery = `
select r.oid, n.nspname::text, r.relname::text, r.oid <> c.oid,
  (select array_agg(a.attname::text order by a.attnum) from pg_attribute a where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped),
  (select array_agg(a.attnum order by a.attnum) from pg_attribute a where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped),
  (select array_agg(a.attname::text order by a.attnum) from pg_index i
    join pg_attribute a on a.attrelid = r.oid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    where i.indrelid = r.oid and i.indisprimary)
from pg_class c
join pg_class r on r.oid = case when c.relispartition then coalesce(pg_partition_root(c.oid)::oid, c.oid) else c.oid end
join pg_namespace n on n.oid = r.relnamespace
where c.oid = $1::oid`

func lookUp(ctx context.Context, conn Querier, oid uint32) (facts, error) {
	var (
		f     facts
		names []string
		nums  []int16
	)
	if err := conn.QueryRow(ctx, factsQuery, oid).Scan(&f.oid, &f.schema, &f.name, &f.mapped, &names, &nums, &f.key); err != nil {
		return facts{}, err
	}
	f.attnums = make(map[string]int16, len(names))
	for i := range names {
		f.attnums[names[i]] = nums[i]
	}
	return f, nil
}

// apply adds the facts to what was sent.
func (f facts) apply(rel *cdc.Relation) {
	for i := range rel.Columns {
		rel.Columns[i].AttNum = f.attnums[rel.Columns[i].Name]
	}
	if f.mapped {
		rel.PartitionSchema, rel.PartitionName = rel.Schema, rel.Name
		rel.OID, rel.Schema, rel.Name = f.oid, f.schema, f.name
	}
	// A partition's own flags stand for the key of the whole only if that has none.
	if len(f.key) > 0 && (f.mapped || rel.PrimaryKey == nil) {
		if key := indexes(rel, f.key); key != nil {
			rel.PrimaryKey = key
		}
	}
}

// indexes finds the named columns; nil unless all are there. A key of which a part was renamed or is not published identifies nothing.
func indexes(rel *cdc.Relation, names []string) []int {
	key := make([]int, 0, len(names))
	for _, name := range names {
		i := rel.ColumnIndex(name)
		if i < 0 {
			return nil
		}
		key = append(key, i)
	}
	return key
}
