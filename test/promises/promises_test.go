// Package promises_test holds one test for each promise of the design that is about the whole system; those that concern one package are named
// the same way beside its code.
package promises_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	harness.CleanUp()
	os.Exit(code)
}

const pull = "  - {name: pull, database: db, destination: {type: sequin_stream}}\n"

// installation is a database with a slot and Sequin on it.
type installation struct {
	*harness.Sequin
	db   *pgtest.DB
	slot string
	pub  string
}

func install(t *testing.T, server *pgtest.Server, ddl, database, sinks string, endpoints map[string]string) installation {
	t.Helper()
	in := installation{db: server.Database(t)}
	in.slot, in.pub = in.db.Slot(t), in.db.Publication(t)
	in.db.Exec(t, ddl)
	in.Sequin = harness.New(t, harness.Config{
		DB: in.db, Slot: in.slot, Publication: in.pub, Database: database, Sinks: sinks, Endpoints: endpoints,
	}.YAML(t))
	return in
}

func (in installation) lsn(t *testing.T, column string) cdc.LSN {
	t.Helper()
	lsn, err := cdc.ParseLSN(pgtest.Value[string](t, in.db, "select "+column+"::text from pg_replication_slots where slot_name = $1", in.slot))
	require.NoError(t, err)
	return lsn
}

func (in installation) wal(t *testing.T) cdc.LSN {
	t.Helper()
	lsn, err := cdc.ParseLSN(pgtest.Value[string](t, in.db, "select pg_current_wal_lsn()::text"))
	require.NoError(t, err)
	return lsn
}

// receiveAll pulls and acknowledges n messages.
func (in installation) receiveAll(t *testing.T, sink string, n int) []harness.Received {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var all []harness.Received
	for len(all) < n {
		batch, err := in.Stream(sink).Receive(ctx, 1000, 5*time.Second)
		require.NoError(t, err)
		if len(batch) > 0 {
			require.NoError(t, in.Stream(sink).Ack(ctx, harness.AckIDs(batch)...))
		}
		all = append(all, batch...)
	}
	require.Len(t, all, n)
	return all
}

// Promise P1, the half about idle slots: WAL written elsewhere does not pile up behind a slot whose tables are quiet.
func TestP1IdleSlotPinsNoWAL(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	in := install(t, server, "create table quiet (id int primary key)", "    heartbeat_interval: 0s", pull, nil)
	in.Start()
	in.WaitHealthy(20 * time.Second)
	other := server.Database(t)
	other.Exec(t, "create table busy (id int, v text)")
	in.db.Exec(t, "create table unpublished (id int, v text)")
	for range 4 {
		other.Exec(t, "insert into busy select i, repeat('x', 1000) from generate_series(1, 5000) i")
		in.db.Exec(t, "insert into unpublished select i, repeat('x', 1000) from generate_series(1, 5000) i")
	}
	end := in.wal(t)
	require.Eventually(t, func() bool { return in.lsn(t, "confirmed_flush_lsn") >= end }, 20*time.Second, 100*time.Millisecond,
		"the idle slot must follow the server's WAL")
}

// Promise P2: neither a dead webhook, nor a paused sink, nor a pull sink that nobody reads holds the slot.
func TestP2NoConsumerMovesTheSlot(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hook.Close)
	t.Cleanup(func() { close(hang) })
	in := install(t, pgtest.Shared(t), "create table t (id int primary key, v text)", "", pull+`
  - {name: hanging, database: db, destination: {type: webhook, http_endpoint: hook}}
  - {name: paused, database: db, status: paused, destination: {type: sequin_stream}}
`, map[string]string{"hook": hook.URL})
	in.Start()
	in.WaitHealthy(20 * time.Second)
	in.db.Exec(t, "insert into t select i, repeat('x', 500) from generate_series(1, 20000) i")
	end := in.wal(t)
	require.Eventually(t, func() bool { return in.lsn(t, "confirmed_flush_lsn") >= end }, 20*time.Second, 50*time.Millisecond)
	require.Equal(t, int64(1), pgtest.Value[int64](t, in.db, "select count(*) from pg_replication_slots where slot_name = $1 and active", in.slot))
}

