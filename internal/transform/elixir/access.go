package elixir

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

var plainName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// member is .name, or ["name"] where the name is no word.
func member(of value, name string) string {
	if plainName.MatchString(name) {
		return of.in(strengthCall) + "." + name
	}
	return of.in(strengthCall) + "[" + quote(name) + "]"
}

// fieldOf translates map.field.
func (t *translator) fieldOf(n *node, s *scope) value {
	of := t.expression(n.args[0], s)
	return t.fieldOn(n, of)
}

func (t *translator) fieldOn(n *node, of value) value {
	what := t.name(n)
	switch field, sure := of.typ.field(n.text); {
	case of.typ.kinds == 0:
		return of
	case field != nil && sure && of.typ.only(isMap):
		return value{member(of, n.text), strengthCall, field}
	case field != nil && !of.typ.texts:
		return value{"fetch(" + of.code + ", " + quote(n.text) + ")", strengthCall, field}
	case field != nil:
		return t.refuse(n.at, what, "may be under a text or under an atom", "use keys of one kind in a map")
	case of.typ.may(isTime) || of.typ.column && slices.Contains(dateParts, n.text):
		if !slices.Contains(dateParts, n.text) {
			return t.refuse(n.at, what, "is not converted", "use year, month, day, hour, minute or second")
		}
		return value{"datePart(" + of.code + ", " + quote(n.text) + ")", strengthCall, integerType}
	case len(of.typ.fields) > 0 && !of.typ.texts:
		return t.refuse(n.at, what, "is no field that is there", "use one of "+strings.Join(slices.Sorted(maps.Keys(of.typ.fields)), ", "))
	case of.typ.texts:
		return t.refuse(n.at, what, "is an error: the keys are texts", "write "+t.name(n.args[0])+"["+quote(n.text)+"]")
	}
	return t.refuse(n.at, what, "is no map with that field", "see what the value is")
}

var dateParts = []string{"year", "month", "day", "hour", "minute", "second"} //nolint:gochecknoglobals // a table

// access translates map[key]. In a pattern the key is known to be there.
func (t *translator) access(key *node, of value, s *scope, pattern bool) value {
	what := t.name(&node{kind: nodeIndex, args: []*node{{kind: nodeVariable, text: strings.TrimSuffix(of.code, "]")}, key}})
	if !single.MatchString(of.code) {
		what = "[" + t.name(key) + "]"
	}
	if of.typ.kinds == 0 {
		return of
	}
	if of.typ.only(isMap) && !of.typ.texts && of.typ.fields["commit_timestamp"] != nil && !pattern {
		return t.refuse(key.at, what, "is an error: metadata is a struct", "write metadata.name with a dot")
	}
	if of.typ.may(isTuple | isTime) {
		return t.refuse(key.at, what, "is an error: a tuple or a date has no keys", "use elem, or the functions of Date and DateTime")
	}
	switch {
	case key.kind == nodeAtom && key.text != "nil":
		return t.accessAtom(key, of, what)
	case key.kind == nodeText && len(key.args) == 1 && key.args[0].kind == nodeLiteral:
		return t.accessText(key, of, what)
	}
	k := t.expression(key, s)
	return t.accessKey(key, of, k, "get", what)
}

// accessKey looks up a key that is known only when the code runs.
func (t *translator) accessKey(at *node, of, key value, helper, what string) value {
	switch {
	case len(of.typ.fields) > 0 && !of.typ.texts && key.typ.only(isAtom):
		elem := nilType
		for _, f := range of.typ.fields {
			elem = join(elem, f)
		}
		return value{helper + "(" + of.code + ", " + key.code + ")", strengthCall, elem}
	case len(of.typ.fields) > 0:
		return t.refuse(at.at, what, "may be a text or an atom, in a map with keys that are atoms", "write the key out, or use keys that are texts")
	case key.typ.may(isAtom):
		return t.refuse(at.at, what, "looks for an atom where keys are texts", "use a text as the key")
	case key.typ.kinds != 0 && !key.typ.may(isText):
		return t.refuse(at.at, what, "has a key that is no text", "use texts as keys; Enum.at takes an element of a list")
	}
	return value{helper + "(" + of.code + ", " + key.code + ")", strengthCall, join(nilType, elemOf(of.typ))}
}

