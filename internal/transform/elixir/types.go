package elixir

import (
	"maps"
	"slices"
)

// kinds is a set of the kinds that a value may be of.
type kinds uint32

const (
	isNil kinds = 1 << iota
	isBoolean
	isInteger
	isFloat
	isText
	isAtom // other than nil, true and false
	isMap
	isList
	isTuple
	isFunction
	isDate
	isDateTime
	isNaive
	isDecimal
	isRegex

	isNumber = isInteger | isFloat
	isTime   = isDate | isDateTime | isNaive
	isJSON   = isNil | isBoolean | isNumber | isText | isMap | isList
)

// typ is what is known about a value before the code runs. It matters where Elixir tells apart what is the same in JavaScript: atoms, dates and
// texts are strings there, tuples and lists are arrays, and a key is a key whether it was an atom or a text.
type typ struct {
	kinds  kinds
	column bool            // a column's own value: a text may have been a number, a date or a time in Elixir
	texts  bool            // a map may have texts as keys
	fields map[string]*typ // values under keys that are atoms
	maybe  map[string]bool // the fields that may be missing
	elem   *typ            // of a list, and under the texts of a map; nil when there are none
	shapes [][]*typ        // the parts of a tuple, for each of the tuples that it may be
	atom   string          // which atom it is, if that is known
	lambda *lambdaType
}

// lambdaType is what is known of a function.
type lambdaType struct {
	arity  int
	result *typ
}

//nolint:gochecknoglobals // constants
var (
	jsonType    = endless()
	columnType  = &typ{kinds: isJSON, column: true, texts: true, elem: jsonType}
	recordType  = &typ{kinds: isMap, texts: true, elem: columnType}
	changesType = &typ{kinds: isNil | isMap, texts: true, elem: columnType}
	nilType     = &typ{kinds: isNil}
	booleanType = &typ{kinds: isBoolean}
	integerType = &typ{kinds: isInteger}
	floatType   = &typ{kinds: isFloat}
	textType    = &typ{kinds: isText}
	atomType    = &typ{kinds: isAtom}
	textsType   = listOf(textType)
	objectType  = &typ{kinds: isMap, texts: true, elem: jsonType}
	regexType   = &typ{kinds: isRegex}
	neverType   = &typ{}

	metadataType = structType(map[string]*typ{
		"table_schema": textType, "table_name": textType, "database_name": textType, "idempotency_key": textType,
		"commit_timestamp": {kinds: isDateTime}, "commit_lsn": {kinds: isNil | isInteger}, "commit_idx": {kinds: isNil | isInteger},
		"transaction_annotations": jsonType, "enrichment": {kinds: isNil | isMap, texts: true, elem: jsonType}, "record_pks": textsType,
		"consumer": structType(map[string]*typ{"id": textType, "name": textType, "annotations": objectType}),
		"database": structType(map[string]*typ{"id": textType, "name": textType, "annotations": objectType, "database": textType, "hostname": textType}),
	})
)

// endless is the type of any JSON value, of which its elements are too.
func endless() *typ {
	t := &typ{kinds: isJSON, texts: true}
	t.elem = t
	return t
}

func structType(fields map[string]*typ) *typ { return &typ{kinds: isMap, fields: fields} }

func listOf(elem *typ) *typ { return &typ{kinds: isList, elem: elem} }

func tupleOf(parts ...*typ) *typ { return &typ{kinds: isTuple, shapes: [][]*typ{parts}} }

func atomOf(name string) *typ { return &typ{kinds: isAtom, atom: name} }

// parts are those of a value that is surely a tuple of one shape, or nil.
func (t *typ) parts() []*typ {
	if !t.only(isTuple) || len(t.shapes) != 1 {
		return nil
	}
	return t.shapes[0]
}

// tag is the atom that a tuple begins with, as in {:ok, value}.
func tag(shape []*typ) string {
	if len(shape) == 0 {
		return ""
	}
	return shape[0].atom
}

// joinShapes joins tuples that have as many parts and begin with the same atom.
func joinShapes(a, b [][]*typ) [][]*typ {
	out := slices.Clone(a)
next:
	for _, shape := range b {
		for i, other := range out {
			if len(other) != len(shape) || tag(other) != tag(shape) {
				continue
			}
			joined := make([]*typ, len(shape))
			for k := range shape {
				joined[k] = join(other[k], shape[k])
			}
			out[i] = joined
			continue next
		}
		out = append(out, shape)
	}
	return out
}

