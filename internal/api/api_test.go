package api_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/shape"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	streamID = "0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11"
	ackID    = "3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e55"
	ackID2   = "4d30ad2f-90bc-4e1f-8b64-1b802010af66"
)

// fakeStream hands out what it is given and records what it hears.
type fakeStream struct {
	receive   func(ctx context.Context, o consumer.ReceiveOptions) ([]*consumer.Delivery, error)
	settleErr error
	rejectErr error
	gone      []string

	mu       sync.Mutex
	options  []consumer.ReceiveOptions
	calls    []string
	rejected []string
	released []string
}

func (f *fakeStream) Name() string { return "orders" }

func (f *fakeStream) Receive(ctx context.Context, o consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
	f.mu.Lock()
	f.options = append(f.options, o)
	f.mu.Unlock()
	if f.receive == nil {
		return nil, nil
	}
	return f.receive(ctx, o)
}

func (f *fakeStream) call(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.settleErr
}

func (f *fakeStream) Ack(_ context.Context, ids []string) error { return f.call("ack %v", ids) }

func (f *fakeStream) Nack(_ context.Context, ids []string, delay time.Duration) error {
	return f.call("nack %v %s", ids, delay)
}

func (f *fakeStream) Extend(_ context.Context, ids []string, lease time.Duration) ([]string, error) {
	return f.gone, f.call("extend %v %s", ids, lease)
}

func (f *fakeStream) Settle(_ context.Context, results []consumer.Result) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range results {
		switch {
		case r.Outcome == consumer.Release:
			f.released = append(f.released, r.Delivery.AckID)
		case r.Outcome == consumer.Reject && errors.Is(r.Err, errUnencodable):
			if f.rejectErr != nil {
				return f.rejectErr
			}
			f.rejected = append(f.rejected, r.Delivery.AckID)
		default:
			return fmt.Errorf("unexpected outcome %d: %w", r.Outcome, r.Err)
		}
	}
	return nil
}

var errUnencodable = errors.New("cannot be built")

func (f *fakeStream) Shape(ctx context.Context, b *shape.Batch) {
	shape.Each(func(dst []byte, d *consumer.Delivery) ([]byte, error) {
		if d.ID == "bad" {
			return append(dst, "half a mess"...), errUnencodable
		}
		return append(dst, d.ID...), nil
	}, nil)(ctx, b)
}

func (f *fakeStream) lastOptions(t *testing.T) consumer.ReceiveOptions {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.NotEmpty(t, f.options)
	return f.options[len(f.options)-1]
}

// fakeStreams knows one stream of the account acme.
type fakeStreams struct{ stream *fakeStream }

func (f fakeStreams) StreamByID(account, id string) (api.Stream, bool) {
	return f.stream, account == "acme" && id == streamID
}

func (f fakeStreams) StreamByName(account, name string) (api.Stream, bool) {
	return f.stream, account == "acme" && name == "orders"
}

func newAPI(s *fakeStream) *api.API { return newAPIWith(s, api.Limits{ResponseBytes: 300}) }

func newAPIWith(s *fakeStream, limits api.Limits) *api.API {
	tokens := auth.FromResources("acme", []resource.APIToken{
		{Name: "admin", Token: "admin-token", Scopes: []resource.Scope{resource.ScopeAdmin}},
		{Name: "worker", Token: "worker-token", Scopes: []resource.Scope{resource.ConsumeScope("orders")}},
		{Name: "viewer", Token: "viewer-token", Scopes: []resource.Scope{resource.ScopeRead}},
	})
	tokens = append(tokens, auth.FromResources("other", []resource.APIToken{
		{Name: "theirs", Token: "other-token", Scopes: []resource.Scope{resource.ScopeAdmin}},
	})...)
	return api.New(api.Deps{
		Streams: fakeStreams{s}, Auth: auth.NewTokens(tokens), Logger: slog.New(slog.DiscardHandler),
		Limits: limits,
	})
}

