package server

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/backfills"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/filter"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// history is the backfills as the API knows them.
type history struct{ s *Server }

// Backfills are those of a sink, the newest first.
func (h history) Backfills(sink *resource.Sink) []api.Backfill {
	views := h.s.backfills.List(sink.ID)
	out := make([]api.Backfill, len(views))
	for i := range views {
		out[i] = backfillForm(sink.Name, &views[i])
	}
	return out
}

// CreateBackfill checks what is asked for against the sink and the table, and starts it. A source that does not answer now is no reason not to.
func (h history) CreateBackfill(ctx context.Context, sink *resource.Sink, db *resource.Database, ask api.BackfillAsk) (api.Backfill, error) {
	b := &backfills.Backfill{
		Sink: sink.ID, Database: db.ID, Table: resource.ParseTableName(ask.Table), State: backfills.State(ask.State),
		Part: backfills.Part{
			SortColumn: ask.SortColumn, From: ask.Start, To: ask.End, Where: ask.Where, Keys: ask.Keys, KeyQuery: ask.KeyQuery,
		},
		Workers: ask.Workers, Rate: ask.RowsPerSecond, Timeout: time.Duration(ask.TimeoutMS) * time.Millisecond,
	}
	if !sinkReads(sink, b.Table) {
		return api.Backfill{}, invalidBackfill("table", api.CodeBackfillNotWanted, "is "+ask.Table+", which the sink's source leaves out", "")
	}
	if sink.Status == resource.StatusDisabled {
		return api.Backfill{}, invalidBackfill("state", api.CodeBackfillSinkDisabled, "cannot be active: the sink is disabled, and holds nothing", "enable the sink first")
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := checkBackfill(ctx, db, b); err != nil {
		return api.Backfill{}, err
	}
	v, err := h.s.backfills.Create(ctx, b)
	if p, ok := problem.As(err); ok && p.Code == "backfill_exists" {
		return api.Backfill{}, invalidBackfill("table", p.Code, "has a backfill on this sink that is not over: "+p.Detail, p.Hint)
	}
	if err != nil {
		return api.Backfill{}, err
	}
	return backfillForm(sink.Name, &v), nil
}

// checkBackfill has the source look at the table and the query.
func checkBackfill(ctx context.Context, db *resource.Database, b *backfills.Backfill) error {
	source, err := Source(*db)
	if err != nil {
		return err
	}
	reader, err := backfill.New(ctx, source.Connect, b.Spec(db.Publication.Name))
	if err == nil {
		reader.Close(ctx)
		return nil
	}
	p, ok := problem.As(err)
	if !ok || !strings.HasPrefix(p.Code, "backfill_") {
		return nil // it is tried again when its turn comes
	}
	path := map[string]string{"backfill_column_missing": "sort_column", "backfill_bounds": "sort_column", "backfill_query": "where"}[p.Code]
	if path == "" {
		path = "table"
	}
	if path == "where" && b.Part.Where == "" {
		switch {
		case b.Part.KeyQuery != "":
			path = "key_query"
		case len(b.Part.Keys) > 0:
			path = "keys"
		default:
			path = "sort_column"
		}
	}
	what := p.Message
	if p.Detail != "" {
		what += ": " + p.Detail
	}
	return invalidBackfill(path, p.Code, "is refused: "+what, p.Hint)
}

func invalidBackfill(path, code, what, hint string) error {
	return &resource.InvalidError{Mistakes: []resource.Mistake{{Path: path, Code: code, What: what, Hint: hint}}}
}

// sinkReads tells whether a sink's source has a table.
func sinkReads(sink *resource.Sink, table resource.TableName) bool {
	cfg := consumerConfig(declared{id: sink.ID, sink: *sink})
	f, err := filter.New(cfg.Source, nil)
	return err == nil && f.Match(&cdc.Relation{Schema: table.Schema, Name: table.Name}, cdc.OpRead)
}

// SetBackfillState pauses, resumes or ends a backfill.
func (h history) SetBackfillState(ctx context.Context, sink *resource.Sink, id, state string) (api.Backfill, error) {
	v, err := h.s.backfills.SetState(ctx, sink.ID, id, backfills.State(state))
	if errors.Is(err, backfills.ErrNotFound) {
		return api.Backfill{}, api.ErrNoBackfill
	}
	if p, ok := problem.As(err); ok && p.Code == "backfill_state" {
		return api.Backfill{}, invalidBackfill("state", p.Code, "cannot change like this: "+p.Message, p.Hint)
	}
	if err != nil {
		return api.Backfill{}, err
	}
	return backfillForm(sink.Name, &v), nil
}

// backfillForm is a backfill in a reply.
func backfillForm(sink string, v *backfills.View) api.Backfill {
	b := api.Backfill{
		ID: v.ID, Sink: sink, State: string(v.State), Table: v.Table.String(), Sort: orNull(v.Part.SortColumn), Initial: v.Rows, Processed: v.Read,
		Ingested: v.Offered, Inserted: v.Inserted.Truncate(time.Second), Updated: v.Updated.Truncate(time.Second), Estimated: v.Estimated && v.Rows != nil,
		Start: orNull(v.Part.From), End: orNull(v.Part.To), Where: orNull(v.Part.Where), KeyQuery: orNull(v.Part.KeyQuery), Keys: len(v.Part.Keys),
		Workers: max(v.Workers, 1), TimeoutMS: v.Timeout.Milliseconds(), Bytes: v.Bytes, Pending: v.Pending, Speed: math.Round(v.Speed), Queued: v.Queued,
		Waiting: orNull(v.Waiting), CurrentKey: orNull(v.Key),
	}
	if v.Timeout == 0 {
		b.TimeoutMS = backfill.DefaultTimeout.Milliseconds()
	}
	if v.Rate > 0 {
		b.RowsPerSecond = &v.Rate
	}
	if v.Left > 0 {
		left := math.Ceil(v.Left.Seconds())
		b.SecondsLeft = &left
	}
	ended := moment(v.Ended)
	if ended != nil {
		*ended = ended.Truncate(time.Second)
	}
	switch v.State {
	case backfills.Completed:
		b.Completed = ended
	case backfills.Cancelled:
		b.Canceled = ended
	case backfills.Active, backfills.Paused, backfills.Failed:
	}
	if err := v.ErrorOf(); err != nil {
		issue := health.IssueOf(health.Error, err, v.Updated)
		b.Error = &issue
	}
	return b
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
