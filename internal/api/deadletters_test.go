package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/resource"
)

// letterBox is a sink with dead letters 3, 5 and 8.
type letterBox struct{ redriven, discarded []uint64 }

func (b *letterBox) DeadLetters(_ context.Context, after uint64, limit int) ([]consumer.DeadLetter, error) {
	var all []consumer.DeadLetter
	for _, seq := range []uint64{3, 5, 8} {
		if seq > after && len(all) < limit {
			all = append(all, consumer.DeadLetter{Seq: seq, Reason: "rejected", Table: "orders"})
		}
	}
	return all, nil
}

func (b *letterBox) DeadLetter(_ context.Context, seq uint64) (consumer.DeadLetter, error) {
	if seq != 5 {
		return consumer.DeadLetter{}, consumer.ErrNotFound
	}
	return consumer.DeadLetter{Seq: 5, Payload: []byte(`{"record":{"id":1}}`)}, nil
}

func (b *letterBox) Redrive(_ context.Context, seqs []uint64) ([]uint64, error) {
	b.redriven = append(b.redriven, seqs...)
	return []uint64{seqs[len(seqs)-1]}, nil
}

func (b *letterBox) Discard(_ context.Context, seqs []uint64) error {
	b.discarded = append(b.discarded, seqs...)
	return nil
}

func (b *letterBox) SinkByID(string, string) (api.Sink, bool) { return nil, false }

func (b *letterBox) SinkByName(_, name string) (api.Sink, bool) { return b, name == "orders" }

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	box := &letterBox{}
	tokens := auth.NewTokens([]auth.Token{
		{Name: "admin", Hash: auth.HashToken("admin"), Scopes: []resource.Scope{resource.ScopeAdmin}},
		{Name: "reader", Hash: auth.HashToken("reader"), Scopes: []resource.Scope{resource.ScopeRead}},
		{Name: "worker", Hash: auth.HashToken("worker"), Scopes: []resource.Scope{resource.ConsumeScope("orders")}},
	})
	handler := api.New(api.Deps{Sinks: box, Auth: tokens, Logger: slog.New(slog.DiscardHandler)})
	for name, c := range map[string]struct {
		token, method, path, body string
		status                    int
		want                      string
	}{
		"list":             {"reader", "GET", "", "", 200, `"seq":3`},
		"first page":       {"reader", "GET", "?limit=2", "", 200, `"next":5`},
		"last page":        {"reader", "GET", "?limit=2&after=5", "", 200, `"next":null`},
		"bad limit":        {"reader", "GET", "?limit=0", "", 400, `limit`},
		"bad after":        {"reader", "GET", "?after=x", "", 400, `after`},
		"one":              {"reader", "GET", "/5", "", 200, `"data":{"record":{"id":1}}`},
		"none":             {"reader", "GET", "/6", "", 404, `dead_letter_not_found`},
		"not a number":     {"reader", "GET", "/five", "", 400, `seq`},
		"worker":           {"worker", "GET", "", "", 403, `token_scope`},
		"reader redrives":  {"reader", "POST", "/redrive", `{"seqs":[3]}`, 403, `token_scope`},
		"redrive":          {"admin", "POST", "/redrive", `{"seqs":[3,4]}`, 200, `"missing":[4]`},
		"redrive nothing":  {"admin", "POST", "/redrive", `{"seqs":[]}`, 400, `seqs`},
		"redrive no list":  {"admin", "POST", "/redrive", `{"seqs":"all"}`, 400, `seqs`},
		"discard":          {"admin", "POST", "/discard", `{"seqs":[8]}`, 200, `{"success":true}`},
		"discard nameless": {"admin", "POST", "/discard", `{}`, 400, `seqs`},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, "/api/sinks/orders/dead_letters"+c.path, strings.NewReader(c.body))
		r.Header.Set("Authorization", "Bearer "+c.token)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.Equal(t, c.status, w.Code, "%s: %s", name, w.Body)
		require.Contains(t, w.Body.String(), c.want, name)
	}
	require.ElementsMatch(t, []uint64{3, 4}, box.redriven)
	require.Equal(t, []uint64{8}, box.discarded)

	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/sinks/other/dead_letters", nil)
	r.Header.Set("Authorization", "Bearer admin")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	require.Equal(t, 404, w.Code)
}
