package where

import (
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// in checks x IN (…) as the server does: the members that do not name columns become one array of their common type, if they have one.
func (c *checker) in(n *syntax.In) (*expr, error) {
	arg, err := c.expr(n.Arg)
	if err != nil {
		return nil, err
	}
	list, err := c.exprs(n.List...)
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		arg = c.share(arg)
	}
	var plain, rest []*expr
	for i, e := range list {
		if dependsOnRow(n.List[i]) {
			rest = append(rest, e)
		} else {
			plain = append(plain, e)
		}
	}
	op := "="
	if n.Not {
		op = "<>"
	}
	var out *expr
	if len(plain) > 1 {
		types := []*pgcatalog.Type{arg.typ}
		for _, e := range plain {
			types = append(types, e.typ)
		}
		common, ok := c.catalog.CommonType(types)
		if ok && c.catalog.Major >= 13 { // earlier servers do not check that all can be coerced
			for _, t := range types {
				ok = ok && (t == c.catalog.Unknown || c.catalog.CanCoerce([]*pgcatalog.Type{t}, []*pgcatalog.Type{common}, pgcatalog.Implicit))
			}
		}
		if ok && common.Array != nil {
			if out, err = c.member(n.Pos(), op, arg, plain, common, n.Not); err != nil {
				return nil, err
			}
		}
	}
	if out == nil { // one by one, as they are written
		rest = list
	}
	for _, e := range rest {
		one, err := c.operator(n.Pos(), op, arg, e)
		if err != nil {
			return nil, err
		}
		if one, err = c.boolean(one, "the result of "+op); err != nil {
			return nil, err
		}
		if out == nil {
			out = one
		} else {
			out = c.join(n.Pos(), !n.Not, out, one)
		}
	}
	return out, nil
}

// dependsOnRow reports whether an expression names a column.
func dependsOnRow(n syntax.Node) bool {
	found := false
	walk(n, func(n syntax.Node) {
		if _, ok := n.(*syntax.Column); ok {
			found = true
		}
	})
	return found
}

// member is op ANY or, for NOT IN, op ALL over members of one type.
func (c *checker) member(pos int, op string, arg *expr, members []*expr, common *pgcatalog.Type, all bool) (*expr, error) {
	call, outcome := c.catalog.Operator(op, arg.typ, common)
	if outcome != pgcatalog.Found {
		return nil, c.noOperator(pos, op, outcome, arg, &expr{typ: common})
	}
	one := make([]*expr, len(members))
	constant := true
	for i, e := range members {
		m, err := c.coerce(e, common, pgcatalog.Implicit)
		if err != nil {
			return nil, err
		}
		one[i] = m
		constant = constant && m.constant
	}
	array := c.makeArray(pos, common.Array, one)
	return c.scalarArray(pos, "operator "+op, call, arg, array, common, all)
}

func (c *checker) anyAll(n *syntax.AnyAll) (*expr, error) {
	left, err := c.expr(n.Left)
	if err != nil {
		return nil, err
	}
	right, err := c.expr(n.Right)
	if err != nil {
		return nil, err
	}
	elem := c.catalog.Unknown
	if right.typ != c.catalog.Unknown {
		if elem = right.typ.BaseType().Elem; elem == nil {
			return nil, typeError(right.pos, "write ANY (ARRAY[…])", "op ANY/ALL (array) requires array on right side")
		}
	}
	call, outcome := c.catalog.Operator(n.Op, left.typ, elem)
	if outcome != pgcatalog.Found {
		return nil, c.noOperator(n.Pos(), n.Op, outcome, left, &expr{typ: elem})
	}
	target := call.Args[1]
	if target.Array == nil {
		return nil, refuse(n.Pos(), "", "there is no array of %s", target.Display())
	}
	if right, err = c.coerce(right, target.Array, pgcatalog.Implicit); err != nil {
		return nil, err
	}
	return c.scalarArray(n.Pos(), "operator "+n.Op, call, left, right, target, n.All)
}

// scalarArray applies an operator to a value and each element of an array, joined by OR, or by AND for all.
func (c *checker) scalarArray(pos int, what string, call pgcatalog.Call, left, array *expr, elem *pgcatalog.Type, all bool) (*expr, error) {
	if call.Result.Name != "bool" {
		return nil, typeError(pos, "", "op ANY/ALL (array) requires operator to yield boolean")
	}
	left, err := c.coerce(left, call.Args[0], pgcatalog.Implicit)
	if err != nil {
		return nil, err
	}
	if elem != call.Args[1] {
		if array, err = c.coerce(array, call.Args[1].Array, pgcatalog.Implicit); err != nil {
			return nil, err
		}
	}
	// One application with a member that is no constant resolves the function, its collation and its refusals.
	holder := &expr{pos: pos, typ: call.Args[1], slot: -1, coll: array.coll, eval: func(*frame) (value, error) { return pgvalue.Null, nil }}
	other := *left
	if other.constant {
		other.constant, other.eval = false, holder.eval
	}
	if array.constant && len(array.val.Array().Elems) > 0 {
		if b, ok := builtins[call.Source]; ok && b.build != nil && patternSources[call.Source] {
			return nil, refuse(pos, "join the conditions by OR", "%s with ANY or ALL is not supported", what)
		}
	} else if patternSources[call.Source] {
		return nil, refuse(pos, "join the conditions by OR", "%s with ANY or ALL is not supported", what)
	}
	g, err := c.resolveBuiltin(pos, what, call, []*expr{&other, holder})
	if err != nil {
		return nil, err
	}
	f := g.fn2
	if f == nil {
		return nil, refuse(pos, "join the conditions by OR", "%s with ANY or ALL is not supported", what)
	}
	return c.finishScalarArray(pos, call, left, array, f, all), nil
}

