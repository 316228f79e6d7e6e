package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// Delete is a row that is gone. Old aliases the message.
type Delete struct {
	RelationID uint32
	OldKind    byte // 'K' the key columns (others are null), 'O' the whole old row (replica identity full)
	Old        cdc.Tuple
}

// ParseDelete reads a Delete message.
func ParseDelete(b []byte) (Delete, error) {
	r := open(b, KindDelete)
	m := Delete{RelationID: r.uint32("the relation id is cut off")}
	m.OldKind = r.uint8("the old row is missing")
	if !r.failed() && m.OldKind != 'K' && m.OldKind != 'O' {
		r.off--
		r.fail("the old row begins with neither K nor O")
	}
	m.Old = r.tuple()
	return m, r.close()
}
