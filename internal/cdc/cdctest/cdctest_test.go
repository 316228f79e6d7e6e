package cdctest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
)

func TestTuple(t *testing.T) {
	t.Parallel()
	row := cdctest.Tuple("a", nil, cdctest.Unchanged, []byte(""), cdctest.Binary{1})

	require.Equal(t, cdc.Tuple("\x00\x05t\x00\x00\x00\x01anut\x00\x00\x00\x00b\x00\x00\x00\x01\x01"), row)
	require.Equal(t, 5, row.Len())

	var kinds []byte
	for w := row.Columns(); ; {
		d, ok := w.Next()
		if !ok {
			break
		}
		kinds = append(kinds, d.Kind)
	}
	require.Equal(t, "tnutb", string(kinds))
}

func TestTupleRefusesOtherTypes(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { cdctest.Tuple(1) })
}
