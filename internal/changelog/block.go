package changelog

import (
	"encoding/binary"

	"github.com/sequinstream/sequin/internal/cdc"
)

// relation is a table's description as the writer keeps it: serialised once, with its place in the block that is being filled.
type relation struct {
	text []byte
	in   *block // the block whose table it is in
	ref  uint16
}

// extent is what of a block's content goes into the log, and what is known at its end.
type extent struct {
	frames     int // bytes
	relations  int
	relBytes   int
	last       uint64
	pos        cdc.Position // of the last entry
	commitEnd  cdc.LSN
	end        cdc.LSN // commitEnd, or a later mark
	commitTime cdc.Timestamp
	maxCommit  cdc.Timestamp
	base       beginning // of the last begin frame
}

// block is a block that is being filled. It belongs to one goroutine at a time: to the writer, then (under the queue's mutex) to the queue,
// then to the appender.
type block struct {
	epoch     uint32
	first     uint64
	firstPos  cdc.Position
	continued bool
	frames    []byte
	relations []*relation
	relBytes  int
	base      beginning // of the last begin frame
	complete  extent    // up to the last commit; frames is 0 when there is none yet

	// Set when it is handed over.
	out       extent
	committed uint64 // the last number before the transaction that it is a part of; 0 and out.last rule for blocks that end with a commit
	commits   bool
	part      uint32
}

// size is the raw body that the block would have now.
func (b *block) size() int { return len(b.frames) + b.relBytes }

// need is how many more bytes a relation would take in the block.
func (b *block) need(r *relation) int {
	if r == nil || r.in == b {
		return 0
	}
	return len(r.text) + binary.MaxVarintLen32
}

// ref is the relation's number in the block's table, where it is entered if need be.
func (b *block) ref(r *relation) uint16 {
	if r.in == b {
		return r.ref
	}
	r.in = b
	// It may be here from before it was entered in another block. A second entry would be harmless, so the search is short.
	for i := len(b.relations) - 1; i >= max(len(b.relations)-32, 0); i-- {
		if b.relations[i] == r {
			r.ref = uint16(i) //nolint:gosec // as below
			return r.ref
		}
	}
	r.ref = uint16(len(b.relations)) //nolint:gosec // the writer cuts the block before the table is full
	b.relations = append(b.relations, r)
	b.relBytes += len(r.text) + uvarintLen(len(r.text))
	return r.ref
}

// appendRelations appends the table behind the frames.
func (b *block) appendRelations(raw []byte, n int) []byte {
	for _, r := range b.relations[:n] {
		raw = binary.AppendUvarint(raw, uint64(len(r.text)))
		raw = append(raw, r.text...)
	}
	return raw
}

// carry copies the open transaction, whose frames behind its begin are given, from one block to the end of another, where its relations get
// numbers of their own. It returns where they begin there.
func carry(dst, src *block, t beginning, frames []byte) int {
	dst.frames = appendBegin(dst.frames, t, dst.base)
	dst.base = t
	at := len(dst.frames)
	dst.frames = append(dst.frames, frames...)
	c := cursor{b: dst.frames[at:]}
	var f frame
	for f.next(&c) {
		if f.kind < frameInsert || f.kind >= frameMessage && f.kind <= frameClear {
			continue
		}
		for refs := f.relation; len(refs) > 0; refs = refs[2:] {
			if old := binary.LittleEndian.Uint16(refs); old != noRelation {
				binary.LittleEndian.PutUint16(refs, dst.ref(src.relations[old]))
			}
		}
	}
	return at
}

// truncate takes back everything behind the last commit.
func (b *block) truncate() {
	b.frames = b.frames[:b.complete.frames]
	for _, r := range b.relations[b.complete.relations:] {
		if r.in == b {
			r.in = nil
		}
	}
	b.relations = b.relations[:b.complete.relations]
	b.relBytes = b.complete.relBytes
	b.base = b.complete.base
}

func uvarintLen(n int) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], uint64(n)) //nolint:gosec // a length
}
