package changelog

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/s2"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Segment is a decoded block: whole committed transactions, or a part of a big one that is committed. It is shared between all who read it
// and is not to be changed, but for the encodings that Change caches.
type Segment struct {
	First, Last uint64
	Changes     []cdc.Change // Changes[i].Seq == First+i
}

// unpack returns the raw body of a checked block. Plain bodies alias data.
func unpack(h *header, data []byte) ([]byte, error) {
	body := data[headerSize:]
	switch h.codec {
	case codecPlain:
		if len(body) != int(h.rawSize) {
			return nil, fmt.Errorf("%w: a plain body of %d bytes, want %d", errDamaged, len(body), h.rawSize)
		}
		return body, nil
	case codecS2:
		n, err := s2.DecodedLen(body)
		if err != nil || n != int(h.rawSize) {
			return nil, fmt.Errorf("%w: a body that unfolds to %d bytes, want %d", errDamaged, n, h.rawSize)
		}
		raw, err := s2.Decode(make([]byte, n), body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		return raw, nil
	}
	return nil, fmt.Errorf("%w: codec %d", errDamaged, h.codec)
}

// decoder turns the frames of one block into changes.
type decoder struct {
	h           *header
	relations   []*cdc.Relation
	changes     []cdc.Change
	n           int // changes filled
	txn         beginning
	open        bool // inside a transaction
	index       uint32
	annotations []byte
}

// decode reads a raw body. The changes alias it.
func decode(h *header, raw []byte, relations *interned) (*Segment, error) {
	d := decoder{h: h}
	var err error
	if d.relations, err = decodeRelations(h, raw, relations); err != nil {
		return nil, err
	}
	d.changes = make([]cdc.Change, h.entries())
	if err := d.run(raw[:h.frames]); err != nil {
		return nil, err
	}
	return &Segment{First: h.first, Last: h.last, Changes: d.changes}, nil
}

func decodeRelations(h *header, raw []byte, relations *interned) ([]*cdc.Relation, error) {
	c := cursor{b: raw[h.frames:]}
	table := make([]*cdc.Relation, 0, min(int(h.relations), len(c.b)))
	for range h.relations {
		b := c.bytes()
		if c.bad {
			return nil, fmt.Errorf("%w: its relations end early", errDamaged)
		}
		r, err := relations.get(b)
		if err != nil {
			return nil, err
		}
		table = append(table, r)
	}
	if len(c.b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind its relations", errDamaged, len(c.b))
	}
	return table, nil
}

func (d *decoder) run(frames []byte) error {
	c := cursor{b: frames}
	var f frame
	for f.next(&c) {
		if !d.apply(&f) {
			return fmt.Errorf("%w: frame of kind %d after %d entries", errDamaged, f.kind, d.n)
		}
	}
	switch {
	case c.bad:
		return fmt.Errorf("%w: a frame after %d entries does not decode", errDamaged, d.n)
	case d.n != len(d.changes):
		return fmt.Errorf("%w: %d entries, want %d", errDamaged, d.n, len(d.changes))
	case d.open == d.h.committing():
		return fmt.Errorf("%w: its end and its flags disagree about a commit", errDamaged)
	}
	return nil
}

// apply takes one frame and reports whether it has its place here.
func (d *decoder) apply(f *frame) bool {
	switch f.kind {
	case frameBegin:
		if d.open {
			return false
		}
		d.txn = beginning{xid: d.txn.xid + f.txn.xid, final: d.txn.final + f.txn.final, commit: d.txn.commit + f.txn.commit}
		d.open, d.index, d.annotations = true, 0, nil
		return true
	case frameContinue:
		if d.open || d.n > 0 {
			return false
		}
		d.txn, d.open, d.index, d.annotations = f.txn, true, f.index, nonEmpty(f.annotations)
		return true
	case frameCommit:
		ok := d.open
		d.open = false
		return ok
	case frameTruncate:
		return d.truncate(f)
	}
	change := d.next()
	if change == nil || !d.fill(change, f) {
		return false
	}
	d.index++
	return true
}

// next takes the next free entry, inside a transaction, and gives it what all entries have.
func (d *decoder) next() *cdc.Change {
	if !d.open || d.n == len(d.changes) {
		return nil
	}
	c := &d.changes[d.n]
	c.Seq = d.h.first + uint64(d.n) //nolint:gosec // an index
	d.n++
	c.Position = cdc.Position{LSN: d.txn.final, Index: d.index, Epoch: d.h.epoch}
	c.XID = d.txn.xid
	c.CommitTime = d.txn.commit
	c.Annotations = d.annotations
	return c
}

func (d *decoder) fill(c *cdc.Change, f *frame) bool {
	switch f.kind {
	case frameInsert:
		c.Op = cdc.OpInsert
	case frameUpdate:
		c.Op = cdc.OpUpdate
	case frameUpdateKey:
		c.Op, c.OldKind = cdc.OpUpdate, 'K'
	case frameUpdateOld:
		c.Op, c.OldKind = cdc.OpUpdate, 'O'
	case frameDeleteKey:
		c.Op, c.OldKind = cdc.OpDelete, 'K'
	case frameDeleteOld:
		c.Op, c.OldKind = cdc.OpDelete, 'O'
	case frameTooBig:
		c.Op, c.TooBig, c.Size = f.op, true, f.size
		return d.relate(c, f.relation) || f.op == cdc.OpMessage
	default:
		d.message(c, f)
		return true
	}
	c.Old, c.New = f.old, f.row
	c.Size = len(f.old) + len(f.row)
	return d.relate(c, f.relation)
}

func (d *decoder) relate(c *cdc.Change, ref []byte) bool {
	i := int(binary.LittleEndian.Uint16(ref))
	if i >= len(d.relations) {
		return false
	}
	c.Relation = d.relations[i]
	return true
}

func (d *decoder) message(c *cdc.Change, f *frame) {
	c.Op, c.Prefix, c.Content = cdc.OpMessage, string(f.prefix), f.content
	c.Size = len(f.prefix) + len(f.content)
	switch f.kind {
	case frameAnnotate:
		d.annotations = f.content
	case frameClear:
		d.annotations = nil
	}
}

func (d *decoder) truncate(f *frame) bool {
	for refs := f.relation; len(refs) > 0; refs = refs[2:] {
		c := d.next()
		if c == nil || !d.relate(c, refs) {
			return false
		}
		c.Op, c.TruncateN = cdc.OpTruncate, f.total
	}
	if f.flags&truncateMore == 0 {
		d.index++
	}
	return d.open
}

func nonEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
