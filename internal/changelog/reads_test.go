package changelog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
)

func readRows(n int) []cdc.Change {
	relation := &cdc.Relation{
		OID: 7, SourceID: 7, Schema: "public", Name: "orders", Identity: 'd', PrimaryKey: []int{0}, IdentityKey: []int{0},
		Columns: []cdc.Column{{Name: "id", AttNum: 1, TypeOID: 23, TypeMod: -1, Type: cdc.Type{Kind: cdc.KindInt, Name: "int4"}}},
	}
	rows := make([]cdc.Change, n)
	for i := range rows {
		rows[i] = cdc.Change{
			Seq: 100 + uint64(i), Position: cdc.Position{LSN: 0x1234, Index: 40 + uint32(i), Epoch: 2}, Op: cdc.OpRead, CommitTime: 1234567,
			Relation: relation, New: cdc.Tuple("\x00\x01t\x00\x00\x00\x011"), Prefix: "b1", Size: 8,
		}
	}
	return rows
}

// Rows of a backfill come back as they were kept.
func TestReadsRoundTrip(t *testing.T) {
	t.Parallel()
	rows := readRows(3)
	rows[1].TooBig, rows[1].New, rows[1].Size = true, nil, 1<<30
	b, err := changelog.AppendReads([]byte("before"), rows)
	require.NoError(t, err)
	got, err := changelog.DecodeReads(b[len("before"):], 100)
	require.NoError(t, err)
	require.Len(t, got, len(rows))
	for i := range rows {
		require.Equal(t, rows[i].Seq, got[i].Seq)
		require.Equal(t, rows[i].Position, got[i].Position)
		require.Equal(t, rows[i].Relation, got[i].Relation)
		require.Equal(t, rows[i].New, got[i].New)
		require.Equal(t, rows[i].TooBig, got[i].TooBig)
		require.Equal(t, rows[i].Size, got[i].Size)
		require.Equal(t, rows[i].CommitTime, got[i].CommitTime)
		require.Equal(t, rows[i].Prefix, got[i].Prefix)
		require.Equal(t, cdc.OpRead, got[i].Op)
	}
	_, err = changelog.AppendReads(nil, nil)
	require.Error(t, err)
}

// What was damaged is said to be, and never read as something else.
func TestDamagedReadsAreRefused(t *testing.T) {
	t.Parallel()
	b, err := changelog.AppendReads(nil, readRows(2))
	require.NoError(t, err)
	for n := range b {
		_, err := changelog.DecodeReads(b[:n], 1)
		require.ErrorIs(t, err, engine.ErrCorrupt, "%d bytes of %d", n, len(b))
	}
	b[0]++
	_, err = changelog.DecodeReads(b, 1)
	require.ErrorIs(t, err, engine.ErrCorrupt)
}

func FuzzDecodeReads(f *testing.F) {
	b, err := changelog.AppendReads(nil, readRows(2))
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := changelog.DecodeReads(b, 1)
		if err != nil {
			require.ErrorIs(t, err, engine.ErrCorrupt)
			return
		}
		for i := range rows {
			_ = rows[i].AppendKey(nil)
		}
	})
}
