package ledger_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

func unmarshal(text []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	return d.Decode(into)
}

// rig is one Postgres, one Sequin, a load, and consumers.
type rig struct {
	t                         *testing.T
	seed                      uint64
	r                         *rand.Rand // draws the faults
	server                    *pgtest.Server
	db                        *pgtest.DB
	slot, oracle, publication string
	yaml                      string
	sequin                    *harness.Sequin
	base                      atomic.Pointer[string]
	court                     *court
	pulls                     []*pull
	hooks                     []*hook
	sinks                     []sinkSpec

	working       context.Context //nolint:containedctx // of the consumers, which come and go
	stopConsumers context.CancelFunc
	consumers     sync.WaitGroup
	writers       sync.WaitGroup
	told          []string // of what went wrong
}

// load says how much happens.
type load struct {
	writers, transactions int
	pace                  time.Duration // the longest pause between two transactions
	endless               bool          // writers stop when the faults are over
	bulk                  int           // rows of one big transaction
	faults                int
	apart                 int // messages settled between two faults, at most; 0 for 400
	kinds                 []fault
}

// patience bounds one run; the long ones take hours.
const patience = 6 * time.Hour

// newRig starts everything but the load.
func newRig(t *testing.T, seed uint64, sinks []sinkSpec) *rig {
	t.Helper()
	g := prepare(t, seed, sinks)
	g.yaml = g.declaration()
	g.begin()
	return g
}

// prepare makes all parts and starts Postgres.
func prepare(t *testing.T, seed uint64, sinks []sinkSpec) *rig {
	t.Helper()
	g := &rig{t: t, seed: seed, r: newRand(seed, 0), court: newCourt(newPulse(t)), sinks: sinks}
	g.server = pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"deadlock_timeout": "50ms", "max_prepared_transactions": "20", "logical_decoding_work_mem": "64kB",
	}})
	g.db = g.server.Database(t)
	g.slot, g.oracle, g.publication = g.db.Slot(t), g.db.Slot(t), g.db.Publication(t)
	createSchema(t, g.db, g.publication, g.r.IntN(2) == 0)
	g.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", g.oracle)

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g.working, g.stopConsumers = ctx, cancel
	for _, spec := range sinks {
		if !spec.pull {
			g.hook(spec)
		}
	}
	t.Cleanup(func() {
		cancel()
		g.consumers.Wait()
	})
	return g
}

// begin starts Sequin and the workers.
func (g *rig) begin() {
	g.t.Helper()
	g.sequin = harness.New(g.t, g.yaml)
	g.start()
	g.sequin.WaitHealthy(30 * time.Second)
	for _, spec := range g.sinks {
		if spec.pull {
			g.pull(spec)
		}
	}
}

// declaration is the sequin.yaml. Postgres may be elsewhere for Sequin.
func (g *rig) declaration(via ...string) string {
	db := g.db
	database := "    heartbeat_interval: 1s\n    sslmode: disable"
	for _, address := range via {
		u, err := url.Parse(db.URL)
		require.NoError(g.t, err)
		u.Host = address
		db = &pgtest.DB{Server: db.Server, Name: db.Name, URL: u.String()}
	}
	var sinks strings.Builder
	for _, spec := range g.sinks {
		sinks.WriteString(spec.yaml())
	}
	endpoints := map[string]string{}
	for _, h := range g.hooks {
		endpoints[h.name] = h.server.URL
	}
	return harness.Config{
		DB: db, Slot: g.slot, Publication: g.publication, Endpoints: endpoints, Sinks: sinks.String(), Database: database,
	}.YAML(g.t)
}

// hook starts the receiver of a webhook.
func (g *rig) hook(spec sinkSpec) {
	g.hooks = append(g.hooks, newHook(g.t, g.court, g.seed, uint64(len(g.hooks)), spec)) //nolint:gosec // a small number
}

// pull sets workers to a pull sink.
func (g *rig) pull(spec sinkSpec) {
	p := newPull(g.court, spec, func() string { return *g.base.Load() })
	g.pulls = append(g.pulls, p)
	g.consumers.Go(func() { p.run(g.working, g.seed) })
}

func (g *rig) start() {
	g.t.Helper()
	g.court.born()
	g.sequin.Start()
	url := g.sequin.URL
	g.base.Store(&url)
}

