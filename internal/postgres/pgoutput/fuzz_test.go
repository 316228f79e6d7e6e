package pgoutput_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

// FuzzParse feeds any bytes to the parser that their first byte selects: it must not panic, and what it accepts must hold together.
func FuzzParse(f *testing.F) {
	for _, b := range samples {
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(slices.Clip(b))
		if err != nil {
			return
		}
		switch m := m.(type) {
		case pgoutput.Insert:
			requireWalkable(t, m.New)
		case pgoutput.Update:
			requireWalkable(t, m.New)
			require.Equal(t, m.OldKind == 0, m.Old == nil)
			requireWalkable(t, m.Old)
		case pgoutput.Delete:
			requireWalkable(t, m.Old)
		case pgoutput.Relation:
			require.LessOrEqual(t, len(m.Columns)*10, len(b))
		case pgoutput.Truncate:
			require.Equal(t, len(b), 6+4*m.Len())
		case pgoutput.Message:
			require.LessOrEqual(t, len(m.Prefix)+len(m.Content), len(b))
		}
	})
}

// requireWalkable checks that the row yields as many columns as it says, and that they are all of it.
func requireWalkable(t *testing.T, row cdc.Tuple) {
	t.Helper()
	if row == nil {
		return
	}
	columns, size := 0, 2
	for w := row.Columns(); ; columns++ {
		d, ok := w.Next()
		if !ok {
			break
		}
		size++
		if d.Kind == 't' || d.Kind == 'b' {
			size += 4 + len(d.Text)
		}
	}
	require.Equal(t, row.Len(), columns)
	require.Len(t, row, size)
}
