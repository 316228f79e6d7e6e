package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/engine"
)

// deadRecount is how often the dead letters are counted anew, for the age of the oldest.
const deadRecount = time.Hour

// deadPatience is how long a reader of the dead letters waits for those that are being written.
const deadPatience = time.Second

// DeadFilter selects dead letters; what is empty selects all.
type DeadFilter struct {
	Reason Reason
	MessageFilter
}

func (f *DeadFilter) passes(d *DeadLetter) bool {
	return (f.Reason == "" || f.Reason == d.Reason) && (f.Table == "" || namesTable(f.Table, d.Schema, d.Table)) && (f.Key == "" || f.Key == d.Key || f.Key == d.OldKey)
}

// DeadQuery asks for a page of dead letters: those with After < Seq < Before, as far as the bounds are not 0.
type DeadQuery struct {
	DeadFilter
	After, Before uint64
	Descending    bool // from the last to the first
	Limit         int
}

// DeadPage is a page of dead letters, without their payload. They are looked at for a bounded time only, so it may hold fewer than there are.
type DeadPage struct {
	Letters []DeadLetter
	Next    uint64 // the After (descending: the Before) of the next page; 0 when there is none
}

// DeadLetters lists dead letters in the order of their seqs.
func (c *Consumer) DeadLetters(ctx context.Context, q DeadQuery) (DeadPage, error) {
	if err := c.settleDead(ctx); err != nil {
		return DeadPage{}, err
	}
	q.Limit = max(q.Limit, 1)
	sp := span{low: q.After + 1, high: math.MaxUint64}
	if q.Before > 0 {
		sp.high = q.Before - 1
	}
	if sp.low > sp.high {
		return DeadPage{}, nil
	}
	left := c.effort.begin()
	letters, reach, err := c.deadPage(ctx, q, sp, &left)
	if err != nil {
		return DeadPage{}, err
	}
	page := DeadPage{Letters: letters}
	if reach != sp.end(q.Descending) {
		page.Next = reach
	}
	return page, nil
}

// deadPage lists the dead letters of a span, as far as is on disk, and tells up to where it has looked.
func (c *Consumer) deadPage(ctx context.Context, q DeadQuery, sp span, left *budget) (out []DeadLetter, reach uint64, err error) {
	records := c.listAfter(ctx, dirDead, sp.low-1)
	if q.Descending {
		records = c.listDown(ctx, dirDead, sp.high)
	}
	reach = sp.end(q.Descending)
	var last uint64
	for entry, err := range records {
		if err != nil {
			return nil, 0, fmt.Errorf("list dead letters: %w", err)
		}
		seq, err := c.keys.parseNumber(dirDead, entry.Key)
		if err != nil {
			return nil, 0, err
		}
		if seq < sp.low || seq > sp.high {
			break
		}
		if last != 0 && (len(out) >= q.Limit || left.spent()) {
			reach = last
			break
		}
		d, err := decodeDead(seq, entry.Value)
		if err != nil {
			return nil, 0, err
		}
		left.left--
		last = seq
		if q.passes(&d) {
			out = append(out, d)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range out {
		out[i].Redriving = c.redrives[out[i].Seq] != nil
	}
	return out, reach, nil
}

// listAfter walks the records of dir with a number greater than after, without walking those before: by the prefixes that the greater
// numbers have, from the longest to the shortest.
func (c *Consumer) listAfter(ctx context.Context, dir string, after uint64) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		base := c.keys.name(dir)
		if after == 0 {
			c.state.List(ctx, base)(yield)
			return
		}
		top := (bits.Len64(c.log.End().Seq|after) + 3) / 4 // digits that numbers in use can have
		key := c.keys.number(dir, after)
		for digit := range top {
			shift := 4 * digit
			for d := after>>shift&15 + 1; d < 16; d++ {
				prefix := key[:len(key)-digit-1] + string("0123456789abcdef"[d])
				for entry, err := range c.state.List(ctx, prefix) {
					if !yield(entry, err) {
						return
					}
				}
			}
		}
	}
}

// listDown walks the records of dir with a number of at most high, from the last to the first. A store lists in ascending order only: so it goes
// by the prefixes of the numbers, from the greatest to the smallest, and turns round the few records below the last of them.
func (c *Consumer) listDown(ctx context.Context, dir string, high uint64) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		d := descent{c: c, dir: dir, high: high, yield: yield}
		d.below(ctx, c.keys.name(dir), 16)
	}
}

// descent is a walk of listDown.
type descent struct {
	c     *Consumer
	dir   string
	high  uint64
	yield func(engine.Entry, error) bool
}

// below walks what begins with a prefix that lacks so many digits, and reports whether to go on.
func (d *descent) below(ctx context.Context, prefix string, digits int) bool {
	first, more, ok := d.peek(ctx, prefix)
	if !ok || first > d.high {
		return ok
	}
	if digits <= 2 || !more {
		return d.turned(ctx, prefix)
	}
	for digit := 15; digit >= 0; digit-- {
		if !d.below(ctx, prefix+"0123456789abcdef"[digit:digit+1], digits-1) {
			return false
		}
	}
	return true
}

