package hard_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// A sink that begins now gets what is committed after its declaration, one that begins at the beginning all that is retained.
func TestSinksStartNowOrAtTheBeginning(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key)"})
	r.exec("insert into t values (1)")
	require.Len(t, r.drain("pull"), 1)
	r.declare(pull + `
  - {name: fresh, database: db, destination: {type: sequin_stream}}
  - {name: all, database: db, start: beginning, destination: {type: sequin_stream}}`)
	r.ready("fresh", "all")
	r.exec("insert into t values (2)")
	require.Equal(t, []string{`insert t {"id":2}`}, r.drained("fresh"))
	require.Equal(t, []string{`insert t {"id":1}`, `insert t {"id":2}`}, r.drained("all"))
	r.Kill()
	r.start()
	r.exec("insert into t values (3)")
	require.Equal(t, []string{`insert t {"id":3}`}, r.drained("fresh"), "a start position counts once")
	require.Equal(t, []string{`insert t {"id":3}`}, r.drained("all"))
}

// ready waits until pull sinks answer.
func (r *rig) ready(sinks ...string) {
	r.t.Helper()
	for _, sink := range sinks {
		r.eventually(func() bool {
			_, body := r.Get("/healthz?sink=" + sink)
			return strings.Contains(body, `"status":"healthy"`)
		}, "sink %s runs", sink)
	}
}

// Statuses change in place: one sink stops, keeps or lets go while another one's deliveries go on over the same stream.
func TestSinkStatusesChangeInPlace(t *testing.T) {
	t.Parallel()
	hook := receiver(t, nil)
	r := prepare(t, setup{ddl: "create table t (id int primary key)", endpoints: map[string]string{"hook": hook.URL}})
	sinks := func(status string) string {
		return "  - {name: pull, database: db, status: " + status + ", destination: {type: sequin_stream}}\n" +
			"  - {name: push, database: db, destination: {type: webhook, http_endpoint: hook, batch: false}}\n"
	}
	r.config.Sinks = sinks("active")
	r.Configure(r.config.YAML(t))
	r.start()
	pid := r.walsender()
	load := r.background(func(conn *pgx.Conn, n int) {
		_, _ = conn.Exec(context.Background(), "insert into t values ($1)", 1000+n) // counted below
		time.Sleep(2 * time.Millisecond)
	})
	var got []harness.Received
	take := func() {
		batch := r.receive("pull", `{"batch_size":1000,"wait_for":20000}`)
		require.NotEmpty(t, batch)
		r.ack("pull", batch)
		got = append(got, batch...)
	}
	pushed := func() {
		t.Helper()
		n := len(hook.messages())
		r.eventually(func() bool { return len(hook.messages()) > n+5 }, "the other sink's deliveries go on")
	}
	status := func(want string) {
		t.Helper()
		r.declare(sinks(want))
		r.eventually(func() bool {
			_, body := r.Get("/healthz?sink=pull")
			return strings.Contains(body, `"status":"paused"`) == (want != "active")
		}, "the sink is %s", want)
		pushed()
	}
	take()
	status("paused")
	require.Empty(t, r.receive("pull", `{"batch_size":10,"wait_for":500}`), "a paused sink delivers nothing")
	status("active")
	take()
	status("paused")
	status("active")
	before := pgtest.Value[int](t, r.db, "select count(*) from t")
	r.eventually(func() bool { take(); return len(got) >= before }, "a pause loses nothing")
	status("disabled")
	require.Empty(t, r.receive("pull", `{"batch_size":10}`))
	r.exec("insert into t values (-1)") // nobody's
	r.confirmedAll()
	status("active")
	rows := load()
	for _, m := range r.drain("pull") {
		require.NotEqual(t, "-1", m.Data.Metadata.RecordPKs[0], "a disabled sink returns at now")
		got = append(got, m)
	}
	require.Less(t, len(got), rows+1)
	seen := map[string]bool{}
	for i := range got {
		require.False(t, seen[got[i].AckID], "twice")
		seen[got[i].AckID] = true
	}
	all := hook.wait(r, rows+2) // and the row of nobody, and the mark
	require.Len(t, all, rows+2)
	require.Equal(t, pid, r.walsender(), "over the connection of before")
}

