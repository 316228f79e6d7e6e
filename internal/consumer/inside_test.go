package consumer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
)

// The done set against a plain map, through commits and restarts that read back what was written.
func TestDoneSetIsASet(t *testing.T) {
	t.Parallel()
	const n = 5 * pageSeqs
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		start := r.Uint64N(2*pageSeqs) + spreadSeqs - pageSeqs // across the end of a spread
		d, model, disk := newDoneSet(start), map[uint64]bool{}, map[[2]uint64]bitmap{}
		for range 400 {
			switch r.IntN(8) {
			case 0:
				from := start + r.Uint64N(n)
				to := from + r.Uint64N(3*pageSeqs)
				d.setRange(from, to)
				for seq := from; seq <= to; seq++ {
					model[seq] = true
				}
			case 1:
				d = reload(t, d, disk)
			default:
				at, durable := start+r.Uint64N(n), r.IntN(4) > 0
				for i := range r.Uint64N(300) {
					if durable || d.cursor != at+i { // marks of the filter need not survive: keep those apart that do
						d.set(at+i, true)
						model[at+i] = true
					}
				}
			}
		}
		for seq := start; model[seq]; seq++ {
			model[seq] = true
			if seq >= d.cursor {
				t.Fatalf("seed %d: the cursor stands at %d, behind %d", seed, d.cursor, seq)
			}
		}
		require.False(t, model[d.cursor], "the cursor stands at the first that is not done")
		var undone uint64
		for seq := start; seq < start+2*n; seq++ {
			if model[seq] != d.has(seq) {
				t.Fatalf("seed %d, seq %d: in the set %v, want %v", seed, seq, d.has(seq), model[seq])
			}
			if !model[seq] {
				undone++
			}
		}
		require.Equal(t, undone, d.undone(start, start+2*n-1))
		require.GreaterOrEqual(t, d.skip(d.cursor), d.cursor)
		searchDoneSet(t, r, d, model, start, n)
		for _, pg := range d.pages {
			require.Less(t, pg.n, pageSeqs, "whole pages are kept as one bit")
		}
	}
}

// searchDoneSet looks for what is not done from random places, either way and a page at a time.
func searchDoneSet(t *testing.T, r *rand.Rand, d *doneSet, model map[uint64]bool, start, n uint64) {
	t.Helper()
	for range 10 {
		from := max(start+r.Uint64N(n), d.cursor)
		to := from + r.Uint64N(2*pageSeqs)
		up, down := uint64(0), uint64(0)
		for seq := from; seq <= to; seq++ {
			if !model[seq] {
				up = seq
				break
			}
		}
		for seq := to; seq >= from; seq-- {
			if !model[seq] {
				down = seq
				break
			}
		}
		pages := 1 + r.IntN(3)
		seq, ok := d.next(from, to, pages)
		for !ok && seq <= to {
			seq, ok = d.next(seq, to, pages)
		}
		require.Equal(t, up != 0, ok)
		require.True(t, !ok || seq == up, "from %d to %d: %d, want %d", from, to, seq, up)
		seq, ok = d.prev(to, from, pages)
		for !ok && seq >= from {
			seq, ok = d.prev(seq, from, pages)
		}
		require.Equal(t, down != 0, ok)
		require.True(t, !ok || seq == down, "from %d down to %d: %d, want %d", to, from, seq, down)
	}
}

// reload writes what is due to disk and reads everything back.
func reload(t *testing.T, d *doneSet, disk map[[2]uint64]bitmap) *doneSet {
	t.Helper()
	key := func(spread bool, n uint64) [2]uint64 {
		if spread {
			return [2]uint64{1, n}
		}
		return [2]uint64{0, n}
	}
	d.render(func(spread bool, n uint64, b *bitmap) { disk[key(spread, n)] = *b }, func(spread bool, n uint64) { delete(disk, key(spread, n)) })
	require.False(t, d.changed())
	again := newDoneSet(d.cursor)
	for _, spread := range []bool{true, false} {
		for k := range disk {
			if b := disk[k]; (k[0] == 1) == spread {
				require.False(t, again.load(spread, k[1], &b), "nothing void is left on disk")
			}
		}
	}
	again.advance()
	require.Equal(t, d.cursor, again.cursor)
	return again
}

func TestDoneSetForgetsWhatTheFilterSkipped(t *testing.T) {
	t.Parallel()
	d, disk := newDoneSet(1), map[[2]uint64]bitmap{}
	d.set(5, false)
	d = reload(t, d, disk)
	require.False(t, d.has(5))
	d.set(5, false)
	d.set(7, true) // takes 5 along
	d.set(pageSeqs+5, false)
	d.touchAll()
	d = reload(t, d, disk)
	require.True(t, d.has(5) && d.has(7) && d.has(pageSeqs+5))
	require.False(t, d.has(6))
	d.moveTo(3 * pageSeqs)
	d = reload(t, d, disk)
	require.Empty(t, disk)
	require.EqualValues(t, 3*pageSeqs, d.cursor)
}