// Promise P7: what cannot be delivered is kept with its reason, and the rest of its group goes on.
func TestP7NothingIsDropped(t *testing.T) {
	t.Parallel()
	refused := make(chan string, 100)
	accepted := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "poison") {
			refused <- string(body)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		accepted <- string(body)
	}))
	t.Cleanup(hook.Close)
	in := install(t, pgtest.Shared(t), "create table t (id int primary key, v text)", "",
		"  - {name: push, database: db, max_retry_count: 2, destination: {type: webhook, http_endpoint: hook, batch: false}}", map[string]string{"hook": hook.URL})
	in.Start()
	in.WaitHealthy(20 * time.Second)
	in.db.Exec(t, "insert into t values (1, 'poison')")
	in.db.Exec(t, "update t set v = 'fine' where id = 1")
	in.db.Exec(t, "insert into t values (2, 'other')")
	require.Contains(t, <-accepted, "other", "another group does not wait")
	select {
	case body := <-accepted:
		require.Contains(t, body, "fine")
	case <-time.After(20 * time.Second):
		t.Fatal("the group was not unblocked by the dead letter")
	}
	require.GreaterOrEqual(t, len(refused), 2)
	body := in.WaitProblem("dead_letters", 5*time.Second)
	require.Contains(t, body, "1 dead letters")
	in.Kill()
	in.Start()
	in.WaitProblem("dead_letters", 10*time.Second)

	var list struct {
		Data []struct {
			Seq    uint64
			Reason string
		}
	}
	in.call(t, http.MethodGet, "/api/sinks/push/dead_letters", "", &list)
	require.Len(t, list.Data, 1)
	letter := fmt.Sprintf("/api/sinks/push/dead_letters/%d", list.Data[0].Seq)
	var shown struct{ Data harness.Message }
	in.call(t, http.MethodGet, letter, "", &shown)
	require.JSONEq(t, `{"id":1,"v":"poison"}`, string(shown.Data.Record), "the payload is kept")
	before := len(refused)
	body = fmt.Sprintf(`{"seqs":[%d]}`, list.Data[0].Seq)
	in.call(t, http.MethodPost, "/api/sinks/push/dead_letters/redrive", body, nil)
	require.Eventually(t, func() bool { return len(refused) > before }, 10*time.Second, 20*time.Millisecond, "a redrive is delivered")
	in.call(t, http.MethodPost, "/api/sinks/push/dead_letters/discard", body, nil)
	in.call(t, http.MethodGet, "/api/sinks/push/dead_letters", "", &list)
	require.Empty(t, list.Data)
}

// call makes a request with the token and expects 200.
func (in installation) call(t *testing.T, method, path, body string, reply any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, in.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+harness.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", answer)
	if reply != nil {
		require.NoError(t, json.Unmarshal(answer, reply))
	}
}

// Promise P9: memory depends on the configuration, not on the size of a transaction or of the backlog, and neither does the time to start.
func TestP9MemoryIsBounded(t *testing.T) {
	t.Parallel()
	const rows, limit = 200_000, 200 << 20
	in := install(t, pgtest.Shared(t), "create table t (id int primary key, v text)", "", pull+`
  - {name: push, database: db, destination: {type: webhook, http_endpoint: hook}}
`, map[string]string{"hook": "http://127.0.0.1:9"})
	in.Released = true
	in.Start()
	require.Eventually(t, func() bool {
		return pgtest.Value[int64](t, in.db, "select count(*) from pg_replication_slots where slot_name = $1 and active and confirmed_flush_lsn is not null", in.slot) == 1
	}, 20*time.Second, 50*time.Millisecond)
	in.db.Exec(t, fmt.Sprintf("insert into t select i, repeat('x', 150) from generate_series(1, %d) i", rows)) // one transaction
	in.db.Exec(t, fmt.Sprintf("insert into t select i, repeat('x', 150) from generate_series(%d, %d) i", rows+1, rows+20_000))
	end := in.wal(t)
	require.Eventually(t, func() bool { return in.lsn(t, "confirmed_flush_lsn") >= end }, 60*time.Second, 100*time.Millisecond)
	require.Less(t, in.PeakMemory(), int64(limit), "while capturing")
	in.Kill()
	began := time.Now()
	in.Start()
	require.Less(t, time.Since(began), 5*time.Second, "time to start behind a backlog")
	in.receiveAll(t, "pull", rows+20_000)
	require.Less(t, in.PeakMemory(), int64(limit), "while draining")
}

