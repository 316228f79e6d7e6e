package pgoutput

import "encoding/binary"

// Truncate empties one or more tables in one statement.
type Truncate struct {
	Cascade         bool
	RestartIdentity bool
	relations       []byte // big-endian ids, aliasing the message
}

// Len is the number of tables.
func (t Truncate) Len() int { return len(t.relations) / 4 }

// RelationID is the i-th table's id, from 0.
func (t Truncate) RelationID(i int) uint32 { return binary.BigEndian.Uint32(t.relations[4*i:]) }

// AppendRelationIDs appends the ids of all tables in the order that the server sent them.
func (t Truncate) AppendRelationIDs(dst []uint32) []uint32 {
	for i := range t.Len() {
		dst = append(dst, t.RelationID(i))
	}
	return dst
}

// ParseTruncate reads a Truncate message.
func ParseTruncate(b []byte) (Truncate, error) {
	r := open(b, KindTruncate)
	n := r.uint32("the relation count is cut off")
	flags := r.uint8("the flags are cut off")
	if r.failed() {
		return Truncate{}, r.close()
	}
	if int64(n)*4 > int64(r.left()) {
		r.fail("a relation id is missing")
		return Truncate{}, r.close()
	}
	ids := r.b[r.off : r.off+4*int(n) : r.off+4*int(n)]
	r.off += len(ids)
	return Truncate{Cascade: flags&1 != 0, RestartIdentity: flags&2 != 0, relations: ids}, r.close()
}
