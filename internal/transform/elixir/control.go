package elixir

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// truthy is a condition as if and && see it: only nil and false are false.
func truthy(v value) string {
	if v.typ.only(isBoolean) {
		return v.code
	}
	return "truthy(" + v.code + ")"
}

// condition translates the condition of an if, and what it binds.
func (t *translator) condition(n *node, s *scope) (before, code string) {
	if n.operator("=") {
		before, v := t.match(n, s)
		return before, truthy(v)
	}
	return "", truthy(t.expression(n, s))
}

// branches are the condition and the two ways of an if or unless.
func (t *translator) branches(n *node) (condition, yes, no *node, ok bool) {
	if len(n.args) != 1 || n.block("do") == nil || n.block("do").clauses != nil {
		t.refuse(n.at, n.text, "is not written as it should be", "write "+n.text+" condition do … else … end")
		return nil, nil, nil, false
	}
	yes, no = n.block("do").body, &node{kind: nodeAtom, text: "nil", at: n.at}
	if b := n.block("else"); b != nil {
		if b.clauses != nil {
			t.refuse(n.at, "else with arrows", "belongs to with, not to "+n.text, "write case")
			return nil, nil, nil, false
		}
		no = b.body
	}
	if n.text == "unless" {
		yes, no = no, yes
	}
	return n.args[0], yes, no, true
}

func (t *translator) ifStatement(n *node, s *scope) (string, *typ) {
	condition, yes, no, ok := t.branches(n)
	if !ok {
		return "", neverType
	}
	before, code := t.condition(condition, s)
	first, a := t.statements(yes, s.child())
	second, b := t.statements(no, s.child())
	return before + "if (" + code + ") {\n" + indent(first) + "}\n" + second, join(a, b)
}

// ifExpression is an if where a value stands.
func (t *translator) ifExpression(n *node, s *scope) value {
	condition, yes, no, ok := t.branches(n)
	if !ok {
		return value{"null", strengthCall, neverType}
	}
	if condition.operator("=") || !simple(yes) || !simple(no) {
		body, typ := t.ifStatement(n, s.child())
		return t.inline(body, typ)
	}
	_, code := t.condition(condition, s)
	a, b := t.expression(yes, s), t.expression(no, s)
	return value{code + " ? " + a.in(strengthOr) + " : " + b.in(strengthCondition), strengthCondition, join(a.typ, b.typ)}
}

// simple tells whether an expression needs no statements.
func simple(n *node) bool {
	if n == nil {
		return false
	}
	return n.kind != nodeBlock && !n.operator("=") && !n.call("case") && !n.call("cond") && !n.call("with") && !n.call("raise") &&
		(!n.call("if") && !n.call("unless") || len(n.blocks) > 0 && simple(n.blocks[0].body) && simple(n.blocks[len(n.blocks)-1].body))
}

func (t *translator) caseStatement(n *node, s *scope) (string, *typ) {
	do := n.block("do")
	if len(n.args) != 1 || do == nil || do.clauses == nil || len(n.blocks) > 1 {
		t.refuse(n.at, "case", "is not written as it should be", "write case value do pattern -> result end")
		return "", neverType
	}
	before, subject := t.named(n.args[0], s, "value")
	code, typ := t.clauses(do.clauses, []value{subject}, s, "case")
	return before + code, typ
}

// named gives a value a name, unless it has one.
func (t *translator) named(n *node, s *scope, name string) (string, value) {
	if n.operator("=") {
		return t.match(n, s)
	}
	v := t.expression(n, s)
	if strings.Trim(v.code, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" {
		return "", v
	}
	js := t.fresh(name, s)
	return "const " + js + " = " + v.code + ";\n", value{js, strengthCall, v.typ}
}

