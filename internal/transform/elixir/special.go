package elixir

import (
	"strconv"
	"strings"
)

// handler translates one function that depends on more than the values it gets.
type handler func(*node, *scope) value

// special finds the functions whose translation depends on types, on keys that are written out, or on other functions.
func (t *translator) special(key string) (handler, bool) {
	for _, group := range []func(string) handler{t.kernelFunction, t.mapFunction, t.enumFunction, t.textFunction, t.timeFunction} {
		if f := group(key); f != nil {
			return f, true
		}
	}
	return nil, false
}

// tests are the functions that ask for the kind of a value.
//
//nolint:gochecknoglobals // a table
var tests = map[string]struct {
	kinds kinds
	code  string
}{
	"is_nil/1": {isNil, "%s === null"}, "is_boolean/1": {isBoolean, "typeof %s === \"boolean\""}, "is_binary/1": {isText, "isText(%s)"},
	"is_bitstring/1": {isText, "isText(%s)"}, "is_integer/1": {isInteger, "isInteger(%s)"}, "is_float/1": {isFloat, "isFloat(%s)"},
	"is_number/1": {isNumber, "isNumber(%s)"}, "is_map/1": {isMap | isTime | isDecimal | isRegex, "isMap(%s)"}, "is_list/1": {isList, "Array.isArray(%s)"},
	"is_tuple/1": {isTuple, "Array.isArray(%s)"}, "is_function/1": {isFunction, "typeof %s === \"function\""},
	"is_atom/1": {isAtom | isNil | isBoolean, "isAtom(%s)"},
}

func (t *translator) kernelFunction(key string) handler {
	if _, ok := tests[key]; ok {
		return func(n *node, s *scope) value { return t.test(key, n, s) }
	}
	switch key {
	case "to_string/1", "Kernel.to_string/1":
		return func(n *node, s *scope) value {
			v := t.expression(n.args[0], s)
			return value{t.printed(n.args[0], v), strengthCall, textType}
		}
	case "elem/2":
		return t.elem
	case "is_map_key/2":
		return func(n *node, s *scope) value { return t.hasKey(n, s) }
	case "get_in/2":
		return t.getIn
	case "put_in/3":
		return t.putIn
	case "then/2":
		return func(n *node, s *scope) value {
			return t.apply(&node{kind: nodeApply, at: n.at, args: []*node{n.args[1], n.args[0]}}, s)
		}
	case "match?/2":
		return t.matchTest
	case "JSON.encode!/1", "Jason.encode!/1":
		return t.encode
	}
	return nil
}

// test translates is_binary and its kin. What is known beforehand is still called, for its errors.
func (t *translator) test(key string, n *node, s *scope) value {
	v := t.expression(n.args[0], s)
	test := tests[key]
	what := strings.TrimSuffix(key, "/1")
	confusion := map[string]kinds{"is_binary": isAtom | isTime | isDecimal, "is_bitstring": isAtom | isTime | isDecimal, "is_list": isTuple, "is_tuple": isList, "is_atom": isText | isTime | isDecimal, "is_map": isRegex}[what]
	switch {
	case v.typ.kinds != 0 && v.typ.only(test.kinds) && (!v.typ.column || test.kinds != isText):
		return value{"true", strengthCall, booleanType}
	case v.typ.kinds != 0 && !v.typ.may(test.kinds) && (!v.typ.column || what != "is_map"):
		return value{"false", strengthCall, booleanType}
	case what == "is_atom" && !v.typ.may(isAtom): // nil, true and false are what they are
	case what == "is_map" && v.typ.may(isTime|isDecimal), v.typ.may(confusion):
		return t.refuse(n.at, what, "cannot tell what the value is, since atoms, dates and texts, and lists and tuples, are the same in JavaScript", "decide before the values come together")
	}
	if v.typ.column && (what == "is_binary" || what == "is_map") {
		t.note(n.at, "%s of %s: columns of the types numeric, date and timestamp were maps in Elixir, and are texts here", what, t.name(n.args[0]))
	}
	code := v.in(strengthCall)
	if !strings.HasPrefix(test.code, "%s") && !strings.HasPrefix(test.code, "typeof") {
		code = v.code
	}
	return value{strings.Replace(test.code, "%s", code, 1), strengthEqual, booleanType}
}

