package changelog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// BlockInfo is what a block's header tells.
type BlockInfo struct {
	First, Last   uint64
	FirstPosition cdc.Position
	LastPosition  cdc.Position
	End           cdc.LSN       // everything received before it is in the log up to here
	MaxCommit     cdc.Timestamp // latest commit time up to here
	Appended      time.Time     // by our clock, never running backwards
	Size          uint64        // bytes as stored
	Offset        uint64        // bytes of all blocks before this one, trimmed ones included
	Lost          bool          // a marker for numbers that were lost
}

func (h *header) info() BlockInfo {
	return BlockInfo{
		First: h.first, Last: h.last, FirstPosition: h.firstPos, LastPosition: h.lastPos, End: h.end, MaxCommit: h.maxCommit,
		Appended: h.appended.Time(), Size: h.size(), Offset: h.offset, Lost: h.lost(),
	}
}

// InfoAt tells about the block that holds seq, or the first one after it. It returns ErrEnd when there is none, and a *GapError when the
// block's header cannot be read.
func (l *Log) InfoAt(ctx context.Context, seq uint64) (BlockInfo, error) {
	h, err := l.headerAt(ctx, seq)
	return h.info(), err
}

// Oldest tells about the first retained block.
func (l *Log) Oldest(ctx context.Context) (BlockInfo, error) {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	h, err := l.oldestHeader(ctx)
	return h.info(), err
}

func (l *Log) oldestHeader(ctx context.Context) (header, error) {
	if l.oldest.first == 0 {
		h, err := l.headerAt(ctx, l.FirstSeq())
		if err != nil {
			return h, err
		}
		l.oldest = h
	}
	return l.oldest, nil
}

func (l *Log) headerAt(ctx context.Context, seq uint64) (header, error) {
	seq = max(seq, l.FirstSeq())
	if seq > l.end.Load().Seq {
		return header{}, ErrEnd
	}
	if e := l.cache.peek(seq); e != nil {
		return e.header, nil
	}
	b, err := l.blocks.Read(ctx, seq)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return l.headerAfter(ctx, seq, 0, errMissing)
	case errors.Is(err, engine.ErrCorrupt):
		return header{}, l.gap(ctx, seq, damageEnd(seq, err), err)
	case err != nil:
		return header{}, fmt.Errorf("read the change log at %d: %w", seq, err)
	}
	h, err := parseHeader(b.Data)
	switch {
	case isVersion(err):
		return h, err
	case err != nil:
		return h, l.gap(ctx, seq, b.First, err)
	case h.last < seq:
		return l.headerAfter(ctx, seq, b.First, errMissing)
	}
	return h, nil
}

// headerAfter is the header of the first visible block behind a hole at seq.
func (l *Log) headerAfter(ctx context.Context, seq, key uint64, cause error) (header, error) {
	b, err := l.blocks.Next(ctx, key)
	if err != nil || b.First > l.end.Load().Seq {
		return header{}, l.gap(ctx, seq, key, cause)
	}
	return parseHeader(b.Data)
}

// TrimFront removes the blocks that end before seq. The newest block with a commit always stays: it is where the log goes on after a restart.
func (l *Log) TrimFront(ctx context.Context, seq uint64) error {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	_, err := l.trim(ctx, seq)
	return err
}

// trim does the work of TrimFront and returns how many bytes of blocks it removed. The caller holds trimMu.
func (l *Log) trim(ctx context.Context, seq uint64) (uint64, error) {
	seq = min(seq, l.end.Load().Seq)
	if seq <= l.FirstSeq() {
		return 0, nil
	}
	// A damaged header at either end only costs the count of bytes.
	from, _ := l.oldestHeader(ctx)
	to, err := l.headerAt(ctx, seq)
	first := to.first
	if err != nil {
		if _, ok := errors.AsType[*GapError](err); !ok {
			return 0, fmt.Errorf("trim the change log up to %d: %w", seq, err)
		}
		b, err := l.blocks.Read(ctx, seq)
		if err != nil {
			return 0, nil //nolint:nilerr // where a block begins that cannot be read is not known: it is trimmed with the next one
		}
		first = b.First
	}
	if first = min(first, seq); first <= l.FirstSeq() {
		return 0, nil
	}
	l.firstSeq.Store(first)
	l.oldest = header{}
	if to.first == first {
		l.oldest = to
	}
	l.cache.dropBefore(first)
	if err := l.blocks.TrimFront(ctx, first); err != nil {
		return 0, fmt.Errorf("trim the change log up to %d: %w", first, err)
	}
	trimmed := uint64(0)
	if from.first > 0 && to.first == first {
		trimmed = to.offset - from.offset
	}
	l.stats.cut(trimmed)
	return trimmed, nil
}

// Retain trims blocks that are older than age, and the oldest ones beyond size bytes, but none that holds keep or a number above it. Zero age
// or size sets no limit. It returns how many bytes it trimmed. When nothing is due it costs nothing; otherwise it reads a few dozen headers,
// however big the log is.
func (l *Log) Retain(ctx context.Context, now time.Time, age time.Duration, size, keep uint64) (uint64, error) {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	seq, err := l.due(ctx, now, age, size, keep)
	if seq == 0 || err != nil {
		return 0, err
	}
	return l.trim(ctx, seq)
}

// Due is the number below which Retain would trim if nothing had to be kept, or 0.
func (l *Log) Due(ctx context.Context, now time.Time, age time.Duration, size uint64) (uint64, error) {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	return l.due(ctx, now, age, size, math.MaxUint64)
}

func (l *Log) due(ctx context.Context, now time.Time, age time.Duration, size, keep uint64) (uint64, error) {
	oldest, err := l.oldestHeader(ctx)
	if errors.Is(err, ErrEnd) {
		return 0, nil
	}
	if gap, ok := errors.AsType[*GapError](err); ok { // the front is damaged: go on behind it once nobody needs to be told
		return min(gap.To+1, keep), nil
	}
	if err != nil {
		return 0, err
	}
	end := l.endOffset.Load()
	due := func(h *header) bool {
		return age > 0 && now.Sub(h.appended.Time()) > age || size > 0 && end > h.offset && end-h.offset > size
	}
	if !due(&oldest) || oldest.last >= keep {
		return 0, nil
	}
	return l.firstNotDue(ctx, due, oldest.last+1, min(keep, l.end.Load().Seq))
}

// firstNotDue finds the first number in lo..hi whose block is not due, or hi: first in growing strides, then by halving. Blocks become due in
// order, because neither their times nor their offsets run backwards.
func (l *Log) firstNotDue(ctx context.Context, due func(*header) bool, lo, hi uint64) (uint64, error) {
	isDue := func(seq uint64) (bool, uint64, error) {
		h, err := l.headerAt(ctx, seq)
		if gap, ok := errors.AsType[*GapError](err); ok {
			return true, gap.To + 1, nil // what cannot be read is as old as what comes before it
		}
		return due(&h), h.last + 1, err
	}
	for stride := uint64(1); lo < hi; stride *= 2 {
		at := min(lo+stride, hi)
		ok, next, err := isDue(at)
		if err != nil {
			return 0, err
		}
		if !ok {
			hi = at
			break
		}
		lo = max(next, lo+1)
	}
	for lo < hi {
		mid := lo + (hi-lo)/2
		ok, next, err := isDue(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			lo = next
		} else {
			hi = mid
		}
	}
	return min(lo, hi), nil
}
