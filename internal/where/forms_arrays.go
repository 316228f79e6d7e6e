package where

import (
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// array checks ARRAY[…]; target is the array type of a cast around it, whose element type the elements then take.
func (c *checker) array(n *syntax.Array, target *pgcatalog.Type) (*expr, error) {
	if len(n.Elems) == 0 {
		if target == nil {
			return nil, typeError(n.Pos(), "cast it, for example ARRAY[]::integer[]", "cannot determine type of empty array")
		}
		return c.constant(n.Pos(), target, pgvalue.ArrayOf(nil)), nil
	}
	for _, e := range n.Elems {
		if _, nested := e.(*syntax.Array); nested {
			return nil, refuse(e.Pos(), `write a literal, for example '{{1,2},{3,4}}'::int[]`, "nested ARRAY[] is not supported")
		}
	}
	es, err := c.exprs(n.Elems...)
	if err != nil {
		return nil, err
	}
	if target != nil {
		elem := target.BaseType().Elem
		for i := range es {
			if es[i].typ.BaseType().IsArray() {
				return nil, refuse(n.Pos(), "write a literal", "arrays of arrays in ARRAY[] are not supported")
			}
			if es[i], err = c.coerce(es[i], elem, pgcatalog.Explicit); err != nil {
				return nil, err
			}
		}
		return c.makeArray(n.Pos(), target, es), nil
	}
	t, es, err := c.common("ARRAY", es)
	if err != nil {
		return nil, err
	}
	if t.IsArray() {
		return nil, refuse(n.Pos(), "write a literal", "arrays of arrays in ARRAY[] are not supported")
	}
	if t.Array == nil {
		return nil, typeError(n.Pos(), "", "could not find array type for data type %s", t.Display())
	}
	return c.makeArray(n.Pos(), t.Array, es), nil
}

func (c *checker) makeArray(pos int, t *pgcatalog.Type, es []*expr) *expr {
	out := &expr{pos: pos, typ: t, slot: -1}
	constant := true
	evals := make([]evalFunc, len(es))
	for i, e := range es {
		constant = constant && e.constant
		evals[i] = e.evaluator()
		if out.doom == nil {
			out.doom = e.doom
		}
	}
	if coll, err := c.merge(pos, es); err == nil {
		out.coll = coll
	} else {
		out.coll = collState{strength: conflict}
	}
	out.eval = func(f *frame) (value, error) {
		elems := make([]value, len(evals))
		for i, eval := range evals {
			v, err := eval(f)
			if err != nil {
				return v, err
			}
			elems[i] = v
		}
		return pgvalue.ArrayOf(elems), nil
	}
	if constant {
		if v, err := out.eval(nil); err == nil {
			return c.constantLike(out, v)
		}
	}
	return out
}

// index checks subscripts. Slices and the subscripts of jsonb are refused where they are not certain.
func (c *checker) index(n *syntax.Index) (*expr, error) {
	base, err := c.expr(n.Base)
	if err != nil {
		return nil, err
	}
	t := base.typ.BaseType()
	if !t.IsArray() {
		hint := ""
		if t.Name == "jsonb" || t.Name == "json" {
			hint = "use -> and ->>"
		}
		return nil, refuse(n.Pos(), hint, "subscripts of type %s are not supported", base.typ.Display())
	}
	if base.eval == nil && !base.constant {
		return nil, refuse(base.pos, "", "values of type %s cannot be used here", base.typ.Display())
	}
	args := []*expr{base}
	slice := false
	for _, s := range n.Subs {
		slice = slice || s.Slice
	}
	if slice {
		return c.slice(n, base)
	}
	for _, s := range n.Subs {
		e, err := c.subscript(s.Low)
		if err != nil {
			return nil, err
		}
		args = append(args, e)
	}
	out := &expr{pos: n.Pos(), typ: t.Elem, slot: -1}
	if t.Elem.Collatable {
		out.coll = base.coll
	}
	c.compileCall(out, builtin{fnN: func(v []value) (value, error) {
		subs := make([]int64, len(v)-1)
		for i := range subs {
			subs[i] = v[i+1].I
		}
		return v[0].Array().Index(subs), nil
	}}, pgcatalog.Call{Strict: true, Volatile: 'i'}, args)
	return out, nil
}

func (c *checker) subscript(n syntax.Node) (*expr, error) {
	e, err := c.expr(n)
	if err != nil {
		return nil, err
	}
	int4 := c.catalog.Type("int4")
	if e.typ != c.catalog.Unknown && c.catalog.FindPath(e.typ, int4, pgcatalog.Assignment).Kind == pgcatalog.PathNone {
		return nil, typeError(e.pos, "", "array subscript must have type integer")
	}
	return c.coerce(e, int4, pgcatalog.Assignment)
}

// slice takes a part of an array of one dimension.
func (c *checker) slice(n *syntax.Index, base *expr) (*expr, error) {
	if len(n.Subs) != 1 {
		return nil, refuse(n.Pos(), "", "slices of several dimensions are not supported")
	}
	args := []*expr{base}
	for _, bound := range []syntax.Node{n.Subs[0].Low, n.Subs[0].High} {
		if bound == nil {
			continue
		}
		e, err := c.subscript(bound)
		if err != nil {
			return nil, err
		}
		args = append(args, e)
	}
	hasLow := n.Subs[0].Low != nil
	out := &expr{pos: n.Pos(), typ: base.typ.BaseType(), slot: -1, coll: base.coll}
	c.compileCall(out, builtin{fnN: func(v []value) (value, error) {
		a := v[0].Array()
		if len(a.Dims) == 0 {
			return pgvalue.ArrayOf(nil), nil
		}
		if len(a.Dims) != 1 {
			return pgvalue.Null, errUnsupported("a slice of an array with several dimensions")
		}
		low, high := int64(a.Lower[0]), int64(a.Lower[0]+a.Dims[0]-1)
		rest := v[1:]
		if hasLow {
			low, rest = max(low, rest[0].I), rest[1:]
		}
		if len(rest) > 0 {
			high = min(high, rest[0].I)
		}
		if low > high {
			return pgvalue.ArrayOf(nil), nil
		}
		first := low - int64(a.Lower[0])
		return pgvalue.ArrayOf(a.Elems[first : first+high-low+1]), nil
	}}, pgcatalog.Call{Strict: true, Volatile: 'i'}, args)
	return out, nil
}
