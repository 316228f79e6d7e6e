package elixir

import (
	"fmt"
	"slices"
	"strings"
)

// match translates pattern = value. The value is that of the right side.
func (t *translator) match(n *node, s *scope) (string, value) {
	pattern, right := n.args[0], n.args[1]
	if right.operator("=") { // a = b = value
		before, v := t.match(right, s)
		m := &matcher{t: t, scope: s}
		m.pattern(pattern, v)
		return before + m.must(v), v
	}
	if pattern.kind == nodeVariable {
		v := t.assigned(right, s)
		if pattern.text == "_" {
			return v.code + ";\n", v
		}
		js := t.declare(pattern.text, v.typ, s)
		return "const " + js + " = " + v.code + ";\n", value{js, strengthCall, v.typ}
	}
	before, v := t.named(right, s, "value")
	m := &matcher{t: t, scope: s}
	m.pattern(pattern, v)
	return before + m.must(v), v
}

// assigned translates a value that gets a name. A function that is kept is translated for values as in JSON.
func (t *translator) assigned(n *node, s *scope) value {
	if n.kind != nodeFunction && n.kind != nodeCapture {
		return t.expression(n, s)
	}
	arity := 0
	switch {
	case n.kind == nodeFunction && len(n.clauses) > 0:
		arity = len(n.clauses[0].patterns)
	case n.kind == nodeCapture && n.text != "":
		arity = int(n.flags[0] - '0')
	case n.kind == nodeCapture:
		arity = arguments(n.args[0])
	}
	params := make([]*typ, arity)
	for i := range params {
		params[i] = columnType
	}
	return t.lambda(n, params, s)
}

// arguments is the highest number behind & in an expression.
func arguments(n *node) int {
	if n == nil {
		return 0
	}
	most := 0
	if n.kind == nodeArgument {
		_, _ = fmt.Sscan(n.text, &most)
		most = min(most, 9)
	}
	for _, a := range n.args {
		most = max(most, arguments(a))
	}
	most = max(most, arguments(n.tail))
	for i := range n.blocks {
		most = max(most, arguments(n.blocks[i].body))
	}
	return most
}

// matcher collects what a pattern asks of a value and the names that it gives.
type matcher struct {
	t          *translator
	scope      *scope
	conditions []string
	bindings   strings.Builder
	bound      map[string]value
}

// must is the code of a pattern that has to match.
func (m *matcher) must(v value) string {
	code := ""
	if len(m.conditions) > 0 {
		code = "if (!(" + strings.Join(m.conditions, " && ") + ")) noMatch(\"=\", " + v.code + ");\n"
	}
	return code + m.bindings.String()
}

func (m *matcher) ask(format string, args ...any) {
	m.conditions = append(m.conditions, fmt.Sprintf(format, args...))
}

// pattern matches a value, whose code may be repeated.
func (m *matcher) pattern(p *node, v value) {
	switch p.kind {
	case nodeVariable:
		m.variable(p, v)
	case nodeAtom, nodeInteger, nodeFloat:
		m.literal(p, v)
	case nodeText:
		if len(p.args) == 1 && p.args[0].kind == nodeLiteral {
			m.literal(p, v)
			return
		}
		m.t.refuse(p.at, "interpolation in a pattern", "is no pattern", "compare in a guard: when value == …")
	case nodeTuple:
		m.tuple(p, v)
	case nodeList:
		m.list(p, v)
	case nodeMap:
		m.mapPattern(p, v)
	case nodeOperator:
		m.operator(p, v)
	case nodeRefused:
	default:
		m.t.refuse(p.at, m.t.name(p), "is not converted in a pattern", "bind a name, and compare in a guard or in the body")
	}
}

func (m *matcher) variable(p *node, v value) {
	if p.text == "_" {
		return
	}
	if before, ok := m.bound[p.text]; ok {
		m.same(p, before, v)
		return
	}
	if m.bound == nil {
		m.bound = map[string]value{}
	}
	m.bound[p.text] = v
	if m.scope.taken[v.code] { // the value has a name of its own, which is as good
		m.scope.variables[p.text] = variable{v.code, v.typ}
		return
	}
	js := m.t.declare(p.text, v.typ, m.scope)
	m.bindings.WriteString("const " + js + " = " + v.code + ";\n")
}

// same asks for two values to be the same, 1 and 1.0 not being so.
func (m *matcher) same(p *node, a, b value) {
	if why := confused(a.typ, b.typ); why != "" {
		m.t.refuse(p.at, m.t.name(p), why, "compare what is of one kind")
	}
	m.ask("same(%s, %s)", a.code, b.code)
}

func (m *matcher) literal(p *node, v value) {
	literal := m.t.expression(p, m.scope)
	if v.typ.kinds == 0 {
		return
	}
	if p.kind == nodeText && v.typ.column {
		literal.typ = &typ{kinds: isText}
	}
	if why := confused(literal.typ, shallow(v.typ)); why != "" {
		m.t.refuse(p.at, m.t.name(p), "is a pattern for a value that it is not compared with as in Elixir: "+why, m.t.counterpart(p))
		return
	}
	if p.kind == nodeFloat {
		m.ask("same(%s, %s)", v.code, literal.code)
		return
	}
	m.ask("%s === %s", v.in(strengthEqual+1), literal.in(strengthEqual+1))
}

