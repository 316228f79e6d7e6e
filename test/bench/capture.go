package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// drain is one contender's way through a backlog.
type drain struct {
	took      time.Duration
	walsender time.Duration // CPU
	client    time.Duration // CPU
	peak      int64         // resident memory
}

// contest collects the rounds of one workload over one transport.
type contest struct {
	ours, theirs []drain
	disturbed    disturbance
}

// million is the size of every backlog at scale 1.
const million = 1_000_000

// capture measures how fast a backlog is drained: from the moment that the client has the slot until the slot's confirmed position has passed
// the backlog.
func (b *bench) capture(ctx context.Context) error {
	speed := b.report.add("capture", "Capture: draining a backlog", 2, "Workload", "Connection", "Sequin (rows/s)", "pg_recvlogical (rows/s)", "Times as fast",
		"Goal", others)
	cpu := b.report.add("capture-cpu", "Capture: CPU seconds a million changes, and memory", 2, "Workload", "Connection", "Walsender, Sequin",
		"Walsender, pg_recvlogical", "Sequin", "pg_recvlogical", "Sequin's peak memory (MiB)")
	speed.note("Rows a second, and how many times as fast Sequin was: the median of the rounds' ratios, with the smallest and the largest.")
	for _, w := range workloads() {
		if !slices.Contains(b.opts.backlogs, w.name) {
			continue
		}
		changes := b.scaled(million)
		end, err := b.backlog(ctx, w, changes)
		if err != nil {
			return err
		}
		for _, socket := range []bool{false, true} {
			c, err := b.contest(ctx, w, end, socket)
			if err != nil {
				return err
			}
			c.rows(speed, cpu, w, socket, changes)
		}
		if err := b.clear(ctx); err != nil {
			return err
		}
	}
	return nil
}

// contest runs both contenders in turns, each round in the other order than the one before.
func (b *bench) contest(ctx context.Context, w workload, end string, socket bool) (contest, error) {
	var c contest
	for round := range b.opts.rounds {
		var ours, theirs drain
		turns := []func() error{
			func() (err error) {
				theirs, err = b.turn(ctx, &c, w, "pg_recvlogical", end, socket, b.drainTheirs)
				return err
			},
			func() (err error) { ours, err = b.turn(ctx, &c, w, "sequin", end, socket, b.drainOurs); return err },
		}
		for i := range turns {
			if err := turns[(i+round)%2](); err != nil {
				return c, err
			}
		}
		c.ours, c.theirs = append(c.ours, ours), append(c.theirs, theirs)
	}
	return c, nil
}

type drainer func(ctx context.Context, slot, end string, socket bool) (drain, error)

// turn gives one contender a slot of its own.
func (b *bench) turn(ctx context.Context, c *contest, w workload, who, end string, socket bool, run drainer) (drain, error) {
	var found drain
	d, err := b.measure(ctx, fmt.Sprintf("%s, %s, %s", w.name, connection(socket), who), func(ctx context.Context) (string, error) {
		slot, err := b.copySlot(ctx)
		if err != nil {
			return "", err
		}
		if found, err = run(ctx, slot, end, socket); err != nil {
			return "", err
		}
		return found.took.Round(time.Millisecond).String(), b.dropSlot(ctx, slot)
	})
	c.disturbed.join(d)
	return found, err
}

func (b *bench) drainTheirs(ctx context.Context, slot, end string, socket bool) (drain, error) {
	client, err := b.receive(slot, publication, end, socket, nil)
	if err != nil {
		return drain{}, err
	}
	defer client.kill()
	return b.drained(ctx, slot, end, client)
}

func (b *bench) drainOurs(ctx context.Context, slot, end string, socket bool) (drain, error) {
	s, err := b.serve(ctx, config{slot: slot, publication: publication, socket: socket, sinks: []string{pullSink("pull")}})
	if err != nil {
		return drain{}, err
	}
	defer s.remove()
	d, err := b.drained(ctx, slot, end, s.child)
	d.peak = s.peak()
	return d, err
}

// drained waits until the client is through.
func (b *bench) drained(ctx context.Context, slot, end string, client *child) (drain, error) {
	w, err := b.attached(ctx, slot, client)
	if err != nil {
		return drain{}, err
	}
	cpu := client.cpu()
	if err := b.confirmed(ctx, slot, end, client, w); err != nil {
		return drain{}, err
	}
	return drain{took: time.Since(w.begun), walsender: w.cpu, client: client.cpu() - cpu}, nil
}

func connection(socket bool) string {
	if socket {
		return "unix socket"
	}
	return "TCP"
}

// of collects one value of every round.
func of(all []drain, value func(drain) float64) sample {
	s := make(sample, len(all))
	for i, d := range all {
		s[i] = value(d)
	}
	return s
}

// rows adds a contest to the tables.
func (c *contest) rows(speed, cpu *table, w workload, socket bool, changes int) {
	rate := func(d drain) float64 { return float64(changes) / d.took.Seconds() }
	ours, theirs := of(c.ours, rate), of(c.theirs, rate)
	ratio := ratios(ours, theirs)
	goal := fmt.Sprintf("≥ %.1f", w.goal)
	if ratio.median() < w.goal {
		goal += " ✗"
	}
	speed.row(w.about, connection(socket), number(ours.median(), 0), number(theirs.median(), 0), ratio.spread(2), goal, c.disturbed.String())
	each := float64(million) / float64(changes)
	sender := func(d drain) float64 { return d.walsender.Seconds() * each }
	client := func(d drain) float64 { return d.client.Seconds() * each }
	peak := func(d drain) float64 { return mebibytes(d.peak) }
	cpu.row(w.about, connection(socket), number(of(c.ours, sender).median(), 1), number(of(c.theirs, sender).median(), 1),
		number(of(c.ours, client).median(), 1), number(of(c.theirs, client).median(), 1), number(of(c.ours, peak).median(), 0))
}
