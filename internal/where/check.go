package where

import (
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// expr is a checked expression. A constant has a value and no eval.
type expr struct {
	pos      int
	typ      *pgcatalog.Type
	constant bool
	val      value
	literal  *string // a literal whose type is not decided
	eval     evalFunc
	coll     collState
	slot     int   // of a bare column, else -1
	doom     error // a part that does not depend on the row fails
}

func (e *expr) evaluator() evalFunc {
	if e.constant {
		v := e.val
		return func(*frame) (value, error) { return v, nil }
	}
	return e.eval
}

// checker gives types to an expression.
type checker struct {
	text     string
	table    *Table
	options  Options
	catalog  *pgcatalog.Catalog
	columns  []*pgcatalog.Type // nil for types that can only be tested for null
	slots    []slot
	cells    int // shared expressions
	warnings []Warning
	warned   map[string]bool
}

func newChecker(text string, table *Table, o Options) *checker {
	catalog := pgcatalog.For(o.Major)
	types := userTypes(catalog, table.Types)
	c := &checker{text: text, table: table, options: o, catalog: catalog.With(types), warned: map[string]bool{}}
	for _, column := range table.Columns {
		c.columns = append(c.columns, c.typeOf(column.TypeOID))
	}
	return c
}

// condition checks an expression that must be boolean.
func (c *checker) condition(n syntax.Node) (*expr, error) {
	e, err := c.expr(n)
	if err != nil {
		return nil, err
	}
	e, err = c.boolean(e, "a condition")
	if err != nil {
		return nil, err
	}
	if e.doom != nil {
		return nil, c.doomed(e)
	}
	return e, nil
}

func (c *checker) doomed(e *expr) error {
	if m, ok := e.doom.(*mistake); ok { //nolint:errorlint // made here, never wrapped
		return m
	}
	return typeError(e.pos, "", "%s", e.doom.Error())
}

func (c *checker) boolean(e *expr, what string) (*expr, error) {
	if e.typ != c.catalog.Unknown && e.typ.BaseType().Name != "bool" {
		hint := "compare it with something"
		if e.typ.Category == 'N' {
			hint = "compare it, as in … <> 0"
		}
		return nil, typeError(e.pos, hint, "%s must be boolean, not %s", what, e.typ.Display())
	}
	return c.coerce(e, c.catalog.Type("bool"), pgcatalog.Implicit)
}

func (c *checker) constant(pos int, t *pgcatalog.Type, v value) *expr {
	e := &expr{pos: pos, typ: t, constant: true, val: v, slot: -1}
	if t.Collatable {
		e.coll = collState{strength: implicit, coll: &c.options.Collation}
	}
	return e
}

func (c *checker) expr(n syntax.Node) (*expr, error) {
	switch n := n.(type) {
	case *syntax.Column:
		return c.column(n)
	case *syntax.Const:
		return c.literal(n)
	case *syntax.Cast:
		return c.cast(n)
	case *syntax.Unary:
		return c.unary(n)
	case *syntax.Binary:
		return c.binary(n.Pos(), n.Op, n.Left, n.Right)
	case *syntax.Logic:
		return c.logic(n)
	case *syntax.Not:
		return c.not(n)
	case *syntax.Is:
		return c.is(n)
	case *syntax.Distinct:
		return c.distinct(n)
	case *syntax.In:
		return c.in(n)
	case *syntax.Between:
		return c.between(n)
	case *syntax.Like:
		return c.like(n)
	case *syntax.AnyAll:
		return c.anyAll(n)
	case *syntax.Call:
		return c.call(n)
	case *syntax.Special:
		return c.special(n)
	case *syntax.Case:
		return c.caseExpr(n)
	case *syntax.Array:
		return c.array(n, nil)
	case *syntax.Index:
		return c.index(n)
	case *syntax.Collate:
		return c.collate(n)
	}
	return nil, refuse(n.Pos(), "", "that expression is not supported")
}

// share makes an expression that is used in several places and evaluated once; nested, they would otherwise cost more than can be paid.
func (c *checker) share(e *expr) *expr {
	if e.constant || e.slot >= 0 || e.eval == nil {
		return e
	}
	out := *e
	eval, at := e.eval, c.cells
	c.cells++
	out.eval = func(f *frame) (value, error) {
		cell := &f.cells[at]
		if !cell.done {
			cell.val, cell.err = eval(f)
			cell.done = true
		}
		return cell.val, cell.err
	}
	return &out
}

func (c *checker) exprs(nodes ...syntax.Node) ([]*expr, error) {
	out := make([]*expr, 0, len(nodes))
	for _, n := range nodes {
		e, err := c.expr(n)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (c *checker) literal(n *syntax.Const) (*expr, error) {
	pos := n.Pos()
	switch n.Kind {
	case 't':
		return c.constant(pos, c.catalog.Type("bool"), pgvalue.Bool(n.Text == "true")), nil
	case 'n':
		return c.constant(pos, c.catalog.Unknown, pgvalue.Null), nil
	case 's':
		e := c.constant(pos, c.catalog.Unknown, pgvalue.Text(n.Text))
		e.literal = &n.Text
		return e, nil
	case 'b':
		return c.constant(pos, c.catalog.Type("bit"), pgvalue.Text(n.Text)), nil
	case 'x':
		v, err := pgvalue.HexBits(n.Text)
		if err != nil {
			return nil, typeError(pos, "", "%s", err.Error())
		}
		return c.constant(pos, c.catalog.Type("bit"), v), nil
	}
	for _, name := range []string{"int4", "int8"} {
		if strings.ContainsAny(n.Text, ".eE") {
			break
		}
		t := c.catalog.Type(name)
		if v, err := pgvalue.ReaderOf(t)(n.Text); err == nil {
			return c.constant(pos, t, v), nil
		}
	}
	v, err := pgvalue.ParseNumeric(n.Text)
	if err != nil {
		return nil, typeError(pos, "", "%s", err.Error())
	}
	return c.constant(pos, c.catalog.Type("numeric"), v), nil
}

// column resolves a name: a column, new.column, old.column, metadata.key, or a column with its table before it.
func (c *checker) column(n *syntax.Column) (*expr, error) {
	name := n.Parts[len(n.Parts)-1]
	qualifier := ""
	if len(n.Parts) > 1 {
		qualifier = n.Parts[len(n.Parts)-2]
	}
	s := slot{}
	switch {
	case len(n.Parts) == 1:
		s.bare = true
	case len(n.Parts) == 2 && qualifier == "metadata":
		return c.metadata(n, name)
	case len(n.Parts) == 2 && qualifier == "new":
	case len(n.Parts) == 2 && qualifier == "old":
		s.old = true
	case qualifier == c.table.Name && (len(n.Parts) == 2 || n.Parts[0] == c.table.Schema):
		s.bare = true
	default:
		return nil, nameError(n.Pos(), "name a column, new.column, old.column or a key of metadata", "there is no %s", strings.Join(n.Parts, "."))
	}
	s.column = slices.IndexFunc(c.table.Columns, func(column Column) bool { return column.Name == name })
	if s.column < 0 {
		return nil, nameError(n.Pos(), c.similar(name), "table %s.%s has no column %q", c.table.Schema, c.table.Name, name)
	}
	c.warn(s, name)
	s.typ = c.columns[s.column]
	return c.columnExpr(n.Pos(), s), nil
}

func (c *checker) columnExpr(pos int, s slot) *expr {
	at := slices.IndexFunc(c.slots, func(have slot) bool { return have.column == s.column && have.old == s.old && have.bare == s.bare })
	if at < 0 {
		at = len(c.slots)
		c.slots = append(c.slots, s)
	}
	column := c.table.Columns[s.column]
	e := &expr{pos: pos, typ: s.typ, slot: at}
	if read := pgvalue.ColumnReader(s.typ); read != nil {
		e.eval = columnEval(at, column.Name, read)
	}
	if s.typ.Collatable {
		coll := column.Collation
		if coll == nil {
			coll = &c.options.Collation
		}
		e.coll = collState{strength: implicit, coll: coll}
	}
	return e
}

// similar suggests a column.
func (c *checker) similar(name string) string {
	for _, column := range c.table.Columns {
		if strings.EqualFold(column.Name, name) {
			return `write "` + column.Name + `" in double quotes: names without them are lower case`
		}
	}
	var names []string
	for _, column := range c.table.Columns {
		if len(names) == 12 {
			names = append(names, "…")
			break
		}
		names = append(names, column.Name)
	}
	return "its columns are " + strings.Join(names, ", ") + "; texts stand in single quotes"
}

// warn tells of columns whose old value the replica identity does not provide.
func (c *checker) warn(s slot, name string) {
	if c.table.Identity == 'f' {
		return
	}
	all := !c.options.Insert && !c.options.Update && !c.options.Delete
	deletes := s.bare && (all || c.options.Delete)
	if !s.old && !deletes || slices.Contains(c.table.IdentityColumns, name) {
		return
	}
	message := "old." + name + " is null: the replica identity does not provide it"
	if !s.old {
		message = name + " is null in deletes: the replica identity does not provide it"
	}
	if c.warned[message] {
		return
	}
	c.warned[message] = true
	c.warnings = append(c.warnings, Warning{
		Code: "old_value_unknown", Message: message,
		Hint: "ALTER TABLE " + quoteName(c.table.Schema) + "." + quoteName(c.table.Name) + " REPLICA IDENTITY FULL",
	})
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// metadata resolves a key of the message's metadata.
func (c *checker) metadata(n *syntax.Column, key string) (*expr, error) {
	e := &expr{pos: n.Pos(), typ: c.catalog.Type("text"), slot: -1}
	switch key {
	case "action":
		e.eval = func(f *frame) (value, error) { return pgvalue.Text(f.change.Op.Action()), nil }
	case "table_name":
		e.eval = func(f *frame) (value, error) { return pgvalue.Text(f.change.Relation.Name), nil }
	case "table_schema":
		e.eval = func(f *frame) (value, error) { return pgvalue.Text(f.change.Relation.Schema), nil }
	case "commit_timestamp":
		e.typ = c.catalog.Type("timestamptz")
		e.eval = func(f *frame) (value, error) {
			const since1970 = 946684800 * pgvalue.Second
			return pgvalue.Int(int64(f.change.CommitTime) - since1970), nil
		}
	case "transaction_annotations":
		e.typ = c.catalog.Type("jsonb")
		e.eval = func(f *frame) (value, error) {
			if f.change.Annotations == nil {
				return pgvalue.Null, nil
			}
			return pgvalue.ParseJSONB(string(f.change.Annotations))
		}
	default:
		return nil, nameError(n.Pos(), "use action, table_name, table_schema, commit_timestamp or transaction_annotations", "metadata has no key %q for conditions", key)
	}
	if e.typ.Collatable {
		e.coll = collState{strength: implicit, coll: &c.options.Collation}
	}
	return e, nil
}
