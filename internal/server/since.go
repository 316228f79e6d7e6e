package server

import (
	"context"
	"errors"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/consumer"
)

// Since finds the first change that was committed at a time or later. The header of a block knows the latest commit up to its end, and that never
// runs backwards, though the server's clock may; so it is found by halving.
func (l consumerLog) Since(ctx context.Context, at cdc.Timestamp) (uint64, error) {
	lo, hi := max(l.FirstSeq(), 1), l.End().Seq+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		info, found, err := l.infoFrom(ctx, mid, hi)
		switch {
		case err != nil:
			return 0, err
		case !found:
			hi = mid // nothing can be read from there on
		case info.MaxCommit >= at:
			hi = min(info.First, mid)
			lo = min(lo, hi)
		default:
			lo = info.Last + 1
		}
	}
	if lo > l.End().Seq {
		return 0, consumer.ErrEnd
	}
	return l.firstSince(ctx, lo, at)
}

// infoFrom tells about the first block at seq or behind it that can be read, if it begins before end.
func (l consumerLog) infoFrom(ctx context.Context, seq, end uint64) (info changelog.BlockInfo, found bool, err error) {
	for seq < end {
		info, err := l.InfoAt(ctx, seq)
		gap, isGap := errors.AsType[*changelog.GapError](err)
		switch {
		case err == nil:
			return info, info.First < end, nil
		case isGap:
			seq = gap.To + 1
		case errors.Is(err, changelog.ErrEnd):
			return info, false, nil
		default:
			return info, false, err
		}
	}
	return info, false, nil
}

// firstSince looks into the block at seq, the first whose header tells of a commit at that time or later. The transaction may have begun in blocks
// before it, whose headers do not know of its commit yet.
func (l consumerLog) firstSince(ctx context.Context, seq uint64, at cdc.Timestamp) (uint64, error) {
	first, _, changes, err := l.Segment(ctx, seq)
	if _, isGap := errors.AsType[consumer.Gap](err); isGap {
		return seq, nil // rather too early; whoever reads on is told of the gap
	}
	if err != nil {
		return 0, err
	}
	for i := range changes {
		if c := &changes[i]; c.Seq >= seq && c.CommitTime >= at {
			if i > 0 {
				return c.Seq, nil
			}
			return l.backSince(ctx, first, at), nil
		}
	}
	return seq, nil // the commit that the header remembers is not retained any more
}

// backSince goes back from a change for as long as those right before it were committed at that time or later as well.
func (l consumerLog) backSince(ctx context.Context, seq uint64, at cdc.Timestamp) uint64 {
	for seq > max(l.FirstSeq(), 1) {
		first, _, changes, err := l.Segment(ctx, seq-1)
		if err != nil || first >= seq {
			return seq
		}
		for changes = changes[:seq-first]; len(changes) > 0 && changes[len(changes)-1].CommitTime >= at; seq-- {
			changes = changes[:len(changes)-1]
		}
		if len(changes) > 0 {
			return seq
		}
	}
	return seq
}
