package api_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
)

// replayed is what a fakeSink is asked for by Replay and CountReplay.
type replayed struct {
	sel   consumer.ReplaySelection
	where string
	count bool
}

func (f *fakeSink) Replay(_ context.Context, sel consumer.ReplaySelection, where string) (consumer.Changed, error) {
	f.ask(replayed{sel, where, false})
	return f.did, f.err
}

func (f *fakeSink) CountReplay(_ context.Context, sel consumer.ReplaySelection, where string) (consumer.Tally, error) {
	f.ask(replayed{sel, where, true})
	return consumer.Tally{Messages: 2, Bytes: 400, First: testTime, Last: testTime}, f.err
}

func (f *fakeSink) Replays() []consumer.Replay {
	return []consumer.Replay{{Seq: 7, Asked: testTime, Attempts: 1, State: consumer.MessageBackingOff, Next: testTime.Add(time.Minute)}}
}

func (f *fakeSink) CancelReplays(_ context.Context, seqs []uint64, all bool) (consumer.Changed, error) {
	f.ask(consumer.Selection{Seqs: seqs, All: all})
	return f.did, f.err
}

func TestReplays(t *testing.T) {
	t.Parallel()
	from := time.Date(2030, 1, 30, 0, 0, 0, 0, time.UTC)
	for body, want := range map[string]struct {
		replayed
		note string
	}{
		`{"seqs":[7,9]}`: {replayed{sel: consumer.ReplaySelection{Seqs: []uint64{7, 9}}}, "among 7, 9"},
		`{"table":"orders","where":"total > 1","after":8}`: {
			replayed{consumer.ReplaySelection{Search: &consumer.Search{MessageFilter: consumer.MessageFilter{Table: "orders"}, After: 8}}, "total > 1", false},
			"all with table orders, after seq 8, where total > 1",
		},
		`{"from":"2030-01-30T00:00:00Z","until":"2030-01-31T00:00:00Z"}`: {
			replayed{sel: consumer.ReplaySelection{Search: &consumer.Search{}, From: from, Until: from.AddDate(0, 0, 1)}},
			"all with from 2030-01-30T00:00:00Z, until 2030-01-31T00:00:00Z",
		},
	} {
		f := &fakeSink{did: consumer.Changed{Count: 2, Next: 30}}
		w := ask(t, f.api(), "admin", "POST", "/api/sinks/orders/replays", body)
		require.Equal(t, 200, w.Code, w.Body)
		exactly(t, `{"success":true,"count":2,"missing":[],"skipped":0,"next":30}`, w)
		require.Equal(t, want.replayed, f.last(t))
		require.Equal(t, []string{"messages.replay orders: 2 changed: " + want.note}, f.notes)
	}
	f := &fakeSink{did: consumer.Changed{Count: 1}}
	at := testTime.UTC().Format("2006-01-02T15:04:05.000000Z")
	w := ask(t, f.api(), "admin", "POST", "/api/sinks/orders/replays", `{"key":"7","dry_run":true}`)
	exactly(t, `{"dry_run":true,"messages":2,"bytes":400,"at_least":false,"first":"`+at+`","last":"`+at+`"}`, w)
	require.True(t, f.last(t).(replayed).count)
	require.Empty(t, f.notes)
	w = ask(t, f.api(), "reader", "GET", "/api/sinks/orders/replays", "")
	exactly(t, `{"data":[{"seq":7,"at":"`+at+`","state":"backing_off","attempts":1,"not_visible_until":"`+testTime.Add(time.Minute).UTC().Format("2006-01-02T15:04:05.000000Z")+`"}]}`, w)
	ask(t, f.api(), "admin", "POST", "/api/sinks/orders/replays/cancel", `{"seqs":[7]}`)
	require.Equal(t, consumer.Selection{Seqs: []uint64{7}}, f.last(t))
	ask(t, f.api(), "admin", "POST", "/api/sinks/orders/replays/cancel", `{"all":true}`)
	require.Equal(t, consumer.Selection{All: true}, f.last(t))
	require.Equal(t, []string{"replays.cancel orders: 1 changed: among 7", "replays.cancel orders: 1 changed: all"}, f.notes)
}

func TestRefusedReplays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		token, method, path, body string
		status                    int
		want                      string
	}{
		"reader replays":   {"reader", "POST", "replays", `{"seqs":[1]}`, 403, "token_scope"},
		"reader cancels":   {"reader", "POST", "replays/cancel", `{"all":true}`, 403, "token_scope"},
		"worker lists":     {"worker", "GET", "replays", "", 403, "token_scope"},
		"nothing":          {"admin", "POST", "replays", "", 400, "seqs is missing"},
		"both":             {"admin", "POST", "replays", `{"seqs":[1],"where":"a"}`, 400, "cannot be combined"},
		"no time":          {"admin", "POST", "replays", `{"from":"yesterday"}`, 400, "with a zone"},
		"backwards":        {"admin", "POST", "replays", `{"from":"2030-01-31T00:00:00Z","until":"2030-01-30T00:00:00Z"}`, 400, "until is not after from"},
		"a dry run of one": {"admin", "POST", "replays", `{"seqs":[1],"dry_run":true}`, 400, "dry_run"},
		"cancels nothing":  {"admin", "POST", "replays/cancel", "", 400, "seqs or all"},
		"cancels twice":    {"admin", "POST", "replays/cancel", `{"seqs":[1],"all":true}`, 400, "not both"},
	} {
		f := &fakeSink{}
		w := ask(t, f.api(), c.token, c.method, "/api/sinks/orders/"+c.path, c.body)
		require.Equal(t, c.status, w.Code, "%s: %s", name, w.Body)
		require.Contains(t, w.Body.String(), c.want, name)
		require.Empty(t, f.asked)
	}
}
