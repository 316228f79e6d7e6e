package where

import (
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// call checks a function call.
func (c *checker) call(n *syntax.Call) (*expr, error) {
	pos := n.Pos()
	if advice, ok := refusedFunctions[n.Name]; ok {
		return nil, refuse(pos, advice.hint, "%s", advice.message)
	}
	switch c.catalog.ProcKind(n.Name) {
	case 'a':
		return nil, refuse(pos, "a condition sees one row", "aggregate functions are not supported: %s", n.Name)
	case 'w':
		return nil, refuse(pos, "a condition sees one row", "window functions are not supported: %s", n.Name)
	case 0:
		if t := c.catalog.Type(n.Name); t != nil && len(n.Args) == 1 && t.Kind != 'p' && !t.IsArray() {
			break
		}
		return nil, nameError(pos, "use one of the functions in the reference of filters", "there is no function %s here", n.Name)
	}
	args, err := c.exprs(n.Args...)
	if err != nil {
		return nil, err
	}
	types := make([]*pgcatalog.Type, len(args))
	for i, a := range args {
		if a.typ == opaque {
			return nil, refuse(a.pos, "test it with IS NULL alone", "columns of this type cannot be used in functions")
		}
		types[i] = a.typ
	}
	call, outcome := c.catalog.Function(n.Name, types)
	switch {
	case outcome == pgcatalog.Ambiguous:
		return nil, typeError(pos, "add explicit casts", "function %s is not unique", signature(n.Name, types))
	case outcome != pgcatalog.Found:
		return nil, typeError(pos, "add explicit casts", "function %s does not exist", signature(n.Name, types))
	case call.Cast:
		return c.coerce(args[0], call.Result, pgcatalog.Explicit)
	case call.Set:
		return nil, refuse(pos, "", "functions that return sets are not supported: %s", n.Name)
	case call.Volatile == 'v' && builtins[call.Source].fn2 == nil:
		return nil, refuse(pos, "", "function %s has another result at each call", n.Name)
	}
	if call.Defaults > 0 {
		return nil, refuse(pos, "", "function %s is not supported", n.Name)
	}
	return c.apply(pos, "function "+signature(n.Name, types), call, args)
}

func signature(name string, types []*pgcatalog.Type) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Display()
	}
	return name + "(" + strings.Join(names, ", ") + ")"
}

type advice struct{ message, hint string }

// refusedFunctions are those that people reach for, with what to use instead.
var refusedFunctions = map[string]advice{
	"now":                   {"now() changes while messages wait", "compare with metadata.commit_timestamp, or with a literal"},
	"clock_timestamp":       {"clock_timestamp() changes while messages wait", "compare with metadata.commit_timestamp, or with a literal"},
	"statement_timestamp":   {"statement_timestamp() changes while messages wait", "compare with metadata.commit_timestamp, or with a literal"},
	"transaction_timestamp": {"transaction_timestamp() changes while messages wait", "use metadata.commit_timestamp"},
	"random":                {"random() has another result at each call", "take a sample by a hash of the key: mod(id, 100) = 0"},
	"to_char":               {"to_char is not supported", "use EXTRACT or date_trunc"},
	"to_date":               {"to_date is not supported", "cast texts in ISO 8601 form"},
	"to_number":             {"to_number is not supported", "cast to numeric"},
	"current_setting":       {"current_setting depends on the session", ""},
}

