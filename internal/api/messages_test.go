package api_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestMessageShapes(t *testing.T) {
	t.Parallel()
	failed := consumer.Message{
		Seq: 7, AckID: ackID, State: consumer.MessageBackingOff, ID: "MTox", Schema: "public", Table: "orders", Action: "update", Key: "42", Group: "42",
		Position: cdc.Position{LSN: 0x16_B374_D848, Index: 3, Epoch: 1}, CommitTime: testTime, Attempts: 4, LastError: `500 <oops>`,
		NotVisibleUntil: testTime.Add(time.Minute), Bytes: 812,
	}
	fresh := consumer.Message{
		Seq: 9, AckID: ackID2, State: consumer.MessageAvailable, ID: "MToy", Schema: "public", Table: "orders", Action: "insert", Key: "42", Group: "42",
		Position: cdc.Position{LSN: 0x16_B374_D900}, CommitTime: testTime, BlockedBy: 7, Bytes: 90,
	}
	dead := consumer.Message{
		Seq: 2, AckID: ackID2, State: consumer.MessageDeadLetter, ID: "MTow", Table: "orders", Action: "insert", CommitTime: testTime, Attempts: 1,
		LastError: "410 gone", Reason: consumer.ReasonRejected, Redriving: true,
	}
	f := &fakeSink{page: consumer.MessagePage{Messages: []consumer.Message{dead, failed, fresh}, Next: 9}}
	w := ask(t, f.api(), "reader", "GET", "/api/sinks/orders/messages?limit=3&after=1&state=&table=orders&key=42", "")
	require.Equal(t, 200, w.Code, w.Body)
	golden(t, "messages.json", w.Body.String())
	require.Equal(t, consumer.MessageQuery{
		MessageFilter: consumer.MessageFilter{Table: "orders", Key: "42"}, After: 1, Limit: 3,
	}, f.last(t))

	f.message = failed
	f.message.Payload = []byte(`{"record":{"id":42,"doc":{"a":  1},"html":"<b>"},"action":"update"}`)
	w = ask(t, f.api(), "reader", "GET", "/api/sinks/orders/messages/7", "")
	golden(t, "message.json", w.Body.String())
	require.Equal(t, "7", f.last(t))
	ask(t, f.api(), "reader", "GET", "/api/sinks/orders/messages/"+strings.ToUpper(ackID), "")
	require.Equal(t, ackID, f.last(t))

	f.message = fresh
	f.message.PayloadError = errors.New("the change has 99000000 bytes")
	w = ask(t, f.api(), "reader", "GET", "/api/sinks/orders/messages/9", "")
	require.Contains(t, w.Body.String(), `"data_error":"the change has 99000000 bytes","data":null}`)
}

func TestMessageLists(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]consumer.MessageQuery{
		"":                           {Limit: 100},
		"?limit=1000":                {Limit: 1000},
		"?after=7":                   {Limit: 100, After: 7},
		"?before=70":                 {Limit: 100, Before: 70, Descending: true},
		"?order=desc":                {Limit: 100, Descending: true},
		"?before=70&order=asc":       {Limit: 100, Before: 70},
		"?after=7&before=70&limit=5": {Limit: 5, After: 7, Before: 70, Descending: true},
		"?state=pending_redelivery":  {Limit: 100, State: consumer.MessageRedelivery},
		"?table=public.orders&key=1": {Limit: 100, MessageFilter: consumer.MessageFilter{Table: "public.orders", Key: "1"}},
	} {
		f := &fakeSink{}
		w := ask(t, f.api(), "reader", "GET", "/api/sinks/orders/messages"+query, "")
		require.Equal(t, 200, w.Code, w.Body)
		exactly(t, `{"data":[],"next":null}`, w)
		require.Equal(t, want, f.last(t), query)
	}
	for query, want := range map[string]string{
		"?limit=1001": "limit", "?limit=x": "limit", "?after=-1": "after", "?before=9223372036854775808": "before", "?order=up": "order",
		"?state=lost": "available, delivering, backing_off, pending_redelivery, dead_letter",
	} {
		w := ask(t, (&fakeSink{}).api(), "reader", "GET", "/api/sinks/orders/messages"+query, "")
		require.Equal(t, 400, w.Code, query)
		require.Contains(t, w.Body.String(), want)
		require.Contains(t, w.Body.String(), `"code":"invalid_parameter"`)
	}
}