// call sends one request with the administrator's token, unless headers say otherwise ("Name: value"; "-Name" removes one).
func call(t *testing.T, h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	}
	r.Header.Set("Authorization", "Bearer admin-token")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		if name, ok := strings.CutPrefix(header, "-"); ok {
			r.Header.Del(name)
			continue
		}
		name, value, _ := strings.Cut(header, ": ")
		if name == "Authorization" || name == "Content-Type" {
			r.Header.Del(name)
		}
		for part := range strings.SplitSeq(value, " && ") {
			r.Header.Add(name, part)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.NotEmpty(t, w.Header().Get("X-Request-Id"))
	return w
}

// exactly compares texts byte by byte: clients see the order of the keys too.
func exactly(t *testing.T, want string, w *httptest.ResponseRecorder) {
	t.Helper()
	if diff := cmp.Diff(want, w.Body.String()); diff != "" {
		t.Errorf("the body differs (-want +got):\n%s", diff)
	}
}

func delivery(ack, data string, attempt int) *consumer.Delivery {
	return &consumer.Delivery{AckID: ack, ID: data, Attempt: attempt}
}

func TestReceiveOptions(t *testing.T) {
	t.Parallel()
	const name = "/api/sequin_streams/orders/receive"
	tests := []struct {
		name, method, target, body string
		headers                    []string
		want                       consumer.ReceiveOptions
	}{
		{"sequin-go 0.2.0, nil params", "POST", "/api/http_pull_consumers/orders/receive", "", []string{"Content-Type: application/json"}, consumer.ReceiveOptions{Max: 1}},
		{"sequin-go 0.2.0, a batch", "POST", "/api/http_pull_consumers/orders/receive", `{"batch_size":10}`, nil, consumer.ReceiveOptions{Max: 10}},
		{"sequin-go 0.2.0, zero values left out", "POST", "/api/http_pull_consumers/orders/receive", `{}`, nil, consumer.ReceiveOptions{Max: 1}},
		{"sequin-go main, its default base URL", "POST", "/api/api/http_pull_consumers/orders/receive", `{"max_batch_size":100,"wait_for":120000}`, nil, consumer.ReceiveOptions{Max: 100, Wait: 2 * time.Minute}},
		{"off_broadway_sequin", "POST", "/api/http_pull_consumers/orders/receive", `{"max_batch_size":25,"wait_for":120000}`, []string{"Accept: application/json"}, consumer.ReceiveOptions{Max: 25, Wait: 2 * time.Minute}},
		{"curl without a body or a type", "POST", name, "", nil, consumer.ReceiveOptions{Max: 1}},
		{"curl with an empty form", "POST", name, "", []string{"Content-Type: application/x-www-form-urlencoded"}, consumer.ReceiveOptions{Max: 1}},
		{"a blank body", "POST", name, " \n", nil, consumer.ReceiveOptions{Max: 1}},
		{"type with a charset", "POST", name, `{"batch_size":2}`, []string{"Content-Type: Application/JSON; charset=utf-8"}, consumer.ReceiveOptions{Max: 2}},
		{"by id", "GET", "/api/sequin_streams/" + strings.ToUpper(streamID) + "/receive", "", nil, consumer.ReceiveOptions{Max: 1}},
		{"GET with a query", "GET", name + "?batch_size=7&wait_for=500ms&same_group=true&visibility_timeout_ms=60000", "", nil, consumer.ReceiveOptions{Max: 7, Wait: 500 * time.Millisecond, SameGroup: true, Visibility: time.Minute}},
		{"query of a POST", "POST", name + "?max_batch_size=3&wait_for=60s", "", nil, consumer.ReceiveOptions{Max: 3, Wait: time.Minute}},
		{"the body goes first", "POST", name + "?max_batch_size=3", `{"max_batch_size":4}`, nil, consumer.ReceiveOptions{Max: 4}},
		{"batch_size goes first", "POST", name, `{"max_batch_size":4,"batch_size":5}`, nil, consumer.ReceiveOptions{Max: 5}},
		{"numbers as texts", "POST", name, `{"batch_size":"12","wait_for":"1500","visibility_timeout_ms":"2000","same_group":"1"}`, nil, consumer.ReceiveOptions{Max: 12, Wait: 1500 * time.Millisecond, Visibility: 2 * time.Second, SameGroup: true}},
		{"minutes", "POST", name, `{"wait_for":"5m"}`, nil, consumer.ReceiveOptions{Max: 1, Wait: 5 * time.Minute}},
		{"no wait", "POST", name, `{"wait_for":0}`, nil, consumer.ReceiveOptions{Max: 1}},
		{"a short wait", "POST", name, `{"wait_for":1}`, nil, consumer.ReceiveOptions{Max: 1, Wait: time.Millisecond}},
		{"nulls", "POST", name, `{"batch_size":null,"max_batch_size":6,"wait_for":null,"same_group":null}`, nil, consumer.ReceiveOptions{Max: 6}},
		{"unknown parameters", "POST", name, `{"consumer":"x","batch_size":1000}`, nil, consumer.ReceiveOptions{Max: 1000}},
		{"doubled slashes", "POST", "//api//sequin_streams/orders/receive/", "", nil, consumer.ReceiveOptions{Max: 1}},
		{"a scoped token", "POST", name, "", []string{"Authorization: Bearer worker-token"}, consumer.ReceiveOptions{Max: 1}},
		{"any type accepted", "POST", name, "", []string{"Accept: text/html, application/xhtml+xml, */*;q=0.8"}, consumer.ReceiveOptions{Max: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &fakeStream{}
			w := call(t, newAPI(s), tt.method, tt.target, tt.body, tt.headers...)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			exactly(t, `{"data":[]}`, w)
			require.Equal(t, "11", w.Header().Get("Content-Length"))
			require.Equal(t, tt.want, s.lastOptions(t))
		})
	}
}

