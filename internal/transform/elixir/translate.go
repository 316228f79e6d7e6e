package elixir

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Strengths of JavaScript's operators; an operand that is weaker than its place gets parentheses.
const (
	strengthArrow = iota + 1
	strengthCondition
	strengthOr
	strengthAnd
	strengthEqual
	strengthLess
	strengthUnary
	strengthCall
)

// value is an expression in JavaScript.
type value struct {
	code     string
	strength int
	typ      *typ
}

// in is the expression for a place of that strength.
func (v value) in(strength int) string {
	if v.strength < strength {
		return "(" + v.code + ")"
	}
	return v.code
}

// variable is a name of the Elixir code.
type variable struct {
	name string // in JavaScript
	typ  *typ
}

// scope is what names mean at one place of the code.
type scope struct {
	variables map[string]variable
	taken     map[string]bool // the names in JavaScript
	arguments []variable      // &1, &2
	guard     bool            // in a guard, where an error is a no
}

func (s *scope) child() *scope {
	return &scope{maps.Clone(s.variables), maps.Clone(s.taken), s.arguments, s.guard}
}

// translator makes JavaScript of a tree.
type translator struct {
	refusals []Refusal
	notes    []Note
	entry    string
	steps    int // expressions looked at
}

// maxSteps bounds how long a function is looked at. What is carried through Enum.reduce is looked at several times, inside of another one
// several times that.
const maxSteps = 100_000

// maxCode is ten times what the original took.
const maxCode = 100_000

func (t *translator) refuse(at Position, what, why, instead string) value {
	t.refusals = append(t.refusals, Refusal{at, what, why, instead})
	return value{"null", strengthCall, neverType}
}

func (t *translator) note(at Position, format string, args ...any) {
	n := Note{at, fmt.Sprintf(format, args...)}
	if !slices.Contains(t.notes, n) {
		t.notes = append(t.notes, n)
	}
}

// entries are the functions that may be defined.
var entries = []string{"transform", "filter", "route"} //nolint:gochecknoglobals // a table

var parameters = []string{"action", "record", "changes", "metadata"} //nolint:gochecknoglobals // a table

func (t *translator) convert(code string) *Result {
	if !utf8.ValidString(code) {
		t.refuse(Position{1, 1}, "the code", "is not text in UTF-8", "save the file in UTF-8")
		return nil
	}
	if len(code) > maxCode {
		t.refuse(Position{1, 1}, "the code", fmt.Sprintf("has %d bytes; at most %d are converted", len(code), maxCode), "take it apart")
		return nil
	}
	tree := parse(code, &t.refusals)
	if tree == nil {
		return nil
	}
	defer func() {
		if fault := recover(); fault != nil {
			if _, ok := fault.(stopped); !ok {
				panic(fault)
			}
		}
	}()
	heads := t.definitions(tree)
	if len(heads) == 0 {
		if len(t.refusals) == 0 {
			t.refuse(Position{1, 1}, "the code", "defines no function", "define transform, filter or route: def transform(action, record, changes, metadata) do … end")
		}
		return nil
	}
	body := t.function(heads)
	if len(t.refusals) > 0 {
		return nil
	}
	return &Result{t.entry, prelude(body) + body, t.notes}
}

// definitions finds the clauses of the function.
func (t *translator) definitions(tree *node) []clause {
	statements := []*node{tree}
	if tree.kind == nodeBlock {
		statements = tree.args
	}
	var out []clause
	for _, n := range statements {
		if !n.call("def") || len(n.args) != 1 || n.block("do") == nil {
			t.refuse(n.at, t.name(n), "stands outside of the function", "keep only def transform, def filter or def route, and put the rest into it")
			continue
		}
		c := clause{at: n.at, body: n.block("do").body, patterns: []*node{}}
		head := n.args[0]
		if head.operator("when") {
			head, c.guard = head.args[0], head.args[1]
		}
		switch {
		case head.kind != nodeCall || !slices.Contains(entries, head.text):
			t.refuse(head.at, "def "+head.text, "is none of transform, filter and route", "put what it does into the function, as a fn")
			continue
		case len(head.args) != len(parameters):
			t.refuse(head.at, "def "+head.text, fmt.Sprintf("has %d parameters", len(head.args)), "it takes four: action, record, changes, metadata")
			continue
		case t.entry != "" && head.text != t.entry:
			t.refuse(head.at, "def "+head.text, "stands beside def "+t.entry, "convert each function on its own")
			continue
		case c.body == nil || len(n.blocks) > 1:
			t.refuse(n.at, "the body of "+head.text, "is no plain list of expressions", "write do … end without rescue, catch and arrows")
			continue
		}
		t.entry, c.patterns = head.text, head.args
		out = append(out, c)
	}
	return out
}

