package elixir

import (
	"maps"
	"strings"
)

func (t *translator) mapFunction(key string) handler {
	switch key {
	case "Map.get/2", "Map.get/3", "Map.fetch!/2", "Map.fetch/2", "Map.pop/2":
		return t.lookup
	case "Map.has_key?/2":
		return t.hasKey
	case "Map.put/3", "Map.put_new/3", "Map.replace/3", "Map.replace!/3":
		return t.put
	case "Map.delete/2", "Map.drop/2", "Map.take/2":
		return t.choose
	case "Map.merge/2":
		return t.merge
	case "Map.update/4", "Map.update!/3":
		return t.updateKey
	case "Map.new/1", "Map.new/2", "Enum.into/2", "Enum.into/3":
		return t.into
	case "Map.to_list/1":
		return func(n *node, s *scope) value {
			v := t.wanted('M', n.args[0], t.expression(n.args[0], s), n.text)
			return value{"entries(" + v.code + ")", strengthCall, listOf(t.pairOf(n.args[0], v.typ))}
		}
	case "Map.filter/2", "Map.reject/2":
		return t.filterMap
	case "Map.equal?/2":
		return func(n *node, s *scope) value {
			return t.equality(&node{kind: nodeOperator, text: "===", at: n.at, args: n.args}, s)
		}
	}
	return nil
}

// keyOf is a key that is looked up in a map, and what is known of its value; sure tells that it is there.
func (t *translator) keyOf(n *node, m value, s *scope, what string) (code string, elem *typ, sure bool) {
	name, written := literalKey(n)
	field, there := m.typ.field(name)
	switch {
	case m.typ.kinds == 0:
		return "null", neverType, false
	case written && n.kind == nodeAtom && field == nil && m.typ.texts:
		t.refuse(n.at, what+" :"+name, "finds nothing: the keys are texts", "write "+quote(name))
	case written && n.kind == nodeAtom && field == nil:
		return quote(name), neverType, false
	case written && n.kind == nodeAtom && m.typ.texts && !there:
		t.refuse(n.at, what+" :"+name, "may be under a text or under an atom", "use keys of one kind in a map")
	case written && n.kind == nodeAtom:
		return quote(name), field, there
	case written && field != nil:
		t.refuse(n.at, what+" "+quote(name), "looks for a text where the key is an atom, which is another key", "write :"+name)
	case written && !m.typ.texts:
		t.refuse(n.at, what+" "+quote(name), "finds nothing: no key is a text", "write the key as it was put in")
	case written:
		return quote(name), elemOf(m.typ), false
	default:
		k := t.expression(n, s)
		v := t.accessKey(n, m, k, "get", what)
		return k.code, v.typ, false
	}
	return "null", neverType, false
}

// lookup translates Map.get, fetch and pop.
func (t *translator) lookup(n *node, s *scope) value {
	m := t.wanted('M', n.args[0], t.expression(n.args[0], s), n.text)
	key, elem, sure := t.keyOf(n.args[1], m, s, n.text)
	switch n.text {
	case "Map.get":
		if len(n.args) == 3 {
			v := t.expression(n.args[2], s)
			return value{"getOr(" + m.code + ", " + key + ", " + v.code + ")", strengthCall, join(elem, v.typ)}
		}
		if !sure {
			elem = join(elem, nilType)
		}
		return value{"getOr(" + m.code + ", " + key + ", null)", strengthCall, elem}
	case "Map.fetch!":
		return value{"fetch(" + m.code + ", " + key + ")", strengthCall, elem}
	case "Map.fetch":
		found := join(atomOf("error"), tupleOf(atomOf("ok"), elem))
		return value{"has(" + m.code + ", " + key + ") ? [\"ok\", fetch(" + m.code + ", " + key + ")] : \"error\"", strengthCondition, found}
	}
	rest := t.reduced(m.typ, n.args[1])
	return value{"[getOr(" + m.code + ", " + key + ", null), omit(" + m.code + ", [" + key + "])]", strengthCall, tupleOf(join(elem, nilType), rest)}
}

