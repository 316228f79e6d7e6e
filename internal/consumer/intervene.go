package consumer

import (
	"context"
	"slices"
	"time"
)

// Selection says which messages are meant: those named by Seqs and AckIDs, or with All those behind After that pass the filter and are in State
// ("" for any).
type Selection struct {
	MessageFilter
	Seqs   []uint64
	AckIDs []string
	All    bool
	State  MessageState
	After  uint64
}

// Changed says what became of a change of many messages. It may take several calls: each does a bounded part.
type Changed struct {
	Count   int       // that were changed
	Missing []Missing // that were named and were not changed
	Skipped int       // with All: that could not be changed
	Next    uint64    // with All: the After to go on with; 0 when all were looked at
}

// Missing is a message that was named and was not changed.
type Missing struct {
	Seq    uint64
	AckID  string // if it was named so
	Reason MissingReason
}

// MissingReason says why a message was not changed.
type MissingReason string

// The reasons.
const (
	MissingNotFound   MissingReason = "not_found"     // no message of this consumer and generation
	MissingDone       MissingReason = "done"          // delivered, or discarded
	MissingDeadLetter MissingReason = "dead_letter"   // redrive or discard that
	MissingInFlight   MissingReason = "in_flight"     // out, and its outcome or the end of its lease is awaited
	MissingAvailable  MissingReason = "available"     // waits for nothing but its turn
	MissingTooFar     MissingReason = "too_far_ahead" // too far ahead of the oldest one that is not done
)

func unique(seqs []uint64) []uint64 {
	seen := make(map[uint64]bool, len(seqs))
	return slices.DeleteFunc(slices.Clone(seqs), func(seq uint64) bool {
		was := seen[seq]
		seen[seq] = true
		return was
	})
}

// settled waits until everything up to now is on disk. It must not hold c.mu.
func (c *Consumer) settled(ctx context.Context) error {
	c.mu.Lock()
	wait := c.durably()
	c.mu.Unlock()
	return c.await(ctx, wait)
}

// DiscardMessages makes messages done without delivering them, and lets what waits behind them go. One that was received may be discarded like
// one that was acknowledged late; one that is on its way to a destination may not, for it might arrive after those behind it. What it did is
// durable when it returns.
func (c *Consumer) DiscardMessages(ctx context.Context, sel Selection) (Changed, error) {
	i := c.intervention(sel, c.discardOne)
	switch {
	case c.isStopped():
		return i.done, ErrStopped
	case !sel.All:
		return i.named(ctx)
	case sel.State == "" || sel.State == MessageAvailable:
		return i.throughLog(ctx)
	}
	return i.throughHistories(ctx, inState(sel.State))
}

// Redeliver makes messages available at once that wait for their next attempt; the attempts count on. One that is out stays out until its lease
// ends. What it did is durable when it returns.
func (c *Consumer) Redeliver(ctx context.Context, sel Selection) (Changed, error) {
	i := c.intervention(sel, nil)
	i.act, i.causes = i.hasten, map[uint64]string{}
	switch {
	case c.isStopped():
		return i.done, ErrStopped
	case !sel.All:
		return i.named(ctx)
	}
	return i.throughHistories(ctx, inState(MessageBackingOff))
}

// discardOne discards a message that is not done. Called with c.mu held.
func (c *Consumer) discardOne(sg *sighting) MissingReason {
	switch {
	case sg.state == MessageDelivering && c.cfg.Push:
		return MissingInFlight
	case sg.seq >= c.next && sg.seq > c.done.cursor && len(c.done.pages) >= c.limits.pages:
		return MissingTooFar
	}
	c.finish(sg.seq)
	c.stats.discarded++
	if c.retryN == 0 { // what failed is gone
		c.noteSuccess()
	}
	return ""
}

// intervention is a change of many messages.
type intervention struct {
	c      *Consumer
	sel    Selection
	s      *survey
	act    func(*sighting) MissingReason // called with c.mu held; "" when the message was changed
	causes map[uint64]string             // Redeliver: the last errors, for their records are written anew
	done   Changed
}

// hasten ends a message's wait. Called with c.mu held, as cause.
func (i *intervention) hasten(sg *sighting) MissingReason {
	c, e := i.c, i.c.entries[sg.seq]
	switch sg.state {
	case MessageAvailable, MessageRedelivery:
		return MissingAvailable
	case MessageDeadLetter:
		return MissingDeadLetter
	case MessageDelivering:
		if e.lease == nil || e.lease.deadline.After(time.Now()) {
			return MissingInFlight
		}
		c.expire(e.lease) // its timer is about to
		return ""
	case MessageBackingOff:
	}
	c.quiet(e)
	e.next = time.Time{}
	c.storeFailure(e, i.cause(sg.seq))
	if e.front() {
		c.activate(e)
	}
	return ""
}

// remember reads the last errors of some messages. It must not hold c.mu.
func (i *intervention) remember(ctx context.Context, seqs []uint64) {
	if i.causes == nil {
		return
	}
	clear(i.causes)
	for _, seq := range seqs {
		i.causes[seq] = i.c.lastCause(ctx, &burial{seq: seq})
	}
}

