package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/shape"
)

// queueStream is a stream in memory behind the real pull API: what is received is leased until it is settled.
type queueStream struct {
	mu     sync.Mutex
	queue  []*consumer.Delivery
	leased map[string]*consumer.Delivery
	acked  []string
	nacked []string
	more   chan struct{}

	waiting atomic.Int32 // long polls
}

func newQueue(n int) *queueStream {
	q := &queueStream{leased: map[string]*consumer.Delivery{}, more: make(chan struct{})}
	for i := range n {
		q.queue = append(q.queue, &consumer.Delivery{Seq: uint64(i + 1), AckID: id(i + 1), Attempt: 1})
	}
	return q
}

func (q *queueStream) Name() string { return "orders" }

func (q *queueStream) Shape(ctx context.Context, b *shape.Batch) {
	shape.Each(func(dst []byte, d *consumer.Delivery) ([]byte, error) {
		return fmt.Appendf(dst, "{\"record\": {\"id\": %d},\n \"action\": \"insert\"}", d.Seq), nil
	}, nil)(ctx, b)
}

func (q *queueStream) Receive(ctx context.Context, o consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	over := time.After(o.Wait)
	for {
		q.mu.Lock()
		n := min(o.Max, len(q.queue))
		batch, more := q.queue[:n], q.more
		q.queue = q.queue[n:]
		for _, d := range batch {
			q.leased[d.AckID] = d
		}
		q.mu.Unlock()
		if n > 0 || o.Wait == 0 {
			return batch, nil
		}
		select {
		case <-more:
		case <-over:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *queueStream) Ack(_ context.Context, ids []string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.acked = append(q.acked, ids...)
	for _, id := range ids {
		delete(q.leased, id)
	}
	return nil
}

func (q *queueStream) Nack(_ context.Context, ids []string, _ time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.nacked = append(q.nacked, ids...)
	for _, id := range ids {
		delete(q.leased, id)
	}
	return nil
}

func (q *queueStream) Extend(context.Context, []string, time.Duration) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// Settle gives back what was never sent.
func (q *queueStream) Settle(_ context.Context, results []consumer.Result) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range results {
		delete(q.leased, r.Delivery.AckID)
		q.queue = append([]*consumer.Delivery{r.Delivery}, q.queue...)
	}
	return nil
}

func (q *queueStream) state() (acked, nacked, leased int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.acked), len(q.nacked), len(q.leased)
}

func (q *queueStream) StreamByID(string, string) (api.Stream, bool) { return nil, false }

func (q *queueStream) StreamByName(_, name string) (api.Stream, bool) { return q, name == "orders" }

// handler is the real pull API in front of the queue.
func (q *queueStream) handler() http.Handler {
	tokens := auth.FromResources("acme", []resource.APIToken{{Name: "worker", Token: "worker-token", Scopes: []resource.Scope{resource.ConsumeScope("orders")}}})
	return api.New(api.Deps{Streams: q, Auth: auth.NewTokens(tokens), Logger: slog.New(slog.DiscardHandler)})
}

func (q *queueStream) serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(q.handler())
	t.Cleanup(s.Close)
	return s.URL
}

func consumeArgs(url string, more ...string) []string {
	return append([]string{"consume", "orders", "--url", url, "--token", "worker-token"}, more...)
}

func TestConsumePrintsThenAcknowledges(t *testing.T) {
	t.Parallel()
	q := newQueue(250)
	code, out, errs := run(t, consumeArgs(q.serve(t), "--wait", "0")...)
	require.Equal(t, cli.ExitOK, code, errs)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, lines, 250)
	require.Equal(t, `{"record":{"id":1},"action":"insert"}`, lines[0], "one line each, compact")
	acked, nacked, leased := q.state()
	require.Equal(t, []int{250, 0, 0}, []int{acked, nacked, leased})
}

