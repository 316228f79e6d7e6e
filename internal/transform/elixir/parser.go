package elixir

import (
	"slices"
	"strconv"
	"strings"
)

// parser makes a tree of tokens. It panics with stopped at the first thing that it cannot read.
type parser struct {
	tokens   []token
	i        int
	refusals *[]Refusal
	depth    int
	bare     bool // inside the arguments of a call without parentheses, which takes the next do
}

// precedence of the operators between two operands; of two with the same the left one goes first, but for those in rightFirst.
//
//nolint:gochecknoglobals // tables
var (
	precedence = map[string]int{
		"<-": 40, "\\\\": 40, "when": 50, "::": 60, "|": 70, "=>": 80, "=": 100, "||": 120, "|||": 120, "or": 120, "&&": 130, "&&&": 130, "and": 130,
		"==": 140, "!=": 140, "=~": 140, "===": 140, "!==": 140, "<": 150, ">": 150, "<=": 150, ">=": 150,
		"|>": 160, "<<<": 160, ">>>": 160, "<<~": 160, "~>>": 160, "<~>": 160, "in": 170, "not in": 170,
		"^^^": 180, "//": 190, "++": 200, "--": 200, "+++": 200, "---": 200, "..": 200, "<>": 200, "+": 210, "-": 210, "*": 220, "/": 220, "**": 230,
	}
	rightFirst = []string{"=", "|", "::", "when", "=>", "++", "--", "+++", "---", "..", "<>"}
)

const unaryPrecedence, capturePrecedence = 300, 90

func (p *parser) peek() *token { return &p.tokens[p.i] }

func (p *parser) after() *token { return &p.tokens[min(p.i+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.i]
	if p.i < len(p.tokens)-1 {
		p.i++
	}
	return t
}

func (p *parser) is(kind tokenKind, text string) bool {
	t := p.peek()
	return t.kind == kind && t.text == text
}

func (p *parser) accept(kind tokenKind, text string) bool {
	if p.is(kind, text) {
		p.next()
		return true
	}
	return false
}

func (p *parser) lines() {
	for p.peek().kind == tokenLine {
		p.next()
	}
}

func (p *parser) fail(at Position, what, why, instead string) {
	*p.refusals = append(*p.refusals, Refusal{at, what, why, instead})
	panic(stopped{})
}

// refuse notes what has no translation, and goes on.
func (p *parser) refuse(at Position, what, why, instead string) *node {
	*p.refusals = append(*p.refusals, Refusal{at, what, why, instead})
	return &node{kind: nodeRefused, at: at}
}

func (p *parser) unexpected(wanted string) {
	t := p.peek()
	text := t.text
	if t.kind == tokenKey {
		text += ":"
	}
	p.fail(t.at, text, "does not belong here; "+wanted+" was expected", "see whether something before it is not closed")
}

func (p *parser) expect(kind tokenKind, text string) {
	if !p.is(kind, text) {
		p.unexpected(text)
	}
	p.next()
}

// down goes a level deeper.
func (p *parser) down() func() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.peek().at, "this expression", "is nested too deep", "take it apart")
	}
	return func() { p.depth-- }
}

// enclosed reads what stands in parentheses or brackets, where a do belongs to calls inside.
func (p *parser) enclosed(read func()) {
	bare := p.bare
	p.bare = false
	read()
	p.bare = bare
}

// block reads expressions up to a token that ends them.
func (p *parser) blockUntil(ends func(*token) bool) *node {
	p.lines()
	b := &node{kind: nodeBlock, at: p.peek().at}
	for !ends(p.peek()) {
		if p.peek().kind == tokenEnd {
			p.unexpected("end")
		}
		b.args = append(b.args, p.expression(0))
		if p.peek().kind != tokenLine && !ends(p.peek()) {
			p.unexpected("the end of the line")
		}
		p.lines()
	}
	if len(b.args) == 1 {
		return b.args[0]
	}
	return b
}

