package pgoutput

// Type names a type that is not built in. The server sends it before the Relation that has a column of the type.
type Type struct {
	OID    uint32
	Schema string
	Name   string
}

// ParseType reads a Type message. The empty schema name that stands for pg_catalog on the wire is replaced by that name.
func ParseType(b []byte) (Type, error) {
	r := open(b, KindType)
	m := Type{
		OID:    r.uint32("the type id is cut off"),
		Schema: r.schema("the schema has no end"),
		Name:   r.text("the name has no end"),
	}
	return m, r.close()
}