func TestChangesOfMessages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, body string
		did        consumer.Changed
		want       consumer.Selection
		reply      string
		note       string
	}{
		"seqs": {
			"redeliver", `{"seqs":[7,9]}`,
			consumer.Changed{Count: 1, Missing: []consumer.Missing{{Seq: 9, Reason: consumer.MissingInFlight}}},
			consumer.Selection{Seqs: []uint64{7, 9}},
			`{"success":true,"count":1,"missing":[{"seq":9,"reason":"in_flight"}],"skipped":0,"next":null}`,
			"messages.redeliver orders: 1 changed: among 7, 9",
		},
		"ack ids": {
			"discard", `{"ack_ids":["` + strings.ToUpper(ackID) + `","` + ackID2 + `"],"seqs":[1]}`,
			consumer.Changed{Count: 2, Missing: []consumer.Missing{{AckID: ackID, Reason: consumer.MissingNotFound}}},
			consumer.Selection{Seqs: []uint64{1}, AckIDs: []string{ackID, ackID2}},
			`{"success":true,"count":2,"missing":[{"seq":null,"ack_id":"` + ackID + `","reason":"not_found"}],"skipped":0,"next":null}`,
			"messages.discard orders: 2 changed: among 1, " + ackID + ", " + ackID2,
		},
		"a state": {
			"redeliver", `{"state":"backing_off"}`,
			consumer.Changed{Count: 12},
			consumer.Selection{All: true, State: consumer.MessageBackingOff},
			`{"success":true,"count":12,"missing":[],"skipped":0,"next":null}`, "messages.redeliver orders: 12 changed: all with state backing_off",
		},
		"all": {
			"discard", `{"all":true,"after":100}`,
			consumer.Changed{Count: 50000, Skipped: 1, Next: 50100},
			consumer.Selection{All: true, After: 100},
			`{"success":true,"count":50000,"missing":[],"skipped":1,"next":50100}`, "messages.discard orders: 50000 changed: all with after seq 100",
		},
		"a key": {
			"discard", `{"table":"orders","key":42}`,
			consumer.Changed{Count: 3},
			consumer.Selection{All: true, MessageFilter: consumer.MessageFilter{Table: "orders", Key: "42"}},
			`{"success":true,"count":3,"missing":[],"skipped":0,"next":null}`, "messages.discard orders: 3 changed: all with table orders, key 42",
		},
		"many": {
			"discard", `{"seqs":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22]}`,
			consumer.Changed{Count: 22},
			consumer.Selection{Seqs: []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22}},
			`{"success":true,"count":22,"missing":[],"skipped":0,"next":null}`,
			"messages.discard orders: 22 changed: among 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 2 more",
		},
		"nothing": {
			"redeliver", `{"all":true}`,
			consumer.Changed{},
			consumer.Selection{All: true},
			`{"success":true,"count":0,"missing":[],"skipped":0,"next":null}`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeSink{did: c.did}
			w := ask(t, f.api(), "admin", "POST", "/api/sinks/orders/messages/"+c.path, c.body)
			require.Equal(t, 200, w.Code, w.Body)
			exactly(t, c.reply, w)
			require.Equal(t, c.want, f.last(t))
			require.Equal(t, c.note, strings.Join(f.notes, ";"))
		})
	}
}

