package powerloss_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds waits that end by themselves as soon as what they wait for is there.
const patience = 90 * time.Second

// outages lets machines run and cuts their power, points times or until a promise is broken. The machine that it returns runs.
func (r *rig) outages(points int, l *load) *machine {
	r.t.Helper()
	m := r.boot()
	for point := range points {
		r.live(m, point, l)
		r.cut(m, r.rng.IntN(4) == 0)
		if !r.ledger.fine() {
			return nil
		}
		next, err := r.tryBoot()
		if err != nil {
			r.ledger.complain(p1, "life %d does not start: %v", r.life, err)
			return nil
		}
		m = next
	}
	return m
}

// live lets a machine live until its end is due: while it starts, or soon or late after it has achieved something.
func (r *rig) live(m *machine, point int, l *load) {
	r.t.Helper()
	rng := r.random()
	if point > 0 && rng.IntN(5) == 0 {
		pause(r.t.Context(), time.Duration(rng.IntN(100))*time.Millisecond)
		return
	}
	r.ledger.mu.Lock()
	goal := r.ledger.progress + 1 + rng.IntN(200)
	r.ledger.mu.Unlock()
	if !r.ledger.await(patience, func() bool { return r.ledger.progress >= goal }) {
		_, health := m.get("/healthz")
		r.ledger.complain(p1, "life %d: nothing flows: %s\n%s", m.life, health, m.log.tail(30))
	}
	pause(r.t.Context(), time.Duration(rng.IntN(20))*time.Millisecond)
	if rng.IntN(12) == 0 { // a quiet time, in which only keepalives and heartbeats move the slot
		l.idle.Store(true)
		pause(r.t.Context(), 1500*time.Millisecond)
		l.idle.Store(false)
	}
}

// drain lets the last machine deliver everything and looks at the books.
func (r *rig) drain(m *machine, l *load) {
	r.t.Helper()
	l.end(r.t)
	m.hurry.Store(true)
	done := r.ledger.await(patience, func() bool { return r.ledger.behind() == 0 })
	r.ledger.require(r.t)
	if !done {
		_, health := m.get("/healthz")
		r.ledger.mu.Lock()
		for _, b := range r.ledger.pulls {
			r.t.Errorf("%s: %s is missing %d of %d messages", p1, b.name, b.missing(), r.ledger.committed)
		}
		for _, b := range r.ledger.pushes {
			r.t.Errorf("%s: %s is missing %d of %d messages", p1, b.name, b.missing(), r.ledger.committed)
		}
		r.ledger.mu.Unlock()
		r.t.Fatalf("health: %s\nlog: %s", health, m.log.tail(50))
	}
	// Acknowledgements whose answer was cut off may have been lost: those messages come again once their leases have ended, and then no more.
	r.settled(m)
	status, health := m.get("/healthz")
	require.Equal(r.t, 200, status, health)
	r.finish(m)
	r.ledger.require(r.t)
	r.t.Logf("%d changes, %d lives", r.ledger.committed, r.life)
}

// finish stops a machine in an orderly way.
func (r *rig) finish(m *machine) {
	m.endWork()
	m.stop()
	<-m.done
	m.power.cut(func() {})
	m.abandon()
	m.proxy.close()
}

// settled waits until every sink says that nothing is left to do.
func (r *rig) settled(m *machine) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		_, text := m.get("/metrics")
		return idle(text, len(r.ledger.pulls)+len(r.ledger.pushes))
	}, patience, 50*time.Millisecond, "messages are left that nobody gets")
}

// Promises P1 and P3 to P5: whatever the disk loses, every committed change is acknowledged, exactly, in order.
func TestP1NothingIsMissedWhenThePowerFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, build{}, seed(t))
	r.pull("pull")
	r.push("push", 1, 4, "")
	l := r.load(t)
	m := r.outages(points(t, 10, 0.5), l)
	r.ledger.require(t)
	r.drain(m, l)
}

// Promise P4: what a worker's acknowledgement was answered for never comes back; what a destination accepted does so only within the window.
func TestP4NothingAcknowledgedComesBackWhenThePowerFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, build{}, seed(t))
	r.pull("pull")
	r.push("batched", 20, 2, "")
	r.push("each", 5, 2, "ack_commit: each, ")
	l := r.load(t)
	m := r.outages(points(t, 10, 0.5), l)
	r.ledger.require(t)
	r.drain(m, l)
}

// idle reads the metrics: every sink is at the end of the log.
func idle(metrics string, sinks int) bool {
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "sequin_sink_lag_messages{") {
			continue
		}
		if !strings.HasSuffix(strings.TrimSpace(line), " 0") {
			return false
		}
		sinks--
	}
	return sinks == 0
}
