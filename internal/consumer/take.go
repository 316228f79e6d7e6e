package consumer

import (
	"context"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// pick is a message on its way to a worker: a copy, for use without the lock.
type pick struct {
	seq        uint64
	order      uint64 // where it belongs among the others
	attempt    int
	generation uint32
	redrive    *redrive
}

// waiter waits for messages.
type waiter struct {
	limit  int
	rows   int // of backfills that may be in flight; 0 for no limit
	same   bool
	got    []pick
	served chan struct{} // closed when got is there, or the consumer has stopped
	prev   *waiter
	next   *waiter
	queued bool
}

// waiterList serves in the order of arrival.
type waiterList struct{ first, last *waiter }

func (l *waiterList) push(w *waiter) {
	w.prev, w.next, w.queued = l.last, nil, true
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
}

func (l *waiterList) remove(w *waiter) {
	if !w.queued {
		return
	}
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
}

// Take hands out the next messages of a push consumer. It blocks until there is at least one or ctx ends. Every delivery must be settled.
func (c *Consumer) Take(ctx context.Context, o TakeOptions) ([]*Delivery, error) {
	if !c.config().Push {
		return nil, ErrMode
	}
	o.Max = max(o.Max, 1)
	for {
		picks, err := c.acquire(ctx, &waiter{limit: o.Max, same: o.SameGroup, rows: o.MaxRows}, nil, nil)
		if err != nil {
			return nil, err
		}
		if o.Linger > 0 && len(picks) < o.Max {
			if picks, err = c.linger(ctx, o, picks); err != nil {
				return nil, err
			}
		}
		ds, err := c.read(ctx, picks, o.MaxBytes)
		if err != nil || len(ds) > 0 {
			return ds, err
		}
	}
}

// linger waits for a fuller batch.
func (c *Consumer) linger(ctx context.Context, o TakeOptions, picks []pick) ([]pick, error) {
	over := time.NewTimer(o.Linger)
	defer over.Stop()
	for len(picks) < o.Max {
		more, err := c.acquire(ctx, &waiter{limit: o.Max - len(picks), same: o.SameGroup, rows: o.MaxRows}, over.C, o.Hurry)
		if err != nil {
			c.giveBack(picks)
			return nil, err
		}
		if len(more) == 0 {
			break
		}
		picks = append(picks, more...)
	}
	sortPicks(picks)
	return picks, nil
}

func sortPicks(picks []pick) {
	slices.SortFunc(picks, func(a, b pick) int {
		if goesBefore(a.order, a.seq, b.order, b.seq) {
			return -1
		}
		return 1
	})
}

// acquire waits for messages and puts them in flight: at least one, or none when over or hurry fires.
func (c *Consumer) acquire(ctx context.Context, w *waiter, over <-chan time.Time, hurry <-chan struct{}) ([]pick, error) {
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return nil, ErrStopped
	}
	if c.waiters.first == nil {
		w.got = c.pick(w)
	}
	if len(w.got) == 0 {
		w.served = make(chan struct{})
		c.waiters.push(w)
	}
	c.mu.Unlock()
	if w.served == nil {
		return w.got, nil
	}
	var err error
	select {
	case <-w.served:
	case <-over:
	case <-hurry:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiters.remove(w)
	switch {
	case err != nil:
		c.releasePicks(w.got)
		return nil, err
	case len(w.got) == 0 && c.isStopped():
		return nil, ErrStopped
	}
	return w.got, nil
}

func (c *Consumer) isStopped() bool {
	select {
	case <-c.stopped:
		return true
	default:
		return false
	}
}

// failWaiters wakes everybody who waits, after the end.
func (c *Consumer) failWaiters() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := c.waiters.first; w != nil; w = c.waiters.first {
		c.waiters.remove(w)
		close(w.served)
	}
}

// dispatch gives what is ready to those who wait. Called with c.mu held, as everything below that says nothing else.
func (c *Consumer) dispatch() {
	for w := c.waiters.first; w != nil; w = c.waiters.first {
		w.got = c.pick(w)
		if len(w.got) == 0 {
			return
		}
		c.waiters.remove(w)
		close(w.served)
	}
}

// pick puts as many messages in flight as somebody asks for, lowest first.
func (c *Consumer) pick(w *waiter) []pick {
	if c.readyN+c.lane.readyN == 0 || c.cfg.Status != Active || c.stopReason != "" || len(c.late) > 0 {
		return nil
	}
	limit := min(w.limit, c.cfg.MaxAckPending-c.inFlightN-c.retryN)
	if limit <= 0 {
		return nil
	}
	picks := make([]pick, 0, min(limit, c.readyN+c.lane.readyN))
	sorted := true
	for len(picks) < limit {
		e := c.popReady(w.rows)
		if e == nil {
			break
		}
		picks = append(picks, c.start(e))
		if w.same && e.g != nil && e.g2 == nil {
			before := len(picks)
			picks = c.pickBehind(e.g, picks, limit)
			sorted = sorted && len(picks) == before
		}
	}
	if !sorted {
		sortPicks(picks)
	}
	if c.readyN <= c.limits.ready/2 {
		c.wakeScan()
	}
	return picks
}

// rowShare says how many messages go out for each row of a backfill while there are more of both than are taken. A consumer that never catches up
// would not get to the rows otherwise.
const rowShare = 8

