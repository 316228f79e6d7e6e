package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/resource"
)

// fakeSink answers what it is given and records what it is asked. It has the dead letters 3, 5 and 8.
type fakeSink struct {
	place   consumer.Place
	page    consumer.MessagePage
	message consumer.Message
	did     consumer.Changed
	err     error

	mu    sync.Mutex
	asked []any
	notes []string
}

func (f *fakeSink) ask(what any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
}

func (f *fakeSink) last(t *testing.T) any {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.NotEmpty(t, f.asked)
	return f.asked[len(f.asked)-1]
}

func (f *fakeSink) Name() string { return "orders" }

func (f *fakeSink) Place(context.Context) (consumer.Place, error) { return f.place, f.err }

func (f *fakeSink) Messages(_ context.Context, q consumer.MessageQuery) (consumer.MessagePage, error) {
	f.ask(q)
	return f.page, f.err
}

func (f *fakeSink) Message(_ context.Context, name string) (consumer.Message, error) {
	f.ask(name)
	return f.message, f.err
}

func (f *fakeSink) Redeliver(_ context.Context, sel consumer.Selection) (consumer.Changed, error) {
	f.ask(sel)
	return f.did, f.err
}

func (f *fakeSink) DiscardMessages(_ context.Context, sel consumer.Selection) (consumer.Changed, error) {
	f.ask(sel)
	return f.did, f.err
}

func (f *fakeSink) DeadLetters(_ context.Context, q consumer.DeadQuery) (consumer.DeadPage, error) {
	f.ask(q)
	var page consumer.DeadPage
	for _, seq := range []uint64{3, 5, 8} {
		switch {
		case seq <= q.After:
		case len(page.Letters) == q.Limit:
			page.Next = page.Letters[q.Limit-1].Seq
		default:
			page.Letters = append(page.Letters, consumer.DeadLetter{
				Seq: seq, Reason: "rejected", Table: "orders", Position: cdc.Position{LSN: 0x1_0000_0010, Index: 2}, Error: "<410>",
			})
		}
	}
	return page, f.err
}

func (f *fakeSink) DeadLetter(_ context.Context, seq uint64) (consumer.DeadLetter, error) {
	if seq != 5 {
		return consumer.DeadLetter{}, consumer.ErrNotFound
	}
	return consumer.DeadLetter{Seq: 5, Payload: []byte(`{"record":{"id":1,"html":"<b>"}}`)}, nil
}

func (f *fakeSink) Redrive(_ context.Context, sel consumer.DeadSelection) (consumer.Changed, error) {
	f.ask(sel)
	return f.did, f.err
}

func (f *fakeSink) Discard(_ context.Context, sel consumer.DeadSelection) (consumer.Changed, error) {
	f.ask(sel)
	return f.did, f.err
}

const sinkID = "6d2f0f3e-7f5c-4a56-9d6f-2f2a8a0f6c11"

func (f *fakeSink) SinkByID(_, id string) (api.Sink, bool) { return f, id == sinkID }

func (f *fakeSink) SinkByName(_, name string) (api.Sink, bool) { return f, name == "orders" }

func (f *fakeSink) audit(_ context.Context, _ string, e control.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notes = append(f.notes, fmt.Sprintf("%s %s: %s", e.Action, e.Resource, e.Detail))
}

// api serves the sink to an administrator, a reader and a worker.
func (f *fakeSink) api() http.Handler {
	tokens := auth.NewTokens([]auth.Token{
		{Name: "admin", Hash: auth.HashToken("admin"), Scopes: []resource.Scope{resource.ScopeAdmin}},
		{Name: "reader", Hash: auth.HashToken("reader"), Scopes: []resource.Scope{resource.ScopeRead}},
		{Name: "worker", Hash: auth.HashToken("worker"), Scopes: []resource.Scope{resource.ConsumeScope("orders")}},
	})
	return api.New(api.Deps{Sinks: f, Audit: f.audit, Auth: tokens, Logger: slog.New(slog.DiscardHandler)})
}

