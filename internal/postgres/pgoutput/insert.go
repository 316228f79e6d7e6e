package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// Insert is a new row. New aliases the message.
type Insert struct {
	RelationID uint32
	New        cdc.Tuple
}

// ParseInsert reads an Insert message.
func ParseInsert(b []byte) (Insert, error) {
	r := open(b, KindInsert)
	m := Insert{RelationID: r.uint32("the relation id is cut off")}
	r.newRow()
	m.New = r.tuple()
	return m, r.close()
}

// newRow reads the letter before a new row.
func (r *reader) newRow() {
	if c := r.uint8("the new row is missing"); !r.failed() && c != 'N' {
		r.off--
		r.fail("the new row does not begin with N")
	}
}