// reduced is the type of a map without a key.
func (t *translator) reduced(m *typ, key *node) *typ {
	out := *m
	out.kinds = isMap
	if name, written := literalKey(key); written && key.kind == nodeAtom {
		out.fields = maps.Clone(m.fields)
		delete(out.fields, name)
	}
	return &out
}

func (t *translator) hasKey(n *node, s *scope) value {
	m := t.wanted('M', n.args[0], t.expression(n.args[0], s), n.text)
	key, _, _ := t.keyOf(n.args[1], m, s, n.text)
	return value{"hasKey(" + m.code + ", " + key + ")", strengthCall, booleanType}
}

// put translates what gives a key a value.
func (t *translator) put(n *node, s *scope) value {
	m, v := t.wanted('M', n.args[0], t.expression(n.args[0], s), n.text), t.expression(n.args[2], s)
	if strings.HasPrefix(n.text, "Map.replace") {
		key, elem, _ := t.keyOf(n.args[1], m, s, n.text)
		helper := map[string]string{"Map.replace": "replaceKey", "Map.replace!": "replaceKeyOrFail"}[n.text]
		return value{helper + "(" + m.code + ", " + key + ", " + v.code + ")", strengthCall, t.with(m.typ, n.args[1], join(elem, v.typ))}
	}
	key, helper := t.keyToPut(n, m, s)
	typ := v.typ
	if n.text == "Map.put_new" {
		if helper == "putApart" {
			return t.refuse(n.at, n.text, "would put an atom beside keys that are texts", "use a text as the key")
		}
		helper = "putNew"
		if name, written := literalKey(n.args[1]); written && n.args[1].kind == nodeAtom && m.typ.fields[name] != nil {
			typ = join(m.typ.fields[name], typ)
		}
	}
	return value{helper + "(" + m.code + ", " + key + ", " + v.code + ")", strengthCall, t.with(m.typ, n.args[1], typ)}
}

// keyToPut is a key that comes into a map, and the helper that puts it.
func (t *translator) keyToPut(n *node, m value, s *scope) (key, helper string) {
	name, written := literalKey(n.args[1])
	field, sure := m.typ.field(name)
	switch {
	case written && n.args[1].kind == nodeAtom:
		if m.typ.texts && !sure {
			if field != nil {
				t.refuse(n.args[1].at, n.text+" :"+name, "may be there as an atom already, or as a text", "use keys of one kind in a map")
			}
			return quote(name), "putApart"
		}
		return quote(name), "put"
	case written:
		if field != nil {
			t.refuse(n.args[1].at, n.text+" "+quote(name), "would stand beside the atom :"+name, "write :"+name)
		}
		return quote(name), "put"
	}
	k := t.expression(n.args[1], s)
	if len(m.typ.fields) > 0 {
		t.refuse(n.args[1].at, n.text, "has a key that may be one of the atoms in the map", "use keys of one kind in a map")
	}
	return t.key(n.args[1], k), "put"
}

// with is the type of a map with a further key.
func (t *translator) with(m *typ, key *node, v *typ) *typ {
	out := *m
	out.kinds = isMap
	if name, written := literalKey(key); written && key.kind == nodeAtom {
		out.fields, out.maybe = map[string]*typ{}, map[string]bool{}
		maps.Copy(out.fields, m.fields)
		maps.Copy(out.maybe, m.maybe)
		out.fields[name] = v
		delete(out.maybe, name)
		return &out
	}
	out.texts, out.elem = true, join(m.elem, v)
	return &out
}