// What a sink selects, groups and how it writes is its own affair, and changes in place.
func TestSinksSelectGroupAndFormat(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{
		ddl: `create schema app; create table app.a (id int primary key, account int, at timestamptz, local timestamp); create table b (id int primary key);
			alter table app.a replica identity full`,
		sinks: pull + `
  - {name: schema, database: db, source: {include_schemas: [app]}, destination: {type: sequin_stream}}
  - {name: no_schema, database: db, source: {exclude_schemas: [app]}, destination: {type: sequin_stream}}
  - {name: table, database: db, source: {include_tables: [app.a, fence]}, actions: [insert, delete], destination: {type: sequin_stream}}
  - {name: no_table, database: db, source: {exclude_tables: [b, public.fence]}, destination: {type: sequin_stream}}
  - {name: micros, database: db, source: {include_tables: [app.a]}, timestamp_format: unix_microsecond, destination: {type: sequin_stream}}
  - {name: bare, database: db, source: {include_tables: [b]}, legacy_transform: record_only, destination: {type: sequin_stream}}
  - {name: grouped, database: db, source: {include_tables: [app.a]}, tables: [{name: app.a, group_column_names: [account]}], destination: {type: sequin_stream}}
  - {name: loose, database: db, source: {include_tables: [app.a]}, message_grouping: false, destination: {type: sequin_stream}}`,
	})
	r.exec(`insert into app.a values (1, 7, '2025-01-02 03:04:05.123456+00', '2025-01-02 03:04:05'), (2, 7, null, null), (3, 8, null, null);
		insert into b values (1); update app.a set local = null where id = 1; delete from app.a where id = 2`)
	take := func(sink string, n int) []harness.Received {
		t.Helper()
		var all []harness.Received
		r.eventually(func() bool {
			batch := r.receive(sink, `{"batch_size":100,"wait_for":1000}`)
			r.ack(sink, batch)
			all = append(all, batch...)
			return len(all) >= n
		}, "%s has %d messages", sink, n)
		require.Len(t, all, n)
		return inOrder(all)
	}
	count := func(sink string, n int) { t.Helper(); require.Len(t, r.drain(sink), n, sink) }
	count("pull", 6)
	take("schema", 5)
	count("no_schema", 1)
	count("table", 4)
	take("no_table", 5)
	micros := take("micros", 5)
	require.Equal(t, "1735787045123456", field(t, micros[0].Data.Record, "at"))
	require.Equal(t, "1735787045000000", field(t, micros[0].Data.Record, "local"))
	require.Equal(t, "1735787045000000", field(t, micros[3].Data.Changes, "local"))
	status, body := r.post("/api/sequin_streams/bare/receive", `{"wait_for":20000}`)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"data":{"id":1}}]`)

	first := r.receive("grouped", `{"batch_size":10,"wait_for":20000}`)
	require.Len(t, first, 2, "one of each account")
	require.Empty(t, r.receive("grouped", `{"batch_size":10}`), "the rest waits behind them")
	r.ack("grouped", first)
	take("grouped", 3)
	require.Len(t, r.receive("loose", `{"batch_size":10,"wait_for":20000}`), 5, "without groups nothing waits")
}

// A message that is refused again and again becomes a dead letter at the limit of its attempts, in pull as in push, and its group goes on.
func TestMaxRetryCount(t *testing.T) {
	t.Parallel()
	attempts := make(chan time.Time, 10)
	hook := receiver(t, func(m harness.Message) int {
		if m.Action == "insert" {
			attempts <- time.Now()
			return http.StatusInternalServerError
		}
		return 0
	})
	r := begin(t, setup{ddl: "create table t (id int primary key, v int)", endpoints: map[string]string{"hook": hook.URL}, sinks: `
  - {name: pull, database: db, max_retry_count: 2, destination: {type: sequin_stream}}
  - {name: push, database: db, max_retry_count: 2, destination: {type: webhook, http_endpoint: hook, batch: false}}`})
	r.exec("insert into t values (1, 1); update t set v = 2")
	for n := 1; n <= 2; n++ {
		batch := r.receive("pull", `{"wait_for":20000}`)
		require.Len(t, batch, 1)
		require.Equal(t, n, batch[0].DeliverCount)
		require.Equal(t, "insert", batch[0].Data.Action)
		require.NoError(t, r.Stream("pull").Nack(t.Context(), batch[0].AckID))
	}
	next := r.receive("pull", `{"wait_for":20000}`)
	require.Len(t, next, 1)
	require.Equal(t, "update", next[0].Data.Action)
	r.ack("pull", next)
	require.Equal(t, "update", hook.wait(r, 1)[0].Action)
	require.Len(t, attempts, 2)
	first, second := <-attempts, <-attempts
	require.GreaterOrEqual(t, second.Sub(first), 850*time.Millisecond, "a second, less the jitter")
	for _, sink := range []string{"pull", "push"} {
		require.InDelta(t, 1, r.metric("sequin_sink_dead_letters", `consumer_name="`+sink+`"`), 0)
	}
}

// A sink that agreed to it gives up its oldest messages when the log is full: a recorded gap, red, and the stream and its neighbours go on.
func TestDiscardOnFullIsARecordedGap(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{
		ddl: "create table t (id serial primary key)" + large, database: "    max_disk: 64MiB",
		sinks: small + "  - {name: sheds, database: db, load_shedding_policy: discard_on_full, destination: {type: sequin_stream}}\n",
	})
	got := 0
	for range 12 { // the neighbour keeps up
		r.exec("insert into bulk (v) select v from large, generate_series(1, 8); insert into t select from generate_series(1, 8)")
		got += len(r.drain("pull"))
	}
	require.Equal(t, 96, got)
	body := r.WaitProblem("sink_gap", patience)
	require.Contains(t, body, "discard_on_full")
	require.Regexp(t, `LSN [0-9A-F]+/[0-9A-F]+ to [0-9A-F]+/[0-9A-F]+`, body)
	require.NotContains(t, body, `"log_full"`)
	status, _ := r.Get("/healthz?sink=sheds")
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, _ = r.Get("/healthz?sink=pull")
	require.Equal(t, http.StatusOK, status)
	r.confirmedAll()
	first := r.receive("sheds", `{"wait_for":20000}`)
	require.Len(t, first, 1)
	require.NotEqual(t, []string{"1"}, first[0].Data.Metadata.RecordPKs, "it goes on behind the gap")
	r.Kill()
	r.startRed()
	require.Contains(t, r.WaitProblem("sink_gap", patience), "discard_on_full")
}

// startRed starts Sequin while something is known to be red.
func (r *rig) startRed() {
	r.t.Helper()
	r.Start()
	r.eventually(r.streaming, "the slot is read")
}
