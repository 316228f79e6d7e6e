package elixir

import (
	"fmt"
	"strconv"
	"strings"
)

// wanted refuses a value that an operator or a function certainly does not take, or that looks like another one in JavaScript.
func (t *translator) wanted(letter byte, n *node, v value, what string) value {
	typ := v.typ
	if typ.kinds == 0 {
		return v
	}
	refuse := func(wanted, instead string) value {
		return t.refuse(n.at, what, "takes "+wanted+", and "+t.name(n)+" is or may be another value", instead)
	}
	switch letter {
	case 'S':
		if !typ.may(isText) || typ.may(isAtom|isTime|isDecimal) {
			return refuse("a text", "make a text of it: to_string(…)")
		}
	case 'L':
		if !typ.may(isList) || typ.may(isTuple) {
			return refuse("a list", "use a list")
		}
	case 'M':
		if !typ.may(isMap) {
			return refuse("a map", "use a map")
		}
	case 'N', 'I':
		if !typ.may(isNumber) || letter == 'I' && typ.only(isFloat) {
			return refuse("a number", "use a number; round or trunc make an integer of a float")
		}
	case 'T':
		if !typ.may(isTime) && !typ.column && typ != jsonType {
			return refuse("a date or a time", "use metadata.commit_timestamp, a column, or what from_iso8601! makes of a text")
		}
	case 'D':
		if !typ.may(isDecimal|isInteger) && !typ.column {
			return refuse("a decimal", "use a column of the type numeric, or Decimal.new")
		}
	case 'R':
		if !typ.only(isRegex) {
			return refuse("a regular expression", "write ~r/…/")
		}
	case 'K':
		if !typ.may(isMap) || typ.texts && len(typ.fields) > 0 {
			return refuse("a map whose keys are of one kind", "use texts as keys")
		}
	case 'Q':
		if !typ.only(isText|isRegex) && typ != jsonType && !typ.column {
			return refuse("a text or a regular expression", "use one of them; for several texts a regular expression: ~r/a|b/")
		}
	case 'P':
		if typ.may(isAtom | isTuple | isTime) {
			return refuse("a text, a list of texts or a regular expression", "use one of them")
		}
	}
	return v
}

// call translates a call of a function or a special form.
func (t *translator) call(n *node, s *scope) value {
	switch n.text {
	case "if", "unless":
		return t.ifExpression(n, s)
	case "case":
		return t.inline2(t.caseStatement, n, s)
	case "cond":
		return t.inline2(t.condStatement, n, s)
	case "with":
		return t.inline2(t.withStatement, n, s)
	case "for":
		return t.comprehension(n, s)
	case "raise":
		return t.raise(n, s)
	}
	if len(n.blocks) > 0 {
		return t.refuse(n.at, n.text+" … do", "is not converted", "use if, unless, case, cond, with or for")
	}
	name := strings.TrimPrefix(n.text, "Kernel.")
	key := name + "/" + strconv.Itoa(len(n.args))
	if f, ok := t.special(key); ok {
		return f(n, s)
	}
	if f, ok := library[key]; ok {
		return t.libraryCall(&f, name, n, s)
	}
	return t.unknown(n, name, key)
}

func (t *translator) inline2(statement func(*node, *scope) (string, *typ), n *node, s *scope) value {
	body, typ := statement(n, s.child())
	return t.inline(body, typ)
}

// instead says what to write in place of functions that are not converted.
//
//nolint:gochecknoglobals // a table
var instead = map[string][2]string{
	"DateTime.utc_now":      {"is another time with every attempt", "use metadata.commit_timestamp"},
	"NaiveDateTime.utc_now": {"is another time with every attempt", "use metadata.commit_timestamp"},
	"Date.utc_today":        {"is another day with every attempt", "use DateTime.to_date(metadata.commit_timestamp)"},
	"inspect":               {"prints values as Elixir writes them", "use to_string for one value, JSON.encode! for others"},
	"Enum.random":           {"gives another result with every attempt", "take an element by its place"},
	"Enum.shuffle":          {"gives another result with every attempt", "sort the list"},
	"make_ref":              {"means nothing outside of Elixir", "use metadata.idempotency_key"},
	"self":                  {"means nothing outside of Elixir", "take it out"},
	"is_struct":             {"tells dates and decimals from texts, which they are here", "compare with nil"},
	"is_exception":          {"means nothing outside of Elixir", "take it out"},
	"IO.puts":               {"writes to the log of the original", "take it out; sequin functions test shows results"},
	"IO.inspect":            {"writes to the log of the original", "take it out; sequin functions test shows results"},
	"try":                   {"catches errors of Elixir, which are others here", "test before what would be an error"},
	"Enum.each":             {"has no effect", "take it out, or use Enum.map"},
	"String.to_atom":        {"makes atoms, which are texts in the result anyway", "leave the text as it is"},
	"UUID.uuid4":            {"gives another result with every attempt", "use metadata.idempotency_key"},
}

