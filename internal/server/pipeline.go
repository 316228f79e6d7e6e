package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres/enrich"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/all"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/path"
	"github.com/sequinstream/sequin/internal/transform/runtimes"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

// pipeline makes the messages of a sink.
type pipeline struct {
	*shape.Pipeline
	close func()
}

// enricher is an enrichment's query as shaping wants it.
type enricher struct{ *enrich.Query }

// Enrich asks for what belongs to the rows of changes.
func (e enricher) Enrich(ctx context.Context, changes []*cdc.Change) ([]shape.Enriched, error) {
	found, err := e.Query.Enrich(ctx, changes)
	out := make([]shape.Enriched, len(found))
	for i, f := range found {
		out[i] = shape.Enriched(f)
	}
	return out, err
}

// askedDatabase is the database that an enrichment's query runs in, as it is to be reached.
func askedDatabase(set *resource.Set, own *resource.Database, f *resource.Function) resource.Database {
	database := *own
	if other, ok := set.Database(f.Query.Database); ok {
		database = *other
	}
	if f.Query.ReplicaHost != "" {
		database.Hostname = f.Query.ReplicaHost
		database.Port = cmp.Or(f.Query.ReplicaPort, database.Port)
	}
	return database
}

// enrichmentOf is the query of an enrichment.
func enrichmentOf(database resource.Database, f *resource.Function, sk resource.Sink, logger *slog.Logger) (*enrich.Query, error) {
	source, err := Source(database)
	if err != nil {
		return nil, err
	}
	return enrich.New(enrich.Options{
		Name: f.Name, SQL: f.Code, Connect: source.Connect, Logger: logger, Format: formatOf(sk), Timeout: f.Query.Timeout, MaxRows: f.Query.MaxRows,
		CacheFor: f.Query.CacheFor,
	}), nil
}

