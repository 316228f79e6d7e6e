package changelog_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
)

// server plays the walsender: a history, and sessions that begin behind what was confirmed and break anywhere.
type server struct {
	txns []txn
	r    *rand.Rand
}

// session sends what follows confirmed through w, at most budget calls, and reports whether it came to the end.
func (s *server) session(t *testing.T, w *changelog.Writer, confirmed cdc.LSN, budget int) bool {
	t.Helper()
	for i := range s.txns {
		x := &s.txns[i]
		if x.end <= confirmed {
			for j := range x.steps { // a new session describes each relation again, as it is by then
				if x.steps[j].relation != nil {
					w.Relation(x.steps[j].relation)
				}
			}
			continue
		}
		skip := w.Begin(x.xid, x.final, x.commit)
		for j := range x.steps {
			if budget--; budget < 0 {
				return false
			}
			if skip {
				if x.steps[j].relation != nil {
					w.Relation(x.steps[j].relation)
				}
				continue
			}
			require.NoError(t, x.steps[j].apply(w))
			switch s.r.IntN(10) {
			case 0:
				w.Flush()
			case 1:
				w.Mark(x.end + 1000) // a keepalive in the middle of a transaction
			}
		}
		if skip {
			w.Mark(x.end)
			continue
		}
		require.NoError(t, w.Commit(x.end))
		switch s.r.IntN(6) {
		case 0, 1:
			w.Flush()
		case 2:
			w.Mark(x.end + cdc.LSN(s.r.IntN(100)))
		}
	}
	return true
}

// However often the connection breaks and the process dies, what is in the log in the end is what one undisturbed run would have written: same
// numbers, same positions, nothing missing, nothing twice.
func TestReconnectsAndCrashesLeaveNoTrace(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(7, seed))
		s := &server{txns: random(r, 60), r: r}
		want := expect(s.txns)
		m := &memory{}
		o := changelog.Options{BlockBytes: 200 + r.IntN(3000), CacheBytes: int64(r.IntN(100_000))}
		l, stop := open(t, m, o)
		w := l.Writer(0)
		for done := false; !done; {
			confirmed := l.Durable()
			done = s.session(t, w, confirmed, r.IntN(150))
			if done {
				break
			}
			if r.IntN(2) == 0 {
				w.Abort()
				w = l.Writer(0)
				continue
			}
			safe := l.Durable() // whatever was confirmed by now must be in what the crash leaves
			crashed := m.prefix(m.len())
			stop()
			m = crashed
			l, stop = open(t, m, o)
			require.GreaterOrEqual(t, l.Recovered().End.Seq, seqUpTo(s.txns, safe), "everything that could be confirmed survives")
			w = l.Writer(0)
		}
		settle(t, l, w, uint64(len(want)))
		requireSame(t, want, content(t, l))
		require.Equal(t, uint64(len(want)), l.End().Seq)
		stop()
		reopened, _ := open(t, m, o)
		requireSame(t, want, content(t, reopened))
	}
}

// seqUpTo is the number of the last entry of the transactions that end at or before lsn.
func seqUpTo(txns []txn, lsn cdc.LSN) uint64 {
	n := 0
	for n < len(txns) && txns[n].end <= lsn {
		n++
	}
	return uint64(len(expect(txns[:n])))
}

func TestCrashAtEveryBlockBoundary(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 3))
	txns := random(r, 50)
	want := expect(txns)
	m := &memory{}
	o := changelog.Options{BlockBytes: 700}
	l, stop := open(t, m, o)
	w := l.Writer(0)
	write(t, w, txns...)
	settle(t, l, w, uint64(len(want)))
	stop()
	require.Greater(t, m.len(), 30)

	cut := 0
	ends := map[uint64]bool{0: true}
	for i := range txns {
		ends[seqUpTo(txns, txns[i].end)] = true
	}
	for n := range m.len() + 1 {
		left := m.prefix(n)
		l, stop := open(t, left, o)
		report := l.Recovered()
		require.Nil(t, report.Lost)
		cut += report.CutTransactionBlocks
		require.Equal(t, n-report.CutTransactionBlocks, left.len())
		require.True(t, ends[report.End.Seq], "the log ends at a transaction boundary")
		requireSame(t, append([]seen{}, want[:report.End.Seq]...), append([]seen{}, content(t, l)...))

		s := &server{txns: txns, r: r}
		w := l.Writer(0)
		require.True(t, s.session(t, w, report.Tail, 1<<30))
		settle(t, l, w, uint64(len(want)))
		requireSame(t, want, content(t, l))
		stop()
	}
	require.Positive(t, cut)
}

