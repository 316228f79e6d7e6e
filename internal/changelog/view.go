package changelog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// View is a log as it stands, for people who look into it. It changes nothing: it may be opened beside the log that is written, and on what a
// process left that does not run. It sees what was committed and synced when it was opened. Its memory is a few blocks.
type View struct {
	log *Log
}

// viewCache keeps a few blocks, so that looking at a header and then at its content reads it once.
const viewCache = 4 << 20

// OpenView opens a view.
func OpenView(ctx context.Context, name string, blocks engine.Log) (*View, error) {
	l := &Log{name: name, blocks: blocks, log: slog.New(slog.DiscardHandler), cache: newCache(viewCache), ahead: make(chan uint64)}
	s, err := l.scanTail(ctx)
	if err != nil {
		return nil, fmt.Errorf("look into change log %q: %w", name, err)
	}
	var base chain
	if s.base != nil {
		base = after(s.base)
		l.report.Epoch = s.base.epoch
	}
	if s.cause != nil && s.last > base.seq {
		l.report.Lost = &GapError{From: base.seq + 1, To: s.last, Cause: s.cause}
	}
	if err := l.start(ctx, base); err != nil {
		return nil, fmt.Errorf("look into change log %q: %w", name, err)
	}
	return &View{l}, nil
}

// FirstSeq is the first number that is retained, or the one to come in an empty log.
func (v *View) FirstSeq() uint64 { return v.log.FirstSeq() }

// End is the newest entry.
func (v *View) End() End { return v.log.End() }

// Epoch is that of the newest entry.
func (v *View) Epoch() uint32 { return v.log.report.Epoch }

// Size is how many bytes the retained blocks take, as stored.
func (v *View) Size() uint64 { return uint64(max(v.log.stats.size.Load(), 0)) }

// Tail is what is damaged behind the end; nil for nothing. The next start records it as lost.
func (v *View) Tail() *GapError { return v.log.report.Lost }

// Info tells about the block that holds seq, or the first one after it. It returns ErrEnd when there is none, and a *GapError when its header
// cannot be read.
func (v *View) Info(ctx context.Context, seq uint64) (BlockInfo, error) {
	info, err := v.log.InfoAt(ctx, seq)
	return info, v.trimmed(ctx, seq, err)
}

// Segment returns the decoded block that holds seq, or the first one that is retained, with the errors of Info. The checksums of the block were
// checked, and that it follows its predecessor.
func (v *View) Segment(ctx context.Context, seq uint64) (*Segment, error) {
	s, err := v.log.Segment(ctx, seq)
	return s, v.trimmed(ctx, seq, err)
}

// errTrimmed reports numbers that were let go of since the view was opened.
var errTrimmed = errors.New("trimmed meanwhile")

// trimmed tells a gap from numbers that the log has let go of meanwhile.
func (v *View) trimmed(ctx context.Context, seq uint64, err error) error {
	gap, ok := errors.AsType[*GapError](err)
	if !ok || seq > v.FirstSeq() && !errors.Is(gap.Cause, errMissing) {
		return err
	}
	b, missing := v.log.blocks.Next(ctx, 0)
	if missing != nil || b.First <= seq {
		return err
	}
	v.log.firstSeq.Store(b.First)
	return fmt.Errorf("entries %d to %d: %w", seq, b.First-1, errTrimmed)
}

// Each walks over the blocks from seq on, until yield returns false. What is lost comes as a *GapError, and the walk goes on behind it; any other
// error ends it.
func (v *View) Each(ctx context.Context, seq uint64, yield func(s *Segment, gap *GapError) (more bool)) error {
	seq = max(seq, v.FirstSeq())
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := v.Segment(ctx, seq)
		gap, lost := errors.AsType[*GapError](err)
		switch {
		case errors.Is(err, ErrEnd):
			return nil
		case errors.Is(err, errTrimmed):
			seq = v.FirstSeq()
		case lost:
			if !yield(nil, gap) {
				return nil
			}
			seq = gap.To + 1
		case err != nil:
			return err
		default:
			if !yield(s, nil) {
				return nil
			}
			seq = s.Last + 1
		}
	}
}

// SeqAtTime is a number before which everything was committed before a moment: where to begin to look for what was committed from it on.
func (v *View) SeqAtTime(ctx context.Context, t cdc.Timestamp) (uint64, error) {
	return v.search(ctx, func(i *BlockInfo) bool { return i.MaxCommit >= t })
}

// SeqAtLSN is likewise for a commit LSN. LSNs ascend within an epoch only; in a log with several it is where the log begins.
func (v *View) SeqAtLSN(ctx context.Context, lsn cdc.LSN) (uint64, error) {
	if v.Epoch() > 0 {
		return v.FirstSeq(), nil
	}
	return v.search(ctx, func(i *BlockInfo) bool { return i.LastPosition.LSN >= lsn })
}

// SeqOfLast is where the newest bytes of the log begin, as stored.
func (v *View) SeqOfLast(ctx context.Context, bytes uint64) (uint64, error) {
	end := v.log.endOffset.Load()
	return v.search(ctx, func(i *BlockInfo) bool { return end-i.Offset <= bytes })
}

// search finds the first block for which found holds, as it then does for all behind it. What cannot be read counts as if it did not.
func (v *View) search(ctx context.Context, found func(*BlockInfo) bool) (uint64, error) {
	lo, hi := v.FirstSeq(), v.End().Seq+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		info, err := v.Info(ctx, mid)
		gap, lost := errors.AsType[*GapError](err)
		switch {
		case errors.Is(err, errTrimmed):
			lo = max(lo, v.FirstSeq())
			hi = max(lo, hi)
		case errors.Is(err, ErrEnd):
			hi = mid
		case lost:
			lo = gap.To + 1
		case err != nil:
			return 0, err
		case found(&info):
			hi = min(mid, max(lo, info.First))
		default:
			lo = info.Last + 1
		}
	}
	return min(lo, v.End().Seq+1), nil
}

// Disorder finds a change whose position does not follow that of the one before it; ok is true when there is none. before is the position in front
// of the segment, nil for none.
func (s *Segment) Disorder(before *cdc.Position) (seq uint64, ok bool) {
	for i := range s.Changes {
		c := &s.Changes[i]
		// The entries of one TRUNCATE share a position.
		if before != nil && c.Position.Compare(*before) < 0 {
			return c.Seq, false
		}
		before = &c.Position
	}
	return 0, true
}
