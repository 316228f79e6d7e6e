package changelog_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
)

// tenBlocks is a log of ten transactions of three entries, each in a block of its own.
func tenBlocks(t *testing.T) (*memory, []seen) {
	t.Helper()
	m := &memory{}
	l, stop := open(t, m, changelog.Options{})
	w := l.Writer(0)
	var txns []txn
	for i := 1; i <= 10; i++ {
		txns = append(txns, insertTxn(table(1, "orders", "id", "a", "b"), cdc.LSN(i*100), 3, 400))
		write(t, w, txns[i-1])
		settle(t, l, w, uint64(3*i))
	}
	stop()
	require.Equal(t, 10, m.len())
	return m, expect(txns)
}

// walk reads everything, as a consumer would: on a gap it notes it and goes on behind it.
func walk(t *testing.T, l *changelog.Log) (got []seen, gaps [][2]uint64) {
	t.Helper()
	for seq := l.FirstSeq(); ; {
		seg, err := l.Segment(t.Context(), seq)
		var gap *changelog.GapError
		switch {
		case errors.Is(err, changelog.ErrEnd):
			return got, gaps
		case errors.As(err, &gap):
			require.ErrorIs(t, err, engine.ErrCorrupt)
			require.GreaterOrEqual(t, gap.From, seq)
			require.GreaterOrEqual(t, gap.To, gap.From)
			gaps = append(gaps, [2]uint64{gap.From, gap.To})
			seq = gap.To + 1
		default:
			require.NoError(t, err)
			for i := range seg.Changes {
				if seg.Changes[i].Seq >= seq {
					got = append(got, see(&seg.Changes[i]))
				}
			}
			seq = seg.Last + 1
		}
	}
}

// without leaves out what the gaps cover.
func without(all []seen, gaps [][2]uint64) []seen {
	var out []seen
	for i := range all {
		lost := false
		for _, g := range gaps {
			lost = lost || all[i].Seq >= g[0] && all[i].Seq <= g[1]
		}
		if !lost {
			out = append(out, all[i])
		}
	}
	return out
}

func TestDamageIsAGapAndReadingGoesOn(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(m *memory)
		gaps   [][2]uint64
	}{
		{"nothing", func(*memory) {}, nil},
		{"a bit of a body", func(m *memory) { m.damage(4, -5) }, [][2]uint64{{13, 15}}},
		{"a bit of a header", func(m *memory) { m.damage(4, 30) }, [][2]uint64{{13, 15}}},
		{"the magic number", func(m *memory) { m.damage(0, 0) }, [][2]uint64{{1, 3}}},
		{"a block that is gone", func(m *memory) { m.remove(4) }, [][2]uint64{{13, 15}}},
		{"two neighbours", func(m *memory) { m.damage(4, -1); m.remove(5) }, [][2]uint64{{13, 18}}},
		{"two apart", func(m *memory) { m.damage(2, -1); m.damage(7, -1) }, [][2]uint64{{7, 9}, {22, 24}}},
		{"what the storage cannot read", func(m *memory) { m.corrupt = map[uint64]bool{13: true} }, [][2]uint64{{13, 15}}},
		{
			"neighbours that the storage cannot read", func(m *memory) { m.corrupt = map[uint64]bool{13: true, 16: true} },
			[][2]uint64{{13, 15}, {16, 18}},
		},
		{"a first block that the storage cannot read", func(m *memory) { m.corrupt = map[uint64]bool{1: true} }, [][2]uint64{{1, 3}}},
		{"truncated", func(m *memory) { m.blocks[4].Data = m.blocks[4].Data[:200] }, [][2]uint64{{13, 15}}},
		{"empty", func(m *memory) { m.blocks[4].Data = nil }, [][2]uint64{{13, 15}}},
		{"a block in another's place", func(m *memory) { m.blocks[4].Data = m.blocks[5].Data }, [][2]uint64{{13, 15}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, want := tenBlocks(t)
			tt.damage(m)
			l, _ := open(t, m, changelog.Options{})
			got, gaps := walk(t, l)
			require.Equal(t, tt.gaps, gaps)
			requireSame(t, without(want, gaps), got)
			require.Equal(t, uint64(len(gaps)), l.Stats().Gaps)

			w := l.Writer(0)
			write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 5000, 1, 1))
			settle(t, l, w, 31)
			seg, err := l.Segment(t.Context(), 31)
			require.NoError(t, err)
			require.Equal(t, uint64(31), seg.First)
		})
	}
}

