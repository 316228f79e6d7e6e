package enginetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
)

var watchTests = []test{
	{"watch/writes and deletes", watchBasics},
	{"watch/from now on", watchNow},
	{"watch/a slow reader gets the last value", watchSlow},
	{"watch/ends", watchEnds},
	{"watch/with list nothing is missed", watchThenList},
}

var wholeTests = []test{
	{"whole/use after close", wholeClosed},
	{"whole/usage", wholeUsage},
	{"whole/a context that ended", wholeContext},
}

// watched takes the next entry; a watch that stays silent fails the test.
func watched(t *testing.T, ch <-chan engine.Entry) engine.Entry {
	t.Helper()
	select {
	case e, ok := <-ch:
		require.True(t, ok, "the watch ended")
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("the watch is silent")
		return engine.Entry{}
	}
}

func watchBasics(t *testing.T, f *fixture) {
	s := f.state(t)
	ch := s.Watch(t.Context(), "a/")
	apply(t, s, engine.Put("b", nil), engine.Put("a/1", []byte("x")))
	e := watched(t, ch)
	require.Equal(t, "a/1", e.Key)
	require.Equal(t, "x", string(e.Value))
	stored, _ := get(t, s, "a/1")
	require.Equal(t, stored.Revision, e.Revision)

	revision, err := s.CompareAndSet(t.Context(), "a/2", 0, []byte("y"))
	require.NoError(t, err)
	require.Equal(t, engine.Entry{Key: "a/2", Value: []byte("y"), Revision: revision}, watched(t, ch))

	apply(t, s, engine.Delete("a/1"))
	e = watched(t, ch)
	require.Equal(t, "a/1", e.Key)
	require.True(t, e.Deleted)
	require.Greater(t, e.Revision, stored.Revision)

	require.NoError(t, s.DeletePrefix(t.Context(), "a/"))
	e = watched(t, ch)
	require.Equal(t, "a/2", e.Key)
	require.True(t, e.Deleted)
}

func watchNow(t *testing.T, f *fixture) {
	s := f.state(t)
	apply(t, s, engine.Put("k/old", nil))
	ch := s.Watch(t.Context(), "k/")
	apply(t, s, engine.Put("k/new", nil))
	require.Equal(t, "k/new", watched(t, ch).Key)
}

func watchSlow(t *testing.T, f *fixture) {
	s := f.state(t)
	ch := s.Watch(t.Context(), "")
	for i := range 500 {
		apply(t, s, engine.Put(fmt.Sprintf("k/%d", i%3), fmt.Append(nil, i)))
	}
	last := map[string]string{}
	seen := 0
	for last["k/0"] != "498" || last["k/1"] != "499" || last["k/2"] != "497" {
		e := watched(t, ch)
		last[e.Key] = string(e.Value)
		seen++
	}
	require.LessOrEqual(t, seen, 500)
	select {
	case e := <-ch:
		require.Equal(t, last[e.Key], string(e.Value), "an old value after the last one")
	default:
	}
}

func watchEnds(t *testing.T, f *fixture) {
	s := f.state(t)
	ctx, cancel := context.WithCancel(t.Context())
	one, other := s.Watch(ctx, ""), s.Watch(t.Context(), "")
	apply(t, s, engine.Put("k", nil))
	cancel()
	for range one {
	}
	require.Equal(t, "k", watched(t, other).Key)
	require.NoError(t, f.engine.Close())
	for range other {
	}
	for range s.Watch(t.Context(), "") {
		t.Error("a watch on a closed engine reports something")
	}
}

// watchThenList follows keys while others write them: Watch first, List then.
func watchThenList(t *testing.T, f *fixture) {
	s := f.state(t)
	const writers, each = 4, 60
	var wg sync.WaitGroup
	begun := make(chan struct{}, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := s.Apply(t.Context(), engine.Put(fmt.Sprintf("%d/%d", w, i), nil)); err != nil {
					t.Error(err)
					return
				}
				begun <- struct{}{}
			}
		})
	}
	for range 20 {
		<-begun
	}
	ch := s.Watch(t.Context(), "")
	keys, _ := list(t, s, "")
	seen := map[string]bool{}
	for _, k := range keys {
		seen[k] = true
	}
	for len(seen) < writers*each {
		seen[watched(t, ch).Key] = true
	}
	wg.Wait()
}

func wholeClosed(t *testing.T, f *fixture) {
	e := f.start(t)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)
	s := e.State()
	require.NoError(t, e.Close())
	require.NoError(t, e.Close(), "closing again is fine")

	ctx := t.Context()
	_, err = e.Log(ctx, "a")
	require.ErrorIs(t, err, engine.ErrClosed)
	require.ErrorIs(t, e.DropLog(ctx, "a"), engine.ErrClosed)
	require.ErrorIs(t, l.Append(ctx, block(1, 1)), engine.ErrClosed)
	_, err = l.Read(ctx, 1)
	require.ErrorIs(t, err, engine.ErrClosed)
	_, err = l.Next(ctx, 1)
	require.ErrorIs(t, err, engine.ErrClosed)
	_, err = l.Last(ctx)
	require.ErrorIs(t, err, engine.ErrClosed)
	_, err = l.Size(ctx)
	require.ErrorIs(t, err, engine.ErrClosed)
	require.ErrorIs(t, l.TrimFront(ctx, 1), engine.ErrClosed)
	require.ErrorIs(t, l.TrimBack(ctx, 1), engine.ErrClosed)
	_, err = s.Get(ctx, "k")
	require.ErrorIs(t, err, engine.ErrClosed)
	require.ErrorIs(t, s.Apply(ctx, engine.Put("k", nil)), engine.ErrClosed)
	_, err = s.CompareAndSet(ctx, "k", 0, nil)
	require.ErrorIs(t, err, engine.ErrClosed)
	require.ErrorIs(t, s.DeletePrefix(ctx, "k"), engine.ErrClosed)
	for _, err := range s.List(ctx, "") {
		require.ErrorIs(t, err, engine.ErrClosed)
	}
	e.Usage() // need not know, must not fail
}

func wholeUsage(t *testing.T, f *fixture) {
	e := f.start(t)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)
	for i := range uint64(40) {
		appendBlocks(t, l, block(i, 1<<20))
	}
	for range 2 {
		u := e.Usage()
		require.Greater(t, u.Used, uint64(35<<20))
		require.Less(t, u.Used, uint64(200<<20))
		require.NotZero(t, u.Free)
		require.GreaterOrEqual(t, u.Total, u.Free)
		e = f.start(t)
	}
	l, err = e.Log(t.Context(), "a")
	require.NoError(t, err)
	before := e.Usage().Used
	require.NoError(t, l.TrimFront(t.Context(), 39))
	require.Eventually(t, func() bool { return e.Usage().Used+20<<20 < before }, 20*time.Second, 20*time.Millisecond)
}

func wholeContext(t *testing.T, f *fixture) {
	e := f.start(t)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, l.Append(ctx, block(1, 1)), context.Canceled)
	require.ErrorIs(t, e.State().Apply(ctx, engine.Put("k", nil)), context.Canceled)
	_, err = e.State().Get(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
	_, err = l.Read(ctx, 1)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, content(t, l))
	_, ok := get(t, e.State(), "k")
	require.False(t, ok)
}
