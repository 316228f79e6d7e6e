package pgoutput

import (
	"bytes"
	"encoding/binary"

	"github.com/sequinstream/sequin/internal/cdc"
)

// reader walks one message. The first failure sticks: later reads return zero and err reports the first, so parsers read straight through.
type reader struct {
	b    []byte
	off  int
	kind byte
	what string // of the failure; "" while all is well
}

// open starts reading a message that must be of the kind.
func open(b []byte, kind byte) reader {
	r := reader{b: b, kind: kind}
	switch {
	case len(b) == 0:
		r.what = "the message is empty"
	case b[0] != kind:
		r.what = "the message is of another kind"
	default:
		r.off = 1
	}
	return r
}

// fail records the first failure, at the current offset.
func (r *reader) fail(what string) {
	if r.what == "" {
		r.what = what
	}
}

func (r *reader) failed() bool { return r.what != "" }

func (r *reader) left() int { return len(r.b) - r.off }

// close checks that nothing is left and returns the first failure.
func (r *reader) close() error {
	if r.what == "" {
		if r.left() == 0 {
			return nil
		}
		r.what = "bytes are left over"
	}
	return &SyntaxError{Kind: r.kind, Offset: r.off, What: r.what}
}

func (r *reader) uint8(what string) byte {
	if r.failed() {
		return 0
	}
	if r.left() < 1 {
		r.fail(what)
		return 0
	}
	v := r.b[r.off]
	r.off++
	return v
}

func (r *reader) uint16(what string) uint16 {
	if r.failed() {
		return 0
	}
	if r.left() < 2 {
		r.fail(what)
		return 0
	}
	v := binary.BigEndian.Uint16(r.b[r.off:])
	r.off += 2
	return v
}

func (r *reader) uint32(what string) uint32 {
	if r.failed() {
		return 0
	}
	if r.left() < 4 {
		r.fail(what)
		return 0
	}
	v := binary.BigEndian.Uint32(r.b[r.off:])
	r.off += 4
	return v
}

func (r *reader) uint64(what string) uint64 {
	if r.failed() {
		return 0
	}
	if r.left() < 8 {
		r.fail(what)
		return 0
	}
	v := binary.BigEndian.Uint64(r.b[r.off:])
	r.off += 8
	return v
}

func (r *reader) lsn(what string) cdc.LSN { return cdc.LSN(r.uint64(what)) }

func (r *reader) timestamp(what string) cdc.Timestamp {
	return cdc.FromPostgres(int64(r.uint64(what))) //nolint:gosec // an Int64 on the wire; the bits are meant
}

// text reads a null-terminated string and copies it.
func (r *reader) text(what string) string {
	if r.failed() {
		return ""
	}
	n := bytes.IndexByte(r.b[r.off:], 0)
	if n < 0 {
		r.fail(what)
		return ""
	}
	s := string(r.b[r.off : r.off+n])
	r.off += n + 1
	return s
}

// schema reads a namespace: the server sends an empty string for pg_catalog.
func (r *reader) schema(what string) string {
	s := r.text(what)
	if s == "" {
		return "pg_catalog"
	}
	return s
}

// bytes reads an Int32 length and that many bytes, without copying them.
func (r *reader) bytes(length, content string) []byte {
	n := r.uint32(length)
	if r.failed() {
		return nil
	}
	if int64(n) > int64(r.left()) {
		r.fail(content)
		return nil
	}
	v := r.b[r.off : r.off+int(n) : r.off+int(n)]
	r.off += int(n)
	return v
}