func TestAnExchangedBlockIsNoticed(t *testing.T) {
	t.Parallel()
	m, want := tenBlocks(t)
	// Another history of the same shape: each of its blocks is intact.
	other := &memory{}
	l, stop := open(t, other, changelog.Options{})
	w := l.Writer(0)
	for i := 1; i <= 10; i++ {
		write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), cdc.LSN(i*100+1), 3, 400))
		settle(t, l, w, uint64(3*i))
	}
	stop()
	m.blocks[4] = other.blocks[4]
	l, _ = open(t, m, changelog.Options{})
	got, gaps := walk(t, l)
	require.Equal(t, [][2]uint64{{13, 15}, {16, 18}}, gaps, "neither the block nor its successor fits")
	requireSame(t, without(want, gaps), got)

	// Also when reading begins behind it.
	l, _ = open(t, m, changelog.Options{})
	_, err := l.Segment(t.Context(), 17)
	require.Equal(t, uint64(18), gapOf(t, err).To)

	m.blocks[9] = other.blocks[9]
	l, _ = open(t, m, changelog.Options{})
	require.ErrorIs(t, l.Recovered().Chain, engine.ErrCorrupt)
}

func gapOf(t *testing.T, err error) *changelog.GapError {
	t.Helper()
	var gap *changelog.GapError
	require.ErrorAs(t, err, &gap)
	return gap
}

func TestADamagedEndIsRecordedAndItsNumbersAreNotGivenAgain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(m *memory)
		from   uint64
		exact  bool // the lost range is known exactly
		to     uint64
	}{
		{"body of the last", func(m *memory) { m.damage(9, -5) }, 28, true, 30},
		{"header of the last", func(m *memory) { m.damage(9, 30) }, 28, false, 30},
		{"the last two", func(m *memory) { m.damage(8, 30); m.damage(9, -5) }, 25, false, 30},
		{"what the storage cannot read", func(m *memory) { m.corrupt = map[uint64]bool{25: true, 28: true} }, 25, false, 30},
		{"everything", func(m *memory) {
			for i := range 10 {
				m.damage(i, -5)
			}
		}, 1, true, 30},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, want := tenBlocks(t)
			tt.damage(m)
			l, stop := open(t, m, changelog.Options{})
			report := l.Recovered()
			require.NotNil(t, report.Lost)
			require.Equal(t, tt.from, report.Lost.From)
			require.GreaterOrEqual(t, report.Lost.To, tt.to)
			if tt.exact {
				require.Equal(t, tt.to, report.Lost.To)
			}
			if tt.from > 1 {
				require.Equal(t, cdc.LSN((tt.from-1)/3*100+10), report.Tail, "where replay has to begin")
			} else {
				require.Equal(t, cdc.LSN(0), report.Tail)
			}
			lost := [][2]uint64{{report.Lost.From, report.Lost.To}}
			for range 2 { // it stays recorded over restarts
				got, gaps := walk(t, l)
				require.Equal(t, lost, gaps)
				requireSame(t, without(want, gaps), got)
				stop()
				l, stop = open(t, m, changelog.Options{})
				require.Nil(t, l.Recovered().Lost)
				require.Equal(t, report.Tail, l.Recovered().Tail)
			}
			w := l.Writer(0)
			write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 5000, 2, 1))
			settle(t, l, w, report.Lost.To+2)
			got, gaps := walk(t, l)
			require.Equal(t, lost, gaps)
			require.Len(t, got, int(tt.from)-1+2)
			require.Equal(t, report.Lost.To+1, got[len(got)-2].Seq)
			stop()
			l, _ = open(t, m, changelog.Options{})
			_, gaps = walk(t, l)
			require.Equal(t, lost, gaps)
		})
	}
}

// A crash between recording the loss and removing what was damaged: the record counts once.
func TestRecordingALossIsRepeatable(t *testing.T) {
	t.Parallel()
	m, _ := tenBlocks(t)
	m.damage(8, -5)
	m.damage(9, 30)
	left := m.prefix(10)
	l, stop := open(t, m, changelog.Options{})
	lost := l.Recovered().Lost
	stop()
	left.blocks[8] = m.blocks[8] // the marker is there, the damaged last block still too
	l, _ = open(t, left, changelog.Options{})
	require.Nil(t, l.Recovered().Lost)
	require.Equal(t, lost.To, l.End().Seq)
	_, gaps := walk(t, l)
	require.Equal(t, [][2]uint64{{lost.From, lost.To}}, gaps)
}

