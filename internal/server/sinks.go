package server

import (
	"context"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/consumer"
)

// SinkByName finds an account's sink of any type by name.
func (f streams) SinkByName(account, name string) (api.Sink, bool) {
	return f.sink(account, func(_, named string) bool { return named == name })
}

// SinkByID finds an account's sink of any type by id.
func (f streams) SinkByID(account, id string) (api.Sink, bool) {
	return f.sink(account, func(identified, _ string) bool { return identified == id })
}

func (f streams) sink(account string, match func(id, name string) bool) (api.Sink, bool) {
	for _, d := range f.s.databases() {
		if d.account != account {
			continue
		}
		if found, ok := d.sink(match); ok {
			return found, true
		}
	}
	return nil, false
}

// sink finds a sink of this database. One that is declared and does not run yet, or not at the moment, is there all the same.
func (d *database) sink(match func(id, name string) bool) (api.Sink, bool) {
	if r := d.running(match); r != nil {
		c, _ := r.now()
		return runningSink{c, d.facts}, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.wanted {
		if want := d.wanted[name]; match(want.id, want.called()) {
			return absentSink(want.sink.Name), true
		}
	}
	return nil, false
}

// running finds a sink of this database that runs.
func (d *database) running(match func(id, name string) bool) *sinkRun {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live == nil {
		return nil
	}
	for _, r := range d.live.sinks {
		if want := r.declared(); match(r.id, want.called()) {
			return r
		}
	}
	return nil
}

// absentSink is a sink that does not run: it starts with its database's change log, or starts again after trouble. Whoever asks is asked to come
// back.
type absentSink string

// Name is the sink's name.
func (s absentSink) Name() string { return string(s) }

// Place is not known.
func (s absentSink) Place(context.Context) (consumer.Place, error) {
	return consumer.Place{}, consumer.ErrStopped
}

// Messages are not known.
func (s absentSink) Messages(context.Context, consumer.MessageQuery) (consumer.MessagePage, error) {
	return consumer.MessagePage{}, consumer.ErrStopped
}

// Message is not known.
func (s absentSink) Message(context.Context, string) (consumer.Message, error) {
	return consumer.Message{}, consumer.ErrStopped
}

// Redeliver does nothing.
func (s absentSink) Redeliver(context.Context, consumer.Selection) (consumer.Changed, error) {
	return consumer.Changed{}, consumer.ErrStopped
}

// DiscardMessages does nothing.
func (s absentSink) DiscardMessages(context.Context, consumer.Selection) (consumer.Changed, error) {
	return consumer.Changed{}, consumer.ErrStopped
}

// DeadLetters are not known.
func (s absentSink) DeadLetters(context.Context, consumer.DeadQuery) (consumer.DeadPage, error) {
	return consumer.DeadPage{}, consumer.ErrStopped
}

// DeadLetter is not known.
func (s absentSink) DeadLetter(context.Context, uint64) (consumer.DeadLetter, error) {
	return consumer.DeadLetter{}, consumer.ErrStopped
}

// Redrive does nothing.
func (s absentSink) Redrive(context.Context, consumer.DeadSelection) (consumer.Changed, error) {
	return consumer.Changed{}, consumer.ErrStopped
}

// Discard does nothing.
func (s absentSink) Discard(context.Context, consumer.DeadSelection) (consumer.Changed, error) {
	return consumer.Changed{}, consumer.ErrStopped
}
