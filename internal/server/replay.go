package server

import (
	"context"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/resource"
)

// fitted adds a condition in SQL to a search, and has try repeated until the condition can be told.
func (s runningSink) fitted(ctx context.Context, search **consumer.Search, where string, try func() error) error {
	if *search == nil || where == "" {
		return try()
	}
	must := &fitting{newConditions(s.facts, where, func(resource.TableName) []string { return []string{where} })}
	with := **search
	with.Where = must
	*search = &with
	return must.patiently(ctx, try)
}

// Replay is the consumer's, with the condition compiled for each table that it meets.
func (s runningSink) Replay(ctx context.Context, sel consumer.ReplaySelection, where string) (done consumer.Changed, err error) {
	err = s.fitted(ctx, &sel.Search, where, func() (err error) {
		part, err := s.Consumer.Replay(ctx, sel)
		part.Count += done.Count
		done = part
		return err
	})
	return done, err
}

// CountReplay is the consumer's, likewise.
func (s runningSink) CountReplay(ctx context.Context, sel consumer.ReplaySelection, where string) (t consumer.Tally, err error) {
	err = s.fitted(ctx, &sel.Search, where, func() (err error) {
		t, err = s.Consumer.CountReplay(ctx, sel)
		return err
	})
	return t, err
}

// Replay does nothing.
func (s absentSink) Replay(context.Context, consumer.ReplaySelection, string) (consumer.Changed, error) {
	return consumer.Changed{}, consumer.ErrStopped
}

// CountReplay does nothing.
func (s absentSink) CountReplay(context.Context, consumer.ReplaySelection, string) (consumer.Tally, error) {
	return consumer.Tally{}, consumer.ErrStopped
}

// Replays are not known.
func (s absentSink) Replays() []consumer.Replay { return nil }

// CancelReplays does nothing.
func (s absentSink) CancelReplays(context.Context, []uint64, bool) (consumer.Changed, error) {
	return consumer.Changed{}, consumer.ErrStopped
}
