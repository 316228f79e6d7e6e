package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// phase is a part of the load with one pace.
type phase struct {
	name       string
	pace       pace
	first      int // number of its first change
	begun, end time.Time
}

func (b *bench) phases() []phase {
	base := func(d time.Duration) pace {
		return pace{rate: 5000, perTx: 10, connections: 4, lasting: b.lasting(d)}
	}
	burst := base(30 * time.Second)
	burst.rate = 10_000
	return []phase{
		{name: "steady", pace: base(60 * time.Second)},
		{name: "burst", pace: burst},
		{name: "steady", pace: base(30 * time.Second)},
		{name: "burst", pace: burst},
		{name: "steady", pace: base(30 * time.Second)},
	}
}

// Lag counts as gone once it has stayed under calm for as long as quietFor.
const (
	calm     = 100 * time.Millisecond
	quietFor = time.Second
)

// load runs a steady load with bursts into one webhook and one pull consumer at the same time, and looks how lag behaves.
func (b *bench) load(ctx context.Context) error {
	t := b.report.add("load", "Load: 5,000 changes/s with bursts of 10,000/s, to one webhook and one pull consumer", 3, "Consumer", "Phase", "Load",
		"Written (changes/s)", "p50 (ms)", "p99 (ms)", "max (ms)", "Lag under 100 ms after the phase (s)", others)
	t.note("One run of the phases in order, both consumers at once: webhooks in batches of up to 100, %d clients that pull up to 100. Times count from "+
		"the return of COMMIT. The last column but one is the time from the end of a burst until no change was delivered more than %d ms late for %s.",
		pollers, calm.Milliseconds(), quietFor)
	var phases []phase
	var hooked, pulled *timeline
	d, err := b.measure(ctx, "load", func(ctx context.Context) (what string, err error) {
		phases = b.phases()
		hooked, pulled, err = b.loaded(ctx, phases)
		return "done", err
	})
	if err != nil {
		return err
	}
	// The writers note their commits once, for both.
	copy(pulled.committed, hooked.committed)
	for _, c := range []struct {
		name string
		t    *timeline
	}{{"webhook", hooked}, {"pull", pulled}} {
		for i := range phases {
			phaseRow(t, c.name, c.t, phases, i, d)
		}
	}
	return nil
}

func phaseRow(t *table, name string, l *timeline, phases []phase, i int, d disturbance) {
	p := phases[i]
	var delays []time.Duration
	for id := p.first; id < p.first+p.pace.changes(); id++ {
		delays = append(delays, max(0, time.Duration(l.arrived[id]-l.committed[id])))
	}
	slices.Sort(delays)
	after := "-"
	if p.name == "burst" {
		after = number(l.calmAfter(p.end, phases[i+1].end).Seconds(), 1)
	}
	t.row(name, fmt.Sprintf("%d, %s", i+1, p.name), p.pace.String(), number(float64(p.pace.changes())/p.end.Sub(p.begun).Seconds(), 0),
		number(millis(quantile(delays, 0.5)), 2), number(millis(quantile(delays, 0.99)), 2), number(millis(quantile(delays, 1)), 1), after, d.String())
}

// calmAfter is the time from a moment until lag is gone: until the last late arrival that another follows within quietFor.
func (t *timeline) calmAfter(from, until time.Time) time.Duration {
	var late []int64
	for id := 1; id < len(t.arrived); id++ {
		at := t.arrived[id]
		if at >= from.UnixNano() && at < until.UnixNano() && time.Duration(at-t.committed[id]) > calm {
			late = append(late, at)
		}
	}
	slices.Sort(late)
	last := from.UnixNano()
	for _, at := range late {
		if time.Duration(at-last) > quietFor {
			break
		}
		last = at
	}
	return time.Duration(last - from.UnixNano())
}

// loaded runs all phases and waits until both consumers have everything.
func (b *bench) loaded(ctx context.Context, phases []phase) (hooked, pulled *timeline, err error) {
	total := 0
	for i := range phases {
		phases[i].first = total + 1
		total += phases[i].pace.changes()
	}
	hooked, pulled = newTimeline(total), newTimeline(total)
	hook, err := listen(func(at time.Time, body []byte) { hooked.note(at, arrivals(nil, body)) })
	if err != nil {
		return nil, nil, err
	}
	defer hook.close()
	slot := b.unique("live")
	if err := b.exec(ctx, createStream, "create publication "+publication+" for table bench_stream"); err != nil {
		return nil, nil, err
	}
	if err := b.createSlot(ctx, slot); err != nil {
		return nil, nil, err
	}
	s, err := b.serve(ctx, config{
		slot: slot, publication: publication, endpoints: []string{"{name: hook, url: " + hook.url + "}"},
		sinks: []string{pullSink("pull"), "{name: hook, database: db, start: beginning, batch_size: 100, destination: {type: webhook, http_endpoint: hook}}"},
	})
	if err != nil {
		return nil, nil, err
	}
	defer s.remove()
	if err := s.exists(ctx, "pull"); err != nil {
		return nil, nil, err
	}
	if _, err := b.attached(ctx, slot, s.child); err != nil {
		return nil, nil, err
	}
	if err := b.phased(ctx, s, phases, hooked, pulled); err != nil {
		return nil, nil, err
	}
	s.kill()
	if err := b.dropSlot(ctx, slot); err != nil {
		return nil, nil, err
	}
	return hooked, pulled, b.exec(ctx, "drop publication "+publication, "drop table bench_stream")
}

// phased writes phase by phase while clients pull.
func (b *bench) phased(ctx context.Context, s *sequin, phases []phase, hooked, pulled *timeline) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(running)
	for range pollers {
		group.Go(func() error {
			return s.pull(running, "pull", 100, func(at time.Time, reply []byte) { pulled.note(at, arrivals(nil, reply)) }, func(int) {})
		})
	}
	group.Go(func() error { return s.until(running) })
	group.Go(func() error {
		defer stop()
		for i := range phases {
			phases[i].begun = time.Now()
			if err := b.stream(running, phases[i].pace, hooked, phases[i].first); err != nil {
				return err
			}
			phases[i].end = time.Now()
		}
		if err := hooked.complete(running, time.Minute); err != nil {
			return fmt.Errorf("webhook: %w", err)
		}
		if err := pulled.complete(running, time.Minute); err != nil {
			return fmt.Errorf("pull: %w", err)
		}
		return nil
	})
	return group.Wait()
}
