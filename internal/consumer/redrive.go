package consumer

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// redrive marks an entry that is delivered again, out of order: from the dead letters, or because somebody asked for it.
type redrive struct {
	cost  int64
	again *again // no dead letter, but a message that was asked for once more
}

// deadPortion is how many dead letters are changed at a time.
const deadPortion = 500

// DeadSelection says which dead letters are meant: those named by Seqs, or with All those behind After that pass the filter.
type DeadSelection struct {
	DeadFilter
	Seqs  []uint64
	All   bool
	After uint64
}

// Redrive delivers dead letters again: out of order, marked as redriven, with the attempts counted from 1. Each stays a dead letter until it
// is acknowledged. One that is being redriven already goes out at once if it waits for its next attempt. With All, those whose data was not kept
// are skipped, and it stops when as many as possible are under way. What it did is durable when it returns.
func (c *Consumer) Redrive(ctx context.Context, sel DeadSelection) (Changed, error) {
	if !sel.All {
		return c.redriveNamed(ctx, sel.Seqs)
	}
	done, err := c.changeDead(ctx, sel, c.redrivePortion)
	if err == nil && done.Next != 0 && done.Count == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.redrives) >= c.limits.redrives {
			return done, c.errTooManyRedrives()
		}
	}
	return done, err
}

func (c *Consumer) errTooManyRedrives() error {
	return problem.New(CodeTooManyRedrives, "at most %d dead letters can be redriven at a time", c.limits.redrives).
		WithHint("redrive in portions, the next when those under way are delivered")
}

func (c *Consumer) redriveNamed(ctx context.Context, seqs []uint64) (done Changed, err error) {
	if err := c.settled(ctx); err != nil {
		return done, err
	}
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	var found []DeadLetter
	for _, seq := range unique(seqs) {
		d, err := c.readDead(ctx, seq)
		switch {
		case errors.Is(err, ErrNotFound):
			done.Missing = append(done.Missing, Missing{Seq: seq, Reason: MissingNotFound})
			continue
		case err != nil:
			return done, err
		case d.Reason == ReasonTooBig:
			return done, problem.New("not_redrivable", "dead letter %d cannot be redriven: its data was not kept", seq).
				WithDetail("the change has %d bytes, more than the change log keeps of one", d.Size).
				WithHint("raise max_change_bytes, and touch the row or backfill it")
		}
		found = append(found, d)
	}
	c.mu.Lock()
	if len(c.redrives)+len(found) > c.limits.redrives {
		c.mu.Unlock()
		return done, c.errTooManyRedrives()
	}
	for i := range found {
		done.Count += c.redrive(&found[i])
	}
	wait := c.durably()
	c.dispatch()
	c.mu.Unlock()
	return done, c.await(ctx, wait)
}

func (c *Consumer) redrivePortion(ctx context.Context, letters []DeadLetter, done *Changed) (n int, err error) {
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	c.mu.Lock()
	for ; n < len(letters); n++ {
		d := &letters[n]
		if d.Reason == ReasonTooBig {
			done.Skipped++
			continue
		}
		if len(c.redrives) >= c.limits.redrives && c.redrives[d.Seq] == nil {
			break
		}
		done.Count += c.redrive(d)
	}
	wait := c.durably()
	c.dispatch()
	c.mu.Unlock()
	return n, c.await(ctx, wait)
}

// redrive sends one dead letter on its way, and returns 1 unless it was on its way or is not there any more. Called with c.mu held.
func (c *Consumer) redrive(d *DeadLetter) int {
	key := c.keys.number(dirDead, d.Seq)
	e := c.redrives[d.Seq]
	switch {
	case e != nil && e.state == retrying:
		c.quiet(e)
		e.next = time.Time{}
		c.storeFailure(e, "")
		c.activate(e)
		return 1
	case e != nil, c.batch.deletes(key), c.committing != nil && c.committing.deletes(key), !c.isDone(d.Seq):
		return 0 // the last: a move delivers the message again anyway
	}
	e = &entry{seq: d.Seq, redrive: &redrive{cost: d.cost()}, stale: true}
	c.redrives[d.Seq] = e
	c.storeFailure(e, "")
	c.makeReady(e)
	return 1
}

