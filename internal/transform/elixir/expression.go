package elixir

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// quote writes a text as JavaScript does.
func quote(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a text always can be
	return strings.TrimSuffix(b.String(), "\n")
}

// expression translates what has a value and binds nothing.
func (t *translator) expression(n *node, s *scope) value {
	if t.steps++; t.steps > maxSteps {
		t.refusals = t.refusals[:0]
		t.refuse(n.at, "this function", "is too big: functions inside of functions are looked at again and again", "take it apart")
		panic(stopped{})
	}
	switch n.kind {
	case nodeInteger:
		return integer(n.text)
	case nodeFloat:
		return value{"float(" + n.text + ")", strengthCall, floatType}
	case nodeText, nodeLiteral:
		return t.text(n, s)
	case nodeAtom:
		return atom(n.text)
	case nodeVariable:
		return t.variable(n, s)
	case nodeCall:
		return t.call(n, s)
	case nodeApply:
		return t.apply(n, s)
	case nodeField:
		return t.fieldOf(n, s)
	case nodeIndex:
		return t.access(n.args[1], t.expression(n.args[0], s), s, false)
	case nodeOperator:
		return t.operator(n, s)
	case nodeList, nodeTuple, nodeKeywords:
		return t.sequence(n, s)
	case nodeMap:
		return t.mapLiteral(n, s)
	case nodeFunction, nodeCapture:
		return t.assigned(n, s)
	case nodeArgument:
		return t.argument(n, s)
	case nodeBlock:
		body, typ := t.statements(n, s.child())
		return t.inline(body, typ)
	case nodeSigil:
		return t.sigil(n, s)
	case nodeRefused:
		return value{"null", strengthCall, neverType}
	case nodeModule:
		return t.refuse(n.at, n.text, "is a module, not a value", "write a text")
	}
	return t.refuse(n.at, t.name(n), "is not converted", "write it in another way")
}

func integer(text string) value {
	n, ok := new(big.Int).SetString(text, 10)
	if ok && n.IsInt64() && n.Int64() > -1<<53 && n.Int64() < 1<<53 {
		return value{n.String(), strengthUnary, integerType}
	}
	return value{text + "n", strengthUnary, integerType}
}

func atom(name string) value {
	switch name {
	case "nil":
		return value{"null", strengthCall, nilType}
	case "true", "false":
		return value{name, strengthCall, booleanType}
	}
	return value{quote(name), strengthCall, atomOf(name)}
}

func (t *translator) variable(n *node, s *scope) value {
	if v, ok := s.variables[n.text]; ok {
		return value{v.name, strengthCall, v.typ}
	}
	if slices.Contains(parameters, n.text) {
		return t.refuse(n.at, n.text, "is not the name of a parameter of this clause", "name the parameter so in its head, without an underscore in front")
	}
	return t.refuse(n.at, n.text, "is no variable that is known here", "bind it before; what is bound inside of if, case or fn ends with it")
}

func (t *translator) argument(n *node, s *scope) value {
	i := int(n.text[0]-'0') - 1
	if len(n.text) > 1 || i < 0 || i >= len(s.arguments) {
		return t.refuse(n.at, "&"+n.text, "has no value here", "number the values of the function from &1 on, as many as it gets")
	}
	return value{s.arguments[i].name, strengthCall, s.arguments[i].typ}
}

// text translates a text with its interpolations.
func (t *translator) text(n *node, s *scope) value {
	if n.kind == nodeLiteral {
		return value{quote(n.text), strengthCall, textType}
	}
	if len(n.args) == 1 && n.args[0].kind == nodeLiteral {
		return value{quote(n.args[0].text), strengthCall, textType}
	}
	var b strings.Builder
	for _, part := range n.args {
		if part.kind == nodeLiteral {
			b.WriteString(template(part.text))
			continue
		}
		v := t.expression(part, s)
		b.WriteString("${" + t.printed(part, v) + "}")
	}
	return value{"`" + b.String() + "`", strengthCall, textType}
}

