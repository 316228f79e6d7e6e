package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres/enrich"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/all"
	"github.com/sequinstream/sequin/internal/transform/path"
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
			Format: formatOf(want.sink), RecordOnly: want.sink.LegacyTransform == resource.LegacyTransformRecordOnly, Tail: tailOf(r.db.id, source, want),
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
	if f := want.functions[want.sink.Transform]; f != nil && f.Type == resource.FunctionPath {
		var err error
		if p.Path, err = path.New(f.Path); err != nil {
			p.close()
			return nil, fmt.Errorf("function %q: %w", f.Name, err)
		}
	}
	return p, nil
}

// shapes checks what is to be done with messages before it is declared.
type shapes struct{}

// CheckSink reads the routes of a sink, and looks whether its functions can be run.
func (shapes) CheckSink(set *resource.Set, sk *resource.Sink) []resource.Mistake {
	var mistakes []resource.Mistake
	for key, name := range map[string]string{"filter": sk.Filter, "transform": sk.Transform, "enrichment": sk.Enrichment, "routing": sk.Routing} {
		if f, ok := set.Function(name); ok && f.Type != resource.FunctionPath && f.Type != resource.FunctionEnrichment {
			mistakes = append(mistakes, resource.Mistake{
				Path: key, Code: resource.CodeUnavailable, What: fmt.Sprintf("is %q, a function of the type %s, and this version does not run those yet", name, f.Type),
			})
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

// CheckFunction compiles a function.
func (shapes) CheckFunction(context.Context, *resource.Function) ([]string, error) { return nil, nil }

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
