package delivery_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/circuit"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

// A consumer is what a Push takes from.
var _ delivery.Source = (*consumer.Consumer)(nil)

// receiver is an endpoint that notes the order in which it accepted messages.
type receiver struct {
	mu       sync.Mutex
	accepted []uint64
	status   func(seqs []uint64) int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	var body struct {
		Seq  uint64
		Data []struct{ Seq uint64 }
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	seqs := []uint64{body.Seq}
	if body.Data != nil {
		seqs = nil
		for _, m := range body.Data {
			seqs = append(seqs, m.Seq)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.status(seqs)
	if status < 300 {
		r.accepted = append(r.accepted, seqs...)
	}
	w.WriteHeader(status)
}

func openWebhook(tb testing.TB, c webhook.Config, env sink.Env) *webhook.Sink {
	tb.Helper()
	s, err := webhook.New(env, c)
	require.NoError(tb, err)
	return s
}

// An endpoint that is down for a while: everything arrives once and in the order of its group, few requests are wasted, and no message
// pays for the outage with more than a handful of attempts.
func TestWebhookOutage(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]bool{"batched": true, "unbatched": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var down atomic.Bool
			var requests, wasted atomic.Int64
			r := &receiver{status: func([]uint64) int {
				requests.Add(1)
				if down.Load() {
					wasted.Add(1)
					return http.StatusBadGateway
				}
				if requests.Load() == 20 {
					down.Store(true)
				}
				return http.StatusOK
			}}
			server := httptest.NewServer(r)
			t.Cleanup(server.Close)
			c := webhook.DefaultConfig()
			c.URL, c.Batch, c.CircuitFailures, c.CircuitMaxWait = server.URL, batch, 5, 20*time.Millisecond
			messages := letters(strings.Repeat("abcdefghijklmnopqrst", 100))
			q := newQueue(messages...)
			q.retryWait = 5 * time.Millisecond
			settings := delivery.Settings{Workers: 6, BatchSize: 1, Sink: openWebhook(t, c, sink.Env{}), Atomicity: webhook.Definition.Atomicity(c)}
			if batch {
				settings.BatchSize = 25
			}
			p, stop := start(t, delivery.Options{Source: q, Settings: settings})
			require.Eventually(t, func() bool { return p.Status().Away != nil }, 10*time.Second, time.Millisecond)
			down.Store(false)
			require.Eventually(t, func() bool {
				q.mu.Lock()
				defer q.mu.Unlock()
				return len(q.done) == len(messages)
			}, 30*time.Second, 5*time.Millisecond)
			require.NoError(t, stop())
			require.NoError(t, p.Status().Away)
			require.Len(t, r.accepted, len(messages))
			last := map[uint64]uint64{}
			for _, seq := range r.accepted {
				group := seq % 20
				require.Greater(t, seq, last[group])
				last[group] = seq
			}
			require.Less(t, wasted.Load(), int64(100), "the endpoint was left alone")
			for _, d := range messages {
				require.LessOrEqual(t, d.Attempt, 12)
			}
		})
	}
}

// Two consumers, one endpoint that hangs: the other's latency does not notice.
func TestSlowEndpointDoesNotSlowItsNeighbour(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(over) })
	quick := &receiver{status: func([]uint64) int { return http.StatusOK }}
	fast := httptest.NewServer(quick)
	t.Cleanup(fast.Close)
	circuits := &circuit.Group{}
	push := func(url string, q *queue) (*delivery.Push, func() error) {
		c := webhook.DefaultConfig()
		c.URL, c.Batch = url, false
		return start(t, delivery.Options{Source: q, Drain: -1, Settings: delivery.Settings{Workers: 4, Sink: openWebhook(t, c, sink.Env{Circuits: circuits})}})
	}
	stuck := newQueue(letters(strings.Repeat("-", 100))...)
	hanging, stopHanging := push(slow.URL, stuck)
	require.Eventually(t, func() bool { return hanging.Status().InFlight == 4 }, 10*time.Second, time.Millisecond)
	flowing := newQueue(letters(strings.Repeat("-", 2000))...)
	_, stopFlowing := push(fast.URL, flowing)
	require.Eventually(t, func() bool {
		quick.mu.Lock()
		defer quick.mu.Unlock()
		return len(quick.accepted) == 2000
	}, 20*time.Second, time.Millisecond)
	require.Equal(t, 4, hanging.Status().InFlight)
	require.NoError(t, stopFlowing())
	require.NoError(t, stopHanging())
	require.Equal(t, []string{"release", "release", "release", "release"}, words(stuck.outcomes()))
	require.Empty(t, circuits.Status(), "closed sinks leave their endpoints")
}

func words(outcomes []string) []string {
	var all []string
	for _, o := range outcomes {
		_, word, _ := strings.Cut(o, " ")
		all = append(all, word)
	}
	return all
}
