package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/resource"
)

// repairInterval is how often sinks that could not be started or changed are tried again.
const repairInterval = 5 * time.Second

// repair tries again what could not be started or changed, until ctx ends.
func (d *database) repair(ctx context.Context, live *running) error {
	tick := time.NewTicker(repairInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		d.mu.Lock()
		broken := len(live.failures)
		d.mu.Unlock()
		if broken == 0 {
			continue
		}
		d.applying.Lock()
		err := d.applySinks(ctx, live)
		d.applying.Unlock()
		if err != nil && ctx.Err() == nil {
			d.logger.Debug("not every sink could be started", "reason", err)
		}
	}
}

// applySinks starts, updates and stops sinks so that what runs is what is wanted. d.applying is held.
func (d *database) applySinks(ctx context.Context, live *running) error {
	d.mu.Lock()
	res, wanted, running, before := d.res, maps.Clone(d.wanted), maps.Clone(live.sinks), live.failures
	d.mu.Unlock()
	d.stopUnwanted(live, wanted, running)
	var errs []error
	failures := map[string]failure{}
	failed := func(name string, err error) {
		want := wanted[name]
		errs = append(errs, fmt.Errorf("%s: %w", want.title(), err))
		f := failure{err, time.Now()}
		if old, there := before[name]; there {
			f.since = old.since
		}
		failures[name] = f
	}
	starts, err := d.placeNew(ctx, live, wanted, running)
	if err != nil {
		errs = append(errs, err)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if run := running[name]; run != nil {
			if err := run.update(ctx, wanted[name], res); err != nil {
				failed(name, err)
			}
			continue
		}
		run, err := startSink(ctx, d, live, wanted[name], res, starts[name])
		if err != nil {
			failed(name, err)
			continue
		}
		d.mu.Lock()
		live.sinks[name] = run
		delete(d.starts, name)
		d.mu.Unlock()
	}
	d.mu.Lock()
	live.failures = failures
	d.mu.Unlock()
	return errors.Join(errs...)
}

// stopUnwanted stops what is not declared any more, and what is declared with another type of destination: it starts as that, where it was.
func (d *database) stopUnwanted(live *running, wanted map[string]declared, running map[string]*sinkRun) {
	stopped := map[string]*sinkRun{}
	d.mu.Lock()
	for name, run := range running {
		want, keep := wanted[name]
		if keep && want.id == run.id && want.sink.Destination.Type == run.kind() {
			continue
		}
		stopped[name] = run
		delete(running, name)
		delete(live.sinks, name)
	}
	d.mu.Unlock()
	stopSinks(stopped)
	for name, run := range stopped {
		if _, keep := wanted[name]; !keep {
			d.server.metrics.Forget(run.id, run.name)
		}
	}
}

// stopSinks ends sinks side by side and returns when they have ended: two of the same at a time would ruin what they remember. Each is bounded by
// its drain time.
func stopSinks(sinks map[string]*sinkRun) {
	var wg sync.WaitGroup
	for _, r := range sinks {
		wg.Go(r.task.end)
	}
	wg.Wait()
}

// place is where a sink begins that was never started: fixed when it is declared, however long it takes to start it, so that nothing that is
// committed from then on is missed. What lies behind it in the log is kept.
type place struct {
	seq uint64  // the first entry that may be delivered; 0 while the log is not open: nothing is captured then
	lsn cdc.LSN // what committed before is not delivered; 0 when the server did not tell
}

// askStarts asks for the WAL position of new sinks as soon as they are declared, while the log may still be closed.
func (d *database) askStarts(ctx context.Context) {
	d.mu.Lock()
	res, wanted, starts := d.res, maps.Clone(d.wanted), maps.Clone(d.starts)
	d.mu.Unlock()
	position := sync.OnceValue(func() cdc.LSN { return d.positionNow(ctx, res) })
	for name := range wanted {
		want := wanted[name]
		if _, known := starts[name]; known || !want.asksPosition() {
			continue
		}
		if exists, err := consumer.Exists(ctx, d.server.engine.State(), want.id); err != nil || exists {
			continue
		}
		lsn := position()
		d.mu.Lock()
		d.starts[name] = place{lsn: lsn}
		d.mu.Unlock()
	}
}

// asksPosition tells whether the sink begins at the server's position of now.
func (w declared) asksPosition() bool { return w.created && w.sink.Start == resource.StartNow }

// placeNew fixes where the sinks begin that do not run and never did. The log's end is read before the server is asked for its position: what
// is captured in between is behind the one and judged by the other. d.applying is held.
func (d *database) placeNew(ctx context.Context, live *running, wanted map[string]declared, running map[string]*sinkRun) (map[string]place, error) {
	d.mu.Lock()
	res := d.res
	maps.DeleteFunc(d.starts, func(name string, _ place) bool { _, keep := wanted[name]; return !keep })
	starts := maps.Clone(d.starts)
	d.mu.Unlock()
	position := sync.OnceValue(func() cdc.LSN { return d.positionNow(ctx, res) })
	var errs []error
	for name := range wanted {
		want := wanted[name]
		p, asked := starts[name]
		if running[name] != nil || p.seq != 0 {
			continue
		}
		exists, err := consumer.Exists(ctx, d.server.engine.State(), want.id)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if exists {
			continue
		}
		if err := d.server.readFirst(ctx, res, want); err != nil {
			errs = append(errs, err)
			continue
		}
		p.seq = d.keepFrom(live, name, p, want.sink.Start)
		if !asked && want.asksPosition() {
			p.lsn = position()
		}
		starts[name] = p
		d.mu.Lock()
		d.starts[name] = p
		d.mu.Unlock()
	}
	return starts, errors.Join(errs...)
}

// keepFrom fixes the first entry that a new sink may get, and has the janitor keep it.
func (d *database) keepFrom(live *running, name string, p place, start resource.Start) uint64 {
	d.trimming.Lock()
	defer d.trimming.Unlock()
	p.seq = live.log.End().Seq + 1
	if start == resource.StartBeginning {
		p.seq = max(live.log.FirstSeq(), 1)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starts[name] = p
	return p.seq
}

// releaseHeld has a consumer that does not run give up its messages before a number, as a recorded gap.
func (d *database) releaseHeld(ctx context.Context, live *running, l laggard, before uint64, why string) error {
	d.applying.Lock() // nobody starts it meanwhile
	defer d.applying.Unlock()
	d.mu.Lock()
	run, from := live.sinks[l.name], d.starts[l.name]
	d.mu.Unlock()
	if run != nil {
		return run.release(ctx, before, why)
	}
	cfg := consumer.Config{ID: l.id, Name: l.name}
	if l.want != nil {
		cfg = consumerConfig(*l.want)
	}
	cfg.Status, cfg.StartAt, cfg.SkipBelow = consumer.Active, from.seq, from.lsn
	return consumer.ReleaseStored(ctx, consumer.Deps{Log: consumerLog{live.log}, State: d.server.engine.State(), Logger: d.logger, Codec: changeCodec{}, Lane: d.server.laneOf(l.id)}, cfg, before, why)
}
