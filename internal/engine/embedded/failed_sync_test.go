package embedded_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
)

func hasExt(base, ext string) bool { return filepath.Ext(base) == ext }

// once fails the first operation that matches.
func once(op string, match func(base string) bool) (fail func(op, base string) error, hit *atomic.Bool) {
	hit = &atomic.Bool{}
	return func(o, base string) error {
		if o == op && match(base) && hit.CompareAndSwap(false, true) {
			return syscall.EIO
		}
		return nil
	}, hit
}

// TestFailedSyncIsNotForgotten breaks each kind of operation that Pebble cannot survive, under load from many goroutines. Whatever was
// reported as written must be there, on the engine that recovers by itself and on what a power cut leaves.
func TestFailedSyncIsNotForgotten(t *testing.T) {
	t.Parallel()
	isLog := func(base string) bool { return hasExt(base, ".log") }
	isManifest := func(base string) bool { return strings.HasPrefix(base, "MANIFEST") }
	isStoreDir := func(base string) bool { return base == "store" }
	for _, tt := range []struct {
		name, op string
		match    func(string) bool
	}{
		{"wal sync", "sync", isLog},
		{"wal write", "write", isLog},
		{"wal create", "create", isLog},
		{"manifest sync", "sync", isManifest},
		{"manifest write", "write", isManifest},
		{"directory sync", "sync", isStoreDir},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2) {
				breakOnce(t, seed, tt.op, tt.match)
			}
		})
	}
}

func breakOnce(t *testing.T, seed uint64, op string, match func(string) bool) {
	t.Helper()
	disk := powerloss.New()
	faults := &faultFS{FS: disk.FS()}
	open := func(fs *faultFS) *embedded.Engine {
		e, err := embedded.Open(t.Context(), embedded.Options{Dir: powerloss.Dir, FS: fs, MemtableBytes: 256 << 10})
		require.NoError(t, err)
		return e
	}
	e := open(faults)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const workers = 4
	var acked [workers]atomic.Uint64
	var failures atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			l, err := e.Log(t.Context(), string(rune('a'+w)))
			if err != nil {
				t.Error(err)
				return
			}
			for n := uint64(1); ctx.Err() == nil; {
				err := l.Append(t.Context(), numbered(n, 6<<10))
				if err == nil {
					err = e.State().Apply(t.Context(), engine.Put(string(rune('a'+w)), numbered(n, 16).Data))
				}
				if err != nil {
					failures.Add(1)
					<-time.After(time.Millisecond) // while it is being reopened
					continue
				}
				acked[w].Store(n)
				n++
			}
		})
	}
	progress := func(by uint64) {
		var from [workers]uint64
		for w := range workers {
			from[w] = acked[w].Load()
		}
		require.Eventually(t, func() bool {
			for w := range workers {
				if acked[w].Load() < from[w]+by {
					return false
				}
			}
			return true
		}, 30*time.Second, time.Millisecond, "writers are stuck")
	}
	progress(5 + seed*10)
	fail, hit := once(op, match)
	faults.set(fail)
	require.Eventually(t, func() bool { return hit.Load() && failures.Load() > 0 }, 30*time.Second, time.Millisecond,
		"the failure is not reported to any writer")
	progress(15)
	cancel()
	wg.Wait()

	check := func(e *embedded.Engine) {
		for w := range workers {
			name := string(rune('a' + w))
			l, err := e.Log(t.Context(), name)
			require.NoError(t, err)
			require.GreaterOrEqual(t, verify(t, l, 6<<10), acked[w].Load())
			entry, err := e.State().Get(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, numbered(acked[w].Load(), 16).Data, entry.Value)
		}
	}
	cut := &faultFS{FS: disk.Cut(seed).FS()}
	check(e)
	require.NoError(t, e.Close())
	e = open(cut)
	check(e)
	require.NoError(t, e.Close())
}

// TestUnsyncedWritesAreGoneAfterFailedSync: a sync that fails takes its writes with it if the disk lost them, and readers see that.
func TestUnsyncedWritesAreGoneAfterFailedSync(t *testing.T) {
	t.Parallel()
	faults := &faultFS{FS: powerloss.New().FS()}
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: "/data", FS: faults})
	require.NoError(t, err)
	s := e.State()
	require.NoError(t, s.Apply(t.Context(), engine.Put("k", []byte("old"))))
	watch := s.Watch(t.Context(), "")
	faults.set(func(op, base string) error { // the write is lost on the way, and the sync says so
		if hasExt(base, ".log") && (op == "write" || op == "sync") {
			return syscall.EIO
		}
		return nil
	})
	require.ErrorIs(t, s.Apply(t.Context(), engine.Put("k", []byte("new"))), syscall.EIO)
	require.Error(t, s.Apply(t.Context(), engine.Put("k", []byte("newer"))))
	faults.set(nil)
	require.Eventually(t, func() bool {
		entry, err := s.Get(t.Context(), "k")
		return err == nil && string(entry.Value) == "old"
	}, 20*time.Second, 5*time.Millisecond)
	entry := <-watch // whoever watches hears what the key is now
	require.Equal(t, "k", entry.Key)
	require.Equal(t, "old", string(entry.Value))
	revision, err := s.CompareAndSet(t.Context(), "k", entry.Revision, []byte("next"))
	require.NoError(t, err)
	require.Greater(t, revision, entry.Revision)
	require.NoError(t, e.Close())
}

// TestDiskThatStaysBroken: errors, no hang, and an orderly end.
func TestDiskThatStaysBroken(t *testing.T) {
	t.Parallel()
	faults := &faultFS{FS: powerloss.New().FS()}
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: "/data", FS: faults})
	require.NoError(t, err)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)
	require.NoError(t, l.Append(t.Context(), numbered(1, 100)))
	faults.set(func(op, _ string) error {
		if op != "create" {
			return syscall.EIO
		}
		return nil
	})
	for range 20 {
		require.Error(t, l.Append(t.Context(), numbered(2, 100)))
		_, err = e.State().Get(t.Context(), "k")
		require.Error(t, err)
	}
	require.NoError(t, e.Close())
	require.ErrorIs(t, l.Append(t.Context(), numbered(2, 100)), engine.ErrClosed)
}