func (t *translator) unknown(n *node, name, key string) value {
	if known, ok := instead[name]; ok {
		return t.refuse(n.at, name, known[0], known[1])
	}
	for other := range library {
		if strings.HasPrefix(other, name+"/") {
			return t.refuse(n.at, key, "is not converted with so many values", "use "+other)
		}
	}
	if strings.Contains(name, ".") {
		return t.refuse(n.at, key, "is not converted", "write it in JavaScript in the converted function, with a function that is converted in its place meanwhile")
	}
	return t.refuse(n.at, key, "is no function that is known", "see whether it is a variable; variables and functions of other modules are not reached")
}

func (t *translator) libraryCall(f *function, name string, n *node, s *scope) value {
	codes := make([]any, len(n.args))
	types := make([]*typ, len(n.args))
	for i, a := range n.args {
		v := t.wanted(f.args[i], a, t.expression(a, s), name)
		codes[i], types[i] = v.code, v.typ
		switch {
		case f.args[i] == 'O' && !t.orderable(a, name, v.typ):
			return value{"null", strengthCall, neverType}
		case f.args[i] == 'L' && strings.Contains(f.code, "%"):
			codes[i] = listCode(v)
		}
	}
	result := f.result
	if f.infer != nil {
		result = f.infer(types)
	}
	code := f.code
	if strings.Contains(code, "%") {
		return value{fmt.Sprintf(code, codes...), f.strength(), result}
	}
	return value{code + "(" + joined(codes) + ")", strengthCall, result}
}

func joined(codes []any) string {
	texts := make([]string, len(codes))
	for i, c := range codes {
		texts[i] = fmt.Sprint(c)
	}
	return strings.Join(texts, ", ")
}

// apply translates fun.(…).
func (t *translator) apply(n *node, s *scope) value {
	params := make([]*typ, len(n.args)-1)
	codes := make([]string, len(n.args)-1)
	for i, a := range n.args[1:] {
		v := t.expression(a, s)
		params[i], codes[i] = v.typ, v.in(strengthCondition)
	}
	f := t.lambda(n.args[0], params, s)
	if f.typ.lambda == nil {
		return f
	}
	return value{f.in(strengthCall) + "(" + strings.Join(codes, ", ") + ")", strengthCall, f.typ.lambda.result}
}

// raise translates raise "…".
func (t *translator) raise(n *node, s *scope) value {
	if len(n.args) != 1 {
		return t.refuse(n.at, "raise", "is converted with a text only", `write raise "what is wrong"`)
	}
	v := t.wanted('S', n.args[0], t.expression(n.args[0], s), "raise")
	return value{"raise(" + v.code + ")", strengthCall, neverType}
}

// sigil translates ~r, ~s, ~w and dates.
func (t *translator) sigil(n *node, s *scope) value {
	text := n.args[0]
	plain := len(text.args) == 1 && text.args[0].kind == nodeLiteral
	what := "the sigil ~" + n.text
	switch {
	case n.text == "s" || n.text == "S":
		return t.text(text, s)
	case !plain:
		return t.refuse(n.at, what, "is not converted with interpolation", "write it without a sigil")
	case n.text == "w" && (n.flags == "" || n.flags == "s"), n.text == "W" && n.flags == "":
		words := strings.Fields(text.args[0].text)
		for i := range words {
			words[i] = quote(words[i])
		}
		return value{"[" + strings.Join(words, ", ") + "]", strengthCall, textsType}
	case n.text == "w":
		return t.refuse(n.at, what, "is not converted with "+n.flags, "write the list out")
	case n.text == "r":
		return t.regex(n, text.args[0].text)
	case n.text == "D" || n.text == "U" || n.text == "N":
		code := map[string]string{"D": "toDate", "U": "toDateTime", "N": "toNaive"}[n.text]
		return value{code + "(" + quote(text.args[0].text) + ")", strengthCall, map[string]*typ{"D": {kinds: isDate}, "U": {kinds: isDateTime}, "N": {kinds: isNaive}}[n.text]}
	}
	return t.refuse(n.at, what, "is not converted", "write a text")
}

