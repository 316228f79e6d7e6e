package changelog

import (
	"context"
	"errors"
	"fmt"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// unknownRange is how many numbers a block counts for whose header cannot be read: more than any block can hold.
const unknownRange = 1 << 24

// Report is what Open found.
type Report struct {
	Empty bool    // there was nothing
	End   End     // where the log ends
	Tail  cdc.LSN // everything received before this LSN is in the log; compare it with what was confirmed to Postgres
	Epoch uint32

	// CutTransactionBlocks is how many blocks of a transaction without its commit were cut off. Postgres sends that transaction again.
	CutTransactionBlocks int
	// Lost is set when the newest blocks were damaged: those numbers are gone, and readers get the same gap. Whether Postgres still has
	// the changes, Tail tells.
	Lost *GapError
	// Chain is set when the newest block does not follow the one before it.
	Chain error
}

// Recovered tells what Open found.
func (l *Log) Recovered() Report { return l.report }

// tailScan is the state of the search for the newest block that ends with a commit.
type tailScan struct {
	base   *header // what was found; nil when there is none
	lowest uint64  // lowest key that is damaged
	last   uint64  // highest number that a damaged block may have held
	cause  error   // of the first damage
	parts  int     // blocks of a transaction without its commit
	extra  bool    // there are blocks behind base
	before uint64  // highest number that was committed when a block behind base was written
}

func (l *Log) recover(ctx context.Context) error {
	s, err := l.scanTail(ctx)
	if err != nil {
		return err
	}
	var base chain
	l.report.CutTransactionBlocks = s.parts
	if s.base != nil {
		base = after(s.base)
		l.report.Epoch = s.base.epoch
		l.report.Chain = l.checkTail(ctx, s.base)
	}
	if s.before > base.seq {
		// The transactions that the incomplete one followed are not there.
		s.reach(s.before, s.before)
		if s.cause == nil {
			s.cause = errMissing
		}
	}
	if s.last > base.seq {
		if base, err = l.recordLoss(ctx, base, s); err != nil {
			return err
		}
	} else if s.extra {
		if err := l.blocks.TrimBack(ctx, base.first); err != nil {
			return fmt.Errorf("cut off an incomplete transaction: %w", err)
		}
	}
	return l.start(ctx, base)
}

// start sets the log to go on behind base.
func (l *Log) start(ctx context.Context, base chain) error {
	l.tail = base
	end := End{Seq: base.seq, Position: base.pos, CommitEnd: base.commitEnd, CommitTime: base.commitTime}
	l.end.Store(&end)
	l.epoch = l.report.Epoch
	l.durable.Store(uint64(base.end))
	l.written = written{seq: base.seq, final: base.pos.LSN, epoch: l.epoch}
	l.report.Empty, l.report.End, l.report.Tail = base.seq == 0, end, base.end
	l.endOffset.Store(base.offset)
	l.firstSeq.Store(1)
	if base.seq == 0 {
		return nil
	}
	return l.findFirst(ctx)
}

// findFirst finds where the retained part begins.
func (l *Log) findFirst(ctx context.Context) error {
	b, err := l.blocks.Next(ctx, 0)
	if errors.Is(err, engine.ErrCorrupt) {
		// Numbers from 1 on are then reported as lost, up to the first block that can be read.
		size, err := l.blocks.Size(ctx)
		if err != nil {
			return fmt.Errorf("size: %w", err)
		}
		l.stats.size.Store(int64(size)) //nolint:gosec // bytes on a storage
		return nil
	}
	if err != nil {
		return fmt.Errorf("first block: %w", err)
	}
	l.firstSeq.Store(b.First)
	if h, ok := intactHeader(b); ok {
		l.oldest = h
		l.stats.size.Store(int64(l.endOffset.Load() - h.offset)) //nolint:gosec // bytes on a storage
	}
	return nil
}

// scanTail walks back from the newest block to the newest one that ends with a commit. Over an incomplete transaction it is one step.
func (l *Log) scanTail(ctx context.Context) (tailScan, error) {
	var s tailScan
	b, err := l.blocks.Last(ctx)
	for {
		var done bool
		var back uint64
		var damage *engine.DamageError
		switch {
		case errors.Is(err, engine.ErrNotFound):
			return s, nil
		case errors.As(err, &damage):
			s.damaged(err)
			s.reach(damage.From, damage.From+unknownRange)
			back = damage.From - min(damage.From, 1)
		case err != nil:
			return s, fmt.Errorf("read the end of the log: %w", err)
		default:
			if done, err = l.scanBlock(ctx, &s, b, &back); err != nil {
				return s, err
			}
		}
		if done || back == 0 {
			return s, nil
		}
		b, err = l.blocks.Read(ctx, back)
	}
}

// scanBlock looks at one block from the end. It reports true when that is the base, and otherwise sets where to look next.
func (l *Log) scanBlock(ctx context.Context, s *tailScan, b engine.Block, back *uint64) (bool, error) {
	h, err := parseBlock(b)
	if isVersion(err) {
		return false, err
	}
	*back = b.First - 1
	if err != nil {
		s.damaged(err)
		last := b.First + unknownRange
		if h, ok := intactHeader(b); ok {
			last = h.last
		}
		s.reach(b.First, last)
		return false, nil
	}
	if h.committing() {
		s.base = &h
		if h.lost() && s.lowest <= h.last {
			// A crash came between recording a loss and removing what was damaged: it is recorded already.
			s.last = 0
		}
		return true, nil
	}
	s.extra = true
	s.parts = max(s.parts, int(h.part)+1)
	s.before = max(s.before, h.committed)
	if s.cause == nil {
		// Step over the whole transaction, unless a marker stands in the place of its first part.
		if marker, ok := l.markerAfter(ctx, h.committed); ok && marker.last >= b.First {
			s.base = &marker
		}
		*back = min(*back, h.committed)
	}
	return s.base != nil, nil
}

// markerAfter returns the next block behind seq if it is a marker.
func (l *Log) markerAfter(ctx context.Context, seq uint64) (header, bool) {
	b, err := l.blocks.Next(ctx, seq)
	if err != nil {
		return header{}, false
	}
	h, err := parseBlock(b)
	return h, err == nil && h.lost()
}

func (s *tailScan) damaged(err error) {
	s.extra = true
	if s.cause == nil {
		s.cause = err
	}
}

// reach notes what a damaged block at key may have held.
func (s *tailScan) reach(key, last uint64) {
	if s.lowest == 0 || key < s.lowest {
		s.lowest = key
	}
	s.last = max(s.last, last)
}

// recordLoss puts a marker in the place of the damaged blocks behind base. It is written before they are removed, so that a crash in between
// leaves the one or the other, and the numbers are never given again.
func (l *Log) recordLoss(ctx context.Context, base chain, s tailScan) (chain, error) {
	h := header{
		flags: flagLost | flagCommit, prev: base.sum, epoch: l.report.Epoch, first: base.seq + 1, last: s.last, committed: s.last,
		firstPos: base.pos, lastPos: base.pos, commitEnd: base.commitEnd, end: base.end, commitTime: base.commitTime,
		maxCommit: base.maxCommit, appended: base.appended, offset: base.offset,
	}
	data := make([]byte, headerSize)
	h.put(data)
	if err := l.blocks.Append(ctx, engine.Block{First: h.first, Data: data}); err != nil {
		return base, fmt.Errorf("record the loss of %d to %d: %w", h.first, h.last, err)
	}
	if err := l.blocks.TrimBack(ctx, h.first); err != nil {
		return base, fmt.Errorf("remove damaged blocks behind %d: %w", h.first, err)
	}
	l.report.Lost = &GapError{From: h.first, To: h.last, Cause: s.cause}
	l.log.Error("the newest blocks of the change log are damaged; what they held is recorded as lost",
		"from", h.first, "to", h.last, "cause", s.cause, "tail", base.end.String())
	return after(&h), nil
}

// checkTail compares the newest block with the one before it.
func (l *Log) checkTail(ctx context.Context, h *header) error {
	if h.prev == 0 || h.first == 1 {
		return nil
	}
	b, err := l.blocks.Read(ctx, h.first-1)
	if err != nil {
		return nil //nolint:nilerr // trimmed, or damaged: its readers are told
	}
	if p, ok := intactHeader(b); ok && p.last == h.first-1 && p.sum != h.prev {
		l.log.Error("the newest block of the change log does not follow the one before it", "block", h.first, "before", p.first)
		return fmt.Errorf("block at %d: %w", h.first, errChain)
	}
	return nil
}
