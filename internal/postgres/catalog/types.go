package catalog

import (
	"context"

	"github.com/sequinstream/sequin/internal/cdc"
)

// maxTypeDepth bounds the walk from a type to what it is made of. Domains over arrays of domains go as deep as people nest them.
const maxTypeDepth = 32

// An array type is one that its element names as such; other types with elements (point, name, int2vector) are not printed as arrays.
const typesQuery = `
with recursive reachable (oid, depth) as (
  select unnest($1::oid[]), 0
  union
  select x.oid, r.depth + 1
  from reachable r join pg_type t on t.oid = r.oid, lateral (values (t.typbasetype), (t.typelem)) x (oid)
  where x.oid <> 0 and r.depth < $2::int4
)
select distinct t.oid, t.typname::text, t.typtype::text, t.typcategory::text,
  case when exists (select from pg_type e where e.oid = t.typelem and e.typarray = t.oid) then t.typelem else 0::oid end,
  t.typbasetype, t.typdelim::text
from reachable r join pg_type t on t.oid = r.oid`

// FillTypes sets the Type of each column from its TypeOID. Types that the catalog does not know any more are text.
func FillTypes(ctx context.Context, conn Querier, columns []cdc.Column) error {
	var unknown []uint32
	for i := range columns {
		if t, ok := cdc.BuiltinType(columns[i].TypeOID); ok {
			columns[i].Type = t
		} else if columns[i].TypeOID != 0 {
			unknown = append(unknown, columns[i].TypeOID)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	types, err := readTypes(ctx, conn, unknown)
	if err != nil {
		return err
	}
	lookup := func(oid uint32) (cdc.CatalogType, bool) {
		t, ok := types[oid]
		return t, ok
	}
	for i := range columns {
		columns[i].Type = cdc.TypeFor(columns[i].TypeOID, lookup)
	}
	return nil
}

// readTypes reads the types and everything that they are made of.
func readTypes(ctx context.Context, conn Querier, oids []uint32) (map[uint32]cdc.CatalogType, error) {
	rows, err := conn.Query(ctx, typesQuery, oids, maxTypeDepth)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	types := map[uint32]cdc.CatalogType{}
	for rows.Next() {
		var (
			oid              uint32
			t                cdc.CatalogType
			kind, cat, delim string
		)
		if err := rows.Scan(&oid, &t.Name, &kind, &cat, &t.Elem, &t.Base, &delim); err != nil {
			return nil, err
		}
		t.Type, t.Category, t.Delim = firstByte(kind), firstByte(cat), firstByte(delim)
		types[oid] = t
	}
	return types, rows.Err()
}

func firstByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}
