package where

import (
	"errors"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

func (c *checker) coerceAll(es []*expr, types []*pgcatalog.Type) ([]*expr, error) {
	out := make([]*expr, len(es))
	for i, e := range es {
		var err error
		if out[i], err = c.coerce(e, types[i], pgcatalog.Implicit); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// coerce brings an expression to a type.
func (c *checker) coerce(e *expr, to *pgcatalog.Type, context pgcatalog.Context) (*expr, error) {
	if e.typ == to || to == nil {
		return e, nil
	}
	if e.typ == c.catalog.Unknown {
		return c.decide(e, to)
	}
	if to.Kind == 'p' {
		return e, nil
	}
	path := c.catalog.FindPath(e.typ, to, context)
	if to.Kind == 'd' && e.typ.BaseType() != to.BaseType() {
		return nil, refuse(e.pos, "", "casts to a domain are not supported")
	}
	switch path.Kind {
	case pgcatalog.PathSame:
		return c.relabel(e, to), nil
	case pgcatalog.PathFunc:
		return c.castByFunction(e, to, path)
	case pgcatalog.PathViaIO:
		return c.castViaIO(e, to)
	case pgcatalog.PathArray:
		return c.castArray(e, to, *path.Elem)
	case pgcatalog.PathNone, pgcatalog.PathDomain:
	}
	return nil, typeError(e.pos, "", "cannot cast type %s to %s", e.typ.Display(), to.Display())
}

// decide reads a literal whose type was open.
func (c *checker) decide(e *expr, to *pgcatalog.Type) (*expr, error) {
	if e.literal == nil { // null
		return c.constant(e.pos, to, pgvalue.Null), nil
	}
	base := to.BaseType()
	if base.Name == "xml" || pgvalue.ReaderOf(base) == nil {
		return nil, refuse(e.pos, hintForType(base), "literals of type %s are not supported", to.Display())
	}
	if err := literalPitfalls(base, *e.literal, e.pos); err != nil {
		return nil, err
	}
	if c.noInfinity(base) && strings.Contains(strings.ToLower(*e.literal), "inf") {
		return nil, typeError(e.pos, "", "invalid input syntax for type %s: %q", base.Display(), *e.literal)
	}
	v, err := pgvalue.ReaderOf(base)(*e.literal)
	if err != nil && base.Kind == 'e' {
		return nil, typeError(e.pos, "its labels are "+strings.Join(base.Labels, ", "), "enum %s has no label %q", base.Name, *e.literal)
	}
	if err != nil {
		return nil, c.literalError(e.pos, err)
	}
	if base.Name == "name" && len(v.S) > 63 {
		return nil, refuse(e.pos, "", "the literal is too long for type name")
	}
	return c.constant(e.pos, to, v), nil
}

func (c *checker) literalError(pos int, err error) error {
	if errors.Is(err, pgvalue.ErrUnsupported) {
		return refuse(pos, "", "%s", strings.TrimSuffix(err.Error(), ": "+pgvalue.ErrUnsupported.Error()))
	}
	return typeError(pos, "", "%s", err.Error())
}

// literalPitfalls refuses words that stand for the time at which they are read.
func literalPitfalls(t *pgcatalog.Type, text string, pos int) error {
	if t.Category != 'D' {
		return nil
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "now", "today", "tomorrow", "yesterday", "allballs", "epoch":
		return refuse(pos, "write a literal such as 2024-05-31, or compare with metadata.commit_timestamp", "%q would be read once and kept", text)
	}
	return nil
}

func hintForType(t *pgcatalog.Type) string {
	switch t.Name {
	case "money":
		return "money depends on lc_monetary; use a numeric column"
	case "jsonpath":
		return "use ->, ->> and @>"
	}
	return ""
}

// relabel changes the type and not the value, but for what the representations here tell apart.
func (c *checker) relabel(e *expr, to *pgcatalog.Type) *expr {
	out := *e
	out.typ, out.slot = to, e.slot
	from, base := e.typ.BaseType(), to.BaseType()
	convert := relabelValue(from, base)
	if convert == nil {
		if !to.Collatable {
			out.coll = collState{}
		} else if out.coll.strength == none {
			out.coll = collState{implicit, &c.options.Collation}
		}
		return &out
	}
	return c.apply1(e.pos, e, to, convert)
}

func relabelValue(from, to *pgcatalog.Type) func(value) (value, error) {
	switch {
	case from.Name == "int4" && to.Name == "oid":
		return func(v value) (value, error) { return pgvalue.Int(int64(uint32(v.I))), nil } //nolint:gosec // the bits stay
	case from.Name == "oid" && to.Name == "int4":
		return func(v value) (value, error) { return pgvalue.Int(int64(int32(v.I))), nil } //nolint:gosec // the bits stay
	case from.Name == "cidr" && to.Name == "inet":
		return func(v value) (value, error) {
			a := *v.Inet()
			a.CIDR = false
			return value{P: &a}, nil
		}
	}
	return nil
}

func (c *checker) castByFunction(e *expr, to *pgcatalog.Type, path pgcatalog.Path) (*expr, error) {
	b, ok := builtins[path.Source]
	if !ok || b.fn1 == nil {
		return nil, refuse(e.pos, "", "the cast from %s to %s is not supported", e.typ.Display(), to.Display())
	}
	out := c.apply1(e.pos, e, to, b.fn1)
	if path.Volatile != 'i' {
		out.postpone(e)
	}
	return out, nil
}

// postpone makes the result of a function that is only stable, in Postgres' eyes, no constant: what is computed from it fails only when it is
// reached. from is its argument.
func (e *expr) postpone(from *expr) {
	if from.doom == nil {
		e.doom = nil
	}
	if e.constant && !e.val.Null {
		v := e.val
		e.constant = false
		e.eval = func(*frame) (value, error) { return v, nil }
	}
}

func (c *checker) castViaIO(e *expr, to *pgcatalog.Type) (*expr, error) {
	write, read := pgvalue.WriterOf(e.typ), pgvalue.ReaderOf(to)
	if write == nil || read == nil {
		return nil, refuse(e.pos, hintForType(e.typ), "the cast from %s to %s is not supported", e.typ.Display(), to.Display())
	}
	tooNew := c.noInfinity(to)
	out := c.apply1(e.pos, e, to, func(v value) (value, error) {
		text := write(v)
		if tooNew && strings.Contains(strings.ToLower(text), "inf") {
			return pgvalue.Null, &pgvalue.Error{Code: "22P02", Message: "invalid input syntax for type " + to.Display()}
		}
		return read(text)
	})
	if stableInput(to) || stableOutput(e.typ) {
		out.postpone(e)
	}
	return out, nil
}

// noInfinity reports whether the server's version has no infinite values of a type yet.
func (c *checker) noInfinity(t *pgcatalog.Type) bool {
	switch t.BaseType().Name {
	case "numeric":
		return c.catalog.Major < 14
	case "interval":
		return c.catalog.Major < 17
	}
	return false
}

// stableInput reports whether reading the type depends on settings, in Postgres' eyes; stableOutput the same of printing it.
func stableInput(t *pgcatalog.Type) bool {
	return strings.IndexByte("DEART", t.BaseType().Category) >= 0
}

func stableOutput(t *pgcatalog.Type) bool {
	base := t.BaseType()
	switch base.Name {
	case "date", "timestamp", "timestamptz":
		return true
	}
	return strings.IndexByte("EAR", base.Category) >= 0
}

func (c *checker) castArray(e *expr, to *pgcatalog.Type, elem pgcatalog.Path) (*expr, error) {
	one, err := c.coerceElement(e.pos, e.typ.BaseType().Elem, to.BaseType().Elem, elem)
	if err != nil {
		return nil, err
	}
	out := c.apply1(e.pos, e, to, func(v value) (value, error) {
		a := v.Array()
		out := *a
		out.Elems = make([]value, len(a.Elems))
		for i, x := range a.Elems {
			if x.Null {
				out.Elems[i] = x
				continue
			}
			y, err := one(x)
			if err != nil {
				return pgvalue.Null, err
			}
			out.Elems[i] = y
		}
		return value{P: &out}, nil
	})
	viaIO := elem.Kind == pgcatalog.PathViaIO && (stableInput(to.BaseType().Elem) || stableOutput(e.typ.BaseType().Elem))
	if viaIO || elem.Kind == pgcatalog.PathFunc && elem.Volatile != 'i' {
		out.postpone(e)
	}
	return out, nil
}

func (c *checker) coerceElement(pos int, from, to *pgcatalog.Type, path pgcatalog.Path) (func(value) (value, error), error) {
	switch path.Kind {
	case pgcatalog.PathSame:
		return func(v value) (value, error) { return v, nil }, nil
	case pgcatalog.PathFunc:
		if b, ok := builtins[path.Source]; ok && b.fn1 != nil {
			return b.fn1, nil
		}
	case pgcatalog.PathViaIO:
		write, read := pgvalue.WriterOf(from), pgvalue.ReaderOf(to)
		if write != nil && read != nil && to.BaseType().Kind != 'e' {
			return func(v value) (value, error) { return read(write(v)) }, nil
		}
	case pgcatalog.PathNone, pgcatalog.PathArray, pgcatalog.PathDomain:
	}
	return nil, refuse(pos, "", "the cast from %s[] to %s[] is not supported", from.Display(), to.Display())
}

// apply1 applies a strict function of one argument.
func (c *checker) apply1(pos int, e *expr, to *pgcatalog.Type, f func(value) (value, error)) *expr {
	out := &expr{pos: pos, typ: to, slot: -1, doom: e.doom}
	if to.Collatable {
		out.coll = e.coll
		if out.coll.strength == none {
			out.coll = collState{implicit, &c.options.Collation}
		}
	}
	if e.constant {
		out.constant = true
		if out.val = pgvalue.Null; !e.val.Null {
			v, err := f(e.val)
			out.val = v
			if err != nil {
				out.fail(pos, err)
			}
		}
		return out
	}
	eval := e.eval
	out.eval = func(fr *frame) (value, error) {
		v, err := eval(fr)
		if err != nil || v.Null {
			return v, err
		}
		return f(v)
	}
	return out
}

// fail marks an expression that does not depend on the row and cannot be computed.
func (e *expr) fail(pos int, err error) {
	code, hint := CodeType, "it does not depend on the row, so it fails for every change"
	message := err.Error()
	if errors.Is(err, pgvalue.ErrUnsupported) {
		code, hint = CodeUnsupported, ""
		message = strings.TrimSuffix(message, ": "+pgvalue.ErrUnsupported.Error())
	}
	e.doom = &mistake{code, pos, message, hint}
	e.constant = false
	e.eval = func(*frame) (value, error) { return pgvalue.Null, err }
}

// cast checks x::type and its other forms.
func (c *checker) cast(n *syntax.Cast) (*expr, error) {
	to, err := c.typeNamed(n.Type)
	if err != nil {
		return nil, err
	}
	var e *expr
	if a, ok := n.Arg.(*syntax.Array); ok && to.IsArray() {
		e, err = c.array(a, to)
	} else {
		e, err = c.expr(n.Arg)
	}
	if err != nil {
		return nil, err
	}
	if e.typ == c.catalog.Unknown && to.Name == "interval" && n.Type.Fields != "" {
		return c.intervalLiteral(n, e, to)
	}
	if n.Type.Fields != "" {
		return nil, refuse(n.Pos(), "cast to interval without fields", "fields of an interval are supported in literals alone")
	}
	out, err := c.coerce(e, to, pgcatalog.Explicit)
	if err != nil {
		return nil, err
	}
	if len(n.Type.Mods) > 0 {
		return c.modify(out, to, n.Type.Mods, n.Pos(), n.Type.Pos)
	}
	if out == e { // a cast is no bare column any more
		same := *e
		out = &same
	}
	return out, nil
}

func (c *checker) intervalLiteral(n *syntax.Cast, e *expr, to *pgcatalog.Type) (*expr, error) {
	if e.literal == nil || strings.Contains(n.Type.Fields, " ") || len(n.Type.Mods) > 0 || strings.Trim(*e.literal, "+-0123456789") != "" {
		return nil, refuse(n.Pos(), "write interval '3 days 04:05:06'", "that form of an interval is not supported")
	}
	v, err := pgvalue.ParseInterval(*e.literal, n.Type.Fields)
	if err != nil {
		return nil, c.literalError(n.Pos(), err)
	}
	return c.constant(n.Pos(), to, v), nil
}

// modify applies the modifiers of a type: numeric(10,2), varchar(3), timestamp(0).
func (c *checker) modify(e *expr, to *pgcatalog.Type, mods []int, pos, typePos int) (*expr, error) {
	if to.IsArray() {
		return nil, refuse(typePos, "cast to the array type without modifiers", "modifiers of arrays are not supported")
	}
	f, err := modifier(to.Name, mods, typePos)
	if err != nil {
		return nil, err
	}
	return c.apply1(pos, e, to, f), nil
}

func modifier(name string, mods []int, pos int) (func(value) (value, error), error) {
	n := mods[0]
	if len(mods) == 1 {
		switch name {
		case "varchar":
			if n >= 1 && n <= 10485760 {
				return func(v value) (value, error) { return pgvalue.Text(firstChars(v.S, n)), nil }, nil
			}
		case "bpchar":
			if n >= 1 && n <= 10485760 {
				return func(v value) (value, error) { return pgvalue.Text(padded(v.S, n)), nil }, nil
			}
		case "timestamp", "timestamptz", "time", "timetz":
			if n >= 0 && n <= 6 {
				return func(v value) (value, error) { return roundMicros(v, n, name), nil }, nil
			}
		case "bit":
			if n >= 1 && n <= 1<<20 {
				return func(v value) (value, error) { return pgvalue.Text(bitsOfLength(v.S, n)), nil }, nil
			}
		case "varbit":
			if n >= 1 && n <= 1<<20 {
				return func(v value) (value, error) { return pgvalue.Text(v.S[:min(n, len(v.S))]), nil }, nil
			}
		}
	}
	if name == "numeric" && len(mods) <= 2 {
		scale := 0
		if len(mods) == 2 {
			scale = mods[1]
		}
		if n >= 1 && n <= 1000 && scale >= 0 && scale <= n {
			return func(v value) (value, error) { return pgvalue.FitNumeric(v, n, scale) }, nil
		}
	}
	return nil, refuse(pos, "leave the modifiers out", "those modifiers of type %s are not supported", name)
}

func bitsOfLength(s string, n int) string {
	if len(s) >= n {
		return s[:n]
	}
	return s + strings.Repeat("0", n-len(s))
}

// roundMicros rounds halves away from zero, as Postgres' AdjustTimestampForTypmod does.
func roundMicros(v value, digits int, typ string) value {
	if strings.HasPrefix(typ, "timestamp") && (v.I == pgvalue.TimestampInf || v.I == pgvalue.TimestampMinusInf) {
		return v
	}
	unit := int64(1)
	for range 6 - digits {
		unit *= 10
	}
	if v.I >= 0 {
		v.I = (v.I + unit/2) / unit * unit
	} else {
		v.I = -((-v.I + unit/2) / unit * unit)
	}
	return v
}
