package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// delay is what one round found about one way of delivery.
type delay struct {
	p50, p99, most time.Duration // from the return of COMMIT
	row50, row99   time.Duration // from the row's own clock, so with the commit itself
}

// way is a way from commit to reader. It delivers into the timeline until ctx ends, and calls ready once it streams.
type way struct {
	name string
	run  func(b *bench, ctx context.Context, slot string, t *timeline, ready func()) error
}

func ways() []way {
	return []way{
		{"pg_recvlogical into a pipe", (*bench).pipe},
		{"Sequin, webhook", (*bench).webhook},
		{"Sequin, long poll", (*bench).longPoll},
	}
}

// pollers is how many clients pull at once in the measurement of long polls.
const pollers = 4

// latency measures from commit to arrival, one way after the other under the same load.
func (b *bench) latency(ctx context.Context) error {
	t := b.report.add("latency", "Latency: from commit to the reader", 2, "Load", "Way", "p50 (ms)", "p99 (ms)", "max (ms)", "p99 to pg_recvlogical's",
		"row p50 (ms)", "row p99 (ms)", others)
	t.note("Medians of the rounds. p50, p99 and max count from the moment the writer's COMMIT returned (0 for what was there before), the row's from "+
		"the server's clock at the insertion, so with the commit and its sync. The ratio of the p99 is taken round by round. The webhook takes one "+
		"message a request, with the defaults; long polls are %d clients that receive up to 100 and acknowledge.", pollers)
	for _, p := range []pace{
		{rate: 1000, perTx: 1, connections: 4, lasting: b.lasting(15 * time.Second)},
		{rate: 5000, perTx: 5, connections: 4, lasting: b.lasting(15 * time.Second)},
	} {
		found := make([][]delay, len(ways()))
		disturbed := make([]disturbance, len(ways()))
		for round := range b.opts.rounds {
			for i := range ways() {
				k := (i + round) % len(ways())
				d, dist, err := b.delay(ctx, p, ways()[k])
				if err != nil {
					return err
				}
				found[k] = append(found[k], d)
				disturbed[k].join(dist)
			}
		}
		for k, w := range ways() {
			delayRow(t, p, w.name, found[k], found[0], disturbed[k])
		}
	}
	return nil
}

func delayRow(t *table, p pace, name string, found, reference []delay, disturbed disturbance) {
	column := func(all []delay, value func(delay) time.Duration) sample {
		var s sample
		for _, d := range all {
			s = append(s, millis(value(d)))
		}
		return s
	}
	p99 := func(d delay) time.Duration { return d.p99 }
	ratio := ratios(column(found, p99), column(reference, p99))
	median := func(value func(delay) time.Duration) string { return number(column(found, value).median(), 2) }
	t.row(p.String(), name, median(func(d delay) time.Duration { return d.p50 }), median(p99), median(func(d delay) time.Duration { return d.most }),
		ratio.spread(2), median(func(d delay) time.Duration { return d.row50 }), median(func(d delay) time.Duration { return d.row99 }), disturbed.String())
}

// delay runs one way under one load.
func (b *bench) delay(ctx context.Context, p pace, w way) (delay, disturbance, error) {
	var found delay
	d, err := b.measure(ctx, fmt.Sprintf("%d/s, %s", p.rate, w.name), func(ctx context.Context) (string, error) {
		t, err := b.deliver(ctx, p, w)
		if err != nil {
			return "", err
		}
		warmUp := min(p.rate, p.changes()/4)
		committed, written := t.delays(t.committed, warmUp), t.delays(t.written, warmUp)
		found = delay{
			p50: quantile(committed, 0.5), p99: quantile(committed, 0.99), most: quantile(committed, 1),
			row50: quantile(written, 0.5), row99: quantile(written, 0.99),
		}
		return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, max %.1f ms", millis(found.p50), millis(found.p99), millis(found.most)), nil
	})
	return found, d, err
}

// deliver sets up a table and a slot, starts the way, writes at the pace, and waits until all has arrived.
func (b *bench) deliver(ctx context.Context, p pace, w way) (*timeline, error) {
	slot := b.unique("live")
	tables := "bench_stream"
	if b.refill {
		tables += ", bench_narrow"
	}
	if err := b.exec(ctx, createStream, "create publication "+publication+" for table "+tables); err != nil {
		return nil, err
	}
	if err := b.createSlot(ctx, slot); err != nil {
		return nil, err
	}
	t := newTimeline(p.changes())
	running, stop := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	ready := make(chan struct{})
	group.Go(func() error { return w.run(b, running, slot, t, func() { close(ready) }) })
	group.Go(func() error {
		defer stop()
		select {
		case <-ready:
		case <-running.Done():
			return nil
		}
		if err := b.stream(running, p, t, 1); err != nil {
			return err
		}
		return t.complete(running, 30*time.Second)
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := b.dropSlot(ctx, slot); err != nil {
		return nil, err
	}
	return t, b.exec(ctx, "drop publication "+publication, "drop table bench_stream")
}

func (b *bench) pipe(ctx context.Context, slot string, t *timeline, ready func()) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	client, err := b.receive(slot, publication, "", false, w)
	_ = w.Close() // the child has its own
	if err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() { read <- readPgoutput(io.Reader(r), t.note) }()
	if _, err := b.attached(ctx, slot, client); err != nil {
		client.kill()
		return err
	}
	ready()
	select {
	case <-ctx.Done():
		client.kill()
		return <-read // what was left in the pipe is no whole message, and no error
	case err := <-read:
		client.kill()
		return err
	}
}

func (b *bench) webhook(ctx context.Context, slot string, t *timeline, ready func()) error {
	hook, err := listen(func(at time.Time, body []byte) { t.note(at, arrivals(nil, body)) })
	if err != nil {
		return err
	}
	defer hook.close()
	s, err := b.serve(ctx, config{
		slot: slot, publication: publication, endpoints: []string{"{name: hook, url: " + hook.url + "}"},
		sinks: []string{"{name: hook, database: db, start: beginning, destination: {type: webhook, http_endpoint: hook, batch: false}}"},
	})
	if err != nil {
		return err
	}
	defer s.remove()
	if _, err := b.attached(ctx, slot, s.child); err != nil {
		return err
	}
	ready()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.until(ctx) })
	group.Go(func() error { return b.refilling(ctx, s, "hook") })
	return group.Wait()
}

func (b *bench) longPoll(ctx context.Context, slot string, t *timeline, ready func()) error {
	s, err := b.serve(ctx, config{slot: slot, publication: publication, sinks: []string{pullSink("pull")}})
	if err != nil {
		return err
	}
	defer s.remove()
	if err := s.exists(ctx, "pull"); err != nil {
		return err
	}
	if _, err := b.attached(ctx, slot, s.child); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for range pollers {
		group.Go(func() error {
			return s.pull(ctx, "pull", 100, func(at time.Time, reply []byte) { t.note(at, arrivals(nil, reply)) }, func(int) {})
		})
	}
	group.Go(func() error { return b.refilling(ctx, s, "pull") })
	ready()
	return group.Wait()
}

// until waits for ctx, or for the program's unexpected end.
func (s *sequin) until(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.done:
		return s.alive()
	}
}
