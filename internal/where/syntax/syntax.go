// Package syntax reads the expressions that Postgres takes as conditions: its lexical rules with standard_conforming_strings on, its table of
// precedences, and its grammar of expressions without subqueries. It is pure, it never panics on any text, and depth and length are bounded.
// What is not supported is refused where it stands, with what to use instead.
package syntax

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxLength bounds the text of a condition, and maxDepth how deep it nests.
const (
	MaxLength = 64 << 10
	maxDepth  = 200
)

// Error is a mistake in a text, at a byte offset.
type Error struct {
	Pos     int
	Message string
	Hint    string
}

func (e *Error) Error() string { return e.Message }

func errorAt(pos int, hint, format string, args ...any) *Error {
	return &Error{Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Place turns a byte offset into a line and a column, both from 1; columns count characters.
func Place(text string, pos int) (line, column int) {
	pos = min(max(pos, 0), len(text))
	before := text[:pos]
	line = strings.Count(before, "\n") + 1
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
}

// Excerpt is the line around a byte offset, with a caret below the offset.
func Excerpt(text string, pos int) string {
	const around = 40
	pos = min(max(pos, 0), len(text))
	start := strings.LastIndexByte(text[:pos], '\n') + 1
	end := len(text)
	if i := strings.IndexByte(text[pos:], '\n'); i >= 0 {
		end = pos + i
	}
	before := []rune(text[start:pos])
	after := []rune(text[pos:end])
	left, right := "", ""
	if len(before) > around {
		before, left = before[len(before)-around:], "…"
	}
	if len(after) > around {
		after, right = after[:around], "…"
	}
	clean := strings.NewReplacer("\t", " ", "\r", " ")
	head := left + clean.Replace(string(before))
	return head + clean.Replace(string(after)) + right + "\n" + strings.Repeat(" ", utf8.RuneCountInString(head)) + "^"
}

// Node is a part of an expression; Pos is the byte offset where Postgres would point.
type Node interface{ Pos() int }

// At is embedded in nodes for their offset.
type At int

// Pos is the byte offset.
func (a At) Pos() int { return int(a) }

// The nodes.
type (
	// Column is a name with up to three parts. End is where it ends in the text.
	Column struct {
		At
		Parts []string
		End   int
	}
	// Const is a literal: i integer or other number, s string, b and x bit strings, t true or false, n null.
	Const struct {
		At
		Kind byte
		Text string
	}
	// Cast is a conversion, written in any of the ways. Literal is true for type 'text'.
	Cast struct {
		At
		Arg     Node
		Type    TypeName
		Literal bool
	}
	// Unary is a prefix operator.
	Unary struct {
		At
		Op  string
		Arg Node
	}
	// Binary is an operator between two operands.
	Binary struct {
		At
		Op          string
		Left, Right Node
	}
	// Logic is AND or OR; Not is NOT.
	Logic struct {
		At
		Or          bool
		Left, Right Node
	}
	// Not is NOT.
	Not struct {
		At
		Arg Node
	}
	// Is is IS [NOT] NULL, TRUE, FALSE or UNKNOWN.
	Is struct {
		At
		Arg  Node
		Test string
		Not  bool
	}
	// Distinct is IS [NOT] DISTINCT FROM.
	Distinct struct {
		At
		Left, Right Node
		Not         bool
	}
	// In is [NOT] IN with a list.
	In struct {
		At
		Arg  Node
		List []Node
		Not  bool
	}
	// Between is [NOT] BETWEEN [SYMMETRIC].
	Between struct {
		At
		Arg, Low, High Node
		Not, Symmetric bool
	}
	// Like is LIKE, ILIKE or SIMILAR TO, with the operator that it stands for; Escape may be nil.
	Like struct {
		At
		Op                   string
		Similar              bool
		Arg, Pattern, Escape Node
	}
	// AnyAll is an operator with ANY or ALL of an array.
	AnyAll struct {
		At
		Op          string
		Left, Right Node
		All         bool
	}
	// Call is a function call. Keyword is true for the forms with key words in them, whose function is always that of Postgres.
	Call struct {
		At
		Name    string
		Args    []Node
		Keyword bool
	}
	// Special is COALESCE, NULLIF, GREATEST or LEAST.
	Special struct {
		At
		Name string
		Args []Node
	}
	// Case is CASE; Arg and Else may be nil.
	Case struct {
		At
		Arg   Node
		Whens []When
		Else  Node
	}
	// When is one branch of a CASE.
	When struct{ Cond, Result Node }
	// Array is ARRAY[…].
	Array struct {
		At
		Elems []Node
	}
	// Index is a subscript or, if any of them is one, slices.
	Index struct {
		At
		Base Node
		Subs []Subscript
	}
	// Subscript is [Low] or [Low:High]; the bounds of a slice may be nil.
	Subscript struct {
		Low, High Node
		Slice     bool
	}
	// Collate is COLLATE.
	Collate struct {
		At
		Arg  Node
		Name string
	}
)

// TypeName is a type as written. Mods is nil without modifiers; Dims counts the brackets.
type TypeName struct {
	Pos    int
	Schema string
	Name   string // typname: the words of the standard are translated
	Quoted bool
	Mods   []int
	Dims   int
	Fields string // of an interval: "day to second"
}