// binary is the operator that stands next, across line ends, or "".
func (p *parser) binary() string {
	i := p.i
	for p.tokens[i].kind == tokenLine {
		i++
	}
	t := &p.tokens[i]
	crossed := i > p.i
	var op string
	switch {
	case t.kind == tokenOperator && precedence[t.text] > 0:
		op = t.text
	case t.kind == tokenWord && slices.Contains([]string{"and", "or", "in", "when"}, t.text):
		op = t.text
	case t.kind == tokenWord && t.text == "not" && p.tokens[min(i+1, len(p.tokens)-1)].text == "in":
		op = "not in"
	}
	if op == "" || crossed && (op == "+" || op == "-" || op == "not in") {
		return ""
	}
	p.i = i
	return op
}

// expression reads operands and operators that bind at least so strongly.
func (p *parser) expression(least int) *node {
	defer p.down()()
	left := p.unary()
	for {
		start := p.i
		op := p.binary()
		level := precedence[op]
		if op == "" || level < least || op == "when" && least == 0 && level == 0 {
			p.i = start
			return left
		}
		at := p.next().at
		if op == "not in" {
			p.next()
		}
		p.lines()
		deeper := level + 1
		if slices.Contains(rightFirst, op) {
			deeper = level
		}
		right := p.expression(deeper)
		left = p.operation(op, at, left, right)
	}
}

// operation puts an operator between two operands.
func (p *parser) operation(op string, at Position, left, right *node) *node {
	switch op {
	case "|>":
		return p.pipe(at, left, right)
	case "not in":
		in := &node{kind: nodeOperator, text: "in", at: at, args: []*node{left, right}}
		return &node{kind: nodeOperator, text: "not", at: at, args: []*node{in}}
	case "in":
		if left.kind == nodeOperator && len(left.args) == 1 && (left.text == "not" || left.text == "!") {
			in := &node{kind: nodeOperator, text: "in", at: at, args: []*node{left.args[0], right}}
			return &node{kind: nodeOperator, text: left.text, at: left.at, args: []*node{in}}
		}
	}
	return &node{kind: nodeOperator, text: op, at: at, args: []*node{left, right}}
}

// pipe passes the left side as the first argument of the call on the right.
func (p *parser) pipe(at Position, left, right *node) *node {
	switch right.kind { //nolint:exhaustive // the others are no calls
	case nodeVariable:
		return &node{kind: nodeCall, text: right.text, at: right.at, args: []*node{left}}
	case nodeCall:
		call := *right
		call.args = append([]*node{left}, right.args...)
		call.bare = false
		return &call
	case nodeRefused:
		return right
	case nodeField:
		p.fail(at, "|>", "needs a call on its right side", "write parentheses behind the function")
	case nodeApply:
		call := *right
		call.args = slices.Insert(slices.Clone(right.args), 1, left)
		return &call
	}
	p.fail(at, "|>", "needs a call on its right side", "write a function there, with parentheses")
	return nil
}

func (p *parser) unary() *node {
	defer p.down()()
	t := p.peek()
	switch {
	case t.kind == tokenOperator && slices.Contains([]string{"+", "-", "!", "^"}, t.text), t.kind == tokenWord && t.text == "not":
		p.next()
		p.lines()
		operand := p.expression(unaryPrecedence)
		if (operand.kind == nodeInteger || operand.kind == nodeFloat) && t.text == "-" && !strings.HasPrefix(operand.text, "-") {
			return &node{kind: operand.kind, text: "-" + operand.text, at: t.at}
		}
		return &node{kind: nodeOperator, text: t.text, at: t.at, args: []*node{operand}}
	case t.kind == tokenOperator && t.text == "&":
		p.next()
		return p.capture(t.at)
	case t.kind == tokenOperator && t.text == "@":
		p.next()
		p.unary()
		return p.refuse(t.at, "a module attribute @…", "is not part of a function", "write its value")
	case t.kind == tokenOperator:
		p.unexpected("a value")
	}
	return p.postfix(p.primary())
}

