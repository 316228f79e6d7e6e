package consumer

import "math/bits"

// each shows every page and spread.
func (d *doneSet) each(show func(spread bool, n uint64, b *bitmap)) {
	for n, pg := range d.pages {
		show(false, n, &pg.bits)
	}
	for n, pg := range d.spreads {
		show(true, n, &pg.bits)
	}
}

// top is the last seq above the cursor that is done, or the one before the cursor.
func (d *doneSet) top() uint64 {
	top := max(d.cursor, 1) - 1
	for n, pg := range d.pages {
		if i, ok := pg.bits.last(); ok {
			top = max(top, n<<pageShift+i)
		}
	}
	for n, pg := range d.spreads {
		if i, ok := pg.bits.last(); ok {
			top = max(top, (n<<pageShift+i+1)<<pageShift-1)
		}
	}
	return top
}

// last is the last bit that is set.
func (b *bitmap) last() (uint64, bool) {
	for w := pageWords - 1; w >= 0; w-- {
		if b[w] != 0 {
			return uint64(w)<<6 + uint64(bits.Len64(b[w])) - 1, true //nolint:gosec // 0 to 4095
		}
	}
	return 0, false
}

// touchEvery makes every page and spread go to disk with the next commit.
func (d *doneSet) touchEvery() {
	d.touchAll()
	for n, s := range d.spreads {
		if !s.dirty {
			s.dirty = true
			d.dirtySpreads = append(d.dirtySpreads, n)
		}
	}
}

// merge marks as done what is done in another set from a seq on.
func (d *doneSet) merge(other *doneSet, from uint64) {
	if other.cursor > from {
		d.setRange(from, other.cursor-1)
	}
	for n, s := range other.spreads {
		for i := range uint64(pageSeqs) {
			if s.bits.has(i) {
				p := n<<pageShift + i
				d.setRange(max(from, p<<pageShift), (p+1)<<pageShift-1)
			}
		}
	}
	for n, pg := range other.pages {
		b := pg.bits
		if first := n << pageShift; first < from {
			b.clearBelow(min(from-first, pageSeqs))
		}
		d.orPage(n, &b)
	}
	d.advance()
}

// clearBelow clears the bits below i.
func (b *bitmap) clearBelow(i uint64) {
	for w := range b {
		switch at := uint64(w) << 6; {
		case at+64 <= i:
			b[w] = 0
		case at < i:
			b[w] &^= 1<<(i-at) - 1
		}
	}
}

// orPage marks as done what is set in b; the cursor is to be advanced afterwards.
func (d *doneSet) orPage(p uint64, b *bitmap) {
	if (p+1)<<pageShift <= d.cursor || d.fullPage(p) || *b == (bitmap{}) {
		return
	}
	pg := d.pages[p]
	if pg == nil {
		pg = &page{}
		d.pages[p] = pg
	}
	for w := range b {
		pg.bits[w] |= b[w]
	}
	pg.n = pg.bits.count()
	if !pg.dirty {
		pg.dirty = true
		d.dirtyPages = append(d.dirtyPages, p)
	}
	if pg.n == pageSeqs {
		d.dropPage(p, pg)
		d.fill(p)
	}
}

// orSpread marks whole pages as done; the cursor is to be advanced afterwards.
func (d *doneSet) orSpread(n uint64, b *bitmap) {
	if (n+1)*spreadSeqs <= d.cursor {
		return
	}
	for i := range uint64(pageSeqs) {
		p := n<<pageShift + i
		if !b.has(i) || (p+1)<<pageShift <= d.cursor || d.fullPage(p) {
			continue
		}
		if pg := d.pages[p]; pg != nil {
			d.dropPage(p, pg)
		}
		d.fill(p)
	}
}
