package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// resting is one round of memory and boot times.
type resting struct {
	draining, waiting     int64 // peaks
	bootClean, bootKilled time.Duration
	afterBoot             int64 // peak
	backlogCPU            float64
	idle                  int64 // resident
	idleCPU               float64
}

// memory measures resident memory, boot times and idle CPU.
func (b *bench) memory(ctx context.Context) error {
	changes := b.scaled(million)
	t := b.report.add("memory", "Memory and boot", 1, "What", "Value", "Goal", others)
	t.note("With a backlog of %s changes of about 200 bytes for a webhook whose endpoint refuses connections. Boot is the time from starting the "+
		"process to the first 200 of /readyz. Medians of the rounds.", number(float64(changes), 0))
	end, err := b.backlog(ctx, workloads()[1], changes)
	if err != nil {
		return err
	}
	var all []resting
	var disturbed disturbance
	for range b.opts.rounds {
		var r resting
		d, err := b.measure(ctx, "dead endpoint", func(ctx context.Context) (what string, err error) {
			r, err = b.rest(ctx, end)
			return fmt.Sprintf("peaks %.0f, %.0f, %.0f MiB; boot %s, %s", mebibytes(r.draining), mebibytes(r.waiting), mebibytes(r.afterBoot),
				r.bootClean.Round(time.Millisecond), r.bootKilled.Round(time.Millisecond)), err
		})
		if err != nil {
			return err
		}
		disturbed.join(d)
		all = append(all, r)
	}
	if err := b.clear(ctx); err != nil {
		return err
	}
	restingRows(t, all, disturbed)
	return nil
}

func restingRows(t *table, all []resting, disturbed disturbance) {
	row := func(what string, digits int, goal float64, unit string, value func(r resting) float64) {
		var s sample
		for _, r := range all {
			s = append(s, value(r))
		}
		verdict := fmt.Sprintf("≤ %s %s", number(goal, 0), unit)
		if s.median() > goal {
			verdict += " ✗"
		}
		t.row(what, s.spread(digits)+" "+unit, verdict, disturbed.String())
	}
	row("Peak while draining", 0, 200, "MiB", func(r resting) float64 { return mebibytes(r.draining) })
	row("Peak while the backlog waits", 0, 200, "MiB", func(r resting) float64 { return mebibytes(r.waiting) })
	row("Peak of a process started with the backlog", 0, 200, "MiB", func(r resting) float64 { return mebibytes(r.afterBoot) })
	row("CPU while the backlog waits, of a core", 1, 100, "%", func(r resting) float64 { return 100 * r.backlogCPU })
	row("Boot with the backlog, after SIGTERM", 2, 1, "s", func(r resting) float64 { return r.bootClean.Seconds() })
	row("Boot with the backlog, after SIGKILL", 2, 1, "s", func(r resting) float64 { return r.bootKilled.Seconds() })
	row("Resident when idle, without a backlog", 0, 60, "MiB", func(r resting) float64 { return mebibytes(r.idle) })
	row("CPU when idle, of a core", 2, 1, "%", func(r resting) float64 { return 100 * r.idleCPU })
}

func (b *bench) rest(ctx context.Context, end string) (resting, error) {
	var r resting
	slot, err := b.copySlot(ctx)
	if err != nil {
		return r, err
	}
	dead, err := freeAddress()
	if err != nil {
		return r, err
	}
	s, err := b.serve(ctx, config{
		slot: slot, publication: publication, endpoints: []string{"{name: dead, url: \"http://" + dead + "/\"}"},
		sinks: []string{"{name: dead, database: db, start: beginning, destination: {type: webhook, http_endpoint: dead}}"},
	})
	if err != nil {
		return r, err
	}
	defer s.remove()
	if _, err := b.drained(ctx, slot, end, s.child); err != nil {
		return r, err
	}
	r.draining = s.peak()
	if r.backlogCPU, err = s.load(ctx, b.lasting(10*time.Second)); err != nil {
		return r, err
	}
	r.waiting = s.peak()
	if r.bootClean, err = b.reboot(ctx, s, func() error { return s.terminate(ctx) }); err != nil {
		return r, err
	}
	if err := sleep(ctx, b.lasting(5*time.Second)); err != nil {
		return r, err
	}
	r.afterBoot = s.peak()
	if r.bootKilled, err = b.reboot(ctx, s, func() error { s.kill(); return nil }); err != nil {
		return r, err
	}
	s.kill()
	if err := b.dropSlot(ctx, slot); err != nil {
		return r, err
	}
	r.idle, r.idleCPU, err = b.idle(ctx)
	return r, err
}

// idle is memory and CPU without traffic.
func (b *bench) idle(ctx context.Context) (resident int64, cpu float64, err error) {
	slot := b.unique("idle")
	if err := b.createSlot(ctx, slot); err != nil {
		return 0, 0, err
	}
	s, err := b.serve(ctx, config{slot: slot, publication: publication, sinks: []string{pullSink("pull")}})
	if err != nil {
		return 0, 0, err
	}
	defer s.remove()
	if err := sleep(ctx, b.lasting(3*time.Second)); err != nil {
		return 0, 0, err
	}
	if cpu, err = s.load(ctx, b.lasting(20*time.Second)); err != nil {
		return 0, 0, err
	}
	resident = memoryOf(s.pid(), "VmRSS")
	s.kill()
	return resident, cpu, b.dropSlot(ctx, slot)
}

// load is how many cores the program takes over a while.
func (s *sequin) load(ctx context.Context, lasting time.Duration) (float64, error) {
	begun, cpu := time.Now(), s.cpu()
	if err := sleep(ctx, lasting); err != nil {
		return 0, err
	}
	if err := s.alive(); err != nil {
		return 0, err
	}
	return (s.cpu() - cpu).Seconds() / time.Since(begun).Seconds(), nil
}

// reboot ends the program, starts it again and returns the time until it is ready.
func (b *bench) reboot(ctx context.Context, s *sequin, end func() error) (time.Duration, error) {
	if err := end(); err != nil {
		return 0, fmt.Errorf("end sequin: %w", err)
	}
	var err error
	if s.listen, err = freeAddress(); err != nil {
		return 0, err
	}
	begun := time.Now()
	ready := make(chan time.Duration, 1)
	waiting, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	go func() {
		if untilReady(waiting, "http://"+s.listen+"/readyz") == nil {
			ready <- time.Since(begun)
		}
		close(ready)
	}()
	if err := b.start(ctx, s); err != nil {
		return 0, err
	}
	took, ok := <-ready
	if !ok {
		return 0, fmt.Errorf("sequin is not ready after a minute: %w", s.alive())
	}
	return took, nil
}

func untilReady(ctx context.Context, url string) error {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close() // the status is all that counts
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// freeAddress is one that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
