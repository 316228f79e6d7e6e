package consumer_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
)

// Workers pull and acknowledge on a real engine; the power goes, and what was acknowledged before does not come back while everything else
// does.
func TestPowerLossKeepsAcks(t *testing.T) {
	t.Parallel()
	const n, rounds = 6000, 5
	log := newEndless(n, func(seq uint64) string { return distinct(seq % 700) })
	cfg := pullConfig()
	cfg.AckWait, cfg.MaxWaiting = 300*time.Millisecond, 100
	disk := powerloss.New()
	var mu sync.Mutex
	acked, seen := map[uint64]bool{}, map[uint64]bool{}

	for round := range uint64(rounds) {
		engine, err := disk.Open(t.Context(), powerloss.Options{})
		require.NoError(t, err)
		c := start(t, log, engine.State(), cfg)
		ctx, cancel := context.WithCancel(t.Context())
		mu.Lock()
		before := len(acked)
		mu.Unlock()
		var wg sync.WaitGroup
		errs := make(chan error, 8)
		for range 8 {
			wg.Go(func() { errs <- pullAll(ctx, c, &mu, acked, seen, round < rounds-1) })
		}
		target := before + n/rounds
		if round == rounds-1 {
			target = n
		}
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(acked) >= target || len(seen) == n && c.Cursor() == n+1
		}, time.Minute, time.Millisecond)
		// What the workers knew at this moment must hold on the disk as the cut leaves it.
		mu.Lock()
		known := make(map[uint64]bool, len(acked))
		for seq := range acked {
			known[seq] = true
		}
		disk = disk.Cut(round)
		mu.Unlock()
		cancel()
		wg.Wait()
		for range 8 {
			require.NoError(t, <-errs)
		}
		c.stop()
		require.NoError(t, engine.Close())
		mu.Lock()
		acked = known
		mu.Unlock()
	}
	require.Len(t, seen, n, "nothing is lost")
}

// pullAll receives and acknowledges until ctx ends; with slack, some messages are left to their leases.
func pullAll(ctx context.Context, c *running, mu *sync.Mutex, acked, seen map[uint64]bool, slack bool) error {
	for i := 0; ctx.Err() == nil; i++ {
		ds, err := c.Receive(ctx, consumer.ReceiveOptions{Max: 10, Wait: time.Second})
		if err != nil {
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		mu.Lock()
		for _, d := range ds {
			if acked[d.Seq] {
				mu.Unlock()
				return errors.New("message " + distinct(d.Seq) + " was acknowledged before")
			}
			seen[d.Seq] = true
		}
		mu.Unlock()
		if slack && i%20 == 19 && len(ds) > 1 {
			ds = ds[1:]
		}
		if len(ds) == 0 {
			continue
		}
		if err := c.Ack(ctx, ackIDs(ds)); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		mu.Lock()
		for _, d := range ds {
			acked[d.Seq] = true
		}
		mu.Unlock()
	}
	return nil
}
