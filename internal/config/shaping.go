package config

import (
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/where"
)

// shaping reads what a sink does with messages: conditions, functions and routes. A document that leaves one of them out has the sink do without
// it; the body of a request leaves it as it is.
func (f *fields) shaping(s *resource.Sink) {
	f.attached("filter", &s.Filter)
	f.attached("transform", &s.Transform)
	f.attached("enrichment", &s.Enrichment)
	f.attached("routing", &s.Routing)
	if !f.condition("where", &s.Where) && !f.d.body && !f.describing() {
		s.Where = ""
	}
	f.routes(s)
}

// attached reads the name of a function; none and its like, and null, stand for no function.
func (f *fields) attached(key string, dst *string) {
	var name string
	if !f.text(key, &name, "") {
		if f.cleared(key) || !f.d.body {
			*dst = ""
		}
		return
	}
	if n, _ := f.find(key); name == "" {
		f.mistake(key, n, resource.CodeInvalid, "is empty; name a function, or write none")
	}
	if off(&node{kind: scalar, text: name}) {
		name = ""
	}
	*dst = name
}

// condition reads a condition in SQL and checks its grammar. Whether it fits the tables is seen where those are known.
func (f *fields) condition(key string, dst *string) bool {
	if !f.text(key, dst, "") {
		return f.cleared(key)
	}
	n, _ := f.find(key)
	if strings.TrimSpace(*dst) == "" || len(*dst) > resource.MaxCondition {
		return true // for the validation
	}
	if err := where.CheckSyntax(*dst); err != nil {
		m := f.mistake(key, n, resource.CodeInvalid, "is not a condition in SQL: %s", err.Error())
		if p, ok := problem.As(err); ok {
			m.Hint = p.Hint
		}
	}
	return true
}

func (f *fields) routes(s *resource.Sink) {
	var all []resource.Route
	given := f.list("route", func(path string, n *node) {
		r := f.d.fields(path, n)
		var one resource.Route
		r.condition("where", &one.Where)
		r.ask("to", &shape{kind: shapeMap, item: &shape{kind: shapeValue}})
		if to, ok := r.find("to"); ok {
			one.To = r.json("to", to, nil, maxRouteBytes)
		}
		r.close()
		all = append(all, one)
	})
	if given || f.cleared("route") || !f.d.body && !f.describing() {
		s.Routes = all
	}
}

// maxRouteBytes is where reading a route's destination gives up; the validation says how much is kept.
const maxRouteBytes = 128 << 10
