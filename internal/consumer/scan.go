package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
)

// scanChunk is how many changes are judged without the lock and then admitted under it.
const scanChunk = 512

// scanRetry is the wait after an error of the log that is not a gap.
const scanRetry = time.Second

// scanner brings messages from the log into the window. It is the only one that moves the frontier.
type scanner struct {
	c     *Consumer
	sight sight
	marks []mark
	buf   []byte
	read  logReader // for what waited behind a fence
	seqs  []uint64

	waits  int             // for a condition, since the last that could be told
	untold <-chan struct{} // a condition cannot be told: closed when that may have changed
}

// waitForCondition waits until the condition on a table may be told.
func (s *scanner) waitForCondition(ctx context.Context, cause error) {
	c := s.c
	c.mu.Lock()
	// The first time is usually the first change of a table, and over in a moment.
	if s.waits++; s.waits == 2 {
		c.logger.WarnContext(ctx, "the condition on a table cannot be told; messages from there on wait", "error", cause)
	}
	c.stats.whereErr = cause
	c.mu.Unlock()
	pause(ctx, c.scanWake, s.untold, scanRetry)
}

func (c *Consumer) scan(ctx context.Context) {
	s := &scanner{c: c, read: logReader{log: c.log}}
	for ctx.Err() == nil {
		s.untold = nil
		changed := c.log.Changed()
		c.mu.Lock()
		t := c.nextRefeed()
		at, epoch, ok := c.frontier()
		var rows *lanePage
		if c.cfg.Status != Disabled {
			rows = c.lane.due(c.next)
		}
		c.mu.Unlock()
		var err error
		switch {
		case t != nil:
			err = s.refeed(ctx, t)
		case rows != nil:
			err = s.page(ctx, rows, epoch)
		case ok:
			err = s.forward(ctx, at, epoch)
		default:
			pause(ctx, c.scanWake, nil, 0)
			continue
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrEnd):
			pause(ctx, c.scanWake, changed, 0)
		case s.untold != nil:
			s.waitForCondition(ctx, err)
		case ctx.Err() == nil:
			c.logger.ErrorContext(ctx, "change log cannot be read", "seq", at, "error", err)
			c.mu.Lock()
			c.stats.logErr = err
			c.mu.Unlock()
			pause(ctx, nil, nil, scanRetry)
		}
	}
}

// pause waits for one of its channels, and at most for d if that is positive.
func pause(ctx context.Context, a, b <-chan struct{}, d time.Duration) {
	var alarm <-chan time.Time
	if d > 0 {
		alarm = time.After(d)
	}
	select {
	case <-a:
	case <-b:
	case <-alarm:
	case <-ctx.Done():
	}
}

// frontier is where to read on, and false while the consumer must wait. Called with c.mu held.
func (c *Consumer) frontier() (at, epoch uint64, ok bool) {
	c.scanWaits = c.cfg.Status == Disabled || c.bound() != ""
	if c.scanWaits {
		return 0, c.epoch, false
	}
	c.next = c.done.skip(c.next)
	return c.next, c.epoch, true
}

// wakeScan lets the scan go on if it waits for room and there is some. Called with c.mu held.
func (c *Consumer) wakeScan() {
	if c.readyN > c.limits.ready/2 {
		return
	}
	// Not at the first message that goes, or the scan would be woken for each.
	roomy := c.backlogBytes <= c.limits.backlog/4*3 && c.bound() == ""
	if len(c.refeed) > 0 || (c.scanWaits && c.cfg.Status != Disabled && roomy) {
		wake(c.scanWake)
	}
}

// bound is why no more may be scanned, or "". Called with c.mu held.
func (c *Consumer) bound() Bound {
	switch {
	case c.readyN >= c.limits.ready:
		return BoundReady
	case c.backlogBytes >= c.limits.backlog:
		return BoundBacklog
	case len(c.done.pages) >= c.limits.pages, c.next >= c.done.cursor+c.limits.distance:
		return BoundDistance
	case len(c.burials) >= c.limits.burials:
		return BoundDeadLetters
	}
	return ""
}

