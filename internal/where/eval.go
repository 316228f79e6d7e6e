package where

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

type (
	value    = pgvalue.Value
	evalFunc func(f *frame) (value, error)
)

// frame is what one evaluation works on.
type frame struct {
	change *cdc.Change
	data   []cdc.Datum
	have   []bool // decoded
	values []value
	cells  []cell // of shared expressions
}

// cell keeps the value of an expression that is used in several places.
type cell struct {
	done bool
	val  value
	err  error
}

func newFrame(slots, cells int) *frame {
	return &frame{data: make([]cdc.Datum, slots), have: make([]bool, slots), values: make([]value, slots), cells: make([]cell, cells)}
}

// Bound is a program that knows where its columns are in the rows of one relation. It is immutable and safe for concurrent use.
type Bound struct {
	program  *Program
	relation *cdc.Relation
	columns  []int // by slot
	order    []int // the slots by where they are in the row
	err      error
}

// Eval evaluates the condition for a change. A TRUNCATE has no row that could be tested; it is always wanted. The error is a *problem.Error of this
// change's message, now and at every further attempt.
func (p *Program) Eval(c *cdc.Change) (Truth, error) {
	if c.Op == cdc.OpTruncate {
		return True, nil
	}
	b := p.bound.Load()
	if b == nil || b.relation != c.Relation {
		b = p.Bind(c.Relation)
		p.bound.Store(b)
	}
	return b.Eval(c)
}

// Eval is Program.Eval for a change of the relation.
func (b *Bound) Eval(c *cdc.Change) (Truth, error) {
	if c.Op == cdc.OpTruncate {
		return True, nil
	}
	if b.err != nil {
		return Unknown, b.err
	}
	p := b.program
	f := p.pool.Get().(*frame) //nolint:forcetypeassert // New makes nothing else
	defer p.release(f)
	f.change = c
	p.gather(f, b)
	v, err := p.eval(f)
	switch {
	case err != nil:
		return Unknown, p.runtimeError(err)
	case v.Null:
		return Unknown, nil
	case v.I != 0:
		return True, nil
	}
	return False, nil
}

// Matches reports whether a change of the relation is wanted: whether its condition is true.
func (b *Bound) Matches(c *cdc.Change) (bool, error) {
	t, err := b.Eval(c)
	return t == True, err
}

func (p *Program) release(f *frame) {
	f.change = nil
	clear(f.data)
	clear(f.have)
	clear(f.values)
	clear(f.cells)
	p.pool.Put(f)
}

// Bind finds the program's columns in a relation. A relation with other types than the table had, before or after an ALTER TABLE, gets a program
// of its own. One that lacks a column, or has it with a type that the condition cannot be used with, makes each evaluation an error.
func (p *Program) Bind(r *cdc.Relation) *Bound {
	if r == nil {
		return &Bound{err: problem.New(CodeEvaluation, "the change has no description of its table")}
	}
	b := &Bound{program: p, relation: r, columns: make([]int, len(p.slots))}
	for i, s := range p.slots {
		column := &p.table.Columns[s.column]
		at := r.ColumnIndex(column.Name)
		if at < 0 {
			b.err = problem.New(CodeEvaluation, "the condition needs column %q, which this change does not have", column.Name).
				WithHint("the table was different when the change was made, or the publication leaves the column out; redrive the message after changing the condition")
			return b
		}
		b.columns[i] = at
		if r.Columns[at].TypeOID != column.TypeOID {
			return p.bindRetyped(r)
		}
	}
	for i := range p.slots {
		b.order = append(b.order, i)
	}
	slices.SortFunc(b.order, func(i, j int) int { return b.columns[i] - b.columns[j] })
	return b
}

// maxVersions bounds the programs that are kept for other versions of the table.
const maxVersions = 16

// bindRetyped binds the condition, compiled for the types of r.
func (p *Program) bindRetyped(r *cdc.Relation) *Bound {
	table := *p.table
	table.Columns = append([]Column(nil), table.Columns...)
	var types []byte
	for i := range table.Columns {
		if k := r.ColumnIndex(table.Columns[i].Name); k >= 0 {
			table.Columns[i].TypeOID = r.Columns[k].TypeOID
		}
		types = binary.BigEndian.AppendUint32(types, table.Columns[i].TypeOID)
	}
	p.versionsMu.Lock()
	defer p.versionsMu.Unlock()
	other, known := p.versions[string(types)]
	if !known {
		var err error
		if other.program, _, err = compile(p.text, &table, p.options); err != nil {
			other.err = problem.New(CodeEvaluation, "the condition does not fit the table as it was when the change was made").
				WithDetail("%s", err.Error()).Because(err)
		}
		if p.versions == nil || len(p.versions) >= maxVersions {
			p.versions = map[string]version{}
		}
		p.versions[string(types)] = other
	}
	if other.err != nil {
		return &Bound{err: other.err}
	}
	return other.program.Bind(r)
}