// clauses translates patterns and what belongs to them, for case, fn and the heads of the function.
func (t *translator) clauses(list []clause, subjects []value, s *scope, what string) (string, *typ) {
	var b strings.Builder
	result := neverType
	for i := range list {
		c := &list[i]
		if len(c.patterns) != len(subjects) {
			t.refuse(c.at, what, fmt.Sprintf("has %d patterns here", len(c.patterns)), fmt.Sprintf("write %d", len(subjects)))
			continue
		}
		inner := s.child()
		m := &matcher{t: t, scope: inner}
		for k, subject := range subjects {
			m.pattern(c.patterns[k], subject)
		}
		bindings, conditions := m.bindings.String(), m.conditions
		if c.guard == nil {
			body, typ := t.statements(c.body, inner)
			result = join(result, typ)
			if len(conditions) == 0 {
				b.WriteString(bindings + body)
				return b.String(), result
			}
			b.WriteString("if (" + strings.Join(conditions, " && ") + ") {\n" + indent(bindings+body) + "}\n")
			continue
		}
		guard := t.guard(c.guard, inner)
		body, typ := t.statements(c.body, inner)
		result = join(result, typ)
		if bindings == "" {
			code := guard.code
			if len(conditions) > 0 {
				code = strings.Join(conditions, " && ") + " && " + guard.in(strengthAnd)
			}
			b.WriteString("if (" + code + ") {\n" + indent(body) + "}\n")
			continue
		}
		code := bindings + "if (" + guard.code + ") {\n" + indent(body) + "}\n"
		if len(conditions) == 0 {
			b.WriteString("{\n" + indent(code) + "}\n")
		} else {
			b.WriteString("if (" + strings.Join(conditions, " && ") + ") {\n" + indent(code) + "}\n")
		}
	}
	codes := make([]string, len(subjects))
	for i, v := range subjects {
		codes[i] = v.code
	}
	if len(codes) != 1 {
		codes = []string{"[" + strings.Join(codes, ", ") + "]"}
	}
	b.WriteString("return noMatch(" + quote(what) + ", " + codes[0] + ");\n")
	return b.String(), result
}

// guard translates a guard, in which an error is a no.
func (t *translator) guard(n *node, s *scope) value {
	before := s.guard
	s.guard = true
	v := t.expression(n, s)
	s.guard = before
	code := v.code
	if !v.typ.only(isBoolean) {
		code, v = v.in(strengthEqual)+" === true", value{strength: strengthEqual}
	}
	if raises(n) {
		return value{"guard(() => " + code + ")", strengthCall, booleanType}
	}
	return value{code, v.strength, booleanType}
}

// raises tells whether a guard may meet an error.
func raises(n *node) bool {
	switch n.kind {
	case nodeInteger, nodeFloat, nodeText, nodeLiteral, nodeAtom, nodeVariable:
		return false
	case nodeOperator:
		switch n.text {
		case "==", "!=", "===", "!==", "<", ">", "<=", ">=", "in":
		case "and", "or", "not":
			for _, a := range n.args {
				if a.kind == nodeVariable || raises(a) {
					return true
				}
			}
			return false
		default:
			return true
		}
	case nodeList:
	case nodeCall:
		if !strings.HasPrefix(n.text, "is_") || n.text == "is_map_key" {
			return true
		}
	default:
		return true
	}
	return slices.ContainsFunc(n.args, raises)
}

func (t *translator) condStatement(n *node, s *scope) (string, *typ) {
	do := n.block("do")
	if len(n.args) != 0 || do == nil || do.clauses == nil {
		t.refuse(n.at, "cond", "is not written as it should be", "write cond do condition -> result end")
		return "", neverType
	}
	var b strings.Builder
	result := neverType
	for _, c := range do.clauses {
		if len(c.patterns) != 1 || c.guard != nil {
			t.refuse(c.at, "cond", "has no single condition here", "write condition -> result")
			continue
		}
		inner := s.child()
		before, code := t.condition(c.patterns[0], inner)
		body, typ := t.statements(c.body, inner)
		result = join(result, typ)
		switch {
		case code == "true":
			b.WriteString(body)
			return b.String(), result
		case before != "":
			b.WriteString("{\n" + indent(before+"if ("+code+") {\n"+indent(body)+"}\n") + "}\n")
		default:
			b.WriteString("if (" + code + ") {\n" + indent(body) + "}\n")
		}
	}
	b.WriteString("return noMatch(\"cond\", null);\n")
	return b.String(), result
}

