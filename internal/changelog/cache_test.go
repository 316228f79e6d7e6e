package changelog_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
)

func TestTheCacheStaysWithinItsLimit(t *testing.T) {
	t.Parallel()
	m := &memory{}
	const limit = 300_000
	l, _ := open(t, m, changelog.Options{BlockBytes: 4000, CacheBytes: limit})
	w := l.Writer(0)
	var txns []txn
	for i := 1; i <= 2000; i++ {
		txns = append(txns, insertTxn(table(1, "orders", "id", "a", "b"), cdc.LSN(i*100), 1, 200))
		write(t, w, txns[i-1])
		require.LessOrEqual(t, l.Stats().CacheBytes, uint64(limit))
	}
	settle(t, l, w, 2000)
	for range 2 {
		for seq := uint64(1); seq <= 2000; {
			seg, err := l.Segment(t.Context(), seq)
			require.NoError(t, err)
			require.LessOrEqual(t, l.Stats().CacheBytes, uint64(limit))
			seq = seg.Last + 1
		}
	}
	require.Positive(t, l.Stats().CacheBytes)
}

func TestTheNewestPartIsReadFromMemoryAndSharedWhileOthersLag(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{BlockBytes: 4000, CacheBytes: 200_000})
	w := l.Writer(0)
	orders := table(1, "orders", "id", "a", "b")
	lagging := uint64(1)
	for i := 1; i <= 500; i++ {
		write(t, w, insertTxn(orders, cdc.LSN(i*100), 10, 200))
		settle(t, l, w, uint64(10*i))
		a, err := l.Segment(t.Context(), uint64(10*i))
		require.NoError(t, err)
		b, err := l.Segment(t.Context(), uint64(10*i))
		require.NoError(t, err)
		require.Same(t, a, b, "decoded once")
		misses := l.Stats().CacheMisses
		_, err = l.Segment(t.Context(), uint64(10*i-5))
		require.NoError(t, err)
		require.Equal(t, misses, l.Stats().CacheMisses, "a reader that keeps up never waits for the storage")
		for range 3 { // one that lags races through the past
			seg, err := l.Segment(t.Context(), lagging)
			require.NoError(t, err)
			if lagging = seg.Last + 1; lagging+100 > uint64(10*i) {
				lagging = 1
			}
		}
	}
	require.Positive(t, l.Stats().CacheMisses)
}

func TestRelationsAreSharedBetweenBlocks(t *testing.T) {
	t.Parallel()
	m, _ := tenBlocks(t)
	l, _ := open(t, m, changelog.Options{})
	a, err := l.Segment(t.Context(), 1)
	require.NoError(t, err)
	b, err := l.Segment(t.Context(), 30)
	require.NoError(t, err)
	require.Same(t, a.Changes[0].Relation, b.Changes[2].Relation)
}

func TestReadersAndAWriterAtOnce(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{BlockBytes: 2000, CacheBytes: 50_000})
	r := rand.New(rand.NewPCG(5, 5))
	txns := random(r, 600)
	want := expect(txns)
	last := uint64(len(want))

	var readers sync.WaitGroup
	for range 6 {
		readers.Go(func() {
			var got []seen
			for seq := uint64(1); seq <= last; {
				if err := l.Wait(t.Context(), seq-1); err != nil {
					t.Error(err)
					return
				}
				seg, err := l.Segment(t.Context(), seq)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range seg.Changes {
					if seg.Changes[i].Seq >= seq {
						got = append(got, see(&seg.Changes[i]))
					}
				}
				seq = seg.Last + 1
			}
			if len(got) != len(want) {
				t.Errorf("%d entries, want %d", len(got), len(want))
			}
		})
	}
	w := l.Writer(0)
	for i := range txns {
		write(t, w, txns[i])
		if i%7 == 0 {
			w.Flush()
		}
		l.Stats()
	}
	settle(t, l, w, last)
	readers.Wait()
	requireSame(t, want, content(t, l))

	// Trims under the readers' feet: they go on with what there is.
	for range 4 {
		readers.Go(func() {
			for seq := uint64(1); seq < last; {
				seg, err := l.Segment(t.Context(), seq)
				if err != nil {
					t.Error(err)
					return
				}
				seq = max(seg.Last, seq) + 1
			}
		})
	}
	for seq := uint64(1); seq < last; seq += 50 {
		require.NoError(t, l.TrimFront(t.Context(), seq))
	}
	readers.Wait()
}

func TestACanceledReaderLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	m, want := tenBlocks(t)
	l, _ := open(t, m, changelog.Options{CacheBytes: 1})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			ctx := t.Context()
			if i%2 == 0 {
				ctx = canceled
			}
			for range 50 {
				if seg, err := l.Segment(ctx, 14); i%2 == 1 && (err != nil || seg.First != 13) {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	requireSame(t, want, content(t, l))
}