// patternSources are functions whose second argument must be known when they are built.
var patternSources = map[string]bool{
	"textregexeq": true, "textregexne": true, "texticregexeq": true, "texticregexne": true, "textlike": true, "textnlike": true, "texticlike": true,
	"texticnlike": true, "bpcharlike": true, "bpcharnlike": true, "bpchariclike": true, "bpcharicnlike": true,
}

func (c *checker) resolveBuiltin(pos int, what string, call pgcatalog.Call, args []*expr) (builtin, error) {
	b, ok := builtins[call.Source]
	if !ok {
		return b, c.notSupported(pos, what, call)
	}
	for _, a := range args {
		if a.eval == nil && !a.constant {
			return b, refuse(a.pos, hintForType(a.typ), "values of type %s cannot be used here, but for IS NULL", a.typ.Display())
		}
	}
	coll, err := c.merge(pos, args)
	if err != nil {
		return b, err
	}
	if b.build != nil {
		g := &building{checker: c, pos: pos, call: call, args: args, coll: coll, result: builtin{need: b.need}}
		if err := b.build(g); err != nil {
			return b, err
		}
		b = g.result
	}
	return b, c.checkCollation(pos, b.need, coll)
}

func (c *checker) finishScalarArray(pos int, call pgcatalog.Call, left, array *expr, f func(a, b value) (value, error), all bool) *expr {
	out := &expr{pos: pos, typ: c.bool(), slot: -1, doom: left.doom}
	if out.doom == nil {
		out.doom = array.doom
	}
	test := arrayTest(f, call.Strict, all)
	if array.constant && !array.val.Null {
		elems := array.val.Array().Elems
		if set := constantSet(call.Source, elems, all); set != nil {
			if left.constant {
				out.constant, out.val = true, set(left.val)
				return out
			}
			eval := left.evaluator()
			out.eval = func(fr *frame) (value, error) {
				x, err := eval(fr)
				if err != nil {
					return x, err
				}
				return set(x), nil
			}
			return out
		}
		if left.constant {
			v, err := test(left.val, elems)
			if err != nil {
				out.fail(pos, err)
				return out
			}
			out.constant, out.val = true, v
			return out
		}
		eval := left.evaluator()
		out.eval = func(fr *frame) (value, error) {
			x, err := eval(fr)
			if err != nil {
				return x, err
			}
			return test(x, elems)
		}
		return out
	}
	if left.constant && array.constant {
		out.constant, out.val = true, pgvalue.Null
		return out
	}
	l, r := left.evaluator(), array.evaluator()
	out.eval = func(fr *frame) (value, error) {
		x, err := l(fr)
		if err != nil {
			return x, err
		}
		a, err := r(fr)
		if err != nil || a.Null {
			return a, err
		}
		return test(x, a.Array().Elems)
	}
	return out
}

func arrayTest(f func(a, b value) (value, error), strict, all bool) func(x value, elems []value) (value, error) {
	decides := int64(1)
	if all {
		decides = 0
	}
	return func(x value, elems []value) (value, error) {
		if len(elems) == 0 {
			return pgvalue.Bool(all), nil
		}
		if x.Null && strict {
			return pgvalue.Null, nil
		}
		null := false
		for _, y := range elems {
			if y.Null && strict {
				null = true
				continue
			}
			v, err := f(x, y)
			if err != nil {
				return v, err
			}
			if v.Null {
				null = true
			} else if v.I == decides {
				return v, nil
			}
		}
		if null {
			return pgvalue.Null, nil
		}
		return pgvalue.Bool(all), nil
	}
}

// constantSet makes long lists of integers and texts a look-up.
func constantSet(source string, elems []value, all bool) func(value) value {
	const worthwhile = 8
	if len(elems) < worthwhile || all {
		return nil
	}
	null := false
	miss := func() value {
		if null {
			return pgvalue.Null
		}
		return pgvalue.Bool(false)
	}
	switch source {
	case "int2eq", "int4eq", "int8eq", "int24eq", "int42eq", "int28eq", "int82eq", "int48eq", "int84eq", "date_eq", "oideq":
		set := make(map[int64]struct{}, len(elems))
		for _, e := range elems {
			if null = null || e.Null; !e.Null {
				set[e.I] = struct{}{}
			}
		}
		return func(x value) value {
			if x.Null {
				return x
			}
			if _, ok := set[x.I]; ok {
				return pgvalue.Bool(true)
			}
			return miss()
		}
	case "texteq", "uuid_eq", "enum_eq":
		set := make(map[string]struct{}, len(elems))
		for _, e := range elems {
			if null = null || e.Null; !e.Null {
				set[e.S] = struct{}{}
			}
		}
		return func(x value) value {
			if x.Null {
				return x
			}
			if _, ok := set[x.S]; ok {
				return pgvalue.Bool(true)
			}
			return miss()
		}
	}
	return nil
}
