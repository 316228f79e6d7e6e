package consumer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sequinstream/sequin/internal/cdc"
)

// ErrReadAgain reports rows that cannot be placed among the changes of the log: they are to be read again, with a later snapshot.
var ErrReadAgain = errors.New("the rows have to be read again")

// ErrDisabled reports rows for a consumer that is disabled and holds nothing.
var ErrDisabled = errors.New("the consumer is disabled")

// ReadPage is what a backfill read from one table in one snapshot.
type ReadPage struct {
	Backfill string
	Relation *cdc.Relation
	Rows     []cdc.Change // OpRead; their numbers are given here
	// Since is the log's last entry from before the snapshot was taken. A change after it that the snapshot cannot see came after the reading.
	Since uint64
	// Sees tells whether the snapshot sees what a transaction did that has committed.
	Sees func(xid uint32) bool
	// Progress is how far the backfill has read with this page, in its own words; nil for nothing to keep. It is kept together with the page.
	Progress func(o Offered) []byte
	// Unseen are the transactions whose changes had come when the snapshot was taken and that it does not see.
	Unseen []uint32
}

// Offered is what became of a page.
type Offered struct {
	Rows       int // that will be delivered if the filter wants them
	Superseded int // that were left out: deleted since, or told by changes that came after
	Bytes      int
}

// Offer takes a page of rows into the lane, durably. What committed before the snapshot must be in the log already. It waits while the lane is full.
// A row that was changed after the snapshot is left out if this consumer gets the change, or if the row is gone; if not, it is delivered as
// it is now. ErrReadAgain says that the page cannot be placed.
func (c *Consumer) Offer(ctx context.Context, p ReadPage) (Offered, error) {
	select {
	case c.offering <- struct{}{}:
	case <-ctx.Done():
		return Offered{}, ctx.Err()
	}
	defer func() { <-c.offering }()
	if err := c.awaitRoom(ctx); err != nil {
		return Offered{}, err
	}
	m := newMerge(c, &p)
	var kept []cdc.Change
	for version := -1; ; {
		end, err := m.follow(ctx)
		if err != nil {
			return Offered{}, err
		}
		if m.version != version {
			version, kept = m.version, m.kept()
			if len(kept) > 0 {
				if err := c.lane.store.append(ctx, c.laneNext(), kept); err != nil {
					return Offered{}, err
				}
			}
		}
		out := Offered{Rows: len(kept), Superseded: len(p.Rows) - len(kept)}
		for i := range kept {
			out.Bytes += kept[i].Size
		}
		if wait, placed, err := c.placePage(&p, m.plan, out, end); err != nil || placed {
			if err != nil {
				return Offered{}, err
			}
			return out, c.await(ctx, wait)
		}
	}
}

func (c *Consumer) laneNext() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lane.next
}

// placePage gives a page that was written its place behind an entry, unless the frontier has passed that, or ever had: then somebody may have got
// a newer state of a row already, and the changes in between have to be looked at first.
func (c *Consumer) placePage(p *ReadPage, plan *plan, o Offered, after uint64) (wait *batch, placed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isStopped():
		return nil, false, ErrStopped
	case c.cfg.Status == Disabled:
		return nil, false, ErrDisabled
	case c.plan != plan: // what it gets was judged by another filter
		return nil, false, ErrReadAgain
	case max(c.next, c.lane.peak) > after+1:
		return nil, false, nil
	}
	first := c.lane.next
	c.noteProgress(p, first, o)
	if o.Rows == 0 {
		return c.durably(), true, nil
	}
	if n := len(c.lane.pages); n > 0 {
		after = max(after, c.lane.pages[n-1].after)
	}
	page := &lanePage{first: first, last: first + uint64(o.Rows) - 1, after: after, backfill: p.Backfill, bytes: o.Bytes, admitted: first} //nolint:gosec // a page is small
	c.lane.next = page.last + 1
	c.lane.pages = append(c.lane.pages, page)
	c.lane.settle()
	c.batch.putFirst(c.keys.number(dirLane, first), page.encode())
	wake(c.scanWake)
	return c.durably(), true, nil
}

// noteProgress writes how far a backfill has read, in front of the page that it is about. Called with c.mu held.
func (c *Consumer) noteProgress(p *ReadPage, first uint64, o Offered) {
	if p.Progress == nil {
		return
	}
	if o.Rows == 0 {
		first = 0
	}
	now := p.Progress(o)
	before := c.lane.progress[p.Backfill]
	value := append(appendUints(nil, recordVersion, first, uint64(len(before))), before...)
	c.batch.putFirst(c.keys.name(dirProgress+p.Backfill), append(value, now...))
	c.lane.progress[p.Backfill] = now
}

