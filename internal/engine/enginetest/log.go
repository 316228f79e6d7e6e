package enginetest

import (
	"bytes"
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
)

var logTests = []test{
	{"log/empty", logEmpty},
	{"log/read next and last", logReads},
	{"log/first entry may be zero or the greatest number", logEdges},
	{"log/an append is repeatable", logRepeat},
	{"log/a block is replaced", logReplace},
	{"log/an empty block is a block", logEmptyBlock},
	{"log/big blocks", logBig},
	{"log/a change of 64 MiB", logHuge},
	{"log/many blocks", logMany},
	{"log/data is copied in and out", logCopies},
	{"log/trim front", logTrimFront},
	{"log/trim back", logTrimBack},
	{"log/trimmed room comes back", logTrimRoom},
	{"log/logs do not mix", logApart},
	{"log/drop", logDrop},
	{"log/names", logNames},
	{"log/readers beside the writer", logConcurrent},
	{"log/appends and acks beside each other", logAndState},
	{"log/reopen", logReopen},
}

func notFound(t *testing.T, _ engine.Block, err error) {
	t.Helper()
	require.ErrorIs(t, err, engine.ErrNotFound)
}

func logEmpty(t *testing.T, f *fixture) {
	l := f.log(t)
	b, err := l.Last(t.Context())
	notFound(t, b, err)
	for _, seq := range []uint64{0, 1, math.MaxUint64} {
		b, err = l.Read(t.Context(), seq)
		notFound(t, b, err)
		b, err = l.Next(t.Context(), seq)
		notFound(t, b, err)
		require.NoError(t, l.TrimFront(t.Context(), seq))
		require.NoError(t, l.TrimBack(t.Context(), seq))
	}
	appendBlocks(t, l) // nothing is fine
	require.Empty(t, content(t, l))
}

func logReads(t *testing.T, f *fixture) {
	l := f.log(t)
	blocks := []engine.Block{block(10, 100), block(20, 100), block(300, 100)}
	appendBlocks(t, l, blocks...)
	for _, tt := range []struct {
		seq        uint64
		read, next int // index in blocks, -1 for ErrNotFound
	}{
		{0, -1, 0},
		{9, -1, 0},
		{10, 0, 1},
		{11, 0, 1},
		{19, 0, 1},
		{20, 1, 2},
		{255, 1, 2},
		{256, 1, 2},
		{299, 1, 2},
		{300, 2, -1},
		{math.MaxUint64, 2, -1},
	} {
		for want, read := range map[int]func(context.Context, uint64) (engine.Block, error){tt.read: l.Read, -2 - tt.next: l.Next} {
			if want < -1 {
				want = -2 - want
			}
			b, err := read(t.Context(), tt.seq)
			if want < 0 {
				require.ErrorIs(t, err, engine.ErrNotFound, "at %d", tt.seq)
				continue
			}
			require.NoError(t, err, "at %d", tt.seq)
			same(t, blocks[want:want+1], []engine.Block{b})
		}
	}
	b, err := l.Last(t.Context())
	require.NoError(t, err)
	same(t, blocks[2:], []engine.Block{b})
}

func logEdges(t *testing.T, f *fixture) {
	l := f.log(t)
	blocks := []engine.Block{block(0, 10), block(math.MaxUint64, 10)}
	appendBlocks(t, l, blocks...)
	b, err := l.Read(t.Context(), 0)
	require.NoError(t, err)
	same(t, blocks[:1], []engine.Block{b})
	b, err = l.Read(t.Context(), math.MaxUint64)
	require.NoError(t, err)
	same(t, blocks[1:], []engine.Block{b})
	require.NoError(t, l.TrimBack(t.Context(), math.MaxUint64))
	require.NoError(t, l.TrimFront(t.Context(), 0))
	same(t, blocks, content(t, l))
	require.NoError(t, l.TrimFront(t.Context(), math.MaxUint64))
	same(t, blocks[1:], content(t, l))
	require.NoError(t, l.TrimBack(t.Context(), 0))
	require.Empty(t, content(t, l))
}

func logRepeat(t *testing.T, f *fixture) {
	l := f.log(t)
	blocks := []engine.Block{block(1, 10), block(2, 3<<20), block(3, 10)}
	for range 3 {
		appendBlocks(t, l, blocks...)
		appendBlocks(t, l, blocks[1:]...)
		same(t, blocks, content(t, l))
	}
	l = f.log(t)
	appendBlocks(t, l, blocks...)
	same(t, blocks, content(t, l))
}

func logReplace(t *testing.T, f *fixture) {
	l := f.log(t)
	sizes := []int{100, 5 << 20, 10, 0, 2<<20 + 1, 1 << 20}
	appendBlocks(t, l, block(6, 50), block(8, 50))
	for round, size := range sizes {
		appendBlocks(t, l, block(7, size))
		want := []engine.Block{block(6, 50), block(7, size), block(8, 50)}
		same(t, want, content(t, l))
		if round%2 == 1 {
			l = f.log(t)
			same(t, want, content(t, l))
		}
	}
}

