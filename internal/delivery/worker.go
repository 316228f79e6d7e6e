package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/sink"
)

// work is one worker of a generation; taking ends when the run or the generation does. Workers take turns at taking: the one whose turn it
// is takes a batch, passes the turn on and delivers. So batches fill up while others deliver, the consumer has one taker to wake, and a
// batch stays on the goroutine that took it.
func (p *Push) work(taking, delivering, settling context.Context, r *run, gen *generation) {
	for {
		select {
		case p.turn <- struct{}{}:
		case <-taking.Done():
			return
		}
		if taking.Err() != nil {
			<-p.turn
			return
		}
		if err := p.round(taking, delivering, settling, gen); err != nil {
			r.stop(err)
			return
		}
	}
}

// round takes and delivers one batch. It begins with the turn and gives it up as soon as it has taken, unless the destination is thought to
// be away: then it keeps the turn, so that nothing else is tried until this delivery has told more.
func (p *Push) round(taking, delivering, settling context.Context, gen *generation) error {
	passed := false
	pass := func() {
		if !passed {
			passed = true
			<-p.turn
		}
	}
	defer pass()

	probe, err := gen.gate.wait(taking)
	if err != nil {
		return nil // stopped or updated while waiting: the worker's loop sees it
	}
	batch, err := p.source.Take(taking, consumer.TakeOptions{
		Max: gen.BatchSize, MaxBytes: gen.BatchBytes, Linger: p.linger(gen), Hurry: p.hurry, SameGroup: gen.Atomicity != sink.PerMessage,
		MaxRows: max(gen.Workers-max(gen.Workers/4, 1), 1) * max(gen.BatchSize, 1), // the rest is for changes
	})
	switch {
	case taking.Err() != nil: // whatever Take returned, these settings or this run are over
		return p.giveBack(settling, batch)
	case err != nil:
		return errors.Join(fmt.Errorf("take messages of %q: %w", p.name, err), p.giveBack(settling, batch))
	}
	p.carrying.Add(1)
	defer p.carried()
	if !probe || gen.gate.isOpen() {
		pass()
	}
	return p.deliver(delivering, settling, gen, batch)
}

// linger is how long a batch may wait to fill: not at all while no other is under way, for then waiting only costs time. It ends early when that
// comes to be so.
func (p *Push) linger(gen *generation) time.Duration {
	select {
	case <-p.hurry: // of an earlier batch
	default:
	}
	if p.carrying.Load() == 0 {
		return 0
	}
	return gen.Linger
}

// carried tells a batch that lingers when no other is under way any more.
func (p *Push) carried() {
	if p.carrying.Add(-1) > 0 {
		return
	}
	select {
	case p.hurry <- struct{}{}:
	default:
	}
}

// giveBack settles messages that were taken and will not be tried.
func (p *Push) giveBack(settling context.Context, batch []*consumer.Delivery) error {
	if len(batch) == 0 {
		return nil
	}
	results := make([]consumer.Result, len(batch))
	for i, d := range batch {
		results[i] = consumer.Result{Delivery: d, Outcome: consumer.Release}
	}
	return p.settle(settling, results)
}

func (p *Push) settle(settling context.Context, results []consumer.Result) error {
	if len(results) == 0 {
		return nil
	}
	if settling.Err() != nil { // a sink that outstayed the stop: what it achieved still counts
		late, cancel := context.WithTimeout(context.WithoutCancel(settling), settleGrace)
		defer cancel()
		settling = late
	}
	if err := p.source.Settle(settling, results); err != nil {
		return fmt.Errorf("settle messages of %q: %w", p.name, err)
	}
	return nil
}