// Promise P10: three questions, three answers.
func TestP10HealthIsHonest(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	in := install(t, server, "create table t (id int primary key)", "", pull, nil)
	in.Start()
	in.WaitHealthy(20 * time.Second)
	in.db.Exec(t, "insert into t values (1)")
	end := in.wal(t)
	require.Eventually(t, func() bool { return in.lsn(t, "confirmed_flush_lsn") >= end }, 20*time.Second, 20*time.Millisecond)
	server.Stop(t)
	body := in.WaitProblem("connection_refused", 30*time.Second)
	require.Contains(t, body, `"hint"`)
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/health": 200, "/healthz": 503, "/healthz?database=db": 503, "/healthz?sink=pull": 200, "/healthz?sink=none": 404,
	} {
		status, body := in.Get(path)
		require.Equal(t, want, status, "%s: %s", path, body)
	}
	in.receiveAll(t, "pull", 1) // the backlog is served while the database is down
	server.StartAgain(t)
	in.WaitHealthy(30 * time.Second)
	in.db.Exec(t, "insert into t values (2)")
	in.receiveAll(t, "pull", 1)
}

// Promise P12: a publication that we make breaks no statement of the application.
func TestP12WeNeverHarmTheSource(t *testing.T) {
	t.Parallel()
	in := install(t, pgtest.Shared(t), `
		create table keyed (id int primary key, v int);
		create table keyless (v int);
		create table nothing (id int primary key, v int); alter table nothing replica identity nothing;
		create table complete (v int); alter table complete replica identity full;
		insert into keyless values (1); insert into nothing values (1, 1); insert into complete values (1); insert into keyed values (1, 1)`, "", pull, nil)
	in.Start()
	in.WaitHealthy(20 * time.Second)
	for _, table := range []string{"keyed", "keyless", "nothing", "complete"} {
		in.db.Exec(t, "update "+table+" set v = 2")
		in.db.Exec(t, "delete from "+table)
	}
	got := in.receiveAll(t, "pull", 4)
	tables := map[string]int{}
	for _, m := range got {
		tables[m.Data.Metadata.TableName]++
	}
	require.Equal(t, map[string]int{"keyed": 2, "complete": 2}, tables)
	require.Contains(t, in.Log(), "keyless")
	require.Contains(t, in.Log(), "replica identity full", "the repair is named")
}

// Promise P6 from the first day: whatever does not match stops the stream, red, with the range.
func TestP6MismatchStopsTheStream(t *testing.T) {
	t.Parallel()
	advance := func(t *testing.T, in installation) {
		t.Helper()
		in.db.Exec(t, "insert into t values (100)")
		in.db.Exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", in.slot)
	}
	for name, c := range map[string]struct {
		code string
		do   func(t *testing.T, in installation)
	}{
		"slot dropped": {"slot_lost", func(t *testing.T, in installation) {
			t.Helper()
			in.db.Exec(t, "select pg_drop_replication_slot($1)", in.slot)
			in.db.Exec(t, "insert into t values (100)")
		}},
		"slot recreated": {"slot_moved", func(t *testing.T, in installation) {
			t.Helper()
			in.db.Exec(t, "select pg_drop_replication_slot($1)", in.slot)
			in.db.Exec(t, "insert into t values (100)")
			in.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", in.slot)
		}},
		"slot advanced": {"slot_moved", advance},
		"data directory lost": {"slot_marked_by_another", func(t *testing.T, in installation) {
			t.Helper()
			require.NoError(t, os.RemoveAll(in.DataDir()))
		}},
		"data directory lost, but for its identity": {"log_lost", func(t *testing.T, in installation) {
			t.Helper()
			require.NoError(t, os.RemoveAll(filepath.Join(in.DataDir(), "store")))
			require.NoError(t, os.Remove(filepath.Join(in.DataDir(), "SYNCED")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := install(t, pgtest.Shared(t), "create table t (id int primary key)", "", pull, nil)
			in.Start()
			in.WaitHealthy(20 * time.Second)
			in.db.Exec(t, "insert into t values (1)")
			in.receiveAll(t, "pull", 1)
			in.Stop()
			c.do(t, in)
			in.Start()
			body := in.WaitProblem(c.code, 20*time.Second)
			require.Regexp(t, `[0-9A-F]+/[0-9A-F]+`, body, "the range is stated")
			in.db.Exec(t, "insert into t values (200)")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			batch, err := in.Stream("pull").Receive(ctx, 10, 500*time.Millisecond)
			require.NoError(t, err)
			require.Empty(t, batch, "nothing is streamed past a mismatch")
			status, _ := in.Get("/healthz")
			require.Equal(t, http.StatusServiceUnavailable, status)
		})
	}
}
