package cdc

// Relation describes a table as it was when its changes were sent, joined with the catalog facts that pgoutput leaves out.
type Relation struct {
	OID      uint32 // of the table that messages name: the parent when the change came through a partition
	SourceID uint32 // the OID that the walsender sent
	Schema   string
	Name     string
	// PartitionSchema and PartitionName are set when the change came through a partition: its own name.
	PartitionSchema, PartitionName string

	Identity byte // replica identity: 'd' default, 'n' nothing, 'f' full, 'i' index
	Columns  []Column
	// PrimaryKey holds indexes into Columns in attnum order; empty without a primary key.
	PrimaryKey []int
	// IdentityKey holds indexes into Columns of the replica-identity columns that pgoutput flagged; all of them with identity full.
	IdentityKey []int
}

// Column is one published column.
type Column struct {
	Name    string
	AttNum  int16 // 0 when the catalog did not know it
	TypeOID uint32
	TypeMod int32
	Type    Type
}

// ColumnIndex is the index of the named column, or -1.
func (r *Relation) ColumnIndex(name string) int {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// Kind says how a value's text is turned into JSON.
type Kind byte

// The kinds of value. They are stored in the change log: numbers are never reused.
const (
	KindText        Kind = 0 // a JSON string, the Postgres text as it is
	KindBool        Kind = 1
	KindInt         Kind = 2 // int2, int4, int8, oid: a JSON number with every digit
	KindFloat       Kind = 3 // float4, float8
	KindNumeric     Kind = 4 // a string
	KindJSON        Kind = 5 // json, jsonb: verbatim
	KindTimestamp   Kind = 6
	KindTimestampTZ Kind = 7
	KindDate        Kind = 8
	KindInterval    Kind = 9  // {"months","days","microseconds"}
	KindVector      Kind = 10 // pgvector: an array of numbers
	KindArray       Kind = 11 // Elem and Delim say of what
)

// Type is what must be known of a column's type to read its text, for ever: domains are already replaced by their base types.
type Type struct {
	Kind  Kind
	Delim byte   // KindArray: the element type's delimiter, ',' for all built-in types but box
	Name  string // pg_type.typname, for people
	Elem  *Type  // KindArray
}
