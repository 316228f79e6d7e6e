package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/problem"
)

// Single messages that are done can be asked for once more. They are handed out like redriven dead letters: out of order, beside everything else,
// until they are acknowledged. Each is copied out of the log when it is asked for, so that nothing has to be retained for its sake.

// again marks an entry that somebody asked for once more.
type again struct {
	asked time.Time
	size  int // of the copy
}

const dirAgain = "again/"

// CodeTooManyRedrives is the code of the error of a request for more deliveries out of order than may be under way.
const CodeTooManyRedrives = "too_many_redrives"

// maxAgainBytes bounds the copies of one consumer.
const maxAgainBytes = 64 << 20

// ReplaySelection says which messages are meant: those named by Seqs, or those in the log that match Search and were committed in a span of time.
type ReplaySelection struct {
	Seqs        []uint64
	Search      *Search
	From, Until time.Time // with Search: committed at From or later, and before Until; zero for no bound
}

// Replay is a message that is on its way once more.
type Replay struct {
	Seq      uint64
	Asked    time.Time
	Attempts int
	State    MessageState
	Next     time.Time // when it is backing off
}

// Replay delivers messages once more that are done: out of order, marked as replays. What is not done is delivered anyway and left alone, and so
// are dead letters, which are redriven instead. It is durable when it returns, and a search may take several calls.
func (c *Consumer) Replay(ctx context.Context, sel ReplaySelection) (done Changed, err error) {
	r, err := c.replayer(sel.Search)
	if err != nil {
		return done, err
	}
	if sel.Search == nil {
		return c.replayNamed(ctx, r, unique(sel.Seqs))
	}
	from, until, err := c.replaySpan(ctx, &sel)
	if err != nil {
		return done, err
	}
	for at := from; at < until; {
		var seqs []uint64
		next, err := r.walk(ctx, at, until-1, func(change *cdc.Change) bool {
			seqs = append(seqs, change.Seq)
			return len(seqs) < portionSize
		})
		if err != nil {
			return done, err
		}
		n, err := c.replayPortion(ctx, r, seqs, func(_ uint64, reason MissingReason) {
			switch reason {
			case "":
				done.Count++
			case MissingDone, MissingNotFound:
			default:
				done.Skipped++
			}
		})
		if p, full := problem.As(err); full && p.Code == CodeTooManyRedrives && done.Count > 0 {
			done.Next = seqs[n] - 1
			return done, nil // the next call tells of it, if it is still so
		}
		if err != nil {
			return done, err
		}
		if at = next; at < until && r.spent() {
			done.Next = at - 1
			return done, nil
		}
	}
	done.Skipped += int(r.unjudged) //nolint:gosec // bounded by the effort
	return done, nil
}

// CountReplay tells how many messages a selection by search means, done or not, and changes nothing.
func (c *Consumer) CountReplay(ctx context.Context, sel ReplaySelection) (t Tally, err error) {
	w, err := c.replayer(sel.Search)
	if err != nil {
		return t, err
	}
	from, until, err := c.replaySpan(ctx, &sel)
	if err != nil || from >= until {
		return t, err
	}
	next, err := w.walk(ctx, from, until-1, func(change *cdc.Change) bool { t.add(change); return true })
	t.AtLeast = next < until
	return t, err
}

func (c *Consumer) replayer(s *Search) (*walker, error) {
	if st := c.config().Status; st == Disabled {
		return nil, c.movable()
	}
	if s == nil {
		s = &Search{}
	}
	return c.walkAll(s)
}

// replaySpan is the part of the log that a selection is about; the end does not belong to it.
func (c *Consumer) replaySpan(ctx context.Context, sel *ReplaySelection) (from, until uint64, err error) {
	first := max(c.log.FirstSeq(), 1)
	from, until = max(first, sel.Search.After+1), c.log.End().Seq+1
	if !sel.From.IsZero() {
		seq, err := c.findTime(ctx, sel.From, first)
		if err != nil {
			return 0, 0, err
		}
		from = max(from, seq)
	}
	if !sel.Until.IsZero() {
		seq, err := c.log.Since(ctx, cdc.Timestamp(sel.Until.UnixMicro()))
		if err != nil && !errors.Is(err, ErrEnd) {
			return 0, 0, err
		}
		if err == nil {
			until = min(until, seq)
		}
	}
	return from, until, nil
}