func TestAbortTakesBackWhatWasAppended(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{BlockBytes: 256})
	w := l.Writer(0)
	orders := table(1, "orders", "id", "a", "b")
	write(t, w, insertTxn(orders, 100, 2, 10))
	settle(t, l, w, 2)
	blocks := m.len()

	big := insertTxn(orders, 200, 100, 30)
	require.False(t, w.Begin(big.xid, big.final, big.commit))
	for i := range big.steps {
		require.NoError(t, big.steps[i].apply(w))
	}
	require.Eventually(t, func() bool { return m.len() > blocks+5 }, waitFor, tick)
	_, err := l.Segment(t.Context(), 3)
	require.ErrorIs(t, err, changelog.ErrEnd, "an open transaction is not visible")
	require.Equal(t, uint64(2), l.End().Seq)

	w.Abort()
	w = l.Writer(0)
	write(t, w, insertTxn(orders, 150, 3, 5))
	settle(t, l, w, 5)
	requireSame(t, expect([]txn{insertTxn(orders, 100, 2, 10), insertTxn(orders, 150, 3, 5)}), content(t, l))
	require.Equal(t, blocks+1, m.len())
	require.Equal(t, 1, m.cuts)
}

func TestTransactionsInTheLogAreSkipped(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, stop := open(t, m, changelog.Options{})
	orders := table(1, "orders", "id", "a", "b")
	w := l.Writer(0)
	write(t, w, insertTxn(orders, 100, 2, 1))
	require.True(t, w.Begin(1, 100, 0), "also while it is on its way")
	require.True(t, w.Begin(1, 90, 0))
	settle(t, l, w, 2)
	w = l.Writer(0)
	require.True(t, w.Begin(1, 100, 0))
	stop()
	l, _ = open(t, m, changelog.Options{})
	w = l.Writer(0)
	require.True(t, w.Begin(1, 100, 0))
	require.False(t, w.Begin(1, 101, 0))
	w.Abort()

	w = l.Writer(1)
	require.False(t, w.Begin(1, 50, 7), "another history has transactions of its own")
	w.Relation(orders)
	require.NoError(t, insertTxn(orders, 50, 1, 1).steps[1].apply(w))
	require.NoError(t, w.Commit(60))
	settle(t, l, w, 3)
	require.Equal(t, cdc.Position{LSN: 50, Epoch: 1}, l.End().Position)

	old := l.Writer(0)
	require.False(t, old.Begin(9, 1000, 0))
	require.Error(t, insertTxn(orders, 1000, 1, 1).steps[1].apply(old), "a history that was left does not go on")
}

func TestAWriterThatFailsKeepsWhatIsComplete(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{})
	orders := table(1, "orders", "id", "a", "b")
	w := l.Writer(0)
	write(t, w, insertTxn(orders, 100, 2, 1))
	require.False(t, w.Begin(2, 200, 0))
	require.Error(t, w.Change(cdc.OpInsert, 99, 0, nil, nil), "a relation that was not described")
	require.Error(t, w.Commit(210), "errors stay")
	l.Writer(0)
	require.NoError(t, l.Wait(t.Context(), 1))
	require.Equal(t, cdc.LSN(110), l.Durable())
}

func TestInterruptFreesAWriterThatWaits(t *testing.T) {
	t.Parallel()
	m := &memory{}
	release := make(chan struct{})
	o := changelog.Options{BlockBytes: 128 << 10}
	l, _ := open(t, m, o)
	w := l.Writer(0)
	m.setBefore(gate(release))
	orders := table(1, "orders", "id", "a", "b")
	cause := errors.New("connection lost")
	failed := make(chan error, 1)
	go func() {
		failed <- fillUntilError(w, orders)
	}()
	require.Eventually(t, func() bool { return l.Stats().QueuedBytes >= 16*(128<<10) }, waitFor, tick)
	select {
	case err := <-failed:
		t.Fatalf("a full queue delays, it does not fail: %v", err)
	default:
	}
	w.Interrupt(cause)
	require.ErrorIs(t, <-failed, cause)
	close(release)
	l.Writer(0)
	require.Eventually(t, func() bool { return l.Stats().QueuedBytes == 0 && l.End().Seq > 0 }, waitFor, tick)

	// All whole transactions that the writer counted are there.
	l.Writer(0)
	last := l.End()
	got := content(t, l)
	require.Len(t, got, int(last.Seq))
	require.True(t, l.Writer(0).Begin(1, last.Position.LSN, 0))
	require.False(t, l.Writer(0).Begin(1, last.Position.LSN+1, 0), "nothing is skipped that is not in the log")
}

func fillUntilError(w *changelog.Writer, r *cdc.Relation) error {
	w.Relation(r)
	for i := 1; ; i++ {
		x := insertTxn(r, cdc.LSN(1000+i*100), 10, 500)
		w.Begin(x.xid, x.final, x.commit)
		for j := range x.steps {
			if err := x.steps[j].apply(w); err != nil {
				return err
			}
		}
		if err := w.Commit(x.end); err != nil {
			return err
		}
	}
}