// popReady takes what goes next: the messages of the log before the rows of backfills, but for a small share of these.
func (c *Consumer) popReady(rows int) *entry {
	first, then := &c.ready, &c.lane.ready
	if rows > 0 && c.lane.inFlight >= rows {
		then = &readyQueue{}
	} else if c.readyN > 0 && c.lane.readyN > 0 {
		if c.lane.turn++; c.lane.turn%rowShare == 0 {
			first, then = then, first
		}
	}
	e := first.pop()
	if e == nil {
		e = then.pop()
	}
	switch {
	case e == nil:
	case e.slow:
		c.lane.readyN--
		e.slow = false
	default:
		c.readyN--
	}
	return e
}

// pickBehind adds what follows the head of a group, in order, to a batch that may carry several of a group.
func (c *Consumer) pickBehind(g *group, picks []pick, limit int) []pick {
	for _, e := range g.extra {
		if len(picks) == limit || e.state != held || c.exhausted(e) || e.next.After(time.Now()) {
			return picks
		}
		picks = append(picks, c.start(e))
	}
	for len(picks) < limit && g.tail.n > 0 {
		if e := c.entries[g.tail.first]; e != nil {
			return picks // a change of key, or one with a history
		}
		e := c.nextOf(g)
		if e == nil {
			continue
		}
		g.extra = append(g.extra, e)
		picks = append(picks, c.start(e))
	}
	return picks
}

// start puts e in flight.
func (c *Consumer) start(e *entry) pick {
	c.fly(e)
	c.stats.delivered++
	if e.attempts > 0 {
		c.stats.redelivered++
	}
	if e.redrive == nil && e.seq < laneBase {
		c.handed = max(c.handed, e.seq)
	}
	return pick{seq: e.seq, order: c.order(e.seq), attempt: e.attempts + 1, generation: c.place.generation, redrive: e.redrive}
}

// fly counts e as handed out.
func (c *Consumer) fly(e *entry) {
	e.state = inFlight
	c.inFlightN++
	if e.seq >= laneBase {
		c.lane.inFlight++
	}
}

// flying is the entry of a message that is still in the flight it was picked for.
func (c *Consumer) flying(seq uint64, attempt int, redriven bool) *entry {
	e := c.entries[seq]
	if redriven {
		e = c.redrives[seq]
	}
	if e == nil || e.state != inFlight || e.attempts+1 != attempt {
		return nil
	}
	return e
}

// picked is the entry of a pick that is still in flight. One of an earlier generation is over.
func (c *Consumer) picked(p pick) *entry {
	if p.redrive == nil && p.generation != c.place.generation {
		c.settleLate(p.generation, p.seq)
		return nil
	}
	return c.flying(p.seq, p.attempt, p.redrive != nil)
}

func (c *Consumer) releasePicks(picks []pick) {
	for _, p := range slices.Backward(picks) {
		if e := c.picked(p); e != nil {
			c.uncount(e)
			c.release(e)
		}
	}
	c.dispatch()
}

// uncount takes back that a message was delivered.
func (c *Consumer) uncount(e *entry) {
	c.stats.delivered--
	if e.attempts > 0 {
		c.stats.redelivered--
	}
}

// giveBack releases picks that were not delivered. It must not hold c.mu.
func (c *Consumer) giveBack(picks []pick) {
	if len(picks) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releasePicks(picks)
}

func (c *Consumer) config() Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg
}

// Settle records what became of deliveries. It returns once the results count; it waits for the disk only when the consumer commits each
// acknowledgement, or when more acceptances are outstanding than a crash may repeat. Results of another generation are ignored.
func (c *Consumer) Settle(ctx context.Context, results []Result) error {
	now := time.Now()
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return ErrStopped
	}
	// What was accepted first: a failure takes back what follows it in its group.
	for i := range results {
		if r := &results[i]; r.Outcome == Done && !c.void(r.Delivery) && c.complete(r.Delivery.Seq) {
			c.stats.acked++
			c.uncommitted++
			c.batch.settled++
			c.noteSuccess()
		}
	}
	for i := range results {
		if r := &results[i]; r.Outcome != Done && !c.void(r.Delivery) {
			c.settleFailure(now, r)
		}
	}
	c.schedule(now.Add(settleDelay))
	c.wakeScan()
	c.dispatch()
	var wait *batch
	switch {
	case c.cfg.AckCommit == AckEach:
		wait = c.durably()
	case c.uncommitted >= maxUncommitted:
		if wait = c.committing; wait == nil || c.batch.settled >= maxUncommitted {
			wait = c.durably()
		}
	}
	c.mu.Unlock()
	return c.await(ctx, wait)
}

// settleFailure records an outcome other than Done.
func (c *Consumer) settleFailure(now time.Time, r *Result) {
	d := r.Delivery
	e := c.flying(d.Seq, d.Attempt, d.outOfOrder())
	if e == nil {
		return
	}
	switch r.Outcome {
	case Retry:
		cause := errorText(r.Err)
		c.noteFailure(now, problem.Public(r.Err))
		c.fail(e, c.retryAt(e, r.After), cause)
	case Reject:
		cause := errorText(r.Err)
		c.noteFailure(now, problem.Public(r.Err))
		c.quiet(e)
		e.attempts++
		c.recallLater(e)
		c.bury(e, burial{reason: ReasonRejected, cause: cause, payload: r.Payload})
	case Release, Done:
		c.release(e)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Text of a batch is built in one piece and cut.
type textCut struct{ ack, id, group [2]int }

func (d *Delivery) setText(text string, cut textCut) {
	d.AckID = text[cut.ack[0]:cut.ack[1]]
	d.ID = text[cut.id[0]:cut.id[1]]
	d.Group = text[cut.group[0]:cut.group[1]]
}