func TestRefusedRequestsAboutMessages(t *testing.T) {
	t.Parallel()
	long := "[1" + strings.Repeat(",1", 1000) + "]"
	for name, c := range map[string]struct {
		token, method, path, body string
		status                    int
		want                      string
	}{
		"worker lists":          {"worker", "GET", "orders/messages", "", 403, "token_scope"},
		"worker looks":          {"worker", "GET", "orders/messages/7", "", 403, "token_scope"},
		"worker asks":           {"worker", "GET", "orders/position", "", 403, "token_scope"},
		"reader redelivers":     {"reader", "POST", "orders/messages/redeliver", `{"all":true}`, 403, "token_scope"},
		"reader discards":       {"reader", "POST", "orders/messages/discard", `{"all":true}`, 403, "token_scope"},
		"another sink":          {"admin", "GET", "other/messages", "", 404, "sink_not_found"},
		"another sink's place":  {"admin", "GET", "other/position", "", 404, "sink_not_found"},
		"another sink's change": {"reader", "POST", "other/messages/discard", `{"all":true}`, 403, "token_scope"}, // whatever the sink
		"no selection":          {"admin", "POST", "orders/messages/discard", ``, 400, "seqs is missing"},
		"only a place":          {"admin", "POST", "orders/messages/discard", `{"after":7}`, 400, "seqs is missing"},
		"both":                  {"admin", "POST", "orders/messages/discard", `{"seqs":[1],"state":"available"}`, 400, "cannot be combined"},
		"too many":              {"admin", "POST", "orders/messages/discard", `{"seqs":` + long + `}`, 400, "1 to 1000"},
		"negative":              {"admin", "POST", "orders/messages/discard", `{"seqs":[-1]}`, 400, "1 to 1000"},
		"no ack id":             {"admin", "POST", "orders/messages/discard", `{"ack_ids":["x"]}`, 400, "ack_ids"},
		"no ack ids":            {"admin", "POST", "orders/messages/discard", `{"ack_ids":[]}`, 400, "ack_ids"},
		"dead letters":          {"admin", "POST", "orders/messages/discard", `{"state":"dead_letter"}`, 400, "state"},
		"not delayed":           {"admin", "POST", "orders/messages/redeliver", `{"state":"available"}`, 400, "it must be one of backing_off"},
		"not a state":           {"admin", "POST", "orders/messages/redeliver", `{"state":["backing_off"]}`, 400, "state"},
		"not a table":           {"admin", "POST", "orders/messages/discard", `{"table":{}}`, 400, "table is an object"},
		"not a truth":           {"admin", "POST", "orders/messages/discard", `{"all":"yes"}`, 400, "all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeSink{}
			w := ask(t, f.api(), c.token, c.method, "/api/sinks/"+c.path, c.body)
			require.Equal(t, c.status, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.want)
			require.Empty(t, f.asked)
			require.Empty(t, f.notes)
		})
	}
}

func TestErrorsOfSinks(t *testing.T) {
	t.Parallel()
	for code, status := range map[string]int{
		"message_not_found": 404, "invalid_ack_id": 400, "not_redrivable": 409, "too_many_redrives": 409,
	} {
		f := &fakeSink{err: problem.New(code, "no")}
		w := ask(t, f.api(), "admin", "GET", "/api/sinks/orders/messages/7", "")
		require.Equal(t, status, w.Code)
		require.Contains(t, w.Body.String(), code)
	}
	f := &fakeSink{err: consumer.ErrStopped}
	for _, path := range []string{"position", "messages", "messages/7"} {
		require.Equal(t, 503, ask(t, f.api(), "reader", "GET", "/api/sinks/orders/"+path, "").Code)
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	f := &fakeSink{place: consumer.Place{
		Status: consumer.Paused, Generation: 2, Cursor: 7, Frontier: 90, LogEnd: 120, LSN: 0x16_B374_D848, Messages: 40, Bytes: 4100, Estimated: true,
		InFlight: 3, BackingOff: 2, DeadLetters: 5, BlockedGroups: 1, Stopped: consumer.StopDeadLettersFull,
		Oldest: &consumer.Oldest{Seq: 7, LSN: 0x16_B374_D848, CommitTime: time.Now().Add(-time.Minute)},
	}}
	w := ask(t, f.api(), "reader", "GET", "/api/sinks/orders/position", "")
	require.Equal(t, 200, w.Code, w.Body)
	body := w.Body.String()
	for _, want := range []string{
		`{"status":"paused","generation":2,"cursor":7,"frontier":90,"log_end":120,"lsn":"16/B374D848","pending":40,"in_flight":3,"backing_off":2,` +
			`"blocked_groups":1,"dead_letters":5,"oldest_unacked":{"seq":7,"lsn":"16/B374D848","commit_timestamp":"`,
		`"age_ms":600`, `"lag":{"messages":40,"bytes":4100,"ms":600`, `"estimated":true},"stopped":"dead_letters_full"}`,
	} {
		require.Contains(t, body, want)
	}

	f.place = consumer.Place{Status: consumer.Active, Cursor: 121, Frontier: 121, LogEnd: 120, LSN: 0x10}
	w = ask(t, f.api(), "reader", "GET", "/api/sinks/orders/position", "")
	exactly(t, `{"status":"active","generation":0,"cursor":121,"frontier":121,"log_end":120,"lsn":"0/10","pending":0,"in_flight":0,"backing_off":0,`+
		`"blocked_groups":0,"dead_letters":0,"oldest_unacked":null,"lag":{"messages":0,"bytes":0,"ms":0,"estimated":false}}`, w)
}
