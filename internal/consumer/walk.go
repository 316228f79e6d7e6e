package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/sequinstream/sequin/internal/cdc"
)

// walker reads the log for messages that a consumer wants, delivered or not.
type walker struct {
	log    Log
	plan   *plan
	search Search
	sight  sight
	buf    []byte
	budget

	rel       *cdc.Relation // the last, and its condition
	condition Condition

	unjudged, firstUnjudged uint64 // messages whose condition fails
	failure                 error  // of the first
}

// walkAll is a walk over what the consumer wants wherever it is in the log, from before its start too.
func (c *Consumer) walkAll(s *Search) (*walker, error) {
	p, err := newPlan(c.config(), cursorRecord{})
	if err != nil {
		return nil, err
	}
	return &walker{log: c.log.Log, plan: p, search: *s, budget: c.moveEffort()}, nil
}

// walk shows the messages from at to end to visit, until it returns false, and tells where to go on: behind end when that was all.
func (w *walker) walk(ctx context.Context, at, end uint64, visit func(*cdc.Change) bool) (next uint64, err error) {
	for at <= end && !w.spent() {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		first, _, changes, err := w.log.Segment(ctx, at)
		if gap, ok := errors.AsType[Gap](err); ok {
			_, to := gap.Gap()
			at = max(at, to) + 1
			continue
		}
		switch {
		case errors.Is(err, ErrEnd):
			return end + 1, nil
		case err != nil:
			return at, fmt.Errorf("read the change log at %d: %w", at, err)
		case len(changes) == 0 || first+uint64(len(changes)) <= at:
			return end + 1, nil
		}
		changes = changes[max(at, first)-first:]
		for i := range changes {
			change := &changes[i]
			if change.Seq > end {
				return end + 1, nil
			}
			w.left--
			wanted, err := w.wants(change)
			if err != nil {
				return change.Seq, err
			}
			if wanted && !visit(change) {
				return change.Seq + 1, nil
			}
		}
		at = changes[len(changes)-1].Seq + 1
	}
	return at, nil
}

// wants tells whether a change is a message of the consumer, and one of those that are looked for.
func (w *walker) wants(change *cdc.Change) (bool, error) {
	if !w.search.empty() && !w.search.Passes(change) {
		return false, nil
	}
	m, buf, err := w.plan.classify(change, &w.sight, w.buf)
	if w.buf = buf; err != nil {
		return false, err
	}
	if m.fate == fateSkip || w.search.Where == nil {
		return m.fate != fateSkip, nil
	}
	if w.rel != change.Relation || w.rel == nil {
		if w.condition, err = w.search.Where.Of(change.Relation); err != nil {
			return false, err
		}
		w.rel = change.Relation
	}
	if w.condition == nil || change.TooBig {
		return true, nil
	}
	ok, err := w.condition.Matches(change)
	if err != nil {
		if w.unjudged++; w.unjudged == 1 {
			w.firstUnjudged, w.failure = change.Seq, err
		}
		return false, nil // told by those who walk
	}
	return ok, nil
}
