package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// writer inserts until stop and tells how many rows there are.
type writer struct {
	stop atomic.Bool
	n    chan int
}

func (r *rig) write() *writer {
	r.t.Helper()
	w := &writer{n: make(chan int, 1)}
	conn := r.db.Conn(r.t)
	ctx := context.WithoutCancel(r.t.Context())
	go func() {
		n := 0
		for ; !w.stop.Load(); n++ {
			if _, err := conn.Exec(ctx, "insert into t values ($1)", n); err != nil {
				break
			}
		}
		w.n <- n
	}()
	return w
}

func (w *writer) end() int {
	w.stop.Store(true)
	return <-w.n
}

// Creating, editing and removing one sink leaves another alone: nothing is missed, repeated or reordered, and nothing restarts.
func TestEditingOneSinkLeavesAnotherAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	url := hook(t, func(http.ResponseWriter, *http.Request) {})
	r.config.Endpoints = map[string]string{"hook": url}
	r.begin()
	w := r.write()
	r.opts.Prune = true
	for i := range 50 {
		other := fmt.Sprintf("  - {name: other, database: db, max_ack_pending: %d, destination: {type: sequin_stream}}\n", 10+i)
		switch i % 5 {
		case 2:
			other = fmt.Sprintf("  - {name: other, database: db, batch_size: %d, destination: {type: webhook, http_endpoint: hook}}\n", 1+i)
		case 3:
			other = "  - {name: other, database: db, status: paused, destination: {type: sequin_stream}}\n"
		case 4:
			other = ""
		}
		r.config.Sinks = pull + other
		r.apply()
	}
	n := w.end()
	got := r.receive("pull", n)
	for i, id := range got {
		require.Equal(t, strconv.Itoa(i), id)
	}
	r.nothing("pull")
	require.NotContains(t, r.log.tail(10000), "starts again")
	require.NotContains(t, r.log.tail(10000), "could not be started")
}

// What is taken out of the file goes on as it is, over restarts too; only with prune it is removed, with what it has not delivered.
func TestWhatLeavesTheFileGoesOn(t *testing.T) {
	t.Parallel()
	two := pull + "  - {name: two, database: db, destination: {type: sequin_stream}}\n"
	r := newRig(t, pgtest.Shared(t), table, two)
	r.begin()
	r.db.Exec(t, "insert into t values (1), (2)")
	require.Equal(t, []string{"1"}, r.receive("two", 1))
	r.config.Sinks = pull
	r.apply()
	r.end()
	r.begin()
	require.Equal(t, []string{"2"}, r.receive("two", 1))
	require.Contains(t, r.log.tail(1000), "not in this file")
	r.opts.Prune = true
	r.apply()
	status, _ := r.get("/healthz?sink=two")
	require.Equal(t, http.StatusNotFound, status)
	r.config.Sinks = two
	r.apply()
	r.db.Exec(t, "insert into t values (3)")
	require.Equal(t, []string{"3"}, r.receive("two", 1), "it is another sink now, which begins now")
}

// The type of a destination can change in place; what was acknowledged stays acknowledged.
func TestTypeOfDestinationChanges(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 100)
	url := hook(t, func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		bodies <- string(b)
	})
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.config.Endpoints = map[string]string{"hook": url}
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	require.Equal(t, []string{"1"}, r.receive("pull", 1))
	r.db.Exec(t, "insert into t values (2)")
	r.config.Sinks = "  - {name: pull, database: db, destination: {type: webhook, http_endpoint: hook, batch: false}}\n"
	r.apply()
	select {
	case b := <-bodies:
		require.Contains(t, b, `"id":2`)
	case <-time.After(patience):
		t.Fatal("nothing was delivered")
	}
	_, err := r.stream("pull").Receive(t.Context(), 1, 0)
	require.ErrorContains(t, err, "404")
	r.healthy()
	r.config.Sinks = pull
	r.apply()
	r.db.Exec(t, "insert into t values (3)")
	require.Equal(t, []string{"3"}, r.receive("pull", 1))
	require.Empty(t, bodies)
}

