package consumer

import (
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/engine"
)

// lease is what one receive handed out. Functions in this file are called with c.mu held.
type lease struct {
	id       uint64
	deadline time.Time
	items    []leaseItem // ascending
	left     int         // that are still leased
	timer    *timer
}

// newLease leases in-flight messages until the deadline.
func (c *Consumer) newLease(es []*entry, deadline time.Time) *lease {
	slices.SortFunc(es, func(a, b *entry) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	c.lastLease++
	l := &lease{id: c.lastLease, deadline: deadline, left: len(es)}
	for _, e := range es {
		c.leaveLease(e)
		e.lease = l
		l.items = append(l.items, leaseItem{seq: e.seq, attempt: e.attempts + 1})
	}
	c.leases[l.id] = l
	c.batch.put(c.keys.number(dirLease, l.id), encodeLease(c.place.generation, deadline, l.items))
	c.setTimer(&timer{at: deadline, l: l})
	return l
}

// leaveLease takes e off its lease; the last to leave ends it.
func (c *Consumer) leaveLease(e *entry) {
	l := e.lease
	if l == nil {
		return
	}
	e.lease = nil
	l.left--
	if l.left > 0 {
		return
	}
	c.stopTimer(l.timer)
	delete(c.leases, l.id)
	c.batch.delete(c.keys.number(dirLease, l.id))
}

// thinned has a lease written anew with the next commit, for messages were taken back from it and must not be held back after a restart.
func (c *Consumer) thinned(l *lease) {
	if l != nil {
		c.thinLeases[l] = struct{}{}
	}
}

// sealLeases writes what is left of the leases that were thinned.
func (c *Consumer) sealLeases(ops []engine.Op) []engine.Op {
	for l := range c.thinLeases {
		if l.left == 0 {
			continue
		}
		l.items = slices.DeleteFunc(l.items, func(it leaseItem) bool {
			e := c.find(it.seq)
			return e == nil || e.lease != l
		})
		ops = append(ops, engine.Put(c.keys.number(dirLease, l.id), encodeLease(c.place.generation, l.deadline, l.items)))
	}
	clear(c.thinLeases)
	return ops
}

// find is the entry of a message, redriven or not.
func (c *Consumer) find(seq uint64) *entry {
	if e := c.redrives[seq]; e != nil {
		return e
	}
	return c.entries[seq]
}

// expire ends the attempts of everything that is left in a lease.
func (c *Consumer) expire(l *lease) {
	now := time.Now()
	// From the last to the first, so that each counts as an attempt of its own.
	for _, it := range slices.Backward(l.items) {
		e := c.find(it.seq)
		if e == nil || e.lease != l {
			continue
		}
		c.stats.expired++
		c.fail(e, now, "the lease expired before the message was acknowledged")
	}
}
