package server

import (
	"context"
	"errors"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/consumer"
)

// captureLog is a change log as capture sees it.
type captureLog struct{ *changelog.Log }

func (l captureLog) Writer(epoch uint32) capture.Writer { return l.Log.Writer(epoch) }
func (l captureLog) CommitEnd() cdc.LSN                 { return l.End().CommitEnd }

// consumerLog is a change log as consumers see it.
type consumerLog struct{ *changelog.Log }

func (l consumerLog) End() consumer.End { return consumer.End(l.Log.End()) }

// Segment translates the errors that a consumer decides on.
func (l consumerLog) Segment(ctx context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error) {
	s, err := l.Log.Segment(ctx, seq)
	if err == nil {
		return s.First, s.Last, s.Changes, nil
	}
	var gap *changelog.GapError
	switch {
	case errors.Is(err, changelog.ErrEnd):
		return 0, 0, nil, consumer.ErrEnd
	case errors.As(err, &gap):
		return 0, 0, nil, lostRangeError{gap}
	}
	return 0, 0, nil, err
}

// lostRangeError is a range of the log that cannot be read any more.
type lostRangeError struct{ *changelog.GapError }

func (g lostRangeError) Gap() (from, to uint64) { return g.From, g.To }

// changeCodec keeps single changes outside the log.
type changeCodec struct{}

func (changeCodec) Encode(change *cdc.Change) []byte { return changelog.AppendChange(nil, change) }

func (changeCodec) Decode(b []byte, into *cdc.Change) error { return changelog.DecodeChange(b, into) }
