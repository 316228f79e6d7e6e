package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// pull measures how many messages clients receive and acknowledge.
func (b *bench) pull(ctx context.Context) error {
	t := b.report.add("pull", "Pull: messages received and durably acknowledged", 0, "Batch", "Workers", "Messages/s", "Receive and ack pairs/s",
		"Sequin's CPU (cores)", others)
	t.note("From a backlog; each worker receives a batch, acknowledges it in one call, and goes on. A call returns when what it says is synced. " +
		"The clients share the machine.")
	f, err := b.fill(ctx, b.scaled(million))
	if err != nil {
		return err
	}
	defer f.remove()
	for _, batch := range []int{1, 10, 100, 1000} {
		for _, workers := range []int{1, 8, 32} {
			var rates, pairs, cpu sample
			var disturbed disturbance
			for range b.opts.rounds {
				var p pulled
				d, err := b.measure(ctx, fmt.Sprintf("batch %d, %d workers", batch, workers), func(ctx context.Context) (what string, err error) {
					p, err = f.pulling(ctx, batch, workers)
					return number(p.rate, 0) + " messages/s", err
				})
				if err != nil {
					return err
				}
				disturbed.join(d)
				rates, pairs, cpu = append(rates, p.rate), append(pairs, p.pairs), append(cpu, p.cpu)
			}
			t.row(number(float64(batch), 0), number(float64(workers), 0), rates.spread(0), number(pairs.median(), 0), number(cpu.median(), 2), disturbed.String())
		}
	}
	return f.end(ctx)
}

type pulled struct{ rate, pairs, cpu float64 }

// pulling lets workers pull from a new sink for a while, or until they have everything.
func (f *filled) pulling(ctx context.Context, batch, workers int) (pulled, error) {
	sink := f.b.unique("pull")
	// The bounds are out of the way: 32 workers may hold 1,000 messages each.
	err := f.with("", fmt.Sprintf("{name: %s, database: db, start: beginning, max_ack_pending: 100000, max_waiting: 100, destination: {type: sequin_stream}}", sink))
	if err != nil {
		return pulled{}, err
	}
	if err := f.exists(ctx, sink); err != nil {
		return pulled{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.b.lasting(4*time.Second))
	defer cancel()
	var messages, calls atomic.Int64
	begun, cpu := time.Now(), f.cpu()
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			return f.sequin.pull(ctx, sink, batch, func(time.Time, []byte) {}, func(n int) {
				calls.Add(1)
				if messages.Add(int64(n)) >= int64(f.changes) {
					cancel()
				}
			})
		})
	}
	err = group.Wait()
	elapsed := time.Since(begun).Seconds()
	return pulled{
		rate: float64(messages.Load()) / elapsed, pairs: float64(calls.Load()) / elapsed, cpu: (f.cpu() - cpu).Seconds() / elapsed,
	}, err
}