// only tells whether a value is surely of those kinds.
func (t *typ) only(k kinds) bool { return t.kinds&^k == 0 && t.kinds != 0 }

func (t *typ) may(k kinds) bool { return t.kinds&k != 0 }

// without is the type without some kinds.
func (t *typ) without(k kinds) *typ {
	out := *t
	out.kinds &^= k
	return &out
}

// field is the type under an atom, and whether it is surely there.
func (t *typ) field(name string) (*typ, bool) {
	f := t.fields[name]
	return f, f != nil && !t.maybe[name]
}

// join is the type of a value that is of one type or the other.
func join(a, b *typ) *typ {
	switch {
	case a == b || b == nil || b.kinds == 0:
		return a
	case a == nil || a.kinds == 0:
		return b
	case a == jsonType && b.plain():
		return a
	case b == jsonType && a.plain():
		return b
	}
	out := &typ{kinds: a.kinds | b.kinds, column: a.column || b.column, texts: a.texts || b.texts, elem: join(a.elem, b.elem), lambda: a.lambda}
	if a.lambda == nil {
		out.lambda = b.lambda
	}
	out.fields, out.maybe = joinFields(a, b)
	out.shapes = joinShapes(a.shapes, b.shapes)
	switch {
	case a.atom == b.atom || !b.may(isAtom):
		out.atom = a.atom
	case !a.may(isAtom):
		out.atom = b.atom
	}
	return out
}

func joinFields(a, b *typ) (map[string]*typ, map[string]bool) {
	if a.fields == nil && b.fields == nil {
		return nil, nil
	}
	fields, maybe := map[string]*typ{}, map[string]bool{}
	maps.Copy(fields, a.fields)
	maps.Copy(maybe, a.maybe)
	maps.Copy(maybe, b.maybe)
	for name, t := range b.fields {
		fields[name] = join(fields[name], t)
	}
	for name := range fields {
		if (a.fields[name] == nil && a.may(isMap)) || (b.fields[name] == nil && b.may(isMap)) {
			maybe[name] = true
		}
	}
	return fields, maybe
}

// plain tells whether nothing in a value is there that JSON does not have.
func (t *typ) plain() bool {
	tr := t.traits()
	return !tr.atoms && !tr.atomKeys && !tr.tuples && !tr.times && !tr.others && !tr.columns
}

// traits are what may be found anywhere in a value.
type traits struct {
	atoms, texts, atomKeys, textKeys, tuples, lists, times, others, columns, integers, floats bool
}

func (t *typ) traits() traits {
	var out traits
	seen := map[*typ]bool{}
	var visit func(*typ)
	visit = func(t *typ) {
		if t == nil || seen[t] {
			return
		}
		seen[t] = true
		out.atoms = out.atoms || t.may(isAtom)
		out.texts = out.texts || t.may(isText)
		out.tuples = out.tuples || t.may(isTuple)
		out.lists = out.lists || t.may(isList)
		out.times = out.times || t.may(isTime|isDecimal)
		out.others = out.others || t.may(isFunction|isRegex)
		out.integers = out.integers || t.may(isInteger)
		out.floats = out.floats || t.may(isFloat)
		out.columns = out.columns || t.column
		out.atomKeys = out.atomKeys || len(t.fields) > 0
		out.textKeys = out.textKeys || t.may(isMap) && t.texts
		visit(t.elem)
		for _, f := range t.fields {
			visit(f)
		}
		for _, shape := range t.shapes {
			for _, part := range shape {
				visit(part)
			}
		}
	}
	visit(t)
	return out
}

// confused tells what two values have that Elixir tells apart and JavaScript does not, or "".
func confused(a, b *typ) string {
	x, y := a.traits(), b.traits()
	switch {
	case x.atoms && y.texts || x.texts && y.atoms:
		return "an atom never equals a text"
	case x.times && y.texts && !y.columns || x.texts && y.times && !x.columns:
		return "a date or a time never equals a text"
	case x.times && y.texts || x.texts && y.times:
		return "whether they are equal depends on the type of the column"
	case x.atoms && y.times || x.times && y.atoms:
		return "a date or a time never equals an atom"
	case x.atomKeys && y.textKeys || x.textKeys && y.atomKeys:
		return "a key that is an atom never equals one that is a text"
	case x.tuples && y.lists || x.lists && y.tuples:
		return "a tuple never equals a list"
	}
	return ""
}
