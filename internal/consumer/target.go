package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// Target says in one of several ways where in the log a consumer is to go.
type Target struct {
	Beginning bool         // the first entry that is retained
	End       bool         // behind the last
	Seq       uint64       // an entry
	Time      time.Time    // the first change that was committed then or later; nothing before it was
	Position  cdc.Position // the first change there or behind it, in the log's present epoch
	Search    *Search      // the first message that matches
}

// Search describes messages that a consumer wants, or wanted.
type Search struct {
	MessageFilter
	Where Conditions // nil for none
	After uint64     // only those behind this entry
}

// Spot is a place in the log.
type Spot struct {
	Seq        uint64
	End        bool      // behind the last change
	LSN        cdc.LSN   // of the change there; at the end, of the last
	CommitTime time.Time // likewise; zero in an empty log
}

// Efforts of what somebody waits for who decides about a move.
const (
	moveEntries = 2_000_000
	moveTime    = 5 * time.Second
)

func (c *Consumer) moveEffort() budget {
	return effort{entries: min(moveEntries, c.effort.entries*(moveEntries/50_000)), time: max(moveTime, c.effort.time)}.begin()
}

// Find is the place that a target means. A long search ends early: then next is the After to go on with, and the place is not known yet.
func (c *Consumer) Find(ctx context.Context, t Target) (spot Spot, next uint64, err error) {
	first, end := max(c.log.FirstSeq(), 1), c.log.End()
	seq := t.Seq
	switch {
	case t.Beginning:
		seq = first
	case t.End:
		seq = end.Seq + 1
	case t.Search != nil:
		seq, next, err = c.search(ctx, t.Search, first, end.Seq)
	case !t.Time.IsZero():
		seq, err = c.findTime(ctx, t.Time, first)
	case t.Position.LSN > 0:
		seq, err = c.findPosition(ctx, t.Position, first, &end)
	default:
		err = c.findSeq(ctx, seq, first, end.Seq)
	}
	if err != nil || next != 0 {
		return Spot{}, next, err
	}
	return c.spot(ctx, seq), 0, nil
}

// spot tells about a place. What cannot be read there is left out.
func (c *Consumer) spot(ctx context.Context, seq uint64) Spot {
	end := c.log.End()
	if seq > end.Seq {
		s := Spot{Seq: seq, End: true, LSN: end.Position.LSN}
		if end.CommitTime != 0 {
			s.CommitTime = end.CommitTime.Time()
		}
		return s
	}
	change, err := (&logReader{log: c.log.Log}).at(ctx, seq)
	if err != nil {
		return Spot{Seq: seq}
	}
	return Spot{Seq: seq, LSN: change.Position.LSN, CommitTime: change.CommitTime.Time()}
}

func (c *Consumer) findSeq(ctx context.Context, seq, first, end uint64) error {
	switch {
	case seq < first:
		return c.errTrimmed(ctx, fmt.Sprintf("entry %d", seq))
	case seq > end+1:
		return errBeyond(fmt.Sprintf("entry %d", seq), c.spot(ctx, end+1))
	}
	return nil
}

func (c *Consumer) findTime(ctx context.Context, at time.Time, first uint64) (uint64, error) {
	oldest := c.spot(ctx, first)
	if !oldest.CommitTime.IsZero() && !oldest.End && at.Before(oldest.CommitTime) {
		return 0, c.errTrimmed(ctx, "what was committed at "+shownTime(at))
	}
	seq, err := c.log.Since(ctx, cdc.Timestamp(at.UnixMicro()))
	if errors.Is(err, ErrEnd) {
		return 0, errBeyond("what is committed at "+shownTime(at), c.spot(ctx, c.log.End().Seq+1))
	}
	return seq, err
}

