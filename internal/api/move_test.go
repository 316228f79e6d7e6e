package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/problem"
)

// found is what a fakeSink is asked for by Find.
type found struct {
	target consumer.Target
	where  string
}

func (f *fakeSink) Find(_ context.Context, t consumer.Target, where string) (consumer.Spot, uint64, error) {
	f.ask(found{t, where})
	if where == "long" {
		return consumer.Spot{}, 900, f.err
	}
	return consumer.Spot{Seq: 41, LSN: 0x16_B374_D848, CommitTime: testTime}, 0, f.err
}

func (f *fakeSink) PlanMove(_ context.Context, to consumer.Spot) (consumer.MovePlan, error) {
	return consumer.MovePlan{
		From: consumer.Spot{Seq: 121, End: true}, To: to, Generation: 3, Deliver: consumer.Tally{Messages: 70, Bytes: 7000, AtLeast: true, First: testTime, Last: testTime.Add(time.Hour)},
		Again: 69, Skip: consumer.Tally{Messages: 1, Bytes: 100, First: testTime, Last: testTime}, InFlight: 2, DeadLetters: 5, Status: consumer.Paused,
	}, f.err
}

func (f *fakeSink) Move(_ context.Context, req consumer.MoveRequest) (consumer.MoveRecord, error) {
	f.ask(req)
	return consumer.MoveRecord{Generation: 3, Moved: req.To != 40, From: 121, To: req.To, Skipped: 1, Unread: 2, At: testTime, Why: req.Why, Undoable: true}, f.err
}

func (f *fakeSink) UndoMove(_ context.Context, why string) (consumer.MoveRecord, error) {
	f.ask(why)
	return consumer.MoveRecord{Generation: 4, Moved: true, From: 50, To: 121, At: testTime, Why: why, Undoes: 3}, f.err
}

func (f *fakeSink) Moves(context.Context) ([]consumer.MoveRecord, error) {
	return []consumer.MoveRecord{{Generation: 4, Moved: true, From: 50, To: 121, At: testTime, Undoes: 3}, {Generation: 3, From: 121, To: 41, Why: "a test"}}, f.err
}

func TestMoveTargets(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 31, 8, 30, 0, 500_000_000, time.UTC)
	search := func(table, key string, after uint64) consumer.Target {
		return consumer.Target{Search: &consumer.Search{MessageFilter: consumer.MessageFilter{Table: table, Key: key}, After: after}}
	}
	for to, want := range map[string]struct {
		target consumer.Target
		where  string
		why    string
	}{
		`"beginning"`:                                {consumer.Target{Beginning: true}, "", "the beginning"},
		`"end"`:                                      {consumer.Target{End: true}, "", "the end"},
		`{"seq":41}`:                                 {consumer.Target{Seq: 41}, "", "entry 41"},
		`{"lsn":"16/b374d848"}`:                      {consumer.Target{Position: cdc.Position{LSN: 0x16_B374_D848}}, "", "LSN 16/B374D848"},
		`{"position":"16/B374D848:3"}`:               {consumer.Target{Position: cdc.Position{LSN: 0x16_B374_D848, Index: 3}}, "", "position 16/B374D848:3"},
		`{"position":"16/B374D848:3:e1"}`:            {consumer.Target{Position: cdc.Position{LSN: 0x16_B374_D848, Index: 3}}, "", "position 16/B374D848:3:e1"},
		`{"time":"2030-01-31T09:30:00.5+01:00"}`:     {consumer.Target{Time: at}, "", "time 2030-01-31T08:30:00.5Z"},
		`{"table":"orders","key":"7"}`:               {search("orders", "7", 0), "", "the first message with table orders, key 7"},
		`{"table":"orders","key":"7","after":9}`:     {search("orders", "7", 9), "", "the first message with table orders, key 7"},
		`{"where":"total > 1"}`:                      {search("", "", 0), "total > 1", "the first message with where total > 1"},
		`{"where":"total > 1","table":"orders"}`:     {search("orders", "", 0), "total > 1", "the first message with table orders, where total > 1"},
		`{"where":"a","table":"orders","key":"x:y"}`: {search("orders", "x:y", 0), "a", "the first message with table orders, key x:y, where a"},
	} {
		f := &fakeSink{}
		w := ask(t, f.api(), "admin", "POST", "/api/sinks/orders/move", `{"to":`+to+`,"skip":true}`)
		require.Equal(t, 200, w.Code, w.Body)
		exactly(t, `{"moved":true,"generation":3,"from":121,"to":41,"skipped":1,"unread":2,"at":"`+testTime.UTC().Format("2006-01-02T15:04:05.000000Z")+
			`","reason":"`+want.why+`","undoes":null,"undoable":true}`, w)
		asked := f.asked[0].(found)
		require.True(t, asked.target.Time.Equal(want.target.Time))
		asked.target.Time = want.target.Time
		require.Equal(t, found{want.target, want.where}, asked, to)
		require.Equal(t, consumer.MoveRequest{To: 41, Skip: true, Why: want.why}, f.last(t))
		require.Equal(t, []string{"sink.move orders: from entry 121 to entry 41, passing over 1 messages and 2 entries that were not read: " + want.why}, f.notes)
	}
}

