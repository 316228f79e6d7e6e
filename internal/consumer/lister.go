package consumer

import (
	"context"
	"slices"
	"time"
)

// lister gathers a page.
type lister struct {
	s     *survey
	q     MessageQuery
	limit int
	out   []Message
	seen  []sighting
}

// page puts in order what was gathered up to reach.
func (l *lister) page(sp span, reach uint64) MessagePage {
	descending := l.q.Descending
	out := slices.DeleteFunc(l.out, func(m Message) bool { return m.Seq != reach && (m.Seq > reach) != descending })
	slices.SortStableFunc(out, func(a, b Message) int {
		if a.Seq == b.Seq {
			return 0
		}
		if (a.Seq < b.Seq) != descending {
			return -1
		}
		return 1
	})
	// After a rewind there may be a dead letter of a message that is to be delivered again: the message is what counts.
	out = slices.CompactFunc(out, func(a, b Message) bool { return a.Seq == b.Seq })
	if len(out) > l.q.Limit {
		out = out[:l.q.Limit]
		reach = out[len(out)-1].Seq
	}
	page := MessagePage{Messages: out}
	if reach != sp.end(descending) {
		page.Next = reach
	}
	return page
}

// undone gathers messages that are not done, and tells up to where it has looked.
func (l *lister) undone(ctx context.Context, sp span) (reach uint64, err error) {
	c, end := l.s.c, sp.end(l.q.Descending)
	if c.config().Status == Disabled {
		return end, nil
	}
	if l.q.State != "" && l.q.State != MessageAvailable {
		return l.histories(ctx, sp)
	}
	sp.low = max(sp.low, c.cursor())
	switch {
	case sp.low > sp.high:
		return end, nil
	case l.q.Descending:
		reach, err = l.backward(ctx, sp)
		if reach == sp.low { // what is before the cursor is done
			reach = end
		}
		return reach, err
	}
	return l.forward(ctx, sp, true)
}

// take is what a survey shows the messages to.
func (l *lister) take(sg *sighting) bool {
	if l.q.State != "" && sg.state != l.q.State {
		return true
	}
	if len(l.out)+len(l.seen) == l.limit {
		return false
	}
	l.seen = append(l.seen, *sg)
	return true
}

// keep makes messages of what was taken, so that the changes need not be held.
func (l *lister) keep(ctx context.Context) {
	for i := range l.seen {
		l.out = append(l.out, l.s.message(ctx, &l.seen[i]))
	}
	clear(l.seen)
	l.seen = l.seen[:0]
}

// forward gathers from the first to the last.
func (l *lister) forward(ctx context.Context, sp span, bounded bool) (reach uint64, err error) {
	for at := sp.low; ; {
		next, err := l.s.step(ctx, at, sp.high, l.take)
		if err != nil {
			return 0, err
		}
		l.keep(ctx)
		at = next
		if at > sp.high || len(l.out) == l.limit || (bounded && l.s.spent()) {
			return min(at-1, sp.high), nil
		}
	}
}

// lastUndone is the last message from high down to low that is not done, or where to look on; below the cursor there is none.
func (s *survey) lastUndone(high, low uint64) (last, lowest uint64, found bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	lowest = max(low, s.c.done.cursor)
	last, found = s.c.done.prev(high, lowest, surveyPages)
	return last, lowest, found
}

// How many entries are looked at a time when they are wanted from the last to the first.
const (
	firstWindow  = 256
	leastWindow  = 16
	mostWindow   = 4096
	windowTime   = 50 * time.Millisecond // one that took less may grow
	unhandyTime  = 4 * windowTime        // one that took more has to shrink
	windowGrowth = 2
)

// backward gathers from the last to the first: the log can be read in one direction only, so it goes back window by window.
func (l *lister) backward(ctx context.Context, sp span) (reach uint64, err error) {
	var out []Message
	width := uint64(firstWindow)
	defer func() { l.out, l.limit = out, l.q.Limit }()
	for high := sp.high; ; {
		last, low, found := l.s.lastUndone(high, sp.low)
		switch {
		case found:
		case last < low:
			return sp.low, nil
		case l.s.spent():
			return last + 1, nil
		default:
			high = last
			continue
		}
		window := span{low: sp.low, high: last}
		if last-sp.low >= width {
			window.low = last - width + 1
		}
		began := time.Now()
		l.out, l.limit = nil, int(width)+1
		if _, err := l.forward(ctx, window, false); err != nil {
			return 0, err
		}
		slices.Reverse(l.out)
		out = append(out, l.out...)
		if window.low == sp.low || len(out) >= l.q.Limit || l.s.spent() {
			return window.low, nil
		}
		high = window.low - 1
		switch took := time.Since(began); {
		case took < windowTime:
			width = min(width*windowGrowth, mostWindow)
		case took > unhandyTime:
			width = max(width/windowGrowth, leastWindow)
		}
	}
}

// histories gathers messages of a state that only messages with a history have.
func (l *lister) histories(ctx context.Context, sp span) (reach uint64, err error) {
	seqs := l.s.c.histories(inState(l.q.State))
	seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return seq < sp.low || seq > sp.high })
	if l.q.Descending {
		slices.Reverse(seqs)
	}
	for len(seqs) > 0 && len(l.out) < l.limit {
		n, err := l.s.look(ctx, seqs, true, l.take)
		if err != nil {
			return 0, err
		}
		l.keep(ctx)
		if seqs = seqs[n:]; l.s.spent() {
			break
		}
	}
	switch {
	case len(seqs) == 0:
		return sp.end(l.q.Descending), nil
	case l.q.Descending:
		return seqs[0] + 1, nil
	}
	return seqs[0] - 1, nil
}
