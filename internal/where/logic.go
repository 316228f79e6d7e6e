package where

import (
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

func (c *checker) bool() *pgcatalog.Type { return c.catalog.Type("bool") }

func (c *checker) logic(n *syntax.Logic) (*expr, error) {
	word := "an argument of AND"
	if n.Or {
		word = "an argument of OR"
	}
	es, err := c.exprs(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	for i := range es {
		if es[i], err = c.boolean(es[i], word); err != nil {
			return nil, err
		}
	}
	return c.join(n.Pos(), n.Or, es[0], es[1]), nil
}

// join is AND or OR. What the planner would drop is dropped: a constant that decides ends the evaluation before what follows, and so do its
// errors.
func (c *checker) join(pos int, or bool, l, r *expr) *expr {
	decides := int64(0)
	if or {
		decides = 1
	}
	fixed := func(e *expr) bool { return e.constant && !e.val.Null && e.val.I == decides }
	if fixed(l) {
		return l
	}
	if fixed(r) {
		out := *r
		out.doom = l.doom
		if out.doom != nil {
			out.constant, out.eval = false, l.eval
		}
		return &out
	}
	out := &expr{pos: pos, typ: c.bool(), slot: -1, doom: l.doom}
	if out.doom == nil {
		out.doom = r.doom
	}
	if l.constant && r.constant {
		out.constant = true
		out.val = pgvalue.Bool(!or)
		if l.val.Null || r.val.Null {
			out.val = pgvalue.Null
		}
		return out
	}
	out.eval = evalJoin(decides, l.evaluator(), r.evaluator())
	return out
}

func evalJoin(decides int64, left, right evalFunc) evalFunc {
	return func(f *frame) (value, error) {
		l, err := left(f)
		if err != nil {
			if !isUnknown(err) {
				return l, err
			}
			// The left side needs a value that is not known: the right side may decide without it.
			if r, rightErr := right(f); rightErr == nil && !r.Null && r.I == decides {
				return r, nil
			}
			return pgvalue.Null, err
		}
		if !l.Null && l.I == decides {
			return l, nil
		}
		r, err := right(f)
		if err != nil || !r.Null && r.I == decides {
			return r, err
		}
		if l.Null {
			return l, nil
		}
		return r, nil
	}
}

func (c *checker) not(n *syntax.Not) (*expr, error) {
	e, err := c.expr(n.Arg)
	if err != nil {
		return nil, err
	}
	if e, err = c.boolean(e, "the argument of NOT"); err != nil {
		return nil, err
	}
	return c.negate(n.Pos(), e), nil
}

func (c *checker) negate(pos int, e *expr) *expr {
	return c.apply1(pos, e, c.bool(), func(v value) (value, error) { return value{I: 1 - v.I}, nil })
}

func (c *checker) is(n *syntax.Is) (*expr, error) {
	e, err := c.expr(n.Arg)
	if err != nil {
		return nil, err
	}
	return c.test(n.Pos(), e, n.Test, n.Not)
}

// test is IS [NOT] NULL, TRUE, FALSE or UNKNOWN.
func (c *checker) test(pos int, e *expr, what string, not bool) (*expr, error) {
	if what == "null" {
		if e.slot >= 0 {
			s := c.slots[e.slot]
			out := &expr{pos: pos, typ: c.bool(), slot: -1}
			out.eval = columnIsNull(e.slot, c.table.Columns[s.column].Name, !not)
			return out, nil
		}
		if e.eval == nil && !e.constant {
			return nil, refuse(e.pos, "", "values of type %s cannot be used here", e.typ.Display())
		}
		return c.total(pos, e, func(v value) value { return pgvalue.Bool(v.Null != not) }), nil
	}
	e, err := c.boolean(e, "the argument of IS "+what)
	if err != nil {
		return nil, err
	}
	return c.total(pos, e, func(v value) value {
		var is bool
		switch what {
		case "true":
			is = v.Truth()
		case "false":
			is = !v.Null && v.I == 0
		default:
			is = v.Null
		}
		return pgvalue.Bool(is != not)
	}), nil
}

// total applies a function that nulls go into.
func (c *checker) total(pos int, e *expr, f func(value) value) *expr {
	out := &expr{pos: pos, typ: c.bool(), slot: -1, doom: e.doom}
	if e.constant {
		out.constant, out.val = true, f(e.val)
		return out
	}
	eval := e.eval
	out.eval = func(fr *frame) (value, error) {
		v, err := eval(fr)
		if err != nil {
			return v, err
		}
		return f(v), nil
	}
	return out
}

func (c *checker) distinct(n *syntax.Distinct) (*expr, error) {
	es, err := c.exprs(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	// x IS DISTINCT FROM NULL is x IS NOT NULL; both literals of unknown type are taken for text.
	for i, other := range []int{1, 0} {
		if es[i].typ == c.catalog.Unknown && es[i].literal == nil {
			return c.test(n.Pos(), es[other], "null", !n.Not)
		}
	}
	es[0], es[1] = c.share(es[0]), c.share(es[1])
	eq, err := c.operator(n.Pos(), "=", es[0], es[1])
	if err != nil {
		return nil, err
	}
	call, _ := c.catalog.Operator("=", es[0].typ, es[1].typ)
	l, err := c.coerce(es[0], call.Args[0], pgcatalog.Implicit)
	if err != nil {
		return nil, err
	}
	r, err := c.coerce(es[1], call.Args[1], pgcatalog.Implicit)
	if err != nil {
		return nil, err
	}
	left, right, equal, not := l.evaluator(), r.evaluator(), eq.evaluator(), n.Not
	out := &expr{pos: n.Pos(), typ: c.bool(), slot: -1, doom: eq.doom}
	out.eval = func(f *frame) (value, error) {
		x, err := left(f)
		if err != nil {
			return x, err
		}
		y, err := right(f)
		if err != nil {
			return y, err
		}
		if x.Null || y.Null {
			return pgvalue.Bool((x.Null != y.Null) != not), nil
		}
		v, err := equal(f)
		if err != nil {
			return v, err
		}
		return pgvalue.Bool((v.I == 0) != not), nil
	}
	if l.constant && r.constant && out.doom == nil {
		if v, err := out.eval(nil); err == nil {
			out.constant, out.val = true, v
		}
	}
	return out, nil
}

func (c *checker) between(n *syntax.Between) (*expr, error) {
	es, err := c.exprs(n.Arg, n.Low, n.High)
	if err != nil {
		return nil, err
	}
	pos := n.Pos()
	es[0] = c.share(es[0])
	if n.Symmetric {
		es[1], es[2] = c.share(es[1]), c.share(es[2])
	}
	inside := func(low, high *expr) (*expr, error) {
		first, second, or := ">=", "<=", false
		if n.Not {
			first, second, or = "<", ">", true
		}
		a, err := c.operator(pos, first, es[0], low)
		if err != nil {
			return nil, err
		}
		b, err := c.operator(pos, second, es[0], high)
		if err != nil {
			return nil, err
		}
		return c.join(pos, or, a, b), nil
	}
	out, err := inside(es[1], es[2])
	if err != nil || !n.Symmetric {
		return out, err
	}
	swapped, err := inside(es[2], es[1])
	if err != nil {
		return nil, err
	}
	return c.join(pos, !n.Not, out, swapped), nil
}