func (g *rig) kill() {
	g.t.Helper()
	require.True(g.t, g.sequin.Running(), "sequin has ended by itself")
	g.court.died(killed)
	g.sequin.Kill()
}

func (g *rig) stop() {
	g.t.Helper()
	require.True(g.t, g.sequin.Running(), "sequin has ended by itself")
	g.court.died(stopped)
	g.sequin.Stop()
}

// run lets the load and the faults happen, waits until everything is delivered, and judges.
func (g *rig) run(l load) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	defer g.tell()
	g.loadAndFaults(ctx, l)
	g.drain(ctx)
}

// loadAndFaults returns when the last writer has stopped.
func (g *rig) loadAndFaults(ctx context.Context, l load) {
	t := g.t
	t.Helper()
	writing, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	for i := range l.writers {
		w := newWriter(g.seed, uint64(i+1), g.db.URL, l.transactions, g.server.Major(t) >= 14) //nolint:gosec // a small number
		w.pace = max(l.pace, 8*time.Millisecond)
		if i == 0 {
			w.bulk = l.bulk
		}
		g.writers.Go(func() { w.run(writing) })
	}
	for range l.faults {
		g.court.progress(ctx, g.r.IntN(cmp.Or(l.apart, 400)), 2*time.Second)
		g.strike(l.kinds[g.r.IntN(len(l.kinds))])
		if g.failed() {
			break
		}
	}
	if l.endless {
		stopWriting()
	}
	g.writers.Wait()
}

func (g *rig) strike(f fault) {
	g.told = append(g.told, f.name)
	f.strike(g)
}

// tell names the seed of a failure.
func (g *rig) tell() {
	if g.t.Failed() {
		g.t.Logf("seed %d; faults: %s", g.seed, strings.Join(g.told, ", "))
	}
}

func (g *rig) failed() bool {
	g.court.mu.Lock()
	defer g.court.mu.Unlock()
	return len(g.court.wrongs) > 0
}

// resolvePrepared ends transactions whose writer lost track of them.
func (g *rig) resolvePrepared() {
	for {
		gid := pgtest.Value[string](g.t, g.db, "select coalesce(min(gid), '') from pg_prepared_xacts")
		if gid == "" {
			return
		}
		g.db.Exec(g.t, fmt.Sprintf("commit prepared '%s'", gid))
	}
}

// calm lets workers and receivers accept everything from here on.
func (g *rig) calm() {
	g.court.mu.Lock()
	defer g.court.mu.Unlock()
	for _, p := range g.pulls {
		p.calm = true
	}
	for _, h := range g.hooks {
		h.calm, h.outage = true, false
	}
}

