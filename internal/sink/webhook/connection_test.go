package webhook_test

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/sinktest"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

// counted starts a receiver that counts its connections.
func counted(t *testing.T, handler http.HandlerFunc, start func(*httptest.Server)) (webhook.Config, *atomic.Int64) {
	t.Helper()
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	start(server)
	t.Cleanup(server.Close)
	c := webhook.DefaultConfig()
	c.URL = server.URL
	if cert := server.Certificate(); cert != nil {
		c.CACert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return c, &connections
}

func deliverConcurrently(t *testing.T, s *webhook.Sink, workers, rounds int) {
	t.Helper()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				if err := s.Deliver(t.Context(), sinktest.Batch("m", 1)); err != nil {
					t.Errorf("deliver: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"empty answer": answer(204),
		"short answer": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"ok":true}`)) },
		"long answer":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 200<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, connections := counted(t, handler, (*httptest.Server).Start)
			const workers = 16
			deliverConcurrently(t, open(t, c, sink.Env{}), workers, 25)
			// A worker that finds no idle connection dials, and may then be served by one that came free: a few more than workers.
			require.LessOrEqual(t, connections.Load(), int64(2*workers))
		})
	}
	t.Run("failures", func(t *testing.T) {
		t.Parallel()
		c, connections := counted(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) }, (*httptest.Server).Start)
		s := open(t, c, sink.Env{})
		for range 50 {
			require.Error(t, s.Deliver(t.Context(), sinktest.Batch("m", 1)))
		}
		require.Equal(t, int64(1), connections.Load())
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	c, connections := counted(t, answer(200), (*httptest.Server).Start)
	c.MaxConnections = 2
	deliverConcurrently(t, open(t, c, sink.Env{}), 16, 10)
	require.LessOrEqual(t, connections.Load(), int64(2))
}

// Receivers close idle connections after a few seconds. A delivery on one that is already known to be closed dials again; one that crosses
// with the closing fails without having been received. Neither is sent twice.
func TestIdleConnectionClosedByTheReceiver(t *testing.T) {
	t.Parallel()
	var server *httptest.Server
	var received atomic.Int64
	c, connections := counted(t, func(http.ResponseWriter, *http.Request) { received.Add(1) }, func(s *httptest.Server) {
		server = s
		s.Start()
	})
	c.CircuitFailures = 0
	s := open(t, c, sink.Env{})
	var accepted int64
	for range 100 {
		err := s.Deliver(t.Context(), sinktest.Batch("m", 1))
		if err == nil {
			accepted++
			server.CloseClientConnections()
			continue
		}
		require.Equal(t, "webhook_unreachable", problem.Code(err))
	}
	require.Equal(t, accepted, received.Load())
	require.Equal(t, accepted, connections.Load())
	require.GreaterOrEqual(t, accepted, int64(50), "every failure is followed by a success")
}

func startTLS(h2 bool) func(*httptest.Server) {
	return func(s *httptest.Server) {
		s.EnableHTTP2 = h2
		s.StartTLS()
	}
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		server, client bool
		want           int
	}{
		"both":             {true, true, 2},
		"only the server":  {true, false, 1},
		"only the client":  {false, true, 1},
		"neither of them.": {false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			major := make(chan int, 1000)
			c, connections := counted(t, func(_ http.ResponseWriter, r *http.Request) { major <- r.ProtoMajor }, startTLS(test.server))
			c.HTTP2 = test.client
			s := open(t, c, sink.Env{})
			require.NoError(t, s.Check(t.Context()))
			require.NoError(t, s.Deliver(t.Context(), sinktest.Batch("m", 1)))
			before := connections.Load()
			deliverConcurrently(t, s, 8, 20)
			for range 161 {
				require.Equal(t, test.want, <-major)
			}
			if test.want == 2 {
				require.Equal(t, before, connections.Load(), "one connection carries all")
			}
		})
	}
}

func TestHTTP2PassesTheSuite(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Harness{
		Atomicity: sink.Atomic, Refuses: true, Later: 5 * time.Second,
		Open: func(t *testing.T) (sink.Sink, sinktest.Destination) {
			t.Helper()
			e := &endpoint{batch: true, later: 5 * time.Second, gone: make(chan struct{}), judge: func(string) sinktest.Verdict { return sinktest.Accept }}
			c, _ := counted(t, e.serve, func(s *httptest.Server) {
				e.server = s
				startTLS(true)(s)
			})
			t.Cleanup(e.Stop)
			c.RejectStatus = []int{http.StatusUnprocessableEntity}
			return open(t, c, sink.Env{}), e
		},
	})
}

func TestUntrustedCertificate(t *testing.T) {
	t.Parallel()
	c, _ := counted(t, answer(200), startTLS(false))
	c.CACert = ""
	s := open(t, c, sink.Env{})
	err := s.Check(t.Context())
	require.Equal(t, "webhook_unreachable", problem.Code(err))
	require.ErrorContains(t, err, "certificate")
	err = s.Deliver(t.Context(), sinktest.Batch("m", 1))
	require.Equal(t, "webhook_unreachable", problem.Code(err))
}

func TestCircuit(t *testing.T) {
	t.Parallel()
	var status, requests atomic.Int64
	status.Store(503)
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(int(status.Load()))
	})
	c.CircuitFailures, c.CircuitMaxWait = 5, 20*time.Millisecond
	s := open(t, c, sink.Env{})
	for range 5 {
		err := s.Deliver(t.Context(), sinktest.Batch("m", 1))
		require.Error(t, err)
		_, skipped := sink.Unavailable(err)
		require.False(t, skipped)
	}
	require.True(t, s.Circuit().Open)
	err := s.Deliver(t.Context(), sinktest.Batch("m", 1))
	away, skipped := sink.Unavailable(err)
	require.True(t, skipped)
	require.Positive(t, away.After)
	require.ErrorContains(t, err, "503")
	require.False(t, sink.IsReject(err))
	require.Equal(t, int64(5), requests.Load())

	status.Store(200)
	require.Eventually(t, func() bool { return s.Deliver(t.Context(), sinktest.Batch("m", 1)) == nil }, 10*time.Second, time.Millisecond)
	require.Equal(t, int64(6), requests.Load(), "one probe was enough")
	require.False(t, s.Circuit().Open)
	<-away.Ready
}

// Answers that tell of the message, not of the endpoint, leave the circuit closed.
func TestCircuitStaysClosedOnRefusals(t *testing.T) {
	t.Parallel()
	c := serve(t, answer(http.StatusBadRequest))
	c.CircuitFailures = 2
	s := open(t, c, sink.Env{})
	for range 10 {
		require.Error(t, s.Deliver(t.Context(), sinktest.Batch("m", 1)))
	}
	require.False(t, s.Circuit().Open)
}
