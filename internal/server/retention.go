package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/backoff"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/postgres/eventtable"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/store"
	"github.com/sequinstream/sequin/internal/where"
)

// A change retention runs as a sink does: it is a consumer whose destination is a table. All its messages are one group, written by one worker in
// batches that succeed or fail as a whole, so that the position that is kept beside the table only ever moves forward.

// retained is a change retention with the database that it writes to.
type retained struct {
	resource.ChangeRetention
	to resource.Database
}

// Bounds of what is written to an event table at a time.
const (
	retentionBatch = 1000
	retentionBytes = 4 << 20
)

// retentionKey is where a retention stands among the sinks of its database. No sink's name has a blank.
func retentionKey(name string) string { return "change retention " + name }

// asSink is a retention as the sink that it runs as.
func asSink(r *resource.ChangeRetention) resource.Sink {
	s := resource.Sink{
		Name: r.Name, Status: resource.StatusActive, Database: r.SourceDatabase, Actions: r.Actions, MessageGrouping: resource.GroupByTable,
		BatchSize: retentionBatch, Start: resource.StartNow,
	}
	s.Source.IncludeTables = []resource.TableName{r.SourceTable}
	if r.Status == resource.RetentionDisabled {
		s.Status = resource.StatusDisabled
	}
	return s
}

// registerRetentions adds the retentions of a database to its sinks, like registerSinks.
func (s *Server) registerRetentions(ctx context.Context, set *resource.Set, res resource.Database, sinks, running map[string]declared, first bool) error {
	var errs []error
	for i := range set.ChangeRetentions {
		r := &set.ChangeRetentions[i]
		if r.SourceDatabase != res.Name {
			continue
		}
		key := retentionKey(r.Name)
		was, created, err := s.registry.add(ctx, store.Sink, registered{ID: r.ID, Name: r.Name, Parent: res.ID, Account: set.Account.ID, Retention: true})
		if err != nil {
			errs = append(errs, err)
			if old, there := running[key]; there {
				sinks[key] = old
			}
			continue
		}
		if was.Parent != res.ID {
			errs = append(errs, problem.New("sink_of_another_database", "change retention %q belongs to another database", r.Name).
				WithDetail("its place in that one's changes means nothing in database %q", res.Name).WithHint("declare it under another name"))
			continue
		}
		to, ok := set.Database(r.DestinationDatabase)
		if !ok {
			errs = append(errs, fmt.Errorf("change retention %q: database %q is not declared", r.Name, r.DestinationDatabase))
			continue
		}
		sinks[key] = declared{id: r.ID, sink: asSink(r), retention: &retained{*r, *to}, created: created && !first}
	}
	return errors.Join(errs...)
}

// title is what people call it.
func (w *declared) title() string {
	if w.retention != nil {
		return fmt.Sprintf("change retention %q", w.sink.Name)
	}
	return fmt.Sprintf("sink %q", w.sink.Name)
}

// ref is its part of the API's paths.
func (w *declared) ref() string {
	if w.retention != nil {
		return w.id
	}
	return w.sink.Name
}

// entity is the word of the health routes for what it is.
func (w *declared) entity() string {
	if w.retention != nil {
		return "wal_pipeline"
	}
	return "sink"
}

// kind is the word for what it is.
func (w *declared) kind() string {
	if w.retention != nil {
		return "change_retention"
	}
	return "sink"
}

// called is the name under which the API knows it: a retention has its id alone.
func (w *declared) called() string {
	if w.retention != nil {
		return ""
	}
	return w.sink.Name
}

// lifePrefix is where the lives of retentions are kept, by id.
const lifePrefix = "retention/"

// lifeOf is an id that changes when the retention begins anew, so that positions of before mean nothing. It is written before the consumer is.
func lifeOf(ctx context.Context, state engine.State, id string) (string, error) {
	exists, err := consumer.Exists(ctx, state, id)
	if err != nil {
		return "", err
	}
	if exists {
		entry, err := state.Get(ctx, lifePrefix+id)
		if err == nil {
			return string(entry.Value), nil
		}
		if !errors.Is(err, engine.ErrNotFound) {
			return "", fmt.Errorf("look up a change retention: %w", err)
		}
	}
	life := uuid.NewString()
	if err := state.Apply(ctx, engine.Put(lifePrefix+id, []byte(life))); err != nil {
		return "", fmt.Errorf("remember a change retention: %w", err)
	}
	return life, nil
}

// retentionConditions are the filters of a retention; nil for none.
func retentionConditions(facts *tableFacts, r *resource.ChangeRetention) consumer.Conditions {
	if len(r.Filters) == 0 {
		return nil
	}
	filters := columnFilters(r.Filters)
	var text strings.Builder
	for i := range filters {
		f := &filters[i]
		fmt.Fprintf(&text, "%q %q %q %s %s\n", f.Column, f.FieldPath, f.FieldType, f.Operator, f.Value)
	}
	return &conditions{
		facts: facts, text: text.String(), since: facts.now(), programs: map[programKey]*compiled{},
		compileOne: func(table where.Table, o where.Options) ([]*where.Program, error) {
			p, _, err := where.FromColumnFilters(filters, table, o)
			return []*where.Program{p}, err
		},
	}
}

