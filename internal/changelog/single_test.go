package changelog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
)

// A change that is kept outside the log reads back the same; cut short anywhere it is an error.
func TestSingleChangeReadsBack(t *testing.T) {
	t.Parallel()
	rel := &cdc.Relation{
		OID: 7, SourceID: 8, Schema: "public", Name: "orders", Identity: 'd', PartitionSchema: "public", PartitionName: "orders_1",
		Columns: []cdc.Column{{Name: "id", AttNum: 1, TypeOID: 23, TypeMod: -1, Type: cdc.Type{Name: "int4"}}}, PrimaryKey: []int{0}, IdentityKey: []int{0},
	}
	for _, want := range []*cdc.Change{
		{Seq: 1 << 40, Position: cdc.Position{LSN: 1 << 50, Index: 3, Epoch: 2}, Op: cdc.OpInsert, XID: 9, CommitTime: -5, Relation: rel, New: cdc.Tuple("x"), Size: 1},
		{Seq: 2, Op: cdc.OpUpdate, OldKind: 'K', Relation: rel, Old: cdc.Tuple("o"), New: cdc.Tuple(""), Annotations: []byte(`{"a":1}`), Size: 2},
		{Seq: 3, Op: cdc.OpTruncate, Relation: rel, TruncateN: 4},
		{Seq: 4, Op: cdc.OpMessage, Prefix: "sequin:x", Content: []byte("{}"), Size: 10},
		{Seq: 5, Op: cdc.OpDelete, TooBig: true, Relation: rel, Size: 1 << 30},
	} {
		b := changelog.AppendChange(nil, want)
		var got cdc.Change
		require.NoError(t, changelog.DecodeChange(b, &got))
		require.Equal(t, want, &got)
		for n := range b {
			require.Error(t, changelog.DecodeChange(b[:n], &cdc.Change{}), "%d of %d bytes", n, len(b))
		}
	}
}

// FuzzDecodeChange: damaged bytes are an error, never a panic, and what decodes reads back the same.
func FuzzDecodeChange(f *testing.F) {
	f.Add(changelog.AppendChange(nil, &cdc.Change{Seq: 4, Op: cdc.OpMessage, Prefix: "p", Content: []byte("c"), Size: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again cdc.Change
		if changelog.DecodeChange(b, &c) != nil {
			return
		}
		require.NoError(t, changelog.DecodeChange(changelog.AppendChange(nil, &c), &again))
		require.Equal(t, c.Seq, again.Seq)
	})
}