// common brings expressions to their common type.
func (c *checker) common(what string, es []*expr) (*pgcatalog.Type, []*expr, error) {
	types := make([]*pgcatalog.Type, len(es))
	for i, e := range es {
		if e.typ == opaque {
			return nil, nil, refuse(e.pos, "test it with IS NULL alone", "columns of this type cannot be used here")
		}
		types[i] = e.typ
	}
	t, ok := c.catalog.CommonType(types)
	if !ok {
		return nil, nil, typeError(es[0].pos, "add explicit casts", "%s: the types cannot be matched", what)
	}
	out := make([]*expr, len(es))
	for i, e := range es {
		if e.typ != c.catalog.Unknown && !c.catalog.CanCoerce([]*pgcatalog.Type{e.typ}, []*pgcatalog.Type{t}, pgcatalog.Implicit) {
			return nil, nil, typeError(e.pos, "add an explicit cast", "%s could not convert type %s to %s", what, e.typ.Display(), t.Display())
		}
		var err error
		if out[i], err = c.coerce(e, t, pgcatalog.Implicit); err != nil {
			return nil, nil, err
		}
		if out[i].eval == nil && !out[i].constant {
			return nil, nil, refuse(e.pos, "", "values of type %s cannot be used here", e.typ.Display())
		}
	}
	return t, out, nil
}

func (c *checker) special(n *syntax.Special) (*expr, error) {
	es, err := c.exprs(n.Args...)
	if err != nil {
		return nil, err
	}
	if n.Name == "nullif" {
		return c.nullif(n.Pos(), es)
	}
	t, es, err := c.common(n.Name, es)
	if err != nil {
		return nil, err
	}
	coll, err := c.merge(n.Pos(), es)
	if err != nil {
		return nil, err
	}
	out := &expr{pos: n.Pos(), typ: t, slot: -1, coll: coll}
	if n.Name == "coalesce" {
		return c.coalesce(out, es), nil
	}
	return c.extreme(out, es, n.Name == "greatest")
}

// coalesce takes the first that is not null; constant nulls drop out, and what follows a constant is not looked at.
func (c *checker) coalesce(out *expr, es []*expr) *expr {
	var kept []*expr
	for _, e := range es {
		if e.constant && e.val.Null {
			continue
		}
		kept = append(kept, e)
		if out.doom == nil {
			out.doom = e.doom
		}
		if e.constant {
			break
		}
	}
	if len(kept) == 0 {
		return c.constantLike(out, pgvalue.Null)
	}
	if kept[0].constant {
		return c.constantLike(out, kept[0].val)
	}
	evals := make([]evalFunc, len(kept))
	for i, e := range kept {
		evals[i] = e.evaluator()
	}
	out.eval = func(f *frame) (value, error) {
		for _, eval := range evals {
			v, err := eval(f)
			if err != nil || !v.Null {
				return v, err
			}
		}
		return pgvalue.Null, nil
	}
	return out
}

func (c *checker) constantLike(e *expr, v value) *expr {
	out := *e
	out.constant, out.val, out.eval = true, v, nil
	return &out
}

func (c *checker) extreme(out *expr, es []*expr, greatest bool) (*expr, error) {
	base := out.typ.BaseType()
	cmp := pgvalue.ComparerOf(base)
	if cmp == nil || base.Name == "jsonb" || base.IsArray() && base.Elem.Name == "jsonb" {
		return nil, refuse(out.pos, "", "GREATEST and LEAST of %s are not supported", out.typ.Display())
	}
	if err := c.checkCollation(out.pos, needsOrder, out.coll); err != nil {
		return nil, err
	}
	constant := true
	evals := make([]evalFunc, len(es))
	for i, e := range es {
		evals[i] = e.evaluator()
		constant = constant && e.constant
		if out.doom == nil {
			out.doom = e.doom
		}
	}
	enum := base.Kind == 'e'
	out.eval = func(f *frame) (value, error) {
		best := pgvalue.Null
		for _, eval := range evals {
			v, err := eval(f)
			if err != nil {
				return v, err
			}
			if v.Null {
				continue
			}
			if enum && v.I < 0 {
				return v, errLabel(v.S)
			}
			if best.Null {
				best = v
			} else if n := cmp(v, best); n != 0 && n > 0 == greatest {
				best = v
			}
		}
		return best, nil
	}
	if constant && out.doom == nil {
		v, err := out.eval(nil)
		if err == nil {
			return c.constantLike(out, v), nil
		}
	}
	return out, nil
}