func elemOf(t *typ) *typ {
	if t.elem == nil {
		return nilType
	}
	return t.elem
}

func (t *translator) accessAtom(key *node, of value, what string) value {
	field, sure := of.typ.field(key.text)
	switch {
	case field == nil && of.typ.texts:
		return t.refuse(key.at, what, "is always nil: the keys are texts", "write "+quote(key.text)+" as the key")
	case field == nil && of.typ.may(isList) && !of.typ.may(isMap):
		return t.refuse(key.at, what, "looks into a list", "use a map, or Enum.at")
	case field == nil:
		return value{"null", strengthCall, nilType}
	case sure && of.typ.only(isMap):
		return value{member(of, key.text), strengthCall, field}
	case of.typ.texts && !sure:
		return t.refuse(key.at, what, "may be under a text or under an atom", "use keys of one kind in a map")
	}
	return value{"get(" + of.code + ", " + quote(key.text) + ")", strengthCall, join(nilType, field)}
}

func (t *translator) accessText(key *node, of value, what string) value {
	name := key.args[0].text
	switch {
	case of.typ.fields[name] != nil:
		return t.refuse(key.at, what, "looks for a text where the key is an atom, which is another key", "write :"+name+" as the key, or map."+name)
	case !of.typ.texts && of.typ.only(isNil|isMap):
		return t.refuse(key.at, what, "is always nil: no key is a text", "write the key as it was put in")
	case !of.typ.may(isMap | isNil):
		return t.refuse(key.at, what, "is an error: it has no keys", "see what the value is")
	}
	return value{"get(" + of.code + ", " + quote(name) + ")", strengthCall, join(nilType, elemOf(of.typ))}
}

// sequence translates a list, a tuple or a list of keywords.
func (t *translator) sequence(n *node, s *scope) value {
	if n.kind == nodeKeywords {
		pairs := &node{kind: nodeList, at: n.at}
		for i := 0; i < len(n.args); i += 2 {
			pairs.args = append(pairs.args, &node{kind: nodeTuple, at: n.args[i].at, args: n.args[i : i+2]})
		}
		return t.sequence(pairs, s)
	}
	codes := make([]string, 0, len(n.args)+1)
	items := make([]*typ, len(n.args))
	var elem *typ
	for i, a := range n.args {
		v := t.expression(a, s)
		items[i], elem = v.typ, join(elem, v.typ)
		codes = append(codes, v.in(strengthCondition))
	}
	typ := listOf(elem)
	if n.kind == nodeTuple {
		typ = tupleOf(items...)
	}
	if n.tail != nil {
		v := t.wanted('L', n.tail, t.expression(n.tail, s), "|")
		codes = append(codes, "..."+listCode(v))
		typ.elem = join(typ.elem, v.typ.elem)
	}
	return value{"[" + strings.Join(codes, ", ") + "]", strengthCall, typ}
}

