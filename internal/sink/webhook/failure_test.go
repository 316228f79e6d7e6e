package webhook_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/egress"
	"github.com/sequinstream/sequin/internal/sink/sinktest"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

// deliverOne posts one message and returns the outcome.
func deliverOne(t *testing.T, c webhook.Config, env sink.Env) error {
	t.Helper()
	return open(t, c, env).Deliver(t.Context(), sinktest.Batch("m", 1))
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	for status := 200; status <= 599; status++ {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			c := serve(t, answer(status))
			err := deliverOne(t, c, sink.Env{})
			if status < 300 {
				require.NoError(t, err)
				return
			}
			var answered *webhook.StatusError
			require.ErrorAs(t, err, &answered)
			require.Equal(t, status, answered.Status)
			require.ErrorContains(t, err, strconv.Itoa(status))
			require.False(t, sink.IsReject(err), "everything is retried unless declared otherwise")
			p, ok := problem.As(err)
			require.True(t, ok)
			require.NotEmpty(t, p.Hint)
		})
		if status%100 == 30 {
			status += 69 // the unassigned rest of the hundred
		}
	}
}

func TestDeclaredStatusesAreRejected(t *testing.T) {
	t.Parallel()
	c := serve(t, answer(http.StatusBadRequest, "Retry-After", "3"))
	c.RejectStatus = []int{400, 422}
	require.True(t, sink.IsReject(deliverOne(t, c, sink.Env{})))
	c = serve(t, answer(http.StatusNotFound))
	c.RejectStatus = []int{400, 422}
	require.False(t, sink.IsReject(deliverOne(t, c, sink.Env{})))
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	followed := make(chan struct{}, 10)
	target := serve(t, func(http.ResponseWriter, *http.Request) { followed <- struct{}{} })
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := serve(t, answer(status, "Location", target.URL+"/new?token=s3cret"))
		err := deliverOne(t, c, sink.Env{})
		require.Equal(t, "webhook_redirect", problem.Code(err))
		require.ErrorContains(t, err, target.URL)
		require.NotContains(t, err.Error(), "s3cret")
	}
	require.Empty(t, followed)
	err := deliverOne(t, serve(t, answer(http.StatusFound, "Location", "://")), sink.Env{})
	require.ErrorContains(t, err, "elsewhere")
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	date := func(ahead time.Duration) string { return begin.Add(ahead).UTC().Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		status  int
		headers []string
		want    time.Duration
	}{
		"seconds":                    {429, []string{"Retry-After", "7"}, 7 * time.Second},
		"seconds on 503":             {503, []string{"Retry-After", " 120 "}, 2 * time.Minute},
		"date":                       {503, []string{"Retry-After", date(90 * time.Second)}, 90 * time.Second},
		"date by the receiver's own": {503, []string{"Retry-After", date(100 * time.Hour), "Date", date(100*time.Hour - 30*time.Second)}, 30 * time.Second},
		"any failure may carry it":   {400, []string{"Retry-After", "9"}, 9 * time.Second},
		"too long":                   {429, []string{"Retry-After", "999999"}, time.Hour},
		"overflow":                   {429, []string{"Retry-After", "99999999999999999999999"}, time.Hour},
		"date too far":               {429, []string{"Retry-After", date(10000 * time.Hour)}, time.Hour},
		"past":                       {429, []string{"Retry-After", date(-time.Hour)}, 0},
		"zero":                       {429, []string{"Retry-After", "0"}, 0},
		"negative":                   {429, []string{"Retry-After", "-5"}, 0},
		"nonsense":                   {429, []string{"Retry-After", "soon"}, 0},
		"absent":                     {429, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := deliverOne(t, serve(t, answer(test.status, test.headers...)), sink.Env{})
			after, ok := sink.After(err)
			require.Equal(t, test.want > 0, ok, "%v", err)
			require.LessOrEqual(t, after, test.want)
			require.GreaterOrEqual(t, after, test.want-time.Since(begin)-time.Second) // a date has whole seconds
		})
	}
}

