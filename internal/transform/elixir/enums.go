package elixir

import (
	"fmt"
	"strings"
)

// enumeration is a function of Enum that calls another function with each element.
type enumeration struct {
	code   string                       // a format with the list and the function
	result func(elem, result *typ) *typ // of what is in the list and what the function gives
}

func listOfElem(elem, _ *typ) *typ { return listOf(elem) }

func always(t *typ) func(_, _ *typ) *typ { return func(_, _ *typ) *typ { return t } }

func perhapsElem(elem, _ *typ) *typ { return join(nilType, elem) }

//nolint:gochecknoglobals // a table
var enumerations = map[string]enumeration{
	"Enum.map/2":            {"%s.map(%s)", func(_, r *typ) *typ { return listOf(r) }},
	"Enum.flat_map/2":       {"flatMap(%s, %s)", func(_, r *typ) *typ { return listOf(r.elem) }},
	"Enum.filter/2":         {"select(%s, %s)", listOfElem},
	"Enum.reject/2":         {"reject(%s, %s)", listOfElem},
	"Enum.any?/2":           {"any(%s, %s)", always(booleanType)},
	"Enum.all?/2":           {"all(%s, %s)", always(booleanType)},
	"Enum.find/2":           {"find(%s, %s)", perhapsElem},
	"Enum.find_index/2":     {"findIndex(%s, %s)", always(&typ{kinds: isNil | isInteger})},
	"Enum.find_value/2":     {"findValue(%s, %s)", func(_, r *typ) *typ { return join(nilType, r) }},
	"Enum.count/2":          {"select(%s, %s).length", always(integerType)},
	"Enum.take_while/2":     {"takeWhile(%s, %s)", listOfElem},
	"Enum.drop_while/2":     {"dropWhile(%s, %s)", listOfElem},
	"Enum.uniq_by/2":        {"unique(%s, %s)", listOfElem},
	"Enum.split_with/2":     {"splitWith(%s, %s)", func(e, _ *typ) *typ { return tupleOf(listOf(e), listOf(e)) }},
	"Enum.sort_by/2":        {"sortBy(%s, %s)", listOfElem},
	"Enum.max_by/2":         {"greatestBy(%s, %s)", func(e, _ *typ) *typ { return e }},
	"Enum.min_by/2":         {"leastBy(%s, %s)", func(e, _ *typ) *typ { return e }},
	"Enum.group_by/2":       {"groupBy(%s, %s)", func(e, _ *typ) *typ { return &typ{kinds: isMap, texts: true, elem: listOf(e)} }},
	"Enum.frequencies_by/2": {"frequencies(%s, %s)", always(&typ{kinds: isMap, texts: true, elem: integerType})},
}

func (t *translator) enumFunction(key string) handler {
	if e, ok := enumerations[key]; ok {
		return func(n *node, s *scope) value { return t.enumeration(&e, n, s) }
	}
	switch key {
	case "Enum.reduce/3", "List.foldl/3":
		return t.reduce
	case "Enum.join/1", "Enum.join/2":
		return t.join
	case "Enum.map_join/3", "Enum.map_join/2":
		return t.mapJoin
	case "Enum.group_by/3":
		return t.groupBy
	case "Enum.sort/2", "Enum.sort_by/3":
		return t.sort
	case "Enum.count/1", "Enum.empty?/1", "Enum.to_list/1", "Enum.any?/1", "Enum.all?/1", "Enum.frequencies/1":
		return t.whole
	case "Enum.member?/2":
		return func(n *node, s *scope) value {
			return t.membership(&node{kind: nodeOperator, text: "in", at: n.at, args: []*node{n.args[1], n.args[0]}}, s)
		}
	case "Enum.slice/2":
		return func(n *node, s *scope) value {
			v := t.wanted('L', n.args[0], t.expression(n.args[0], s), n.text)
			from, to, ok := limits(n.args[1])
			if !ok {
				return t.refuse(n.args[1].at, n.text, "is converted with a range that is written out", "write first..last, or Enum.slice(list, start, amount)")
			}
			return value{"sliceRange(" + v.code + ", " + from + ", " + to + ")", strengthCall, listOf(v.typ.elem)}
		}
	}
	return nil
}

