package consumer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sequinstream/sequin/internal/engine"
)

// load reads the consumer's state, or writes the first. It runs before anybody else knows the consumer.
func (c *Consumer) load(ctx context.Context) error {
	found, err := c.state.Get(ctx, c.keys.name(keyCursor))
	switch {
	case errors.Is(err, engine.ErrNotFound):
		if err := c.create(ctx); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("read the cursor: %w", err)
	default:
		if c.place, err = decodeCursor(found.Value); err != nil {
			return fmt.Errorf("read the cursor: %w", err)
		}
	}
	c.done, c.writtenGeneration = newDoneSet(c.place.cursor), c.place.generation
	for _, step := range []func(context.Context) error{
		c.loadDone, c.loadLane, c.loadMoves, c.loadStrays, c.loadFailures, c.loadAgain, c.loadDead, c.activateAgain, c.loadBurials, c.loadLeases, c.loadGaps, c.loadReach,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	c.next = c.done.cursor
	c.lane.peak = c.log.End().Seq + 1 // another process may have handed out all of it
	c.durable, c.durablyDisabled = c.place.pin(), c.place.disabled
	switch {
	case c.cfg.Status == Disabled && !c.place.disabled:
		c.setDisabled()
	case c.cfg.Status != Disabled && c.place.disabled:
		c.resume(c.lsnAt(ctx, c.done.cursor))
	}
	c.progress()
	return nil
}

// StoredCursor is the Cursor of a consumer that is not open, for the log's retention: MaxUint64 when it is disabled or was never opened.
func StoredCursor(ctx context.Context, state engine.State, id string) (uint64, error) {
	found, err := state.Get(ctx, newKeys(id).name(keyCursor))
	if errors.Is(err, engine.ErrNotFound) {
		return math.MaxUint64, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the cursor of consumer %s: %w", id, err)
	}
	place, err := decodeCursor(found.Value)
	if err != nil {
		return 0, fmt.Errorf("read the cursor of consumer %s: %w", id, err)
	}
	if place.disabled {
		return math.MaxUint64, nil
	}
	return place.pin(), nil
}

// Exists tells whether a consumer was ever opened, and so has a place of its own.
func Exists(ctx context.Context, state engine.State, id string) (bool, error) {
	_, err := state.Get(ctx, newKeys(id).name(keyCursor))
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for consumer %s: %w", id, err)
	}
	return true, nil
}

// create writes the place of a new consumer.
func (c *Consumer) create(ctx context.Context) error {
	end := c.log.End()
	switch c.cfg.Start {
	case StartBeginning:
		c.place.cursor = max(c.log.FirstSeq(), 1)
	case StartNow:
		c.place.cursor = end.Seq + 1
		if c.cfg.StartAt > 0 {
			c.place.cursor = min(max(c.cfg.StartAt, c.log.FirstSeq(), 1), end.Seq+1)
		}
		c.place.skipBelow, c.place.skipEpoch = c.cfg.SkipBelow, end.Position.Epoch
	}
	c.place.disabled = c.cfg.Status == Disabled
	if err := c.state.Apply(ctx, engine.Put(c.keys.name(keyCursor), c.place.encode())); err != nil {
		return fmt.Errorf("write the first cursor: %w", err)
	}
	return nil
}

// each walks the records of a directory. void is called for those of an earlier generation, or that turn out to mean nothing.
func (c *Consumer) each(ctx context.Context, dir string, f func(n uint64, value []byte) (valid bool, err error)) error {
	for entry, err := range c.state.List(ctx, c.keys.name(dir)) {
		if err != nil {
			return fmt.Errorf("read %s: %w", c.keys.name(dir), err)
		}
		n, err := c.keys.parseNumber(dir, entry.Key)
		if err != nil {
			return err
		}
		valid, err := f(n, entry.Value)
		if err != nil {
			return fmt.Errorf("read %s: %w", entry.Key, err)
		}
		if !valid {
			c.batch.delete(entry.Key)
		}
	}
	return nil
}

func (c *Consumer) loadDone(ctx context.Context) error {
	for _, spread := range [2]bool{true, false} {
		dir := dirDone
		if spread {
			dir = dirSpread
		}
		err := c.each(ctx, dir, func(n uint64, value []byte) (bool, error) {
			var b bitmap
			generation, err := decodePage(value, &b)
			return err == nil && generation == c.place.generation && !c.done.load(spread, n, &b), err
		})
		if err != nil {
			return err
		}
	}
	c.done.advance()
	return nil
}

func (c *Consumer) loadFailures(ctx context.Context) error {
	return c.each(ctx, dirMsg, func(seq uint64, value []byte) (bool, error) {
		generation, m, err := decodeMsg(value)
		if err != nil || generation != c.place.generation || c.isDone(seq) {
			return false, err
		}
		c.entries[seq] = &entry{seq: seq, attempts: m.attempts, next: m.next, stored: true}
		return true, nil
	})
}

// loadBurials finishes what was becoming a dead letter: it is one if its record was written.
func (c *Consumer) loadBurials(ctx context.Context) error {
	return c.each(ctx, dirBury, func(seq uint64, _ []byte) (bool, error) {
		_, err := c.state.Get(ctx, c.keys.number(dirDead, seq))
		switch {
		case errors.Is(err, engine.ErrNotFound):
			c.batch.delete(c.keys.number(dirDeadBody, seq))
		case err != nil:
			return false, err
		case c.redrives[seq] == nil:
			c.complete(seq)
		}
		return false, nil
	})
}

func (c *Consumer) loadLeases(ctx context.Context) error {
	now := time.Now()
	err := c.each(ctx, dirLease, func(id uint64, value []byte) (bool, error) {
		c.lastLease = max(c.lastLease, id)
		generation, deadline, items, err := decodeLease(value)
		if err != nil || generation != c.place.generation {
			return false, err
		}
		l := &lease{id: id, deadline: deadline, items: items}
		for _, it := range items {
			c.loadLeased(l, it)
		}
		if l.left == 0 {
			return false, nil
		}
		c.leases[id] = l
		c.setTimer(&timer{at: deadline, l: l})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, l := range c.leases {
		if !l.deadline.After(now) {
			c.expire(l)
		}
	}
	return nil
}

// loadLeased puts a message back in flight unless that attempt is over. Of two leases for one attempt the later one counts: it was extended.
func (c *Consumer) loadLeased(l *lease, it leaseItem) {
	e := c.redrives[it.seq]
	if e == nil {
		if c.isDone(it.seq) {
			return
		}
		if e = c.entries[it.seq]; e == nil {
			e = c.entry(it.seq)
			e.attempts = it.attempt - 1
		}
	}
	if e.attempts >= it.attempt {
		return
	}
	c.quiet(e)
	e.attempts = it.attempt - 1
	e.lease = l
	e.stale = true
	c.fly(e)
	l.left++
}

func (c *Consumer) loadGaps(ctx context.Context) error {
	gaps, err := c.Gaps(ctx)
	if err != nil {
		return err
	}
	c.gaps = len(gaps)
	for i := range gaps {
		if c.lastGap == nil || gaps[i].At.After(c.lastGap.At) {
			c.lastGap = &gaps[i]
		}
	}
	return nil
}