func TestSlowEndpointTimesOut(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	c := serve(t, func(http.ResponseWriter, *http.Request) { <-over })
	t.Cleanup(func() { close(over) })
	err := deliverOne(t, c, sink.Env{Timeout: 50 * time.Millisecond})
	require.Equal(t, "webhook_timeout", problem.Code(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "50ms")
	_, skipped := sink.Unavailable(err)
	require.False(t, skipped)
}

// An answer was given, but its body never ends: the worker moves on long before the timeout.
func TestDribblingAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 500} {
		over := make(chan struct{})
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("first part"))
			_ = http.NewResponseController(w).Flush()
			<-over
		})
		t.Cleanup(func() { close(over) })
		start := time.Now()
		err := deliverOne(t, c, sink.Env{Timeout: time.Minute})
		require.Less(t, time.Since(start), 20*time.Second)
		if status == 200 {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "first part")
	}
}

func TestHugeAnswer(t *testing.T) {
	t.Parallel()
	written := make(chan int, 2)
	huge := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			total := 0
			for range 1 << 10 { // 64 MiB
				n, err := w.Write([]byte(strings.Repeat("x", 64<<10)))
				total += n
				if err != nil {
					break
				}
			}
			written <- total
		}
	}
	require.NoError(t, deliverOne(t, serve(t, huge(200)), sink.Env{}))
	require.Less(t, <-written, 32<<20)

	err := deliverOne(t, serve(t, huge(500)), sink.Env{})
	require.Less(t, <-written, 32<<20)
	var answered *webhook.StatusError
	require.ErrorAs(t, err, &answered)
	require.Len(t, answered.Body, 64<<10)
	require.Less(t, len(err.Error()), 1000, "the text that people see is short")
}

func TestErrorShowsTheAnswerInOneLineOfText(t *testing.T) {
	t.Parallel()
	err := deliverOne(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("{\n  \"error\": \"no \xff such column\"\n}\n"))
	}), sink.Env{})
	require.ErrorContains(t, err, `answered 400 Bad Request: { "error": "no ? such column" }`)
}

// An endpoint that echoes what it got must not bring secrets into errors, logs and dead letters.
func TestErrorsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_ = r.Header.Write(w)
		_, _ = fmt.Fprintf(w, "%s token alone: t0k3n-value", r.URL)
	})
	c.URL = strings.Replace(c.URL, "http://", "http://user:hunter22@", 1) + "/hook?key=qu3ry-s3cret&x=%2Fsl%2Fash"
	c.EncryptedHeaders = map[string]string{"X-Auth": "Bearer t0k3n-value"}
	c.Headers = map[string]string{"Cookie": "session=c00kie", "X-Plain": "visible"}
	secrets := []string{"hunter22", "qu3ry-s3cret", "t0k3n-value", "c00kie", "/sl/ash", "%2Fsl"}
	err := deliverOne(t, c, sink.Env{})
	var answered *webhook.StatusError
	require.ErrorAs(t, err, &answered)
	require.ErrorContains(t, err, "visible")
	for _, s := range secrets {
		require.NotContains(t, err.Error(), s)
		require.NotContains(t, string(answered.Body), s)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", c, c, c, c), s)
	}

	c.URL = "http://user:hunter22@127.0.0.1:1/hook?key=qu3ry-s3cret"
	err = deliverOne(t, c, sink.Env{})
	require.Equal(t, "webhook_unreachable", problem.Code(err))
	for _, s := range secrets {
		require.NotContains(t, err.Error(), s)
	}
}

// raw starts a receiver that does with each connection what it is told.
func raw(t *testing.T, each func(conn *net.TCPConn)) webhook.Config {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				each(tcp)
			}
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		<-done
	})
	c := webhook.DefaultConfig()
	c.URL = "http://" + listener.Addr().String()
	return c
}