// Progress is what the last page of a backfill said of how far it has read; nil before the first.
func (c *Consumer) Progress(backfill string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lane.progress[backfill])
}

// Forget drops what is known of a backfill that is over. Its rows stay in the lane.
func (c *Consumer) Forget(ctx context.Context, backfill string) error {
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return ErrStopped
	}
	delete(c.lane.progress, backfill)
	c.batch.delete(c.keys.name(dirProgress + backfill))
	wait := c.durably()
	c.mu.Unlock()
	return c.await(ctx, wait)
}

// awaitRoom waits while the lane is full.
func (c *Consumer) awaitRoom(ctx context.Context) error {
	for {
		c.mu.Lock()
		moved, roomy, status := c.lane.moved, c.lane.roomy(), c.cfg.Status
		c.mu.Unlock()
		switch {
		case c.isStopped():
			return ErrStopped
		case status == Disabled:
			return ErrDisabled
		case roomy:
			return nil
		}
		select {
		case <-moved:
		case <-c.stopped:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Outstanding is how many rows of a backfill the lane holds, and what closes when that may have become fewer.
func (c *Consumer) Outstanding(backfill string) (rows uint64, moved <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.lane.pages {
		if p.backfill == backfill {
			rows += p.last - p.first + 1
		}
	}
	return rows, c.lane.moved
}

// merge brings the rows of a page up to what the log says of them.
type merge struct {
	c       *Consumer
	p       *ReadPage
	rows    []mergedRow
	byKey   map[string][]int
	key     keyPlan
	unseen  map[uint32]bool
	at      uint64 // the last entry that was looked at
	version int    // rises with every change of the rows
	log     logReader
	sight   sight
	plan    *plan
	buf     []byte
}

type mergedRow struct {
	row  cdc.Tuple
	size int
	big  bool // more than is kept
	gone bool // deleted since
	told bool // the consumer gets the change that made it what it is
}

func newMerge(c *Consumer, p *ReadPage) *merge {
	m := &merge{
		c: c, p: p, rows: make([]mergedRow, len(p.Rows)), byKey: make(map[string][]int, len(p.Rows)), unseen: make(map[uint32]bool, len(p.Unseen)),
		at: p.Since, log: logReader{log: c.log},
	}
	for _, xid := range p.Unseen {
		m.unseen[xid] = true
	}
	m.key = mergeKey(p.Relation)
	for i := range p.Rows {
		r := &p.Rows[i]
		m.rows[i] = mergedRow{row: r.New, size: r.Size, big: r.TooBig}
		if key, ok := m.keyOf(m.key, r, false); ok {
			m.byKey[key] = append(m.byKey[key], i)
		}
	}
	return m
}

// mergeKey is what tells rows apart: the key, and in a table without one that sends whole old rows, everything.
func mergeKey(rel *cdc.Relation) keyPlan {
	cols := rowColumns(rel)
	if len(cols) == 0 && rel.Identity == 'f' {
		cols = make([]int, len(rel.Columns))
		for i := range cols {
			cols[i] = i
		}
	}
	return newKeyPlan(rel, cols, 0)
}

func (m *merge) keyOf(k keyPlan, c *cdc.Change, old bool) (string, bool) {
	buf, result := k.append(m.buf[:0], c, old)
	m.buf = buf
	return string(buf), result != keyUnknown && len(k.cols) > 0
}

// follow looks at what has come to the log since, and returns its end.
func (m *merge) follow(ctx context.Context) (uint64, error) {
	m.c.mu.Lock()
	plan := m.c.plan
	m.c.mu.Unlock()
	if m.plan != nil && m.plan != plan {
		return 0, fmt.Errorf("%w: the filter has changed meanwhile", ErrReadAgain)
	}
	m.plan = plan
	end := m.c.log.End().Seq
	for m.at < end {
		change, err := m.log.at(ctx, m.at+1)
		if gap, ok := errors.AsType[Gap](err); ok {
			_, to := gap.Gap()
			return 0, fmt.Errorf("%w: the changes up to %d are lost: %w", ErrReadAgain, to, err)
		}
		if errors.Is(err, errMissing) { // numbers that the log never used, or trimmed meanwhile
			return 0, fmt.Errorf("%w: entry %d of the log is gone", ErrReadAgain, m.at+1)
		}
		if err != nil {
			return 0, err
		}
		if !m.p.Sees(change.XID) {
			delete(m.unseen, change.XID)
			if err := m.apply(change); err != nil {
				return 0, err
			}
		}
		m.at++
	}
	// A transaction that came before all that was looked at and that the snapshot did not see: what it did is older for us, and newer for the rows.
	if len(m.unseen) > 0 {
		return 0, fmt.Errorf("%w: a transaction has committed that no snapshot sees yet", ErrReadAgain)
	}
	return end, nil
}

// apply brings the rows up to one change that came after they were read.
func (m *merge) apply(c *cdc.Change) error {
	if c.Relation == nil || c.Relation.OID != m.p.Relation.OID {
		return nil
	}
	if c.Op == cdc.OpTruncate {
		for i := range m.rows {
			m.rows[i].gone = true
		}
		m.version++
		return nil
	}
	if len(m.key.cols) == 0 {
		return nil // the server sends nothing but inserts of such a table
	}
	if c.TooBig || !sameColumns(c.Relation, m.p.Relation) {
		return fmt.Errorf("%w: the table has changed, or a change is too big to tell", ErrReadAgain)
	}
	key := mergeKey(c.Relation)
	from, ok := m.keyOf(key, c, c.Op == cdc.OpDelete || (c.Op == cdc.OpUpdate && c.OldKind != 0))
	if !ok {
		return fmt.Errorf("%w: a change does not tell its key", ErrReadAgain)
	}
	i := m.find(from, c.Op)
	if i < 0 {
		return nil // a row that is not among these
	}
	m.version++
	if c.Op == cdc.OpDelete {
		m.rows[i].gone = true
		return nil
	}
	return m.renew(i, from, key, c)
}

// find is the row that a change is about, or -1. Rows without a key may be alike: one of them it is.
func (m *merge) find(key string, op cdc.Op) int {
	for _, i := range m.byKey[key] {
		if m.rows[i].gone == (op == cdc.OpInsert) {
			return i
		}
	}
	return -1
}

// renew makes a row what a change made it.
func (m *merge) renew(i int, from string, key keyPlan, c *cdc.Change) error {
	r := &m.rows[i]
	wanted, err := m.wanted(c)
	if err != nil {
		return err
	}
	row, whole := overlay(c.New, r.row)
	r.row, r.size, r.big, r.gone = row, len(row), false, false
	r.told = wanted && whole // else it lacks values that were read
	if to, ok := m.keyOf(key, c, false); ok && to != from {
		m.byKey[from] = slices.DeleteFunc(m.byKey[from], func(j int) bool { return j == i })
		m.byKey[to] = append(m.byKey[to], i)
	}
	return nil
}

// wanted tells whether the consumer gets a change.
func (m *merge) wanted(c *cdc.Change) (bool, error) {
	r := m.sight.of(m.plan, c.Relation)
	if !r.wants(c.Op) {
		return false, nil
	}
	ok, failure, unknown := m.plan.matches(r, c)
	return ok || failure != nil, unknown
}

// kept are the rows that are to be delivered.
func (m *merge) kept() []cdc.Change {
	first := m.c.laneNext()
	out := make([]cdc.Change, 0, len(m.rows))
	for i := range m.rows {
		r, read := &m.rows[i], &m.p.Rows[i]
		if r.gone || r.told {
			continue
		}
		row := r.row
		if r.big {
			row = nil
		}
		out = append(out, cdc.Change{
			Seq: laneBase + first + uint64(len(out)), Position: read.Position, Op: cdc.OpRead, TooBig: r.big,
			CommitTime: read.CommitTime, Relation: m.p.Relation, New: row, Prefix: m.p.Backfill, Size: r.size,
		})
	}
	for i := range out { // their identity is that of a run
		out[i].Position.Index = out[0].Position.Index + uint32(i)
	}
	return out
}

func sameColumns(a, b *cdc.Relation) bool {
	return a == b || slices.EqualFunc(a.Columns, b.Columns, func(x, y cdc.Column) bool { return x.Name == y.Name && x.TypeOID == y.TypeOID })
}

// overlay is a new row with the values that it does not tell, because they did not change, from the old one; whole says that there were none.
func overlay(row, old cdc.Tuple) (merged cdc.Tuple, whole bool) {
	whole = true
	for w := row.Columns(); ; {
		d, ok := w.Next()
		if !ok {
			break
		}
		whole = whole && !d.Unchanged()
	}
	if whole {
		return slices.Clone(row), true
	}
	merged = append(merged, row[:2]...)
	news, olds := row.Columns(), old.Columns()
	for {
		d, ok := news.Next()
		if !ok {
			return merged, false
		}
		o, had := olds.Next()
		if d.Unchanged() && had {
			d = o
		}
		merged = appendDatum(merged, d)
	}
}

func appendDatum(dst cdc.Tuple, d cdc.Datum) cdc.Tuple {
	dst = append(dst, d.Kind)
	if d.Null() || d.Unchanged() {
		return dst
	}
	n := uint32(len(d.Text)) //nolint:gosec // a value of at most 1 GB
	return append(binary.BigEndian.AppendUint32(dst, n), d.Text...)
}
