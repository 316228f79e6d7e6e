package where

import (
	"errors"
	"fmt"
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
}

func newFrame(slots int) *frame {
	return &frame{data: make([]cdc.Datum, slots), have: make([]bool, slots), values: make([]value, slots)}
}

// binding says where the columns of a program are in the rows of a relation.
type binding struct {
	relation *cdc.Relation
	columns  []int    // by slot
	other    *Program // the condition compiled anew, for a relation whose types differ
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
		b = p.bind(c.Relation)
		p.bound.Store(b)
	}
	if b.err != nil {
		return Unknown, b.err
	}
	if b.other != nil {
		return b.other.Eval(c)
	}
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

func (p *Program) release(f *frame) {
	f.change = nil
	clear(f.data)
	clear(f.have)
	clear(f.values)
	p.pool.Put(f)
}

// bind finds the program's columns in a relation. A relation with other types than the table had, before or after an ALTER TABLE, gets a program
// of its own.
func (p *Program) bind(r *cdc.Relation) *binding {
	b := &binding{relation: r, columns: make([]int, len(p.slots))}
	if r == nil {
		b.err = problem.New(CodeEvaluation, "the change has no description of its table")
		return b
	}
	for i, s := range p.slots {
		column := &p.table.Columns[s.column]
		at := r.ColumnIndex(column.Name)
		if at < 0 {
			b.err = problem.New(CodeEvaluation, "the condition needs column %q, which this change does not have", column.Name).
				WithHint("the table was different when the change was made, or the publication leaves the column out; redrive the message after changing the condition")
			return b
		}
		b.columns[i] = at
		if r.Columns[at].TypeOID == column.TypeOID {
			continue
		}
		table := *p.table
		table.Columns = append([]Column(nil), table.Columns...)
		for j := range table.Columns {
			if k := r.ColumnIndex(table.Columns[j].Name); k >= 0 {
				table.Columns[j].TypeOID = r.Columns[k].TypeOID
			}
		}
		other, _, err := compile(p.text, &table, p.options)
		if err != nil {
			b.err = problem.New(CodeEvaluation, "the condition does not fit the table as it was when the change was made").
				WithDetail("%s", err.Error()).Because(err)
			return b
		}
		b.other = other
		return b
	}
	return b
}

// gather finds the values of the slots in the rows, in one walk over each.
func (p *Program) gather(f *frame, b *binding) {
	c := f.change
	for i, s := range p.slots {
		old := s.old || s.bare && c.Op == cdc.OpDelete
		at := b.columns[i]
		if old {
			f.data[i] = oldDatum(c, at)
			continue
		}
		d, ok := c.New.Column(at)
		if !ok {
			d = cdc.Datum{Kind: 'n'}
		}
		if d.Unchanged() {
			if o := oldDatum(c, at); !o.Null() && !o.Unchanged() || c.OldKind == 'O' {
				d = o
			}
		}
		f.data[i] = d
	}
}

// oldDatum is a column of the old row, null if that is not known.
func oldDatum(c *cdc.Change, at int) cdc.Datum {
	if c.OldKind == 0 {
		return cdc.Datum{Kind: 'n'}
	}
	d, ok := c.Old.Column(at)
	if !ok {
		return cdc.Datum{Kind: 'n'}
	}
	return d
}

// unknownValue is the error of a value that the server did not send.
type unknownValue struct{ column string }

func (e *unknownValue) Error() string {
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
	unchanged := &unknownValue{name}
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
	unchanged := &unknownValue{name}
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
	var u *unknownValue
	return errors.As(err, &u)
}

func (p *Program) runtimeError(err error) error {
	var u *unknownValue
	if errors.As(err, &u) {
		return problem.New(CodeUnknownValue, "the condition needs column %q, whose value the update left alone and the server did not send", u.column).
			WithDetail("%s", p.text).
			WithHint("ALTER TABLE %s REPLICA IDENTITY FULL; or leave the column out of the condition", quoteName(p.table.Schema)+"."+quoteName(p.table.Name)).
			Because(err)
	}
	if errors.Is(err, pgvalue.ErrUnsupported) {
		return problem.New(CodeEvaluation, "the condition meets a value that it cannot judge as Postgres would: %s", err.Error()).WithDetail("%s", p.text).Because(err)
	}
	return problem.New(CodeEvaluation, "the condition fails: %s", err.Error()).WithDetail("%s", p.text).Because(err)
}
