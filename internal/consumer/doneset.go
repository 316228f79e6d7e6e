package consumer

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Done messages are kept in three layers. Everything below the cursor is done. Above it, messages stand in pages of 4,096 bits; a page whose
// messages are all done shrinks to one bit in a spread, which covers 4,096 pages, so that a single message that is retried for days costs a
// bit for every few thousand done after it. Pages and spreads are what is written to disk, 512 bytes each.
const (
	pageShift  = 12
	pageSeqs   = 1 << pageShift
	pageWords  = pageSeqs / 64
	pageBytes  = pageSeqs / 8
	spreadSeqs = pageSeqs * pageSeqs
)

type bitmap [pageWords]uint64

func (b *bitmap) has(i uint64) bool { return b[i>>6]&(1<<(i&63)) != 0 }

func (b *bitmap) encode(dst []byte) []byte {
	for _, w := range b {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

func (b *bitmap) decode(src []byte) error {
	if len(src) != pageBytes {
		return fmt.Errorf("a page of done messages has %d bytes, want %d", len(src), pageBytes)
	}
	for i := range b {
		b[i] = binary.LittleEndian.Uint64(src[i*8:])
	}
	return nil
}

func (b *bitmap) count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// countRange is the number of bits set from i to j.
func (b *bitmap) countRange(i, j uint64) uint64 {
	n := 0
	for w := i >> 6; w <= j>>6; w++ {
		word := b[w]
		if w == i>>6 {
			word &^= 1<<(i&63) - 1
		}
		if w == j>>6 {
			word &= math.MaxUint64 >> (63 - j&63)
		}
		n += bits.OnesCount64(word)
	}
	return uint64(n)
}

// firstZero is the first index ≥ i whose bit is not set, or pageSeqs.
func (b *bitmap) firstZero(i uint64) uint64 {
	w := i >> 6
	word := ^b[w] &^ (1<<(i&63) - 1)
	for word == 0 {
		w++
		if w == pageWords {
			return pageSeqs
		}
		word = ^b[w]
	}
	return w<<6 + uint64(bits.TrailingZeros64(word)) //nolint:gosec // 0 to 63
}

// lastZero is the last index ≤ i whose bit is not set.
func (b *bitmap) lastZero(i uint64) (uint64, bool) {
	for w := int(i >> 6); w >= 0; w-- {
		word := ^b[w]
		if w == int(i>>6) {
			word &= math.MaxUint64 >> (63 - i&63)
		}
		if word != 0 {
			return uint64(w)<<6 + uint64(bits.Len64(word)) - 1, true //nolint:gosec // 0 to 64
		}
	}
	return 0, false
}

type page struct {
	bits   bitmap
	n      int
	dirty  bool // has acknowledgements that are not on disk
	stored bool
}

// doneSet is not safe for concurrent use.
type doneSet struct {
	cursor  uint64 // everything below is done
	pages   map[uint64]*page
	spreads map[uint64]*page

	dirtyPages   []uint64 // may name pages that are gone
	dirtySpreads []uint64
	gonePages    []uint64 // to be deleted from disk
	goneSpreads  []uint64
}

func newDoneSet(cursor uint64) *doneSet {
	return &doneSet{cursor: cursor, pages: map[uint64]*page{}, spreads: map[uint64]*page{}}
}

func (d *doneSet) has(seq uint64) bool {
	if seq < d.cursor {
		return true
	}
	p := seq >> pageShift
	if pg := d.pages[p]; pg != nil {
		return pg.bits.has(seq & (pageSeqs - 1))
	}
	return d.fullPage(p)
}

func (d *doneSet) fullPage(p uint64) bool {
	if len(d.spreads) == 0 {
		return false
	}
	s := d.spreads[p>>pageShift]
	return s != nil && s.bits.has(p&(pageSeqs-1))
}

// set marks seq as done. Only durable marks are written to disk by themselves: what the filter skipped is skipped again after a crash.
func (d *doneSet) set(seq uint64, durable bool) {
	if seq < d.cursor {
		return
	}
	p := seq >> pageShift
	pg := d.pages[p]
	if pg == nil {
		if seq == d.cursor {
			d.cursor++
			if seq&(pageSeqs-1) == pageSeqs-1 {
				d.passSpread()
				d.advance()
			}
			return
		}
		if d.fullPage(p) {
			return
		}
		pg = &page{}
		d.pages[p] = pg
	}
	i := seq & (pageSeqs - 1)
	if pg.bits.has(i) {
		return
	}
	pg.bits[i>>6] |= 1 << (i & 63)
	pg.n++
	if durable && !pg.dirty {
		pg.dirty = true
		d.dirtyPages = append(d.dirtyPages, p)
	}
	switch {
	case seq == d.cursor:
		d.advance()
	case pg.n == pageSeqs:
		d.dropPage(p, pg)
		d.fill(p)
	}
}

// fill marks the whole page p as done in its spread.
func (d *doneSet) fill(p uint64) {
	s := d.spreads[p>>pageShift]
	if s == nil {
		s = &page{}
		d.spreads[p>>pageShift] = s
	}
	i := p & (pageSeqs - 1)
	s.bits[i>>6] |= 1 << (i & 63)
	if !s.dirty {
		s.dirty = true
		d.dirtySpreads = append(d.dirtySpreads, p>>pageShift)
	}
}

func (d *doneSet) dropPage(p uint64, pg *page) {
	if pg.stored {
		d.gonePages = append(d.gonePages, p)
	}
	delete(d.pages, p)
}

func (d *doneSet) dropSpread(s uint64, pg *page) {
	if pg.stored {
		d.goneSpreads = append(d.goneSpreads, s)
	}
	delete(d.spreads, s)
}

// advance moves the cursor over what is done.
func (d *doneSet) advance() {
	for {
		p := d.cursor >> pageShift
		if pg := d.pages[p]; pg != nil {
			i := pg.bits.firstZero(d.cursor & (pageSeqs - 1))
			d.cursor = p<<pageShift + i
			if i < pageSeqs {
				return
			}
			d.dropPage(p, pg)
		} else {
			if !d.fullPage(p) {
				return
			}
			d.cursor = (p + 1) << pageShift
		}
		d.passSpread()
	}
}

// passSpread drops the spread that the cursor has just left behind, if it has.
func (d *doneSet) passSpread() {
	if d.cursor&(spreadSeqs-1) != 0 {
		return
	}
	passed := d.cursor/spreadSeqs - 1
	if s := d.spreads[passed]; s != nil {
		d.dropSpread(passed, s)
	}
}

// setRange marks from … to as done, durably.
func (d *doneSet) setRange(from, to uint64) {
	from = max(from, d.cursor)
	if from > to {
		return
	}
	if from == d.cursor {
		d.moveTo(to + 1)
		return
	}
	for seq := from; seq <= to; {
		p := seq >> pageShift
		if seq&(pageSeqs-1) == 0 && to-seq >= pageSeqs-1 {
			if pg := d.pages[p]; pg != nil {
				d.dropPage(p, pg)
			}
			d.fill(p)
			seq += pageSeqs
			continue
		}
		d.set(seq, true)
		seq++
	}
}

// moveTo marks everything below seq as done.
func (d *doneSet) moveTo(seq uint64) {
	if seq <= d.cursor {
		return
	}
	for p, pg := range d.pages {
		if (p+1)<<pageShift <= seq {
			d.dropPage(p, pg)
		}
	}
	for s, pg := range d.spreads {
		if (s+1)*spreadSeqs <= seq {
			d.dropSpread(s, pg)
		}
	}
	d.cursor = seq
	d.advance()
}

// skip is the first seq ≥ seq that may not be done, found without looking at single messages where whole pages are done.
func (d *doneSet) skip(seq uint64) uint64 {
	seq = max(seq, d.cursor)
	for d.fullPage(seq >> pageShift) {
		seq = (seq>>pageShift + 1) << pageShift
	}
	return seq
}

// next is the first seq from seq to to that is not done, and false when there is none among the first pages of that stretch: then it is where
// to look on.
func (d *doneSet) next(seq, to uint64, pages int) (uint64, bool) {
	seq = max(seq, d.cursor)
	for range pages {
		if seq > to {
			break
		}
		p := seq >> pageShift
		if pg := d.pages[p]; pg != nil {
			if i := pg.bits.firstZero(seq & (pageSeqs - 1)); i < pageSeqs {
				seq = p<<pageShift + i
				return seq, seq <= to
			}
		} else if !d.fullPage(p) {
			return seq, true
		}
		seq = (p + 1) << pageShift
	}
	return seq, false
}

// prev is the last seq from seq down to from that is not done, and false when there is none among the last pages of that stretch: then it is
// where to look on. from is not below the cursor.
func (d *doneSet) prev(seq, from uint64, pages int) (uint64, bool) {
	for range pages {
		if seq < from {
			break
		}
		p := seq >> pageShift
		if pg := d.pages[p]; pg != nil {
			if i, ok := pg.bits.lastZero(seq & (pageSeqs - 1)); ok {
				seq = p<<pageShift + i
				return seq, seq >= from
			}
		} else if !d.fullPage(p) {
			return seq, true
		}
		if p == 0 {
			return 0, false
		}
		seq = p<<pageShift - 1
	}
	return seq, false
}

// touchAll makes every page go to disk with the next commit, marks of the filter included.
func (d *doneSet) touchAll() {
	for p, pg := range d.pages {
		if !pg.dirty {
			pg.dirty = true
			d.dirtyPages = append(d.dirtyPages, p)
		}
	}
}

// undone counts the messages in from … to that are not done.
func (d *doneSet) undone(from, to uint64) uint64 {
	var n uint64
	for seq := max(from, d.cursor); seq <= to; {
		p := seq >> pageShift
		end := min(to, (p+1)<<pageShift-1)
		pg := d.pages[p]
		switch {
		case pg != nil:
			n += end - seq + 1 - pg.bits.countRange(seq&(pageSeqs-1), end&(pageSeqs-1))
		case !d.fullPage(p):
			n += end - seq + 1
		}
		seq = end + 1
	}
	return n
}

// firstUndone lists the messages below seq that are not done, and false when they are more than most.
func (d *doneSet) firstUndone(below uint64, most int) ([]uint64, bool) {
	var seqs []uint64
	for seq := d.skip(d.cursor); seq < below; seq = d.skip(seq + 1) {
		if pg := d.pages[seq>>pageShift]; pg != nil {
			if i := pg.bits.firstZero(seq & (pageSeqs - 1)); i != seq&(pageSeqs-1) {
				seq = seq&^(pageSeqs-1) + i - 1
				continue
			}
		}
		if len(seqs) == most {
			return nil, false
		}
		seqs = append(seqs, seq)
	}
	return seqs, true
}

// changed reports whether render would have something to write.
func (d *doneSet) changed() bool {
	return len(d.dirtyPages)+len(d.dirtySpreads)+len(d.gonePages)+len(d.goneSpreads) > 0
}

// render hands every page that must be written to put and every one that can go to del, and counts them as written.
func (d *doneSet) render(put func(spread bool, n uint64, b *bitmap), del func(spread bool, n uint64)) {
	write := func(spread bool, from map[uint64]*page, dirty []uint64) {
		for _, n := range dirty {
			if pg := from[n]; pg != nil && pg.dirty {
				put(spread, n, &pg.bits)
				pg.dirty, pg.stored = false, true
			}
		}
	}
	write(false, d.pages, d.dirtyPages)
	write(true, d.spreads, d.dirtySpreads)
	for _, n := range d.gonePages {
		del(false, n)
	}
	for _, n := range d.goneSpreads {
		del(true, n)
	}
	d.dirtyPages, d.dirtySpreads = d.dirtyPages[:0], d.dirtySpreads[:0]
	d.gonePages, d.goneSpreads = d.gonePages[:0], d.goneSpreads[:0]
}

// load puts back what was read from disk, before anything else is marked.
func (d *doneSet) load(spread bool, n uint64, b *bitmap) (stale bool) {
	if spread {
		if (n+1)*spreadSeqs <= d.cursor {
			return true
		}
		d.spreads[n] = &page{bits: *b, stored: true}
		return false
	}
	if (n+1)<<pageShift <= d.cursor || d.fullPage(n) {
		return true
	}
	d.pages[n] = &page{bits: *b, n: b.count(), stored: true}
	return false
}

// forgetAll hands every page that is on disk to del.
func (d *doneSet) forgetAll(del func(spread bool, n uint64)) {
	for n, pg := range d.pages {
		if pg.stored {
			del(false, n)
		}
	}
	for n, pg := range d.spreads {
		if pg.stored {
			del(true, n)
		}
	}
	for _, n := range d.gonePages {
		del(false, n)
	}
	for _, n := range d.goneSpreads {
		del(true, n)
	}
}