func logEmptyBlock(t *testing.T, f *fixture) {
	l := f.log(t)
	appendBlocks(t, l, engine.Block{First: 5}, block(6, 1))
	b, err := l.Read(t.Context(), 5)
	require.NoError(t, err)
	require.Equal(t, uint64(5), b.First)
	require.Empty(t, b.Data)
}

func logBig(t *testing.T, f *fixture) {
	l := f.log(t)
	blocks := []engine.Block{
		block(1, 1<<20-1), block(2, 1<<20), block(3, 1<<20+1), block(4, 8<<20), block(5, 12<<20+7), block(6, 1),
	}
	appendBlocks(t, l, blocks...)
	same(t, blocks, content(t, l))
	same(t, blocks, content(t, f.log(t)))
}

func logHuge(t *testing.T, f *fixture) {
	l := f.log(t)
	huge := block(7, 72<<20)
	appendBlocks(t, l, block(1, 10), huge)
	b, err := l.Read(t.Context(), 1000)
	require.NoError(t, err)
	same(t, []engine.Block{huge}, []engine.Block{b})
	b, err = f.log(t).Last(t.Context())
	require.NoError(t, err)
	same(t, []engine.Block{huge}, []engine.Block{b})
}

func logMany(t *testing.T, f *fixture) {
	l := f.log(t)
	var all, batch []engine.Block
	for i := range 20_000 {
		batch = append(batch, block(uint64(i)*3+1, 200+i%100)) //nolint:gosec // small
		if len(batch) == 500 {
			appendBlocks(t, l, batch...)
			all, batch = append(all, batch...), nil
		}
	}
	same(t, all, content(t, l))
	for _, i := range []int{0, 1, 999, 19_999} {
		b, err := l.Read(t.Context(), all[i].First+2)
		require.NoError(t, err)
		same(t, all[i:i+1], []engine.Block{b})
	}
}

func logCopies(t *testing.T, f *fixture) {
	l := f.log(t)
	b := block(1, 1000)
	appendBlocks(t, l, b)
	clear(b.Data)
	got, err := l.Read(t.Context(), 1)
	require.NoError(t, err)
	same(t, []engine.Block{block(1, 1000)}, []engine.Block{got})
	clear(got.Data)
	same(t, []engine.Block{block(1, 1000)}, content(t, l))
}

func logTrimFront(t *testing.T, f *fixture) {
	l := f.log(t)
	blocks := []engine.Block{block(10, 100), block(20, 2<<20), block(30, 100), block(40, 100)}
	appendBlocks(t, l, blocks...)
	for _, tt := range []struct {
		seq  uint64
		left int
	}{{1, 4}, {10, 4}, {11, 3}, {15, 3}, {30, 2}, {31, 1}, {41, 0}} {
		require.NoError(t, l.TrimFront(t.Context(), tt.seq))
		same(t, blocks[4-tt.left:], content(t, l))
		b, err := l.Read(t.Context(), 10)
		if tt.left == 4 {
			require.NoError(t, err)
		} else {
			notFound(t, b, err)
		}
	}
	l = f.log(t)
	require.Empty(t, content(t, l))
	appendBlocks(t, l, block(50, 100)) // the log goes on
	same(t, []engine.Block{block(50, 100)}, content(t, l))
}

func logTrimBack(t *testing.T, f *fixture) {
	l := f.log(t)
	blocks := []engine.Block{block(10, 100), block(20, 2<<20), block(30, 100), block(40, 100)}
	appendBlocks(t, l, blocks...)
	for _, tt := range []struct {
		seq  uint64
		left int
	}{{100, 4}, {40, 4}, {39, 3}, {30, 3}, {29, 2}, {10, 1}} {
		require.NoError(t, l.TrimBack(t.Context(), tt.seq))
		same(t, blocks[:tt.left], content(t, l))
	}
	l = f.log(t)
	same(t, blocks[:1], content(t, l))
	appendBlocks(t, l, block(20, 77), block(25, 5)) // other blocks take their place
	same(t, []engine.Block{blocks[0], block(20, 77), block(25, 5)}, content(t, l))
	require.NoError(t, l.TrimBack(t.Context(), 9))
	require.Empty(t, content(t, f.log(t)))
}

func logTrimRoom(t *testing.T, f *fixture) {
	e := f.start(t)
	l, err := e.Log(t.Context(), "orders")
	require.NoError(t, err)
	const n, size = 160, 512 << 10
	for i := range uint64(n) {
		appendBlocks(t, l, block(i+1, size))
	}
	full, err := l.Size(t.Context())
	require.NoError(t, err)
	require.InEpsilon(t, n*size, full, 0.25)
	used := e.Usage().Used
	require.NoError(t, l.TrimFront(t.Context(), n-15))
	require.Eventually(t, func() bool {
		left, err := l.Size(t.Context())
		return err == nil && left < full/4 && e.Usage().Used+n*size/2 < used
	}, 20*time.Second, 20*time.Millisecond, "the room of trimmed blocks does not come back")
	require.Len(t, content(t, l), 16)
}

