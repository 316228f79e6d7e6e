package shape

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/path"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

// Functions runs functions: a *sandbox.Pool.
type Functions interface {
	// Run runs a function on each message of a batch. An error says that it could not be run at all.
	Run(ctx context.Context, f *sandbox.Function, b *sandbox.Batch) error
}

// Enricher finds what belongs to rows.
type Enricher interface {
	// Enrich returns a JSON object, or nil for none, or an error, for each change. An error besides says that nothing could be found out.
	Enrich(ctx context.Context, changes []*cdc.Change) ([]Enriched, error)
}

// Enriched is what was found for one change.
type Enriched struct {
	Object []byte
	Err    error
}

// Judge tells which of the static routes a change takes; -1 for none. An error is that change's own.
type Judge interface {
	Route(c *cdc.Change) (int, error)
}

// Router makes a route of the object that says where a message goes. The destination knows what it may say.
type Router func(to []byte) (sink.Route, error)

// Pipeline makes messages.
type Pipeline struct {
	Form   Form
	Logger *slog.Logger // for what must not happen

	Enrich    Enricher          // nil for none, as all that follow
	Filter    *sandbox.Function // says whether a message is wanted
	Transform *sandbox.Function // makes another body of it
	Path      *path.Path
	Routing   *sandbox.Function // says where it goes
	Route     Router            // reads what Routing says
	Routes    []sink.Route
	Judge     Judge // of Routes

	Functions Functions // needed if there is a function
}

// Shape is the pipeline as a Shaper.
func (p *Pipeline) Shape(ctx context.Context, b *Batch) {
	if p.Enrich == nil && p.Filter == nil && p.Transform == nil && p.Path == nil && p.Routing == nil {
		Encoder(p.Form.Encode).each(b, p.Logger)
		p.takeRoutes(b)
		return
	}
	p.whole(ctx, b)
	s, _ := scratch.Get().(*calls)
	s.functions = p.Functions
	defer scratch.Put(s)
	defer s.batch.Reset() // it keeps no message
	if p.Filter != nil {
		s.call(ctx, p.Filter, b, func(i int, out []byte) { b.Items[i].Skip = string(out) == "false" })
	}
	if p.Routing != nil {
		s.call(ctx, p.Routing, b, func(i int, out []byte) { p.routed(b, i, out) })
	} else {
		p.takeRoutes(b)
	}
	switch {
	case p.Transform != nil:
		s.call(ctx, p.Transform, b, func(i int, out []byte) { b.set(i, out) })
	case p.Path != nil:
		p.takePath(b)
	case p.Form.RecordOnly:
		p.recordOnly(b)
	}
}

// whole makes the whole messages: functions see all of them.
func (p *Pipeline) whole(ctx context.Context, b *Batch) {
	if p.Enrich == nil {
		Encoder(func(dst []byte, d *consumer.Delivery) ([]byte, error) { return p.Form.whole(dst, d, nil) }).each(b, p.Logger)
		return
	}
	found := p.enrich(ctx, b)
	for i := range b.Items {
		if b.Items[i].Err != nil {
			continue
		}
		Encoder(func(dst []byte, d *consumer.Delivery) ([]byte, error) { return p.Form.whole(dst, d, found[i]) }).one(b, i, p.Logger)
	}
}

// enrich asks for what belongs to the rows of the batch.
func (p *Pipeline) enrich(ctx context.Context, b *Batch) [][]byte {
	found := make([][]byte, len(b.Items))
	var changes []*cdc.Change
	var of []int
	for i := range b.Items {
		if d := b.Deliveries[i]; b.Items[i].Err == nil && d.Change != nil && !d.Change.TooBig && d.Change.Op != cdc.OpTruncate {
			changes, of = append(changes, d.Change), append(of, i)
		}
	}
	if len(changes) == 0 {
		return found
	}
	rows, err := p.Enrich.Enrich(ctx, changes)
	for j, i := range of {
		switch {
		case err != nil:
			b.Items[i].Err = err
		case rows[j].Err != nil:
			b.Items[i].Err = rows[j].Err
		default:
			found[i] = rows[j].Object
		}
	}
	return found
}