func ask(t *testing.T, h http.Handler, token, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		token, method, path, body string
		status                    int
		want                      string
	}{
		"list":              {"reader", "GET", "", "", 200, `"seq":3`},
		"position":          {"reader", "GET", "", "", 200, `"position":"1/10:2"`},
		"no escapes":        {"reader", "GET", "", "", 200, `"error":"<410>"`},
		"first page":        {"reader", "GET", "?limit=2", "", 200, `"next":5`},
		"last page":         {"reader", "GET", "?limit=2&after=5", "", 200, `"next":null`},
		"bad limit":         {"reader", "GET", "?limit=0", "", 400, `limit`},
		"bad after":         {"reader", "GET", "?after=x", "", 400, `after`},
		"bad reason":        {"reader", "GET", "?reason_code=boredom", "", 400, `too_big, rejected, retries_exhausted`},
		"one":               {"reader", "GET", "/5", "", 200, `"data":{"record":{"id":1,"html":"<b>"}}}`},
		"none":              {"reader", "GET", "/6", "", 404, `dead_letter_not_found`},
		"not a number":      {"reader", "GET", "/five", "", 400, `seq`},
		"worker":            {"worker", "GET", "", "", 403, `token_scope`},
		"reader redrives":   {"reader", "POST", "/redrive", `{"seqs":[3]}`, 403, `token_scope`},
		"redrive nothing":   {"admin", "POST", "/redrive", `{"seqs":[]}`, 400, `seqs`},
		"redrive no list":   {"admin", "POST", "/redrive", `{"seqs":"all"}`, 400, `seqs`},
		"redrive both ways": {"admin", "POST", "/redrive", `{"seqs":[3],"all":true}`, 400, `cannot be combined`},
		"discard nameless":  {"admin", "POST", "/discard", `{}`, 400, `seqs is missing`},
		"discard not all":   {"admin", "POST", "/discard", `{"all":false}`, 400, `seqs is missing`},
		"discard ack ids":   {"admin", "POST", "/discard", `{"ack_ids":["` + ackID + `"]}`, 400, `seqs is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ask(t, (&fakeSink{}).api(), c.token, c.method, "/api/sinks/orders/dead_letters"+c.path, c.body)
			require.Equal(t, c.status, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.want)
		})
	}
	require.Equal(t, 404, ask(t, (&fakeSink{}).api(), "admin", "GET", "/api/sinks/other/dead_letters", "").Code)
}

func TestChangesOfDeadLetters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, body string
		did        consumer.Changed
		want       consumer.DeadSelection
		reply      string
		note       string
	}{
		"some": {
			"redrive", `{"seqs":[3,4]}`,
			consumer.Changed{Count: 1, Missing: []consumer.Missing{{Seq: 4, Reason: consumer.MissingNotFound}}},
			consumer.DeadSelection{Seqs: []uint64{3, 4}},
			`{"success":true,"count":1,"missing":[4],"skipped":0,"next":null}`, "dead_letters.redrive orders: 1 changed: among 3, 4",
		},
		"all": {
			"redrive", `{"all":true}`,
			consumer.Changed{Count: 500, Skipped: 2, Next: 812},
			consumer.DeadSelection{All: true},
			`{"success":true,"count":500,"missing":[],"skipped":2,"next":812}`, "dead_letters.redrive orders: 500 changed: all",
		},
		"by reason": {
			"discard", `{"reason_code":"rejected","after":812}`,
			consumer.Changed{Count: 7},
			consumer.DeadSelection{All: true, After: 812, DeadFilter: consumer.DeadFilter{Reason: consumer.ReasonRejected}},
			`{"success":true,"count":7,"missing":[],"skipped":0,"next":null}`,
			"dead_letters.discard orders: 7 changed: all with reason_code rejected, after seq 812",
		},
		"by table": {
			"discard", `{"all":"true","table":"public.orders","key":"4"}`,
			consumer.Changed{Count: 1},
			consumer.DeadSelection{All: true, DeadFilter: consumer.DeadFilter{MessageFilter: consumer.MessageFilter{Table: "public.orders", Key: "4"}}},
			`{"success":true,"count":1,"missing":[],"skipped":0,"next":null}`,
			"dead_letters.discard orders: 1 changed: all with table public.orders, key 4",
		},
		"nothing": {
			"discard", `{"seqs":[9]}`,
			consumer.Changed{Missing: []consumer.Missing{{Seq: 9, Reason: consumer.MissingNotFound}}},
			consumer.DeadSelection{Seqs: []uint64{9}},
			`{"success":true,"count":0,"missing":[9],"skipped":0,"next":null}`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeSink{did: c.did}
			w := ask(t, f.api(), "admin", "POST", "/api/sinks/"+sinkID+"/dead_letters/"+c.path, c.body)
			require.Equal(t, 200, w.Code, w.Body)
			exactly(t, c.reply, w)
			require.Equal(t, c.want, f.last(t))
			require.Equal(t, c.note, strings.Join(f.notes, ";"))
		})
	}
}

// What was done before an error is in the audit log, too.
func TestAnErrorDoesNotHideWhatWasDone(t *testing.T) {
	t.Parallel()
	f := &fakeSink{did: consumer.Changed{Count: 3}, err: errors.New("disk on fire")}
	w := ask(t, f.api(), "admin", "POST", "/api/sinks/orders/dead_letters/discard", `{"all":true}`)
	require.Equal(t, 500, w.Code)
	require.Equal(t, []string{"dead_letters.discard orders: 3 changed: all"}, f.notes)
	w = ask(t, f.api(), "admin", "POST", "/api/sinks/orders/messages/discard", `{"all":true}`)
	require.Equal(t, 500, w.Code)
	require.Len(t, f.notes, 2)
}

var testTime = time.Date(2026, 2, 18, 9, 30, 0, 123456789, time.FixedZone("x", 3600))