// pipelineOf is what makes the messages of a sink.
func (r *sinkRun) pipelineOf(source resource.Database, want declared) (*pipeline, error) {
	p := &pipeline{close: func() {}}
	p.Pipeline = &shape.Pipeline{
		Logger: r.logger,
		Form: shape.Form{
			Format: formatOf(want.sink), RecordOnly: want.retention != nil || want.sink.LegacyTransform == resource.LegacyTransformRecordOnly, Tail: tailOf(r.db.id, source, want),
		},
	}
	if err := r.addRoutes(p.Pipeline, want); err != nil {
		return nil, err
	}
	if f := want.functions[want.sink.Enrichment]; f != nil {
		q, err := enrichmentOf(*want.asked, f, want.sink, r.logger)
		if err != nil {
			return nil, fmt.Errorf("enrichment %q: %w", f.Name, err)
		}
		p.Enrich, p.close = enricher{q}, q.Close
	}
	if err := r.addFunctions(p.Pipeline, want); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// addFunctions makes ready what runs in processes of their own.
func (r *sinkRun) addFunctions(p *shape.Pipeline, want declared) (err error) {
	p.Functions = r.db.server.functions
	if f := want.functions[want.sink.Filter]; f != nil {
		if p.Filter, err = runnable(f); err != nil {
			return err
		}
	}
	if f := want.functions[want.sink.Routing]; f != nil {
		if p.Routing, err = runnable(f); err != nil {
			return err
		}
		read, err := router(want)
		if err != nil {
			return err
		}
		p.Route = func(to []byte) (sink.Route, error) { return read(to, false) }
	}
	f := want.functions[want.sink.Transform]
	switch {
	case f == nil:
	case f.Type == resource.FunctionPath:
		if p.Path, err = path.New(f.Path); err != nil {
			return fmt.Errorf("function %q: %w", f.Name, err)
		}
	default:
		p.Transform, err = runnable(f)
	}
	return err
}

// runnable is a function as the workers know it.
func runnable(f *resource.Function) (*sandbox.Function, error) {
	entry := map[resource.FunctionType]language.Entry{
		resource.FunctionTransform: language.Transform, resource.FunctionFilter: language.Filter, resource.FunctionRouting: language.Route,
	}[f.Type]
	code, err := runtimes.Code(string(f.Language), entry, f.Code)
	if err != nil {
		return nil, err
	}
	return sandbox.NewFunction(code.Language, language.Source{Name: f.Name, Entry: entry, Code: code.Code}), nil
}

// shapes checks what is to be done with messages before it is declared.
type shapes struct{ functions *sandbox.Pool }

// CheckSink reads the routes of a sink, and looks whether its functions can be run.
func (shapes) CheckSink(set *resource.Set, sk *resource.Sink) []resource.Mistake {
	var mistakes []resource.Mistake
	for _, use := range []struct{ key, name string }{{"filter", sk.Filter}, {"transform", sk.Transform}, {"routing", sk.Routing}} {
		f, ok := set.Function(use.name)
		if !ok || f.Type == resource.FunctionPath {
			continue
		}
		if _, err := runnable(f); err != nil {
			m := resource.Mistake{Path: use.key, Code: resource.CodeInvalid, What: fmt.Sprintf("is %q, which cannot be run: %s", use.name, err.Error())}
			if p, ok := problem.As(err); ok {
				m.Code, m.Hint = p.Code, p.Hint
			}
			mistakes = append(mistakes, m)
		}
	}
	if len(sk.Routes) == 0 {
		return mistakes
	}
	want := declared{sink: *sk}
	if ep, ok := set.HTTPEndpoint(sk.Destination.Webhook.HTTPEndpoint); ok {
		want.endpoint = ep
	}
	read, err := router(want)
	if err != nil {
		return append(mistakes, resource.Mistake{Path: "route", Code: resource.CodeInvalid, What: "cannot be used: " + err.Error()})
	}
	for i := range sk.Routes {
		if _, err := read(sk.Routes[i].To, true); err != nil {
			mistakes = append(mistakes, resource.Mistake{Path: fmt.Sprintf("route[%d].to", i), Code: resource.CodeInvalid, What: "is not right: " + err.Error()})
		}
	}
	return mistakes
}

// CheckFunction compiles a function. That no worker could be started is no mistake of the function's.
func (s shapes) CheckFunction(ctx context.Context, f *resource.Function) ([]string, error) {
	switch f.Type {
	case resource.FunctionPath:
		_, err := path.New(f.Path)
		return nil, err
	case resource.FunctionEnrichment:
		return nil, nil
	case resource.FunctionTransform, resource.FunctionFilter, resource.FunctionRouting:
	}
	code, err := runnable(f)
	if err != nil { // it can be kept; a sink cannot use it
		return []string{err.Error()}, nil //nolint:nilerr // a warning
	}
	if err = s.functions.Check(ctx, code); err == nil {
		return nil, nil
	}
	if mistake, ok := errors.AsType[*language.Error](err); ok {
		return nil, problem.New("function_invalid", "%s", mistake.Error()).Because(err)
	}
	return []string{"it could not be compiled to be checked: " + err.Error()}, nil
}

// router reads the routes of a sink.
func router(want declared) (func(to []byte, configured bool) (sink.Route, error), error) {
	definition, ok := all.ByType(string(want.sink.Destination.Type))
	if !ok || definition.Route == nil {
		return nil, fmt.Errorf("messages of a sink of the type %s cannot be routed", want.sink.Destination.Type)
	}
	config, err := webhookConfig(want)
	if err != nil {
		return nil, err
	}
	return func(to []byte, configured bool) (sink.Route, error) { return definition.Route(config, to, configured) }, nil
}

// addRoutes reads the static routes.
func (r *sinkRun) addRoutes(p *shape.Pipeline, want declared) error {
	if len(want.sink.Routes) == 0 {
		return nil
	}
	read, err := router(want)
	if err != nil {
		return err
	}
	j := &judge{}
	for i := range want.sink.Routes {
		declared := want.sink.Routes[i]
		route, err := read(declared.To, true)
		if err != nil {
			return fmt.Errorf("route[%d].to: %w", i, err)
		}
		p.Routes = append(p.Routes, route)
		c := routeCondition{last: &atomic.Pointer[relationBound]{}}
		if declared.Where != "" {
			texts := []string{declared.Where}
			c.conditions = newConditions(r.db.facts, declared.Where, func(resource.TableName) []string { return texts })
		}
		j.routes = append(j.routes, c)
	}
	p.Judge = j
	return nil
}

// judge finds the first route whose condition holds. It is the sink's own, and asked for one message after the other.
type judge struct{ routes []routeCondition }

// routeCondition is the condition of a route; without one it is for all others.
type routeCondition struct {
	conditions *conditions
	last       *atomic.Pointer[relationBound]
}

// relationBound is what was bound last.
type relationBound struct {
	relation *cdc.Relation
	bound    boundConditions
}

func (r routeCondition) matches(c *cdc.Change) (bool, error) {
	if r.conditions == nil {
		return true, nil
	}
	if known := r.last.Load(); known != nil && known.relation == c.Relation {
		return known.bound.Matches(c)
	}
	bound, err := r.conditions.bind(c.Relation)
	if err != nil {
		return false, err
	}
	ok, err := bound.Matches(c)
	if err == nil { // one that does not fit may do so when more is known of the table
		r.last.Store(&relationBound{c.Relation, bound})
	}
	return ok, err
}

// Route is the index of the route that a change takes, -1 for none.
func (j *judge) Route(c *cdc.Change) (int, error) {
	for i, r := range j.routes {
		switch ok, err := r.matches(c); {
		case err != nil:
			return -1, err
		case ok:
			return i, nil
		}
	}
	return -1, nil
}
