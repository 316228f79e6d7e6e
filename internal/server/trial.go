package server

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/sink/all"
	"github.com/sequinstream/sequin/internal/sink/webhook"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/path"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

// SampleMessage is what a function is tried on when nothing else is given: an update.
//
//go:embed sample.json
var SampleMessage []byte

// trials tries functions for the API.
type trials struct{ s *Server }

// Try runs a function on the messages that a trial asks for.
func (t trials) Try(ctx context.Context, account string, trial *api.Trial) ([]api.Tried, error) {
	if trial.Function.Type == resource.FunctionEnrichment {
		return t.tryEnrichment(ctx, account, trial)
	}
	messages, err := t.messages(ctx, account, trial)
	if err != nil {
		return nil, err
	}
	return TryFunction(ctx, t.s.functions, &trial.Function, messages)
}

// TryFunction runs a function on whole messages and says what became of each.
func TryFunction(ctx context.Context, pool *sandbox.Pool, f *resource.Function, messages [][]byte) ([]api.Tried, error) {
	tried := make([]api.Tried, len(messages))
	for i, m := range messages {
		tried[i].Input = m
	}
	if f.Type == resource.FunctionPath {
		p, err := path.New(f.Path)
		if err != nil {
			return nil, err
		}
		for i, m := range messages {
			out, err := p.Of(m)
			note(&tried[i], out, err)
		}
		return tried, nil
	}
	code, err := runnable(f)
	if err != nil {
		return nil, err
	}
	var b sandbox.Batch
	for _, m := range messages {
		b.Add(m)
	}
	if err := pool.Run(ctx, code, &b); err != nil {
		return nil, err
	}
	for i := range messages {
		out, failure := b.Result(i)
		if failure != nil {
			note(&tried[i], nil, failure)
			continue
		}
		note(&tried[i], slices.Clone(out), checkRoute(f, out))
	}
	return tried, nil
}

// checkRoute reads what a routing function returned as the sinks that it is for do.
func checkRoute(f *resource.Function, out []byte) error {
	if f.Type != resource.FunctionRouting {
		return nil
	}
	definition, ok := all.ByType(f.SinkType)
	if !ok || definition.Route == nil {
		return nil // a type of sink that comes later
	}
	config := webhook.DefaultConfig()
	config.URL = "https://endpoint.example"
	if _, err := definition.Route(config, out, false); err != nil {
		return language.Errorf(language.KindResult, "%s", err.Error())
	}
	return nil
}

// note writes down what became of a message.
func note(t *api.Tried, out []byte, err error) {
	t.Output = out
	if err == nil {
		return
	}
	e, ok := errors.AsType[*language.Error](err)
	if !ok {
		e = language.Errorf(language.KindRuntime, "%s", err.Error())
	}
	t.Error = &api.TriedError{Kind: string(e.Kind), Message: e.Message, Line: e.Line, Column: e.Column, Value: e.Value}
}

// messages gathers what a function is tried on.
func (t trials) messages(ctx context.Context, account string, trial *api.Trial) ([][]byte, error) {
	switch {
	case trial.Message != nil:
		return [][]byte{trial.Message}, nil
	case trial.Sink != "":
		m, err := t.ofSink(ctx, account, trial)
		return [][]byte{m}, err
	case trial.Database != "":
		changes, tail, err := t.lastOf(ctx, account, trial)
		if err != nil {
			return nil, err
		}
		messages := make([][]byte, len(changes))
		for i, c := range changes {
			if messages[i], err = message.Append(nil, c, message.Format{}, tail, message.Flags{}); err != nil {
				return nil, err
			}
		}
		return messages, nil
	}
	return [][]byte{SampleMessage}, nil
}