func (t *translator) enumeration(e *enumeration, n *node, s *scope) value {
	source, elem := t.enumerable(n.args[0], pairPattern(n.args[1]), s)
	l := t.lambda(n.args[1], []*typ{elem}, s)
	result := resultOf(l)
	switch {
	case strings.Contains(n.text, "_by") && n.text != "Enum.uniq_by" && n.text != "Enum.group_by" && n.text != "Enum.frequencies_by":
		if !t.orderable(n, n.text, result) {
			return value{"null", strengthCall, neverType}
		}
	case n.text == "Enum.group_by" || n.text == "Enum.frequencies_by":
		t.key(n, value{"", strengthCall, result})
	case n.text == "Enum.flat_map" && result.kinds != 0 && (!result.may(isList) || result.may(isTuple)):
		return t.refuse(n.args[1].at, n.text, "needs a list from its function", "return […]")
	case n.text == "Enum.uniq_by":
		if tr := result.traits(); tr.atoms && tr.texts || tr.tuples && tr.lists {
			return t.refuse(n.at, n.text, "compares atoms with texts, or tuples with lists", "return values of one kind")
		}
	}
	code := e.code
	if result.only(isBoolean) {
		switch n.text {
		case "Enum.filter":
			code = "%s.filter(%s)"
		case "Enum.any?":
			code = "%s.some(%s)"
		case "Enum.all?":
			code = "%s.every(%s)"
		}
	}
	return value{fmt.Sprintf(code, source, l.code), strengthCall, e.result(elem, result)}
}

// reduce translates Enum.reduce. The type of what is carried along is sought until it does not change any more.
func (t *translator) reduce(n *node, s *scope) value {
	source, elem := t.enumerable(n.args[0], pairPattern(n.args[2]), s)
	initial := t.expression(n.args[1], s)
	carried := initial.typ
	const most = 5
	for range most {
		refusals, notes := len(t.refusals), len(t.notes)
		l := t.lambda(n.args[2], []*typ{elem, carried}, s)
		next := join(carried, resultOf(l))
		if signature(next) == signature(carried) {
			return value{"reduce(" + source + ", " + initial.code + ", " + l.code + ")", strengthCall, carried}
		}
		if len(t.refusals) > refusals && resultOf(l).kinds == 0 {
			return value{"null", strengthCall, neverType}
		}
		t.refusals, t.notes = t.refusals[:refusals], t.notes[:notes]
		carried = next
	}
	return t.refuse(n.at, n.text, "carries a value along that is of another kind in each round", "carry one map, one list or one number")
}

// signature tells types apart.
func signature(t *typ) string {
	seen := map[*typ]bool{}
	var write func(t *typ) string
	write = func(t *typ) string {
		switch {
		case t == nil:
			return "-"
		case t == jsonType:
			return "json"
		case seen[t]:
			return "^"
		}
		seen[t] = true
		defer delete(seen, t)
		var b strings.Builder
		fmt.Fprint(&b, t.kinds, t.column, t.texts, t.atom, "[", write(t.elem), "]")
		for _, name := range sortedFields(t) {
			fmt.Fprint(&b, name, t.maybe[name], write(t.fields[name]), ";")
		}
		for _, shape := range t.shapes {
			b.WriteString("{")
			for _, part := range shape {
				b.WriteString(write(part) + ",")
			}
		}
		return b.String()
	}
	return write(t)
}

func (t *translator) mapJoin(n *node, s *scope) value {
	f, separator := n.args[len(n.args)-1], `""`
	if len(n.args) == 3 {
		separator = t.wanted('S', n.args[1], t.expression(n.args[1], s), n.text).code
	}
	source, elem := t.enumerable(n.args[0], pairPattern(f), s)
	l := t.lambda(f, []*typ{elem}, s)
	list := value{fmt.Sprintf("%s.map(%s)", source, l.code), strengthCall, listOf(resultOf(l))}
	return t.joinTexts(n, list, separator)
}