// function translates the function, which may have several clauses.
func (t *translator) function(heads []clause) string {
	s := &scope{variables: map[string]variable{}, taken: map[string]bool{}}
	for _, name := range helperNames() {
		s.taken[name] = true
	}
	subjects := make([]value, len(parameters))
	for i, typ := range []*typ{textType, recordType, changesType, metadataType} {
		s.taken[parameters[i]] = true
		subjects[i] = value{parameters[i], strengthCall, typ}
	}
	body, result := t.clauses(heads, subjects, s, "function "+t.entry)
	if why := unspeakable(result); why != "" {
		t.refuse(heads[0].at, "the result of "+t.entry, why, "return texts, numbers, lists and maps")
	}
	if t.entry == "filter" && !result.may(isBoolean) && result.kinds != 0 {
		t.refuse(heads[0].at, "the result of filter", "is never true or false", "return a comparison, or true and false")
	}
	return "function " + t.entry + "(" + strings.Join(parameters, ", ") + ") {\n" + indent(body) + "}\n"
}

// unspeakable tells why a value cannot be written as JSON, or "".
func unspeakable(result *typ) string {
	switch tr := result.traits(); {
	case tr.tuples:
		return "may hold a tuple, which is no JSON"
	case tr.others:
		return "may hold a function or a regular expression, which is no JSON"
	}
	return ""
}

func indent(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		if line != "\n" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// statements translates expressions in order; the last one is the result.
func (t *translator) statements(n *node, s *scope) (string, *typ) {
	if n == nil {
		return "return null;\n", nilType
	}
	if n.kind != nodeBlock {
		return t.result(n, s)
	}
	if len(n.args) == 0 {
		return "return null;\n", nilType
	}
	var b strings.Builder
	last := len(n.args) - 1
	for _, statement := range n.args[:last] {
		b.WriteString(t.statement(statement, s))
	}
	code, typ := t.result(n.args[last], s)
	return b.String() + code, typ
}

// statement translates an expression whose value goes nowhere.
func (t *translator) statement(n *node, s *scope) string {
	if n.operator("=") {
		code, _ := t.match(n, s)
		return code
	}
	if n.kind == nodeVariable || n.kind == nodeAtom || n.kind == nodeText && len(n.args) == 1 {
		t.expression(n, s)
		return "" // without effect
	}
	v := t.expression(n, s)
	return t.lines(v.code) + ";\n"
}

func (t *translator) lines(code string) string {
	if strings.HasPrefix(code, "{") || strings.HasPrefix(code, "function") {
		return "(" + code + ")"
	}
	return code
}

// result translates an expression whose value is returned.
func (t *translator) result(n *node, s *scope) (string, *typ) {
	switch {
	case n.kind == nodeBlock:
		return t.statements(n, s)
	case n.operator("="):
		code, v := t.match(n, s)
		return code + "return " + v.code + ";\n", v.typ
	case n.call("if") || n.call("unless"):
		return t.ifStatement(n, s)
	case n.call("case"):
		return t.caseStatement(n, s)
	case n.call("cond"):
		return t.condStatement(n, s)
	case n.call("with"):
		return t.withStatement(n, s)
	}
	v := t.expression(n, s)
	return "return " + v.code + ";\n", v.typ
}

// inline wraps statements to stand where a value does.
func (t *translator) inline(body string, typ *typ) value {
	return value{"(() => {\n" + indent(body) + "})()", strengthCall, typ}
}

// declare makes the name in JavaScript of a variable.
func (t *translator) declare(name string, typ *typ, s *scope) string {
	js := t.fresh(name, s)
	s.variables[name] = variable{js, typ}
	return js
}

// fresh makes a name that is not taken.
func (t *translator) fresh(name string, s *scope) string {
	base := strings.TrimRight(name, "?!")
	js := base
	if slices.Contains(reservedInJavaScript, base) {
		js = base + "_"
	}
	for i := 2; s.taken[js]; i++ {
		js = fmt.Sprintf("%s%d", base, i)
	}
	s.taken[js] = true
	return js
}

// reservedInJavaScript are the names that a variable must not have.
//
//nolint:gochecknoglobals // a table
var reservedInJavaScript = strings.Fields(`arguments await break case catch class const continue debugger default delete do else enum eval export extends
	false finally for function if implements import in instanceof interface let new null package private protected public return static super switch this
	throw true try typeof undefined var void while with yield NaN Infinity Array BigInt Boolean Date Error JSON Map Math Number Object RegExp Set String
	Symbol transform filter route globalThis isNaN isFinite parseInt parseFloat encodeURIComponent decodeURIComponent console constructor`)

// name is how a refusal names an expression.
func (t *translator) name(n *node) string {
	switch n.kind {
	case nodeCall, nodeVariable, nodeModule, nodeInteger, nodeFloat:
		return n.text
	case nodeAtom:
		if n.text == "nil" || n.text == "true" || n.text == "false" {
			return n.text
		}
		return ":" + n.text
	case nodeOperator:
		return n.text
	case nodeField:
		return t.name(n.args[0]) + "." + n.text
	case nodeIndex:
		return t.name(n.args[0]) + "[" + t.name(n.args[1]) + "]"
	case nodeText:
		if len(n.args) == 1 && n.args[0].kind == nodeLiteral {
			return quote(n.args[0].text)
		}
		return `"…"`
	case nodeTuple:
		return "{…}"
	case nodeList, nodeKeywords:
		return "[…]"
	case nodeMap:
		return "%{…}"
	case nodeFunction, nodeCapture:
		return "this function"
	case nodeSigil:
		return "~" + n.text
	case nodeApply, nodeArgument, nodeBlock, nodeLiteral, nodeRefused:
	}
	return "this expression"
}