// comprehension translates for.
func (t *translator) comprehension(n *node, s *scope) value {
	do := n.block("do")
	if do == nil || do.clauses != nil || len(n.args) == 0 {
		return t.refuse(n.at, "for", "is not converted with reduce or without a body", "write for x <- list, do: …, or Enum.reduce")
	}
	inner := s.child()
	out := t.fresh("out", inner)
	args := n.args
	var into *node
	if last := args[len(args)-1]; last.kind == nodeKeywords {
		if len(last.args) != 2 || last.args[0].text != "into" {
			return t.refuse(last.at, "for … "+last.args[0].text+":", "is not converted", "use Enum.uniq or Enum.reduce")
		}
		into, args = last.args[1], args[:len(args)-1]
	}
	body, elem := t.loop(args, do.body, out, inner)
	code := "const " + out + " = [];\n" + body
	if into == nil {
		return t.inline(code+"return "+out+";\n", listOf(elem))
	}
	list := value{out, strengthCall, listOf(elem)}
	v := t.intoMap(n, list, into, s)
	return t.inline(code+"return "+v.code+";\n", v.typ)
}

// loop translates the generators and conditions of a comprehension from the outside in.
func (t *translator) loop(steps []*node, body *node, out string, s *scope) (string, *typ) {
	if len(steps) == 0 {
		if simple(body) {
			v := t.expression(body, s)
			return out + ".push(" + v.in(strengthCondition) + ");\n", v.typ
		}
		code, typ := t.statements(body, s.child())
		v := t.inline(code, typ)
		return out + ".push(" + v.code + ");\n", typ
	}
	step := steps[0]
	if !step.operator("<-") {
		before, code := t.condition(step, s)
		rest, typ := t.loop(steps[1:], body, out, s)
		return before + "if (" + code + ") {\n" + indent(rest) + "}\n", typ
	}
	pattern := step.args[0]
	var guard *node
	if pattern.operator("when") {
		pattern, guard = pattern.args[0], pattern.args[1]
	}
	source, elem := t.enumerable(step.args[1], pattern, s)
	inner := s.child()
	m := &matcher{t: t, scope: inner}
	var item string
	switch {
	case pattern.kind == nodeVariable && pattern.text != "_":
		item = t.declare(pattern.text, elem, inner)
	case pattern.kind == nodeTuple && elem.parts() != nil && len(elem.parts()) == len(pattern.args) && t.unpacks(pattern):
		item = t.unpack(pattern, elem, inner)
	default:
		item = t.fresh("item", inner)
		m.pattern(pattern, value{item, strengthCall, elem})
	}
	before := ""
	if guard != nil {
		before = "if (" + t.guard(guard, inner).code + ") {\n"
	}
	rest, typ := t.loop(steps[1:], body, out, inner)
	if guard != nil {
		rest = before + indent(rest) + "}\n"
	}
	rest = m.bindings.String() + rest
	if len(m.conditions) > 0 {
		rest = "if (" + strings.Join(m.conditions, " && ") + ") {\n" + indent(rest) + "}\n"
	}
	return "for (const " + item + " of " + source + ") {\n" + indent(rest) + "}\n", typ
}

// enumerable is what a function of Enum goes through: a list, or the pairs of a map. Where both may come, the pattern of its elements tells.
func (t *translator) enumerable(n, pattern *node, s *scope) (string, *typ) {
	v := t.expression(n, s)
	return t.enumerated(n, v, pattern)
}

func (t *translator) enumerated(n *node, v value, pattern *node) (string, *typ) {
	switch {
	case v.typ.kinds == 0:
		return v.code, neverType
	case !v.typ.may(isList | isMap):
		t.refuse(n.at, t.name(n), "is no list and no map", "use a list")
		return v.code, neverType
	case v.typ.may(isTuple):
		t.refuse(n.at, t.name(n), "may be a tuple, which is no list", "use a list")
		return v.code, neverType
	case v.typ.only(isList):
		elem := v.typ.elem
		if elem == nil {
			elem = neverType
		}
		return v.code, elem
	}
	pairs := !v.typ.may(isList) || pattern != nil && pattern.kind == nodeTuple && len(pattern.args) == 2 && !v.typ.elem.may(isTuple)
	if pairs {
		return "entries(" + v.code + ")", t.pairOf(n, v.typ)
	}
	elem := v.typ.elem
	if elem == nil {
		elem = neverType
	}
	return "list(" + v.code + ")", elem
}

// pairOf is the type of a map's elements.
func (t *translator) pairOf(n *node, m *typ) *typ {
	elem := m.elem
	key := textType
	if len(m.fields) > 0 {
		key = atomType
		if m.texts {
			t.refuse(n.at, t.name(n), "has atoms and texts as keys, whose order is another one", "use keys of one kind in a map")
		}
		for _, f := range m.fields {
			elem = join(elem, f)
		}
	}
	if elem == nil {
		elem = neverType
	}
	return tupleOf(key, elem)
}
