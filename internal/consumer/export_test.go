package consumer

import (
	"context"
	"fmt"
	"time"
)

// SetBounds narrows the bounds of the window, before Run.
func (c *Consumer) SetBounds(ready, pages, backlog int, distance uint64) {
	c.limits = bounds{ready: ready, pages: pages, backlog: backlog, distance: distance, burials: c.limits.burials, redrives: c.limits.redrives}
}

// SetMaxRedrives narrows the bound of the dead letters that are being delivered again.
func (c *Consumer) SetMaxRedrives(n int) { c.limits.redrives = n }

// SetEffort narrows what one question may take.
func (c *Consumer) SetEffort(entries int, d time.Duration) {
	c.effort = effort{entries: entries, time: d}
}

// BacklogBytes is what the messages behind others take.
func (c *Consumer) BacklogBytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.backlogBytes
}

// Books compares the counters of the window with what they count, and says what is wrong.
func (c *Consumer) Books() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var inFlightN, readyN, retryN, waiting, bytes, blocked, leased int
	for _, m := range []map[uint64]*entry{c.entries, c.redrives} {
		for seq, e := range m {
			switch e.state {
			case inFlight:
				inFlightN++
			case ready:
				readyN++
			case retrying:
				retryN++
			case held, dying:
			}
			if e.lease != nil {
				leased++
			}
			if e.seq != seq {
				return fmt.Sprintf("entry of %d is of %d", seq, e.seq)
			}
			if c.isDone(seq) && e.redrive == nil && e.state != held {
				return fmt.Sprintf("message %d is done, and in state %d", seq, e.state)
			}
			if e.g2 != nil && e.arrived < 2 {
				bytes += pairBytes
			}
		}
	}
	count := func(b *backlog) {
		waiting += b.n
		bytes += len(b.buf) - b.off
	}
	for _, g := range c.groups {
		count(&g.tail)
		if g.tail.n > 0 {
			blocked++
		}
		if g.head == nil || c.entries[g.head.seq] != g.head {
			return "a group has no head"
		}
	}
	for _, t := range c.tables {
		count(&t.wait)
	}
	for _, l := range c.leases {
		leased -= l.left
	}
	rows := 0
	for seq, e := range c.entries {
		if seq >= laneBase && e.state == inFlight {
			rows++
		}
	}
	if rows != c.lane.inFlight {
		return fmt.Sprintf("%d rows are in flight, the books say %d", rows, c.lane.inFlight)
	}
	got := [...]int{inFlightN, readyN - c.lane.readyN, retryN, waiting, bytes, blocked, 0}
	want := [...]int{c.inFlightN, c.readyN, c.retryN, c.waiting, c.backlogBytes, c.blockedGroups, leased}
	if got != want {
		return fmt.Sprintf("counted (in flight, ready, retrying, waiting, bytes, blocked, leases) %v, the books say %v", got, want)
	}
	return ""
}

// Rewind moves the consumer without asking, to the nearest place that there is.
func (c *Consumer) Rewind(ctx context.Context, seq uint64) (generation uint32, err error) {
	seq = min(max(seq, c.log.FirstSeq(), 1), c.log.End().Seq+1)
	move, err := c.Move(ctx, MoveRequest{To: seq, Skip: true})
	return move.Generation, err
}