func (c *checker) nullif(pos int, es []*expr) (*expr, error) {
	es[0] = c.share(es[0])
	eq, err := c.operator(pos, "=", es[0], es[1])
	if err != nil {
		return nil, err
	}
	// The result has the type that the operator takes the first argument for.
	call, _ := c.catalog.Operator("=", es[0].typ, es[1].typ)
	first, err := c.coerce(es[0], call.Args[0], pgcatalog.Implicit)
	if err != nil {
		return nil, err
	}
	out := &expr{pos: pos, typ: first.typ, slot: -1, coll: eq.coll, doom: eq.doom}
	if out.typ.Collatable {
		out.coll = first.coll
	}
	if out.doom == nil {
		out.doom = first.doom
	}
	arg, equal := first.evaluator(), eq.evaluator()
	out.eval = func(f *frame) (value, error) {
		same, err := equal(f)
		if err != nil {
			return same, err
		}
		if same.Truth() {
			return pgvalue.Null, nil
		}
		return arg(f)
	}
	// Before 14 the planner does not compute it in advance.
	if first.constant && eq.constant && c.catalog.Major >= 14 {
		v, err := out.eval(nil)
		if err == nil {
			return c.constantLike(out, v), nil
		}
	}
	return out, nil
}

// caseExpr checks CASE; branches that a constant condition rules out are dropped, as the planner does.
func (c *checker) caseExpr(n *syntax.Case) (*expr, error) {
	var arg *expr
	var err error
	if n.Arg != nil {
		if arg, err = c.expr(n.Arg); err != nil {
			return nil, err
		}
		if arg.typ == c.catalog.Unknown {
			if arg, err = c.coerce(arg, c.catalog.Type("text"), pgcatalog.Implicit); err != nil {
				return nil, err
			}
		}
	}
	if arg != nil {
		arg = c.share(arg)
	}
	conds := make([]*expr, len(n.Whens))
	var results []*expr
	for i, w := range n.Whens {
		cond, err := c.expr(w.Cond)
		if err != nil {
			return nil, err
		}
		if arg != nil {
			if cond, err = c.operator(w.Cond.Pos(), "=", arg, cond); err != nil {
				return nil, err
			}
		}
		if conds[i], err = c.boolean(cond, "the condition of WHEN"); err != nil {
			return nil, err
		}
		r, err := c.expr(w.Result)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	// The server looks at ELSE first when it seeks the common type.
	last := c.constant(n.Pos(), c.catalog.Unknown, pgvalue.Null)
	if n.Else != nil {
		if last, err = c.expr(n.Else); err != nil {
			return nil, err
		}
	}
	t, all, err := c.common("CASE", append([]*expr{last}, results...))
	if err != nil {
		return nil, err
	}
	coll, err := c.merge(n.Pos(), all)
	if err != nil {
		return nil, err
	}
	out := &expr{pos: n.Pos(), typ: t, slot: -1, coll: coll}
	if arg != nil {
		out.doom = arg.doom
	}
	return c.finishCase(out, conds, all[1:], all[0]), nil
}

func (c *checker) finishCase(out *expr, conds, results []*expr, last *expr) *expr {
	var tests, values []evalFunc
	note := func(e *expr) {
		if out.doom == nil {
			out.doom = e.doom
		}
	}
	for i, cond := range conds {
		if cond.constant {
			if !cond.val.Truth() {
				continue
			}
			last = results[i]
			break
		}
		note(cond)
		note(results[i])
		tests, values = append(tests, cond.evaluator()), append(values, results[i].evaluator())
	}
	note(last)
	if len(tests) == 0 {
		same := *last
		same.typ, same.coll, same.doom, same.slot = out.typ, out.coll, out.doom, -1
		return &same
	}
	otherwise := last.evaluator()
	out.eval = func(f *frame) (value, error) {
		for i, test := range tests {
			v, err := test(f)
			if err != nil {
				return v, err
			}
			if v.Truth() {
				return values[i](f)
			}
		}
		return otherwise(f)
	}
	return out
}
