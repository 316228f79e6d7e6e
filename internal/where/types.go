package where

import (
	"strings"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// opaque stands for a type of which nothing is known but its values' being null or not.
var opaque = &pgcatalog.Type{Name: "(unknown type)", Schema: "?", Category: 'U', Kind: 'b'}

// userTypes builds the types of a table's users; those that refer to each other come in any order.
func userTypes(catalog *pgcatalog.Catalog, declared []UserType) []*pgcatalog.Type {
	if len(declared) == 0 {
		return nil
	}
	byOID := make(map[uint32]*pgcatalog.Type, len(declared))
	types := make([]*pgcatalog.Type, 0, len(declared))
	for i := range declared {
		d := &declared[i]
		t := &pgcatalog.Type{OID: d.OID, Name: d.Name, Schema: d.Schema, Kind: d.Kind, Category: 'U', Delim: ',', Labels: d.Labels}
		if t.Schema == "" {
			t.Schema = "public"
		}
		if d.Delim != 0 {
			t.Delim = d.Delim
		}
		switch d.Kind {
		case 'e':
			t.Category = 'E'
		case 'r', 'm':
			t.Category = 'R'
		case 'a':
			t.Category, t.Kind = 'A', 'b'
		}
		byOID[d.OID] = t
		types = append(types, t)
	}
	find := func(oid uint32) *pgcatalog.Type {
		if t := byOID[oid]; t != nil {
			return t
		}
		return ownType(catalog, oid)
	}
	for i, t := range types {
		link(t, &declared[i], find)
	}
	for range types { // domains over domains
		for _, t := range types {
			if t.Kind == 'd' && t.Base != nil {
				t.Category, t.Collatable, t.Preferred = t.Base.Category, t.Base.Collatable, false
			}
		}
	}
	return types
}

func link(t *pgcatalog.Type, d *UserType, find func(uint32) *pgcatalog.Type) {
	switch d.Kind {
	case 'd':
		if t.Base = find(d.Base); t.Base == nil {
			t.Base = opaque
		}
	case 'a':
		if elem := find(d.Elem); elem != nil {
			t.Elem, t.Collatable = elem, elem.Collatable
			if elem.Schema != "" { // types of Postgres itself are shared
				elem.Array = t
			}
		}
	case 'r':
		if t.Subtype = find(d.Elem); t.Subtype == nil {
			t.Subtype = opaque
		}
	case 'm':
		if t.Subtype = find(d.Elem); t.Subtype == nil {
			t.Subtype = opaque
		}
		if r := find(d.Range); r != nil {
			t.Range, r.Multirange = r, t
		}
	}
}

// ownType is one of Postgres' own types, arrays included.
func ownType(catalog *pgcatalog.Catalog, oid uint32) *pgcatalog.Type {
	if t := catalog.ByOID(oid); t != nil {
		return t
	}
	if t, ok := cdc.BuiltinType(oid); ok {
		return catalog.Type(t.Name)
	}
	return nil
}

// typeOf is the type of a column.
func (c *checker) typeOf(oid uint32) *pgcatalog.Type {
	if t := ownType(c.catalog, oid); t != nil {
		return t
	}
	return opaque
}

// typeNamed resolves a type as written.
func (c *checker) typeNamed(n syntax.TypeName) (*pgcatalog.Type, error) {
	name := n.Name
	if n.Dims == 0 && strings.HasPrefix(name, "_") && c.catalog.Type(name) == nil {
		return nil, nameError(n.Pos, "", "type %q does not exist", name)
	}
	t := c.catalog.Type(name)
	if t == nil || t.Kind == 'p' || n.Schema != "" && n.Schema != "pg_catalog" && n.Schema != t.Schema || n.Schema == "pg_catalog" && t.Schema != "" {
		return nil, nameError(n.Pos, "use a type of Postgres itself, or of one of the table's columns", "type %q is not known here", name)
	}
	if n.Dims > 0 {
		if t.Array == nil {
			return nil, nameError(n.Pos, "", "there is no array of %s", t.Display())
		}
		t = t.Array
	}
	if t.Kind == 'd' {
		return nil, refuse(n.Pos, "cast to "+t.BaseType().Display(), "casts to a domain are not supported: its constraints cannot be checked here")
	}
	return t, nil
}
