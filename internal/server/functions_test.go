package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// function writes a function of the document.
func function(name, kind, more, code string) string {
	return fmt.Sprintf("  - name: %s\n    type: %s\n    language: javascript\n%s    code: |-\n      %s\n", name, kind, more, strings.ReplaceAll(code, "\n", "\n      "))
}

// data receives and acknowledges n messages of a pull sink, as they are.
func (r *rig) data(n int) []string {
	r.t.Helper()
	var all []string
	for deadline := time.Now().Add(patience); len(all) < n; {
		require.True(r.t, time.Now().Before(deadline), "only %v", all)
		status, body := r.post("/api/sequin_streams/pull/receive", map[string]any{"batch_size": n - len(all), "wait_for": 1000})
		require.Equal(r.t, http.StatusOK, status, body)
		var reply struct {
			Data []struct {
				AckID string `json:"ack_id"`
				Data  json.RawMessage
			}
		}
		require.NoError(r.t, json.Unmarshal([]byte(body), &reply), body)
		var ids []string
		for _, m := range reply.Data {
			all, ids = append(all, string(m.Data)), append(ids, m.AckID)
		}
		if len(ids) > 0 {
			status, body = r.post("/api/sequin_streams/pull/ack", map[string]any{"ack_ids": ids})
			require.Equal(r.t, http.StatusOK, status, body)
		}
	}
	return all
}

// A stream's messages are filtered and transformed when they are received; int8 keeps its digits; what is filtered out is done.
func TestFunctionsOfAStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), "create table t (id bigint primary key, v text)",
		"  - {name: pull, database: db, filter: wanted, transform: shape, destination: {type: sequin_stream}}\nfunctions:\n"+
			function("wanted", "filter", "", "function filter(action, record) { return record.v !== 'no' }")+
			function("shape", "transform", "", "function transform(action, record, changes, metadata) {\n  return {action, id: record.id, table: metadata.table_name, old: changes && changes.v}\n}"))
	r.begin()
	r.db.Exec(t, "alter table t replica identity full")
	r.db.Exec(t, "insert into t values (9007199254740993, 'a'), (2, 'no'), (3, 'b'); update t set v = 'c' where id = 3")
	got := r.data(3)
	slices.Sort(got)
	require.Equal(t, []string{
		`{"action":"insert","id":3,"table":"t","old":null}`, `{"action":"insert","id":9007199254740993,"table":"t","old":null}`, `{"action":"update","id":3,"table":"t","old":"b"}`,
	}, got)
	r.nothing("pull")
	r.healthy()
}

// A webhook goes where its function says; a function that fails for one row holds that row's messages, and no others.
func TestFunctionsOfAWebhook(t *testing.T) {
	t.Parallel()
	hits := make(chan hit, 100)
	url := hook(t, func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		hits <- hit{req.Method, req.URL.Path, req.Header.Get("X-Kind"), string(body)}
	})
	sinks := func(route string) string {
		return "  - {name: hooked, database: db, batch_size: 10, destination: {type: webhook, http_endpoint: hook, http_endpoint_path: /never}, routing: place, transform: id}\nfunctions:\n" +
			"  - {name: id, type: path, path: record.id}\n" +
			function("place", "routing", "    sink_type: webhook\n", route)
	}
	r := newRig(t, pgtest.Shared(t), table, sinks(
		"function route(action, record) {\n  if (record.v === 'bad') {\n    return null.method\n  }\n  return {method: action === 'delete' ? 'DELETE' : 'PUT', endpoint_path: '/t/' + record.id, headers: {'x-kind': record.v}}\n}"))
	r.config.Endpoints = map[string]string{"hook": url}
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'a'), (2, 'bad'), (3, 'c'); update t set v = 'fine' where id = 2; delete from t where id = 1")
	var got []hit
	for len(got) < 3 {
		select {
		case h := <-hits:
			got = append(got, h)
		case <-time.After(patience):
			t.Fatalf("only %v", got)
		}
	}
	require.ElementsMatch(t, []hit{
		{"PUT", "/t/1", "a", `{"data":[1]}`}, {"PUT", "/t/3", "c", `{"data":[3]}`}, {"DELETE", "/t/1", "", `{"data":[1]}`},
	}, got)
	e := r.troubled("hooked", "messages_retrying")
	require.Contains(t, e.Problems[0].Detail, `function "place", line 3`)
	r.config.Sinks = sinks("function route(action, record) {\n  return {method: 'POST', endpoint_path: '/late'}\n}")
	r.apply()
	for _, want := range []hit{{"POST", "/late", "", `{"data":[2]}`}, {"POST", "/late", "", `{"data":[2]}`}} {
		select {
		case h := <-hits:
			require.Equal(t, want, h)
		case <-time.After(patience):
			t.Fatal("the group does not go on")
		}
	}
	r.healthy()
}

