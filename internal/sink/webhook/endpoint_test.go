package webhook_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/sinktest"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoint is a receiver that follows a judge and writes down what it accepted.
type endpoint struct {
	server *httptest.Server
	batch  bool
	later  time.Duration
	gone   chan struct{}

	mu       sync.Mutex
	judge    func(string) sinktest.Verdict
	accepted []string
	writes   int
}

func startEndpoint(t *testing.T, batch bool, later time.Duration) *endpoint {
	t.Helper()
	e := &endpoint{batch: batch, later: later, gone: make(chan struct{}), judge: func(string) sinktest.Verdict { return sinktest.Accept }}
	e.server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(e.Stop)
	return e
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	bodies := []string{string(body)}
	if e.batch {
		var envelope struct{ Data []json.RawMessage }
		if err := json.Unmarshal(body, &envelope); err != nil {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		bodies = nil
		for _, m := range envelope.Data {
			bodies = append(bodies, string(m))
		}
	}
	e.mu.Lock()
	judge := e.judge
	e.writes++
	e.mu.Unlock()
	worst := sinktest.Accept
	for _, b := range bodies {
		worst = max(worst, judge(b))
	}
	switch worst {
	case sinktest.Accept:
		e.mu.Lock()
		e.accepted = append(e.accepted, bodies...)
		e.mu.Unlock()
	case sinktest.Fail:
		w.WriteHeader(http.StatusInternalServerError)
	case sinktest.Refuse:
		w.WriteHeader(http.StatusUnprocessableEntity)
	case sinktest.Later:
		w.Header().Set("Retry-After", strconv.Itoa(int(e.later.Seconds())))
		w.WriteHeader(http.StatusServiceUnavailable)
	case sinktest.Hang:
		select {
		case <-r.Context().Done():
		case <-e.gone:
		}
	}
}

func (e *endpoint) Judge(judge func(string) sinktest.Verdict) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.judge = judge
}

func (e *endpoint) Accepted() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.accepted...)
}

func (e *endpoint) Writes() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.writes
}

func (e *endpoint) Stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.gone:
		return
	default:
		close(e.gone)
	}
	e.server.CloseClientConnections()
	e.server.Close()
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]bool{"batched": true, "unbatched": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			atomicity := webhook.Definition.Atomicity(webhook.Config{Batch: batch})
			require.Equal(t, map[bool]sink.Atomicity{true: sink.Atomic, false: sink.PerMessage}[batch], atomicity)
			sinktest.Run(t, sinktest.Harness{
				Atomicity: atomicity, Refuses: true, Later: 17 * time.Second,
				Open: func(t *testing.T) (sink.Sink, sinktest.Destination) {
					t.Helper()
					e := startEndpoint(t, batch, 17*time.Second)
					c := webhook.DefaultConfig()
					c.URL, c.Batch, c.RejectStatus = e.server.URL, batch, []int{http.StatusUnprocessableEntity}
					s, err := webhook.Definition.Open(t.Context(), sink.Env{Name: "suite"}, c)
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, s.Close()) })
					return s, e
				},
			})
		})
	}
}

// open makes a sink for a handler.
func open(t *testing.T, c webhook.Config, env sink.Env) *webhook.Sink {
	t.Helper()
	s, err := webhook.New(env, c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// serve starts a receiver and returns a configuration that points to it.
func serve(t *testing.T, handler http.HandlerFunc) webhook.Config {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c := webhook.DefaultConfig()
	c.URL = server.URL
	return c
}

// request is one request as a receiver saw it.
type request struct {
	*http.Request
	body []byte
}

// recorder answers 200 and hands over each request.
func recorder(t *testing.T) (webhook.Config, <-chan request) {
	t.Helper()
	seen := make(chan request, 100)
	return serve(t, func(_ http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		if _, err := body.ReadFrom(r.Body); err != nil {
			t.Errorf("read the body: %v", err)
		}
		seen <- request{r, body.Bytes()}
	}), seen
}

func answer(status int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
	}
}