// Discard removes dead letters for good. What it did is durable when it returns.
func (c *Consumer) Discard(ctx context.Context, sel DeadSelection) (done Changed, err error) {
	if sel.All {
		return c.changeDead(ctx, sel, c.discardPortion)
	}
	for seqs := range slices.Chunk(unique(sel.Seqs), deadPortion) {
		gone, err := c.discardDead(ctx, seqs)
		if err != nil {
			return done, err
		}
		done.Count += len(gone)
		for _, seq := range seqs {
			if !gone[seq] {
				done.Missing = append(done.Missing, Missing{Seq: seq, Reason: MissingNotFound})
			}
		}
	}
	return done, nil
}

func (c *Consumer) discardPortion(ctx context.Context, letters []DeadLetter, done *Changed) (int, error) {
	seqs := make([]uint64, len(letters))
	for i := range letters {
		seqs[i] = letters[i].Seq
	}
	gone, err := c.discardDead(ctx, seqs)
	done.Count += len(gone)
	return len(letters), err
}

func (c *Consumer) discardDead(ctx context.Context, seqs []uint64) (gone map[uint64]bool, err error) {
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	// End their redrives first: then nobody else can remove them, once what is under way is written.
	c.mu.Lock()
	for _, seq := range seqs {
		if e := c.redrives[seq]; e != nil && !e.redrive.isAgain() {
			c.quiet(e)
			c.endRedrive(e)
		}
	}
	wait := c.durably()
	c.mu.Unlock()
	if err := c.await(ctx, wait); err != nil {
		return nil, err
	}
	gone = make(map[uint64]bool, len(seqs))
	for _, seq := range seqs {
		d, err := c.readDead(ctx, seq)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return gone, err
		}
		c.mu.Lock()
		if key := c.keys.number(dirDead, seq); !c.batch.deletes(key) {
			c.removeDead(seq, d.cost())
			gone[seq] = true
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	c.checkDead()
	wait = c.durably()
	c.mu.Unlock()
	return gone, c.await(ctx, wait)
}

// changeDead has act change the dead letters of a selection, a few at a time. act tells how many of them it has dealt with; fewer mean that it
// is enough.
func (c *Consumer) changeDead(ctx context.Context, sel DeadSelection,
	act func(context.Context, []DeadLetter, *Changed) (int, error),
) (done Changed, err error) {
	left := c.effort.begin()
	for after := sel.After; ; {
		if err := c.settled(ctx); err != nil {
			return done, err
		}
		q := DeadQuery{DeadFilter: sel.DeadFilter, Limit: deadPortion}
		letters, reach, err := c.deadPage(ctx, q, span{low: after + 1, high: math.MaxUint64}, &left)
		if err != nil {
			return done, err
		}
		n, err := act(ctx, letters, &done)
		if err != nil {
			return done, err
		}
		if n < len(letters) {
			done.Next = letters[n].Seq - 1
			return done, nil
		}
		if reach == math.MaxUint64 {
			return done, nil
		}
		if after = reach; left.spent() {
			done.Next = after
			return done, nil
		}
	}
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
	cost, isAgain := e.redrive.cost, e.redrive.isAgain()
	c.endRedrive(e)
	if !isAgain {
		c.removeDead(e.seq, cost)
	}
}

// endRedrive forgets a redrive; the dead letter stays.
func (c *Consumer) endRedrive(e *entry) {
	delete(c.redrives, e.seq)
	c.batch.delete(c.keys.number(dirRedrive, e.seq))
	if e.redrive.isAgain() {
		c.forgetAgain(e)
	}
}
