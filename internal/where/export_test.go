package where

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// Expression is an expression of any type, for comparing it with Postgres'.
type Expression struct {
	Type  *pgcatalog.Type
	prog  *Program
	write pgvalue.Writer
}

// CompileExpression is Compile without the demand for a boolean.
func CompileExpression(text string, table *Table, o Options) (*Expression, error) {
	c := newChecker(text, table, o)
	node, err := syntax.Parse(text, syntax.Options{Major: c.catalog.Major, Keywords: pgcatalog.Keywords(c.catalog.Major)})
	if err != nil {
		return nil, c.problem(err)
	}
	e, err := c.expr(node)
	if err == nil && e.doom != nil {
		err = c.doomed(e)
	}
	if err == nil && e.typ == c.catalog.Unknown {
		e, err = c.coerce(e, c.catalog.Type("text"), pgcatalog.Implicit)
	}
	if err != nil {
		return nil, c.problem(err)
	}
	if e.eval == nil && !e.constant {
		return nil, c.problem(refuse(e.pos, "", "type %s", e.typ.Display()))
	}
	p := &Program{text: text, table: table, options: o, node: node, eval: e.evaluator(), slots: c.slots, cells: c.cells}
	return &Expression{Type: e.typ, prog: p, write: pgvalue.WriterOf(e.typ)}, nil
}

// Text is the value's text for a row.
func (e *Expression) Text(c *cdc.Change) (text string, null bool, err error) {
	f := newFrame(len(e.prog.slots), e.prog.cells)
	f.change = c
	e.prog.gather(f, e.prog.Bind(c.Relation))
	v, err := e.prog.eval(f)
	if err != nil || v.Null {
		return "", true, err
	}
	return e.write(v), false, nil
}

// Supported tells the names of operators and functions that are done here, with the numbers of their arguments.
func Supported(major int) (operators, functions []string) {
	catalog := pgcatalog.For(major)
	for _, name := range catalog.OperatorNames() {
		for _, op := range catalog.Operators(name) {
			if _, ok := builtins[op.Source]; ok {
				operators = append(operators, name)
				break
			}
		}
	}
	for _, name := range catalog.ProcNames() {
		for _, p := range catalog.Procs(name) {
			if _, ok := builtins[p.Source]; ok && p.Volatile != 'v' && !p.Set {
				functions = append(functions, name)
				break
			}
		}
	}
	slices.Sort(operators)
	slices.Sort(functions)
	return operators, functions
}

// Signatures are the argument types of the supported functions of a name.
func Signatures(major int, name string) (out [][]string) {
	for _, p := range pgcatalog.For(major).Procs(name) {
		if _, ok := builtins[p.Source]; !ok {
			continue
		}
		var args []string
		for _, a := range p.Args {
			args = append(args, a.Name)
		}
		if last := len(args) - 1; p.Variadic {
			args[last] = strings.TrimPrefix(args[last], "_")
			args = append(args, args[last])
		}
		out = append(out, args)
	}
	return out
}

// OperatorSignatures are the operand types of the supported operators of a name; the first is "" for prefix operators.
func OperatorSignatures(major int, name string) (out [][2]string) {
	for _, op := range pgcatalog.For(major).Operators(name) {
		if _, ok := builtins[op.Source]; !ok {
			continue
		}
		left := ""
		if op.Left != nil {
			left = op.Left.Name
		}
		out = append(out, [2]string{left, op.Right.Name})
	}
	return out
}

// Reference is the generated part of the reference: every operator, function and cast of the newest version that is supported.
func Reference() string {
	catalog := pgcatalog.For(pgcatalog.LastMajor)
	operators, functions := Supported(pgcatalog.LastMajor)
	var b strings.Builder
	b.WriteString("## Operators\n\nBy their operands, in Postgres' names; implicit casts apply.\n\n| Operator | Operands |\n|---|---|\n")
	for _, name := range operators {
		var forms []string
		for _, s := range OperatorSignatures(pgcatalog.LastMajor, name) {
			forms = append(forms, strings.TrimSpace(s[0]+" "+s[1]))
		}
		slices.Sort(forms)
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(name, "|", `\|`), strings.Join(slices.Compact(forms), ", "))
	}
	b.WriteString("\n`AND`, `OR`, `NOT`, `IS [NOT] NULL | TRUE | FALSE | UNKNOWN`, `IS [NOT] DISTINCT FROM`, `[NOT] IN (…)`, `[NOT] BETWEEN [SYMMETRIC]`, `[NOT] LIKE | ILIKE | SIMILAR TO … [ESCAPE …]`, `ANY`, `ALL`, `CASE`, `COALESCE`, `NULLIF`, `GREATEST`, `LEAST`, `ARRAY[…]`, subscripts and slices, `::`, `CAST`, `COLLATE`, `AT TIME ZONE`, `EXTRACT`, `SUBSTRING`, `OVERLAY`, `POSITION` and `TRIM` with their key words.\n")
	b.WriteString("\n## Functions\n\n| Function | Arguments |\n|---|---|\n")
	for _, name := range functions {
		if hidden(catalog, name) {
			continue
		}
		var forms []string
		for _, p := range catalog.Procs(name) {
			if _, ok := builtins[p.Source]; !ok {
				continue
			}
			var args []string
			for i, a := range p.Args {
				text := a.Name
				if p.Variadic && i == len(p.Args)-1 {
					text += ", …"
				}
				args = append(args, text)
			}
			forms = append(forms, "("+strings.Join(args, ", ")+")")
		}
		slices.Sort(forms)
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, strings.Join(slices.Compact(forms), " "))
	}
	return strings.ReplaceAll(b.String(), "(_", "(array of ")
}

// hidden are the functions behind operators and casts, which can be called and which nobody calls.
func hidden(catalog *pgcatalog.Catalog, name string) bool {
	switch name {
	case "abs", "mod", "starts_with", "date", "jsonb_extract_path", "jsonb_extract_path_text":
		return false
	case "dround", "dtrunc", "textlen", "numeric_div_trunc", "numeric_mod", "like_escape":
		return true
	}
	if catalog.Type(name) != nil {
		return true
	}
	for _, p := range catalog.Procs(name) {
		for _, operator := range catalog.OperatorNames() {
			for _, op := range catalog.Operators(operator) {
				if op.Source == p.Source && p.Source != "numeric_mod" {
					return true
				}
			}
		}
	}
	return false
}