// settle waits until every consumer has acknowledged what is in the ledger.
func (g *rig) settle(ctx context.Context) *book {
	t := g.t
	t.Helper()
	g.resolvePrepared()
	b := readBook(t, g.db, g.oracle)
	goal := map[string]int{}
	for _, spec := range g.sinks {
		for _, c := range b.changes {
			if spec.wants(c) {
				goal[spec.name]++
			}
		}
	}
	done := func() bool {
		if len(g.court.wrongs) > 0 {
			return true
		}
		for _, p := range g.pulls {
			if p.acked < goal[p.name] {
				return false
			}
		}
		for _, h := range g.hooks {
			if h.accepted < goal[h.name] {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(2 * time.Minute); !g.court.await(ctx, 2*time.Second, done); {
		if time.Now().After(deadline) {
			_, health := g.sequin.Get("/healthz")
			t.Logf("not everything was delivered in time; health: %s", health)
			break
		}
		for _, p := range g.pulls {
			p.again(ctx, g.r)
		}
	}
	return b
}

// drain waits until everything is delivered, sees to it that nothing comes back, and judges.
func (g *rig) drain(ctx context.Context) {
	t := g.t
	t.Helper()
	g.calm()
	b := g.settle(ctx)
	g.stop()
	g.start()
	g.sequin.WaitHealthy(30 * time.Second)
	wait(ctx, 300*time.Millisecond) // nothing may come: there is no event to wait for
	g.stopConsumers()
	g.consumers.Wait()
	g.sequin.Stop()
	if n := len(b.changes); n > 0 {
		confirmed, err := cdc.ParseLSN(pgtest.Value[string](t, g.db, "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", g.slot))
		require.NoError(t, err)
		require.Greater(t, uint64(confirmed), b.changes[n-1].lsn, "a stop confirms everything")
	}
	g.judge(b)
}

func (g *rig) judge(b *book) {
	t := g.t
	t.Helper()
	var lines []string
	g.compareHeads()
	for _, p := range g.pulls {
		p.judge(b)
		lines = append(lines, p.line())
	}
	for _, h := range g.hooks {
		h.judge(b)
		lines = append(lines, h.line())
	}
	t.Logf("seed %d: %d changes; %s; faults: %s", g.seed, len(b.changes), strings.Join(lines, "; "), strings.Join(g.told, ", "))
	require.Empty(t, g.court.wrongs, "seed %d", g.seed)
}

// compareHeads checks that all consumers got the same messages, but for what names the consumer.
func (g *rig) compareHeads() {
	g.court.mu.Lock()
	defer g.court.mu.Unlock()
	type first struct{ who, head string }
	heads := map[string]first{}
	check := func(who, key, head string) {
		switch known, ok := heads[key]; {
		case !ok:
			heads[key] = first{who, head}
		case known.head != head:
			g.court.wrong("%s and %s got different messages:\n%s\n%s", known.who, who, known.head, head)
		}
	}
	for _, p := range g.pulls {
		for key, m := range p.seen {
			check(p.name, key, m.head)
		}
	}
	for _, h := range g.hooks {
		for key, m := range h.seen {
			check(h.name, key, m.head)
		}
	}
}

// fault is something that goes wrong.
type fault struct {
	name   string
	strike func(*rig)
}

func (g *rig) pause(most int) { wait(g.t.Context(), time.Duration(g.r.IntN(most))*time.Millisecond) }

var (
	killSequin = fault{"kill", func(g *rig) {
		g.kill()
		g.start()
	}}
	killOnTheWayUp = fault{"kill on the way up", func(g *rig) {
		g.kill()
		for range 1 + g.r.IntN(3) {
			g.court.born()
			require.NoError(g.t, g.sequin.Launch())
			g.pause(1000)
			g.kill()
		}
		g.start()
	}}
	stopOnTheWayUp = fault{"stop on the way up", func(g *rig) {
		g.stop()
		g.start()
		g.stop()
		g.start()
	}}
	stopSequin = fault{"stop", func(g *rig) {
		g.stop()
		g.start()
	}}
	crashPostgres   = fault{"crash postgres", func(g *rig) { g.server.Crash(g.t) }}
	restartPostgres = fault{"restart postgres", func(g *rig) { g.server.Restart(g.t) }}
	killWalsender   = fault{"kill walsender", func(g *rig) {
		g.db.Exec(g.t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active", g.slot)
	}}
	crashBoth = fault{"crash both", func(g *rig) {
		first := g.r.IntN(2) == 0
		if first {
			g.kill()
			g.pause(30)
		}
		g.server.Kill(g.t)
		if !first {
			g.pause(30)
			g.kill()
		}
		if g.r.IntN(2) == 0 {
			g.start()
			g.pause(200)
			g.server.StartAgain(g.t)
			return
		}
		g.server.StartAgain(g.t)
		g.start()
	}}
	reload = fault{"reload", func(g *rig) {
		g.sequin.Configure(strings.ReplaceAll(g.yaml, "batch_size: 20", fmt.Sprintf("batch_size: %d", 2+g.r.IntN(19))))
		g.sequin.Reload()
	}}
	pauseSinks = fault{"pause", func(g *rig) {
		status := func(word string) { // named both times: what a file leaves out keeps its value
			g.sequin.Configure(strings.ReplaceAll(g.yaml, "    database: db\n    destination", "    database: db\n    status: "+word+"\n    destination"))
			g.sequin.Reload()
		}
		status("paused")
		g.pause(500)
		status("active")
	}}
	outage = fault{"outage", func(g *rig) {
		h := g.hooks[g.r.IntN(len(g.hooks))]
		set := func(on bool) {
			g.court.mu.Lock()
			defer g.court.mu.Unlock()
			h.outage = on
		}
		set(true)
		g.pause(400)
		set(false)
	}}
)
