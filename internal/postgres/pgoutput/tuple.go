package pgoutput

import (
	"encoding/binary"
	"math"

	"github.com/sequinstream/sequin/internal/cdc"
)

// tuple reads TupleData and checks every column of it, so that walking the result cannot fail. The result aliases the message.
func (r *reader) tuple() cdc.Tuple {
	start := r.off
	columns := r.uint16("the column count is cut off")
	if r.failed() {
		return nil
	}
	if columns > math.MaxInt16 {
		r.off = start
		r.fail("the column count is negative")
		return nil
	}
	off := r.off
	for range columns {
		end, what := datumEnd(r.b, off)
		if what != "" {
			r.off = off
			r.fail(what)
			return nil
		}
		off = end
	}
	r.off = off
	return cdc.Tuple(r.b[start:off:off])
}

// datumEnd is the offset after the column that starts at off, or what is wrong with the column.
func datumEnd(b []byte, off int) (end int, what string) {
	if off >= len(b) {
		return 0, "a column is missing"
	}
	switch b[off] {
	case 'n', 'u':
		return off + 1, ""
	case 't', 'b':
	default:
		return 0, "a column has an unknown kind"
	}
	if len(b)-off < 5 {
		return 0, "a column's length is cut off"
	}
	n := binary.BigEndian.Uint32(b[off+1:])
	if n > math.MaxInt32 {
		return 0, "a column's length is negative"
	}
	if int(n) > len(b)-off-5 {
		return 0, "a column's value is cut off"
	}
	return off + 5 + int(n), ""
}
