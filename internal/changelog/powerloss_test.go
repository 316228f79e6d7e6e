package changelog_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
)

// on opens a log on a disk and runs it. stop ends both the log and the engine. A store that is found damaged is nil.
func on(t *testing.T, disk *powerloss.Disk, o changelog.Options, skipSync bool) (l *changelog.Log, stop func()) {
	t.Helper()
	e, err := disk.Open(t.Context(), powerloss.Options{
		Options: embedded.Options{AllowEphemeral: true, ReserveBytes: -1}, SkipSync: skipSync,
	})
	if skipSync && errors.Is(err, engine.ErrCorrupt) {
		return nil, nil
	}
	require.NoError(t, err)
	o.Blocks, err = e.Log(t.Context(), "db")
	require.NoError(t, err)
	o.Name = "db"
	l, err = changelog.Open(t.Context(), o)
	require.NoError(t, err)
	stopRun := start(t, l)
	return l, func() {
		stopRun()
		require.NoError(t, e.Close())
	}
}

// powerCuts feeds a history through a log whose disk loses its power again and again, and returns what a cut has cost: transactions that
// were durable or visible before it and are not there afterwards, or the store as a whole.
func powerCuts(t *testing.T, seed uint64, skipSync bool) (cost []string) {
	t.Helper()
	r := rand.New(rand.NewPCG(11, seed))
	s := &server{txns: random(r, 60), r: r}
	want := expect(s.txns)
	disk := powerloss.New()
	o := changelog.Options{BlockBytes: 500 + r.IntN(5000)}
	l, stop := on(t, disk, o, skipSync)
	w := l.Writer(0)
	for cuts := range 6 {
		if s.session(t, w, l.Durable(), r.IntN(400)) {
			break
		}
		w.Flush()
		if r.IntN(2) == 0 {
			// Give the sync a chance: with everything synced, a cut must take none of it.
			require.Eventually(t, func() bool { return l.Stats().QueuedBytes == 0 }, waitFor, tick)
		}
		safe, visible := l.Durable(), l.End().Seq // known before the cut
		left := disk.Cut(seed*100 + uint64(cuts))
		stop()
		disk = left
		if l, stop = on(t, disk, o, skipSync); l == nil {
			return append(cost, "the store")
		}
		end := l.Recovered().End.Seq
		if end < seqUpTo(s.txns, safe) {
			cost = append(cost, "durable")
		}
		if end < visible {
			cost = append(cost, "visible")
		}
		require.Nil(t, l.Recovered().Lost)
		requireSame(t, append([]seen{}, want[:end]...), append([]seen{}, content(t, l)...))
		w = l.Writer(0)
		if len(cost) > 0 {
			break // what was confirmed is not sent again
		}
	}
	if len(cost) == 0 {
		require.True(t, s.session(t, w, l.Durable(), 1<<30))
		settle(t, l, w, uint64(len(want)))
		requireSame(t, want, content(t, l))
	}
	stop()
	return cost
}

func TestPowerLossCostsNothingThatWasDurableOrVisible(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		require.Empty(t, powerCuts(t, seed, false), "seed %d", seed)
	}
}

// The same test must notice an engine that does not sync.
func TestPowerLossTestNoticesAMissingSync(t *testing.T) {
	t.Parallel()
	var cost []string
	for seed := range uint64(20) {
		cost = append(cost, powerCuts(t, seed, true)...)
	}
	require.NotEmpty(t, cost)
}

func TestHugeTransactionOnTheEmbeddedEngine(t *testing.T) {
	t.Parallel()
	disk := powerloss.New()
	l, stop := on(t, disk, changelog.Options{CacheBytes: 2 << 20}, false)
	x := insertTxn(table(1, "orders", "id", "a", "b"), 100, 60_000, 150)
	w := l.Writer(0)
	write(t, w, x)
	settle(t, l, w, 60_000)
	n := uint64(0)
	for seq := uint64(1); seq <= 60_000; {
		seg, err := l.Segment(t.Context(), seq)
		require.NoError(t, err)
		require.Equal(t, cdc.Position{LSN: 100, Index: uint32(seq - 1)}, seg.Changes[0].Position)
		n += uint64(len(seg.Changes))
		seq = seg.Last + 1
	}
	require.Equal(t, uint64(60_000), n)
	require.NoError(t, l.TrimFront(t.Context(), 30_000))
	first := l.FirstSeq()
	stop()
	l, stop = on(t, disk, changelog.Options{}, false)
	defer stop()
	require.Equal(t, first, l.FirstSeq())
	require.Equal(t, uint64(60_000), l.End().Seq)
	seg, err := l.Segment(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, first, seg.First)
}
