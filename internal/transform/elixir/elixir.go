// Package elixir translates functions from Elixir, as the original had them, to JavaScript.
//
// What is translated gives the answer that Elixir gives; what cannot be translated so is refused, with its place, the reason, and what to write
// instead, everything at once. Where JavaScript has no word for what Elixir means (integers without end, arithmetic that refuses texts, 0 and ""
// that are true, an order over all values), the code calls small helpers, which are put in front of it. Types are followed through the code as
// far as it takes to tell atoms from texts and tuples from lists, which are the same in JavaScript. A helper stops the function with an error
// where only a value decides and the answer would be another one.
package elixir

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Refusal is a part of a function that is not translated.
type Refusal struct {
	Position
	What    string `json:"construct"` // as it stands in the code
	Why     string `json:"reason"`
	Instead string `json:"instead"`
}

func (r Refusal) String() string {
	return fmt.Sprintf("%s: %s: %s; %s", r.Position, r.What, r.Why, r.Instead)
}

// Note tells of a place where the answer depends on what the code does not show.
type Note struct {
	Position
	Text string `json:"text"`
}

func (n Note) String() string { return n.Position.String() + ": " + n.Text }

// CodeNotConverted is of functions that cannot be translated as a whole.
const CodeNotConverted = "function_not_converted"

// Error has everything that is not translated.
type Error struct{ Refusals []Refusal }

func (e *Error) Error() string {
	lines := make([]string, len(e.Refusals))
	for i, r := range e.Refusals {
		lines[i] = r.String()
	}
	return strings.Join(lines, "\n")
}

// Result is a function in JavaScript.
type Result struct {
	Entry string `json:"entry"` // transform, filter or route
	Code  string `json:"code"`
	Notes []Note `json:"notes"`
}

// maxRefusals is how many are told at once.
const maxRefusals = 100

// Convert translates a function. The error is an *Error.
func Convert(code string) (*Result, error) {
	t := &translator{}
	result := t.convert(code)
	if len(t.refusals) == 0 {
		return result, nil
	}
	slices.SortStableFunc(t.refusals, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	refusals := slices.Compact(t.refusals)
	return nil, &Error{refusals[:min(len(refusals), maxRefusals)]}
}

// parse makes a tree of code, or notes why that is not possible.
func parse(code string, refusals *[]Refusal) (tree *node) {
	defer func() {
		if fault := recover(); fault != nil {
			if _, ok := fault.(stopped); !ok {
				panic(fault)
			}
			tree = nil
		}
	}()
	l := lexer{code: code, line: 1, col: 1, refusals: refusals}
	p := parser{tokens: l.tokens(nil), refusals: refusals}
	return p.blockUntil(func(t *token) bool { return t.kind == tokenEnd })
}
