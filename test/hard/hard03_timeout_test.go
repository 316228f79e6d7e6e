package hard_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// large makes a text of a megabyte that does not compress, for fill; an unlogged table is not published.
const large = `; create table bulk (id serial primary key, v text); alter table bulk alter v set storage external;
	create unlogged table large as select string_agg(encode(sha512(i::text::bytea), 'base64'), '') v from generate_series(1, 11500) i`

// small is a sink that leaves out what fills the log.
const small = "  - {name: pull, database: db, source: {exclude_tables: [bulk]}, destination: {type: sequin_stream}}\n"

// fill inserts rows of a megabyte into bulk, each with a row of t, until the health shows the problem, and returns how many.
func (r *rig) fill(problem string) int {
	r.t.Helper()
	for n := 0; ; n += 4 {
		require.Less(r.t, n, 200, "three times the log's budget")
		r.exec("insert into bulk (v) select v from large, generate_series(1, 4); insert into t select from generate_series(1, 4)")
		end := pgtest.Value[string](r.t, r.db, "select pg_current_wal_lsn()::text")
		full := false
		r.eventually(func() bool {
			_, body := r.Get("/healthz")
			full = strings.Contains(body, `"code":"`+problem+`"`)
			return full || r.confirmed(end)
		}, "the rows are captured, or %s", problem)
		if full {
			return n + 4
		}
	}
}

// walsender is the process that serves the slot, 0 for none.
func (r *rig) walsender() int {
	r.t.Helper()
	return pgtest.Value[int](r.t, r.db, "select coalesce(max(active_pid), 0) from pg_replication_slots where slot_name = $1", r.slot)
}

// With a wal_sender_timeout of a second, neither consumers that hang nor a log that takes no more cost the connection: feedback has a life of its
// own. The slot follows as long as the log has room, whatever the consumers do.
func TestHard03And05HungConsumersAndAFullLogKeepTheStream(t *testing.T) {
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
	const timeout = time.Second
	r := prepare(t, setup{
		ddl: "create table t (id serial primary key)" + large, database: "    max_disk: 64MiB\n    on_wal_budget: wait",
		sinks: small + `
  - {name: hanging, database: db, destination: {type: webhook, http_endpoint: hook}}
  - {name: left, database: db, destination: {type: sequin_stream}}
`, endpoints: map[string]string{"hook": hook.URL},
	})
	r.exec(`alter database "` + r.db.Name + `" set wal_sender_timeout = '` + timeout.String() + `'`)
	r.start()
	r.exec("insert into t select from generate_series(1, 50)")
	require.Len(t, r.receive("left", `{"batch_size":10,"wait_for":20000}`), 10) // and this consumer is never heard of again
	pid := r.walsender()
	require.NotZero(t, pid)
	r.confirmedAll()

	// the log fills up, and reading stops
	rows := r.fill("log_full")
	for until := time.Now().Add(4 * timeout); time.Now().Before(until); time.Sleep(timeout / 10) {
		require.Equal(t, pid, r.walsender(), "the connection of before")
	}
	require.Zero(t, r.metric("sequin_slot_reconnects_total"))

	// room is made: who hangs is let go, and everything comes, in order
	r.declare(small + `
  - {name: hanging, database: db, status: disabled, destination: {type: webhook, http_endpoint: hook}}
  - {name: left, database: db, status: disabled, destination: {type: sequin_stream}}
`)
	got := r.drain("pull")
	require.Len(t, got, 50+rows)
	require.Equal(t, saidAll(slices.Clone(inOrder(got))), saidAll(got))
	r.confirmedAll()
	r.WaitHealthy(patience)
	require.Equal(t, pid, r.walsender(), "still the connection of before")
}
