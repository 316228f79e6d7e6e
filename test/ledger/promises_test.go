package ledger_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// mix are transactions of all shapes, some 60 messages of the stream.
func mix(g *rig, round int) {
	message, noted := "select 1", "select 1"
	if g.server.Major(g.t) >= 14 {
		message = "select pg_logical_emit_message(true, 'app', 'x')"
		noted = message + "; insert into book.ledger (tab, op) values ('', 'message')"
	}
	for _, sql := range []string{
		"insert into plain values (1, nextval('version'), 'a') on conflict (id) do update set v = excluded.v",
		message,
		"begin; insert into wide values (:n, nextval('version'), 'b'); update plain set v = nextval('version'); :m; delete from plain where id = 1; commit",
		"begin; :m; insert into pair values (:n, 'x', nextval('version'), 'c'); commit",
		"begin; create table scratch (id int); drop table scratch; commit",
		"begin; insert into parted select r, :n, nextval('version'), 'd' from generate_series(0, 3) r; savepoint s; delete from parted; rollback to s; commit",
		"update parted set v = nextval('version') where id = :n",
		"begin; alter table wide add column x:n int default 7; update wide set v = nextval('version') where id > :n - 9; alter table wide drop column x:n; commit",
		"insert into loose select 1, nextval('version'), 'e' from generate_series(1, 3)",
		"begin; update loose set v = nextval('version') where v > (select max(v) - 4 from loose); commit",
		"delete from pair where a < :n",
		"update wide set id = -id, v = nextval('version') where id = :n",
	} {
		g.db.Exec(g.t, strings.NewReplacer(":n", strconv.Itoa(round), ":m", noted).Replace(sql))
	}
}

// Promise P1: wherever the stream from Postgres breaks off, and whether Sequin is killed then or only the connection, nothing is missed.
func TestP1NothingIsMissed(t *testing.T) {
	t.Parallel()
	g := prepare(t, 1, []sinkSpec{
		{name: "queue", pull: true, workers: 2, truncates: true, loose: true},
		{name: "single", workers: 8, batch: 1},
	})
	defer g.tell()
	p := newProxy(t, fmt.Sprintf("127.0.0.1:%d", g.server.Cluster(t).Port()))
	g.yaml = g.declaration(p.listener.Addr().String())
	g.begin()
	g.calm()
	const messages = 60
	step := 6
	if soaking() {
		step = 1
	}
	for n := 1; n <= messages; n += step {
		held := p.hold(n)
		mix(g, n)
		select {
		case <-held:
		case <-time.After(30 * time.Second):
			t.Fatalf("the stream had fewer than %d messages", n)
		}
		g.pause(10)
		if n%4 == 1 {
			g.server.Kill(t)
		}
		kill := n%3 != 0
		if kill {
			g.kill()
		}
		p.release()
		if n%4 == 1 {
			g.server.StartAgain(t)
		}
		if kill {
			g.start()
		}
	}
	g.drain(t.Context())
}

// Promise P3: each consumer gets the messages of a group in commit order, one after the other is done, however many workers it has and however
// they fail.
func TestP3StrictOrderPerGroup(t *testing.T) {
	t.Parallel()
	seeds(t, 1, func(seed uint64) bool {
		return t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			g := newRig(t, seed, []sinkSpec{
				{name: "queue", pull: true, workers: 8, truncates: true, loose: true},
				{name: "together", pull: true, workers: 4, truncates: true, loose: true, sameGroup: true},
				{name: "single", workers: 32, batch: 1, loose: true},
				{name: "batch", workers: 8, batch: 20, truncates: true, loose: true},
				{name: "tables", workers: 8, batch: 10, truncates: true, byTable: true},
			})
			g.run(load{writers: 6, transactions: 60, faults: 3, kinds: []fault{outage, reload, killWalsender}})
		})
	})
}

// Promise P4: what was acknowledged never comes back. For webhooks that holds from the moment when the acceptance is committed: a little later, or
// with ack_commit: each before the next request.
func TestP4ExactlyOnceProcessing(t *testing.T) {
	t.Parallel()
	g := newRig(t, 1, []sinkSpec{
		{name: "queue", pull: true, workers: 4},
		{name: "each", workers: 1, batch: 1, each: true},
		{name: "single", workers: 8, batch: 1},
		{name: "batch", workers: 2, batch: 20},
	})
	defer g.tell()
	g.calm()
	rounds := 3
	if soaking() {
		rounds = 50
	}
	ctx := t.Context()
	next := 0
	insert := func(n int) {
		g.db.Exec(t, fmt.Sprintf("insert into plain select g, nextval('version'), 'n' from generate_series(%d, %d) g", next, next+n-1))
		next += n
	}
	for range rounds {
		insert(200)
		g.settle(ctx)
		g.rest(ctx) // the acceptances are committed by now
		before := g.repeats()
		g.strike(killSequin)
		insert(1)
		g.settle(ctx)
		require.Equal(t, before, g.repeats(), "what was committed came again")

		insert(200)
		g.court.progress(ctx, 100+g.r.IntN(500), 10*time.Second)
		g.strike(killSequin) // in the midst: the court knows what may come again
		g.settle(ctx)
	}
	g.drain(ctx)
}

// Promise P5: a change has one idempotency key and one position, the same for every consumer, redelivery, restart and replay.
func TestP5AnIdentityIsForever(t *testing.T) {
	t.Parallel()
	g := newRig(t, 1, usualSinks())
	defer g.tell()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g.loadAndFaults(ctx, load{writers: 3, transactions: 60, faults: 4, kinds: []fault{killSequin, stopSequin, crashPostgres, killWalsender}})
	g.settle(ctx)
	// Sinks that come later replay it all from the change log.
	late := []sinkSpec{
		{name: "late", pull: true, workers: 4, truncates: true, loose: true, start: "beginning"},
		{name: "later", workers: 4, batch: 20, truncates: true, loose: true, start: "beginning"},
	}
	g.sinks = append(g.sinks, late...)
	g.hook(late[1])
	g.yaml = g.declaration()
	g.sequin.Configure(g.yaml)
	g.strike(fault{"reload", func(g *rig) { g.sequin.Reload() }})
	require.Eventually(t, func() bool { return g.declared("late") }, 30*time.Second, 20*time.Millisecond)
	g.pull(late[0])
	g.court.progress(ctx, 200, 10*time.Second)
	g.strike(killSequin)
	g.drain(ctx)
	require.NotZero(t, pgtest.Value[int64](t, g.db, "select count(*) from book.ledger"))
}

// declared reports whether Sequin knows a pull sink.
func (g *rig) declared(name string) bool {
	return g.sequin.Stream(name).Nack(g.t.Context(), "00000000-0000-4000-8000-000000000000") == nil
}

// rest gives Sequin time: half a second, in which it also answers.
func (g *rig) rest(ctx context.Context) {
	for range 20 {
		wait(ctx, 25*time.Millisecond)
		require.True(g.t, g.declared("queue"))
	}
	wait(ctx, g.court.pulse.worst())
}

// repeats is how many messages of webhooks came again.
func (g *rig) repeats() int {
	g.court.mu.Lock()
	defer g.court.mu.Unlock()
	n := 0
	for _, h := range g.hooks {
		n += h.repeats()
	}
	return n
}
