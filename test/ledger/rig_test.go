package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	t      *testing.T
	seed   uint64
	r      *rand.Rand // draws the faults
	server *pgtest.Server
	db     *pgtest.DB
	slot   string
	oracle string
	byRoot bool
	yaml   string
	sequin *harness.Sequin
	base   atomic.Pointer[string]
	court  *court
	queue  *pull
	hooks  []*hook

	stopConsumers context.CancelFunc
	consumers     sync.WaitGroup
	writers       sync.WaitGroup
	faults        []string
}

// load says how much happens.
type load struct {
	writers, transactions int
	bulk                  int
	faults                int
	kinds                 []fault
}

const sinks = `
  - name: queue
    database: db
    destination: {type: sequin_stream}
    actions: [insert, update, delete, truncate]
    tables: [{name: loose, group_column_names: [id]}]
    ack_wait_ms: 2000
    max_waiting: 100
  - name: each
    database: db
    destination: {type: webhook, http_endpoint: each, batch: false}
    source: {exclude_tables: [bulk]}
    ack_commit: each
    concurrency: 3
    ack_wait_ms: 3000
  - name: single
    database: db
    destination: {type: webhook, http_endpoint: single, batch: false}
    concurrency: 8
    ack_wait_ms: 3000
  - name: batch
    database: db
    destination: {type: webhook, http_endpoint: batch}
    actions: [insert, update, delete, truncate]
    tables: [{name: loose, group_column_names: [id]}]
    batch_size: 20
    concurrency: 4
    ack_wait_ms: 3000
`

// newRig starts everything but the load.
func newRig(t *testing.T, seed uint64) *rig {
	t.Helper()
	g := &rig{t: t, seed: seed, r: newRand(seed, 0), court: newCourt()}
	g.server = pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"deadlock_timeout": "50ms", "max_prepared_transactions": "20", "logical_decoding_work_mem": "64kB",
	}})
	g.db = g.server.Database(t)
	g.slot, g.oracle = g.db.Slot(t), g.db.Slot(t)
	publication := g.db.Publication(t)
	g.byRoot = g.r.IntN(2) == 0
	createSchema(t, g.db, publication, g.byRoot)
	g.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", g.oracle)

	g.hooks = []*hook{
		newHook(t, g.court, seed, "each", 1, true, 3),
		newHook(t, g.court, seed, "single", 1, false, 8),
		newHook(t, g.court, seed, "batch", 20, false, 4),
	}
	endpoints := map[string]string{}
	for _, h := range g.hooks {
		endpoints[h.name] = h.server.URL
	}
	g.yaml = harness.Config{
		DB: g.db, Slot: g.slot, Publication: publication, Endpoints: endpoints, Sinks: sinks, Database: "    heartbeat_interval: 1s",
	}.YAML(t)
	g.sequin = harness.New(t, g.yaml)
	g.queue = newPull(g.court, "queue", func() string { return *g.base.Load() })
	g.start()
	g.sequin.WaitHealthy(30 * time.Second)

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g.stopConsumers = cancel
	g.consumers.Go(func() { g.queue.run(ctx, seed, 4) })
	t.Cleanup(func() {
		cancel()
		g.consumers.Wait()
	})
	return g
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
	t := g.t
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d; faults: %s", g.seed, strings.Join(g.faults, ", "))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for i := range l.writers {
		w := newWriter(g.seed, uint64(i+1), g.db.URL, l.transactions, g.server.Major(t) >= 14) //nolint:gosec // a small number
		if i == 0 {
			w.bulk = l.bulk
		}
		g.writers.Go(func() { w.run(ctx) })
	}
	for range l.faults {
		g.court.progress(ctx, g.r.IntN(400), 2*time.Second)
		kind := l.kinds[g.r.IntN(len(l.kinds))]
		g.faults = append(g.faults, kind.name)
		kind.strike(g)
		if g.failed() {
			break
		}
	}
	g.writers.Wait()
	g.resolvePrepared()
	g.drain(ctx)
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

// wanted says what a sink asked for and what it keeps in order.
func wanted(sink string) (wants func(*change) bool, grouped func(table) bool) {
	all := sink == "queue" || sink == "batch"
	wants = func(c *change) bool {
		return (all || c.op != "truncate") && (sink != "each" || c.table.name != "bulk")
	}
	return wants, func(t table) bool { return all || !t.loose }
}

// drain waits until every consumer is through, sees to it that nothing comes back, and judges.
func (g *rig) drain(ctx context.Context) {
	t := g.t
	t.Helper()
	b := readBook(t, g.db, g.oracle)
	goal := map[string]int{}
	for _, sink := range []string{"queue", "each", "single", "batch"} {
		wants, _ := wanted(sink)
		for _, c := range b.changes {
			if wants(c) {
				goal[sink]++
			}
		}
	}
	g.court.mu.Lock()
	g.queue.calm = true
	for _, h := range g.hooks {
		h.calm, h.outage = true, false
	}
	g.court.mu.Unlock()
	done := func() bool {
		ready := len(g.court.wrongs) > 0 || g.queue.acked >= goal["queue"]
		for _, h := range g.hooks {
			ready = ready && (len(g.court.wrongs) > 0 || h.accepted >= goal[h.name])
		}
		return ready
	}
	finished := false
	for range 60 {
		if finished = g.court.await(ctx, 2*time.Second, done); finished {
			break
		}
		g.queue.again(ctx, g.r)
	}
	if !finished {
		_, health := g.sequin.Get("/healthz")
		t.Logf("not everything was delivered in time; health: %s", health)
	}
	g.stop()
	g.start()
	g.sequin.WaitHealthy(30 * time.Second)
	wait(ctx, 300*time.Millisecond) // nothing may come: there is no event to wait for
	g.stopConsumers()
	g.consumers.Wait()
	g.sequin.Stop()

	wants, grouped := wanted("queue")
	g.queue.judge(b, wants, grouped)
	for _, h := range g.hooks {
		wants, grouped := wanted(h.name)
		h.judge(b, wants, grouped)
	}
	var told []string
	for _, h := range g.hooks {
		told = append(told, fmt.Sprintf("%s: %d requests, %d repeats", h.name, h.requests, h.repeats()))
	}
	t.Logf("seed %d: %d changes; queue: %d; %s; faults: %s", g.seed, len(b.changes), g.queue.acked, strings.Join(told, "; "), strings.Join(g.faults, ", "))
	require.Empty(t, g.court.wrongs, "seed %d", g.seed)
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
		g.sequin.Configure(strings.ReplaceAll(g.yaml, "    database: db\n    destination", "    database: db\n    status: paused\n    destination"))
		g.sequin.Reload()
		g.pause(500)
		g.sequin.Configure(g.yaml)
		g.sequin.Reload()
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
