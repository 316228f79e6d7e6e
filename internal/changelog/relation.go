package changelog

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/sequinstream/sequin/internal/cdc"
)

// maxTypeDepth bounds arrays of arrays when a relation is decoded; Postgres itself has one level.
const maxTypeDepth = 16

// ofPartition is added to the identity letter when the name of a partition follows.
const ofPartition = 0x80

// relationText serialises everything that decoding a row will ever need.
func relationText(r *cdc.Relation) []byte {
	b := binary.AppendUvarint(nil, uint64(r.OID))
	b = binary.AppendUvarint(b, uint64(r.SourceID))
	b = appendString(b, r.Schema)
	b = appendString(b, r.Name)
	if r.PartitionName != "" {
		b = append(b, r.Identity|ofPartition)
		b = appendString(b, r.PartitionSchema)
		b = appendString(b, r.PartitionName)
	} else {
		b = append(b, r.Identity)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Columns)))
	for i := range r.Columns {
		c := &r.Columns[i]
		b = appendString(b, c.Name)
		b = binary.AppendVarint(b, int64(c.AttNum))
		b = binary.AppendUvarint(b, uint64(c.TypeOID))
		b = binary.AppendVarint(b, int64(c.TypeMod))
		b = appendType(b, &c.Type)
	}
	b = appendInts(b, r.PrimaryKey)
	return appendInts(b, r.IdentityKey)
}

func appendType(b []byte, t *cdc.Type) []byte {
	b = append(b, byte(t.Kind), t.Delim)
	b = appendString(b, t.Name)
	if t.Elem == nil {
		return append(b, 0)
	}
	return appendType(append(b, 1), t.Elem)
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendInts(b []byte, ints []int) []byte {
	b = binary.AppendUvarint(b, uint64(len(ints)))
	for _, n := range ints {
		b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // column indexes
	}
	return b
}

// cursor reads primitive values from a buffer. After the first one that does not fit, bad is set and everything else is zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) fail() { c.b, c.bad = nil, true }

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.fail()
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := uint64(c.b[0])
		c.b = c.b[1:]
		return v
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v := c.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (c *cursor) uint32() uint32 {
	v := c.uvarint()
	if v > 1<<32-1 {
		c.fail()
		return 0
	}
	return uint32(v)
}

// bytes reads a length and that many bytes, without copying. Its capacity ends where it ends.
func (c *cursor) bytes() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// count reads a number of things that take at least one byte each.
func (c *cursor) count() int {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded by the buffer
}

func (c *cursor) ints() []int {
	n := c.count()
	if n == 0 {
		return nil
	}
	ints := make([]int, n)
	for i := range ints {
		ints[i] = int(c.uint32())
	}
	return ints
}

// decodeRelation is the inverse of relationText.
func decodeRelation(b []byte) (*cdc.Relation, error) {
	c := cursor{b: b}
	r := &cdc.Relation{OID: c.uint32(), SourceID: c.uint32(), Schema: string(c.bytes()), Name: string(c.bytes()), Identity: c.byte()}
	if r.Identity&ofPartition != 0 {
		r.Identity &^= ofPartition
		r.PartitionSchema, r.PartitionName = string(c.bytes()), string(c.bytes())
	}
	if n := c.count(); n > 0 {
		r.Columns = make([]cdc.Column, 0, min(n, 1600))
		for range n {
			if c.bad {
				break
			}
			r.Columns = append(r.Columns, cdc.Column{
				Name:    string(c.bytes()),
				AttNum:  int16(c.varint()), //nolint:gosec // written from an int16
				TypeOID: c.uint32(),
				TypeMod: int32(c.varint()), //nolint:gosec // written from an int32
				Type:    decodeType(&c, 0),
			})
		}
	}
	r.PrimaryKey, r.IdentityKey = c.ints(), c.ints()
	if c.bad || len(c.b) > 0 || !inRange(r.PrimaryKey, len(r.Columns)) || !inRange(r.IdentityKey, len(r.Columns)) {
		return nil, fmt.Errorf("%w: a relation does not decode", errDamaged)
	}
	return r, nil
}

func decodeType(c *cursor, depth int) cdc.Type {
	t := cdc.Type{Kind: cdc.Kind(c.byte()), Delim: c.byte(), Name: string(c.bytes())}
	if c.byte() == 0 {
		return t
	}
	if depth == maxTypeDepth {
		c.fail()
		return t
	}
	elem := decodeType(c, depth+1)
	t.Elem = &elem
	return t
}

func inRange(ints []int, n int) bool {
	for _, i := range ints {
		if i >= n {
			return false
		}
	}
	return true
}

// maxInterned bounds the relations kept for sharing; past it the table starts anew.
const maxInterned = 8192

// interned shares decoded relations between blocks: the same description is the same pointer, so that whoever reads can remember what it
// derived from one.
type interned struct {
	mu     sync.Mutex
	byText map[string]*cdc.Relation // guarded by mu
}

func (t *interned) get(b []byte) (*cdc.Relation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, ok := t.byText[string(b)]; ok {
		return r, nil
	}
	r, err := decodeRelation(b)
	if err != nil {
		return nil, err
	}
	if t.byText == nil || len(t.byText) >= maxInterned {
		t.byText = make(map[string]*cdc.Relation)
	}
	t.byText[string(b)] = r
	return r, nil
}
