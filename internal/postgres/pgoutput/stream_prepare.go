package pgoutput

// ParseStreamPrepare reads a Stream Prepare message: a Prepare for a transaction that was sent in blocks.
func ParseStreamPrepare(b []byte) (Prepare, error) {
	r := open(b, KindStreamPrepare)
	m := r.prepare()
	return m, r.close()
}
