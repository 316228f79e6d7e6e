package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
)

// ledger is what an engine promised: the last block of its log, and the last value of each key.
type ledger struct {
	block atomic.Uint64
	front atomic.Uint64
	keys  [3]atomic.Uint64

	progress chan struct{} // fed after each append while somebody listens
	pause    sync.RWMutex  // held by the auditor, so that the load does not slow it down
}

// turn lets the auditor in between two writes.
func (l *ledger) turn(ctx context.Context) bool {
	l.pause.RLock()
	defer l.pause.RUnlock()
	return ctx.Err() == nil
}

// load writes until ctx ends and keeps the ledger: each entry is made after the write returned.
func load(ctx context.Context, e *embedded.Engine, led *ledger) error {
	l, err := e.Log(ctx, "a")
	if err != nil {
		return err
	}
	errs := make(chan error, 1+len(led.keys))
	var wg sync.WaitGroup
	wg.Go(func() { errs <- loadLog(ctx, l, led) })
	for k := range led.keys {
		wg.Go(func() { errs <- loadKey(ctx, e.State(), k, led) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func loadLog(ctx context.Context, l engine.Log, led *ledger) error {
	for n := uint64(1); led.turn(ctx); n += 3 {
		blocks := []engine.Block{numbered(n, 3000), numbered(n+1, 10), numbered(n+2, 20<<10)}
		if n%60 == 1 {
			blocks[1] = numbered(n+1, 1<<20+5) // in parts
		}
		if err := l.Append(ctx, blocks...); err != nil {
			return err
		}
		led.block.Store(n + 2)
		select {
		case led.progress <- struct{}{}:
		default:
		}
		if n%30 == 1 && n > 60 {
			if err := l.TrimFront(ctx, n-60); err != nil {
				return err
			}
			led.front.Store(n - 60)
		}
	}
	return nil
}

func loadKey(ctx context.Context, s engine.State, k int, led *ledger) error {
	for n := uint64(1); led.turn(ctx); n++ {
		a, b := fmt.Sprintf("a/%d", k), fmt.Sprintf("b/%d", k)
		if err := s.Apply(ctx, engine.Put(a, fmt.Append(nil, n)), engine.Put(b, fmt.Append(nil, n))); err != nil {
			return err
		}
		led.keys[k].Store(n)
	}
	return nil
}

// audit compares a disk after the cut with the ledger of before, and returns what is wrong.
func audit(ctx context.Context, disk *powerloss.Disk, block, front uint64, keys []uint64) (wrong error) {
	e, err := disk.Open(ctx, powerloss.Options{})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { wrong = errors.Join(wrong, e.Close()) }()
	l, err := e.Log(ctx, "a")
	if err != nil {
		return err
	}
	seq := uint64(0)
	for {
		b, err := l.Next(ctx, seq)
		if errors.Is(err, engine.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		if seq != 0 && b.First != seq+1 {
			return fmt.Errorf("block %d follows %d", b.First, seq)
		}
		if seq == 0 && b.First < front {
			return fmt.Errorf("block %d is back after a trim to %d", b.First, front)
		}
		if !bytes.Equal(b.Data, numbered(b.First, len(b.Data)).Data) {
			return fmt.Errorf("block %d has other data", b.First)
		}
		seq = b.First
	}
	if seq < block {
		return fmt.Errorf("the log ends at %d, %d was promised", seq, block)
	}
	for k, n := range keys {
		var got [2]uint64
		for i, group := range []string{"a", "b"} {
			entry, err := e.State().Get(ctx, fmt.Sprintf("%s/%d", group, k))
			if errors.Is(err, engine.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if _, err := fmt.Sscan(string(entry.Value), &got[i]); err != nil {
				return err
			}
		}
		if got[0] < n || got[1] < n || got[1] > got[0] {
			return fmt.Errorf("key %d is at %v, %d was promised", k, got, n)
		}
	}
	return l.Append(ctx, numbered(seq+1, 10)) // and it goes on
}

// cutOften runs the load on disks that lose their power, each several times, and reports the first promise that was broken.
func cutOften(t *testing.T, opts powerloss.Options, rounds, cuts int) error {
	t.Helper()
	opts.MemtableBytes = 256 << 10 // so that flushes, compactions and new WALs happen all the time
	for round := range rounds {
		disk := powerloss.New()
		e, err := disk.Open(t.Context(), opts)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		led := ledger{progress: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- load(ctx, e, &led) }()
		var wrong error
		for cut := range cuts {
			for range 1 + cut%7 {
				<-led.progress
			}
			block, front := led.block.Load(), led.front.Load()
			var keys []uint64
			for k := range led.keys {
				keys = append(keys, led.keys[k].Load())
			}
			seed := uint64(round*cuts + cut) //nolint:gosec // small
			after := disk.Cut(seed)          // in the middle of things
			led.pause.Lock()
			wrong = audit(t.Context(), after, block, front, keys)
			led.pause.Unlock()
			if wrong != nil {
				wrong = fmt.Errorf("seed %d: %w", seed, wrong)
				break
			}
		}
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, e.Close())
		if wrong != nil {
			return wrong
		}
	}
	return nil
}

// TestPowerCuts cuts the power 200 times under load and finds every promise kept.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	require.NoError(t, cutOften(t, powerloss.Options{}, 10, 20))
}

// TestPowerCutsNoticeASkippedSync is the test of the test: an engine that forgets to sync must not pass it.
func TestPowerCutsNoticeASkippedSync(t *testing.T) {
	t.Parallel()
	require.Error(t, cutOften(t, powerloss.Options{SkipSync: true}, 10, 20))
}