// The same crash where a part of a transaction that was under way is what is left behind the record.
func TestRecordingALossIsRepeatableInATransaction(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 2} {
		m := &memory{}
		l, stop := open(t, m, changelog.Options{BlockBytes: 256})
		w := l.Writer(0)
		orders := table(1, "orders", "id", "a", "b")
		for i := range before {
			write(t, w, insertTxn(orders, cdc.LSN(i*100+100), 1, 40))
			settle(t, l, w, uint64(i+1))
		}
		big := insertTxn(orders, 400, 60, 30)
		require.False(t, w.Begin(big.xid, big.final, big.commit))
		for i := range big.steps {
			require.NoError(t, big.steps[i].apply(w))
		}
		require.Eventually(t, func() bool { return l.Stats().QueuedBytes == 0 && m.len() > 8 }, waitFor, tick)
		stop()
		left := m.prefix(m.len())
		m.damage(m.len()-1, -5)
		l, stop = open(t, m, changelog.Options{})
		lost := l.Recovered().Lost
		require.Equal(t, uint64(before+1), lost.From)
		stop()
		left.blocks[before] = m.blocks[before]
		l, stop = open(t, left, changelog.Options{})
		require.Equal(t, lost.To, l.End().Seq)
		_, gaps := walk(t, l)
		require.Equal(t, [][2]uint64{{lost.From, lost.To}}, gaps)
		stop()
	}
}

// However big the transaction is that a crash cuts off, recovery reads the same few blocks.
func TestRecoveryDoesNotScan(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 1, 50} {
		m := &memory{}
		l, stop := open(t, m, changelog.Options{BlockBytes: 256})
		w := l.Writer(0)
		orders := table(1, "orders", "id", "a", "b")
		for i := range before {
			write(t, w, insertTxn(orders, cdc.LSN(i*100+100), 1, 40))
			settle(t, l, w, uint64(i+1))
		}
		big := insertTxn(orders, 100_000, 2000, 30)
		require.False(t, w.Begin(big.xid, big.final, big.commit))
		for i := range big.steps {
			require.NoError(t, big.steps[i].apply(w))
		}
		require.Eventually(t, func() bool { return m.len() > 500 }, waitFor, tick)
		stop()
		m.reads = 0
		l, stop = open(t, m, changelog.Options{})
		require.Equal(t, uint64(before), l.End().Seq)
		require.Less(t, m.reads, 6)
		require.Equal(t, before, m.len())
		stop()
	}
}

func TestDamageBelowAnIncompleteTransaction(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, stop := open(t, m, changelog.Options{BlockBytes: 256})
	w := l.Writer(0)
	orders := table(1, "orders", "id", "a", "b")
	for i := 1; i <= 3; i++ {
		write(t, w, insertTxn(orders, cdc.LSN(i*100), 1, 40))
		settle(t, l, w, uint64(i))
	}
	big := insertTxn(orders, 400, 60, 30)
	require.False(t, w.Begin(big.xid, big.final, big.commit))
	for i := range big.steps {
		require.NoError(t, big.steps[i].apply(w))
	}
	require.Eventually(t, func() bool { return m.len() > 8 }, waitFor, tick)
	stop()

	intact := m.prefix(m.len())
	l, stop = open(t, intact, changelog.Options{})
	require.Greater(t, l.Recovered().CutTransactionBlocks, 4)
	require.Equal(t, uint64(3), l.End().Seq)
	stop()

	for _, gone := range []bool{true, false} {
		hurt := m.prefix(m.len())
		if gone {
			hurt.remove(2)
		} else {
			hurt.damage(2, -3)
		}
		l, stop = open(t, hurt, changelog.Options{})
		require.Equal(t, [2]uint64{3, 3}, [2]uint64{l.Recovered().Lost.From, l.Recovered().Lost.To})
		require.Equal(t, cdc.LSN(210), l.Recovered().Tail)
		require.Equal(t, uint64(3), l.End().Seq)
		_, gaps := walk(t, l)
		require.Equal(t, [][2]uint64{{3, 3}}, gaps)
		stop()
	}
}

func TestANewerFormatIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	m, _ := tenBlocks(t)
	for _, i := range []int{9, 4} {
		newer := m.prefix(10)
		data := append([]byte(nil), newer.blocks[i].Data...)
		data[4] = changelog.Version + 1
		newer.blocks[i].Data = data
		l, err := changelog.Open(t.Context(), changelog.Options{Name: "test", Blocks: newer})
		if err == nil {
			_, err = l.Segment(t.Context(), 13)
		}
		var version *changelog.VersionError
		require.ErrorAs(t, err, &version)
		require.Equal(t, changelog.Version+1, version.Version)
		require.ErrorContains(t, err, "format 2")
		require.Equal(t, 0, newer.appends+newer.cuts)
	}
}