// While a sink is being stopped whose destination hangs, everything else of its database answers.
func TestStoppingAHangingSinkBlocksNobody(t *testing.T) {
	t.Parallel()
	hang, called := make(chan struct{}), make(chan struct{}, 100)
	url := hook(t, func(_ http.ResponseWriter, req *http.Request) {
		called <- struct{}{}
		select {
		case <-hang:
		case <-req.Context().Done():
		}
	})
	t.Cleanup(func() { close(hang) })
	r := newRig(t, pgtest.Shared(t), table, pull+"  - {name: hanging, database: db, destination: {type: webhook, http_endpoint: hook}}\n")
	r.config.Endpoints = map[string]string{"hook": url}
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	<-called
	r.config.Sinks = pull
	yaml := r.config.YAML(t)
	r.opts.Prune = true
	applied := make(chan error, 1)
	began := time.Now()
	go func() { applied <- r.declare(yaml) }()
	for asked := 0; ; asked++ {
		at := time.Now()
		status, body := r.get("/healthz")
		require.Equal(t, http.StatusOK, status, body)
		require.Len(t, r.receive("pull", 1), 1)
		status, _ = r.get("http://" + r.server.MetricsAddr() + "/metrics")
		require.Equal(t, http.StatusOK, status)
		require.Less(t, time.Since(at), 2*time.Second)
		r.db.Exec(t, "insert into t values ($1)", asked+2)
		select {
		case err := <-applied:
			require.NoError(t, err)
			require.Greater(t, asked, 3, "it took %s, in which others were to be served", time.Since(began))
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// A sink that is to move to another database is refused, and nothing of the document takes effect.
func TestSinkOfAnotherDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull+"  - {name: mover, database: db, destination: {type: sequin_stream}}\n")
	r.begin()
	yaml := strings.Replace(r.config.YAML(t), "databases:\n", "databases:\n  - {name: second, url: 'postgres://nobody:x@127.0.0.1:1/none', slot: {name: none}, publication: {name: none}}\n", 1)
	yaml = strings.Replace(yaml, "name: mover, database: db", "name: mover, database: second", 1)
	err := r.declare(yaml)
	require.ErrorContains(t, err, "sinks[1].database")
	require.ErrorContains(t, err, "sequin.yaml:")
	require.Empty(t, r.entity("second").Name)
	r.db.Exec(t, "insert into t values (1)")
	require.Equal(t, []string{"1"}, r.receive("mover", 1))
	r.healthy()
}

// What cannot be brought about shows in health and is tried again; everything else goes on.
func TestWhatCannotBeBroughtAboutShows(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.begin()
	r.config.Sinks = pull + "  - {name: bad, database: db, destination: {type: webhook, http_endpoint: broken}}\n"
	r.config.Endpoints = map[string]string{"broken": "http://169.254.169.254/latest"}
	r.apply()
	r.db.Exec(t, "insert into t values (1)")
	require.Equal(t, []string{"1"}, r.receive("pull", 1))
	r.eventually("the sink is red", func() bool { return r.entity("bad").Status == "error" })
}

// A database that is removed and declared again is another one, with another change log: it takes the slot over, as an unmarked one.
func TestDatabaseIsRemovedAndDeclaredAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.opts.Prune = true
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	require.NoError(t, r.declare("account: {name: test}\napi_tokens: [{name: test, token: "+harness.Token+"}]\nhttp_endpoints: [{name: other, url: 'http://localhost'}]\n"))
	require.Equal(t, int64(0), pgtest.Value[int64](t, r.db, "select count(*) from pg_replication_slots where slot_name = $1 and active", r.config.Slot))
	_, err := r.stream("pull").Receive(t.Context(), 1, 0)
	require.Error(t, err)
	r.apply()
	r.db.Exec(t, "insert into t values (2)")
	r.eventually("the new one takes over, or says what it waits for", func() bool {
		e := r.entity("db")
		return e.Status == "healthy" || e.Status == "error"
	})
	t.Logf("%+v", r.entity("db"))
}

// Another slot takes effect in place.
func TestSlotChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	other := r.db.Slot(t)
	r.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", other)
	r.db.Exec(t, "insert into t values (2)")
	r.config.Slot = other
	r.apply()
	r.db.Exec(t, "insert into t values (3)")
	require.Equal(t, []string{"1", "2", "3"}, r.receive("pull", 3))
	r.nothing("pull")
}

// A limit that is raised takes effect without a restart.
func TestChangeLimitIsRaised(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.config.Database = "    max_change_bytes: 65536"
	r.begin()
	r.db.Exec(t, "alter table t alter v set storage external")
	r.db.Exec(t, "insert into t values (1, repeat('x', 100000))")
	r.troubled("pull", "dead_letters")
	r.config.Database = "    max_change_bytes: 268435456"
	r.apply()
	// The stream begins anew with the new limit; what the old one still brings has the old one.
	r.eventually("a new stream", func() bool { return strings.Count(r.log.tail(1000), "msg=streaming") == 2 })
	r.db.Exec(t, "insert into t values (2, repeat('x', 100000))")
	require.Equal(t, []string{"2"}, r.receive("pull", 1))
}