// takeRoutes finds the static route of each message. A message without its change goes where the sink is configured to deliver.
func (p *Pipeline) takeRoutes(b *Batch) {
	if p.Judge == nil {
		return
	}
	for i := range b.Items {
		it := &b.Items[i]
		if it.Err != nil || it.Skip || b.Deliveries[i].Change == nil {
			continue
		}
		n, err := p.Judge.Route(b.Deliveries[i].Change)
		switch {
		case err != nil:
			it.Err = err
		case n >= 0:
			it.Route = p.Routes[n]
		}
	}
}

func (p *Pipeline) routed(b *Batch, i int, out []byte) {
	route, err := p.Route(out)
	if err != nil {
		b.Items[i].Err = failed(p.Routing.Name(), language.Errorf(language.KindResult, "%s", err.Error()).With(string(out)))
		return
	}
	b.Items[i].Route = route
}

func (p *Pipeline) takePath(b *Batch) {
	for i := range b.Items {
		it := &b.Items[i]
		if it.Err != nil || it.Skip || b.Deliveries[i].Change == nil && !message.Complete(b.Body(i)) {
			continue
		}
		part, err := p.Path.Of(b.Body(i))
		if err != nil {
			e, _ := errors.AsType[*language.Error](err)
			it.Err = failed(p.Path.String(), e)
			continue
		}
		b.set(i, part)
	}
}

// recordOnly leaves the record of each message.
func (p *Pipeline) recordOnly(b *Batch) {
	for i := range b.Items {
		it := &b.Items[i]
		d := b.Deliveries[i]
		if it.Err != nil || it.Skip || d.Change == nil {
			continue
		}
		Encoder(p.Form.Encode).one(b, i, p.Logger)
	}
}

// calls is what the calls for one batch have in common.
type calls struct {
	functions Functions
	batch     sandbox.Batch
	of        []int
}

// scratch keeps the buffers of batches that are done.
var scratch = sync.Pool{New: func() any { return new(calls) }}

// call runs a function on every message that is still on its way. A body that is no whole message any more, kept from an earlier delivery, is
// left as it is.
func (s *calls) call(ctx context.Context, f *sandbox.Function, b *Batch, each func(i int, out []byte)) {
	s.batch.Reset()
	s.of = s.of[:0]
	for i := range b.Items {
		it := &b.Items[i]
		if it.Err != nil || it.Skip || b.Deliveries[i].Change == nil && !message.Complete(b.Body(i)) {
			continue
		}
		s.batch.Add(b.Body(i))
		s.of = append(s.of, i)
	}
	if len(s.of) == 0 {
		return
	}
	err := s.functions.Run(ctx, f, &s.batch)
	for j, i := range s.of {
		if err != nil {
			b.Items[i].Err = unavailable(f.Name(), err)
			continue
		}
		out, failure := s.batch.Result(j)
		if failure != nil {
			b.Items[i].Err = failed(f.Name(), failure)
			continue
		}
		each(i, out)
	}
}

// unavailable says that a function could not be run at all.
func unavailable(name string, err error) error {
	if p, ok := problem.As(err); ok {
		return p
	}
	return problem.New("functions_unavailable", "function %q could not be run", name).WithDetail("%s", err.Error()).
		WithHint("it is tried again; see the log of this process").Because(err)
}

// failed says which function failed, where, and on what.
func failed(name string, e *language.Error) error {
	code := "function_failed"
	switch e.Kind {
	case language.KindTimeout, language.KindMemory, language.KindOutput:
		code = "function_limit"
	case language.KindSyntax, language.KindRuntime, language.KindResult:
	}
	place := ""
	if e.Line > 0 {
		place = fmt.Sprintf(", line %d", e.Line)
		if e.Column > 0 {
			place += fmt.Sprintf(", column %d", e.Column)
		}
	}
	p := problem.New(code, "function %q%s: %s", name, place, e.Message).
		WithHint("mend the function: the message is tried again with the new one; sequin functions test tries it without delivering").Because(e)
	if e.Value != "" {
		p = p.WithPrivate("at hand: " + e.Value)
	}
	return p
}