func TestConsumeShowsTheDelivery(t *testing.T) {
	t.Parallel()
	q := newQueue(3)
	code, out, _ := run(t, consumeArgs(q.serve(t), "--count", "2", "--no-ack", "-o", "json")...)
	require.Equal(t, cli.ExitOK, code)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, lines, 2)
	require.JSONEq(t, `{"ack_id":"`+id(1)+`","deliver_count":1,"data":{"record":{"id":1},"action":"insert"}}`, lines[0])
	acked, nacked, leased := q.state()
	require.Equal(t, []int{0, 0, 2}, []int{acked, nacked, leased}, "the count bounds what is taken, and nothing is settled")
}

// failing takes a number of bytes, then fails.
type failing struct {
	buf  bytes.Buffer
	room int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	n := min(len(p), f.room-f.buf.Len())
	f.buf.Write(p[:n])
	if n < len(p) {
		return n, f.err
	}
	return n, nil
}

func TestConsumeGivesBackWhatCouldNotBeWritten(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		code int
	}{"the reader went away": {io.ErrClosedPipe, cli.ExitOK}, "the disk is full": {errors.New("no space left on device"), cli.ExitError}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(10)
			one := len(`{"record":{"id":1},"action":"insert"}`) + 1
			out := &failing{room: 3*one + 5, err: tt.err} // in the middle of the fourth
			var errs text
			code := cli.Main(t.Context(), cli.Streams{In: strings.NewReader(""), Out: out, Err: &errs}, consumeArgs(q.serve(t)))
			require.Equal(t, tt.code, code, &errs)
			acked, nacked, leased := q.state()
			require.Equal(t, []int{3, 7, 0}, []int{acked, nacked, leased})
			require.Equal(t, []string{id(1), id(2), id(3)}, q.acked)
		})
	}
}

func TestAnInterruptOfALongPollEndsInOrder(t *testing.T) {
	t.Parallel()
	q := newQueue(1)
	c := begin(t, consumeArgs(q.serve(t))...)
	require.Contains(t, c.line(), `"id":1`)
	require.Eventually(t, func() bool { return q.waiting.Load() == 1 }, patience, pollEvery)
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	acked, nacked, leased := q.state()
	require.Equal(t, []int{1, 0, 0}, []int{acked, nacked, leased})
	require.Empty(t, c.errs.String())
}

// stuck is a reader that reads nothing.
type stuck struct {
	writing chan struct{}
	release chan struct{}
}

func (s *stuck) Write([]byte) (int, error) {
	close(s.writing)
	<-s.release
	return 0, io.ErrClosedPipe
}

func TestAnInterruptDoesNotWaitForAReaderThatIsStuck(t *testing.T) {
	t.Parallel()
	q := newQueue(5)
	out := &stuck{writing: make(chan struct{}), release: make(chan struct{})}
	t.Cleanup(func() { close(out.release) })
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		<-out.writing
		stop()
	}()
	require.Equal(t, cli.ExitOK, cli.Main(ctx, cli.Streams{In: strings.NewReader(""), Out: out, Err: io.Discard}, consumeArgs(q.serve(t))))
	acked, nacked, leased := q.state()
	require.Equal(t, []int{0, 5, 0}, []int{acked, nacked, leased})
}

// flaky answers with errors at first.
type flaky struct {
	http.Handler
	mu     sync.Mutex
	faults map[string][]int // by what the path ends with: statuses to answer; 0 cuts the connection
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verb := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	f.mu.Lock()
	fault := -1
	if next := f.faults[verb]; len(next) > 0 {
		fault, f.faults[verb] = next[0], next[1:]
	}
	f.mu.Unlock()
	switch fault {
	case -1, http.StatusOK:
		f.Handler.ServeHTTP(w, r)
	case 0:
		panic(http.ErrAbortHandler)
	default:
		w.WriteHeader(fault)
		_ = json.NewEncoder(w).Encode(map[string]any{"summary": "not now", "code": "stopping"}) // the test sees what is missing
	}
}