// cause is the last error of a message: as remembered, unless it has failed once more since.
func (i *intervention) cause(seq uint64) string {
	key := i.c.keys.number(dirMsg, seq)
	for _, b := range [2]*batch{i.c.batch, i.c.committing} {
		if cause := b.cause(key); cause != "" {
			return cause
		}
	}
	return i.causes[seq]
}

func (c *Consumer) intervention(sel Selection, act func(*sighting) MissingReason) *intervention {
	return &intervention{c: c, sel: sel, s: c.survey(sel.MessageFilter), act: act}
}

// commit makes durable what was changed, and lets go on what can. It must not hold c.mu.
func (i *intervention) commit(ctx context.Context) error {
	c := i.c
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return ErrStopped
	}
	c.burials = slices.DeleteFunc(c.burials, func(b *burial) bool { return c.dyingEntry(b) == nil })
	wait := c.durably()
	c.wakeScan()
	c.dispatch()
	c.mu.Unlock()
	return c.await(ctx, wait)
}

// visit changes a message of many.
func (i *intervention) visit(sg *sighting) bool {
	if i.sel.State != "" && sg.state != i.sel.State {
		return true
	}
	switch reason := i.act(sg); reason {
	case "":
		i.done.Count++
	case MissingTooFar:
		return false
	case MissingInFlight, MissingDeadLetter:
		i.done.Skipped++
	case MissingNotFound, MissingDone, MissingAvailable:
	}
	return true
}

// throughLog changes messages whether they have a history or not.
func (i *intervention) throughLog(ctx context.Context) (Changed, error) {
	c := i.c
	if c.config().Status == Disabled {
		return i.done, nil
	}
	end := c.log.End().Seq
	for at := max(i.sel.After+1, c.cursor()); at <= end; {
		next, err := i.s.step(ctx, at, end, i.visit)
		if err == nil {
			err = i.commit(ctx)
		}
		if err != nil {
			return i.done, err
		}
		if (next == at || i.s.spent()) && next <= end {
			i.done.Next = next - 1
			return i.done, nil
		}
		at = next
	}
	return i.done, nil
}

// throughHistories changes messages with a history that match.
func (i *intervention) throughHistories(ctx context.Context, match func(*entry) bool) (Changed, error) {
	seqs := i.c.histories(match)
	seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return seq <= i.sel.After })
	for len(seqs) > 0 {
		n, err := i.portion(ctx, seqs, i.visit)
		if err != nil {
			return i.done, err
		}
		if seqs = seqs[n:]; len(seqs) > 0 && (n == 0 || i.s.spent()) {
			i.done.Next = seqs[0] - 1
			break
		}
	}
	return i.done, nil
}

// portionSize is how many single messages are changed at a time.
const portionSize = 128

// portion has visit see some messages, the first of seqs, and makes durable what it did.
func (i *intervention) portion(ctx context.Context, seqs []uint64, visit func(*sighting) bool) (n int, err error) {
	seqs = seqs[:min(len(seqs), portionSize)]
	i.remember(ctx, seqs)
	if n, err = i.s.look(ctx, seqs, false, visit); err != nil {
		return n, err
	}
	return n, i.commit(ctx)
}

// named changes the messages that were named.
func (i *intervention) named(ctx context.Context) (Changed, error) {
	ids := map[uint64]string{}
	seqs := unique(i.sel.Seqs)
	if len(i.sel.AckIDs) > 0 {
		parsed, err := parseAckIDs(i.sel.AckIDs)
		if err != nil {
			return i.done, err
		}
		i.c.mu.Lock()
		for n, id := range parsed {
			if !i.c.known(id) {
				i.done.Missing = append(i.done.Missing, Missing{AckID: i.sel.AckIDs[n], Reason: MissingNotFound})
				continue
			}
			ids[id.Seq] = i.sel.AckIDs[n]
			seqs = append(seqs, id.Seq)
		}
		i.c.mu.Unlock()
	}
	reasons := map[uint64]MissingReason{}
	visit := func(sg *sighting) bool {
		reasons[sg.seq] = i.act(sg)
		return true
	}
	seqs = unique(seqs)
	for rest := seqs; len(rest) > 0; {
		n, err := i.portion(ctx, rest, visit)
		if err != nil {
			return i.done, err
		}
		rest = rest[n:]
	}
	for _, seq := range seqs {
		reason, seen := reasons[seq]
		if !seen {
			reason = i.c.notThere(ctx, seq)
		}
		if reason == "" {
			i.done.Count++
			continue
		}
		i.done.Missing = append(i.done.Missing, Missing{Seq: seq, AckID: ids[seq], Reason: reason})
	}
	return i.done, nil
}

// notThere says why a message was not seen among those that are not done. It must not hold c.mu.
func (c *Consumer) notThere(ctx context.Context, seq uint64) MissingReason {
	if _, err := c.readDead(ctx, seq); err == nil {
		return MissingDeadLetter
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq > 0 && c.isDone(seq) {
		return MissingDone
	}
	return MissingNotFound
}