// Code that cannot be compiled is refused when it is declared, with its place.
func TestFunctionsAreCompiledWhenDeclared(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.begin()
	for code, says := range map[string]string{
		"function transform(action, record) {\n  return record.\n}": "line 3",
		"function filter() { return true }":                         "transform",
		"x = 1 +":                                                   "line 1",
	} {
		wrong := r.config
		wrong.Sinks = pull + "functions:\n" + function("f", "transform", "", code)
		_, yaml, _ := strings.Cut(wrong.YAML(t), "databases:")
		status, body := r.post("/api/config/apply", map[string]any{"yaml": "databases:" + yaml})
		require.GreaterOrEqual(t, status, http.StatusBadRequest, body)
		require.Less(t, status, http.StatusInternalServerError, body)
		require.Contains(t, body, says, code)
	}
}

// An endless loop, a memory bomb and a deep recursion fail their message alone, and the neighbours go on.
func TestRunawayFunctions(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table,
		"  - {name: pull, database: db, transform: shape, max_retry_count: 1, destination: {type: sequin_stream}}\nfunctions:\n"+
			function("shape", "transform", "", `function transform(action, record) {
  const deep = n => deep(n + 1) + 1
  if (record.v === 'loop') { for (;;) {} }
  if (record.v === 'bomb') { const all = []; for (;;) { all.push('x'.repeat(1000) + all.length) } }
  if (record.v === 'deep') { return deep(0) }
  return record.id
}`))
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'loop'), (2, 'a'), (3, 'bomb'), (4, 'b'), (5, 'deep'), (6, 'c')")
	got := r.data(3)
	slices.Sort(got)
	require.Equal(t, []string{"2", "4", "6"}, got)
	r.eventually("dead letters", func() bool {
		r.nothing("pull")
		for _, p := range r.entity("pull").Problems {
			if p.Code == "dead_letters" && strings.Contains(p.Message, "3 dead letters") {
				return true
			}
		}
		return false
	})
}

// tried is what the API answers to a trial.
type tried struct {
	Data []struct {
		Input  struct{ Action string }
		Output json.RawMessage
		Error  *struct {
			Kind, Message string
			Line, Column  int
		}
	}
}

