package hard_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// mixed is a transaction of many events: rows, truncates, logical messages, savepoints.
func mixed(r *rig, from int) string {
	var b strings.Builder
	b.WriteString("begin;")
	for i := range 20 {
		id := from + 10*i
		if r.major() >= 14 {
			fmt.Fprintf(&b, "select pg_logical_emit_message(true, 'sequin:transaction_annotations.set', '{\"step\": %d}');", i)
		}
		fmt.Fprintf(&b, "insert into t values (%d, 'a'); savepoint s; insert into t values (%d, 'undone'); rollback to s; update t set v = 'b' where id = %d;", id, id+1, id)
		if i%5 == 4 {
			fmt.Fprintf(&b, "delete from t where id = %d; insert into t values (%d, 'c');", id, id)
		}
	}
	b.WriteString("commit")
	return b.String()
}

// Whatever is killed in the middle of long transactions, the process, the connection or the walsender, every event is delivered, in order, and
// what was acknowledged does not come again.
func TestHard09RestartsSkipNothing(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key, v text)", sinks: byTable, database: plainly})
	other := r.otherReader()
	seen := map[string]int{}
	var order []string
	var leased []harness.Received
	take := func(n int) { // acknowledges n messages, one by one, and leaves one more leased
		for ; n >= 0; n-- {
			batch := r.receive("pull", `{"batch_size":1,"wait_for":20000,"visibility_timeout_ms":500}`)
			require.Len(t, batch, 1)
			if n == 0 {
				leased = batch
				return
			}
			key := batch[0].Data.Metadata.IdempotencyKey
			seen[key]++
			order = append(order, key)
			r.ack("pull", batch)
		}
	}
	for round := range 6 {
		r.exec(mixed(r, round*1000))
		take(5 * round)
		switch round % 3 {
		case 0:
			r.Kill()
			r.exec(mixed(r, round*1000+300))
			r.Start()
		case 1:
			r.exec("select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active_pid is not null", r.slot)
			r.exec(mixed(r, round*1000+300))
		case 2:
			r.exec(mixed(r, round*1000+300))
			r.Kill()
			r.Start()
		}
		take(3)
	}
	require.NoError(t, r.Stream("pull").Nack(t.Context(), harness.AckIDs(leased)...)) // or else drain would not see what waits behind it
	for _, m := range r.drain("pull") {
		seen[m.Data.Metadata.IdempotencyKey]++
		order = append(order, m.Data.Metadata.IdempotencyKey)
	}
	var want []string
	for _, p := range other.places(r) {
		if p.kind != 'M' {
			want = append(want, p.key())
		}
	}
	require.Equal(t, want[:len(want)-1], order, "all of the WAL but the mark, in its order, nothing twice")
	for key, n := range seen {
		require.Equal(t, 1, n, key)
	}
}

// What was leased when the process was killed stays invisible until its own deadline, comes back then and not before, and says so.
func TestLeasesSurviveSIGKILL(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key)"})
	r.exec("insert into t select generate_series(1, 4)")
	const lease = 8 * time.Second
	leased := time.Now()
	first := r.receive("pull", fmt.Sprintf(`{"batch_size":2,"wait_for":20000,"visibility_timeout_ms":%d}`, lease.Milliseconds()))
	require.Len(t, first, 2)
	r.ack("pull", first[:1])
	r.Kill()
	r.Start()
	rest := r.receive("pull", `{"batch_size":10,"wait_for":20000}`)
	require.Len(t, rest, 2, "those that nobody holds, and neither the acknowledged nor the leased one")
	r.ack("pull", rest)
	again := r.receive("pull", `{"batch_size":10,"wait_for":30000}`)
	require.GreaterOrEqual(t, time.Since(leased), lease, "not before its deadline")
	require.Len(t, again, 1)
	require.Equal(t, first[1].AckID, again[0].AckID)
	require.Equal(t, first[1].Data, again[0].Data)
	require.Equal(t, 1, first[1].DeliverCount)
	require.Equal(t, 2, again[0].DeliverCount)
	r.ack("pull", again)
	require.Empty(t, r.drain("pull"))
}

// A restarted server and a killed walsender are not incidents: nothing shows red, and nothing is missed.
func TestHard09APostgresRestartIsNoIncident(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := begin(t, setup{server: server, ddl: "create table t (id int primary key)"})
	red := make(chan string, 1)
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { // whoever looks at the health meanwhile
		defer close(watched)
		for ctx.Err() == nil {
			if status, body := r.Get("/healthz"); status != http.StatusOK {
				select {
				case red <- body:
				default:
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	defer func() { stop(); <-watched }()
	for i := range 3 {
		r.exec("insert into t values ($1)", i)
		r.exec("select pg_terminate_backend(pid) from pg_stat_replication")
		r.eventually(r.streaming, "it streams again")
	}
	began := time.Now()
	server.Restart(t)
	down := time.Since(began)
	r.eventually(r.streaming, "it streams again")
	r.exec("insert into t values (3)")
	require.Len(t, r.drain("pull"), 4)
	if down < 3*time.Second { // five are too long to keep silent about
		require.Empty(t, red)
	}
}

// A connection that breaks while a transaction is being sent loses nothing of it and repeats nothing.
func TestHard09ConnectionsThatBreakInsideATransaction(t *testing.T) {
	t.Parallel()
	r := prepare(t, setup{ddl: "create table t (id int primary key, v text)", sinks: byTable, database: plainly})
	smallMemory(r)
	var p *proxy
	rows := 0
	p = between(t, r, func(kind byte, body []byte) []byte {
		if message := streamed(kind, body); len(message) > 0 && message[0] == 'I' {
			if rows++; rows%700 == 0 && rows < 3500 {
				p.cut()
			}
		}
		return nil
	})
	r.start()
	r.exec("insert into t select i, repeat('x', 100) from generate_series(1, 1500) i")
	for i := range 100 {
		r.exec("insert into t values ($1, 'single')", 2000+i)
	}
	got := r.drain("pull")
	require.Len(t, got, 1600)
	require.True(t, increasing(got))
	require.Positive(t, r.metric("sequin_slot_reconnects_total"))
}

// increasing tells whether messages came in the order of the history, none twice.
func increasing(all []harness.Received) bool {
	for i := range all[1:] {
		if !earlier(all[i].Data, all[i+1].Data) {
			return false
		}
	}
	return true
}