// peek is the first number that begins with a prefix, MaxUint64 if there is none, and whether there are more. ok is false after an error.
func (d *descent) peek(ctx context.Context, prefix string) (first uint64, more, ok bool) {
	first = math.MaxUint64
	n := 0
	for entry, err := range d.c.state.List(ctx, prefix) {
		if n++; n == 2 {
			return first, true, true
		}
		if err == nil {
			first, err = d.c.keys.parseNumber(d.dir, entry.Key)
		}
		if err != nil {
			d.yield(engine.Entry{}, err)
			return 0, false, false
		}
	}
	return first, false, true
}

// turned walks the records that begin with a prefix, which are few, from the last to the first.
func (d *descent) turned(ctx context.Context, prefix string) bool {
	var entries []engine.Entry
	for entry, err := range d.c.state.List(ctx, prefix) {
		if err != nil {
			d.yield(engine.Entry{}, err)
			return false
		}
		entries = append(entries, entry)
	}
	for _, entry := range slices.Backward(entries) {
		if n, err := d.c.keys.parseNumber(d.dir, entry.Key); err == nil && n > d.high {
			continue
		}
		if !d.yield(entry, nil) {
			return false
		}
	}
	return true
}

// settleDead waits until what Stats counts can be read, or the storage has had time enough. It must not hold c.mu.
func (c *Consumer) settleDead(ctx context.Context) error {
	c.mu.Lock()
	wait := c.durably()
	c.mu.Unlock()
	patient, cancel := context.WithTimeout(ctx, deadPatience)
	defer cancel()
	_ = c.await(patient, wait) // what cannot be written is said elsewhere; what can be read is shown
	return ctx.Err()
}

// DeadLetter is one dead letter with its payload, or ErrNotFound.
func (c *Consumer) DeadLetter(ctx context.Context, seq uint64) (DeadLetter, error) {
	if err := c.settleDead(ctx); err != nil {
		return DeadLetter{}, err
	}
	return c.letter(ctx, seq)
}

// letter is DeadLetter as far as it is on disk. It must not hold c.mu.
func (c *Consumer) letter(ctx context.Context, seq uint64) (DeadLetter, error) {
	d, err := c.readDead(ctx, seq)
	if err != nil {
		return d, err
	}
	body, err := c.state.Get(ctx, c.keys.number(dirDeadBody, seq))
	switch {
	case errors.Is(err, engine.ErrNotFound):
	case err != nil:
		return d, fmt.Errorf("read the payload of dead letter %d: %w", seq, err)
	case len(body.Value) > 0:
		d.Payload = body.Value[1:]
	}
	c.mu.Lock()
	d.Redriving = c.redrives[seq] != nil
	c.mu.Unlock()
	return d, nil
}

// loadDead reads the count of the dead letters and those that are being redriven.
func (c *Consumer) loadDead(ctx context.Context) error {
	found, err := c.state.Get(ctx, c.keys.name(keyDeadStat))
	switch {
	case errors.Is(err, engine.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read the count of dead letters: %w", err)
	default:
		r := newReader(found.Value)
		c.deadCount, c.deadBytes = int64(r.uint()), int64(r.uint()) //nolint:gosec // written from int64
		if r.err != nil {
			return fmt.Errorf("read the count of dead letters: %w", r.err)
		}
	}
	return c.each(ctx, dirRedrive, func(seq uint64, value []byte) (bool, error) {
		_, m, err := decodeMsg(value)
		if err != nil {
			return false, err
		}
		if e := c.redrives[seq]; e != nil { // asked for once more
			e.attempts, e.next = m.attempts, m.next
			return true, nil
		}
		d, err := c.readDead(ctx, seq)
		if errors.Is(err, ErrNotFound) || (err == nil && !c.isDone(seq)) { // the second: a move delivers it again
			return false, nil
		}
		if err != nil {
			return false, err
		}
		e := &entry{seq: seq, redrive: &redrive{cost: d.cost()}, attempts: m.attempts, next: m.next, stale: true}
		c.redrives[seq] = e
		c.activate(e)
		return true, nil
	})
}

// countDead counts the dead letters and finds the oldest. It must not hold c.mu.
func (c *Consumer) countDead(ctx context.Context) error {
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	for {
		c.mu.Lock()
		version, wait := c.deadVersion, c.durably()
		c.mu.Unlock()
		if err := c.await(ctx, wait); err != nil {
			return err
		}
		var count, size int64
		var oldest time.Time
		for entry, err := range c.state.List(ctx, c.keys.name(dirDead)) {
			if err != nil {
				return err
			}
			d, err := decodeDead(0, entry.Value)
			if err != nil {
				return err
			}
			count++
			size += d.cost()
			if oldest.IsZero() || d.At.Before(oldest) {
				oldest = d.At
			}
		}
		c.mu.Lock()
		if c.deadVersion == version {
			c.deadCount, c.deadBytes, c.deadOldest = count, size, oldest
			c.checkDead()
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
	}
}
