package cdc

import "encoding/binary"

// Tuple is a row in the form of the walsender's TupleData: an int16 column count, then for each column a kind byte and, for kinds 't' and
// 'b', an int32 length and the bytes. It is validated where it enters (package pgoutput), so walking one never fails; a damaged one simply
// ends early.
type Tuple []byte

// Datum is one column of a tuple. Kind is 'n' (null), 'u' (an unchanged TOAST value that was not sent), 't' (text) or 'b' (binary).
type Datum struct {
	Kind byte
	Text []byte
}

// Null reports whether the value is SQL NULL.
func (d Datum) Null() bool { return d.Kind == 'n' }

// Unchanged reports whether the value is a TOAST value that the update did not touch and the server did not send.
func (d Datum) Unchanged() bool { return d.Kind == 'u' }

// Len is the number of columns.
func (t Tuple) Len() int {
	if len(t) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(t))
}

// Columns starts a walk over the tuple.
func (t Tuple) Columns() Columns {
	if len(t) < 2 {
		return Columns{}
	}
	return Columns{rest: t[2:], left: int(binary.BigEndian.Uint16(t))}
}

// Columns walks a tuple from left to right without allocating.
type Columns struct {
	rest []byte
	left int
}

// Next returns the next column, and false at the end.
func (c *Columns) Next() (Datum, bool) {
	if c.left == 0 || len(c.rest) == 0 {
		return Datum{}, false
	}
	c.left--
	kind := c.rest[0]
	if kind == 'n' || kind == 'u' {
		c.rest = c.rest[1:]
		return Datum{Kind: kind}, true
	}
	if len(c.rest) < 5 {
		c.rest = nil
		return Datum{}, false
	}
	n := int(binary.BigEndian.Uint32(c.rest[1:]))
	if n < 0 || n > len(c.rest)-5 {
		c.rest = nil
		return Datum{}, false
	}
	d := Datum{Kind: kind, Text: c.rest[5 : 5+n : 5+n]}
	c.rest = c.rest[5+n:]
	return d, true
}

// Column is the i-th column (from 0), and false when the tuple is shorter.
func (t Tuple) Column(i int) (Datum, bool) {
	w := t.Columns()
	for {
		d, ok := w.Next()
		if !ok || i == 0 {
			return d, ok
		}
		i--
	}
}
