package powerloss_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
)

// faulty is a rig with one machine under load that has done something.
func faulty(t *testing.T) (*rig, *machine, *load) {
	t.Helper()
	r := newRig(t, build{}, seed(t))
	r.pull("pull")
	r.push("push", 1, 4, "").restarts = true
	l := r.load(t)
	m := r.boot()
	r.flows(m, 50)
	return r, m, l
}

// flows waits for some more acknowledgements.
func (r *rig) flows(m *machine, n int) {
	r.t.Helper()
	r.ledger.mu.Lock()
	goal := r.ledger.progress + n
	r.ledger.mu.Unlock()
	ok := r.ledger.await(patience, func() bool { return r.ledger.progress >= goal })
	r.ledger.require(r.t)
	if !ok {
		_, health := m.get("/healthz")
		r.t.Fatalf("nothing flows: %s\n%s", health, m.log.tail(30))
	}
}

// A sync that fails may have lost what it was for, whatever the page cache says: nothing of it counts, the store is opened anew, and the slot
// sends again what was not confirmed. While syncs fail the health is red.
func TestFailedSyncsAreReportedAndLoseNothing(t *testing.T) {
	t.Parallel()
	r, m, l := faulty(t)
	for range 3 { // one at a time
		var failed atomic.Bool
		m.disk.fails(func(op, base string) error {
			if op == "sync" && strings.HasSuffix(base, ".log") && failed.CompareAndSwap(false, true) {
				return syscall.EIO
			}
			return nil
		})
		require.Eventually(t, failed.Load, patience, time.Millisecond)
		r.flows(m, 30)
	}
	m.disk.fails(func(op, base string) error { // all of them
		if op == "sync" && strings.HasSuffix(base, ".log") {
			return syscall.EIO
		}
		return nil
	})
	body := m.awaitProblem("log_unavailable")
	require.Contains(t, body, "input/output error")
	status, ready := m.get("/readyz")
	require.Equal(t, 503, status, ready)
	m.disk.fails(nil)
	r.flows(m, 50)
	m.awaitHealthy()
	r.cut(m, false) // and what was said since is on the disk
	r.drain(r.boot(), l)
}

// blind is an engine that cannot read what was started here before.
type blind struct {
	*embedded.Engine
	blinded *atomic.Bool
}

func (b blind) State() engine.State { return blindState{b.Engine.State(), b.blinded} }

type blindState struct {
	engine.State
	blinded *atomic.Bool
}

func (s blindState) Get(ctx context.Context, key string) (engine.Entry, error) {
	if s.blinded.Load() && strings.HasPrefix(key, "registered/") {
		return engine.Entry{}, fmt.Errorf("read %s: %w", key, syscall.EIO)
	}
	return s.State.Get(ctx, key)
}

// A start that meets trouble with its own state is red, and goes on by itself when the trouble is over.
func TestADeclarationThatCannotBeAppliedIsReportedAndTriedAgain(t *testing.T) {
	t.Parallel()
	var blinded atomic.Bool
	blinded.Store(true)
	r := newRig(t, build{engine: func(e *embedded.Engine) (engine.Engine, func()) { return blind{e, &blinded}, func() {} }}, seed(t))
	r.pull("pull")
	l := r.load(t)
	m := r.boot()
	require.Contains(t, m.awaitProblem("declaration_not_applied"), "input/output error")
	blinded.Store(false)
	m.awaitHealthy()
	r.drain(m, l)
}

// A full disk stops the reading and says so; nothing is lost, not by a power cut either, and everything goes on when there is room.
func TestFullDiskIsReportedAndLosesNothing(t *testing.T) {
	t.Parallel()
	r, m, l := faulty(t)
	m.disk.limit(200 << 10)
	body := m.awaitProblem("log_blocked")
	require.Contains(t, body, "make room")
	m.disk.limit(1 << 30)
	r.flows(m, 50)
	m.awaitHealthy()
	m.disk.limit(100 << 10)
	m.awaitProblem("log_blocked")
	r.cut(m, false)
	r.drain(r.boot(), l)
}