// template writes the text between the interpolations of a template.
func template(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\\' || r == '`' || r == '$':
			b.WriteString("\\" + string(r))
		case r == '\n':
			b.WriteString("\\n")
		case r == '\t':
			b.WriteString("\\t")
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// printed is the text of a value, as to_string and interpolation make it.
func (t *translator) printed(n *node, v value) string {
	what := "the text of " + t.name(n)
	switch tr := v.typ; {
	case tr.may(isTuple | isFunction | isRegex):
		t.refuse(n.at, what, "would be an error: it is a tuple, a function or a regular expression", "print a part of it")
	case tr.only(isText|isInteger|isBoolean|isAtom|isDate|isDecimal) && !tr.column:
		return v.code
	case tr.only(isDateTime | isNaive):
		return "dateText(" + v.code + ")"
	case tr.may(isTime | isAtom):
		if tr.may(isDateTime | isNaive) {
			t.refuse(n.at, what, "may be a time or another value, which print in different ways", "use DateTime.to_iso8601, or print it where it is known what it is")
		}
	case tr.column:
		return "columnText(" + v.code + ")"
	}
	return "text(" + v.code + ")"
}

// operator translates an operator with one or two operands.
func (t *translator) operator(n *node, s *scope) value {
	if len(n.args) == 1 {
		return t.unary(n, s)
	}
	switch n.text {
	case "=":
		return t.refuse(n.at, "=", "stands inside of an expression", "write it on a line of its own before")
	case "and", "or":
		return t.strict(n, s)
	case "&&", "||":
		return t.loose(n, s)
	case "==", "!=", "===", "!==":
		return t.equality(n, s)
	case "<", ">", "<=", ">=":
		return t.order(n, s)
	case "+", "-", "*", "/":
		return t.arithmetic(n, s)
	case "<>":
		return t.concatenation(n, s)
	case "++", "--":
		return t.lists(n, s)
	case "in":
		return t.membership(n, s)
	case "=~":
		call := &node{kind: nodeCall, text: "String.contains?", at: n.at, args: n.args}
		if n.args[1].kind == nodeSigil {
			call = &node{kind: nodeCall, text: "Regex.match?", at: n.at, args: []*node{n.args[1], n.args[0]}}
		}
		return t.call(call, s)
	case "..":
		return t.refuse(n.at, "the range ..", "is not converted", "list the numbers, or use Enum.with_index, Enum.slice(list, start, amount) or Enum.take")
	}
	return t.refuse(n.at, "the operator "+n.text, "is not converted", "use one of + - * / == != < > <= >= and or not && || ! in ++ -- <> |>")
}

func (t *translator) unary(n *node, s *scope) value {
	v := t.expression(n.args[0], s)
	switch n.text {
	case "!":
		return value{"!" + unaryOperand(truthy(v)), strengthUnary, booleanType}
	case "not":
		return value{"!" + unaryOperand(boolean(v)), strengthUnary, booleanType}
	case "-":
		return value{"negate(" + v.code + ")", strengthCall, number(v.typ)}
	case "+":
		return value{"number(" + v.code + ")", strengthCall, number(v.typ)}
	}
	return t.refuse(n.at, n.text, "has no meaning here", "take it out")
}

var single = regexp.MustCompile(`^[\w.]+(\([^()]*\))?$`)

func unaryOperand(code string) string {
	if single.MatchString(code) {
		return code
	}
	return "(" + code + ")"
}

// boolean is a value that must be true or false, as and, or and not want it.
func boolean(v value) string {
	if v.typ.only(isBoolean) {
		return v.code
	}
	return "boolean(" + v.code + ")"
}

// strict translates and and or.
func (t *translator) strict(n *node, s *scope) value {
	a, b := t.expression(n.args[0], s), t.expression(n.args[1], s)
	if !a.typ.only(isBoolean) {
		a = value{boolean(a), strengthCall, booleanType}
	}
	typ := join(booleanType, b.typ)
	if n.text == "or" {
		return value{a.in(strengthOr) + " || " + b.in(strengthOr+1), strengthOr, typ}
	}
	return value{a.in(strengthAnd) + " && " + b.in(strengthAnd+1), strengthAnd, typ}
}

// loose translates && and ||, for which only nil and false are false.
func (t *translator) loose(n *node, s *scope) value {
	a, b := t.expression(n.args[0], s), t.expression(n.args[1], s)
	objects := isNil | isBoolean | isMap | isList | isTuple | isFunction
	if n.text == "||" {
		typ := join(a.typ.without(isNil), b.typ)
		switch {
		case a.typ.only(objects):
			return value{a.in(strengthOr) + " || " + b.in(strengthOr+1), strengthOr, typ}
		case !a.typ.may(isBoolean):
			return value{a.in(strengthEqual) + " ?? " + b.in(strengthEqual), strengthCondition, typ}
		}
		return value{"either(" + a.code + ", () => " + arrowBody(b) + ")", strengthCall, typ}
	}
	falsy := &typ{kinds: a.typ.kinds & (isNil | isBoolean)}
	typ := join(falsy, b.typ)
	if a.typ.only(objects) {
		return value{a.in(strengthAnd) + " && " + b.in(strengthAnd+1), strengthAnd, typ}
	}
	return value{"both(" + a.code + ", () => " + arrowBody(b) + ")", strengthCall, typ}
}

func arrowBody(v value) string {
	if strings.HasPrefix(v.code, "{") {
		return "(" + v.code + ")"
	}
	return v.code
}

func (t *translator) equality(n *node, s *scope) value {
	a, b := t.expression(n.args[0], s), t.expression(n.args[1], s)
	if why := confused(a.typ, b.typ); why != "" && a.typ.kinds != 0 && b.typ.kinds != 0 {
		return t.refuse(n.at, n.text, why, "compare what is of one kind; to_string(…) makes a text of an atom, DateTime.compare compares times")
	}
	negated := n.text[0] == '!'
	strictly := len(n.text) == 3
	scalar := isText | isNil | isBoolean | isAtom | isDate
	whole := isInteger
	plain := a.typ.only(scalar) || b.typ.only(scalar)
	if !strictly {
		plain = plain || a.typ.only(whole) && b.typ.only(whole)
	}
	if plain {
		op := " === "
		if negated {
			op = " !== "
		}
		return value{a.in(strengthEqual) + op + b.in(strengthEqual+1), strengthEqual, booleanType}
	}
	name := "equal("
	if strictly {
		name = "same("
	}
	code := name + a.code + ", " + b.code + ")"
	if negated {
		return value{"!" + code, strengthUnary, booleanType}
	}
	return value{code, strengthCall, booleanType}
}

// orderable notes what stands in the way of an order over values.
func (t *translator) orderable(n *node, what string, types ...*typ) bool {
	columns := 0
	for _, typ := range types {
		switch tr := typ.traits(); {
		case tr.times:
			t.refuse(n.at, what, "compares the parts of dates and times, in alphabetical order of their names", "use Date.compare or DateTime.compare")
			return false
		case tr.atoms || tr.atomKeys || tr.others:
			t.refuse(n.at, what, "has an order for atoms that is none for texts", "compare numbers or texts")
			return false
		case tr.tuples && tr.lists:
			t.refuse(n.at, what, "puts lists behind tuples, which are the same here", "compare numbers or texts")
			return false
		}
		if typ.column {
			columns++
		}
	}
	if columns > 1 {
		t.note(n.at, "%s compares two columns: if they are of the type numeric or of a time, Elixir compared their parts, which made no sense; here they are compared as texts", what)
	}
	return true
}

func (t *translator) order(n *node, s *scope) value {
	a, b := t.expression(n.args[0], s), t.expression(n.args[1], s)
	if !t.orderable(n, n.text, a.typ, b.typ) {
		return value{"null", strengthCall, booleanType}
	}
	if a.typ.only(isNumber) && b.typ.only(isNumber) {
		return value{a.in(strengthLess+1) + " " + n.text + " " + b.in(strengthLess+1), strengthLess, booleanType}
	}
	return value{"compare(" + a.code + ", " + b.code + ") " + n.text + " 0", strengthLess, booleanType}
}

// number is the type of what is calculated from values of those types.
func number(types ...*typ) *typ {
	out := isInteger
	for _, t := range types {
		switch {
		case t.only(isFloat):
			return floatType
		case t.may(isFloat):
			out |= isFloat
		}
	}
	return &typ{kinds: out}
}

func (t *translator) arithmetic(n *node, s *scope) value {
	a, b := t.expression(n.args[0], s), t.expression(n.args[1], s)
	for _, v := range []value{a, b} {
		if v.typ.kinds != 0 && !v.typ.may(isNumber) {
			return t.refuse(n.at, n.text, "calculates with something that is no number", "take a number, or make one of it: String.to_integer")
		}
	}
	name := map[string]string{"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}[n.text]
	typ := number(a.typ, b.typ)
	if n.text == "/" {
		typ = floatType
	}
	return value{name + "(" + a.code + ", " + b.code + ")", strengthCall, typ}
}

func (t *translator) concatenation(n *node, s *scope) value {
	parts := []*node{n.args[0]}
	rest := n.args[1]
	for rest.operator("<>") {
		parts = append(parts, rest.args[0])
		rest = rest.args[1]
	}
	parts = append(parts, rest)
	codes := make([]string, len(parts))
	for i, p := range parts {
		v := t.wanted('S', p, t.expression(p, s), "<>")
		codes[i] = v.code
	}
	return value{"concat(" + strings.Join(codes, ", ") + ")", strengthCall, textType}
}

func (t *translator) lists(n *node, s *scope) value {
	a, b := t.wanted('L', n.args[0], t.expression(n.args[0], s), n.text), t.wanted('L', n.args[1], t.expression(n.args[1], s), n.text)
	if n.text == "++" {
		return value{"[..." + listCode(a) + ", ..." + listCode(b) + "]", strengthCall, listOf(join(a.typ.elem, b.typ.elem))}
	}
	if why := confused(a.typ, b.typ); why != "" {
		return t.refuse(n.at, n.text, why, "compare what is of one kind")
	}
	return value{"without(" + a.code + ", " + b.code + ")", strengthCall, a.typ}
}

func listCode(v value) string {
	if v.typ.only(isList) {
		return v.code
	}
	return "list(" + v.code + ")"
}

func (t *translator) membership(n *node, s *scope) value {
	a, b := t.expression(n.args[0], s), t.expression(n.args[1], s)
	if b.typ.may(isMap) && !b.typ.may(isList) {
		return t.refuse(n.at, "in", "looks for pairs in a map", "use Map.has_key?")
	}
	if b.typ.elem != nil {
		if why := confused(a.typ, b.typ.elem); why != "" {
			return t.refuse(n.at, "in", why, "look for what is of one kind: texts among texts")
		}
	}
	return value{"member(" + b.code + ", " + a.code + ")", strengthCall, booleanType}
}