func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	read := func(conn *net.TCPConn) { _, _ = conn.Read(make([]byte, 64<<10)) }
	for name, each := range map[string]func(*net.TCPConn){
		"closed at once": func(conn *net.TCPConn) { _ = conn.Close() },
		"reset": func(conn *net.TCPConn) {
			read(conn)
			_ = conn.SetLinger(0)
			_ = conn.Close()
		},
		"closed without an answer": func(conn *net.TCPConn) {
			read(conn)
			_ = conn.Close()
		},
		"not HTTP": func(conn *net.TCPConn) {
			read(conn)
			_, _ = conn.Write([]byte("220 mail.test ESMTP\r\n"))
			_ = conn.Close()
		},
		"cut in the headers": func(conn *net.TCPConn) {
			read(conn)
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Le"))
			_ = conn.Close()
		},
		"endless headers": func(conn *net.TCPConn) {
			read(conn)
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n"))
			for range 1 << 10 {
				if _, err := conn.Write([]byte("X-Filler: " + strings.Repeat("x", 1000) + "\r\n")); err != nil {
					break
				}
			}
			_ = conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := deliverOne(t, raw(t, each), sink.Env{Timeout: 10 * time.Second})
			require.Equal(t, "webhook_unreachable", problem.Code(err), "%v", err)
			require.False(t, sink.IsReject(err))
		})
	}
	t.Run("cut in the answer's body after a 200", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, deliverOne(t, raw(t, func(conn *net.TCPConn) {
			read(conn)
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok"))
			_ = conn.Close()
		}), sink.Env{}))
	})
	t.Run("answered before the body was read", func(t *testing.T) {
		t.Parallel()
		c := raw(t, func(conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 100))
			_, _ = conn.Write([]byte("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			_ = conn.CloseWrite()
			_, _ = conn.ReadFrom(strings.NewReader(""))
			_ = conn.Close()
		})
		c.Batch = false
		s := open(t, c, sink.Env{Timeout: 10 * time.Second})
		body := []byte(strings.Repeat("x", 8<<20))
		err := s.Deliver(t.Context(), []sink.Message{{ID: "big", Body: body}})
		clear(body) // the race detector sees a transport that still reads
		require.Error(t, err)
	})
}

func TestEgressRulesHold(t *testing.T) {
	t.Parallel()
	c := webhook.DefaultConfig()
	c.URL = "http://169.254.169.254/latest/meta-data"
	err := deliverOne(t, c, sink.Env{})
	require.Equal(t, "egress_denied", problem.Code(err))
	require.ErrorContains(t, err, "169.254.0.0/16")
	require.Equal(t, "egress_denied", problem.Code(open(t, c, sink.Env{}).Check(t.Context())))

	policy, err := egress.New([]string{"127.0.0.0/8", "::1"}, nil)
	require.NoError(t, err)
	c = serve(t, answer(200))
	require.NoError(t, deliverOne(t, c, sink.Env{}))
	c.URL = strings.Replace(c.URL, "127.0.0.1", "localhost", 1)
	require.Equal(t, "egress_denied", problem.Code(deliverOne(t, c, sink.Env{Egress: policy})))
}

func TestCancelledRequestIsNotTheEndpointsFault(t *testing.T) {
	t.Parallel()
	arrived, over := make(chan struct{}), make(chan struct{})
	c := serve(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-over
	})
	t.Cleanup(func() { close(over) })
	s := open(t, c, sink.Env{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	require.ErrorIs(t, s.Deliver(ctx, sinktest.Batch("m", 1)), context.Canceled)
	require.Zero(t, s.Circuit().Failures)
	require.ErrorIs(t, s.Deliver(ctx, sinktest.Batch("m", 1)), context.Canceled)
}

func TestWrongConfigurationType(t *testing.T) {
	t.Parallel()
	_, err := webhook.Definition.Open(t.Context(), sink.Env{}, struct{}{})
	require.Error(t, err)
}