// mapLiteral translates %{…}, and %{map | …}.
func (t *translator) mapLiteral(n *node, s *scope) value {
	if n.tail != nil {
		return t.mapUpdate(n, s)
	}
	out := &typ{kinds: isMap, fields: map[string]*typ{}}
	var parts []string
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.args); i += 2 {
		key, v := n.args[i], t.expression(n.args[i+1], s)
		name, ok := literalKey(key)
		kind := "text"
		switch {
		case ok && key.kind == nodeAtom:
			kind = "atom"
			out.fields[name] = v.typ
		case ok:
			out.texts, out.elem = true, join(out.elem, v.typ)
		default:
			k := t.key(key, t.expression(key, s))
			if len(out.fields) > 0 || hasAtomKeys(n) {
				t.refuse(key.at, t.name(key), "may be the same key as one of the atoms in this map", "use keys of one kind in a map")
			}
			out.texts, out.elem = true, join(out.elem, v.typ)
			parts = append(parts, "["+k+"]: "+v.in(strengthCondition))
			continue
		}
		if seen["atom"+name] && kind == "text" || seen["text"+name] && kind == "atom" {
			t.refuse(key.at, t.name(key), "stands twice in this map, as an atom and as a text: JSON would have the key twice", "use one of them")
		}
		seen[kind+name] = true
		parts = append(parts, property(name)+": "+v.in(strengthCondition))
	}
	return value{object(parts), strengthCall, out}
}

// object lays out a map: on one line, or on one line for each key.
func object(parts []string) string {
	const most = 100
	line := "{ " + strings.Join(parts, ", ") + " }"
	switch {
	case len(parts) == 0:
		return "{}"
	case len(line) <= most && !strings.Contains(line, "\n"):
		return line
	}
	return "{\n" + indent(strings.Join(parts, ",\n")+",\n") + "}"
}

// property is a key of an object.
func property(name string) string {
	switch {
	case name == "__proto__":
		return `["__proto__"]`
	case plainName.MatchString(name):
		return name
	}
	return quote(name)
}

func literalKey(key *node) (string, bool) {
	switch {
	case key.kind == nodeAtom:
		return key.text, true
	case key.kind == nodeText && len(key.args) == 1 && key.args[0].kind == nodeLiteral:
		return key.args[0].text, true
	}
	return "", false
}

func hasAtomKeys(n *node) bool {
	for i := 0; i+1 < len(n.args); i += 2 {
		if n.args[i].kind == nodeAtom {
			return true
		}
	}
	return false
}

// key is the code of a key that is put into a map, which must be a text.
func (t *translator) key(n *node, k value) string {
	switch {
	case k.typ.only(isText) && !k.typ.column:
		return k.code
	case k.typ.may(isAtom | isTime | isTuple):
		t.refuse(n.at, "the key "+t.name(n), "may be another value than a text", "use a text: to_string(…)")
	case k.typ.kinds != 0 && !k.typ.may(isText):
		t.refuse(n.at, "the key "+t.name(n), "is no text", "use a text: to_string(…)")
	}
	return "key(" + k.code + ")"
}

// mapUpdate translates %{map | key: value}, whose keys must be there.
func (t *translator) mapUpdate(n *node, s *scope) value {
	of := t.expression(n.tail, s)
	if of.typ.kinds != 0 && !of.typ.may(isMap) {
		return t.refuse(n.at, "%{… | …}", "changes something that is no map", "write a map")
	}
	out := *of.typ
	out.kinds = isMap
	out.fields = maps.Clone(of.typ.fields)
	var parts []string
	for i := 0; i+1 < len(n.args); i += 2 {
		key, v := n.args[i], t.expression(n.args[i+1], s)
		name, ok := literalKey(key)
		if !ok {
			return t.refuse(key.at, "this key in %{… | …}", "is not converted", "use Map.replace!")
		}
		if key.kind == nodeAtom {
			if out.fields[name] == nil {
				return t.refuse(key.at, "%{… | "+name+": …}", "is an error: the key is not there as an atom", `write "`+name+`" => …, or Map.put`)
			}
			out.fields[name] = v.typ
		} else {
			if out.fields[name] != nil {
				return t.refuse(key.at, "%{… | "+quote(name)+" => …}", "is an error: the key is an atom", "write "+name+": …")
			}
			out.elem = join(out.elem, v.typ)
		}
		parts = append(parts, property(name)+": "+v.in(strengthCondition))
	}
	return value{"update(" + of.code + ", " + object(parts) + ")", strengthCall, &out}
}
