// Package language is the contract between whoever runs functions and the runtimes of the languages that they are written in. A runtime knows
// its language: it compiles code, hands a message in, and takes a result out, without losing a digit, the order of keys, or the difference
// between null and missing. It offers no files, network, processes, real clock or real randomness. Limits of time and memory are kept from
// outside, by Interrupt and in the end by ending the process that it runs in: a runtime need not survive a function that is out for trouble.
package language

import (
	"fmt"
	"strings"
)

// Entry is the name of the function that the code defines. Each takes action, record, changes and metadata.
type Entry string

// The entries.
const (
	Transform Entry = "transform" // returns the new message: anything that JSON can say
	Filter    Entry = "filter"    // returns true for a message that is wanted, else false
	Route     Entry = "route"     // returns an object that says where the message goes
)

// Source is a function to compile.
type Source struct {
	Name   string // of the function, for errors
	Entry  Entry
	Code   []byte // text in the language, or a WebAssembly module
	Output int    // how many bytes of JSON a result may have
}

// Runtime is a language.
type Runtime interface {
	// Compile checks the code and makes it ready to run. A mistake in the code is an *Error of KindSyntax.
	Compile(s Source) (Program, error)
}

// Program is a compiled function with the state of one runtime of its own. Only Interrupt is safe for concurrent use.
type Program interface {
	// Call runs the function on one message, the JSON object {"record":…,"changes":…,"action":…,"metadata":…} as consumers get it, and appends
	// the JSON of what it returned. What goes wrong in the function is an *Error, and the program can be called again after it. No call sees
	// what an earlier one left behind.
	Call(dst, message []byte) ([]byte, error)
	// Interrupt ends the call under way, as soon as the language lets it, with the error given, completed by the place in the code. Without a
	// call under way it does nothing; it never ends a later one.
	Interrupt(cause *Error)
	Close() error
}

// Kind says what went wrong.
type Kind string

// The kinds of error.
const (
	KindSyntax  Kind = "syntax"  // the code cannot be compiled, or does not define the function that is asked for
	KindRuntime Kind = "runtime" // the code raised an error
	KindResult  Kind = "result"  // what was returned cannot be taken: nothing, a wrong type, a cycle, no JSON
	KindTimeout Kind = "timeout" // the call took too long
	KindMemory  Kind = "memory"  // the call took too much memory, or went too deep
	KindOutput  Kind = "output"  // the result is too big
)

// MaxValue is how many bytes of a value, and MaxMessage how many of a message, an error shows.
const (
	MaxValue   = 200
	MaxMessage = 500
)

// Error is a mistake in a function, or what it did wrong. Line and Column count from 1 in the code as it was written; 0 is unknown.
type Error struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"` // one line
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Value   string `json:"value,omitempty"` // the value at hand, as JSON or as the language prints it
}

// Errorf makes an error without a place.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: Cut(fmt.Sprintf(format, args...), MaxMessage)}
}

// At returns a copy of e with a place, unless it has one.
func (e *Error) At(line, column int) *Error {
	placed := *e
	if placed.Line == 0 {
		placed.Line, placed.Column = line, column
	}
	return &placed
}

// With returns a copy of e with the value at hand.
func (e *Error) With(value string) *Error {
	shown := *e
	shown.Value = Cut(value, MaxValue)
	return &shown
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	switch {
	case e.Line > 0 && e.Column > 0:
		fmt.Fprintf(&b, " (line %d, column %d)", e.Line, e.Column)
	case e.Line > 0:
		fmt.Fprintf(&b, " (line %d)", e.Line)
	}
	if e.Value != "" {
		fmt.Fprintf(&b, ", at hand: %s", e.Value)
	}
	return b.String()
}

// Cut shortens a text to at most n bytes, on one line and at the border of a character, with an ellipsis in place of the rest.
func Cut(text string, n int) string {
	text = strings.ToValidUTF8(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " "), "�")
	if len(text) <= n {
		return text
	}
	const ellipsis = "…"
	end := max(n-len(ellipsis), 0)
	for end > 0 && text[end]&0xC0 == 0x80 { // in the middle of a character
		end--
	}
	return text[:end] + ellipsis
}