// forward scans the segment at the frontier.
func (s *scanner) forward(ctx context.Context, at, epoch uint64) error {
	c := s.c
	first, last, changes, err := c.log.Segment(ctx, at)
	if gap, ok := errors.AsType[Gap](err); ok {
		return c.passGap(ctx, at, epoch, gap)
	}
	if err != nil {
		return err
	}
	if len(changes) == 0 || last < at {
		return ErrEnd
	}
	if first > at {
		if !c.passTrimmed(ctx, at, first, epoch) {
			return nil
		}
		at = first
	}
	for changes = changes[at-first:]; len(changes) > 0; {
		n := min(len(changes), scanChunk)
		if more, err := s.admit(changes[:n], epoch); err != nil || !more {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// admit judges a few changes and admits them, and reports whether the scan may go on with this segment. After an error those before the change
// that could not be judged are admitted.
func (s *scanner) admit(changes []cdc.Change, epoch uint64) (more bool, err error) {
	c := s.c
	c.mu.Lock()
	plan := c.plan
	c.mu.Unlock()
	if err = s.judge(plan, changes); len(s.marks) == 0 {
		return false, err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch || c.plan != plan || c.cfg.Status == Disabled {
		return false, nil
	}
	if c.stats.logErr, c.stats.whereErr = nil, err; err == nil {
		s.waits = 0
	}
	for i := range s.marks {
		m := &s.marks[i]
		if m.seq < c.next || m.seq > c.lane.stop {
			return false, nil // somebody moved the frontier, or rows come first
		}
		if i&15 == 0 && c.bound() != "" {
			c.dispatch()
			return false, nil
		}
		c.next = m.seq + 1
		switch {
		case c.done.has(m.seq):
		case m.fate == fateSkip:
			c.done.set(m.seq, false)
			c.stats.filtered++
		default:
			c.stats.matched++
			c.stats.matchedBytes += uint64(max(changes[i].Size, 0))
			c.admit(*m, false)
		}
	}
	c.ages.note(changes[0].Seq, changes[0].CommitTime)
	c.dispatch()
	c.progress()
	return err == nil, err
}

// judge makes the marks of changes, up to the first that cannot be judged yet.
func (s *scanner) judge(p *plan, changes []cdc.Change) error {
	s.marks = s.marks[:0]
	for i := range changes {
		m, err := s.classify(p, &changes[i])
		if err != nil {
			return err
		}
		s.marks = append(s.marks, m)
	}
	return nil
}

func (s *scanner) classify(p *plan, change *cdc.Change) (mark, error) {
	var untold <-chan struct{}
	if p.where != nil {
		untold = p.where.Changed()
	}
	m, buf, err := p.classify(change, &s.sight, s.buf)
	if s.buf = buf; err != nil {
		s.untold = untold
	}
	return m, err
}

// passGap goes on after what the log has lost.
func (c *Consumer) passGap(ctx context.Context, at, epoch uint64, gap Gap) error {
	from, to := gap.Gap()
	if to < at {
		return gap
	}
	to = min(to, max(c.log.End().Seq, at))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch || c.next != at {
		return nil
	}
	c.logger.ErrorContext(ctx, "part of the change log is lost", "from", max(from, at), "to", to, "error", gap)
	c.giveUp(GapRecord{From: max(from, at), To: to, Reason: GapLost, Detail: gap.Error()})
	c.next = to + 1
	return nil
}

// passTrimmed goes on at first when the log has nothing from at on. Numbers that the log never used are no loss; what lies before its first
// retained change is.
func (c *Consumer) passTrimmed(ctx context.Context, at, first, epoch uint64) bool {
	retained := c.log.FirstSeq()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch || c.next != at {
		return false
	}
	if at < retained {
		to := min(first, retained) - 1
		if n := c.done.undone(at, to); n > 0 {
			c.logger.ErrorContext(ctx, "changes were removed from the log before they were delivered", "from", at, "to", to, "messages", n)
		}
		c.giveUp(GapRecord{From: at, To: to, Reason: GapTrimmed})
	}
	c.done.setRange(at, first-1)
	c.next = first
	return true
}

// nextRefeed is a table whose fence was passed. Called with c.mu held.
func (c *Consumer) nextRefeed() *table {
	if len(c.refeed) == 0 || c.readyN > c.limits.ready/2 {
		return nil
	}
	return c.refeed[0]
}

// refeed scans again some of what waited behind a fence, up to the next fence.
func (s *scanner) refeed(ctx context.Context, t *table) error {
	c := s.c
	c.mu.Lock()
	epoch, plan := c.epoch, c.plan
	s.seqs = t.wait.head(s.seqs[:0], scanChunk)
	c.mu.Unlock()
	s.marks = s.marks[:0]
	for _, seq := range s.seqs {
		change, err := s.read.at(ctx, seq)
		m := mark{seq: seq, fate: fateLost}
		switch {
		case err == nil:
			if m, err = s.classify(plan, change); err != nil {
				return err
			}
		case !lost(err):
			return err
		}
		s.marks = append(s.marks, m)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch || c.plan != plan {
		return nil
	}
	for _, m := range s.marks {
		c.unwait(&t.wait)
		switch {
		case c.isDone(m.seq):
		case m.fate == fateLost:
			c.recordGap(GapRecord{From: m.seq, To: m.seq, Reason: GapLost, Count: 1})
			c.complete(m.seq)
		case m.fate == fateSkip:
			c.complete(m.seq)
		default:
			c.admit(m, true)
		}
		if t.fence != nil {
			break
		}
	}
	if t.fence != nil || t.wait.n == 0 {
		c.refeed = c.refeed[1:]
		t.blocked = t.fence != nil
	}
	c.dispatch()
	c.progress()
	return nil
}
