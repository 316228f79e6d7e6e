package server

import (
	"context"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/problem"
)

// runningSink is a sink that runs, as the API sees it.
type runningSink struct {
	*consumer.Consumer
	facts *tableFacts
}

// factsPatience is how long a search waits for what has to be known of a table.
const factsPatience = 5 * time.Second

// Find is the consumer's, with the condition compiled for each table that it meets.
func (s runningSink) Find(ctx context.Context, t consumer.Target, where string) (spot consumer.Spot, next uint64, err error) {
	err = s.fitted(ctx, &t.Search, where, func() error {
		spot, next, err = s.Consumer.Find(ctx, t)
		return err
	})
	return spot, next, err
}

// fitting are conditions that have to fit each table that they meet.
type fitting struct{ *conditions }

// Of is the condition on a table, or an error if it does not fit.
func (f *fitting) Of(rel *cdc.Relation) (consumer.Condition, error) {
	all, err := f.bind(rel)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].err == nil {
			continue
		}
		e := problem.New("where_invalid", "the condition does not fit table %s.%s: %v", rel.Schema, rel.Name, all[i].err).
			WithHint("mend it, or name the table that it is for with \"table\"")
		if p, ok := problem.As(all[i].err); ok {
			e = problem.New("where_invalid", "the condition does not fit table %s.%s: %s", rel.Schema, rel.Name, p.Message).WithDetail("%s", p.Detail).
				WithHint("mend it, or name the table that it is for with \"table\"; %s", p.Hint)
		}
		return nil, e
	}
	return all, nil
}

// patiently repeats what fails because too little is known of a table, for a while.
func (f *fitting) patiently(ctx context.Context, try func() error) error {
	over := time.NewTimer(factsPatience)
	defer over.Stop()
	for {
		changed := f.Changed()
		err := try()
		if p, ok := problem.As(err); !ok || p.Code != "table_facts_unknown" {
			return err
		}
		select {
		case <-changed:
		case <-over.C:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Find does nothing.
func (s absentSink) Find(context.Context, consumer.Target, string) (consumer.Spot, uint64, error) {
	return consumer.Spot{}, 0, consumer.ErrStopped
}

// PlanMove does nothing.
func (s absentSink) PlanMove(context.Context, consumer.Spot) (consumer.MovePlan, error) {
	return consumer.MovePlan{}, consumer.ErrStopped
}

// Move does nothing.
func (s absentSink) Move(context.Context, consumer.MoveRequest) (consumer.MoveRecord, error) {
	return consumer.MoveRecord{}, consumer.ErrStopped
}

// UndoMove does nothing.
func (s absentSink) UndoMove(context.Context, string) (consumer.MoveRecord, error) {
	return consumer.MoveRecord{}, consumer.ErrStopped
}

// Moves are not known.
func (s absentSink) Moves(context.Context) ([]consumer.MoveRecord, error) {
	return nil, consumer.ErrStopped
}