// A function is tried on a sample, a message of one's own, a message of a sink, and the last changes of a table, and nothing is delivered.
func TestTryFunction(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull+"functions:\n"+function("id", "transform", "", "function transform(action, record) { return [action, record.id] }"))
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'a'), (2, 'b'); update t set v = 'c' where id = 1; delete from t where id = 2")
	r.caughtUp()
	try := func(body string) (got tried) {
		r.call(http.MethodPost, "/api/functions/test", body, &got)
		return got
	}
	got := try(`{"function": "id"}`)
	require.JSONEq(t, `["update", 1]`, string(got.Data[0].Output))
	got = try(`{"function": "id", "message": {"record": {"id": 9007199254740993}, "changes": null, "action": "insert", "metadata": {}}}`)
	require.JSONEq(t, `["insert", 9007199254740993]`, string(got.Data[0].Output))
	got = try(`{"function": "id", "database": "db", "table": "t", "last": 3}`)
	require.Len(t, got.Data, 3)
	require.Equal(t, []string{"insert", "update", "delete"}, []string{got.Data[0].Input.Action, got.Data[1].Input.Action, got.Data[2].Input.Action})
	require.JSONEq(t, `["delete", 2]`, string(got.Data[2].Output))
	seq := r.messages("pull", "")[0].Seq
	got = try(fmt.Sprintf(`{"function": {"type": "path", "path": "record.v"}, "sink": "pull", "seq": %d}`, seq))
	require.JSONEq(t, `"a"`, string(got.Data[0].Output))
	got = try(`{"function": {"type": "transform", "language": "javascript", "code": "function transform(action, record) {\n  return record.no.no\n}"}}`)
	require.Equal(t, "runtime", got.Data[0].Error.Kind)
	require.Equal(t, 2, got.Data[0].Error.Line)
	got = try(`{"function": {"type": "transform", "language": "javascript", "code": "function"}}`)
	require.Equal(t, "syntax", got.Data[0].Error.Kind)
	got = try(`{"function": {"type": "routing", "sink_type": "webhook", "language": "javascript", "code": "function route() { return {path: '/x'} }"}}`)
	require.Equal(t, "result", got.Data[0].Error.Kind)
	got = try(`{"function": {"type": "enrichment", "code": "select id, v || '!' as w from t where id = any($1)"}, "database": "db", "table": "public.t", "last": 2}`)
	require.JSONEq(t, `{"id": 1, "w": "c!"}`, string(got.Data[0].Output))
	require.JSONEq(t, `null`, string(got.Data[1].Output), "the row is gone")

	for _, wrong := range []struct {
		body string
		want int
	}{
		{`{}`, http.StatusBadRequest},
		{`{"function": 7}`, http.StatusUnprocessableEntity},
		{`{"function": "no"}`, http.StatusNotFound},
		{`{"function": "id", "message": []}`, http.StatusBadRequest},
		{`{"function": "id", "sink": "pull"}`, http.StatusBadRequest},
		{`{"function": "id", "sink": "no", "seq": 1}`, http.StatusNotFound},
		{`{"function": "id", "database": "no", "table": "t"}`, http.StatusNotFound},
		{`{"function": "id", "database": "db", "table": "no"}`, http.StatusNotFound},
		{`{"function": "id", "database": "db"}`, http.StatusBadRequest},
		{`{"function": "id", "database": "db", "table": "t", "last": 101}`, http.StatusBadRequest},
		{`{"function": {"type": "enrichment", "code": "select $1"}}`, http.StatusUnprocessableEntity},
		{`{"function": {"type": "enrichment", "code": "select nix where $1"}, "database": "db", "table": "t"}`, http.StatusUnprocessableEntity},
	} {
		status, answer := r.post("/api/functions/test", json.RawMessage(wrong.body))
		require.Equal(t, wrong.want, status, "%s: %s", wrong.body, answer)
	}
	require.Equal(t, []string{"1", "2", "1", "2"}, r.receive("pull", 4))
}

// What a row holds stands with its message, for those who may read messages; never in the log or the health routes, which ask for no token.
func TestErrorsOfFunctionsKeepRowsPrivate(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table,
		"  - {name: pull, database: db, transform: shape, destination: {type: sequin_stream}}\n"+
			"  - {name: hooked, database: db, transform: shape, destination: {type: webhook, http_endpoint: hook}}\n"+
			"  - {name: cond, database: db, where: 'v::int > 0', destination: {type: webhook, http_endpoint: hook}}\nfunctions:\n"+
			function("shape", "transform", "", "function transform(action, record) { return record.no.no }"))
	r.config.Endpoints = map[string]string{"hook": hook(t, func(http.ResponseWriter, *http.Request) {})}
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'hunter2-of-ann')")
	for _, name := range []string{"pull", "hooked", "cond"} {
		r.eventually(name+" fails", func() bool {
			r.nothing("pull")
			return r.entity(name).has("messages_retrying")
		})
		all := r.messages(name, "")
		require.Contains(t, *all[0].LastError, "hunter2-of-ann", name)
	}
	_, body := r.get("/healthz")
	require.NotContains(t, body, "hunter2")
	require.Contains(t, body, `function \"shape\", line 1`)
	require.Contains(t, body, "invalid input syntax for type integer")
	require.NotContains(t, r.log.tail(1000), "hunter2")
}
