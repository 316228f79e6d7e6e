package consumer

import (
	"context"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Place is where a consumer is in the log, and how much is before it.
type Place struct {
	Status     Status
	Generation uint32
	Cursor     uint64  // everything below is done
	Frontier   uint64  // everything below was read
	LogEnd     uint64  // the last entry
	LSN        cdc.LSN // everything that was committed before it is done

	Messages   uint64 // not done: all that pass the filter
	Bytes      uint64 // of these, on the wire
	Estimated  bool   // Messages or Bytes is an estimate, for there are too many to look at each
	InFlight   int
	BackingOff int

	DeadLetters   int64
	BlockedGroups int
	Stopped       StopReason

	Oldest *Oldest // the oldest message that is not done; nil if there is none, or, with Estimated, if it was not found in the time that was
}

// Oldest is the message that holds the cursor.
type Oldest struct {
	Seq        uint64
	LSN        cdc.LSN
	CommitTime time.Time
}

// What may be spent on telling a consumer's place, which is asked for again and again.
const (
	placeEntries = 10_000
	placeTime    = 100 * time.Millisecond
)

// Place tells where the consumer is. Up to some ten thousand entries behind the cursor, or as many as can be read in a tenth of a second, it looks
// at each; beyond, it estimates. A disabled consumer has nothing before it.
func (c *Consumer) Place(ctx context.Context) (Place, error) {
	end := c.log.End()
	st := c.Stats()
	p := Place{
		Status: st.Status, Generation: st.Generation, Cursor: st.Cursor, Frontier: st.Frontier, LogEnd: end.Seq, LSN: end.CommitEnd,
		InFlight: st.InFlight, BackingOff: st.WaitingRetry, DeadLetters: st.DeadLetters, BlockedGroups: st.BlockedGroups, Stopped: st.Stopped,
	}
	if p.Status == Disabled {
		return p, nil
	}
	m := &measure{s: c.survey(MessageFilter{})}
	m.s.budget = effort{entries: min(placeEntries, c.effort.entries), time: min(placeTime, c.effort.time)}.begin()
	at := p.Cursor
	for at <= end.Seq && !m.s.spent() {
		next, err := m.s.step(ctx, at, end.Seq, m.take)
		if err != nil {
			return p, err
		}
		at = next
	}
	p.Oldest, p.Messages, p.Bytes = m.oldest, m.messages, m.bytes
	switch {
	case p.Oldest != nil:
		p.LSN = p.Oldest.LSN
	case at <= end.Seq: // what was looked at is not for this consumer
		p.LSN = c.lsnAt(ctx, at)
	}
	if at <= end.Seq {
		c.estimate(&p, m, at, end.Seq)
	}
	return p, nil
}

// measure adds up messages.
type measure struct {
	s               *survey
	messages, bytes uint64
	oldest          *Oldest
}

func (m *measure) take(sg *sighting) bool {
	m.messages++
	m.bytes += uint64(max(sg.change.Size, 0))
	if m.oldest == nil {
		m.oldest = &Oldest{Seq: sg.seq, LSN: sg.change.Position.LSN, CommitTime: sg.change.CommitTime.Time()}
	}
	return true
}

// estimate adds what lies from at to end and was not looked at: the messages that were read before are known, and of the others as many are taken
// to pass the filter as did until now.
func (c *Consumer) estimate(p *Place, m *measure, at, end uint64) {
	p.Estimated = true
	c.mu.Lock()
	defer c.mu.Unlock()
	if at < c.next {
		p.Messages += c.done.undone(at, min(end, c.next-1))
	}
	if unread := max(at, c.next); unread <= end {
		p.Messages += uint64(float64(end-unread+1) * c.share())
	}
	switch {
	case m.messages > 0:
		p.Bytes = uint64(float64(m.bytes) / float64(m.messages) * float64(p.Messages))
	case c.stats.matched > 0:
		p.Bytes = uint64(float64(c.stats.matchedBytes) / float64(c.stats.matched) * float64(p.Messages))
	}
}

// share is the part of the entries that has passed the filter so far; all of them while nothing was read. Called with c.mu held.
func (c *Consumer) share() float64 {
	seen := c.stats.matched + c.stats.filtered
	if seen == 0 {
		return 1
	}
	return float64(c.stats.matched) / float64(seen)
}