func (t *translator) elem(n *node, s *scope) value {
	v := t.expression(n.args[0], s)
	i, err := strconv.Atoi(n.args[1].text)
	if n.args[1].kind != nodeInteger || err != nil || v.typ.parts() == nil || i >= len(v.typ.parts()) {
		return t.refuse(n.at, "elem", "is converted for a tuple of known size and a number that is written out", "match the tuple: {a, b} = tuple")
	}
	return value{v.in(strengthCall) + "[" + strconv.Itoa(i) + "]", strengthCall, v.typ.parts()[i]}
}

// getIn translates get_in(map, [key, …]).
func (t *translator) getIn(n *node, s *scope) value {
	v := t.expression(n.args[0], s)
	if n.args[1].kind != nodeList || n.args[1].tail != nil || len(n.args[1].args) == 0 {
		return t.refuse(n.args[1].at, "get_in", "is converted with keys that are written out", `write get_in(map, ["a", "b"])`)
	}
	for _, key := range n.args[1].args {
		if key.kind == nodeCall || key.kind == nodeFunction {
			return t.refuse(key.at, "get_in", "is converted with keys only", "use Enum for what is in a list")
		}
		v = t.access(key, v, s, false)
	}
	return v
}

// putIn translates put_in(map, ["a", "b"], value) with keys that are texts.
func (t *translator) putIn(n *node, s *scope) value {
	v, to := t.expression(n.args[0], s), t.expression(n.args[2], s)
	keys := n.args[1]
	if keys.kind != nodeList || len(keys.args) == 0 || !v.typ.texts || len(v.typ.fields) > 0 {
		return t.refuse(n.at, "put_in", "is converted with keys that are texts and written out", "use Map.put, from the inside out")
	}
	codes := make([]string, len(keys.args))
	for i, key := range keys.args {
		name, ok := literalKey(key)
		if !ok || key.kind == nodeAtom {
			return t.refuse(key.at, "put_in", "is converted with keys that are texts and written out", "use Map.put, from the inside out")
		}
		codes[i] = quote(name)
	}
	typ := *v.typ
	typ.kinds = isMap
	typ.elem = join(v.typ.elem, to.typ)
	return value{"putIn(" + v.code + ", [" + strings.Join(codes, ", ") + "], " + to.code + ")", strengthCall, &typ}
}

func (t *translator) matchTest(n *node, s *scope) value {
	pattern := n.args[0]
	inner := s.child()
	form := &node{kind: nodeCall, text: "case", at: n.at, args: []*node{n.args[1]}}
	c := clause0(pattern, &node{kind: nodeAtom, text: "true", at: n.at})
	other := clause0(&node{kind: nodeVariable, text: "_", at: n.at}, &node{kind: nodeAtom, text: "false", at: n.at})
	form.blocks = []block{{name: "do", clauses: []clause{c, other}}}
	return t.inline2(t.caseStatement, form, inner)
}

func clause0(pattern, body *node) clause {
	c := clause{at: pattern.at, patterns: []*node{pattern}, body: body}
	if pattern.operator("when") {
		c.patterns, c.guard = []*node{pattern.args[0]}, pattern.args[1]
	}
	return c
}

// encode translates JSON.encode!, whose order of keys is that of the map.
func (t *translator) encode(n *node, s *scope) value {
	v := t.expression(n.args[0], s)
	if why := unspeakable(v.typ); why != "" {
		return t.refuse(n.at, n.text, why, "encode texts, numbers, lists and maps")
	}
	if v.typ.traits().atomKeys {
		t.note(n.at, "%s: the order of keys that are atoms is that of the alphabet here; Elixir promises none", n.text)
	}
	return value{"toJSON(" + v.code + ")", strengthCall, textType}
}

