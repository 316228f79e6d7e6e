package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// spreading is one round of fan-out.
type spreading struct {
	captured  time.Duration // until the backlog was confirmed
	delivered time.Duration // until every consumer had all of it
	cpu       time.Duration
	peak      int64
}

// fanout measures what ten consumers of one table cost, compared with one: from an empty log until each has been delivered the whole backlog.
func (b *bench) fanout(ctx context.Context) error {
	t := b.report.add("fanout", "Fan-out: several webhook consumers of one table, in batches of 100", 0, "Consumers", "Captured (rows/s)", "Delivered (messages/s)",
		"CPU seconds a million deliveries", "CPU seconds a million changes", "Peak memory (MiB)", others)
	t.note("From an empty log until every consumer has the whole backlog; changes are captured and delivered at the same time. Decoding and encoding " +
		"happen once, not once a consumer.")
	changes := b.scaled(200_000)
	end, err := b.backlog(ctx, workloads()[1], changes)
	if err != nil {
		return err
	}
	counts := []int{1, 10}
	found, disturbed := make([][]spreading, len(counts)), make([]disturbance, len(counts))
	for round := range b.opts.rounds {
		for i := range counts {
			k := (i + round) % len(counts)
			var s spreading
			d, err := b.measure(ctx, fmt.Sprintf("%d consumers", counts[k]), func(ctx context.Context) (what string, err error) {
				s, err = b.spread(ctx, counts[k], changes, end)
				return s.delivered.Round(time.Millisecond).String(), err
			})
			if err != nil {
				return err
			}
			found[k] = append(found[k], s)
			disturbed[k].join(d)
		}
	}
	for k, n := range counts {
		column := func(value func(s spreading) float64) sample {
			var all sample
			for _, s := range found[k] {
				all = append(all, value(s))
			}
			return all
		}
		deliveries := float64(changes * n)
		t.row(number(float64(n), 0),
			number(column(func(s spreading) float64 { return float64(changes) / s.captured.Seconds() }).median(), 0),
			column(func(s spreading) float64 { return deliveries / s.delivered.Seconds() }).spread(0),
			number(column(func(s spreading) float64 { return s.cpu.Seconds() * million / deliveries }).median(), 1),
			number(column(func(s spreading) float64 { return s.cpu.Seconds() * million / float64(changes) }).median(), 1),
			number(column(func(s spreading) float64 { return mebibytes(s.peak) }).median(), 0), disturbed[k].String())
	}
	return b.clear(ctx)
}

func (b *bench) spread(ctx context.Context, consumers, changes int, end string) (spreading, error) {
	var messages atomic.Int64
	all := make(chan struct{})
	hook, err := listen(func(_ time.Time, body []byte) {
		n := int64(messagesIn(body, posting{batch: 100}))
		if now := messages.Add(n); now >= int64(changes*consumers) && now-n < int64(changes*consumers) {
			close(all)
		}
	})
	if err != nil {
		return spreading{}, err
	}
	defer hook.close()
	slot, err := b.copySlot(ctx)
	if err != nil {
		return spreading{}, err
	}
	c := config{slot: slot, publication: publication, endpoints: []string{"{name: hook, url: " + hook.url + "}"}}
	for i := range consumers {
		c.sinks = append(c.sinks, fmt.Sprintf("{name: hook-%d, database: db, start: beginning, batch_size: 100, destination: {type: webhook, http_endpoint: hook}}", i))
	}
	s, err := b.serve(ctx, c)
	if err != nil {
		return spreading{}, err
	}
	defer s.remove()
	w, err := b.attached(ctx, slot, s.child)
	if err != nil {
		return spreading{}, err
	}
	if err := b.confirmed(ctx, slot, end, s.child, w); err != nil {
		return spreading{}, err
	}
	found := spreading{captured: time.Since(w.begun)}
	select {
	case <-all:
	case <-ctx.Done():
		return found, ctx.Err()
	case <-s.done:
		return found, s.alive()
	}
	found.delivered, found.cpu, found.peak = time.Since(w.begun), s.cpu(), s.peak()
	s.kill()
	return found, b.dropSlot(ctx, slot)
}
