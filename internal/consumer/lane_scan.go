package consumer

import (
	"context"

	"github.com/sequinstream/sequin/internal/cdc"
)

// page puts some rows of a page into the window, now that the frontier has come to the page's place.
func (s *scanner) page(ctx context.Context, p *lanePage, epoch uint64) error {
	c := s.c
	c.mu.Lock()
	at, plan := p.admitted, c.plan
	c.mu.Unlock()
	first, _, changes, err := c.log.Segment(ctx, laneBase+at)
	if err != nil {
		if lost(err) {
			c.losePage(ctx, p, epoch, err)
			return nil
		}
		return err
	}
	changes = changes[laneBase+at-first:]
	changes = changes[:min(len(changes), scanChunk, int(p.last-at+1))] //nolint:gosec // a page is small
	err = s.judge(plan, changes)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch || c.plan != plan || p.admitted != at || c.cfg.Status == Disabled {
		return nil
	}
	c.stats.logErr, c.stats.whereErr = nil, err
	if err == nil {
		s.waits = 0
	}
	c.admitRows(p, s.marks, changes)
	return err
}

// admitRows puts rows into the window. Called with c.mu held.
func (c *Consumer) admitRows(p *lanePage, marks []mark, changes []cdc.Change) {
	for i, m := range marks {
		p.admitted++
		switch {
		case c.isDone(m.seq):
		case m.fate == fateSkip:
			c.stats.filtered++
			c.setDone(m.seq, true)
		default:
			c.stats.matched++
			c.stats.matchedBytes += uint64(max(changes[i].Size, 0))
			c.admit(m, false)
		}
	}
	c.lane.settle()
	c.dispatch()
	c.progress()
}

// losePage goes on without rows that cannot be read any more.
func (c *Consumer) losePage(ctx context.Context, p *lanePage, epoch uint64, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch || p.whole() {
		return
	}
	from := p.admitted
	c.logger.ErrorContext(ctx, "rows that a backfill read are lost", "backfill", p.backfill, "rows", p.last-from+1, "error", cause)
	c.recordGap(GapRecord{From: laneBase + from, To: laneBase + p.last, Count: p.last - from + 1, Reason: GapLost, Detail: cause.Error()})
	last := p.last
	p.admitted = last + 1
	for n := from; n <= last; n++ {
		c.finish(laneBase + n)
	}
	c.lane.settle()
	c.progress()
}

// hurry lets a row go out among the messages of the log: one of them waits for it. Called with c.mu held.
func (c *Consumer) hurry(e *entry) {
	if e == nil || e.state != ready || !e.slow {
		return
	}
	c.lane.readyN--
	e.slow, e.stale = false, true // the lane's queue still points to it
	c.readyN++
	c.ready.push(e)
}

// hurryTable is hurry for all rows of a table: a fence waits for them. Called with c.mu held.
func (c *Consumer) hurryTable(t *table) {
	if c.lane.readyN == 0 {
		return
	}
	for _, e := range c.entries {
		if e.t == t {
			c.hurry(e)
		}
	}
}
