package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// invalidStatus renders mistakes. They have one code if they all have the same, so that a client can tell what is not offered yet from what is
// misspelt.
func invalidStatus(status int, invalid *resource.InvalidError) *statusError {
	p := invalid.Problem()
	p.Message = "Validation failed"
	if len(invalid.Mistakes) > 0 {
		first := &invalid.Mistakes[0]
		same := func(m resource.Mistake) bool { return m.Code == first.Code }
		if !slices.ContainsFunc(invalid.Mistakes, func(m resource.Mistake) bool { return !same(m) }) {
			p.Code = first.Code
		}
		p.Hint = first.Hint
	}
	return &statusError{status: status, problem: p}
}

// errTaken says that another resource of the kind has the name.
func errTaken() error { return mistaken("name", resource.CodeDuplicate, "has already been taken") }

func mistaken(path, code, what string) error {
	return &resource.InvalidError{Mistakes: []resource.Mistake{{Path: path, Code: code, What: what}}}
}

// ofResource makes the mistakes of a whole set those of the one resource that a request is about: their paths lose its place in the set.
func ofResource(err error, place string) error {
	invalid, ok := errors.AsType[*resource.InvalidError](err)
	if !ok {
		return err
	}
	own := &resource.InvalidError{Mistakes: slices.Clone(invalid.Mistakes)}
	for i := range own.Mistakes {
		m := &own.Mistakes[i]
		if m.Path == place {
			m.Path = ""
		} else if rest, found := strings.CutPrefix(m.Path, place+"."); found {
			m.Path = rest
		}
	}
	return own
}

// missingReference makes a 404 of mistakes that only name what is not there, as the original does: refs has the paths and what is named there.
func missingReference(err error, refs map[string]entity) error {
	invalid, ok := errors.AsType[*resource.InvalidError](err)
	if !ok || len(invalid.Mistakes) == 0 {
		return err
	}
	for i := range invalid.Mistakes {
		m := &invalid.Mistakes[i]
		if _, known := refs[m.Path]; !known || m.Code != resource.CodeReference {
			return err
		}
	}
	first := &invalid.Mistakes[0]
	e := refs[first.Path].missing()
	e.problem = e.problem.WithDetail("%s %s", first.Path, first.What)
	e.problem.Fields = invalid.Problem().Fields
	return e
}

// entity is the word for a kind of thing in "not found", and the code that goes with it.
type entity struct{ word, code string }

func (e entity) missing() *statusError {
	return notFound(e.code, "Not found: No `"+e.word+"` found matching the provided ID or name")
}

// Codes of what is missing.
const (
	CodeSinkNotFound        = "sink_not_found"
	CodeDatabaseNotDeclared = "database_not_declared"
	CodeEndpointNotFound    = "http_endpoint_not_found"
	CodeFunctionNotFound    = "function_not_found"
	CodeRetentionNotFound   = "change_retention_not_found"
	CodeBackfillNotFound    = "backfill_not_found"
	CodeReplicationNotFound = "replication_not_found"
)

// What can be missing, in the words of the original.
var (
	entitySink        = entity{"consumer", CodeSinkNotFound}
	entityDatabase    = entity{"postgres database", CodeDatabaseNotDeclared}
	entityReference   = entity{"database", CodeDatabaseNotDeclared} // named by something else
	entityEndpoint    = entity{"http endpoint", CodeEndpointNotFound}
	entityFunction    = entity{"function", CodeFunctionNotFound}
	entityRetention   = entity{"change retention", CodeRetentionNotFound}
	entityBackfill    = entity{"backfill", CodeBackfillNotFound}
	entityReplication = entity{"pg replication", CodeReplicationNotFound}
)

// whole is the key of what is wrong with a thing as a whole while its parts have keys of their own.
const whole = "base"

// mistakes is what is wrong at a path and below it.
type mistakes struct {
	own   []string
	keys  map[string]*mistakes
	items map[int]*mistakes
}

// nest turns messages by path, "destination.port" or "tables[1].name", into the nested form of the original: maps for objects, lists of maps for
// lists, a list of messages at the end. What is wrong with a list's item that is no object belongs to the list.
func nest(fields map[string][]string) any {
	var root mistakes
	for _, path := range slices.Sorted(maps.Keys(fields)) {
		root.at(path).own = append(root.at(path).own, fields[path]...)
	}
	if top := root.keys["destination"]; top != nil { // the original calls it by the name of its own table
		root.keys["sink"] = top
	}
	if root.keys == nil {
		root.keys = map[string]*mistakes{}
	}
	return root.render()
}

