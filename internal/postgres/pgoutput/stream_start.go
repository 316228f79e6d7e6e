package pgoutput

// StreamStart opens a block of changes of a transaction that is still in progress.
type StreamStart struct {
	XID   uint32
	First bool // the transaction's first block
}

// ParseStreamStart reads a Stream Start message.
func ParseStreamStart(b []byte) (StreamStart, error) {
	r := open(b, KindStreamStart)
	m := StreamStart{
		XID:   r.uint32("the transaction id is cut off"),
		First: r.uint8("the segment flag is cut off") == 1,
	}
	return m, r.close()
}
