package changelog_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
)

// stall makes appends wait until release is called, and tells when one has arrived.
func stall(m *memory) (arrived chan struct{}, release func()) {
	arrived, open := make(chan struct{}, 100), make(chan struct{})
	m.setBefore(func([]engine.Block) error {
		arrived <- struct{}{}
		<-open
		return nil
	})
	return arrived, func() { m.setBefore(nil); close(open) }
}

func TestMarksQueueBehindWhatWasReceived(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{})
	orders := table(1, "orders", "id", "a", "b")
	w := l.Writer(0)

	w.Mark(50)
	require.Equal(t, cdc.LSN(50), l.Durable(), "with nothing pending a mark counts at once")
	w.Mark(40)
	require.Equal(t, cdc.LSN(50), l.Durable(), "never back")

	write(t, w, insertTxn(orders, 100, 1, 1))
	w.Mark(190)
	require.Equal(t, cdc.LSN(50), l.Durable(), "the block is not handed over yet")

	arrived, release := stall(m)
	w.Flush()
	<-arrived
	w.Mark(195)
	require.Equal(t, cdc.LSN(50), l.Durable(), "the sync runs")
	require.Equal(t, uint64(0), l.End().Seq)

	write(t, w, insertTxn(orders, 200, 1, 1))
	w.Flush()
	w.Mark(290)
	require.False(t, w.Begin(3, 300, 0))
	w.Mark(999)
	require.NoError(t, insertTxn(orders, 300, 1, 1).steps[1].apply(w))
	w.Mark(999)
	w.Flush()
	require.Equal(t, cdc.LSN(50), l.Durable())
	release()
	require.NoError(t, l.Wait(t.Context(), 1))
	require.Eventually(t, func() bool { return l.Durable() == 290 }, waitFor, tick, "not what a mark in the open transaction said")
	require.NoError(t, w.Commit(310))
	w.Flush()
	require.NoError(t, l.Wait(t.Context(), 2))
	require.Eventually(t, func() bool { return l.Durable() == 310 }, waitFor, tick)

	require.False(t, w.Begin(4, 400, 0))
	require.NoError(t, w.Commit(410))
	require.Equal(t, cdc.LSN(410), l.Durable(), "a transaction without entries is a mark")
	require.Equal(t, uint64(3), l.End().Seq)
}

func TestMarkOnOfferIsKeptWhenTheBlockGrows(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{})
	orders := table(1, "orders", "id", "a", "b")
	w := l.Writer(0)
	arrived, release := stall(m)
	write(t, w, insertTxn(orders, 100, 1, 1))
	w.Flush()
	<-arrived
	write(t, w, insertTxn(orders, 200, 1, 1))
	w.Flush()
	w.Mark(250)
	write(t, w, insertTxn(orders, 300, 1, 1))
	w.Flush()
	w.Mark(350)
	release()
	require.NoError(t, l.Wait(t.Context(), 2))
	require.Eventually(t, func() bool { return l.Durable() == 350 }, waitFor, tick)
	require.Equal(t, 2, m.len(), "transactions gathered in one block while the sync ran")
}

func TestSmallTransactionsGatherWhileASyncRuns(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{})
	orders := table(1, "orders", "id", "a", "b")
	w := l.Writer(0)
	w.Relation(orders)
	arrived, release := stall(m)
	one := func(i int) {
		x := insertTxn(orders, cdc.LSN(i*100), 1, 20)
		require.False(t, w.Begin(x.xid, x.final, x.commit))
		w.Flush() // the socket may run dry anywhere
		require.NoError(t, x.steps[1].apply(w))
		w.Flush()
		require.NoError(t, w.Commit(x.end))
		w.Flush()
	}
	one(1)
	<-arrived
	for i := 2; i <= 500; i++ {
		one(i)
	}
	release()
	require.NoError(t, l.Wait(t.Context(), 499))
	require.Equal(t, 2, m.len())
	require.Equal(t, uint64(2), l.Stats().Syncs)
	var txns []txn
	for i := 1; i <= 500; i++ {
		txns = append(txns, insertTxn(orders, cdc.LSN(i*100), 1, 20))
	}
	requireSame(t, expect(txns), content(t, l))
	info, err := l.InfoAt(t.Context(), 2)
	require.NoError(t, err)
	require.Less(t, info.Size, uint64(20_000), "the relation is described once")
}

func TestOnDurableTellsEveryAdvance(t *testing.T) {
	t.Parallel()
	l, _ := open(t, &memory{}, changelog.Options{})
	var told atomic.Uint64
	l.OnDurable(func(lsn cdc.LSN) { told.Store(uint64(lsn)) })
	w := l.Writer(0)
	w.Mark(7)
	require.Equal(t, uint64(7), told.Load())
	write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 100, 1, 1))
	settle(t, l, w, 1)
	require.Eventually(t, func() bool { return told.Load() == 110 }, waitFor, tick)
}