// at finds or makes the place of a path.
func (m *mistakes) at(path string) *mistakes {
	for path != "" {
		end := strings.IndexAny(path, ".[")
		switch {
		case end < 0:
			return m.key(path)
		case end > 0:
			m = m.key(path[:end])
			path = strings.TrimPrefix(path[end:], ".")
		default:
			index, rest, found := strings.Cut(path[1:], "]")
			n, err := strconv.Atoi(index)
			if path[0] != '[' || !found || err != nil || n < 0 {
				return m.key(path)
			}
			m = m.item(n)
			path = strings.TrimPrefix(rest, ".")
		}
	}
	return m
}

func (m *mistakes) key(name string) *mistakes {
	if m.keys == nil {
		m.keys = map[string]*mistakes{}
	}
	if m.keys[name] == nil {
		m.keys[name] = &mistakes{}
	}
	return m.keys[name]
}

func (m *mistakes) item(n int) *mistakes {
	if m.items == nil {
		m.items = map[int]*mistakes{}
	}
	if m.items[n] == nil {
		m.items[n] = &mistakes{}
	}
	return m.items[n]
}

// plain tells whether there are messages and nothing below them.
func (m *mistakes) plain() bool { return m.keys == nil && m.items == nil }

func (m *mistakes) render() any {
	if m.items != nil {
		return m.renderList()
	}
	if m.plain() {
		return m.own
	}
	object := make(map[string]any, len(m.keys)+1)
	for name, below := range m.keys {
		object[name] = below.render()
	}
	if len(m.own) > 0 {
		object[whole] = m.own
	}
	return object
}

// renderList writes a map for each item up to the last one that is wrong, if the items are objects, else the messages of all.
func (m *mistakes) renderList() any {
	last, objects := 0, false
	for n, item := range m.items {
		last = max(last, n)
		objects = objects || !item.plain()
	}
	if !objects {
		messages := slices.Clone(m.own)
		for _, n := range slices.Sorted(maps.Keys(m.items)) {
			for _, text := range m.items[n].own {
				messages = append(messages, fmt.Sprintf("item %d %s", n+1, text))
			}
		}
		return messages
	}
	const most = 10_000 // a longer list says which items by their messages alone
	list := make([]any, 0, min(last+1, most))
	for n := range min(last+1, most) {
		item := m.items[n]
		switch {
		case item == nil:
			list = append(list, struct{}{})
		case item.plain():
			list = append(list, map[string]any{whole: item.own})
		default:
			list = append(list, item.render())
		}
	}
	return list
}

// documentStatus is the status of mistakes in a whole document: 404 when all they do is name what is not there, 422 when they are about sinks
// alone, else 400.
func documentStatus(err error) error {
	invalid, ok := errors.AsType[*resource.InvalidError](err)
	if !ok {
		return err
	}
	missing, sinks := true, true
	for i := range invalid.Mistakes {
		m := &invalid.Mistakes[i]
		missing = missing && m.Code == resource.CodeReference
		sinks = sinks && strings.HasPrefix(m.Path, "sinks[")
	}
	status := http.StatusBadRequest
	switch {
	case missing:
		status = http.StatusNotFound
	case sinks:
		status = http.StatusUnprocessableEntity
	}
	e := invalidStatus(status, invalid)
	e.problem.Message = invalid.Problem().Message
	return e
}

// sourceTrouble gives an error of a source database its status: the caller's own declaration of it cannot be reached, or does not fit.
func sourceTrouble(err error, status int) error {
	s, ok := errors.AsType[*SourceError](err)
	if !ok {
		return err
	}
	p, ok := problem.As(s.Err)
	if !ok {
		p = problem.New("source_unreachable", "the source database could not be looked at").WithDetail("%s", s.Err).
			WithHint("check that it runs, and hostname, port, username and password").Because(s.Err)
	}
	switch p.Code {
	case "slot_not_found", "publication_not_found":
		status = http.StatusNotFound
	}
	if status == http.StatusBadGateway {
		shown := *p
		shown.Message = "[customer_postgres]: " + p.Message
		p = &shown
	}
	return &statusError{status: status, problem: p}
}
