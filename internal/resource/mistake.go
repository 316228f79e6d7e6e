package resource

import (
	"fmt"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
)

// Codes of mistakes.
const (
	CodeInvalid     = "invalid_value"
	CodeMissing     = "missing_value"
	CodeUnknownKey  = "unknown_key"
	CodeDuplicate   = "duplicate_name"
	CodeReference   = "unknown_reference"
	CodeConflict    = "conflicting_keys"
	CodeUnavailable = "not_in_this_version" // its feature comes later
	CodeRetired     = "no_longer_offered"   // its feature will not come back
	CodeSyntax      = "invalid_yaml"
	CodeJSON        = "malformed_json"
	CodeLocal       = "local_only"    // what the server reads or runs on its own machine is not for its clients to choose
	CodeFixed       = "cannot_change" // decided when the resource was declared first
)

// Mistake is one thing that is wrong with a declaration. It never holds a secret.
type Mistake struct {
	Path string // "sinks[0].destination.http_endpoint"
	Code string
	What string // what is wrong, with the value found and the values accepted
	Hint string

	File         string // where it was written, if that is known
	Line, Column int
}

// Position is "file:line:column" as far as it is known.
func (m *Mistake) Position() string { return position(m.File, m.Line, m.Column) }

func position(file string, line, column int) string {
	switch {
	case line == 0:
		return file
	case file == "":
		return fmt.Sprintf("%d:%d", line, column)
	}
	return fmt.Sprintf("%s:%d:%d", file, line, column)
}

// Problem renders the mistake like any other error.
func (m *Mistake) Problem() *problem.Error {
	e := problem.New(m.Code, "%s", m.text()).WithHint("%s", m.Hint)
	if p := m.Position(); p != "" {
		e = e.WithDetail("at %s", p)
	}
	e.Fields = map[string][]string{m.Path: {m.What}}
	return e
}

func (m *Mistake) text() string {
	if m.Path == "" {
		return "the document " + m.What
	}
	return m.Path + " " + m.What
}

// InvalidError holds every mistake of a declaration.
type InvalidError struct {
	Mistakes []Mistake
}

// Error lists the mistakes, one a line, each with its position.
func (e *InvalidError) Error() string {
	var b strings.Builder
	for i := range e.Mistakes {
		m := &e.Mistakes[i]
		if i > 0 {
			b.WriteByte('\n')
		}
		if p := m.Position(); p != "" {
			b.WriteString(p + ": ")
		}
		b.WriteString(m.text())
		if m.Hint != "" {
			b.WriteString("\n\t" + m.Hint)
		}
	}
	return b.String()
}

// Unwrap gives all mistakes as one problem, for problem.As.
func (e *InvalidError) Unwrap() error { return e.Problem() }

// Problem is the summary of all mistakes: Fields has the messages of each path.
func (e *InvalidError) Problem() *problem.Error {
	noun := "mistakes"
	if len(e.Mistakes) == 1 {
		noun = "mistake"
	}
	p := problem.New("validation_failed", "the declaration has %d %s", len(e.Mistakes), noun).WithDetail("%s", e.Error())
	p.Fields = map[string][]string{}
	for i := range e.Mistakes {
		m := &e.Mistakes[i]
		p.Fields[m.Path] = append(p.Fields[m.Path], m.What)
	}
	return p
}

// Problems gives every mistake as a problem of its own.
func (e *InvalidError) Problems() []*problem.Error {
	all := make([]*problem.Error, len(e.Mistakes))
	for i := range e.Mistakes {
		all[i] = e.Mistakes[i].Problem()
	}
	return all
}
