package pgoutput

import "math"

// Relation describes a table. The server sends it before the first change of the table on a connection and again after the table changed.
type Relation struct {
	OID      uint32
	Schema   string
	Name     string
	Identity byte // replica identity: 'd' default, 'n' nothing, 'f' full, 'i' index
	Columns  []RelationColumn
}

// RelationColumn is one published column.
type RelationColumn struct {
	Key     bool // part of the replica identity; with identity full every column is
	Name    string
	TypeOID uint32
	TypeMod int32
}

// minColumnBytes is what the shortest column takes: flags, an empty name, type and modifier.
const minColumnBytes = 1 + 1 + 4 + 4

// ParseRelation reads a Relation message. The empty schema name that stands for pg_catalog on the wire is replaced by that name.
func ParseRelation(b []byte) (Relation, error) {
	r := open(b, KindRelation)
	m := Relation{
		OID:      r.uint32("the relation id is cut off"),
		Schema:   r.schema("the schema has no end"),
		Name:     r.text("the name has no end"),
		Identity: r.uint8("the replica identity is cut off"),
	}
	columns := int(r.uint16("the column count is cut off"))
	if columns > math.MaxInt16 {
		r.fail("the column count is negative")
	}
	if columns*minColumnBytes > r.left() {
		r.fail("a column is missing")
	}
	if r.failed() {
		return Relation{}, r.close()
	}
	m.Columns = make([]RelationColumn, columns)
	for i := range m.Columns {
		m.Columns[i] = RelationColumn{
			Key:     r.uint8("a column's flags are cut off")&1 != 0,
			Name:    r.text("a column's name has no end"),
			TypeOID: r.uint32("a column's type is cut off"),
			TypeMod: int32(r.uint32("a column's type modifier is cut off")), //nolint:gosec // an Int32 on the wire; the bits are meant
		}
	}
	return m, r.close()
}
