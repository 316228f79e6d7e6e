package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// A few messages that are not done must not keep the log from letting go of the many around them that are. They are copied into the state
// store, in one Apply with the done bits of everything else below a number; from then on the log is not needed below it.

// Bounds of what is copied out of the log.
const (
	maxStrays     = 1000
	maxStrayBytes = 16 << 20 // of one consumer, at any time
	strayShare    = 8        // at most one of so many is left behind; a consumer with more is simply late
)

// CopyOut copies the messages before a number that are not done out of the log, if they are few, and lets go of the log below it: Cursor
// tells how far. What was not read yet is left alone. It is durable when it returns.
func (c *Consumer) CopyOut(ctx context.Context, before uint64) error {
	c.mu.Lock()
	seqs, generation, ok := c.strays(before)
	before = min(before, c.next)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	copies, err := c.copies(ctx, seqs)
	if copies == nil || err != nil {
		return err
	}
	c.mu.Lock()
	if c.isStopped() || c.place.generation != generation || c.cfg.Status == Disabled {
		c.mu.Unlock()
		return nil
	}
	for seq, value := range copies {
		if !c.done.has(seq) {
			c.batch.put(c.keys.number(dirStray, seq), value)
			c.log.add(seq, len(value))
		}
	}
	c.done.touchAll() // what a filter skipped is not to be read again
	c.place.below, c.placeChanged = before, true
	wait := c.durably()
	c.mu.Unlock()
	return c.await(ctx, wait)
}

// strays lists what CopyOut has to copy, and false when it is not worth it, or too much. Called with c.mu held.
func (c *Consumer) strays(before uint64) (seqs []uint64, generation uint32, ok bool) {
	before = min(before, c.next)
	if c.log.codec == nil || c.isStopped() || c.cfg.Status == Disabled || before <= max(c.done.cursor, c.place.below) {
		return nil, 0, false
	}
	for _, seq := range c.log.all() { // what was given up
		if c.done.has(seq) && c.log.drop(seq) {
			c.batch.delete(c.keys.number(dirStray, seq))
		}
	}
	most := min(maxStrays, (before-c.done.cursor)/strayShare)
	seqs, ok = c.done.firstUndone(before, int(most))
	return seqs, c.place.generation, ok
}

// copies reads and encodes what was not copied before; nil when it is too much, or cannot be read. It must not hold c.mu.
func (c *Consumer) copies(ctx context.Context, seqs []uint64) (map[uint64][]byte, error) {
	copies, size := map[uint64][]byte{}, c.log.size()
	log := logReader{log: c.log}
	for _, seq := range seqs {
		if c.log.has(seq) {
			continue
		}
		change, err := log.at(ctx, seq)
		if lost(err) {
			return nil, nil // whoever delivers it says so
		}
		if err != nil {
			return nil, fmt.Errorf("copy message %d out of the log: %w", seq, err)
		}
		copies[seq] = c.log.codec.Encode(change)
		if size += len(copies[seq]); size > maxStrayBytes {
			return nil, nil
		}
	}
	return copies, nil
}

// loadStrays remembers what was copied out of the log and is not done.
func (c *Consumer) loadStrays(ctx context.Context) error {
	return c.each(ctx, dirStray, func(seq uint64, value []byte) (bool, error) {
		wanted := !c.done.has(seq) && seq < c.place.below
		if wanted {
			c.log.add(seq, len(value))
		}
		if u := c.undo; u != nil && seq >= u.place.cursor && seq < u.place.below {
			u.strays[seq], wanted = len(value), true
		}
		return wanted, nil
	})
}

// strayLog is a change log together with what was copied out of it. It is safe for concurrent use.
type strayLog struct {
	Log
	lane  *laneStore
	codec Codec
	state engine.State
	keys  keys

	mu    sync.Mutex
	seqs  []uint64 // copied and not done, ascending; guarded by mu, as is all that follows
	sizes map[uint64]int
	bytes int
}

func newStrayLog(deps Deps, id string) *strayLog {
	return &strayLog{Log: deps.Log, codec: deps.Codec, state: deps.State, keys: newKeys(id), sizes: map[uint64]int{}}
}

// Segment is the log's, and where the log has nothing any more, the next message that was copied. Numbers of rows that backfills have read are
// those of the lane.
func (l *strayLog) Segment(ctx context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error) {
	if seq >= laneBase {
		return l.lane.segment(ctx, seq)
	}
	first, last, changes, err = l.Log.Segment(ctx, seq)
	if err == nil && first <= seq {
		return first, last, changes, nil
	}
	if err != nil && !lost(err) {
		return first, last, changes, err
	}
	stray, ok := l.next(seq)
	if !ok || (err == nil && stray >= first) {
		return first, last, changes, err
	}
	found, getErr := l.state.Get(ctx, l.keys.number(dirStray, stray))
	if errors.Is(getErr, engine.ErrNotFound) { // done meanwhile
		return first, last, changes, err
	}
	if getErr != nil {
		return 0, 0, nil, fmt.Errorf("read message %d: %w", stray, getErr)
	}
	changes = make([]cdc.Change, 1)
	if err := l.codec.Decode(found.Value, &changes[0]); err != nil {
		return 0, 0, nil, fmt.Errorf("read message %d: %w", stray, err)
	}
	return stray, stray, changes, nil
}

func (l *strayLog) next(seq uint64) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearch(l.seqs, seq)
	if i == len(l.seqs) {
		return 0, false
	}
	return l.seqs[i], true
}

func (l *strayLog) has(seq uint64) bool {
	next, ok := l.next(seq)
	return ok && next == seq
}

func (l *strayLog) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

func (l *strayLog) add(seq uint64, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i, found := slices.BinarySearch(l.seqs, seq); !found {
		l.seqs = slices.Insert(l.seqs, i, seq)
		l.sizes[seq] = size
		l.bytes += size
	}
}

// drop forgets a message and reports whether it was copied.
func (l *strayLog) drop(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, found := slices.BinarySearch(l.seqs, seq)
	if found {
		l.seqs = slices.Delete(l.seqs, i, i+1)
		l.bytes -= l.sizes[seq]
		delete(l.sizes, seq)
	}
	return found
}

func (l *strayLog) all() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.seqs)
}

// sizesOf is what was copied, with its sizes.
func (l *strayLog) sizesOf() map[uint64]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.sizes)
}

func (l *strayLog) dropAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seqs, l.bytes = nil, 0
	clear(l.sizes)
}
