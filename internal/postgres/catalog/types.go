package catalog

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
)

// maxTypeDepth bounds the walk from a type to what it is made of. Domains over arrays of domains go as deep as people nest them.
const maxTypeDepth = 32

// pgType is a row of pg_type.
type pgType struct {
	oid   uint32
	name  string
	typ   string // typtype: b base, c composite, d domain, e enum, p pseudo, r range, m multirange
	elem  uint32 // of a true array, else 0
	base  uint32 // of a domain, else 0
	delim string
}

// An array type is one that its element names as such; other types with elements (point, name, int2vector) are not printed as arrays.
const typesQuery = `
with recursive reachable (oid, depth) as (
  select unnest($1::oid[]), 0
  union
  select x.oid, r.depth + 1
  from reachable r join pg_type t on t.oid = r.oid, lateral (values (t.typbasetype), (t.typelem)) x (oid)
  where x.oid <> 0 and r.depth < $2::int4
)
select distinct t.oid, t.typname::text, t.typtype::text,
  case when exists (select from pg_type e where e.oid = t.typelem and e.typarray = t.oid) then t.typelem else 0::oid end,
  t.typbasetype, t.typdelim::text
from reachable r join pg_type t on t.oid = r.oid`

// fillTypes sets the Type of each column from its TypeOID. Types that the catalog does not know any more are text.
func fillTypes(ctx context.Context, conn Querier, columns []cdc.Column) error {
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
	for i := range columns {
		if _, ok := cdc.BuiltinType(columns[i].TypeOID); !ok {
			columns[i].Type = resolve(types, columns[i].TypeOID, 0)
		}
	}
	return nil
}

func readTypes(ctx context.Context, conn Querier, oids []uint32) (map[uint32]pgType, error) {
	rows, err := conn.Query(ctx, typesQuery, oids, maxTypeDepth)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (pgType, error) {
		var t pgType
		err := r.Scan(&t.oid, &t.name, &t.typ, &t.elem, &t.base, &t.delim)
		return t, err
	})
	if err != nil {
		return nil, err
	}
	types := make(map[uint32]pgType, len(list))
	for _, t := range list {
		types[t.oid] = t
	}
	return types, nil
}

// resolve turns a type into how its text is read: domains into their base types at any depth, arrays into arrays of those.
func resolve(types map[uint32]pgType, oid uint32, depth int) cdc.Type {
	if t, ok := cdc.BuiltinType(oid); ok {
		return t
	}
	t, ok := types[oid]
	switch {
	case !ok:
		return cdc.Type{Kind: cdc.KindText, Name: "unknown"}
	case depth > maxTypeDepth:
	case t.base != 0:
		return resolve(types, t.base, depth+1)
	case t.elem != 0:
		elem := resolve(types, t.elem, depth+1)
		delim := byte(',')
		if e, ok := types[t.elem]; ok && e.delim != "" {
			delim = e.delim[0]
		}
		return cdc.Type{Kind: cdc.KindArray, Delim: delim, Name: t.name, Elem: &elem}
	case t.name == "vector" && t.typ == "b": // pgvector's, in whatever schema the extension was put
		return cdc.Type{Kind: cdc.KindVector, Name: t.name}
	}
	return cdc.Type{Kind: cdc.KindText, Name: t.name}
}
