package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// Update is a changed row. Old and New alias the message.
type Update struct {
	RelationID uint32
	OldKind    byte      // 0 none, 'K' the key columns (others are null), 'O' the whole old row (replica identity full)
	Old        cdc.Tuple // nil when OldKind is 0
	New        cdc.Tuple
}

// ParseUpdate reads an Update message.
func ParseUpdate(b []byte) (Update, error) {
	r := open(b, KindUpdate)
	m := Update{RelationID: r.uint32("the relation id is cut off")}
	if r.left() > 0 && (r.b[r.off] == 'K' || r.b[r.off] == 'O') {
		m.OldKind = r.uint8("")
		m.Old = r.tuple()
	}
	r.newRow()
	m.New = r.tuple()
	return m, r.close()
}
