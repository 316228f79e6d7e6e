package consumer

import "encoding/binary"

// backlog is a queue of ascending seqs, stored as the distances between them: one or two bytes for each message that waits behind another.
// The zero value is empty, and one that holds a single seq allocates nothing.
type backlog struct {
	buf         []byte
	off         int
	first, last uint64
	n           int
}

// push appends a seq greater than all before and reports the bytes it took.
func (b *backlog) push(seq uint64) int {
	b.n++
	if b.n == 1 {
		b.first, b.last = seq, seq
		return 0
	}
	before := len(b.buf)
	b.buf = binary.AppendUvarint(b.buf, seq-b.last)
	b.last = seq
	return len(b.buf) - before
}

// pop removes the first seq and reports the bytes it gave back. It must not be called on an empty queue.
func (b *backlog) pop() (seq uint64, freed int) {
	seq = b.first
	b.n--
	if b.n == 0 {
		return seq, 0
	}
	d, k := binary.Uvarint(b.buf[b.off:])
	b.first += d
	b.off += k
	switch {
	case b.off == len(b.buf):
		b.off = 0
		if cap(b.buf) > 4096 {
			b.buf = nil
		} else {
			b.buf = b.buf[:0]
		}
	case b.off >= 4096 && b.off > len(b.buf)/2:
		b.buf = append(make([]byte, 0, len(b.buf)-b.off), b.buf[b.off:]...)
		b.off = 0
	}
	return seq, k
}

// head appends up to limit of the first seqs to dst.
func (b *backlog) head(dst []uint64, limit int) []uint64 {
	seq, off := b.first, b.off
	for i := range min(limit, b.n) {
		if i > 0 {
			d, k := binary.Uvarint(b.buf[off:])
			seq += d
			off += k
		}
		dst = append(dst, seq)
	}
	return dst
}