func TestReceiveBody(t *testing.T) {
	t.Parallel()
	s := &fakeStream{receive: func(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
		return []*consumer.Delivery{
			delivery(ackID, `{"record":{"id":1},"changes":null,"action":"insert","metadata":{"table_name":"orders"}}`, 1),
			delivery(ackID2, `{"id":12345678901234567890}`, 3),
		}, nil
	}}
	w := call(t, newAPI(s), "POST", "/api/sequin_streams/orders/receive", `{"batch_size":2}`)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	exactly(t, `{"data":[`+
		`{"ack_id":"3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e55","deliver_count":1,"data":{"record":{"id":1},"changes":null,"action":"insert","metadata":{"table_name":"orders"}}},`+
		`{"ack_id":"4d30ad2f-90bc-4e1f-8b64-1b802010af66","deliver_count":3,"data":{"id":12345678901234567890}}]}`, w)
}

func TestUnencodableMessagesAreRejectedAndSkipped(t *testing.T) {
	t.Parallel()
	batches := [][]*consumer.Delivery{
		{delivery("r1", "bad", 1)},
		{delivery("r2", "bad", 1), delivery("g1", "1", 1), delivery("r3", "bad", 1), delivery("g2", "2", 1)},
	}
	s := &fakeStream{}
	s.receive = func(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
		next := batches[0]
		batches = batches[1:]
		return next, nil
	}
	w := call(t, newAPI(s), "POST", "/api/sequin_streams/orders/receive", "")
	exactly(t, `{"data":[{"ack_id":"g1","deliver_count":1,"data":1},{"ack_id":"g2","deliver_count":1,"data":2}]}`, w)
	require.Equal(t, []string{"r1", "r2", "r3"}, s.rejected)
	require.Empty(t, s.released)
}