func TestConsumeGoesOnThroughARestart(t *testing.T) {
	t.Parallel()
	q := newQueue(3)
	s := httptest.NewServer(&flaky{Handler: q.handler(), faults: map[string][]int{"receive": {503, 200, 0, 503}, "ack": {0, 503}}})
	t.Cleanup(s.Close)
	code, out, errs := run(t, consumeArgs(s.URL, "--count", "3", "--batch", "1")...)
	require.Equal(t, cli.ExitOK, code, errs)
	require.Equal(t, 3, strings.Count(out, "\n"), "nothing is printed twice")
	acked, _, leased := q.state()
	require.Equal(t, []int{3, 0}, []int{acked, leased})
	require.Contains(t, errs, "it is tried again")
}

func TestConsumeSaysWhatCouldNotBeAcknowledged(t *testing.T) {
	t.Parallel()
	q := newQueue(1)
	s := httptest.NewServer(&flaky{Handler: q.handler(), faults: map[string][]int{"ack": {404}}})
	t.Cleanup(s.Close)
	code, out, errs := run(t, consumeArgs(s.URL, "--count", "1")...)
	require.Equal(t, cli.ExitOK, code)
	require.NotEmpty(t, out)
	require.Contains(t, errs, "1 messages were printed and could not be acknowledged; they will come again")
}

func TestConsumeEndsWhenItCannotBegin(t *testing.T) {
	t.Parallel()
	q := newQueue(0)
	url := q.serve(t)
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for name, tt := range map[string]struct {
		args []string
		code int
	}{
		"no server":     {consumeArgs("http://" + closed.Addr().String()), cli.ExitUnreachable},
		"no such sink":  {[]string{"consume", "nosuch", "--url", url, "--token", "worker-token"}, cli.ExitNotFound},
		"unknown token": {[]string{"consume", "orders", "--url", url, "--token", "other"}, cli.ExitDenied},
		"no token":      {[]string{"consume", "orders", "--url", url}, cli.ExitDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := run(t, tt.args...)
			require.Equal(t, tt.code, code, errs)
			require.Empty(t, out)
			require.NotContains(t, errs, "worker-token")
		})
	}
}

// TestOfflineAdministration serves the operator's requests in this process when no server listens.
func TestOfflineAdministration(t *testing.T) {
	t.Parallel()
	var opened []string
	var closed atomic.Int32
	f := newFakeHandler()
	f.local = true
	streams := cli.Streams{In: strings.NewReader("long enough\n"), OfflineHandler: func(dir string) (http.Handler, func() error, error) {
		opened = append(opened, dir)
		return f, func() error { closed.Add(1); return nil }, nil
	}}
	dir := t.TempDir()
	var out, errs bytes.Buffer
	streams.Out, streams.Err = &out, &errs
	require.Equal(t, cli.ExitOK, cli.Main(t.Context(), streams, []string{"admin", "users", "set-password", "ops@acme.test", "--password-stdin", "--data-dir", dir}), errs.String())
	require.Equal(t, []string{dir}, opened)
	require.EqualValues(t, 1, closed.Load(), "what was done is closed before the command ends")
	require.Contains(t, out.String(), "has a new password")
	require.Equal(t, cli.ExitNotFound, cli.Main(t.Context(), streams, []string{"admin", "accounts", "delete", "nosuch", "--yes", "--data-dir", dir}))

	streams.OfflineHandler = func(string) (http.Handler, func() error, error) {
		return nil, nil, errors.New("the directory is locked")
	}
	require.Equal(t, cli.ExitError, cli.Main(t.Context(), streams, []string{"admin", "accounts", "list", "--data-dir", dir}))
	require.Contains(t, errs.String(), "the directory is locked")

	// A server that runs is asked instead.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", dir+"/admin.sock")
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(f)
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	require.Equal(t, cli.ExitOK, cli.Main(t.Context(), streams, []string{"admin", "accounts", "list", "--data-dir", dir}), errs.String())
	require.True(t, slices.Contains(f.asked(), "GET /livez"))
}