// choose translates what keeps or leaves out keys.
func (t *translator) choose(n *node, s *scope) value {
	m := t.wanted('M', n.args[0], t.expression(n.args[0], s), n.text)
	helper, keys := "omit", n.args[1]
	if n.text == "Map.take" {
		helper = "keep"
	}
	if n.text == "Map.delete" {
		keys = &node{kind: nodeList, at: keys.at, args: []*node{keys}}
	}
	if keys.kind == nodeSigil && keys.text == "w" && keys.flags == "a" {
		list := &node{kind: nodeList, at: keys.at}
		for word := range strings.FieldsSeq(keys.args[0].args[0].text) {
			list.args = append(list.args, &node{kind: nodeAtom, text: word, at: keys.at})
		}
		keys = list
	}
	out := *m.typ
	out.kinds = isMap
	if keys.kind != nodeList || keys.tail != nil {
		v := t.wanted('L', keys, t.expression(keys, s), n.text)
		if len(m.typ.fields) > 0 || v.typ.traits().atoms {
			return t.refuse(keys.at, n.text, "is converted for keys that are atoms only if they are written out", "write the list of keys here")
		}
		return value{helper + "(" + m.code + ", " + listCode(v) + ")", strengthCall, &out}
	}
	kept := map[string]*typ{}
	out.fields = maps.Clone(m.typ.fields)
	out.texts = m.typ.texts && helper != "keep"
	codes := make([]string, len(keys.args))
	for i, k := range keys.args {
		code, elem, _ := t.keyOf(k, m, s, n.text)
		codes[i] = code
		if name, written := literalKey(k); written && k.kind == nodeAtom {
			delete(out.fields, name)
			if elem.kinds != 0 {
				kept[name] = elem
			}
		} else {
			out.texts = out.texts || m.typ.texts
		}
	}
	if helper == "keep" {
		out.fields = kept
	}
	return value{helper + "(" + m.code + ", [" + strings.Join(codes, ", ") + "])", strengthCall, &out}
}

func (t *translator) merge(n *node, s *scope) value {
	a, b := t.wanted('M', n.args[0], t.expression(n.args[0], s), n.text), t.wanted('M', n.args[1], t.expression(n.args[1], s), n.text)
	out := &typ{kinds: isMap, texts: a.typ.texts || b.typ.texts, elem: join(a.typ.elem, b.typ.elem), fields: map[string]*typ{}, maybe: map[string]bool{}, column: false}
	maps.Copy(out.fields, a.typ.fields)
	maps.Copy(out.maybe, a.typ.maybe)
	for name, f := range b.typ.fields {
		if b.typ.maybe[name] {
			f = join(out.fields[name], f)
			out.maybe[name] = out.maybe[name] || a.typ.fields[name] == nil
		} else {
			delete(out.maybe, name)
		}
		out.fields[name] = f
	}
	mixed := out.texts && len(out.fields) > 0
	switch {
	case mixed:
		return value{"mergeApart(" + a.code + ", " + b.code + ", " + t.apart(n, a.typ, b.typ) + ", " + t.apart(n, b.typ, a.typ) + ")", strengthCall, out}
	case a.typ.only(isMap) && b.typ.only(isMap) && strings.HasPrefix(b.code, "{ ") && !strings.Contains(b.code, "__proto__"):
		return value{"{ ..." + copied(a) + ", " + strings.TrimPrefix(b.code, "{ "), strengthCall, out}
	}
	return value{"merge(" + a.code + ", " + b.code + ")", strengthCall, out}
}

