package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
)

// ledger is what workers and an operator know to be done, and when they knew it.
type ledger struct {
	mu        sync.Mutex
	now       int
	done      map[uint64]int  // when
	seen      map[uint64]bool // received, or meant to be discarded
	discarded int
}

func (l *ledger) time() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// settle notes what was done.
func (l *ledger) settle(seqs []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now++
	for _, seq := range seqs {
		l.done[seq] = l.now
	}
}

// judge checks what was received by somebody who began to wait at a time.
func (l *ledger) judge(ds []*consumer.Delivery, began int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range ds {
		l.seen[d.Seq] = true
		if at, done := l.done[d.Seq]; done && at <= began {
			return fmt.Errorf("message %d was done at %d, and comes at %d", d.Seq, at, began)
		}
	}
	return nil
}

func (l *ledger) pull(ctx context.Context, c *running) error {
	for i := 0; ctx.Err() == nil; i++ {
		began := l.time()
		ds, err := c.Receive(ctx, consumer.ReceiveOptions{Max: 10, Wait: time.Second})
		if err == nil {
			err = l.judge(ds, began)
		}
		if err == nil && i%3 == 0 && len(ds) > 1 {
			ds = ds[1:] // one is left to its lease
		}
		if err == nil && len(ds) > 0 {
			if err = c.Ack(ctx, ackIDs(ds)); err == nil {
				l.settle(seqs(ds))
			}
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// discard discards now and then a few messages of those that the consumer lists.
func (l *ledger) discard(ctx context.Context, c *running, most uint64) error {
	for i := uint64(0); ctx.Err() == nil; i++ {
		page, err := c.Messages(ctx, consumer.MessageQuery{Limit: 3, After: i * 37 % most})
		var sel consumer.Selection
		sel.Seqs = seqsOf(page.Messages)
		l.mu.Lock()
		for _, seq := range sel.Seqs {
			l.seen[seq] = true
		}
		l.mu.Unlock()
		var did consumer.Changed
		if err == nil {
			did, err = c.DiscardMessages(ctx, sel)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			continue
		}
		gone := slices.DeleteFunc(sel.Seqs, func(seq uint64) bool {
			return slices.ContainsFunc(did.Missing, func(m consumer.Missing) bool { return m.Seq == seq })
		})
		l.settle(gone)
		l.mu.Lock()
		l.discarded += len(gone)
		l.mu.Unlock()
	}
	return nil
}

// Workers pull while an operator discards, on a real engine. The power goes, and what was acknowledged or discarded before does not come back
// while everything else does.
func TestPowerLossKeepsDiscards(t *testing.T) {
	t.Parallel()
	const n, rounds = 4000, 4
	log := newEndless(n, func(seq uint64) string { return distinct(seq % 300) })
	cfg := pullConfig()
	cfg.AckWait, cfg.MaxWaiting = 300*time.Millisecond, 100
	disk := powerloss.New()
	l := &ledger{done: map[uint64]int{}, seen: map[uint64]bool{}}

	for round := range uint64(rounds) {
		engine, err := disk.Open(t.Context(), powerloss.Options{})
		require.NoError(t, err)
		c := start(t, log, engine.State(), cfg)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		errs := make(chan error, 5)
		for range 4 {
			wg.Go(func() { errs <- l.pull(ctx, c) })
		}
		wg.Go(func() { errs <- l.discard(ctx, c, n) })
		l.mu.Lock()
		target := len(l.done) + n/rounds
		l.mu.Unlock()
		require.Eventually(t, func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return c.Cursor() == n+1 || (round < rounds-1 && len(l.done) >= target)
		}, time.Minute, time.Millisecond)
		// What they knew at this moment must hold on the disk as the cut leaves it.
		l.mu.Lock()
		known := maps.Clone(l.done)
		disk = disk.Cut(round)
		l.mu.Unlock()
		cancel()
		wg.Wait()
		for range 5 {
			require.NoError(t, <-errs)
		}
		c.stop()
		require.NoError(t, engine.Close())
		l.done = known
	}
	require.Len(t, l.seen, n, "nothing is lost")
	require.Greater(t, l.discarded, 20)
}
