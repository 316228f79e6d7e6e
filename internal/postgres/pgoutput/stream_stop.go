package pgoutput

// ParseStreamStop reads a Stream Stop message, which says nothing but that the block of a StreamStart ends.
func ParseStreamStop(b []byte) error {
	r := open(b, KindStreamStop)
	return r.close()
}