func (c *Consumer) replayNamed(ctx context.Context, w *walker, seqs []uint64) (done Changed, err error) {
	for part := range slices.Chunk(seqs, portionSize) {
		_, err := c.replayPortion(ctx, w, part, func(seq uint64, reason MissingReason) {
			if reason == "" {
				done.Count++
			} else {
				done.Missing = append(done.Missing, Missing{Seq: seq, Reason: reason})
			}
		})
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// replayPortion sends some messages on their way and tells what became of each. With an error, those from the nth on were not dealt with.
func (c *Consumer) replayPortion(ctx context.Context, w *walker, seqs []uint64, told func(uint64, MissingReason)) (n int, err error) {
	c.deadMu.Lock() // none of them may be becoming a dead letter, and no move in between
	defer c.deadMu.Unlock()
	log := logReader{log: c.log}
	for ; n < len(seqs) && err == nil; n++ {
		var reason MissingReason
		if reason, err = c.replayOne(ctx, w, &log, seqs[n]); err != nil {
			break
		}
		told(seqs[n], reason)
	}
	c.mu.Lock()
	wait := c.durably()
	c.dispatch()
	c.mu.Unlock()
	return n, errors.Join(err, c.await(ctx, wait))
}

func (c *Consumer) replayOne(ctx context.Context, w *walker, log *logReader, seq uint64) (MissingReason, error) {
	change, err := log.at(ctx, seq)
	switch {
	case lost(err) || errors.Is(err, ErrEnd):
		return MissingNotFound, nil
	case err != nil:
		return "", fmt.Errorf("read message %d: %w", seq, err)
	}
	wanted, err := w.wants(change)
	if err != nil || !wanted || change.TooBig {
		return MissingNotFound, err
	}
	if _, err := c.readDead(ctx, seq); err == nil {
		return MissingDeadLetter, nil
	} else if !errors.Is(err, ErrNotFound) {
		return "", err
	}
	var body []byte
	if c.log.codec != nil {
		body = c.log.codec.Encode(change)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isStopped():
		return "", ErrStopped
	case !c.isDone(seq):
		return MissingAvailable, nil
	case c.redrives[seq] != nil:
		return MissingInFlight, nil
	case len(c.redrives) >= c.limits.redrives || c.againBytes+len(body) > maxAgainBytes:
		return "", problem.New(CodeTooManyRedrives, "at most %d messages, or %d MiB of them, can be on their way once more at a time", c.limits.redrives, maxAgainBytes>>20).
			WithHint("go on when those under way are delivered; or move the sink back instead")
	}
	c.startAgain(seq, body)
	return "", nil
}

// startAgain sends one message on its way. Called with c.mu held, as forgetAgain.
func (c *Consumer) startAgain(seq uint64, body []byte) {
	a := &again{asked: time.Now(), size: len(body)}
	e := &entry{seq: seq, redrive: &redrive{again: a}, stale: true}
	c.redrives[seq] = e
	c.againBytes += a.size
	c.batch.putFirst(c.keys.number(dirAgain, seq), append(appendTime(appendUints(nil, recordVersion), a.asked), body...))
	c.makeReady(e)
}

func (c *Consumer) forgetAgain(e *entry) {
	c.againBytes -= e.redrive.again.size
	c.batch.delete(c.keys.number(dirAgain, e.seq))
}

// isAgain reports whether a pick or burial is of a message that was asked for once more.
func (r *redrive) isAgain() bool { return r != nil && r.again != nil }

// againChange is the change of such a message: from the log, or from its copy. It must not hold c.mu.
func (c *Consumer) againChange(ctx context.Context, log *logReader, seq uint64) (*cdc.Change, error) {
	change, err := log.at(ctx, seq)
	if err == nil || (!lost(err) && !errors.Is(err, ErrEnd)) {
		return change, err
	}
	found, getErr := c.state.Get(ctx, c.keys.number(dirAgain, seq))
	if errors.Is(getErr, engine.ErrNotFound) {
		return nil, errMissing // cancelled meanwhile
	}
	if getErr != nil {
		return nil, fmt.Errorf("read message %d: %w", seq, getErr)
	}
	_, body, err := decodeAgain(found.Value)
	if err != nil {
		return nil, fmt.Errorf("read message %d: %w", seq, err)
	}
	if len(body) == 0 || c.log.codec == nil {
		return nil, errMissing
	}
	change = &cdc.Change{}
	if err := c.log.codec.Decode(body, change); err != nil {
		return nil, fmt.Errorf("read message %d: %w", seq, err)
	}
	return change, nil
}

func decodeAgain(value []byte) (asked time.Time, body []byte, err error) {
	r := newReader(value)
	asked = r.time()
	return asked, r.b, r.err
}

// loadAgain remembers what was asked for once more. It runs before loadDead, which knows of the attempts.
func (c *Consumer) loadAgain(ctx context.Context) error {
	return c.each(ctx, dirAgain, func(seq uint64, value []byte) (bool, error) {
		asked, body, err := decodeAgain(value)
		if err != nil {
			return false, err
		}
		if !c.isDone(seq) { // a move delivers it
			return false, nil
		}
		if _, err := c.readDead(ctx, seq); err == nil { // it has become a dead letter
			return false, nil
		} else if !errors.Is(err, ErrNotFound) {
			return false, err
		}
		c.againBytes += len(body)
		c.redrives[seq] = &entry{seq: seq, redrive: &redrive{again: &again{asked: asked, size: len(body)}}, stale: true}
		return true, nil
	})
}

// activateAgain lets them go. It runs after loadDead.
func (c *Consumer) activateAgain(context.Context) error {
	for _, e := range c.redrives {
		if e.redrive.isAgain() {
			c.activate(e)
		}
	}
	return nil
}

// appendAgainID is the id for deduplication of a message that was asked for once more: not that of its first delivery, or it would be taken for that.
func appendAgainID(dst []byte, change *cdc.Change, asked time.Time) []byte {
	return strconv.AppendInt(append(append(dst, change.IdempotencyKey()...), ":r"...), asked.UnixMilli(), 10)
}

// Replays lists what is on its way once more.
func (c *Consumer) Replays() []Replay {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	out := []Replay{}
	for seq, e := range c.redrives {
		if !e.redrive.isAgain() {
			continue
		}
		r := Replay{Seq: seq, Asked: e.redrive.again.asked, Attempts: e.attempts, State: MessageAvailable}
		switch {
		case e.state == inFlight:
			r.State = MessageDelivering
			r.Attempts++
		case e.state == dying:
			r.State = MessageDeadLetter
		case e.waits(now):
			r.State, r.Next = MessageBackingOff, e.next
		case e.attempts > 0:
			r.State = MessageRedelivery
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Replay) int {
		if a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	return out
}

// CancelReplays gives up what is on its way once more: those named, or all. One that is out may still arrive. It is durable when it returns.
func (c *Consumer) CancelReplays(ctx context.Context, seqs []uint64, all bool) (done Changed, err error) {
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	c.mu.Lock()
	if c.isStopped() {
		c.mu.Unlock()
		return done, ErrStopped
	}
	if all {
		seqs = seqs[:0:0]
		for seq, e := range c.redrives {
			if e.redrive.isAgain() {
				seqs = append(seqs, seq)
			}
		}
	}
	for _, seq := range unique(seqs) {
		e := c.redrives[seq]
		if e == nil || !e.redrive.isAgain() {
			done.Missing = append(done.Missing, Missing{Seq: seq, Reason: MissingNotFound})
			continue
		}
		c.burials = slices.DeleteFunc(c.burials, func(b *burial) bool { return b.redrive == e.redrive })
		c.quiet(e)
		c.endRedrive(e)
		done.Count++
	}
	wait := c.durably()
	c.dispatch()
	c.mu.Unlock()
	return done, c.await(ctx, wait)
}
