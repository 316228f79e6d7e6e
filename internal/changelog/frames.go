package changelog

import (
	"encoding/binary"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Frame kinds. They are stored: numbers are never reused.
const (
	frameBegin     byte = 1  // xid, final LSN, commit time, each as the difference to the block's previous begin
	frameContinue  byte = 2  // xid, final LSN, commit time, next index, annotations in force
	frameCommit    byte = 3  // end LSN less final LSN
	frameInsert    byte = 4  // relation, new
	frameUpdate    byte = 5  // relation, new
	frameUpdateKey byte = 6  // relation, old key columns, new
	frameUpdateOld byte = 7  // relation, old row, new
	frameDeleteKey byte = 8  // relation, old key columns
	frameDeleteOld byte = 9  // relation, old row
	frameTruncate  byte = 10 // flags, relations of the statement, relations of this frame
	frameMessage   byte = 11 // prefix, content
	frameAnnotate  byte = 12 // like frameMessage; its content annotates what follows in the transaction
	frameClear     byte = 13 // like frameMessage; what follows in the transaction is not annotated
	frameTooBig    byte = 14 // op, relation (noRelation for a message), size
)

// Flags of a frameTruncate.
const (
	truncateCascade byte = 1 << 0
	truncateRestart byte = 1 << 1
	truncateMore    byte = 1 << 2 // the next frame goes on with the same statement and index
)

// noRelation in the place of a relation's number: the entry is not about a table.
const noRelation = 0xffff

// beginning is a transaction's identity, the base of the next begin frame's differences.
type beginning struct {
	xid    uint32
	final  cdc.LSN
	commit cdc.Timestamp
}

func appendBegin(b []byte, t, base beginning) []byte {
	b = append(b, frameBegin)
	b = binary.AppendVarint(b, int64(t.xid)-int64(base.xid))
	b = binary.AppendVarint(b, int64(t.final-base.final)) //nolint:gosec // a difference modulo 2^64
	return binary.AppendVarint(b, int64(t.commit-base.commit))
}

func appendContinue(b []byte, t beginning, index uint32, annotations []byte) []byte {
	b = append(b, frameContinue)
	b = binary.AppendUvarint(b, uint64(t.xid))
	b = binary.AppendUvarint(b, uint64(t.final))
	b = binary.AppendVarint(b, int64(t.commit))
	b = binary.AppendUvarint(b, uint64(index))
	b = binary.AppendUvarint(b, uint64(len(annotations)))
	return append(b, annotations...)
}

func appendCommit(b []byte, end, final cdc.LSN) []byte {
	return binary.AppendVarint(append(b, frameCommit), int64(end-final)) //nolint:gosec // a difference modulo 2^64
}

// appendChange appends an insert, update or delete. A nil row is left out; kind says which ones there are.
func appendChange(b []byte, kind byte, relation uint16, old, row cdc.Tuple) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, kind), relation)
	if kind >= frameUpdateKey {
		b = binary.AppendUvarint(b, uint64(len(old)))
		b = append(b, old...)
	}
	if kind <= frameUpdateOld {
		b = binary.AppendUvarint(b, uint64(len(row)))
		b = append(b, row...)
	}
	return b
}

func appendMessage(b []byte, kind byte, prefix string, content []byte) []byte {
	b = appendString(append(b, kind), prefix)
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

func appendTooBig(b []byte, op cdc.Op, relation uint16, size int) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, frameTooBig, byte(op)), relation)
	return binary.AppendUvarint(b, uint64(size)) //nolint:gosec // sizes are not negative
}

// changeKind is the frame for a change, and false for a combination that pgoutput never sends.
func changeKind(op cdc.Op, oldKind byte) (byte, bool) {
	switch {
	case op == cdc.OpInsert && oldKind == 0:
		return frameInsert, true
	case op == cdc.OpUpdate && oldKind == 0:
		return frameUpdate, true
	case op == cdc.OpUpdate && oldKind == 'K':
		return frameUpdateKey, true
	case op == cdc.OpUpdate && oldKind == 'O':
		return frameUpdateOld, true
	case op == cdc.OpDelete && oldKind == 'K':
		return frameDeleteKey, true
	case op == cdc.OpDelete && oldKind == 'O':
		return frameDeleteOld, true
	}
	return 0, false
}

// frame is one parsed frame. Only the fields of its kind are set; slices alias the buffer.
type frame struct {
	kind        byte
	flags       byte // truncate
	op          cdc.Op
	relation    []byte // the relation's number where it stands, two bytes; of a truncate, all of them
	old, row    cdc.Tuple
	txn         beginning // begin: differences; continue: absolute
	delta       int64     // commit
	index       uint32
	total       int // truncate: relations of the statement
	size        int
	annotations []byte
	prefix      []byte
	content     []byte
}

// next parses the frame at the cursor into f and reports false at the end or, with c.bad, at damage.
func (f *frame) next(c *cursor) bool {
	if len(c.b) == 0 {
		return false
	}
	f.kind = c.byte()
	switch f.kind {
	case frameInsert, frameUpdate:
		f.relation = c.take(2)
		f.old, f.row = nil, c.bytes()
	case frameUpdateKey, frameUpdateOld:
		f.relation = c.take(2)
		f.old, f.row = c.bytes(), c.bytes()
	case frameDeleteKey, frameDeleteOld:
		f.relation = c.take(2)
		f.old, f.row = c.bytes(), nil
	case frameBegin:
		f.txn = beginning{
			xid:    uint32(c.varint()),  //nolint:gosec // a difference modulo 2^32
			final:  cdc.LSN(c.varint()), //nolint:gosec // a difference modulo 2^64
			commit: cdc.Timestamp(c.varint()),
		}
	case frameContinue:
		f.txn = beginning{xid: c.uint32(), final: cdc.LSN(c.uvarint()), commit: cdc.Timestamp(c.varint())}
		f.index, f.annotations = c.uint32(), c.bytes()
	case frameCommit:
		f.delta = c.varint()
	case frameTruncate:
		f.flags = c.byte()
		f.total = int(c.uint32())
		f.relation = c.take(2 * c.count())
	case frameMessage, frameAnnotate, frameClear:
		f.prefix, f.content = c.bytes(), c.bytes()
	case frameTooBig:
		f.op = cdc.Op(c.byte())
		f.relation = c.take(2)
		f.size = int(c.uvarint() & (1<<62 - 1))
	default:
		c.fail()
	}
	return !c.bad
}

// take reads n bytes as they are.
func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}