// withStatement translates with: each step must match, else its value goes to the clauses of else.
func (t *translator) withStatement(n *node, s *scope) (string, *typ) {
	do := n.block("do")
	if do == nil || do.clauses != nil {
		t.refuse(n.at, "with", "is not written as it should be", "write with pattern <- value, … do … else … end")
		return "", neverType
	}
	var b strings.Builder
	inner := s.child()
	result := neverType
	otherwise := n.block("else")
	for _, step := range n.args {
		var guard *node
		if step.operator("<-") {
			pattern := step.args[0]
			if pattern.operator("when") {
				pattern, guard = pattern.args[0], pattern.args[1]
			}
			before, subject := t.named(step.args[1], inner, "value")
			b.WriteString(before)
			m := &matcher{t: t, scope: inner}
			m.pattern(pattern, subject)
			failed := func(conditions []string) {
				code, typ := "return "+subject.code+";\n", subject.typ
				if otherwise != nil {
					code, typ = t.otherwise(otherwise, subject, s.child(), inner)
				}
				result = join(result, typ)
				b.WriteString("if (!(" + strings.Join(conditions, " && ") + ")) {\n" + indent(code) + "}\n")
			}
			if len(m.conditions) > 0 {
				failed(m.conditions)
			}
			b.WriteString(m.bindings.String())
			if guard != nil {
				failed([]string{t.guard(guard, inner).code})
			}
			continue
		}
		b.WriteString(t.statement(step, inner))
	}
	body, typ := t.statements(do.body, inner)
	return b.String() + body, join(result, typ)
}

// otherwise translates the else of a with for one step. It does not see what the steps have bound, only avoids their names.
func (t *translator) otherwise(b *block, subject value, s, steps *scope) (string, *typ) {
	for name := range steps.taken {
		s.taken[name] = true
	}
	if b.clauses == nil {
		t.refuse(b.body.at, "else of with", "has no arrows", "write pattern -> result")
		return "", neverType
	}
	return t.clauses(b.clauses, []value{subject}, s, "with")
}

// lambda translates fn … end or a capture for values of the types given.
func (t *translator) lambda(n *node, params []*typ, s *scope) value {
	if n.kind == nodeFunction {
		return t.closure(n, params, s)
	}
	if n.kind == nodeCapture {
		return t.captured(n, params, s)
	}
	v := t.expression(n, s)
	if v.typ.lambda == nil {
		if v.typ.kinds != 0 {
			return t.refuse(n.at, t.name(n), "is no function here", "write fn … end or &")
		}
		return v
	}
	if v.typ.lambda.arity != len(params) {
		return t.refuse(n.at, t.name(n), fmt.Sprintf("takes %d values", v.typ.lambda.arity), fmt.Sprintf("write a function of %d here", len(params)))
	}
	for _, p := range params {
		if tr := p.traits(); tr.atoms || tr.atomKeys || tr.tuples || tr.times || tr.others {
			t.refuse(n.at, t.name(n), "is called with values that are not as in JSON, which it was not translated for", "write the fn here, where it is called")
		}
	}
	return value{v.code, v.strength, &typ{kinds: isFunction, lambda: v.typ.lambda}}
}