func TestBacklogIsAQueue(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	var b backlog
	var model []uint64
	seq, bytes := uint64(0), 0
	for range 200_000 {
		if r.IntN(100) < 52 || len(model) == 0 {
			seq += 1 + r.Uint64N(1<<r.IntN(20))
			bytes += b.push(seq)
			model = append(model, seq)
			continue
		}
		if !slices.Equal(model[:min(3, len(model))], b.head(nil, 3)) {
			t.Fatalf("head is %v, want %v", b.head(nil, 3), model[:min(3, len(model))])
		}
		got, freed := b.pop()
		bytes -= freed
		require.Equal(t, model[0], got)
		model = model[1:]
		require.Equal(t, len(model), b.n)
	}
	for len(model) > 0 {
		got, freed := b.pop()
		bytes -= freed
		require.Equal(t, model[0], got)
		model = model[1:]
	}
	require.Zero(t, bytes, "what it took it gave back")
}

func TestReadyQueueGivesTheLowestFirst(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 2))
	var q readyQueue
	live := map[uint64]*entry{}
	next := uint64(1000)
	for range 8_000 {
		switch r.IntN(6) {
		case 0, 1:
			next++
			e := &entry{seq: next, state: ready}
			live[next] = e
			q.push(e)
		case 2:
			if seq := r.Uint64N(next); live[seq] == nil {
				live[seq] = &entry{seq: seq, state: ready}
				q.push(live[seq])
			}
		case 3: // leaves while it is in the queue
			for seq, e := range live {
				e.state = held
				delete(live, seq)
				break
			}
		default:
			e := q.pop()
			if len(live) == 0 {
				require.Nil(t, e)
				continue
			}
			for seq := range live {
				require.LessOrEqual(t, e.seq, seq)
			}
			delete(live, e.seq)
			e.state = inFlight
		}
	}
}

func TestAgeTrackFindsTheTimeOfASeq(t *testing.T) {
	t.Parallel()
	var a ageTrack
	require.Zero(t, a.at(5))
	for seq := uint64(1); seq <= 1_000_000; seq += 50 {
		a.note(seq, cdc.Timestamp(seq))
	}
	require.LessOrEqual(t, len(a.seqs), maxAgeMarks)
	for _, seq := range []uint64{3, 500, 77_777, 500_000, 999_999} {
		require.InDelta(t, seq, int64(a.at(seq)), 1_000_000/maxAgeMarks*4)
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	t.Parallel()
	k := newKeys("c")
	n, err := k.parseNumber(dirLease, k.number(dirLease, 0xdeadbeef01))
	require.NoError(t, err)
	require.EqualValues(t, 0xdeadbeef01, n)
	for _, bad := range []string{"consumer/c/lease/1", "consumer/d/lease/0000000000000001", "consumer/c/lease/000000000000000g", "x"} {
		_, err := k.parseNumber(dirLease, bad)
		require.ErrorIs(t, err, errRecord, bad)
	}
	place := cursorRecord{generation: 7, cursor: 1 << 40, skipBelow: 99, skipEpoch: 3, disabled: true}
	got, err := decodeCursor(place.encode())
	require.NoError(t, err)
	require.Equal(t, place, got)

	items := []leaseItem{{3, 1}, {4, 2}, {1 << 40, 70}}
	deadline := time.UnixMicro(1_700_000_000_123_456)
	g, when, back, err := decodeLease(encodeLease(5, deadline, items))
	require.NoError(t, err)
	require.EqualValues(t, 5, g)
	require.Equal(t, deadline, when)
	require.Equal(t, items, back)
	long := make([]leaseItem, maxLeaseItems)
	for i := range long {
		long[i] = leaseItem{seq: uint64(i) * 9, attempt: 1}
	}
	require.Less(t, len(encodeLease(1, deadline, long)), 4096)

	m := msgRecord{attempts: 3, next: deadline, cause: "überlang" + string(make([]byte, 2*maxErrorBytes))}
	g, mb, err := decodeMsg(m.encode(2))
	require.NoError(t, err)
	require.EqualValues(t, 2, g)
	require.Equal(t, m.attempts, mb.attempts)
	require.Len(t, mb.cause, maxErrorBytes)
	require.Equal(t, "ü", truncate("üü", 3), "cut between characters")

	newer := slices.Clone(place.encode())
	newer[0] = recordVersion + 1
	_, err = decodeCursor(newer)
	require.ErrorContains(t, err, "format 2")
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte{recordVersion, 0, 1, 2, 3})
	f.Add(encodeLease(1, time.UnixMicro(1), []leaseItem{{1, 1}, {2, 1}}))
	f.Add(msgRecord{attempts: 1, cause: "x"}.encode(0))
	f.Add(encodePage(1, &bitmap{1, 2, 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var page bitmap
		if c, err := decodeCursor(b); err == nil {
			again, err := decodeCursor(c.encode())
			require.NoError(t, err)
			require.Equal(t, c, again)
		}
		if g, err := decodePage(b, &page); err == nil {
			var again bitmap
			_, err := decodePage(encodePage(g, &page), &again)
			require.NoError(t, err)
			require.Equal(t, page, again)
		}
		_, _, items, err := decodeLease(b)
		if err == nil {
			require.LessOrEqual(t, len(items), len(b))
		}
		_, _, err = decodeMsg(b)
		_ = err
		_, err = decodeDead(1, b)
		_ = err
	})
}