func columnFilters(all []resource.ColumnFilter) []where.ColumnFilter {
	filters := make([]where.ColumnFilter, len(all))
	for i := range all {
		filters[i] = where.ColumnFilter(all[i])
	}
	return filters
}

// retentionSettings says how to write.
func (r *sinkRun) retentionSettings(want declared) (delivery.Settings, error) {
	source, err := Source(want.retention.to)
	if err != nil {
		return delivery.Settings{}, err
	}
	table := want.retention.DestinationTable
	w := &tableSink{Writer: eventtable.New(eventtable.Options{
		Table: eventtable.Name{Schema: table.Schema, Table: table.Name}, Database: r.db.id, Writer: want.id, Life: r.life, Connect: source.Connect, Logger: r.logger,
	})}
	r.table.Store(w)
	return delivery.Settings{
		Sink: w, Atomicity: sink.Atomic, BatchSize: retentionBatch, BatchBytes: retentionBytes, Workers: 1,
		Shape: func(ctx context.Context, b *shape.Batch) { r.shapeRows(ctx, b) },
	}, nil
}

// again marks rows that may have been passed over.
var again = sink.Route{Key: "again"}

// shapeRows makes the records of rows.
func (r *sinkRun) shapeRows(ctx context.Context, b *shape.Batch) {
	r.pipeline.Load().Shape(ctx, b)
	for i := range b.Items {
		if d := b.Deliveries[i]; d.Redriven || d.Attempt > 1 {
			b.Items[i].Route = again
		}
	}
}

// tableSink is an event table as delivery sees it.
type tableSink struct {
	*eventtable.Writer
	failures atomic.Int64                 // in a row
	fit      atomic.Bool                  // it was written, or looked at and found well
	unfit    atomic.Pointer[health.Issue] // what the last look found
}

// lookInterval is how often a table is looked at that has not been written yet.
const lookInterval = 5 * time.Second

// watchTable looks at the table of a retention until it is well, so that what is wrong with it is known before there is anything to write.
func (r *sinkRun) watchTable(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		if t := r.table.Load(); t != nil && !t.fit.Load() && r.declared().sink.Status == resource.StatusActive {
			t.look(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *tableSink) look(ctx context.Context) {
	err := s.Check(ctx)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		s.fit.Store(true)
		s.unfit.Store(nil)
	default:
		since := time.Now()
		if was := s.unfit.Load(); was != nil {
			since = *was.Since
		}
		issue := health.IssueOf(health.Error, asProblem(err, "retention_write_failed", "the event table cannot be written"), since)
		s.unfit.Store(&issue)
	}
}

// Close ends the connection.
func (s *tableSink) Close() error { s.Writer.Close(); return nil }

// retentionRetry is how long a table is left alone that could not be written.
func retentionRetry() backoff.Schedule {
	return backoff.Schedule{Base: time.Second, Cap: 30 * time.Second}
}

// Deliver writes rows, all or none. Whatever keeps them from being written is the table's trouble, not theirs: they wait.
func (s *tableSink) Deliver(ctx context.Context, batch []sink.Message) error {
	rows := make([]eventtable.Row, len(batch))
	for i := range batch {
		m := &batch[i]
		if m.Change == nil {
			return sink.Reject(problem.New("message_lost", "the change behind the message is no longer retained, and its body was not kept"))
		}
		rows[i] = eventtable.Row{Change: m.Change, Record: m.Body, Again: m.Route.Key == again.Key}
	}
	err := s.Write(ctx, rows)
	switch {
	case err == nil:
		s.failures.Store(0)
		s.fit.Store(true)
		s.unfit.Store(nil)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	n := int(s.failures.Add(1))
	return &sink.UnavailableError{Cause: err, After: retentionRetry().Delay(n, nil)}
}

// retentionHealth is what keeps a retention from being written.
func (r *sinkRun) retentionHealth(title string, st consumer.Stats, push delivery.Status) []health.Issue {
	var issues []health.Issue
	if push.Away == nil {
		issues = deliveryHealth(title, st, push)
	} else {
		cause := asProblem(push.Away, "retention_write_failed", "its table cannot be written")
		p := problem.New(cause.Code, "%s is not written: %s", title, cause.Message).WithDetail("%s", cause.Detail).WithHint("%s", cause.Hint).Because(cause)
		issues = append(issues, health.IssueOf(health.Error, p, push.AwaySince))
	}
	if w := r.table.Load(); w != nil {
		if unfit := w.unfit.Load(); unfit != nil && push.Away == nil {
			issues = append(issues, *unfit)
		}
		if lost := w.SetBack(); lost != nil {
			issues = append(issues, health.IssueOf(health.Error, lost, time.Time{}))
		}
		if advice := w.Advice(); advice != nil {
			issues = append(issues, health.IssueOf(health.Warning, advice, time.Time{}))
		}
	}
	return issues
}