// ofSink is a message that a sink has yet to deliver, or one of its dead letters.
func (t trials) ofSink(ctx context.Context, account string, trial *api.Trial) ([]byte, error) {
	finder := streams(t)
	sk, ok := finder.SinkByName(account, trial.Sink)
	if !ok {
		if sk, ok = finder.SinkByID(account, trial.Sink); !ok {
			return nil, problem.New("sink_not_found", "there is no sink %q", trial.Sink)
		}
	}
	m, err := sk.Message(ctx, trial.Seq)
	if err != nil {
		return nil, err
	}
	if m.PayloadError != nil {
		return nil, m.PayloadError
	}
	if !message.Complete(m.Payload) {
		return nil, problem.New("message_not_whole", "what was kept of the message is not the whole message any more")
	}
	return m.Payload, nil
}

// Bounds of the search for the last changes of a table.
const (
	searchTime    = 5 * time.Second
	searchChanges = 1_000_000
)

// lastOf finds the last changes of a table in the change log, oldest first, and how messages about them end.
func (t trials) lastOf(ctx context.Context, account string, trial *api.Trial) ([]*cdc.Change, *message.Tail, error) {
	var live *running
	var res resource.Database
	for _, d := range t.s.databases() {
		if r := d.resource(); d.account == account && (r.Name == trial.Database || r.ID == trial.Database) {
			d.mu.Lock()
			live, res = d.live, d.res
			d.mu.Unlock()
		}
	}
	if live == nil {
		return nil, nil, problem.New("database_not_found", "there is no database %q, or its change log is not open", trial.Database)
	}
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	found, err := searchBack(ctx, consumerLog{live.log}, trial.Table, trial.Last)
	if err != nil {
		return nil, nil, err
	}
	if len(found) == 0 {
		return nil, nil, problem.New("no_messages", "the change log has no recent change of table %s", trial.Table).WithHint("change a row, or give a message")
	}
	return found, tailOf(res.ID, res, declared{sink: resource.Sink{Name: "test"}}), nil
}

// searchBack walks the log from its end, segment by segment.
func searchBack(ctx context.Context, log consumer.Log, table resource.TableName, n int) ([]*cdc.Change, error) {
	var found []*cdc.Change
	for seq, seen := log.End().Seq, 0; seq >= max(log.FirstSeq(), 1) && len(found) < n && seen < searchChanges; {
		first, _, changes, err := log.Segment(ctx, seq)
		if errors.Is(err, consumer.ErrEnd) || errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		for i := len(changes) - 1; i >= 0 && len(found) < n; i-- {
			c := &changes[i]
			if c.Seq <= seq && c.Relation != nil && !c.TooBig && c.Relation.Schema == table.Schema && c.Relation.Name == table.Name {
				found = append(found, c)
			}
		}
		seen += len(changes)
		if first > seq || first == 0 {
			break
		}
		seq = first - 1
	}
	slices.Reverse(found)
	return found, nil
}

// tryEnrichment asks an enrichment's query about the last changes of a table.
func (t trials) tryEnrichment(ctx context.Context, account string, trial *api.Trial) ([]api.Tried, error) {
	if trial.Database == "" {
		return nil, problem.New("enrichment_needs_changes", "an enrichment is tried on changes that were captured").WithHint("give database and table")
	}
	changes, tail, err := t.lastOf(ctx, account, trial)
	if err != nil {
		return nil, err
	}
	set, _, err := t.s.plane.Current(account)
	if err != nil {
		return nil, err
	}
	own, ok := set.Database(trial.Database)
	if !ok {
		return nil, problem.New("database_not_found", "there is no database %q", trial.Database)
	}
	asked := askedDatabase(set, own, &trial.Function)
	if err := control.StandbyAllowed(set, &asked, &trial.Function); err != nil {
		return nil, err
	}
	q, err := enrichmentOf(asked, &trial.Function, resource.NewSink(), t.s.logger)
	if err != nil {
		return nil, err
	}
	defer q.Close() //nolint:contextcheck // a farewell does not depend on the question
	found, err := q.Enrich(ctx, changes)
	if err != nil {
		return nil, err
	}
	tried := make([]api.Tried, len(changes))
	for i, c := range changes {
		if tried[i].Input, err = message.Append(nil, c, message.Format{}, tail, message.Flags{}); err != nil {
			return nil, err
		}
		note(&tried[i], found[i].Object, found[i].Err)
	}
	return tried, nil
}
