package consumer

import (
	"context"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
)

// MovePlan says what a move would do.
type MovePlan struct {
	From, To    Spot
	Generation  uint32 // that it would begin
	Deliver     Tally  // what would be delivered from the new place on
	Again       uint64 // of these, what is done already: delivered before, or discarded
	Skip        Tally  // what is not delivered yet and would be passed over
	InFlight    int    // messages that are out, and whose outcome would count for nothing
	DeadLetters int64  // that stay
	Status      Status
}

// Tally is a number of messages.
type Tally struct {
	Messages, Bytes uint64
	AtLeast         bool      // there were too many to look at each: these are those that were looked at
	First, Last     time.Time // the commits of the first and the last that were looked at
}

func (t *Tally) add(change *cdc.Change) {
	at := change.CommitTime.Time()
	if t.Messages == 0 {
		t.First = at
	}
	t.Messages++
	t.Bytes += uint64(max(change.Size, 0))
	t.Last = at
}

// PlanMove tells what a move to a place would do, and changes nothing. It looks at each message up to a limit.
func (c *Consumer) PlanMove(ctx context.Context, to Spot) (MovePlan, error) {
	c.mu.Lock()
	cursor, end := c.done.cursor, c.log.End().Seq
	p := MovePlan{To: to, Generation: c.place.generation + 1, InFlight: c.inFlightN, DeadLetters: c.deadCount, Status: c.cfg.Status}
	err := c.movable()
	c.mu.Unlock()
	if err != nil {
		return p, err
	}
	p.From = c.spot(ctx, cursor)
	w, err := c.walkAll(&Search{})
	if err != nil {
		return p, err
	}
	count := func(from, to uint64, visit func(*cdc.Change)) (bool, error) {
		next, err := w.walk(ctx, from, to, func(change *cdc.Change) bool { visit(change); return true })
		return next <= to, err
	}
	if to.Seq > cursor {
		s := c.survey(MessageFilter{})
		s.budget = c.moveEffort()
		if p.Skip, err = c.tallyUndone(ctx, s, cursor, min(to.Seq-1, end)); err != nil {
			return p, err
		}
	}
	p.Deliver.AtLeast, err = count(to.Seq, end, func(change *cdc.Change) {
		p.Deliver.add(change)
		if change.Seq < cursor || c.logDone(change.Seq) {
			p.Again++
		}
	})
	return p, err
}

// logDone tells of an entry of the log.
func (c *Consumer) logDone(seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done.has(seq)
}

// tallyUndone counts messages that are not done.
func (c *Consumer) tallyUndone(ctx context.Context, s *survey, at, to uint64) (t Tally, err error) {
	for at <= to && !s.spent() {
		if at, err = s.step(ctx, at, to, func(sg *sighting) bool { t.add(sg.change); return true }); err != nil {
			return t, err
		}
	}
	t.AtLeast = at <= to
	return t, nil
}