func TestWhatDoesNotFitIsGivenBack(t *testing.T) {
	t.Parallel()
	big := `"` + strings.Repeat("x", 250) + `"`
	s := &fakeStream{receive: func(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
		return []*consumer.Delivery{delivery("a", big+big, 1), delivery("b", big, 1), delivery("c", `1`, 1)}, nil
	}}
	w := call(t, newAPI(s), "POST", "/api/sequin_streams/orders/receive", `{"batch_size":3}`)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, 1, strings.Count(w.Body.String(), "ack_id"), "the first one always fits, the others wait")
	require.True(t, strings.HasSuffix(w.Body.String(), "}]}"))
	require.Equal(t, []string{"b", "c"}, s.released)
}

func TestSettle(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, target, body, want string
	}{
		{"sequin-go ack", "POST", "/api/http_pull_consumers/orders/ack", `{"ack_ids":["` + ackID + `"]}`, "ack [" + ackID + "]"},
		{"doubled api", "POST", "/api/api/http_pull_consumers/orders/ack", `{"ack_ids":["` + ackID + `","` + ackID2 + `"]}`, "ack [" + ackID + " " + ackID2 + "]"},
		{"ack_tokens", "POST", "/api/sequin_streams/orders/ack", `{"ack_tokens":["` + ackID + `"]}`, "ack [" + ackID + "]"},
		{"upper case", "POST", "/api/sequin_streams/orders/ack", `{"ack_ids":["` + strings.ToUpper(ackID) + `"]}`, "ack [" + ackID + "]"},
		{"ids in the query", "POST", "/api/sequin_streams/orders/ack?ack_ids[]=" + ackID + "&ack_ids%5B%5D=" + ackID2, "", "ack [" + ackID + " " + ackID2 + "]"},
		{"nack", "POST", "/api/sequin_streams/" + streamID + "/nack", `{"ack_ids":["` + ackID + `"]}`, "nack [" + ackID + "] 0s"},
		{"nack with a delay", "POST", "/api/sequin_streams/orders/nack", `{"ack_ids":["` + ackID + `"],"delay_ms":"5s"}`, "nack [" + ackID + "] 5s"},
		{"extend", "POST", "/api/sequin_streams/orders/extend", `{"ack_ids":["` + ackID + `"]}`, "extend [" + ackID + "] 0s"},
		{"extend by", "POST", "/api/sequin_streams/orders/extend", `{"ack_ids":["` + ackID + `"],"visibility_timeout_ms":90000}`, "extend [" + ackID + "] 1m30s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &fakeStream{}
			w := call(t, newAPI(s), tt.method, tt.target, tt.body)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			exactly(t, `{"success":true}`, w)
			require.Equal(t, []string{tt.want}, s.calls)
		})
	}
}

func TestExtendNamesLeasesThatHaveEnded(t *testing.T) {
	t.Parallel()
	s := &fakeStream{gone: []string{ackID2}}
	w := call(t, newAPI(s), "POST", "/api/sequin_streams/orders/extend", `{"ack_ids":["`+ackID+`","`+ackID2+`"]}`)
	exactly(t, `{"success":true,"gone":["`+ackID2+`"]}`, w)
}

func TestNothingIsLostWhenARejectionFails(t *testing.T) {
	t.Parallel()
	s := &fakeStream{rejectErr: errors.New("no room for dead letters"), receive: func(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
		return []*consumer.Delivery{delivery("a", "1", 1), delivery("b", "bad", 1), delivery("c", "2", 1)}, nil
	}}
	w := call(t, newAPI(s), "POST", "/api/sequin_streams/orders/receive", `{"batch_size":3}`)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Equal(t, []string{"a", "b", "c"}, s.released)
}

func TestRequestIDIsTheCallersIfSensible(t *testing.T) {
	t.Parallel()
	for id, kept := range map[string]bool{strings.Repeat("a", 20): true, "short": false, strings.Repeat("b", 201): false} {
		w := call(t, newAPI(&fakeStream{}), "POST", "/api/sequin_streams/orders/receive", "", "X-Request-Id: "+id)
		require.Equal(t, kept, w.Header().Get("X-Request-Id") == id, id)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), run with -update if that is intended:\n%s", file, diff)
	}
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(b)
}