// apart lists the atoms of a map that another one, which they meet, must not have as texts.
func (t *translator) apart(n *node, of, other *typ) string {
	var names []string
	for _, name := range sortedFields(of) {
		field, sure := other.field(name)
		if field != nil && !sure && other.texts {
			t.refuse(n.at, n.text, "meets the key "+name+", which may be there as an atom or as a text", "use keys of one kind in a map")
		}
		if other.texts && field == nil {
			names = append(names, quote(name))
		}
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// copied is a map whose keys are put into another one. Floats without a fraction keep their form.
func copied(v value) string {
	if !v.typ.traits().floats {
		return v.in(strengthCondition)
	}
	return "copy(" + v.code + ")"
}

func (t *translator) updateKey(n *node, s *scope) value {
	m := t.wanted('M', n.args[0], t.expression(n.args[0], s), n.text)
	f := n.args[len(n.args)-1]
	if n.text == "Map.update!" {
		key, elem, _ := t.keyOf(n.args[1], m, s, n.text)
		l := t.lambda(f, []*typ{elem}, s)
		return value{"updateKey(" + m.code + ", " + key + ", " + l.code + ")", strengthCall, t.with(m.typ, n.args[1], resultOf(l))}
	}
	key, helper := t.keyToPut(n, m, s)
	if helper == "putApart" {
		return t.refuse(n.at, n.text, "would put an atom beside keys that are texts", "use a text as the key")
	}
	initial := t.expression(n.args[2], s)
	elem := elemOf(m.typ)
	if name, written := literalKey(n.args[1]); written && n.args[1].kind == nodeAtom {
		if elem = m.typ.fields[name]; elem == nil {
			elem = neverType
		}
	}
	l := t.lambda(f, []*typ{elem}, s)
	return value{"updateKey(" + m.code + ", " + key + ", " + l.code + ", () => " + arrowBody(initial) + ")", strengthCall, t.with(m.typ, n.args[1], join(initial.typ, resultOf(l)))}
}

func resultOf(f value) *typ {
	if f.typ.lambda == nil || f.typ.lambda.result == nil {
		return neverType
	}
	return f.typ.lambda.result
}

// into translates what makes a map of pairs.
func (t *translator) into(n *node, s *scope) value {
	f := (*node)(nil)
	into := &node{kind: nodeMap, at: n.at}
	switch {
	case n.text == "Map.new" && len(n.args) == 2:
		f = n.args[1]
	case n.text == "Enum.into" && len(n.args) == 3:
		into, f = n.args[1], n.args[2]
	case n.text == "Enum.into":
		into = n.args[1]
	}
	source, elem := t.enumerable(n.args[0], pairPattern(f), s)
	list := value{source, strengthCall, listOf(elem)}
	if f != nil {
		l := t.lambda(f, []*typ{elem}, s)
		list = value{list.in(strengthCall) + ".map(" + l.code + ")", strengthCall, listOf(resultOf(l))}
	}
	return t.intoMap(n, list, into, s)
}

// pairPattern is the pattern of a function's first value: where it is a pair, the function goes through a map or through pairs.
func pairPattern(f *node) *node {
	if f == nil || f.kind != nodeFunction || len(f.clauses) == 0 || len(f.clauses[0].patterns) == 0 {
		return nil
	}
	return f.clauses[0].patterns[0]
}

// intoMap puts pairs into a map.
func (t *translator) intoMap(n *node, list value, into *node, s *scope) value {
	if into.kind == nodeList && len(into.args) == 0 {
		return list
	}
	m := t.expression(into, s)
	pair := list.typ.elem
	if pair != nil && pair.kinds != 0 && len(pair.parts()) != 2 {
		return t.refuse(n.at, n.text, "is converted for pairs {key, value}", "make a tuple of key and value for each element")
	}
	if m.typ.kinds != 0 && !m.typ.only(isMap) || len(m.typ.fields) > 0 {
		return t.refuse(into.at, n.text, "is converted into a map with texts as keys", "write %{}")
	}
	out := &typ{kinds: isMap, texts: true, elem: m.typ.elem}
	if pair != nil && pair.kinds != 0 {
		t.key(n, value{"", strengthCall, pair.parts()[0]})
		out.elem = join(out.elem, pair.parts()[1])
	}
	if m.code == "{}" {
		return value{"mapOf(" + list.code + ")", strengthCall, out}
	}
	return value{"merge(" + m.code + ", mapOf(" + list.code + "))", strengthCall, out}
}

// filterMap translates Map.filter and Map.reject.
func (t *translator) filterMap(n *node, s *scope) value {
	m := t.wanted('M', n.args[0], t.expression(n.args[0], s), n.text)
	l := t.lambda(n.args[1], []*typ{t.pairOf(n.args[0], m.typ)}, s)
	out := *m.typ
	out.kinds, out.maybe = isMap, map[string]bool{}
	for name := range m.typ.fields {
		out.maybe[name] = true
	}
	helper := map[string]string{"Map.filter": "select", "Map.reject": "reject"}[n.text]
	return value{"mapOf(" + helper + "(entries(" + m.code + "), " + l.code + "))", strengthCall, &out}
}
