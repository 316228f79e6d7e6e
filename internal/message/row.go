package message

import (
	"bytes"

	"github.com/sequinstream/sequin/internal/cdc"
)

// unchangedMarker stands for an unchanged TOAST value with Format.ToastMarker.
const unchangedMarker = `"unchanged_toast"`

// image is the row that the record shows: the old one of a delete, the new one otherwise.
func image(c *cdc.Change) cdc.Tuple {
	if c.Op == cdc.OpDelete {
		return c.Old
	}
	return c.New
}

// pairs walks the row that the record shows next to the old one. A TOAST value that the server did not send again is taken from the old row
// where that has it: all of it with replica identity full, the key columns otherwise.
type pairs struct {
	row, old cdc.Columns
}

func walk(c *cdc.Change) pairs {
	p := pairs{row: image(c).Columns()}
	if c.Op == cdc.OpUpdate && c.OldKind != 0 {
		p.old = c.Old.Columns()
	}
	return p
}

// next returns the value of the next column and the old value. hasOld is false when the old row does not tell the column's old value.
func (p *pairs) next(oldKind byte) (d, old cdc.Datum, hasOld, ok bool) {
	d, ok = p.row.Next()
	if !ok {
		return d, old, false, false
	}
	old, hasOld = p.old.Next()
	// In a row of key columns the others are null, and key columns never are.
	hasOld = hasOld && !old.Unchanged() && (oldKind == 'O' || !old.Null())
	return d, old, hasOld, true
}

// appendRecord appends the record. unknown is true when the value of some column is not known.
func appendRecord(dst []byte, c *cdc.Change, f Format) (out []byte, unknown bool, err error) {
	if c.Op == cdc.OpTruncate {
		return append(dst, "{}"...), false, nil
	}
	row := image(c)
	if err := checkShape(c, row); err != nil {
		return dst, false, err
	}
	columns := c.Relation.Columns
	dst = append(dst, '{')
	n := 0
	for p := walk(c); ; n++ {
		d, old, hasOld, ok := p.next(c.OldKind)
		if !ok {
			break
		}
		if d.Unchanged() && hasOld {
			d = old
		}
		if d.Unchanged() {
			unknown = true
			if !f.ToastMarker {
				continue
			}
		}
		dst = appendMember(dst, &columns[n], d, f)
	}
	if n != row.Len() {
		return dst, false, damaged(c, "the row ends after %d of %d columns", n, row.Len())
	}
	return append(dst, '}'), unknown, nil
}

// checkShape makes sure that every column of the rows has a description. A row may be shorter than its table: the columns that it lacks are
// left out.
func checkShape(c *cdc.Change, row cdc.Tuple) error {
	if len(row) < 2 {
		return damaged(c, "the row is missing")
	}
	if n := max(row.Len(), c.Old.Len()); n > len(c.Relation.Columns) {
		return damaged(c, "the row has %d columns, its table %d", n, len(c.Relation.Columns))
	}
	return nil
}

// appendMember appends a column's name and value, after a comma unless it is the first.
func appendMember(dst []byte, column *cdc.Column, d cdc.Datum, f Format) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = appendName(dst, column.Name)
	dst = append(dst, ':')
	return appendDatum(dst, &column.Type, d, f)
}

func appendDatum(dst []byte, t *cdc.Type, d cdc.Datum, f Format) []byte {
	switch d.Kind {
	case 'n':
		return append(dst, "null"...)
	case 'u':
		return append(dst, unchangedMarker...)
	case 'b':
		return appendHex(dst, d.Text)
	}
	return AppendValue(dst, t, d.Text, f)
}

// appendChanges appends the old values of the columns that an update changed, as far as the old row tells them: {} without one, the old key
// columns when only the key was sent. Values are compared as text, so 1.0 and 1.00 differ, and so do two json texts that mean the same.
func appendChanges(dst []byte, c *cdc.Change, f Format) []byte {
	if c.Op != cdc.OpUpdate {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	i := 0
	for p := walk(c); ; i++ {
		d, old, hasOld, ok := p.next(c.OldKind)
		if !ok {
			break
		}
		if hasOld && !d.Unchanged() && !same(d, old) {
			dst = appendMember(dst, &c.Relation.Columns[i], old, f)
		}
	}
	return append(dst, '}')
}

func same(a, b cdc.Datum) bool {
	return a.Kind == b.Kind && bytes.Equal(a.Text, b.Text)
}

// appendUnchangedColumns appends the metadata key that names the columns whose value is not known.
func appendUnchangedColumns(dst []byte, c *cdc.Change) []byte {
	dst = append(dst, `,"unchanged_columns":[`...)
	i, first := 0, true
	for p := walk(c); ; i++ {
		d, _, hasOld, ok := p.next(c.OldKind)
		if !ok {
			break
		}
		if !d.Unchanged() || hasOld {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendName(dst, c.Relation.Columns[i].Name)
	}
	return append(dst, ']')
}
