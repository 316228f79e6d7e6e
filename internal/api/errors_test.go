package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/problem"
)

// Every way to be refused, with its status and body.
func TestErrors(t *testing.T) {
	t.Parallel()
	const (
		receive = "/api/sequin_streams/orders/receive"
		ack     = "/api/sequin_streams/orders/ack"
	)
	oneID := `{"ack_ids":["` + ackID + `"]}`
	tests := []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		stream                     fakeStream
	}{
		{name: "unknown route", method: "GET", target: "/api/nothing", status: 404},
		{name: "the route is checked before the token", method: "GET", target: "/api/nothing", headers: []string{"-Authorization"}, status: 404},
		{name: "outside the API", method: "GET", target: "/other", status: 404},
		{name: "method of no route", method: "DELETE", target: receive, status: 404},
		{name: "ack by GET", method: "GET", target: ack, status: 404},
		{name: "HEAD leases nothing", method: "HEAD", target: receive, status: 404},

		{name: "JSON not accepted", method: "POST", target: receive, headers: []string{"Accept: text/html"}, status: 406},
		{name: "JSON refused", method: "POST", target: receive, headers: []string{"Accept: application/json;q=0, text/plain"}, status: 406},
		{name: "Accept is checked before the token", method: "POST", target: receive, headers: []string{"Accept: text/html", "-Authorization"}, status: 406},

		{name: "no token", method: "POST", target: receive, headers: []string{"-Authorization"}, status: 401},
		{name: "not a bearer token", method: "POST", target: receive, headers: []string{"Authorization: Basic YTpi"}, status: 401},
		{name: "two tokens", method: "POST", target: receive, headers: []string{"Authorization: Bearer admin-token && Bearer admin-token"}, status: 401},
		{name: "unknown token", method: "POST", target: receive, headers: []string{"Authorization: Bearer nobody"}, status: 401},
		{name: "the token is checked before the body", method: "POST", target: receive, body: "{", headers: []string{"Authorization: Bearer nobody"}, status: 401},
		{name: "token without the scope", method: "POST", target: receive, headers: []string{"Authorization: Bearer viewer-token"}, status: 403},
		{name: "stream of another account", method: "POST", target: receive, headers: []string{"Authorization: Bearer other-token"}, status: 404},

		{name: "wrong content type", method: "POST", target: receive, body: "batch_size=1", headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 400},
		{name: "no content type with a body", method: "POST", target: receive, body: "{}", headers: []string{"-Content-Type"}, status: 400},
		{name: "malformed JSON", method: "POST", target: receive, body: `{"batch_size":`, status: 400},
		{name: "more than one value", method: "POST", target: receive, body: `{} {}`, status: 400},
		{name: "not JSON at all", method: "POST", target: receive, body: `batch`, status: 400},
		{name: "a list", method: "POST", target: receive, body: `[1]`, status: 400},
		{name: "malformed query", method: "GET", target: receive + "?a=%zz", status: 400},
		{name: "too large", method: "POST", target: receive, body: `{"x":"` + strings.Repeat("x", 8_000_000) + `"}`, status: 413},

		{name: "unknown stream", method: "POST", target: "/api/sequin_streams/nobody/receive", status: 404},
		{name: "unknown id", method: "POST", target: "/api/sequin_streams/" + ackID + "/receive", status: 404},
		{name: "the stream is checked before the parameters", method: "POST", target: "/api/sequin_streams/nobody/receive", body: `{"batch_size":0}`, status: 404},
		{name: "batch_size zero", method: "POST", target: receive, body: `{"batch_size":0}`, status: 400},
		{name: "batch_size too big", method: "GET", target: receive + "?batch_size=1001", status: 400},
		{name: "batch_size wins even if wrong", method: "POST", target: receive, body: `{"batch_size":0,"max_batch_size":5}`, status: 400},
		{name: "batch_size with a fraction", method: "POST", target: receive, body: `{"batch_size":1.5}`, status: 400},
		{name: "batch_size no number", method: "POST", target: receive, body: `{"batch_size":"ten"}`, status: 400},
		{name: "batch_size a list", method: "POST", target: receive, body: `{"batch_size":[1]}`, status: 400},
		{name: "batch_size a truth value", method: "POST", target: receive, body: `{"batch_size":true}`, status: 400},
		{name: "max_batch_size empty", method: "GET", target: receive + "?max_batch_size=", status: 400},
		{name: "wait_for negative", method: "POST", target: receive, body: `{"wait_for":-1}`, status: 400},
		{name: "wait_for too long", method: "POST", target: receive, body: `{"wait_for":300001}`, status: 400},
		{name: "wait_for an hour", method: "POST", target: receive, body: `{"wait_for":"1h"}`, status: 400},
		{name: "wait_for words", method: "POST", target: receive, body: `{"wait_for":"a while"}`, status: 400},
		{name: "wait_for an object", method: "POST", target: receive, body: `{"wait_for":{"ms":1}}`, status: 400},
		{name: "visibility zero", method: "POST", target: receive, body: `{"visibility_timeout_ms":0}`, status: 400},
		{name: "same_group no truth value", method: "POST", target: receive, body: `{"same_group":"yes"}`, status: 400},

		{name: "no ids", method: "POST", target: ack, status: 400},
		{name: "empty ids", method: "POST", target: ack, body: `{"ack_ids":[]}`, status: 400},
		{name: "null ids", method: "POST", target: ack, body: `{"ack_ids":null}`, status: 400},
		{name: "ids no list", method: "POST", target: ack, body: `{"ack_ids":"` + ackID + `"}`, status: 400},
		{name: "ids in the query no list", method: "POST", target: ack + "?ack_ids=" + ackID, status: 400},
		{name: "ids of numbers", method: "POST", target: ack, body: `{"ack_ids":[1]}`, status: 400},
		{name: "ids no UUIDs", method: "POST", target: ack, body: `{"ack_ids":["` + ackID + `","x"]}`, status: 400},
		{name: "UUID of another version", method: "POST", target: ack, body: `{"ack_tokens":["3c2f0c1e-8f0b-1d0e-9a53-0a7f1f0b9e55"]}`, status: 400},
		{name: "delay too long", method: "POST", target: "/api/sequin_streams/orders/nack", body: `{"ack_ids":["` + ackID + `"],"delay_ms":86400001}`, status: 400},

		{name: "too many waiting", method: "POST", target: receive, status: 429, stream: fakeStream{receive: failing(
			problem.New(api.CodeTooManyWaiting, "20 requests are waiting already").WithHint("raise max_waiting"))}},
		{name: "disk full", method: "POST", target: ack, body: oneID, status: 503, stream: fakeStream{settleErr: fmt.Errorf("ack: %w", engine.ErrNoSpace)}},
		{name: "stopping", method: "POST", target: ack, body: oneID, status: 503, stream: fakeStream{settleErr: consumer.ErrStopped}},
		{name: "unexpected", method: "POST", target: receive, status: 500, stream: fakeStream{receive: failing(errors.New("secret internals"))}},
		{name: "panic", method: "POST", target: receive, status: 500, stream: fakeStream{receive: func(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
			panic("secret internals")
		}}},
	}
	var b strings.Builder
	for i := range tests {
		tt := &tests[i]
		w := call(t, newAPI(&tt.stream), tt.method, tt.target, tt.body, tt.headers...)
		require.Equal(t, tt.status, w.Code, "%s: %s", tt.name, w.Body)
		require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"), tt.name)
		require.NotContains(t, w.Body.String(), "secret internals")
		if tt.status == http.StatusTooManyRequests || tt.status == http.StatusServiceUnavailable {
			require.NotEmpty(t, w.Header().Get("Retry-After"), tt.name)
		}
		fmt.Fprintf(&b, "%s\n\t%d %s\n", tt.name, w.Code, w.Body)
	}
	golden(t, "errors.golden", b.String())
}

func failing(err error) func(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
	return func(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) { return nil, err }
}
