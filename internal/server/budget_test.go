package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// fat has a table besides t whose rows take 100 kB of the change log each, in spite of its compression; slim sinks leave it out.
const fat = table + `; create table bulk (id int primary key, v text); alter table bulk alter v set storage external;
create unlogged table noise as select string_agg(encode(sha512((random() || '-' || i)::text::bytea), 'base64'), '') as v from generate_series(1, 1200) i`

func slim(name string) string {
	return "  - {name: " + name + ", database: db, source: {exclude_tables: [bulk]}, destination: {type: sequin_stream}}\n"
}

// fill inserts rows into both, each pair in a transaction of its own.
func fill(from, to int) string {
	return fmt.Sprintf("do $$ begin for i in %d..%d loop insert into bulk select i, i || v from noise; insert into t values (i); commit; end loop; end $$", from, to)
}

func numbers(from, to int) []string {
	var all []string
	for i := from; i <= to; i++ {
		all = append(all, strconv.Itoa(i))
	}
	return all
}

// When the log is full because a sink lags, reading stops, Postgres keeps the WAL, and all of it comes once there is room. With
// on_wal_budget: wait nobody is released however much that is.
func TestFullLogHoldsTheReadingUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), fat, slim("pull"))
	r.config.Database = "    max_disk: 64MiB\n    wal_budget: 1MiB\n    on_wal_budget: wait"
	r.begin()
	const rows = 1500
	r.db.Exec(t, fill(1, rows))
	e := r.troubled("db", "log_full")
	require.Contains(t, e.Problems[0].Hint+e.Problems[0].Detail, `"pull"`, "the sink that fills it is named")
	held := r.lsn("select confirmed_flush_lsn from pg_replication_slots where slot_name = $1", r.config.Slot)
	require.Less(t, held, r.lsn("pg_current_wal_lsn()"), "what is not kept is not confirmed")
	time.Sleep(time.Second) // a round of the janitor or two
	require.False(t, r.entity("pull").has("sink_gap"))
	require.Equal(t, numbers(1, rows), r.receive("pull", rows))
	r.healthy()
	r.caughtUp()
}

// When the slot in turn holds more WAL than its budget, the sink furthest behind pays, and nobody else.
func TestWALBudgetReleasesTheSinkFurthestBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), fat, slim("pull")+slim("dead"))
	r.config.Database = "    max_disk: 64MiB\n    wal_budget: 1MiB"
	r.begin()
	const rows, step = 1600, 100
	for from := 1; from <= rows; from += step {
		r.db.Exec(t, fill(from, from+step-1))
		require.Equal(t, numbers(from, from+step-1), r.receive("pull", step), "the neighbour misses nothing")
	}
	e := r.troubled("dead", "sink_gap")
	require.Contains(t, fmt.Sprint(e.Problems), "wal_budget")
	require.False(t, r.entity("pull").has("sink_gap"))
	r.caughtUp()
	batch, err := r.stream("dead").Receive(t.Context(), 1, patience)
	require.NoError(t, err)
	require.Len(t, batch, 1)
	require.NotEqual(t, []string{"1"}, idsOf(batch), "it goes on behind the gap")
}

// What nobody needs any more is trimmed by age; what a sink that is not declared has not had is kept for it.
func TestRetentionKeepsWhatASinkThatIsNotDeclaredNeeds(t *testing.T) {
	t.Parallel()
	two := pull + "  - {name: two, database: db, destination: {type: sequin_stream}}\n"
	r := newRig(t, pgtest.Shared(t), table, two)
	r.config.Database = "    retention: {max_age: 1s}"
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	require.Equal(t, []string{"1"}, r.receive("two", 1))
	r.config.Sinks = pull
	r.apply()
	for i := 2; i <= 8; i++ { // blocks that are whole and old
		r.db.Exec(t, "insert into t values ($1)", i)
		time.Sleep(250 * time.Millisecond)
	}
	require.Equal(t, numbers(1, 8), r.receive("pull", 8))
	time.Sleep(6 * time.Second) // longer than a round of the janitor
	require.InDelta(t, 2, r.metric("sequin_log_first_seq"), 1, "only what both have had is gone")
	r.config.Sinks = two
	r.apply()
	require.Equal(t, numbers(2, 8), r.receive("two", 7))
	r.eventually("the rest is trimmed", func() bool { return r.metric("sequin_log_first_seq") > 5 })
}

// With Prune a sink that is not declared any more is gone: declared again, it starts anew.
func TestPruneForgetsWhatIsNotDeclared(t *testing.T) {
	t.Parallel()
	two := pull + "  - {name: two, database: db, destination: {type: sequin_stream}}\n"
	r := newRig(t, pgtest.Shared(t), table, two)
	r.opts.Prune = true
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.config.Sinks = pull
	r.apply()
	r.config.Sinks = pull + "  - {name: two, database: db, start: now, destination: {type: sequin_stream}}\n"
	r.apply()
	r.db.Exec(t, "insert into t values (2)")
	require.Equal(t, []string{"2"}, r.receive("two", 1), "what it had not delivered went with it")
	require.Equal(t, []string{"1", "2"}, r.receive("pull", 2))
}

// A database that was removed with Prune and is declared again under its old slot starts anew there: what was its log's went on purpose.
func TestPrunedDatabaseIsDeclaredAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.opts.Prune = true
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	spare := r.config
	spare.Slot, spare.Sinks = r.db.Slot(t), ""
	require.NoError(t, r.declare(strings.Replace(spare.YAML(t), "name: db", "name: spare", 1)))
	r.apply()
	r.healthy()
	r.db.Exec(t, "insert into t values (2)")
	require.Equal(t, []string{"2"}, r.receive("pull", 1), "what it had not delivered went with it")
}

// A message that is refused for long does not keep the log; it is delivered once it is accepted, also after a restart, and nothing comes twice.
func TestStragglerLetsTheLogGo(t *testing.T) {
	t.Parallel()
	var accept atomic.Bool
	var mu sync.Mutex
	accepted := map[string]int{}
	url := hook(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var m struct{ Record struct{ ID json.Number } }
		_ = json.Unmarshal(body, &m)
		if m.Record.ID == "1" && !accept.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		accepted[m.Record.ID.String()]++
	})
	r := newRig(t, pgtest.Shared(t), table, "  - {name: push, database: db, destination: {type: webhook, http_endpoint: hook, batch: false}}\n")
	r.config.Endpoints = map[string]string{"hook": url}
	r.config.Database = "    retention: {max_age: 1s}"
	r.begin()
	const rows = 40
	for i := 1; i <= rows; i++ {
		r.db.Exec(t, "insert into t values ($1, 'v')", i)
		time.Sleep(50 * time.Millisecond)
	}
	r.eventually("the log goes", func() bool { return r.metric("sequin_log_first_seq") > rows/2 })
	r.end()
	r.start()
	accept.Store(true)
	r.eventually("the straggler is delivered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return accepted["1"] == 1
	})
	r.healthy()
	mu.Lock()
	defer mu.Unlock()
	for i := 1; i <= rows; i++ {
		require.Equal(t, 1, accepted[strconv.Itoa(i)], "row %d", i)
	}
	require.False(t, r.entity("push").has("sink_gap"))
}
