package changelog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
)

// viewed reads everything over a view.
func viewed(t *testing.T, v *changelog.View, from uint64) (got []seen, gaps [][2]uint64) {
	t.Helper()
	require.NoError(t, v.Each(t.Context(), from, func(s *changelog.Segment, gap *changelog.GapError) bool {
		if gap != nil {
			gaps = append(gaps, [2]uint64{gap.From, gap.To})
			return true
		}
		for i := range s.Changes {
			if s.Changes[i].Seq >= from {
				got = append(got, see(&s.Changes[i]))
			}
		}
		return true
	}))
	return got, gaps
}

func view(t *testing.T, m *memory) *changelog.View {
	t.Helper()
	v, err := changelog.OpenView(t.Context(), "test", m)
	require.NoError(t, err)
	return v
}

func TestAViewSeesWhatReadersSee(t *testing.T) {
	t.Parallel()
	m, want := tenBlocks(t)
	v := view(t, m)
	require.Equal(t, uint64(1), v.FirstSeq())
	require.Equal(t, uint64(30), v.End().Seq)
	got, gaps := viewed(t, v, 1)
	requireSame(t, want, got)
	require.Empty(t, gaps)
	at, err := v.SeqAtLSN(t.Context(), 401)
	require.NoError(t, err)
	require.Equal(t, uint64(13), at)
	at, err = v.SeqAtLSN(t.Context(), 100_000)
	require.NoError(t, err)
	require.Equal(t, uint64(31), at)
	at, err = v.SeqOfLast(t.Context(), v.Size())
	require.NoError(t, err)
	require.Equal(t, uint64(1), at)
	at, err = v.SeqOfLast(t.Context(), v.Size()/2)
	require.NoError(t, err)
	require.Equal(t, uint64(16), at)
	at, err = v.SeqAtTime(t.Context(), cdc.Timestamp(time.Now().Add(1000*time.Hour).UnixMicro()))
	require.NoError(t, err)
	require.Equal(t, uint64(31), at)
}

// A transaction whose commit is not there is not seen, and stays where it is: looking changes nothing.
func TestAViewChangesNothing(t *testing.T) {
	t.Parallel()
	m, want := tenBlocks(t)
	l, stop := open(t, m, changelog.Options{BlockBytes: 1 << 10})
	w := l.Writer(0)
	big := insertTxn(table(1, "orders", "id", "a", "b"), 5000, 20, 400)
	write(t, w, txn{steps: big.steps, xid: big.xid, final: big.final, commit: big.commit})
	settle(t, l, w, 50)
	stop()
	require.NoError(t, m.TrimBack(t.Context(), 40)) // as a crash leaves it
	blocks := m.len()
	v := view(t, m)
	require.Equal(t, uint64(30), v.End().Seq)
	got, gaps := viewed(t, v, 1)
	requireSame(t, want, got)
	require.Empty(t, gaps)
	require.Nil(t, v.Tail())
	require.Equal(t, blocks, m.len())
}

func TestAViewTellsDamage(t *testing.T) {
	t.Parallel()
	m, want := tenBlocks(t)
	m.blocks[3].Data[150] ^= 1 // 10 to 12
	m.blocks[9].Data[150] ^= 1 // 28 to 30, the newest
	blocks := m.len()
	v := view(t, m)
	got, gaps := viewed(t, v, 1)
	require.Equal(t, [][2]uint64{{10, 12}}, gaps)
	requireSame(t, without(want, [][2]uint64{{10, 12}, {28, 30}}), got)
	require.Equal(t, uint64(28), v.Tail().From)
	require.Equal(t, uint64(30), v.Tail().To)
	require.Equal(t, blocks, m.len())
	v = view(t, m)
	require.NoError(t, m.TrimFront(t.Context(), 7))
	got, gaps = viewed(t, v, 1)
	require.Equal(t, [][2]uint64{{10, 12}}, gaps, "what was trimmed meanwhile is no gap")
	require.Equal(t, len(want)-6-6, len(got)) //nolint:testifylint // the rows are long
}

func TestAViewOfNothing(t *testing.T) {
	t.Parallel()
	v := view(t, &memory{})
	require.Zero(t, v.End().Seq)
	got, gaps := viewed(t, v, 1)
	require.Empty(t, got)
	require.Empty(t, gaps)
	at, err := v.SeqAtTime(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, uint64(1), at)
}