// closure translates fn … end.
func (t *translator) closure(n *node, params []*typ, s *scope) value {
	inner := s.child()
	arity := len(params)
	if len(n.clauses) == 0 {
		return t.refuse(n.at, "fn", "has no clause", "write fn value -> result end")
	}
	for _, c := range n.clauses {
		if len(c.patterns) != arity {
			return t.refuse(c.at, "this function", fmt.Sprintf("takes %d values", len(c.patterns)), fmt.Sprintf("write a function of %d here", arity))
		}
	}
	names := make([]string, arity)
	subjects := make([]value, arity)
	plain := len(n.clauses) == 1 && n.clauses[0].guard == nil
	for i, p := range params {
		var pattern *node
		if plain {
			pattern = n.clauses[0].patterns[i]
		}
		switch {
		case pattern != nil && pattern.kind == nodeVariable && !strings.HasPrefix(pattern.text, "_"):
			names[i] = t.fresh(pattern.text, inner)
		case pattern != nil && pattern.kind == nodeTuple && len(p.parts()) == len(pattern.args) && p.parts() != nil && t.unpacks(pattern):
			names[i] = t.unpack(pattern, p, inner)
			continue
		default:
			names[i] = t.fresh("item", inner)
		}
		subjects[i] = value{names[i], strengthCall, p}
	}
	var body string
	var result *typ
	if !plain {
		body, result = t.clauses(n.clauses, subjects, inner, "fn")
	} else {
		m := &matcher{t: t, scope: inner}
		for i, pattern := range n.clauses[0].patterns {
			switch {
			case subjects[i].code == "":
			case pattern.kind == nodeVariable:
				inner.variables[pattern.text] = variable{names[i], params[i]}
			default:
				m.pattern(pattern, subjects[i])
			}
		}
		if len(m.conditions) > 0 {
			body = "if (!(" + strings.Join(m.conditions, " && ") + ")) noMatch(\"fn\", " + names[0] + ");\n"
		}
		body += m.bindings.String()
		if c := n.clauses[0]; body == "" && simple(c.body) {
			v := t.expression(c.body, inner)
			code := v.in(strengthCondition)
			if strings.HasPrefix(code, "{") {
				code = "(" + code + ")"
			}
			return value{"(" + strings.Join(names, ", ") + ") => " + code, strengthArrow, &typ{kinds: isFunction, lambda: &lambdaType{arity, v.typ}}}
		}
		code, typ := t.statements(n.clauses[0].body, inner)
		body, result = body+code, typ
	}
	return value{"(" + strings.Join(names, ", ") + ") => {\n" + indent(body) + "}", strengthArrow, &typ{kinds: isFunction, lambda: &lambdaType{arity, result}}}
}

// unpacks tells whether a tuple's pattern is nothing but names, each once.
func (t *translator) unpacks(pattern *node) bool {
	seen := map[string]bool{}
	for _, a := range pattern.args {
		if a.kind != nodeVariable || seen[a.text] && !strings.HasPrefix(a.text, "_") {
			return false
		}
		seen[a.text] = true
	}
	return true
}

// unpack names the parts of a tuple as parameters: ([key, value]).
func (t *translator) unpack(pattern *node, p *typ, s *scope) string {
	names := make([]string, len(pattern.args))
	for i, a := range pattern.args {
		if a.text == "_" {
			continue
		}
		names[i] = t.declare(a.text, p.parts()[i], s)
	}
	for len(names) > 0 && names[len(names)-1] == "" {
		names = names[:len(names)-1]
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// captured translates &name/2 and &(… &1 …).
func (t *translator) captured(n *node, params []*typ, s *scope) value {
	inner := s.child()
	inner.arguments = nil
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = t.fresh([]string{"x", "y", "z"}[min(i, 2)], inner)
		inner.arguments = append(inner.arguments, variable{names[i], p})
	}
	body := &node{kind: nodeCall, text: n.text, at: n.at}
	if n.text == "" {
		body = n.args[0]
	} else {
		if n.flags != strconv.Itoa(len(params)) {
			return t.refuse(n.at, "&"+n.text+"/"+n.flags, "takes "+n.flags+" values", fmt.Sprintf("write a function of %d here", len(params)))
		}
		for i := range params {
			body.args = append(body.args, &node{kind: nodeArgument, text: strconv.Itoa(i + 1), at: n.at})
		}
	}
	v := t.expression(body, inner)
	code := v.in(strengthCondition)
	if strings.HasPrefix(code, "{") {
		code = "(" + code + ")"
	}
	return value{"(" + strings.Join(names, ", ") + ") => " + code, strengthArrow, &typ{kinds: isFunction, lambda: &lambdaType{len(params), v.typ}}}
}
