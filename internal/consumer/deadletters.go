package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"time"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/problem"
)

// deadRecount is how often the dead letters are counted anew, for the age of the oldest.
const deadRecount = time.Hour

// deadPatience is how long a reader of the dead letters waits for those that are being written.
const deadPatience = time.Second

// maxRedrives bounds the dead letters that are being delivered again at a time.
const maxRedrives = 10_000

// redrive marks an entry that is delivered again from the dead letters.
type redrive struct {
	cost int64
}

// DeadLetters lists dead letters with a seq greater than after, in order and without payload.
func (c *Consumer) DeadLetters(ctx context.Context, after uint64, limit int) ([]DeadLetter, error) {
	if err := c.settleDead(ctx); err != nil {
		return nil, err
	}
	var out []DeadLetter
	for entry, err := range c.listAfter(ctx, dirDead, after) {
		if err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		if len(out) >= max(limit, 1) {
			break
		}
		seq, err := c.keys.parseNumber(dirDead, entry.Key)
		if err != nil {
			return nil, err
		}
		d, err := decodeDead(seq, entry.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range out {
		out[i].Redriving = c.redrives[out[i].Seq] != nil
	}
	return out, nil
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

// Redrive delivers dead letters again: out of order, marked as redriven, with the attempts counted from 1. Each stays a dead letter until it
// is acknowledged. It returns the seqs that are no dead letters. It is durable when it returns.
func (c *Consumer) Redrive(ctx context.Context, seqs []uint64) (missing []uint64, err error) {
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	var found []DeadLetter
	for _, seq := range seqs {
		d, err := c.readDead(ctx, seq)
		switch {
		case errors.Is(err, ErrNotFound):
			missing = append(missing, seq)
			continue
		case err != nil:
			return missing, err
		case d.Reason == ReasonTooBig:
			return missing, problem.New("not_redrivable", "dead letter %d cannot be redriven: its data was not kept", seq).
				WithDetail("the change has %d bytes, more than the change log keeps of one", d.Size).
				WithHint("raise max_change_bytes, and touch the row or backfill it")
		}
		found = append(found, d)
	}
	c.mu.Lock()
	if len(c.redrives)+len(found) > maxRedrives {
		c.mu.Unlock()
		return missing, problem.New("too_many_redrives", "at most %d dead letters can be redriven at a time", maxRedrives).
			WithHint("redrive in portions")
	}
	for i := range found {
		seq := found[i].Seq
		if c.redrives[seq] != nil {
			continue
		}
		e := &entry{seq: seq, redrive: &redrive{cost: found[i].cost()}, stale: true}
		c.redrives[seq] = e
		c.storeFailure(e, "")
		c.makeReady(e)
	}
	wait := c.durably()
	c.dispatch()
	c.mu.Unlock()
	return missing, c.await(ctx, wait)
}

// Discard removes dead letters for good. Seqs that are none are fine. It is durable when it returns.
func (c *Consumer) Discard(ctx context.Context, seqs []uint64) error {
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	// End their redrives first: then nobody else can remove them, once what is under way is written.
	c.mu.Lock()
	for _, seq := range seqs {
		if e := c.redrives[seq]; e != nil {
			c.quiet(e)
			c.endRedrive(e)
		}
	}
	wait := c.durably()
	c.mu.Unlock()
	if err := c.await(ctx, wait); err != nil {
		return err
	}
	for _, seq := range seqs {
		d, err := c.readDead(ctx, seq)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		c.mu.Lock()
		if key := c.keys.number(dirDead, seq); !c.batch.deletes(key) {
			c.removeDead(seq, d.cost())
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	c.checkDead()
	wait = c.durably()
	c.mu.Unlock()
	return c.await(ctx, wait)
}

// deletes reports whether b is going to delete key.
func (b *batch) deletes(key string) bool {
	_, ok := b.gone[key]
	return ok
}

// removeDead deletes a dead letter with the batch. Called with c.mu held, as everything below that says nothing else.
func (c *Consumer) removeDead(seq uint64, cost int64) {
	c.batch.delete(c.keys.number(dirDead, seq))
	c.batch.delete(c.keys.number(dirDeadBody, seq))
	c.countDeadLetter(-1, -cost)
}

// redriveDone removes the dead letter of a message that was acknowledged after all.
func (c *Consumer) redriveDone(e *entry) {
	c.quiet(e)
	cost := e.redrive.cost
	c.endRedrive(e)
	c.removeDead(e.seq, cost)
}

// endRedrive forgets a redrive; the dead letter stays.
func (c *Consumer) endRedrive(e *entry) {
	delete(c.redrives, e.seq)
	c.batch.delete(c.keys.number(dirRedrive, e.seq))
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
		d, err := c.readDead(ctx, seq)
		if errors.Is(err, ErrNotFound) {
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