// version is the condition compiled for other types of the table's columns.
type version struct {
	program *Program
	err     error
}

// gather finds the values of the slots in the rows, in one walk over each.
func (p *Program) gather(f *frame, b *Bound) {
	c := f.change
	deleted := c.Op == cdc.OpDelete
	old := 0
	row := reader{rest: c.New.Columns(), at: -1}
	for _, i := range b.order {
		if s := &p.slots[i]; s.old || s.bare && deleted {
			f.data[i].Kind = 0
			old++
			continue
		}
		f.data[i] = row.column(b.columns[i])
		if f.data[i].Unchanged() {
			old++
		}
	}
	if old > 0 {
		p.gatherOld(f, b)
	}
}

// gatherOld fills what the old row tells: the slots that read it, and unchanged TOAST values. What is not known of it is null.
func (p *Program) gatherOld(f *frame, b *Bound) {
	c := f.change
	row := reader{at: -1}
	if c.OldKind != 0 {
		row.rest = c.Old.Columns()
	}
	for _, i := range b.order {
		switch d := &f.data[i]; {
		case d.Kind == 0:
			*d = row.column(b.columns[i])
		case d.Unchanged():
			// In a row of key columns the others are null, and key columns never are.
			if o := row.column(b.columns[i]); !o.Unchanged() && (!o.Null() || c.OldKind == 'O') {
				*d = o
			}
		}
	}
}

// reader walks a row from left to right; columns that it lacks are null.
type reader struct {
	rest cdc.Columns
	at   int
	last cdc.Datum
}

func (r *reader) column(n int) cdc.Datum {
	for r.at < n {
		d, ok := r.rest.Next()
		if !ok {
			d = cdc.Datum{Kind: 'n'}
		}
		r.last = d
		r.at++
	}
	return r.last
}

// unknownValueError is the error of a value that the server did not send.
type unknownValueError struct{ column string }

func (e *unknownValueError) Error() string {
	return fmt.Sprintf("the value of column %q is not known", e.column)
}

// view is a string that shares the bytes of a buffer. Rows are never written to while they are evaluated, and no value outlives its evaluation.
func view(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// column makes the evaluator of a slot.
func columnEval(slot int, name string, read pgvalue.Reader) evalFunc {
	unchanged := &unknownValueError{name}
	return func(f *frame) (value, error) {
		if f.have[slot] {
			return f.values[slot], nil
		}
		d := f.data[slot]
		switch d.Kind {
		case 'n':
			return pgvalue.Null, nil
		case 'u':
			return pgvalue.Null, unchanged
		case 'b':
			return pgvalue.Null, fmt.Errorf("column %q came in binary: %w", name, pgvalue.ErrUnsupported)
		}
		v, err := read(view(d.Text))
		if err != nil {
			return pgvalue.Null, fmt.Errorf("column %q: %w", name, err)
		}
		f.values[slot], f.have[slot] = v, true
		return v, nil
	}
}

// columnIsNull tests a column without decoding it.
func columnIsNull(slot int, name string, want bool) evalFunc {
	unchanged := &unknownValueError{name}
	return func(f *frame) (value, error) {
		switch f.data[slot].Kind {
		case 'u':
			return pgvalue.Null, unchanged
		case 'n':
			return pgvalue.Bool(want), nil
		}
		return pgvalue.Bool(!want), nil
	}
}

// isUnknown reports whether an error stands for a value that is not known, so that it decides nothing yet.
func isUnknown(err error) bool {
	_, ok := errors.AsType[*unknownValueError](err)
	return ok
}

func (p *Program) runtimeError(err error) error {
	if u, ok := errors.AsType[*unknownValueError](err); ok {
		return problem.New(CodeUnknownValue, "the condition needs column %q, whose value the update left alone and the server did not send", u.column).
			WithDetail("%s", p.text).
			WithHint("ALTER TABLE %s REPLICA IDENTITY FULL; or leave the column out of the condition", quoteName(p.table.Schema)+"."+quoteName(p.table.Name)).
			Because(err)
	}
	message, value := problem.CutValue(err.Error())
	if errors.Is(err, pgvalue.ErrUnsupported) {
		return problem.New(CodeEvaluation, "the condition meets a value that it cannot judge as Postgres would: %s", message).WithDetail("%s", p.text).WithPrivate(value).Because(err)
	}
	return problem.New(CodeEvaluation, "the condition fails: %s", message).WithDetail("%s", p.text).WithPrivate(value).Because(err)
}