// shallow is a type without what is inside.
func shallow(t *typ) *typ { return &typ{kinds: t.kinds, column: t.column} }

// counterpart says what to write in place of an atom or a text.
func (t *translator) counterpart(p *node) string {
	if p.kind == nodeAtom {
		return "write a text: " + quote(p.text)
	}
	return "compare with what it is"
}

func (m *matcher) tuple(p *node, v value) {
	switch {
	case v.typ.kinds == 0:
	case !v.typ.may(isTuple):
		m.t.refuse(p.at, "the tuple {…}", "never matches here: the value is no tuple", "match a list or a map, or take the values one by one")
		return
	case v.typ.may(isList):
		m.t.refuse(p.at, "the tuple {…}", "cannot be told from a list here", "use a tuple or a list on all ways")
		return
	}
	var parts []*typ
	for _, shape := range v.typ.shapes {
		if len(shape) != len(p.args) || len(shape) > 0 && p.args[0].kind == nodeAtom && tag(shape) != "" && tag(shape) != p.args[0].text {
			continue
		}
		if parts == nil {
			parts = slices.Clone(shape)
			continue
		}
		for i := range parts {
			parts[i] = join(parts[i], shape[i])
		}
	}
	if parts == nil && v.typ.kinds != 0 {
		m.t.refuse(p.at, "the tuple {…}", "never matches here: no tuple that the value may be is like it", "write as many parts, and the atom that it begins with")
		return
	}
	if v.typ.kinds == 0 {
		parts = make([]*typ, len(p.args))
		for i := range parts {
			parts[i] = neverType
		}
	}
	if !v.typ.only(isTuple) {
		m.ask("Array.isArray(%s)", v.code)
	}
	if len(v.typ.shapes) != 1 {
		m.ask("%s.length === %d", v.in(strengthCall), len(p.args))
	}
	for i, a := range p.args {
		m.pattern(a, value{fmt.Sprintf("%s[%d]", v.in(strengthCall), i), strengthCall, parts[i]})
	}
}

func (m *matcher) list(p *node, v value) {
	if v.typ.may(isTuple) {
		m.t.refuse(p.at, "the list […]", "cannot be told from a tuple here", "use a tuple or a list on all ways")
		return
	}
	comparison := "==="
	if p.tail != nil {
		comparison = ">="
	}
	if !v.typ.only(isList) {
		m.ask("Array.isArray(%s)", v.code)
	}
	m.ask("%s.length %s %d", v.in(strengthCall), comparison, len(p.args))
	elem := v.typ.elem
	if elem == nil {
		elem = neverType
	}
	for i, a := range p.args {
		m.pattern(a, value{fmt.Sprintf("%s[%d]", v.in(strengthCall), i), strengthCall, elem})
	}
	if p.tail != nil {
		m.pattern(p.tail, value{fmt.Sprintf("%s.slice(%d)", v.in(strengthCall), len(p.args)), strengthCall, listOf(v.typ.elem)})
	}
}

func (m *matcher) mapPattern(p *node, v value) {
	if p.tail != nil {
		m.t.refuse(p.at, "%{… | …}", "is no pattern", "write %{key: pattern}")
		return
	}
	if !v.typ.only(isMap) {
		m.ask("isMap(%s)", v.code)
	}
	for i := 0; i+1 < len(p.args); i += 2 {
		key := p.args[i]
		if key.operator("^") || key.kind != nodeAtom && (key.kind != nodeText || len(key.args) != 1 || key.args[0].kind != nodeLiteral) {
			m.t.refuse(key.at, "this key in a pattern", "is not converted", "write a text or an atom, or take the value before: Map.fetch(map, key)")
			continue
		}
		a := m.t.access(key, v, m.scope, true)
		if a.code == "" {
			continue
		}
		name := key.text
		if key.kind == nodeText {
			name = key.args[0].text
		}
		if _, sure := v.typ.field(name); key.kind != nodeAtom || !sure || !v.typ.only(isMap) {
			m.ask("has(%s, %s)", v.code, quote(name))
		}
		m.pattern(p.args[i+1], a)
	}
}

func (m *matcher) operator(p *node, v value) {
	switch {
	case p.operator("="):
		m.pattern(p.args[0], v)
		m.pattern(p.args[1], v)
	case p.text == "^" && len(p.args) == 1:
		m.same(p, m.t.expression(p.args[0], m.scope), v)
	case p.operator("<>"):
		prefix := p.args[0]
		if prefix.kind != nodeText || len(prefix.args) != 1 || prefix.args[0].kind != nodeLiteral {
			m.t.refuse(p.at, "<>", "needs a text on its left side in a pattern", `write "begin" <> rest`)
			return
		}
		if shallow(v.typ).may(isAtom | isTime) {
			m.t.refuse(p.at, "<>", "matches texts only, and this may be another value", "use to_string before")
			return
		}
		text := prefix.args[0].text
		m.ask("isText(%s) && %s.startsWith(%s)", v.code, v.in(strengthCall), quote(text))
		m.pattern(p.args[1], value{fmt.Sprintf("%s.slice(%d)", v.in(strengthCall), utf16Length(text)), strengthCall, textType})
	default:
		m.t.refuse(p.at, p.text, "is not converted in a pattern", "bind a name, and compare in a guard or in the body")
	}
}

func utf16Length(text string) int {
	n := 0
	for _, r := range text {
		if n++; r > 0xffff {
			n++
		}
	}
	return n
}