func TestMoveShapes(t *testing.T) {
	t.Parallel()
	f := &fakeSink{}
	w := ask(t, f.api(), "admin", "POST", "/api/sinks/orders/move", `{"to":"beginning","dry_run":true}`)
	require.Equal(t, 200, w.Code, w.Body)
	golden(t, "move_plan.json", w.Body.String())
	w = ask(t, f.api(), "admin", "POST", "/api/sinks/orders/move", `{"to":{"where":"long"},"dry_run":true}`)
	require.Contains(t, w.Body.String(), `"found":false,"next":900,"from":null,"to":null`)
	require.Empty(t, f.notes)

	w = ask(t, f.api(), "admin", "POST", "/api/sinks/orders/move", `{"to":{"where":"long"}}`)
	require.Equal(t, 409, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"code":"search_unfinished"`)
	w = ask(t, f.api(), "admin", "POST", "/api/sinks/orders/move/undo", `{"reason":"wrong day"}`)
	require.Equal(t, 200, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"reason":"wrong day","undoes":3,"undoable":false}`)
	require.Equal(t, []string{"sink.undo_move orders: from entry 50 to entry 121, taking back generation 3: wrong day"}, f.notes)
	require.Equal(t, 200, ask(t, f.api(), "admin", "POST", "/api/sinks/orders/move/undo", "").Code)
	w = ask(t, f.api(), "reader", "GET", "/api/sinks/orders/moves", "")
	require.Equal(t, 200, w.Code, w.Body)
	golden(t, "moves.json", w.Body.String())
}

func TestRefusedMoves(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		token, method, path, body string
		status                    int
		want                      string
	}{
		"reader moves":        {"reader", "POST", "orders/move", `{"to":"end"}`, 403, "token_scope"},
		"reader plans":        {"reader", "POST", "orders/move", `{"to":"end","dry_run":true}`, 403, "token_scope"},
		"reader undoes":       {"reader", "POST", "orders/move/undo", ``, 403, "token_scope"},
		"worker lists":        {"worker", "GET", "orders/moves", ``, 403, "token_scope"},
		"another sink":        {"admin", "POST", "other/move", `{"to":"end"}`, 404, "sink_not_found"},
		"nowhere":             {"admin", "POST", "orders/move", ``, 400, "to is missing"},
		"null":                {"admin", "POST", "orders/move", `{"to":null}`, 400, "to is missing"},
		"another word":        {"admin", "POST", "orders/move", `{"to":"yesterday"}`, 400, `to is \"yesterday\"`},
		"a number":            {"admin", "POST", "orders/move", `{"to":7}`, 400, "cannot be read"},
		"nothing in it":       {"admin", "POST", "orders/move", `{"to":{}}`, 400, "names 0 places"},
		"two places":          {"admin", "POST", "orders/move", `{"to":{"seq":1,"lsn":"0/1"}}`, 400, "names 2 places"},
		"unknown":             {"admin", "POST", "orders/move", `{"to":{"offset":1}}`, 400, "offset"},
		"a time without zone": {"admin", "POST", "orders/move", `{"to":{"time":"2030-01-31T09:30:00"}}`, 400, "with a zone"},
		"a day":               {"admin", "POST", "orders/move", `{"to":{"time":"2030-01-31"}}`, 400, "with a zone"},
		"no LSN":              {"admin", "POST", "orders/move", `{"to":{"lsn":"12345"}}`, 400, "as Postgres does"},
		"LSN 0":               {"admin", "POST", "orders/move", `{"to":{"lsn":"0/0"}}`, 400, "as Postgres does"},
		"no position":         {"admin", "POST", "orders/move", `{"to":{"position":"0/1"}}`, 400, "16/B374D848:3"},
		"half a position":     {"admin", "POST", "orders/move", `{"to":{"position":"0/1:3x"}}`, 400, "16/B374D848:3"},
		"a negative seq":      {"admin", "POST", "orders/move", `{"to":{"seq":-1}}`, 400, "cannot be read"},
		"a key alone":         {"admin", "POST", "orders/move", `{"to":{"key":"7"}}`, 400, "needs table and key"},
		"a table alone":       {"admin", "POST", "orders/move", `{"to":{"table":"orders"}}`, 400, "a table alone"},
		"an empty where":      {"admin", "POST", "orders/move", `{"to":{"where":" "}}`, 400, "an empty where"},
		"after a time":        {"admin", "POST", "orders/move", `{"to":{"seq":7,"after":7}}`, 400, "has after"},
		"not a truth":         {"admin", "POST", "orders/move", `{"to":"end","dry_run":"perhaps"}`, 400, "dry_run"},
		"a long reason":       {"admin", "POST", "orders/move", `{"to":"end","reason":"` + strings.Repeat("x", 501) + `"}`, 400, "reason"},
	} {
		f := &fakeSink{}
		w := ask(t, f.api(), c.token, c.method, "/api/sinks/"+c.path, c.body)
		require.Equal(t, c.status, w.Code, "%s: %s", name, w.Body)
		require.Contains(t, w.Body.String(), c.want, name)
		require.Empty(t, f.asked)
		require.Empty(t, f.notes)
	}
	for code, status := range map[string]int{
		"history_trimmed": 409, "beyond_log_end": 409, "move_skips_messages": 409, "nothing_to_undo": 409, "sink_disabled": 409,
		"no_such_message": 404, "where_invalid": 422, "table_facts_unknown": 503,
	} {
		f := &fakeSink{err: problem.New(code, "no")}
		for path, body := range map[string]string{"move": `{"to":"end"}`, "move/undo": ""} {
			w := ask(t, f.api(), "admin", "POST", "/api/sinks/orders/"+path, body)
			require.Equal(t, status, w.Code)
			require.Contains(t, w.Body.String(), code)
			require.Empty(t, f.notes)
		}
	}
}