// join translates Enum.join.
func (t *translator) join(n *node, s *scope) value {
	v := t.wanted('L', n.args[0], t.expression(n.args[0], s), n.text)
	separator := `""`
	if len(n.args) == 2 {
		separator = t.wanted('S', n.args[1], t.expression(n.args[1], s), n.text).code
	}
	return t.joinTexts(n, v, separator)
}

// joinTexts joins the texts of a list.
func (t *translator) joinTexts(n *node, list value, separator string) value {
	elem := list.typ.elem
	if elem != nil && elem.kinds != 0 {
		if elem.may(isTuple|isFunction|isRegex) || elem.may(isDateTime|isNaive) {
			return t.refuse(n.at, n.text, "joins texts of values that print in another way", "make texts of them before: to_string(…)")
		}
		if elem.column {
			return value{"joinTexts(" + list.code + ".map(columnText), " + separator + ")", strengthCall, textType}
		}
	}
	return value{"joinTexts(" + list.code + ", " + separator + ")", strengthCall, textType}
}

func (t *translator) groupBy(n *node, s *scope) value {
	source, elem := t.enumerable(n.args[0], pairPattern(n.args[1]), s)
	k, v := t.lambda(n.args[1], []*typ{elem}, s), t.lambda(n.args[2], []*typ{elem}, s)
	t.key(n, value{"", strengthCall, resultOf(k)})
	return value{"groupBy(" + source + ", " + k.code + ", " + v.code + ")", strengthCall, &typ{kinds: isMap, texts: true, elem: listOf(resultOf(v))}}
}

// sort translates sorting in a direction that is written out.
func (t *translator) sort(n *node, s *scope) value {
	direction := n.args[len(n.args)-1]
	if !direction.atom("asc") && !direction.atom("desc") {
		return t.refuse(direction.at, n.text, "is converted with :asc or :desc only", "use Enum.sort_by with a number or a text, and Enum.reverse")
	}
	f := (*node)(nil)
	if len(n.args) == 3 {
		f = n.args[1]
	}
	source, elem := t.enumerable(n.args[0], pairPattern(f), s)
	l, by := value{"(x) => x", strengthArrow, nil}, elem
	if f != nil {
		l = t.lambda(f, []*typ{elem}, s)
		by = resultOf(l)
	}
	if !t.orderable(n, n.text, by) {
		return value{"null", strengthCall, neverType}
	}
	code := "sortBy(" + source + ", " + l.code + ")"
	if direction.atom("desc") {
		code = "sortBy(" + source + ", " + l.code + ", true)"
	}
	return value{code, strengthCall, listOf(elem)}
}

// whole translates what takes a list or a map as it is.
func (t *translator) whole(n *node, s *scope) value {
	v := t.expression(n.args[0], s)
	if v.typ.kinds != 0 && (!v.typ.may(isList|isMap) || v.typ.may(isTuple)) {
		return t.refuse(n.at, n.text, "takes a list or a map", "use one")
	}
	switch n.text {
	case "Enum.count":
		return value{"count(" + v.code + ")", strengthCall, integerType}
	case "Enum.empty?":
		return value{"count(" + v.code + ") === 0", strengthEqual, booleanType}
	}
	source, elem := t.enumerated(n.args[0], v, nil)
	switch n.text {
	case "Enum.any?":
		return value{"any(" + source + ", (x) => x)", strengthCall, booleanType}
	case "Enum.all?":
		return value{"all(" + source + ", (x) => x)", strengthCall, booleanType}
	case "Enum.frequencies":
		t.key(n, value{"", strengthCall, elem})
		return value{"frequencies(" + source + ", (x) => x)", strengthCall, &typ{kinds: isMap, texts: true, elem: integerType}}
	}
	return value{source, strengthCall, listOf(elem)}
}
