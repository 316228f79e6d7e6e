package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// Functions tries functions without delivering anything.
type Functions interface {
	// Try runs a function on messages. What the function does wrong is told with the message; an error says that it could not be tried.
	Try(ctx context.Context, account string, t *Trial) ([]Tried, error)
}

// Trial is a function and the messages to try it on: one that is given, one of a sink, or the last ones of a table. With none of them it is tried on
// a sample.
type Trial struct {
	Function resource.Function
	Message  json.RawMessage // a whole message
	Sink     string          // by name or id
	Seq      string          // or ack_id, of one of its messages
	Database string          // by name or id
	Table    resource.TableName
	Last     int
}

// Tried is what became of one message.
type Tried struct {
	Input  json.RawMessage `json:"input"`
	Output json.RawMessage `json:"output"` // null after an error
	Error  *TriedError     `json:"error"`
}

// TriedError is what went wrong.
type TriedError struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Value   string `json:"value,omitempty"`
}

// Text is the error in one line.
func (e *TriedError) Text() string {
	l := language.Error{Message: e.Message, Line: e.Line, Column: e.Column, Value: e.Value}
	return l.Error()
}

// The bounds of a trial.
const (
	defaultLast = 10
	maxLast     = 100
)

func (a *API) trialRoutes() []entry {
	return guard(changes, route{http.MethodPost, "/api/functions/test", a.tryFunction})
}

// tryFunction runs a function on a few messages and delivers nothing.
func (a *API) tryFunction(w http.ResponseWriter, r *request) error {
	t, err := a.trial(r)
	if err != nil {
		return err
	}
	tried, err := a.functions.Try(r.Context(), r.identity.Account, t)
	if err != nil {
		return err
	}
	return a.writeJSON(w, struct {
		Data []Tried `json:"data"`
	}{tried})
}

// trial reads what is to be tried.
func (a *API) trial(r *request) (*Trial, error) {
	t := &Trial{Last: defaultLast}
	var err error
	if t.Function, err = a.triedFunction(r); err != nil {
		return nil, err
	}
	if raw, there := r.params.body["message"]; there && string(raw) != "null" {
		if raw[0] != '{' {
			return nil, badParameter("message", "must be an object: a whole message, with record, changes, action and metadata")
		}
		t.Message = raw
	}
	for _, p := range []struct {
		name string
		dst  *string
	}{{"sink", &t.Sink}, {"database", &t.Database}} {
		if *p.dst, _, err = r.params.word(p.name); err != nil {
			return nil, err
		}
	}
	if v, found := r.params.find("seq"); found {
		if !v.scalar {
			return nil, badParameter("seq", "must be the number or the ack_id of a message")
		}
		t.Seq = v.text
	}
	table, _, err := r.params.word("table")
	if err != nil {
		return nil, err
	}
	last, found, err := r.params.integer("last", 1, maxLast)
	if err != nil {
		return nil, err
	}
	if found {
		t.Last = last
	}
	switch {
	case t.Message != nil && (t.Sink != "" || table != ""):
		return nil, badParameter("message", "stands beside sink or table; give one of them")
	case t.Sink != "" && table != "":
		return nil, badParameter("sink", "stands beside table; give one of them")
	case t.Sink != "" && t.Seq == "":
		return nil, badParameter("seq", "is missing: which message of the sink")
	case table != "" && t.Database == "":
		return nil, badParameter("database", "is missing: whose table it is")
	case table == "" && t.Database != "":
		return nil, badParameter("table", "is missing")
	}
	if table != "" {
		t.Table = resource.ParseTableName(table)
	}
	return t, nil
}

// triedFunction is one that is declared, by name or id, or one in the body itself.
func (a *API) triedFunction(r *request) (resource.Function, error) {
	raw, there := r.params.body["function"]
	switch {
	case !there || string(raw) == "null":
		return resource.Function{}, badParameter("function", "is missing: the name of a function, or a function")
	case raw[0] == '{':
		f := resource.Function{Name: "test"}
		var named map[string]json.RawMessage
		if err := json.Unmarshal(raw, &named); err != nil {
			return f, badParameter("function", "cannot be read")
		}
		if _, has := named["name"]; !has {
			named["name"] = json.RawMessage(`"test"`)
		}
		body, err := json.Marshal(named)
		if err != nil {
			return f, badParameter("function", "cannot be read")
		}
		_, err = config.UpdateFunction(&f, body, config.BodyOptions{Create: true})
		return f, err
	}
	name, _, err := r.params.word("function")
	if err != nil {
		return resource.Function{}, err
	}
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return resource.Function{}, err
	}
	for i := range set.Functions {
		if f := &set.Functions[i]; f.Name == name || strings.EqualFold(f.ID, name) {
			return *f, nil
		}
	}
	return resource.Function{}, notFound("function_not_found", "Not found: No `function` found matching the provided ID or name")
}
