package consumer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
)

// errMissing reports a change that the log does not have any more.
var errMissing = errors.New("change is not in the log any more")

// logReader reads single changes, keeping the segment of the last one.
type logReader struct {
	log     Log
	first   uint64
	changes []cdc.Change
}

func (r *logReader) at(ctx context.Context, seq uint64) (*cdc.Change, error) {
	if n := uint64(len(r.changes)); seq < r.first || seq-r.first >= n {
		first, _, changes, err := r.log.Segment(ctx, seq)
		if err != nil {
			return nil, err
		}
		r.first, r.changes = first, changes
		if seq < first || seq-first >= uint64(len(changes)) {
			return nil, errMissing
		}
	}
	return &r.changes[seq-r.first], nil
}

// lost reports whether err says that the message will never be read.
func lost(err error) bool {
	var gap Gap
	return errors.Is(err, errMissing) || errors.As(err, &gap)
}

// loader turns picks into deliveries.
type loader struct {
	c     *Consumer
	log   logReader
	sight sight
	plan  *plan
	place cursorRecord

	replayBelow uint64

	text  []byte
	cuts  []textCut
	batch []Delivery
	bytes int
}

// read reads the messages of picks. What does not fit maxBytes goes back; what the log has lost becomes a gap, so there may be none. After
// an error all of them are back.
func (c *Consumer) read(ctx context.Context, picks []pick, maxBytes int) ([]*Delivery, error) {
	c.mu.Lock()
	l := loader{c: c, log: logReader{log: c.log}, plan: c.plan, place: c.place, replayBelow: c.replayBelow}
	picks = c.dropVoid(picks)
	c.mu.Unlock()
	l.batch = make([]Delivery, 0, len(picks))
	l.cuts = make([]textCut, 0, len(picks))
	l.text = make([]byte, 0, len(picks)*80)
	for i, p := range picks {
		err := l.add(ctx, p)
		switch {
		case err == nil:
		case errors.Is(err, errUnwanted):
			c.skip(p)
			continue
		case lost(err):
			c.lose(ctx, p, err)
			continue
		default:
			c.giveBack(picks)
			return nil, fmt.Errorf("read message %d: %w", p.seq, err)
		}
		if maxBytes > 0 && l.bytes > maxBytes && len(l.batch) > 1 {
			l.batch = l.batch[:len(l.batch)-1]
			c.giveBack(picks[i:])
			break
		}
	}
	text := string(l.text)
	out := make([]*Delivery, len(l.batch))
	for i := range l.batch {
		l.batch[i].setText(text, l.cuts[i])
		out[i] = &l.batch[i]
	}
	return out, nil
}

// errUnwanted reports a message that waited while the condition changed, and that the new one does not want.
var errUnwanted = errors.New("change does not meet the condition any more")

// judge asks the condition again: it may have changed since the message was scanned, and what made it fail may be over. A message that a
// person had redriven goes out unless the condition still fails.
func (l *loader) judge(d *Delivery) error {
	if l.plan.where == nil || d.Change == nil || d.Change.Relation == nil {
		return nil
	}
	ok, failure, unknown := l.plan.matches(l.sight.of(l.plan, d.Change.Relation), d.Change)
	d.Refused = errors.Join(failure, unknown)
	if d.Refused == nil && !ok && !d.outOfOrder() {
		return errUnwanted
	}
	return nil
}

// add appends one delivery.
func (l *loader) add(ctx context.Context, p pick) error {
	d := Delivery{Seq: p.seq, Attempt: p.attempt, generation: l.place.generation}
	if p.redrive.isAgain() {
		return l.addAgain(ctx, p, d)
	}
	change, err := l.log.at(ctx, p.seq)
	if p.redrive != nil {
		if err != nil && !lost(err) && !errors.Is(err, ErrEnd) {
			return err
		}
		dead, err := l.c.letter(ctx, p.seq)
		if errors.Is(err, ErrNotFound) {
			return errMissing // discarded meanwhile
		}
		if err != nil {
			return err
		}
		d.Redriven, d.Payload = true, dead.Payload
		d.Change, d.Size = change, dead.Size
		if err := l.judge(&d); err != nil {
			return err
		}
		l.addText(p, func(dst []byte) []byte { return append(dst, dead.ID...) }, func(dst []byte) []byte { return append(dst, dead.Group...) })
	} else {
		if err != nil {
			return err
		}
		d.Change, d.Size, d.Replay = change, change.Size, p.seq < l.replayBelow
		if err := l.judge(&d); err != nil {
			return err
		}
		l.addText(p, func(dst []byte) []byte { return appendDeliveryID(dst, change, l.place.generation, d.Replay) },
			func(dst []byte) []byte { return l.appendGroup(dst, change) })
	}
	l.bytes += d.Size
	l.batch = append(l.batch, d)
	return nil
}

// addAgain appends the delivery of a message that was asked for once more.
func (l *loader) addAgain(ctx context.Context, p pick, d Delivery) error {
	change, err := l.c.againChange(ctx, &l.log, p.seq)
	if err != nil {
		return err
	}
	d.Change, d.Size, d.Replay, d.again = change, change.Size, true, true
	if err := l.judge(&d); err != nil {
		return err
	}
	l.addText(p, func(dst []byte) []byte { return appendAgainID(dst, change, p.redrive.again.asked) },
		func(dst []byte) []byte { return l.appendGroup(dst, change) })
	l.bytes += d.Size
	l.batch = append(l.batch, d)
	return nil
}

func (l *loader) appendGroup(dst []byte, change *cdc.Change) []byte {
	if change.Relation == nil {
		return dst
	}
	return l.sight.of(l.plan, change.Relation).appendGroup(dst, change)
}

func (l *loader) addText(p pick, id, group func([]byte) []byte) {
	var cut textCut
	mark := func(at *[2]int, f func([]byte) []byte) {
		at[0] = len(l.text)
		l.text = f(l.text)
		at[1] = len(l.text)
	}
	mark(&cut.ack, AckID{Consumer: l.c.tag, Generation: l.place.generation, Seq: p.seq}.AppendText)
	mark(&cut.id, id)
	mark(&cut.group, group)
	l.cuts = append(l.cuts, cut)
}

// appendDeliveryID appends the id for deduplication at the destination.
func appendDeliveryID(dst []byte, change *cdc.Change, generation uint32, replay bool) []byte {
	dst = append(dst, change.IdempotencyKey()...)
	if replay {
		dst = strconv.AppendUint(append(dst, ":g"...), uint64(generation), 10)
	}
	return dst
}

// skip makes a picked message done without delivery.
func (c *Consumer) skip(p pick) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.picked(p)
	if e == nil {
		return
	}
	c.uncount(e)
	c.stats.filtered++
	c.complete(p.seq)
	c.schedule(time.Now().Add(settleDelay))
	c.wakeScan()
	c.dispatch()
}

// lose records that a message cannot be read any more and goes on without it.
func (c *Consumer) lose(ctx context.Context, p pick, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.redrive != nil {
		if e := c.picked(p); e != nil {
			c.quiet(e)
			c.endRedrive(e)
		}
		return
	}
	if c.picked(p) == nil {
		return
	}
	c.logger.ErrorContext(ctx, "message is lost", "seq", p.seq, "error", cause)
	c.recordGap(GapRecord{From: p.seq, To: p.seq, Reason: GapLost, Detail: cause.Error(), Count: 1})
	c.complete(p.seq)
	c.wakeScan()
}
