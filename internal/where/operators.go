package where

import (
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// builtin is a function of Postgres as it is done here, by the name of its code in the server. One of fn1, fn2, fnN and build is set; strict
// functions are not called with nulls.
type builtin struct {
	fn1   func(a value) (value, error)
	fn2   func(a, b value) (value, error)
	fnN   func(args []value) (value, error)
	build func(b *building) error // sets one of the fn of b, for functions that depend on types
	need  int                     // of the collation
	// aware is true for functions whose result does not depend on how texts are encoded; see Options.NotUTF8
	bytes bool // depends on the encoding's bytes
}

// building is a call in the making.
type building struct {
	*checker
	pos    int
	call   pgcatalog.Call
	args   []*expr
	coll   collState
	result builtin
}

func (c *checker) unary(n *syntax.Unary) (*expr, error) {
	arg, err := c.expr(n.Arg)
	if err != nil {
		return nil, err
	}
	call, outcome := c.catalog.Operator(n.Op, nil, arg.typ)
	if outcome != pgcatalog.Found {
		return nil, c.noOperator(n.Pos(), n.Op, outcome, nil, arg)
	}
	return c.apply(n.Pos(), "operator "+n.Op, call, []*expr{arg})
}

func (c *checker) binary(pos int, op string, left, right syntax.Node) (*expr, error) {
	// "x = NULL" is null, as without transform_null_equals
	es, err := c.exprs(left, right)
	if err != nil {
		return nil, err
	}
	return c.operator(pos, op, es[0], es[1])
}

func (c *checker) operator(pos int, op string, left, right *expr) (*expr, error) {
	if left.typ == opaque || right.typ == opaque {
		return nil, refuse(pos, "test it with IS NULL alone", "columns of this type cannot be compared here")
	}
	call, outcome := c.catalog.Operator(op, left.typ, right.typ)
	if outcome != pgcatalog.Found {
		return nil, c.noOperator(pos, op, outcome, left, right)
	}
	return c.apply(pos, "operator "+op, call, []*expr{left, right})
}

func (c *checker) noOperator(pos int, op string, outcome pgcatalog.Outcome, left, right *expr) error {
	name := op + " " + right.typ.Display()
	if left != nil {
		name = left.typ.Display() + " " + name
	}
	if outcome == pgcatalog.Ambiguous {
		return typeError(pos, "add explicit casts", "operator is not unique: %s", name)
	}
	if len(c.catalog.Operators(op)) == 0 {
		return nameError(pos, "", "there is no operator %s", op)
	}
	for _, e := range []*expr{left, right} {
		if e != nil && e.typ.Schema != "" && e.typ.BaseType().Kind == 'b' && !e.typ.IsArray() {
			return refuse(pos, "cast it to text, or test it with IS NULL", "operators of type %s, which is not Postgres' own, are not supported", e.typ.Display())
		}
	}
	return typeError(pos, "add explicit casts", "operator does not exist: %s", name)
}

// apply makes the call of a resolved operator or function.
func (c *checker) apply(pos int, what string, call pgcatalog.Call, args []*expr) (*expr, error) {
	b, ok := builtins[call.Source]
	if !ok {
		return nil, c.notSupported(pos, what, call)
	}
	args, err := c.coerceAll(args, call.Args)
	if err != nil {
		return nil, err
	}
	coll, err := c.merge(pos, args)
	if err != nil {
		return nil, err
	}
	if b.build != nil {
		g := &building{checker: c, pos: pos, call: call, args: args, coll: coll, result: builtin{need: b.need}}
		if err := b.build(g); err != nil {
			return nil, err
		}
		g.result.bytes = g.result.bytes || b.bytes
		b = g.result
	}
	if b.fn2 != nil && b.fnN != nil { // a function with an array that can also be given one by one
		if call.Variadic > 0 {
			b.fn2 = nil
		} else {
			b.fnN = nil
		}
	}
	if err := c.checkCollation(pos, b.need, coll); err != nil {
		return nil, err
	}
	if b.bytes && c.options.NotUTF8 {
		return nil, refuse(pos, "", "%s depends on the database's encoding, which is not UTF-8", what)
	}
	for _, a := range args {
		if a.eval == nil && !a.constant {
			return nil, refuse(a.pos, hintForType(a.typ), "values of type %s cannot be used here, but for IS NULL", a.typ.Display())
		}
	}
	out := &expr{pos: pos, typ: call.Result, slot: -1}
	if out.typ.Collatable {
		out.coll = coll
		if coll.strength == none {
			out.coll = collState{implicit, &c.options.Collation}
		}
	}
	c.compileCall(out, b, call, args)
	return out, nil
}

// compileCall computes a call in advance if that is possible, as Postgres' planner does, and makes its evaluator otherwise.
func (c *checker) compileCall(out *expr, b builtin, call pgcatalog.Call, args []*expr) {
	constant := true
	for _, a := range args {
		if out.doom == nil {
			out.doom = a.doom
		}
	}
	for _, a := range args {
		if a.constant && a.val.Null && call.Strict {
			out.constant, out.val = true, pgvalue.Null
			if out.doom != nil {
				out.constant = false
				out.eval = func(*frame) (value, error) { return pgvalue.Null, nil }
			}
			return
		}
		constant = constant && a.constant
	}
	out.eval = evalCall(b, call.Strict, args)
	if !constant || out.doom != nil {
		return
	}
	v, err := out.eval(nil)
	switch {
	case err == nil && call.Volatile == 'i':
		out.constant, out.val = true, v
	case err == nil:
		out.eval = func(*frame) (value, error) { return v, nil }
	case call.Volatile == 'i':
		out.fail(out.pos, err)
	default: // a stable function fails when it is called
		out.eval = func(*frame) (value, error) { return pgvalue.Null, err }
	}
}

func evalCall(b builtin, strict bool, args []*expr) evalFunc {
	switch {
	case b.fn1 != nil:
		return eval1(b.fn1, args[0].evaluator())
	case b.fn2 != nil && strict && args[1].constant && !args[0].constant:
		return eval2const(b.fn2, args[0].eval, args[1].val)
	case b.fn2 != nil && strict:
		return eval2(b.fn2, args[0].evaluator(), args[1].evaluator())
	case b.fn2 != nil:
		left, right, f := args[0].evaluator(), args[1].evaluator(), b.fn2
		return func(fr *frame) (value, error) {
			x, err := left(fr)
			if err != nil {
				return x, err
			}
			y, err := right(fr)
			if err != nil {
				return y, err
			}
			return f(x, y)
		}
	}
	return evalN(b.fnN, strict, args)
}

func eval1(f func(value) (value, error), arg evalFunc) evalFunc {
	return func(fr *frame) (value, error) {
		x, err := arg(fr)
		if err != nil || x.Null {
			return x, err
		}
		return f(x)
	}
}

func eval2const(f func(a, b value) (value, error), left evalFunc, y value) evalFunc {
	return func(fr *frame) (value, error) {
		x, err := left(fr)
		if err != nil || x.Null {
			return x, err
		}
		return f(x, y)
	}
}

func eval2(f func(a, b value) (value, error), left, right evalFunc) evalFunc {
	return func(fr *frame) (value, error) {
		x, err := left(fr)
		if err != nil {
			return x, err
		}
		y, err := right(fr)
		if err != nil {
			return y, err
		}
		if x.Null || y.Null {
			return pgvalue.Null, nil
		}
		return f(x, y)
	}
}

func evalN(f func([]value) (value, error), strict bool, args []*expr) evalFunc {
	evals := make([]evalFunc, len(args))
	for i, a := range args {
		evals[i] = a.evaluator()
	}
	return func(fr *frame) (value, error) {
		values := make([]value, len(evals))
		null := false
		for i, eval := range evals {
			v, err := eval(fr)
			if err != nil {
				return v, err
			}
			null = null || v.Null
			values[i] = v
		}
		if null && strict {
			return pgvalue.Null, nil
		}
		return f(values)
	}
}

func (c *checker) notSupported(pos int, what string, call pgcatalog.Call) error {
	hint := ""
	switch call.Source {
	case "jsonb_path_exists_opr", "jsonb_path_match_opr":
		hint = "use ->, ->>, #>> and @>"
	case "ts_match_vq", "ts_match_qv", "ts_match_tq", "ts_match_tt":
		hint = "use LIKE or ~"
	}
	return refuse(pos, hint, "%s is not supported for these types", what)
}