// textFunction has the functions of texts that have options.
func (t *translator) textFunction(key string) handler {
	switch key {
	case "String.slice/2":
		return t.sliceText
	case "String.split/3":
		return t.splitText
	case "String.trim/2":
		return func(n *node, _ *scope) value {
			return t.refuse(n.at, "String.trim/2", "is not converted", "use String.trim or Regex.replace")
		}
	case "Base.encode16/2", "Base.url_encode64/2":
		return t.encodeBase
	case "URI.encode_query/1":
		return t.query
	case "Regex.named_captures/2":
		return func(n *node, s *scope) value {
			r, v := t.wanted('R', n.args[0], t.expression(n.args[0], s), n.text), t.wanted('S', n.args[1], t.expression(n.args[1], s), n.text)
			return value{"namedMatch(" + r.code + ", " + v.code + ")", strengthCall, &typ{kinds: isNil | isMap, texts: true, elem: textType}}
		}
	}
	return nil
}

// sliceText translates String.slice(text, from..to).
func (t *translator) sliceText(n *node, s *scope) value {
	v := t.wanted('S', n.args[0], t.expression(n.args[0], s), n.text)
	from, to, ok := limits(n.args[1])
	if !ok {
		return t.refuse(n.args[1].at, "String.slice", "is converted with a range that is written out", "write first..last, or String.slice(text, start, length)")
	}
	return value{"sliceRange(characters(" + v.code + "), " + from + ", " + to + ").join(\"\")", strengthCall, textType}
}

func limits(n *node) (from, to string, ok bool) {
	if !n.operator("..") || n.args[0].kind != nodeInteger || n.args[1].kind != nodeInteger {
		return "", "", false
	}
	return n.args[0].text, n.args[1].text, true
}

// option is the value of a keyword, if it is the only one.
func option(n *node, name string) *node {
	if n.kind == nodeKeywords && len(n.args) == 2 && n.args[0].text == name {
		return n.args[1]
	}
	return nil
}

func (t *translator) splitText(n *node, s *scope) value {
	v := t.wanted('S', n.args[0], t.expression(n.args[0], s), n.text)
	by := t.wanted('Q', n.args[1], t.expression(n.args[1], s), n.text)
	if parts := option(n.args[2], "parts"); parts != nil && parts.kind == nodeInteger && !strings.HasPrefix(parts.text, "-") && parts.text != "0" {
		return value{"split(" + v.code + ", " + by.code + ", " + parts.text + ")", strengthCall, textsType}
	}
	if trim := option(n.args[2], "trim"); trim != nil && trim.atom("true") {
		return value{"split(" + v.code + ", " + by.code + ").filter((part) => part !== \"\")", strengthCall, textsType}
	}
	return t.refuse(n.args[2].at, "String.split", "is converted with parts: number or trim: true", "use one of them")
}

func (t *translator) encodeBase(n *node, s *scope) value {
	v := t.wanted('S', n.args[0], t.expression(n.args[0], s), n.text)
	switch {
	case n.text == "Base.encode16" && option(n.args[1], "case") != nil && option(n.args[1], "case").atom("lower"):
		return value{"hex(" + v.code + ").toLowerCase()", strengthCall, textType}
	case n.text == "Base.url_encode64" && option(n.args[1], "padding") != nil && option(n.args[1], "padding").atom("false"):
		return value{"base64(" + v.code + `).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "")`, strengthCall, textType}
	}
	return t.refuse(n.args[1].at, n.text, "is not converted with these options", "use case: :lower for encode16 and padding: false for url_encode64")
}

// query translates URI.encode_query of a map.
func (t *translator) query(n *node, s *scope) value {
	v := t.expression(n.args[0], s)
	source, elem := t.enumerated(n.args[0], v, nil)
	if elem.kinds != 0 && len(elem.parts()) != 2 {
		return t.refuse(n.at, "URI.encode_query", "is converted for a map or a list of pairs", `write %{"key" => value}`)
	}
	if v.typ.traits().times || v.typ.elem != nil && v.typ.elem.column {
		return t.refuse(n.at, "URI.encode_query", "prints dates and times", "make texts of the values before: to_string(…)")
	}
	return value{source + ".map(([key, value]) => `${formEncode(text(key))}=${formEncode(text(value))}`).join(\"&\")", strengthCall, textType}
}
