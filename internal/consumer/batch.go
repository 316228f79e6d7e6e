package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/backoff"
	"github.com/sequinstream/sequin/internal/engine"
)

// batch collects what the next commit writes. Done bits and the cursor are not in it: they are taken from the done set when it is written.
type batch struct {
	first   []engine.Op // dead letters and gaps
	puts    []engine.Op // leases, failures
	gone    map[string]struct{}
	due     time.Time // zero: nothing to write
	settled int       // push acknowledgements
	written chan struct{}
	err     error // once written is closed
}

// When a commit that nobody waits for starts. The first leaves room in the promise of 10 ms for the write itself.
const (
	settleDelay    = 5 * time.Millisecond
	progressDelay  = time.Second
	maxUncommitted = 1000
	lastCommitTime = 5 * time.Second
)

func newBatch() *batch { return &batch{gone: map[string]struct{}{}, written: make(chan struct{})} }

func (b *batch) put(key string, value []byte) {
	delete(b.gone, key)
	b.puts = append(b.puts, engine.Put(key, value))
}

func (b *batch) putFirst(key string, value []byte) {
	delete(b.gone, key)
	b.first = append(b.first, engine.Put(key, value))
}

func (b *batch) delete(key string) { b.gone[key] = struct{}{} }

// schedule makes the batch be written at t at the latest. Called with c.mu held, as everything below that says nothing else.
func (c *Consumer) schedule(t time.Time) {
	if c.batch.due.IsZero() || t.Before(c.batch.due) {
		c.batch.due = t
		wake(c.commitWake)
	}
}

// durably returns what closes when everything up to now is on disk, or nil when it is.
func (c *Consumer) durably() *batch {
	if !c.batch.due.IsZero() || c.unwritten() {
		c.schedule(time.Now())
		return c.batch
	}
	return c.committing
}

func (c *Consumer) unwritten() bool {
	b := c.batch
	return len(b.first)+len(b.puts)+len(b.gone)+len(c.thinLeases) > 0 || c.done.changed() || c.placeChanged || c.done.cursor != c.place.cursor || c.laneUnwritten()
}

// progress writes soon what nobody waits for.
func (c *Consumer) progress() {
	if c.batch.due.IsZero() && c.unwritten() {
		c.schedule(time.Now().Add(progressDelay))
	}
}

// await blocks until b is on disk. It must not hold c.mu.
func (c *Consumer) await(ctx context.Context, b *batch) error {
	if b == nil {
		return nil
	}
	select {
	case <-b.written:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.stopped:
	}
	select {
	case <-b.written:
		return b.err
	default:
		return ErrStopped
	}
}

// seal closes the batch for writing and returns its writes in their order.
func (c *Consumer) seal() (*batch, []engine.Op) {
	b := c.batch
	c.batch, c.committing = newBatch(), b
	ops := c.sealLeases(slices.Concat(b.first, b.puts))
	generation := c.place.generation
	if generation != c.writtenGeneration {
		// The pages of a new generation may replace those of the old one only when the old one is over.
		ops = append(ops, c.sealCursor())
	}
	c.done.render(func(spread bool, n uint64, bits *bitmap) {
		key := c.pageKey(spread, n)
		delete(b.gone, key) // a rewind did away with the page of this number, and here is its successor
		ops = append(ops, engine.Put(key, encodePage(generation, bits)))
	}, func(spread bool, n uint64) {
		b.gone[c.pageKey(spread, n)] = struct{}{}
	})
	if c.done.cursor != c.place.cursor || c.placeChanged {
		ops = append(ops, c.sealCursor())
	}
	ops = append(ops, c.sealLane(b)...)
	for key := range b.gone {
		ops = append(ops, engine.Delete(key))
	}
	return b, ops
}

func (c *Consumer) sealCursor() engine.Op {
	c.place.cursor, c.placeChanged, c.writtenGeneration = c.done.cursor, false, c.place.generation
	return engine.Put(c.keys.name(keyCursor), c.place.encode())
}

func (c *Consumer) pageKey(spread bool, n uint64) string {
	if spread {
		return c.keys.number(dirSpread, n)
	}
	return c.keys.number(dirDone, n)
}

// commit writes batches until ctx ends.
func (c *Consumer) commit(ctx context.Context) error {
	for {
		if !c.awaitBatch(ctx) {
			return nil
		}
		if err := c.writeBatch(ctx); err != nil {
			return err
		}
	}
}

// awaitBatch blocks until a batch is due, and reports false when ctx ends.
func (c *Consumer) awaitBatch(ctx context.Context) bool {
	for ctx.Err() == nil {
		c.mu.Lock()
		due, settled := c.batch.due, c.batch.settled
		c.mu.Unlock()
		var alarm <-chan time.Time
		if !due.IsZero() {
			wait := time.Until(due)
			if wait <= 0 || settled >= maxUncommitted {
				return true
			}
			alarm = time.After(wait)
		}
		select {
		case <-c.commitWake:
		case <-alarm:
		case <-ctx.Done():
		}
	}
	return false
}

// writeBatch writes the batch and repeats until the store takes it: everything in it is idempotent.
func (c *Consumer) writeBatch(ctx context.Context) error {
	c.mu.Lock()
	b, ops := c.seal()
	place, needed := c.place, c.lane.needed()
	c.mu.Unlock()
	again := backoff.Schedule{Base: 50 * time.Millisecond, Cap: 2 * time.Second}
	var err error
	for n := 1; ; n++ {
		if err = c.state.Apply(ctx, ops...); err == nil || ctx.Err() != nil || errors.Is(err, engine.ErrClosed) {
			break
		}
		if n == 1 {
			c.logger.ErrorContext(ctx, "consumer state cannot be written", "error", err)
			c.mu.Lock()
			c.stats.stateErr = err
			c.mu.Unlock()
		}
		select {
		case <-time.After(again.Delay(n, nil)):
		case <-ctx.Done():
		}
	}
	if err != nil && !errors.Is(err, engine.ErrClosed) {
		// Asked to stop in the middle: one more try without the deadline, so that nothing is left half written.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCommitTime)
		defer cancel()
		err = c.state.Apply(last, ops...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.stateErr = err
	c.committing = nil
	b.err = err
	if err == nil {
		c.durable, c.durablyDisabled = place.pin(), place.disabled
		c.uncommitted -= b.settled
		if c.lane.trim < needed {
			c.lane.trim = needed
			wake(c.laneWake)
		}
		if place.generation >= c.heldFor {
			c.held = 0
		}
	}
	close(b.written)
	return err
}

// lastCommit writes what is outstanding when Run ends. It must not hold c.mu.
func (c *Consumer) lastCommit(ctx context.Context) error {
	c.mu.Lock()
	pending := !c.batch.due.IsZero() || c.unwritten()
	c.mu.Unlock()
	if !pending {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lastCommitTime)
	defer cancel()
	return c.writeBatch(ctx)
}