func logApart(t *testing.T, f *fixture) {
	e := f.start(t)
	names := []string{"a", "aa", "b", "a.b-c_D9"}
	for i, name := range names {
		l, err := e.Log(t.Context(), name)
		require.NoError(t, err)
		appendBlocks(t, l, block(1, 100+i), block(2, 100+i))
	}
	apply(t, e.State(), engine.Put("a", []byte("state")))
	l, err := e.Log(t.Context(), "aa")
	require.NoError(t, err)
	require.NoError(t, l.TrimFront(t.Context(), 2))
	l, err = e.Log(t.Context(), "b")
	require.NoError(t, err)
	require.NoError(t, l.TrimBack(t.Context(), 1))
	want := [][]engine.Block{
		{block(1, 100), block(2, 100)},
		{block(2, 101)},
		{block(1, 102)},
		{block(1, 103), block(2, 103)},
	}
	for range 2 {
		for i, name := range names {
			l, err := e.Log(t.Context(), name)
			require.NoError(t, err)
			same(t, want[i], content(t, l))
		}
		v, ok := get(t, e.State(), "a")
		require.True(t, ok)
		require.Equal(t, "state", string(v.Value))
		e = f.start(t)
	}
}

func logDrop(t *testing.T, f *fixture) {
	e := f.start(t)
	require.NoError(t, e.DropLog(t.Context(), "nobody"))
	for _, name := range []string{"a", "b"} {
		l, err := e.Log(t.Context(), name)
		require.NoError(t, err)
		appendBlocks(t, l, block(1, 100), block(2, 3<<20))
	}
	require.NoError(t, e.DropLog(t.Context(), "a"))
	for range 2 {
		l, err := e.Log(t.Context(), "a")
		require.NoError(t, err)
		require.Empty(t, content(t, l), "a log of the same name starts empty")
		l, err = e.Log(t.Context(), "b")
		require.NoError(t, err)
		require.Len(t, content(t, l), 2)
		e = f.start(t)
	}
}

func logNames(t *testing.T, f *fixture) {
	e := f.start(t)
	for _, name := range []string{"", "a/b", "a b", "ü", "a\x00"} {
		_, err := e.Log(t.Context(), name)
		require.Error(t, err, "%q", name)
	}
	long := strings.Repeat("x", 200)
	a, err := e.Log(t.Context(), long)
	require.NoError(t, err)
	b, err := e.Log(t.Context(), long)
	require.NoError(t, err)
	appendBlocks(t, a, block(1, 1))
	require.Len(t, content(t, b), 1, "the same name is the same log")
}

// logConcurrent reads while blocks arrive and old ones go: what is read is whole and in order.
func logConcurrent(t *testing.T, f *fixture) {
	l := f.log(t)
	appendBlocks(t, l, block(1, 5000))
	const last = 400
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for seq := uint64(0); ctx.Err() == nil && seq < last; {
				b, err := l.Next(t.Context(), seq)
				if err != nil {
					if !isNotFound(err) {
						t.Errorf("next after %d: %v", seq, err)
						return
					}
					continue
				}
				if b.First <= seq || !bytes.Equal(b.Data, block(b.First, len(b.Data)).Data) {
					t.Errorf("after %d came block %d, or its data is wrong", seq, b.First)
					return
				}
				seq = b.First
			}
		})
	}
	for i := uint64(2); i <= last; i++ {
		appendBlocks(t, l, block(i, 5000))
		if i%50 == 0 {
			require.NoError(t, l.TrimFront(t.Context(), i-20))
		}
	}
	done := make(chan struct{})
	go func() { readers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		cancel()
		<-done
		t.Fatal("readers did not reach the end")
	}
}

// logAndState checks that a long append lets small writes through.
func logAndState(t *testing.T, f *fixture) {
	e := f.start(t)
	l, err := e.Log(t.Context(), "orders")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- l.Append(t.Context(), block(1, 64<<20)) }()
	acks := 0
	for running := true; running; {
		apply(t, e.State(), engine.Put("cursor", []byte{1}))
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
			acks++
		}
	}
	require.Greater(t, acks, 8, "writes that went through beside an append of 64 MiB")
}

func logReopen(t *testing.T, f *fixture) {
	var want []engine.Block
	for i := range uint64(5) {
		l := f.log(t)
		same(t, want, content(t, l))
		b := block(i+1, 1000<<i)
		appendBlocks(t, l, b)
		want = append(want, b)
	}
}
