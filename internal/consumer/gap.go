package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// GapReason says why messages were not delivered.
type GapReason string

// The reasons for a gap.
const (
	GapLost     GapReason = "log_damaged"  // the change log could not read them any more
	GapTrimmed  GapReason = "log_trimmed"  // the change log had removed them
	GapDisabled GapReason = "disabled"     // the consumer was disabled meanwhile
	GapReleased GapReason = "disk_release" // given up by the disk policy
)

// GapRecord is a stretch of the log that this consumer did not get.
type GapRecord struct {
	From    uint64    `json:"from"` // first and last seq
	To      uint64    `json:"to"`
	Count   uint64    `json:"count"` // messages in it that were not done; those that a filter would have skipped count as long as they were not scanned
	Reason  GapReason `json:"reason"`
	Detail  string    `json:"detail,omitempty"`
	At      time.Time `json:"at"`
	FromLSN cdc.LSN   `json:"from_lsn,omitempty"` // 0 when not known
	ToLSN   cdc.LSN   `json:"to_lsn,omitempty"`
}

// recordGap writes a gap; one that adjoins the last of the same reason extends it. Called with c.mu held, as giveUp.
func (c *Consumer) recordGap(g GapRecord) {
	g.At = time.Now()
	g.Detail = truncate(g.Detail, maxErrorBytes)
	if l := c.lastGap; l != nil && l.Reason == g.Reason && l.To+1 == g.From {
		g.From, g.FromLSN, g.Count = l.From, l.FromLSN, l.Count+g.Count
	} else {
		c.gaps++
	}
	c.lastGap = &g
	value, err := json.Marshal(g)
	if err != nil {
		return // numbers and text: it cannot fail
	}
	c.batch.putFirst(c.keys.number(dirGap, g.From), append([]byte{recordVersion}, value...))
}

// giveUp records from … to as a gap and goes on as if they were done.
func (c *Consumer) giveUp(g GapRecord) {
	from, to := max(g.From, c.done.cursor), g.To
	if from > to {
		return
	}
	n := c.done.undone(from, to)
	if n > 0 {
		g.From, g.Count = from, n
		c.recordGap(g)
	}
	c.done.setRange(from, to)
	var drop []*entry
	for seq, e := range c.entries {
		if seq >= from && seq <= to {
			drop = append(drop, e)
		}
	}
	for _, e := range drop {
		if c.entries[e.seq] == e && e.seq >= from && e.seq <= to {
			c.drop(e)
		}
	}
	c.schedule(time.Now().Add(settleDelay))
	c.wakeScan()
	c.dispatch()
}

// Release gives up every message before seq that is not done, for the sake of the disk; they are a recorded gap. It is durable when it
// returns.
func (c *Consumer) Release(ctx context.Context, before uint64, why string) error {
	before = min(before, c.log.End().Seq+1)
	from := c.pin()
	if before <= from {
		return nil
	}
	fromLSN, toLSN := c.lsnAt(ctx, from), c.lsnAt(ctx, before-1)
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return ErrStopped
	}
	c.letGo(before, why, fromLSN, toLSN)
	wait := c.durably()
	c.mu.Unlock()
	return c.await(ctx, wait)
}

// ReleaseStored is Release for a consumer that does not run, and must not be opened meanwhile.
func ReleaseStored(ctx context.Context, deps Deps, cfg Config, before uint64, why string) error {
	c, err := Open(ctx, deps, cfg)
	if err != nil {
		return err
	}
	before = min(before, c.log.End().Seq+1)
	if from := c.pin(); before > from {
		fromLSN, toLSN := c.lsnAt(ctx, from), c.lsnAt(ctx, before-1)
		c.mu.Lock()
		c.letGo(before, why, fromLSN, toLSN)
		c.mu.Unlock()
	}
	return c.lastCommit(ctx)
}

// letGo gives up everything before a number for the sake of the disk, but what was copied out of the log. Called with c.mu held.
func (c *Consumer) letGo(before uint64, why string, fromLSN, toLSN cdc.LSN) {
	c.giveUp(GapRecord{From: max(c.done.cursor, c.place.below), To: before - 1, Reason: GapReleased, Detail: why, FromLSN: fromLSN, ToLSN: toLSN})
	c.next = max(c.next, c.done.cursor)
	if c.done.cursor < before { // what was copied is still to be delivered
		c.done.touchAll()
		c.place.below, c.placeChanged = max(c.place.below, before), true
	}
}

func (c *Consumer) cursor() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done.cursor
}

// pin is the first message that is in the log only.
func (c *Consumer) pin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.done.cursor, c.place.below)
}

// lsnAt is the commit LSN of a change, or 0 if it cannot be read.
func (c *Consumer) lsnAt(ctx context.Context, seq uint64) cdc.LSN {
	change, err := (&logReader{log: c.log}).at(ctx, seq)
	if err != nil {
		return 0
	}
	return change.Position.LSN
}

// Gaps lists what this consumer did not get, oldest first.
func (c *Consumer) Gaps(ctx context.Context) ([]GapRecord, error) {
	var out []GapRecord
	for entry, err := range c.state.List(ctx, c.keys.name(dirGap)) {
		if err != nil {
			return nil, fmt.Errorf("list gaps: %w", err)
		}
		g, err := decodeGap(entry)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

func decodeGap(entry engine.Entry) (GapRecord, error) {
	var g GapRecord
	if len(entry.Value) == 0 || entry.Value[0] != recordVersion {
		return g, fmt.Errorf("gap %s: %w", entry.Key, errRecord)
	}
	if err := json.Unmarshal(entry.Value[1:], &g); err != nil {
		return g, fmt.Errorf("gap %s: %w", entry.Key, err)
	}
	return g, nil
}
