package consumer

import (
	"context"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// Receive hands out messages of a pull consumer under a lease that is durable before it returns. With nothing to hand out it waits up to
// o.Wait and then returns an empty list, as it does for a consumer that is paused or disabled. Those who wait are served in turn.
func (c *Consumer) Receive(ctx context.Context, o ReceiveOptions) ([]*Delivery, error) {
	cfg := c.config()
	if cfg.Push {
		return nil, ErrMode
	}
	o.Max = min(max(o.Max, 1), maxLeaseItems)
	if o.Visibility <= 0 {
		o.Visibility = cfg.AckWait
	}
	over := time.NewTimer(max(o.Wait, 0))
	defer over.Stop()
	for {
		picks, err := c.poll(ctx, o, over.C)
		if err != nil || len(picks) == 0 {
			return nil, err
		}
		ds, err := c.read(ctx, picks, 0)
		if err != nil {
			return nil, err
		}
		if ds, err = c.leaseOut(ctx, ds, o.Visibility); err != nil || len(ds) > 0 {
			return ds, err
		}
	}
}

// poll gets what there is, or waits within the limit on long polls.
func (c *Consumer) poll(ctx context.Context, o ReceiveOptions, over <-chan time.Time) ([]pick, error) {
	c.mu.Lock()
	var picks []pick
	if c.waiters.first == nil && !c.isStopped() {
		picks = c.pick(&waiter{limit: o.Max, same: o.SameGroup})
	}
	if len(picks) > 0 || (o.Wait <= 0 && !c.isStopped()) {
		c.mu.Unlock()
		return picks, nil
	}
	if c.receiving >= c.cfg.MaxWaiting {
		limit := c.cfg.MaxWaiting
		c.mu.Unlock()
		return nil, problem.New("too_many_waiting", "%d requests already wait for messages of this consumer", limit).
			WithHint("raise max_waiting, use fewer workers, or ask without wait_for")
	}
	c.receiving++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.receiving--
		c.mu.Unlock()
	}()
	return c.acquire(ctx, &waiter{limit: o.Max, same: o.SameGroup}, over, nil)
}

// leaseOut leases deliveries durably. One that was acknowledged meanwhile is left out.
func (c *Consumer) leaseOut(ctx context.Context, ds []*Delivery, visibility time.Duration) ([]*Delivery, error) {
	if len(ds) == 0 {
		return nil, nil
	}
	c.mu.Lock()
	kept := ds[:0]
	es := make([]*entry, 0, len(ds))
	for _, d := range ds {
		if e := c.flying(d.Seq, d.Attempt, d.outOfOrder()); e != nil && d.generation == c.place.generation {
			es = append(es, e)
			kept = append(kept, d)
		}
	}
	if len(es) == 0 {
		c.mu.Unlock()
		return nil, nil
	}
	l := c.newLease(es, time.Now().Add(visibility))
	wait := c.durably()
	c.mu.Unlock()
	err := c.await(ctx, wait)
	if err == nil {
		return kept, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range kept {
		if e := c.flying(d.Seq, d.Attempt, d.outOfOrder()); e != nil && e.lease == l {
			c.release(e)
		}
	}
	c.progress()
	c.dispatch()
	return nil, err
}

// Ack records messages as processed; once it returns nil they are never delivered again. Ids that are unknown, of an earlier generation or
// already acknowledged are fine, and so are those of messages whose lease has expired. The error of an id that is not a UUID is the caller's.
func (c *Consumer) Ack(ctx context.Context, ids []string) error {
	parsed, err := parseAckIDs(ids)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return ErrStopped
	}
	for _, id := range parsed {
		if !c.known(id) {
			continue
		}
		if id.Seq >= c.next && id.Seq < laneBase && !c.done.has(id.Seq) && len(c.done.pages) >= c.limits.pages {
			c.mu.Unlock()
			return problem.New("too_far_ahead", "message %d is too far ahead of the oldest unacknowledged one", id.Seq).
				WithHint("acknowledge older messages first")
		}
		if c.complete(id.Seq) {
			c.stats.acked++
			c.noteSuccess()
		}
	}
	wait := c.durably()
	c.wakeScan()
	c.dispatch()
	c.mu.Unlock()
	return c.await(ctx, wait)
}

func parseAckIDs(ids []string) ([]AckID, error) {
	out := make([]AckID, len(ids))
	for i, s := range ids {
		id, err := ParseAckID(s)
		if err != nil {
			return nil, problem.New("invalid_ack_id", "%w", err).WithHint("send ack ids as receive returned them")
		}
		out[i] = id
	}
	return out, nil
}

// known reports whether the id can be of a message of this consumer and generation. Called with c.mu held.
func (c *Consumer) known(id AckID) bool {
	if id.Consumer != c.tag || id.Generation != c.place.generation || id.Seq == 0 {
		return false
	}
	if id.Seq >= laneBase {
		return id.Seq-laneBase < c.lane.next
	}
	return id.Seq < c.next || id.Seq <= c.log.End().Seq
}

// leased is the entry of a message that is leased, or nil. Called with c.mu held.
func (c *Consumer) leased(id AckID) *entry {
	if !c.known(id) {
		return nil
	}
	if e := c.find(id.Seq); e != nil && e.state == inFlight && e.lease != nil {
		return e
	}
	return nil
}

// Nack gives messages back, for the next attempt at once or after delay; it counts as an attempt. Ids of messages that are not leased are
// fine and change nothing.
func (c *Consumer) Nack(ctx context.Context, ids []string, delay time.Duration) error {
	parsed, err := parseAckIDs(ids)
	if err != nil {
		return err
	}
	now := time.Now()
	var at time.Time
	if delay > 0 {
		at = now.Add(delay)
	}
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return ErrStopped
	}
	for _, id := range parsed {
		if e := c.leased(id); e != nil {
			c.stats.nacked++
			c.noteFailure(now, NackCause)
			c.fail(e, at, NackCause)
		}
	}
	wait := c.durably()
	c.dispatch()
	c.mu.Unlock()
	return c.await(ctx, wait)
}

// NackCause is the error of a message that its worker gave back: the worker's business, and no sign that something is broken.
const NackCause = "the worker gave the message back (nack)"

// Extend renews leases, durably, to end after visibility from now. It returns the ids that are not leased any more.
func (c *Consumer) Extend(ctx context.Context, ids []string, visibility time.Duration) (gone []string, err error) {
	parsed, err := parseAckIDs(ids)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return nil, ErrStopped
	}
	if visibility <= 0 {
		visibility = c.cfg.AckWait
	}
	deadline := time.Now().Add(visibility)
	seen := make(map[uint64]bool, len(ids))
	var es []*entry
	for i, id := range parsed {
		e := c.leased(id)
		switch {
		case e == nil:
			gone = append(gone, ids[i])
		case !seen[id.Seq]:
			seen[id.Seq] = true
			es = append(es, e)
		}
	}
	for len(es) > 0 {
		n := min(len(es), maxLeaseItems)
		c.newLease(es[:n], deadline)
		es = es[n:]
	}
	wait := c.durably()
	c.mu.Unlock()
	return gone, c.await(ctx, wait)
}