func (c *Consumer) findPosition(ctx context.Context, p cdc.Position, first uint64, end *End) (uint64, error) {
	p.Epoch = end.Position.Epoch
	switch {
	case end.Seq == 0 || p.LSN > max(end.CommitEnd, end.Position.LSN):
		return 0, errBeyond("LSN "+p.LSN.String(), c.spot(ctx, end.Seq+1))
	case p.Compare(end.Position) > 0:
		return end.Seq + 1, nil
	}
	read := logReader{log: c.log.Log}
	if oldest, err := read.at(ctx, first); err == nil && p.Compare(oldest.Position) < 0 {
		return 0, c.errTrimmed(ctx, "LSN "+p.LSN.String())
	}
	lo, hi := first, end.Seq
	for lo < hi {
		mid := lo + (hi-lo)/2
		change, seq, err := read.from(ctx, mid)
		switch {
		case errors.Is(err, ErrEnd), err == nil && seq >= hi:
			hi = mid // nothing can be read from there on
		case err != nil:
			return 0, fmt.Errorf("look for LSN %s: %w", p.LSN, err)
		case change.Position.Compare(p) >= 0:
			hi = mid
		default:
			lo = seq + 1
		}
	}
	return lo, nil
}

// from is the first change at seq or behind it that can be read.
func (r *logReader) from(ctx context.Context, seq uint64) (*cdc.Change, uint64, error) {
	for {
		change, err := r.at(ctx, seq)
		gap, isGap := errors.AsType[Gap](err)
		switch {
		case err == nil:
			return change, seq, nil
		case isGap:
			_, to := gap.Gap()
			seq = max(to, seq) + 1
		case errors.Is(err, errMissing) && r.first > seq:
			seq = r.first
		default:
			return nil, 0, err
		}
	}
}

// errTrimmed says that something is older than what the log retains, and from when on there is something.
func (c *Consumer) errTrimmed(ctx context.Context, what string) error {
	e := problem.New("history_trimmed", "%s is not in the change log any more", what)
	first := c.spot(ctx, max(c.log.FirstSeq(), 1))
	switch {
	case first.End:
		e = e.WithDetail("the change log is empty")
	case first.CommitTime.IsZero():
		e = e.WithDetail("the change log begins with entry %d", first.Seq)
	default:
		e = e.WithDetail("the change log begins with entry %d, LSN %s, committed at %s", first.Seq, first.LSN, shownTime(first.CommitTime))
	}
	return e.WithHint("move to the \"beginning\"; what is older comes closest by a backfill, which delivers the rows as they are now: POST /api/sinks/%s/backfills", c.Name())
}

func errBeyond(what string, end Spot) error {
	e := problem.New("beyond_log_end", "%s is not in the change log yet", what)
	if end.CommitTime.IsZero() {
		e = e.WithDetail("the change log is empty")
	} else {
		e = e.WithDetail("its last change is entry %d, LSN %s, committed at %s", end.Seq-1, end.LSN, shownTime(end.CommitTime))
	}
	return e.WithHint("move to the \"end\" to skip all that there is")
}

func shownTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z07:00") }

// search finds the first message that matches.
func (c *Consumer) search(ctx context.Context, s *Search, first, end uint64) (seq, next uint64, err error) {
	w, err := c.walkAll(s)
	if err != nil {
		return 0, 0, err
	}
	at := max(first, s.After+1)
	next, err = w.walk(ctx, at, end, func(change *cdc.Change) bool {
		seq = change.Seq
		return false
	})
	switch {
	case err != nil:
		return 0, 0, err
	case seq != 0:
		return seq, 0, nil
	case next <= end:
		return 0, next - 1, nil
	}
	p := problem.New("no_such_message", "no message of the sink in the change log matches").
		WithDetail("the %d entries from %d to %d were looked at", end+1-min(at, end+1), at, end)
	if w.unjudged > 0 {
		p = p.WithDetail("of the entries from %d to %d none matches, and for %d the condition fails, the first being %d: %s", at, end, w.unjudged, w.firstUnjudged, problem.Public(w.failure))
	}
	return 0, 0, p.WithHint("check the table, the key as text and the condition; GET /api/sinks/%s/messages lists what is not delivered yet", c.Name())
}