// capture reads what stands behind &: name/2, or an expression with &1.
func (p *parser) capture(at Position) *node {
	body := p.expression(capturePrecedence)
	if body.operator("/") && body.args[1].kind == nodeInteger {
		f := body.args[0]
		if f.kind == nodeVariable || f.kind == nodeCall && len(f.args) == 0 {
			return &node{kind: nodeCapture, text: f.text, flags: body.args[1].text, at: at}
		}
	}
	return &node{kind: nodeCapture, at: at, args: []*node{body}}
}

// postfix reads what is hung on a value: .field, .(…), […].
func (p *parser) postfix(n *node) *node {
	for {
		t := p.peek()
		switch {
		case t.kind == tokenPunct && t.text == "." && !t.spaced:
			n = p.dot(n)
		case t.kind == tokenPunct && t.text == "." && p.after().kind == tokenName:
			n = p.dot(n)
		case t.kind == tokenPunct && t.text == "[" && !t.spaced:
			p.next()
			var key *node
			p.enclosed(func() {
				p.lines()
				key = p.expression(0)
				p.lines()
			})
			p.expect(tokenPunct, "]")
			n = &node{kind: nodeIndex, at: t.at, args: []*node{n, key}}
		default:
			return n
		}
	}
}

func (p *parser) dot(n *node) *node {
	at := p.next().at
	p.lines()
	t := p.peek()
	switch {
	case t.kind == tokenPunct && t.text == "(":
		call := &node{kind: nodeApply, at: at, args: []*node{n}}
		p.next()
		call.args = append(call.args, p.arguments(")")...)
		return call
	case t.kind == tokenAlias && n.kind == nodeModule:
		p.next()
		return &node{kind: nodeModule, text: n.text + "." + t.text, at: n.at}
	case t.kind == tokenName || t.kind == tokenWord:
		p.next()
		if n.kind == nodeModule {
			return p.callTail(&node{kind: nodeCall, text: n.text + "." + t.text, at: n.at})
		}
		if n.kind == nodeAtom && n.text != "nil" {
			p.callTail(&node{kind: nodeCall, text: t.text, at: t.at})
			return p.refuse(n.at, ":"+n.text+"."+t.text, "calls Erlang, which functions may not", "use a function of String, Map, Enum or the other modules")
		}
		if q := p.peek(); q.kind == tokenPunct && q.text == "(" && !q.spaced {
			p.next()
			p.arguments(")")
			return p.refuse(t.at, "."+t.text+"(…)", "calls a function of a value", "leave the parentheses out to read a field")
		}
		return &node{kind: nodeField, text: t.text, at: t.at, args: []*node{n}}
	}
	p.unexpected("a name")
	return nil
}

// arguments reads expressions with commas between them, and keywords at the end, up to what closes them.
func (p *parser) arguments(closing string) []*node {
	var args []*node
	p.enclosed(func() {
		p.lines()
		for !p.is(tokenPunct, closing) {
			if p.peek().kind == tokenKey {
				args = append(args, p.keywords())
				p.lines()
				break
			}
			args = append(args, p.expression(0))
			p.lines()
			if !p.accept(tokenPunct, ",") {
				break
			}
			p.lines()
		}
	})
	p.expect(tokenPunct, closing)
	return args
}

// keywords reads key: value, ….
func (p *parser) keywords() *node {
	n := &node{kind: nodeKeywords, at: p.peek().at}
	for p.peek().kind == tokenKey {
		t := p.next()
		p.lines()
		n.args = append(n.args, &node{kind: nodeAtom, text: t.text, at: t.at}, p.expression(0))
		start := p.i
		p.lines()
		if !p.is(tokenPunct, ",") {
			p.i = start
			break
		}
		mark := p.i
		p.next()
		p.lines()
		if p.peek().kind != tokenKey {
			p.i = mark
			p.next() // a comma at the end of a list
			break
		}
	}
	return n
}

func integerText(text string) (string, bool) {
	if len(text) > 2 && text[0] == '0' {
		n, err := strconv.ParseUint(text, 0, 64)
		return strconv.FormatUint(n, 10), err == nil
	}
	trimmed := strings.TrimLeft(text, "0")
	if trimmed == "" {
		trimmed = "0"
	}
	return trimmed, true
}
