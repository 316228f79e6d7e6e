package where

import (
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

// equality is when two elements are the same; nil if that is not known here.
func equality(t *pgcatalog.Type) func(a, b value) bool {
	base := t.BaseType()
	if base.Name == "jsonb" && base.Schema == "" {
		return pgvalue.EqualJSONB
	}
	if base.Kind == 'e' {
		return func(a, b value) bool { return a.S == b.S }
	}
	cmp := pgvalue.ComparerOf(base)
	if cmp == nil {
		return nil
	}
	return func(a, b value) bool { return cmp(a, b) == 0 }
}

// ofElements makes a function that compares elements.
func ofElements(f func(eq func(a, b value) bool) func(a, b value) (value, error)) builtin {
	return builtin{build: func(g *building) error {
		elem := g.args[0].typ.BaseType().Elem
		if elem == nil {
			return refuse(g.pos, "", "that is not supported for type %s", g.args[0].typ.Display())
		}
		eq := equality(elem)
		if eq == nil {
			return refuse(g.pos, "", "comparisons of %s are not supported", elem.Display())
		}
		if elem.Collatable {
			g.result.need = needsEquality
		}
		g.result.fn2 = f(eq)
		return nil
	}}
}

// holds reports whether all elements of b are among those of a; nulls equal nothing.
func holdsAll(a, b *pgvalue.Array, eq func(a, b value) bool) bool {
	for _, y := range b.Elems {
		if y.Null || !holdsOne(a, y, eq) {
			return false
		}
	}
	return true
}

func holdsOne(a *pgvalue.Array, y value, eq func(a, b value) bool) bool {
	for _, x := range a.Elems {
		if !x.Null && eq(x, y) {
			return true
		}
	}
	return false
}

func arrayInt(f func(a *pgvalue.Array) (int64, bool)) builtin {
	return builtin{fn1: func(v value) (value, error) {
		if n, ok := f(v.Array()); ok {
			return pgvalue.Int(n), nil
		}
		return pgvalue.Null, nil
	}}
}

func arrayDim(f func(a *pgvalue.Array, d int) int) builtin {
	return builtin{fn2: func(v, d value) (value, error) {
		a := v.Array()
		if d.I < 1 || d.I > int64(len(a.Dims)) {
			return pgvalue.Null, nil
		}
		return pgvalue.Int(int64(f(a, int(d.I)-1))), nil
	}}
}

func arrays() map[string]builtin {
	return map[string]builtin{
		"arraycontains": ofElements(func(eq func(a, b value) bool) func(a, b value) (value, error) {
			return func(a, b value) (value, error) { return isBool(holdsAll(a.Array(), b.Array(), eq)) }
		}),
		"arraycontained": ofElements(func(eq func(a, b value) bool) func(a, b value) (value, error) {
			return func(a, b value) (value, error) { return isBool(holdsAll(b.Array(), a.Array(), eq)) }
		}),
		"arrayoverlap": ofElements(func(eq func(a, b value) bool) func(a, b value) (value, error) {
			return func(a, b value) (value, error) {
				for _, y := range b.Array().Elems {
					if !y.Null && holdsOne(a.Array(), y, eq) {
						return isBool(true)
					}
				}
				return isBool(false)
			}
		}),
		"array_position":    {build: buildArrayPosition},
		"array_cardinality": arrayInt(func(a *pgvalue.Array) (int64, bool) { return int64(len(a.Elems)), true }),
		"array_ndims":       arrayInt(func(a *pgvalue.Array) (int64, bool) { return int64(len(a.Dims)), len(a.Dims) > 0 }),
		"array_length":      arrayDim(func(a *pgvalue.Array, d int) int { return a.Dims[d] }),
		"array_lower":       arrayDim(func(a *pgvalue.Array, d int) int { return a.Lower[d] }),
		"array_upper":       arrayDim(func(a *pgvalue.Array, d int) int { return a.Lower[d] + a.Dims[d] - 1 }),
		"array_append":      {fn2: func(a, b value) (value, error) { return arrayPush(a, b, false) }},
		"array_prepend":     {fn2: func(a, b value) (value, error) { return arrayPush(b, a, true) }},
		"array_cat":         {fn2: arrayCat},
		"array_to_text":     {build: buildArrayToText},
		"text_to_array":     {fn2: textToArray, need: needsEquality},
	}
}

// buildArrayPosition finds the first element that is not distinct.
func buildArrayPosition(g *building) error {
	elem := g.args[0].typ.BaseType().Elem
	eq := equality(elem)
	if eq == nil {
		return refuse(g.pos, "", "comparisons of %s are not supported", elem.Display())
	}
	if elem.Collatable {
		g.result.need = needsEquality
	}
	g.result.fn2 = func(v, x value) (value, error) {
		if v.Null {
			return pgvalue.Null, nil
		}
		a := v.Array()
		if len(a.Dims) > 1 {
			return pgvalue.Null, &pgvalue.Error{Code: "0A000", Message: "searching for elements in multidimensional arrays is not supported"}
		}
		for i, e := range a.Elems {
			if e.Null && x.Null || !e.Null && !x.Null && eq(e, x) {
				return pgvalue.Int(int64(i + a.Lower[0])), nil
			}
		}
		return pgvalue.Null, nil
	}
	return nil
}

func arrayPush(v, x value, front bool) (value, error) {
	a := v.Array()
	switch len(a.Dims) {
	case 0:
		return pgvalue.ArrayOf([]value{x}), nil
	case 1:
	default:
		return pgvalue.Null, &pgvalue.Error{Code: "22000", Message: "argument must be empty or one-dimensional array"}
	}
	elems := make([]value, 0, len(a.Elems)+1)
	if front {
		elems = append(append(elems, x), a.Elems...)
	} else {
		elems = append(append(elems, a.Elems...), x)
	}
	return value{P: &pgvalue.Array{Dims: []int{len(elems)}, Lower: []int{a.Lower[0]}, Elems: elems}}, nil
}

// arrayCat is not strict: a null array counts for nothing.
func arrayCat(v, w value) (value, error) {
	switch {
	case v.Null:
		return w, nil
	case w.Null:
		return v, nil
	}
	a, b := v.Array(), w.Array()
	switch {
	case len(b.Dims) == 0:
		return v, nil
	case len(a.Dims) == 0:
		return w, nil
	case len(a.Dims) != 1 || len(b.Dims) != 1:
		return pgvalue.Null, errUnsupported("|| of arrays with several dimensions")
	}
	elems := make([]value, 0, len(a.Elems)+len(b.Elems))
	elems = append(append(elems, a.Elems...), b.Elems...)
	return value{P: &pgvalue.Array{Dims: []int{len(elems)}, Lower: []int{a.Lower[0]}, Elems: elems}}, nil
}

func buildArrayToText(g *building) error {
	write := pgvalue.WriterOf(g.args[0].typ.BaseType().Elem)
	if write == nil {
		return refuse(g.pos, "", "the text of %s is not supported", g.args[0].typ.Display())
	}
	g.result.fn2 = func(v, sep value) (value, error) {
		var parts []string
		for _, e := range v.Array().Elems {
			if !e.Null {
				parts = append(parts, write(e))
			}
		}
		return pgvalue.Text(strings.Join(parts, sep.S)), nil
	}
	return nil
}

// textToArray splits at a separator, or into characters without one.
func textToArray(s, sep value) (value, error) {
	if s.Null {
		return pgvalue.Null, nil
	}
	var parts []string
	switch {
	case s.S == "":
	case sep.Null:
		parts = strings.Split(s.S, "")
	case sep.S == "":
		parts = []string{s.S}
	default:
		parts = strings.Split(s.S, sep.S)
	}
	elems := make([]value, len(parts))
	for i, p := range parts {
		elems[i] = pgvalue.Text(p)
	}
	return pgvalue.ArrayOf(elems), nil
}
