package manage_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/test/harness"
)

// gaps measures the longest time without an arrival.
type gaps struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (g *gaps) arrived() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if !g.last.IsZero() {
		g.longest = max(g.longest, now.Sub(g.last))
	}
	g.last = now
}

// take returns the longest gap since it was asked before.
func (g *gaps) take() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	longest := max(g.longest, time.Since(g.last))
	g.longest = 0
	return longest
}

// A steady 2,000 changes a second to one consumer: while another is created, edited fifty times and deleted, and endpoints, functions and tokens
// with it, no gap is longer than twice the longest without edits, with a floor of 50 ms. What the machine makes a process wait that does nothing
// but look at the clock is added: it is nobody's edit.
func TestEditsAreNotNoticedByOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, v text)", pull)
	r.Released = true
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(hook.Close)
	r.Start()
	r.WaitHealthy(patience)

	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var work sync.WaitGroup
	t.Cleanup(func() { stop(); work.Wait() })
	written, received := make(chan int, 1), &ledger{}
	var arrivals, clock gaps
	work.Go(func() { written <- write(ctx, r) })
	for range 2 {
		work.Go(func() { received.read(ctx, r.Stream("pull"), &arrivals) })
	}
	work.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(time.Millisecond)
			clock.arrived()
		}
	})
	quiet := func() time.Duration {
		arrivals.take()
		time.Sleep(4 * time.Second)
		return arrivals.take()
	}
	require.Eventually(t, func() bool { return received.count() > 2000 }, patience, 10*time.Millisecond)
	before := quiet()
	clock.take()
	r.edit(hook.URL)
	during, stalled := arrivals.take(), clock.take()
	after := quiet()
	limit := max(2*max(before, after), 50*time.Millisecond) + stalled
	t.Logf("longest gap: %s before, %s during the edits, %s after; the clock stalled for %s; limit %s", before, during, after, stalled, limit)
	require.LessOrEqual(t, during, limit)

	stop()
	work.Wait()
	received.complete(t, r, <-written)
	require.NotContains(t, r.Log(), "starts again")
}

// write inserts 2,000 rows a second in transactions of ten, until ctx ends, and returns how many.
func write(ctx context.Context, r *rig) int {
	conn := r.db.Conn(r.t)
	n := 0
	for next := time.Now(); ctx.Err() == nil; next = next.Add(5 * time.Millisecond) {
		time.Sleep(time.Until(next))
		if _, err := conn.Exec(context.WithoutCancel(ctx), "insert into t select g, 'v' from generate_series($1::int, $2::int) g", n+1, n+10); err != nil {
			r.t.Errorf("insert: %v", err)
			return n
		}
		n += 10
	}
	return n
}

// ledger notes what was acknowledged.
type ledger struct {
	mu   sync.Mutex
	seen map[int]int
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

func (l *ledger) read(ctx context.Context, s *harness.Stream, arrivals *gaps) {
	for ctx.Err() == nil {
		got, err := s.Receive(ctx, 100, 5*time.Second)
		if err != nil {
			continue
		}
		arrivals.arrived()
		l.note(got)
		ids := make([]string, len(got))
		for i := range got {
			ids[i] = got[i].AckID
		}
		if len(ids) > 0 {
			_ = s.Ack(context.WithoutCancel(ctx), ids...) // counted when it is complete
		}
	}
}

func (l *ledger) note(got []harness.Received) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[int]int{}
	}
	for i := range got {
		var row struct{ ID int }
		if json.Unmarshal(got[i].Data.Record, &row) == nil {
			l.seen[row.ID]++
		}
	}
}

// complete reads the rest and compares with what was written: each row once.
func (l *ledger) complete(t *testing.T, r *rig, written int) {
	t.Helper()
	for deadline := time.Now().Add(patience); l.count() < written; {
		require.Less(t, time.Now().UnixNano(), deadline.UnixNano(), "%d of %d", l.count(), written)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		l.read(ctx, r.Stream("pull"), &gaps{})
		cancel()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, times := range l.seen {
		require.Equal(t, 1, times, "row %d", id)
	}
	require.Len(t, l.seen, written)
}

// edit creates a webhook sink with its endpoint, a function and a token, edits the sink fifty times, and deletes everything.
func (r *rig) edit(url string) {
	r.t.Helper()
	r.must("POST", "/api/destinations/http_endpoints", map[string]any{"name": "hook", "url": url})
	r.must("POST", "/api/functions", map[string]any{"name": "part", "type": "path", "path": "record.id"})
	r.must("POST", "/api/api_keys", map[string]any{"name": "b"})
	r.must("POST", "/api/sinks", map[string]any{
		"name": "b", "database": "db", "source": map[string]any{"include_tables": []string{"public.t"}},
		"destination": map[string]any{"type": "webhook", "http_endpoint": "hook"},
	})
	for i := range 50 {
		change := map[string]any{"batch_size": 1 + i%100}
		switch i % 5 {
		case 1:
			change = map[string]any{"status": "paused"}
		case 2:
			change = map[string]any{"status": "active", "actions": []string{"insert"}}
		case 3:
			change = map[string]any{"annotations": map[string]any{"n": i}}
		case 4:
			r.must("PATCH", "/api/destinations/http_endpoints/hook", map[string]any{"headers": map[string]string{"X-N": strconv.Itoa(i)}})
		}
		r.must("PATCH", "/api/sinks/b", change)
	}
	r.must("DELETE", "/api/sinks/b", nil)
	r.must("DELETE", "/api/destinations/http_endpoints/hook", nil)
	r.must("DELETE", "/api/functions/part", nil)
	var keys struct{ Data []struct{ ID, Name string } }
	r.must("GET", "/api/api_keys", nil).into(r.t, &keys)
	for _, k := range keys.Data {
		if k.Name == "b" {
			r.must("DELETE", "/api/api_keys/"+k.ID, nil)
		}
	}
}