func TestANewEpochForgetsDurable(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, stop := open(t, m, changelog.Options{})
	w := l.Writer(0)
	arrived, release := stall(m)
	write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 1000, 1, 1))
	w.Flush()
	<-arrived
	w = l.Writer(1)
	w.Mark(5)
	release()
	require.NoError(t, l.Wait(t.Context(), 0))
	require.Eventually(t, func() bool { return l.Durable() == 5 }, waitFor, tick, "not 1010: that was another history")
	write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 20, 1, 1))
	settle(t, l, w, 2)
	stop()
	l, _ = open(t, m, changelog.Options{})
	require.Equal(t, cdc.LSN(30), l.Durable())
	require.Equal(t, uint32(1), l.Recovered().Epoch)
}

func TestAFullStorageLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, err := changelog.Open(t.Context(), changelog.Options{Name: "test", Blocks: m, BlockBytes: 1000})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()

		full := atomic.Bool{}
		full.Store(true)
		m.setBefore(func([]engine.Block) error {
			if full.Load() {
				return fmt.Errorf("write: %w", engine.ErrNoSpace)
			}
			return nil
		})
		orders := table(1, "orders", "id", "a", "b")
		var txns []txn
		w := l.Writer(0)
		written := make(chan struct{})
		for i := 1; i <= 20_000; i++ {
			txns = append(txns, insertTxn(orders, cdc.LSN(i*100), 1, 90))
		}
		began := time.Now()
		go func() {
			defer close(written)
			for i := range txns {
				w.Begin(txns[i].xid, txns[i].final, txns[i].commit)
				for j := range txns[i].steps {
					if err := txns[i].steps[j].apply(w); err != nil {
						t.Error(err)
						return
					}
				}
				if err := w.Commit(txns[i].end); err != nil {
					t.Error(err)
					return
				}
			}
			w.Flush()
		}()
		synctest.Wait()
		stats := l.Stats()
		require.ErrorIs(t, stats.Blocked, engine.ErrNoSpace)
		require.Equal(t, began, stats.Since)
		require.Less(t, stats.QueuedBytes, uint64(3<<20), "the queue bounds memory")
		require.Equal(t, cdc.LSN(0), l.Durable())
		select {
		case <-written:
			t.Fatal("the writer must wait")
		default:
		}
		time.Sleep(time.Hour)
		require.Equal(t, uint64(0), l.End().Seq)
		full.Store(false)
		<-written
		require.NoError(t, l.Wait(t.Context(), 19_999))
		require.NoError(t, l.Stats().Blocked)
		requireSame(t, expect(txns), content(t, l))
		cancel()
		require.NoError(t, <-done)
	})
}

func TestABrokenStorageEndsRun(t *testing.T) {
	t.Parallel()
	m := &memory{}
	broken := errors.New("input/output error")
	m.setBefore(func([]engine.Block) error { return broken })
	l, err := changelog.Open(t.Context(), changelog.Options{Name: "test", Blocks: m})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }()
	w := l.Writer(0)
	write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 100, 1, 1))
	w.Flush()
	require.ErrorIs(t, <-done, broken)
	require.ErrorIs(t, fillUntilError(w, table(1, "orders", "id", "a", "b")), broken, "a writer learns it too")
	require.Equal(t, cdc.LSN(0), l.Durable())
	require.Error(t, l.Run(t.Context()), "it can run once")
}

func TestRunStoresWhatIsCompleteWhenAskedToStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, err := changelog.Open(t.Context(), changelog.Options{Name: "test", Blocks: m, Linger: time.Hour})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		w := l.Writer(0)
		write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 100, 3, 1))
		w.Flush()
		synctest.Wait()
		require.Equal(t, 0, m.len(), "it lingers")
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, 1, m.len())
		require.ErrorIs(t, fillUntilError(w, table(1, "orders", "id", "a", "b")), changelog.ErrStopped)
	})
}

func TestLingerGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, err := changelog.Open(t.Context(), changelog.Options{Name: "test", Blocks: m, Linger: time.Second})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		w := l.Writer(0)
		began := time.Now()
		for i := 1; i <= 5; i++ {
			write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), cdc.LSN(i*100), 1, 1))
			w.Flush()
			time.Sleep(100 * time.Millisecond)
		}
		require.NoError(t, l.Wait(t.Context(), 4))
		require.Equal(t, time.Second, time.Since(began))
		require.Equal(t, 1, m.len())
		cancel()
		require.NoError(t, <-done)
	})
}

func TestWaitWakesAndEnds(t *testing.T) {
	t.Parallel()
	l, _ := open(t, &memory{}, changelog.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Wait(ctx, 0) }()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	changed := l.Changed()
	go func() { ended <- l.Wait(t.Context(), 0) }()
	w := l.Writer(0)
	write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 100, 1, 1))
	w.Flush()
	require.NoError(t, <-ended)
	<-changed
	require.NoError(t, l.Wait(t.Context(), 0))
}
