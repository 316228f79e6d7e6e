package changelog_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
)

// hourly writes n blocks of three entries, one an hour, the first at the start of the bubble.
func hourly(t *testing.T, l *changelog.Log, n int) (began time.Time) {
	t.Helper()
	began = time.Now()
	w := l.Writer(0)
	for i := 1; i <= n; i++ {
		write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), cdc.LSN(i*100), 3, 400))
		w.Flush()
		require.NoError(t, l.Wait(t.Context(), uint64(3*i-1)))
		time.Sleep(time.Hour)
	}
	return began
}

func TestRetention(t *testing.T) {
	t.Parallel()
	const forever = 1 << 60
	tests := []struct {
		name  string
		age   time.Duration
		since uint64 // size is that of the log from this number on
		keep  uint64
		first uint64 // number that is first afterwards
	}{
		{"no limits", 0, 0, forever, 1},
		{"younger than the age", 100*time.Hour + time.Minute, 0, forever, 1},
		{"by age", 10*time.Hour + time.Minute, 0, forever, 271},
		{"by size", 0, 226, forever, 226},
		{"by size, with room to spare", 0, 1, forever, 1},
		{"whichever comes first", 10*time.Hour + time.Minute, 226, forever, 271},
		{"not what is kept", time.Hour, 298, 50, 49},
		{"not the block that is kept", time.Hour, 298, 51, 49},
		{"not what begins with the kept one", time.Hour, 298, 52, 52},
		{"nothing when all is kept", time.Hour, 298, 1, 1},
		{"never the newest", time.Nanosecond, 0, forever, 298},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &memory{}
				l, err := changelog.Open(t.Context(), changelog.Options{Name: "test", Blocks: m, CacheBytes: 1})
				require.NoError(t, err)
				stop := start(t, l)
				began := hourly(t, l, 100)
				info, err := l.InfoAt(t.Context(), 50)
				require.NoError(t, err)
				require.Equal(t, uint64(49), info.First)
				require.Equal(t, uint64(51), info.Last)
				require.Equal(t, began.Add(16*time.Hour).UnixMicro(), info.Appended.UnixMicro())
				require.Equal(t, cdc.Position{LSN: 1700, Index: 2}, info.LastPosition)
				require.Equal(t, cdc.LSN(1710), info.End)
				total := l.Stats().Size
				bytesFrom := func(seq uint64) uint64 {
					info, err := l.InfoAt(t.Context(), seq)
					require.NoError(t, err)
					return total - info.Offset
				}
				size := uint64(0)
				if tt.since > 0 {
					size = bytesFrom(tt.since)
				}
				left := bytesFrom(tt.first)

				before := m.reads
				trimmed, err := l.Retain(t.Context(), time.Now(), tt.age, size, tt.keep)
				require.NoError(t, err)
				require.Less(t, m.reads-before, 40, "cost does not depend on the size of the log")
				require.Equal(t, tt.first, l.FirstSeq())
				require.Equal(t, tt.first, m.first(0))
				require.Equal(t, total-left, trimmed)
				require.Equal(t, left, l.Stats().Size)
				oldest, err := l.Oldest(t.Context())
				require.NoError(t, err)
				require.Equal(t, tt.first, oldest.First)

				before = m.reads
				trimmed, err = l.Retain(t.Context(), time.Now(), 200*time.Hour, 0, tt.keep)
				require.NoError(t, err)
				require.Zero(t, trimmed)
				require.Equal(t, before, m.reads, "nothing due costs nothing")

				seg, err := l.Segment(t.Context(), 1)
				require.NoError(t, err)
				require.Equal(t, tt.first, seg.First, "what is gone reads as the first that is there")
				stop()
				again, err := changelog.Open(t.Context(), changelog.Options{Name: "test", Blocks: m})
				require.NoError(t, err)
				require.Equal(t, tt.first, again.FirstSeq())
				require.Equal(t, left, again.Stats().Size)
				require.Equal(t, l.End(), again.End())
			})
		})
	}
}

func TestRetentionOfAnEmptyLog(t *testing.T) {
	t.Parallel()
	l, _ := open(t, &memory{}, changelog.Options{})
	trimmed, err := l.Retain(t.Context(), time.Now(), time.Nanosecond, 1, 100)
	require.NoError(t, err)
	require.Zero(t, trimmed)
	_, err = l.Oldest(t.Context())
	require.ErrorIs(t, err, changelog.ErrEnd)
	require.NoError(t, l.TrimFront(t.Context(), 100))
	require.Equal(t, uint64(1), l.FirstSeq())
}

func TestTrimFrontTakesWholeBlocks(t *testing.T) {
	t.Parallel()
	m, want := tenBlocks(t)
	l, stop := open(t, m, changelog.Options{})
	require.NoError(t, l.TrimFront(t.Context(), 9))
	require.Equal(t, uint64(7), l.FirstSeq())
	requireSame(t, want[6:], content(t, l))
	require.NoError(t, l.TrimFront(t.Context(), 3))
	require.Equal(t, uint64(7), l.FirstSeq())
	require.NoError(t, l.TrimFront(t.Context(), 1000))
	require.Equal(t, uint64(28), l.FirstSeq(), "the newest block stays")
	stop()
	l, _ = open(t, m, changelog.Options{})
	w := l.Writer(0)
	write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 5000, 1, 1))
	settle(t, l, w, 31)
	require.Equal(t, uint64(31), l.End().Seq, "numbers go on")
}

func TestRetentionPassesDamage(t *testing.T) {
	t.Parallel()
	for _, i := range []int{0, 1, 4} {
		m, _ := tenBlocks(t)
		m.damage(i, 30)
		l, _ := open(t, m, changelog.Options{})
		later := time.Now().Add(100 * time.Hour)
		_, err := l.Retain(t.Context(), later, time.Hour, 0, 1)
		require.NoError(t, err)
		require.Equal(t, uint64(1), l.FirstSeq(), "kept is kept, damaged or not")
		for range 3 {
			_, err = l.Retain(t.Context(), later, time.Hour, 0, 1000)
			require.NoError(t, err)
		}
		require.Equal(t, uint64(28), l.FirstSeq(), "block %d", i)
	}
}
