package contract_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// on is the rig for a subtest.
func (r *rig) on(t *testing.T) *rig {
	t.Helper()
	c := *r
	c.t = t
	return &c
}

// What every route answers, on one server.
func TestRoutes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.healthy()
	for _, part := range []struct {
		name string
		test func(*rig)
	}{
		{"sinks", sinkRoutes},
		{"mistakes of sinks", sinkMistakes},
		{"updates of sinks", sinkUpdates},
		{"backfills", backfillRoutes},
		{"pull", pullRoutes},
		{"messages", messageRoutes},
		{"moves", moveRoutes},
		{"status", statusRoutes},
		{"databases", databaseRoutes},
		{"mistakes of databases", databaseMistakes},
		{"databases in use", databasesInUse},
		{"endpoints", endpointRoutes},
		{"functions", functionRoutes},
		{"change logs", logRoutes},
		{"change retentions", retentionRoutes},
		{"replications", replicationRoutes},
		{"databases of 2024", legacyRoutes},
		{"mistakes of 2024", legacyMistakes},
		{"slots of 2024", legacySlots},
		{"compatibility", compatibilityRoutes},
		{"documents", documentRoutes},
		{"mistakes of documents", documentMistakes},
		{"revisions", revisionRoutes},
		{"audit", auditRoutes},
		{"tokens", tokenRoutes},
		{"users", userRoutes},
		{"sessions", sessionRoutes},
		{"account", accountRoutes},
		{"installation", adminRoutes},
		{"pages", pages},
		{"requests", requests},
		{"contract", contractRoutes},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(r.on(t)) })
	}
	for _, op := range r.contract.operations {
		if op.responses["200"] != nil || op.responses["201"] != nil {
			if !r.answered.succeeded(op.id) {
				t.Errorf("no test has seen %s succeed", op.id)
			}
		}
	}
}

// equalJSON compares a reply with a body, whatever the order of the keys.
func (p reply) equalJSON(want string) {
	p.t.Helper()
	require.JSONEq(p.t, want, string(p.body), p.request)
}

// hook declares an HTTP endpoint.
func (r *rig) hook(name string) string {
	r.t.Helper()
	return r.admin("POST", "/api/destinations/http_endpoints", object{"name": name, "url": "http://127.0.0.1:9/" + name}).require(200).text("id")
}

func (r *rig) gone(path string) {
	r.t.Helper()
	r.admin("DELETE", path, nil).require(200)
}

func sinkRoutes(r *rig) {
	r.hook("sinks-hook")
	made := r.admin("POST", "/api/sinks", object{
		"name": "s-1", "database": "db", "source": object{"include_tables": []string{"public.t"}}, "actions": []string{"insert"},
		"destination": object{"type": "webhook", "http_endpoint": "sinks-hook", "http_endpoint_path": "/x"}, "routing": "none", "transform": nil,
		"batch_size": 3, "tables": []any{object{"name": "t", "group_column_names": []string{"v"}}}, "annotations": object{"a": []any{1, "b"}},
		"status": "paused", "max_retry_count": 5, "id": "ignored", "inserted_at": "ignored",
	}).require(200)
	id := made.text("id")
	require.NotContains(r.t, made.object(), "health")
	made.equalJSON(`{"id":"` + id + `","name":"s-1","database":"db","status":"paused","actions":["insert"],
		"source":{"include_schemas":null,"exclude_schemas":null,"include_tables":["public.t"],"exclude_tables":null},
		"tables":[{"name":"public.t","group_column_names":["v"]}],
		"destination":{"type":"webhook","http_endpoint":"sinks-hook","http_endpoint_path":"/x","batch":true},
		"filter":"none","transform":"none","routing":"none","enrichment":"none","batch_size":3,"timestamp_format":"iso8601","message_grouping":true,
		"max_retry_count":5,"load_shedding_policy":"pause_on_full","annotations":{"a":[1,"b"]},"batch_timeout_ms":5,"ack_wait_ms":30000,
		"max_ack_pending":10000,"max_waiting":20,"concurrency":null,"ack_commit":"window","start":"now","legacy_transform":"none",
		"compatibility":{"unchanged_toast":"omit"},"active_backfills":[]}`)
	for _, name := range []string{"s-1", id, strings.ToUpper(id)} {
		shown := r.admin("GET", "/api/sinks/"+name, nil).require(200)
		require.Equal(r.t, id, shown.text("id"))
		require.Equal(r.t, "Consumer health", shown.text("health.name"))
		require.Equal(r.t, "paused", shown.text("health.status"))
	}
	listed := r.admin("GET", "/api/sinks", nil).require(200)
	require.Equal(r.t, "pull", listed.text("data.0.name"), "by name")
	require.Equal(r.t, "healthy", listed.text("data.0.health.status"))
	require.Equal(r.t, "s-1", listed.text("data.1.name"))
	require.NotContains(r.t, listed.object(), "next", "the original's lists have no pages")

	r.as(otherToken, "GET", "/api/sinks/s-1", nil).refused(404, "sink_not_found").equalJSON(
		"{\"summary\":\"Not found: No `consumer` found matching the provided ID or name\",\"code\":\"sink_not_found\",\"docs\":\"docs/reference/errors.md#sink_not_found\"}")
	r.as(otherToken, "GET", "/api/sinks", nil).require(200).equalJSON(`{"data":[]}`)
	r.admin("DELETE", "/api/sinks/"+id, nil).require(200).equalJSON(`{"id":"` + id + `","deleted":true}`)
	r.admin("DELETE", "/api/sinks/"+id, nil).refused(404, "sink_not_found")
	r.gone("/api/destinations/http_endpoints/sinks-hook")
}

func sinkMistakes(r *rig) {
	r.hook("m-hook")
	webhook := object{"type": "webhook", "http_endpoint": "m-hook"}
	sink := func(more object) object {
		o := object{"name": "m-1", "database": "db", "destination": object{"type": "sequin_stream"}}
		maps.Copy(o, more)
		return o
	}
	for _, tt := range []struct {
		name   string
		body   any
		status int
		code   string
		errors string
	}{
		{"nothing", nil, 422, "missing_value", `{"name":["is required"],"database":["is required"],"destination":{"type":["is required; accepted: webhook, sequin_stream"]},"sink":{"type":["is required; accepted: webhook, sequin_stream"]}}`},
		{"the name is taken", sink(object{"name": "pull"}), 422, "duplicate_name", `{"name":["has already been taken"]}`},
		{"a bad name", sink(object{"name": "a b"}), 422, "invalid_value", `{"name":["is \"a b\"; a name has letters, digits, and the characters _ - . only"]}`},
		{"an unknown key", sink(object{"batchsize": 1}), 422, "unknown_key", `{"batchsize":["is not a known key"]}`},
		{"no such database", sink(object{"database": "nowhere"}), 404, "database_not_declared", `{"database":["is \"nowhere\", but there is no such database; declared: db"]}`},
		{"no such endpoint", sink(object{"destination": object{"type": "webhook", "http_endpoint": "none"}}), 404, "http_endpoint_not_found", `{"destination":{"http_endpoint":["is \"none\", but there is no such HTTP endpoint; declared: m-hook"]},"sink":{"http_endpoint":["is \"none\", but there is no such HTTP endpoint; declared: m-hook"]}}`},
		{"a later destination", sink(object{"destination": object{"type": "kafka"}}), 422, "not_in_this_version", ""},
		{"an unknown destination", sink(object{"destination": object{"type": "pigeon"}}), 422, "invalid_value", ""},
		{"a transform that is not there", sink(object{"transform": "shape"}), 422, "unknown_reference", `{"transform":["is \"shape\", but no function is declared"]}`},
		{"a condition that is none", sink(object{"where": "id ="}), 422, "invalid_value", ""},
		{"a condition on another column", sink(object{"source": object{"include_tables": []string{"t"}}, "where": "nix = 1"}), 422, "invalid_value", `{"where":["does not fit table public.t: where, line 1, column 1: table public.t has no column \"nix\""]}`},
		{"a table's condition of another type", sink(object{"tables": []any{object{"name": "t", "where": "id"}}}), 422, "invalid_value", ""},
		{"a route to nowhere", sink(object{"destination": object{"type": "webhook", "http_endpoint": "m-hook"}, "route": []any{object{"where": "id = 1", "to": object{"topic": "x"}}}}), 422, "invalid_value", ""},
		{"an enrichment of everything", sink(object{"enrichment": "shape"}), 422, "conflicting_keys", ""},
		{"a backfill of something", sink(object{"initial_backfill": "some"}), 422, "invalid_value", ""},
		{"batch_size as a text", sink(object{"batch_size": "5"}), 422, "invalid_value", ""},
		{"batch_size too big", sink(object{"batch_size": 1001}), 422, "invalid_value", `{"batch_size":["is 1001; it must be between 1 and 1000"]}`},
		{"no retries", sink(object{"max_retry_count": 0}), 422, "invalid_value", ""},
		{"batch false with a batch", sink(object{"destination": object{"type": "webhook", "http_endpoint": "m-hook", "batch": false}, "batch_size": 2}), 422, "conflicting_keys", ""},
		{"groups without grouping", sink(object{"message_grouping": false, "tables": []any{object{"name": "t", "group_column_names": []string{"v"}}}}), 422, "conflicting_keys", `{"tables":[{"group_column_names":["has no effect with message_grouping: false"]}]}`},
		{"include and exclude", sink(object{"source": object{"include_tables": []string{"t"}, "exclude_tables": []string{"u"}}}), 422, "conflicting_keys", `{"source":["has include_tables and exclude_tables; give one of them"]}`},
		{"a table that is not there", sink(object{"source": object{"include_tables": []string{"public.t", "nix"}}}), 422, "unknown_reference", `{"source":{"include_tables":["item 2 is \"public.nix\", which the database does not have"]}}`},
		{"a column that is not there", sink(object{"tables": []any{object{"name": "t", "group_column_names": []string{"nix"}}}}), 422, "unknown_reference", `{"tables":[{"group_column_names":["item 1 is \"nix\", which table public.t does not have; its columns: id, v"]}]}`},
		{"bad actions", sink(object{"actions": []string{"insert", "upsert"}}), 422, "invalid_value", ""},
		{"annotations that are no object", sink(object{"annotations": []int{1}}), 422, "invalid_value", ""},
		{"a path that is none", sink(object{"destination": object{"type": "webhook", "http_endpoint": "m-hook", "http_endpoint_path": "x"}}), 422, "invalid_value", ""},
	} {
		got := r.admin("POST", "/api/sinks", tt.body).refused(tt.status, tt.code)
		if tt.errors != "" {
			require.JSONEq(r.t, tt.errors, encode(got.at("validation_errors")), tt.name)
		}
		if tt.status == 422 {
			require.Equal(r.t, "Validation failed", got.at("summary"), tt.name)
		}
	}
	r.admin("GET", "/api/sinks/m-1", nil).require(404)
	for i, body := range []object{
		sink(object{"source": nil, "tables": nil}), sink(object{"status": nil, "filter": "none", "enrichment": nil}), sink(object{"message_grouping": "false"}),
		sink(object{"destination": webhook, "batch_size": 7}), sink(object{"schema": "public"}), sink(object{"table": "t"}),
	} {
		body["name"] = fmt.Sprintf("fine-%d", i)
		r.admin("POST", "/api/sinks", body).require(200)
		r.gone("/api/sinks/" + body["name"].(string))
	}
	r.admin("POST", "/api/sinks?name=from-the-query&destination[type]=sequin_stream", object{"database": "db"}).require(200)
	r.gone("/api/sinks/from-the-query")
	r.gone("/api/destinations/http_endpoints/m-hook")
}

func sinkUpdates(r *rig) {
	r.hook("u-hook")
	id := r.admin("POST", "/api/sinks", object{
		"name": "u-1", "database": "db", "destination": object{"type": "webhook", "http_endpoint": "u-hook"}, "batch_size": 4, "source": object{"include_tables": []string{"t"}},
	}).require(200).text("id")
	before := r.admin("GET", "/api/sinks/u-1", nil).object()
	put := r.admin("PUT", "/api/sinks/u-1", object{"destination": object{"type": "webhook", "http_endpoint_path": "/p"}, "database": "another"}).require(200)
	require.Equal(r.t, "u-hook", put.text("destination.http_endpoint"), "merged over what is stored")
	require.Equal(r.t, "db", put.text("database"))
	require.InDelta(r.t, 4, put.at("batch_size"), 0)
	require.NotEmpty(r.t, put.at("warnings"), "that database is ignored")
	require.Equal(r.t, before["source"], put.at("source"))

	revision := r.admin("GET", "/api/revisions?limit=1", nil).at("data.0.number")
	for range 2 {
		r.admin("PATCH", "/api/sinks/"+id, object{"destination": object{"type": "webhook", "http_endpoint_path": "/p"}}).require(200)
	}
	require.Equal(r.t, revision, r.admin("GET", "/api/revisions?limit=1", nil).at("data.0.number"), "repeating it changes nothing")

	require.Equal(r.t, "table", r.admin("PATCH", "/api/sinks/u-1", object{"message_grouping": "table", "source": nil, "tables": nil}).require(200).text("message_grouping"))
	require.Equal(r.t, []any{"public"}, r.admin("PATCH", "/api/sinks/u-1", object{"source": object{"include_schemas": []string{"public"}}}).require(200).at("source.include_schemas"))
	r.admin("PATCH", "/api/sinks/u-1", object{"name": "pull"}).refused(422, "duplicate_name")
	renamed := r.admin("PATCH", "/api/sinks/u-1", object{"name": "u-2"}).require(200)
	require.Equal(r.t, id, renamed.text("id"))
	r.admin("GET", "/api/sinks/u-1", nil).require(404)
	require.Equal(r.t, "paused", r.admin("PATCH", "/api/sinks/u-2", object{"status": "paused"}).require(200).text("status"))
	require.Equal(r.t, "active", r.admin("PATCH", "/api/sinks/u-2", object{"status": nil}).require(200).text("status"))
	r.admin("PATCH", "/api/sinks/nobody", object{}).refused(404, "sink_not_found")
	r.admin("PATCH", "/api/sinks/u-2", object{"batch_size": 0}).refused(422, "invalid_value")

	r.admin("PATCH", "/api/destinations/http_endpoints/u-hook", object{"name": "u-hook-2"}).require(200)
	require.Equal(r.t, "u-hook-2", r.admin("GET", "/api/sinks/u-2", nil).text("destination.http_endpoint"), "references follow")
	require.Equal(r.t, "sequin_stream", r.admin("PATCH", "/api/sinks/u-2", object{"destination": object{"type": "sequin_stream"}}).require(200).text("destination.type"))
	r.gone("/api/sinks/u-2")
	r.gone("/api/destinations/http_endpoints/u-hook-2")
}

func backfillRoutes(r *rig) {
	const some = "/api/sinks/pull/backfills/0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11"
	r.admin("GET", "/api/sinks/pull/backfills", nil).require(200).equalJSON(`{"data":[]}`)
	r.admin("POST", "/api/sinks/pull/backfills", object{"table": "public.nix"}).refused(422, "backfill_table_missing")
	r.admin("POST", "/api/sinks/pull/backfills", object{"table": "public.t", "colour": 1}).refused(422, "unknown_key")
	made := r.admin("POST", "/api/sinks/pull/backfills", object{"table": "public.t", "state": "paused"}).require(200)
	r.admin("POST", "/api/sinks/pull/backfills", object{"table": "public.t"}).refused(422, "backfill_exists")
	own := "/api/sinks/pull/backfills/" + made.text("id")
	require.Equal(r.t, "paused", r.admin("GET", own, nil).require(200).text("state"))
	require.Equal(r.t, made.text("id"), r.admin("GET", "/api/sinks/pull", nil).require(200).text("active_backfills.0.id"))
	r.admin("PUT", own, object{"state": "completed"}).refused(422, "backfill_state")
	r.admin("PUT", own, object{"state": "gone"}).refused(422, "invalid_value")
	r.admin("PATCH", own, object{"state": "active"}).require(200)
	r.admin("POST", "/api/sinks/pull/backfills", object{"table": "public.t", "state": "paused"}) // taken or not, as the first one is over or not
	for _, b := range r.admin("GET", "/api/sinks/pull", nil).require(200).at("active_backfills").([]any) {
		r.admin("PUT", "/api/sinks/pull/backfills/"+b.(object)["id"].(string), object{"state": "cancelled"})
	}
	r.admin("GET", "/api/sinks/pull/backfills", nil).require(200)
	for _, method := range []string{"GET", "PUT", "PATCH"} {
		require.Contains(r.t, r.admin(method, some, nil).refused(404, "backfill_not_found").text("summary"), "`backfill`")
	}
	r.admin("DELETE", some, nil).refused(404, "route_not_found")
	require.Equal(r.t, "Not Found", r.admin("DELETE", some, nil).at("errors.detail"), "which clients take for success")
	for _, method := range []string{"GET", "POST"} {
		r.admin(method, "/api/sinks/nobody/backfills", nil).refused(404, "sink_not_found")
	}
}

func moveRoutes(r *rig) {
	plan := r.admin("POST", "/api/sinks/pull/move", object{"to": "beginning", "dry_run": true})
	plan.require(200)
	moved := r.admin("POST", "/api/sinks/pull/move", object{"to": "end", "skip": true}).require(200)
	r.admin("POST", "/api/sinks/pull/move", object{"to": "beginning"}).require(200)
	require.Equal(r.t, true, moved.at("moved"))
	require.NotEmpty(r.t, r.admin("GET", "/api/sinks/pull/moves", nil).require(200).at("data"))
	r.admin("POST", "/api/sinks/pull/move/undo", nil).require(200)
	r.admin("GET", "/api/sinks/pull/replays", nil).require(200)
	r.admin("POST", "/api/sinks/pull/replays", object{"seqs": []int{1}}).require(200)
	r.admin("POST", "/api/sinks/pull/replays/cancel", object{"all": true}).require(200)
	r.admin("POST", "/api/sinks/nobody/move", object{"to": "end"}).refused(404, "sink_not_found")
}

func endpointRoutes(r *rig) {
	made := r.admin("POST", "/api/destinations/http_endpoints", object{
		"name": "e-1", "url": "https://example.com:443/hook?x=1", "headers": []any{object{"key": "X-A", "value": "b"}},
		"encrypted_headers": object{"X-Secret": "s3cret-s3cret"},
	}).require(200)
	id := made.text("id")
	made.equalJSON(`{"id":"` + id + `","name":"e-1","url":"https://example.com/hook?x=1","headers":{"X-A":"b"},"encrypted_headers":{"X-Secret":"s3c*********t"},"signing_secrets":[]}`)
	require.Equal(r.t, "s3cret-s3cret", r.admin("GET", "/api/destinations/http_endpoints/e-1?show_sensitive=true", nil).text("encrypted_headers.X-Secret"))
	r.as(readToken, "GET", "/api/destinations/http_endpoints/e-1?show_sensitive=true", nil).refused(403, "token_scope")
	sent := r.admin("PUT", "/api/destinations/http_endpoints/e-1", object{"encrypted_headers": object{"X-Secret": "s3c*********t", "X-More": "another-secret"}}).require(200)
	require.Equal(r.t, "b", sent.text("headers.X-A"))
	shown := r.admin("GET", "/api/destinations/http_endpoints/"+id+"?show_sensitive=true", nil)
	require.Equal(r.t, "s3cret-s3cret", shown.text("encrypted_headers.X-Secret"), "what is sent back masked stays as it is")
	require.Equal(r.t, "another-secret", shown.text("encrypted_headers.X-More"))
	r.admin("POST", "/api/destinations/http_endpoints", object{"name": "e-1", "url": "https://example.com"}).refused(422, "duplicate_name")
	r.admin("POST", "/api/destinations/http_endpoints", object{"name": "e-2", "url": "ftp://example.com"}).refused(422, "invalid_value")
	r.admin("POST", "/api/destinations/http_endpoints", object{"name": "e-2", "url": "https://example.com", "method": "GET"}).refused(422, "unknown_key")
	r.admin("POST", "/api/destinations/http_endpoints", object{"name": "e-2", "local": "true", "path": "/x"}).refused(422, "no_longer_offered")
	require.Equal(r.t, "e-1", r.admin("GET", "/api/destinations/http_endpoints", nil).text("data.0.name"))

	r.admin("POST", "/api/sinks", object{"name": "e-sink", "database": "db", "destination": object{"type": "webhook", "http_endpoint": "e-1"}, "status": "disabled"}).require(200)
	require.Contains(r.t, r.admin("DELETE", "/api/destinations/http_endpoints/e-1", nil).refused(400, "http_endpoint_in_use").text("summary"), "sink e-sink")
	r.gone("/api/sinks/e-sink")
	r.admin("DELETE", "/api/destinations/http_endpoints/e-1", nil).require(200).equalJSON(`{"id":"` + id + `","deleted":true}`)
	r.admin("GET", "/api/destinations/http_endpoints/e-1", nil).refused(404, "http_endpoint_not_found")
}

func functionRoutes(r *rig) {
	made := r.admin("POST", "/api/functions", object{"name": "f-1", "type": "path", "path": "record.id", "description": "the id"}).require(200)
	id, at := made.text("id"), made.text("inserted_at")
	require.Regexp(r.t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, at)
	made.equalJSON(`{"id":"` + id + `","name":"f-1","description":"the id","type":"path","language":null,"sink_type":null,"path":"record.id","code":null,"inserted_at":"` + at + `","updated_at":"` + made.text("updated_at") + `"}`)
	require.Equal(r.t, "record.name", r.admin("PATCH", "/api/functions/f-1", object{"path": "record.name"}).require(200).text("path"))
	require.Equal(r.t, "lua", r.admin("POST", "/api/functions", object{"name": "f-2", "type": "filter", "code": "function filter(action, record) return true end", "language": "lua"}).require(200).text("language"))
	require.Equal(r.t, "elixir", r.admin("POST", "/api/functions", object{
		"name": "f-3", "function": object{"type": "transform", "code": "def transform(action, record, changes, metadata) do\n  record\nend"},
	}).require(200).text("language"))
	tried := r.admin("POST", "/api/functions/test", object{"function": object{"type": "transform", "language": "javascript", "code": "function transform(a, r) { return r.id }"}}).require(200)
	require.EqualValues(r.t, 1, tried.at("data.0.output"))
	require.Nil(r.t, tried.at("data.0.error"))
	r.admin("POST", "/api/functions/test", object{"function": "f-9"}).refused(404, "function_not_found")
	r.admin("POST", "/api/functions/test", object{}).refused(400, "invalid_parameter")
	r.admin("POST", "/api/sinks", object{"name": "f-sink", "database": "db", "destination": object{"type": "sequin_stream"}, "status": "disabled", "transform": "f-1"}).require(200)
	require.Contains(r.t, r.admin("DELETE", "/api/functions/f-1", nil).refused(400, "function_in_use").text("summary"), "sink f-sink")
	r.admin("PATCH", "/api/sinks/f-sink", object{"filter": "f-1"}).refused(422, "unknown_reference")
	require.Equal(r.t, "none", r.admin("PATCH", "/api/sinks/f-sink", object{"transform": "none"}).require(200).text("transform"))
	r.gone("/api/sinks/f-sink")
	r.admin("POST", "/api/functions", object{"name": "f-4", "type": "transform", "language": "javascript", "code": "function ("}).refused(422, "invalid_value")
	r.admin("POST", "/api/functions", object{"name": "none", "type": "path", "path": "record"}).require(422)
	r.admin("POST", "/api/functions", object{"name": "f-4", "type": "path", "path": "elsewhere"}).require(422)
	r.admin("POST", "/api/functions", object{"name": "f-4", "type": "enrichment", "code": "select 1"}).require(422)
	require.Len(r.t, r.admin("GET", "/api/functions", nil).at("data"), 3)
	require.Equal(r.t, "def", r.admin("PUT", "/api/functions/f-3", object{"description": "def"}).require(200).text("description"))
	require.Equal(r.t, id, r.admin("GET", "/api/functions/f-1", nil).require(200).text("id"))
	for _, name := range []string{id, "f-2", "f-3"} {
		require.Equal(r.t, true, r.admin("DELETE", "/api/functions/"+name, nil).require(200).at("deleted"))
	}
	r.admin("GET", "/api/functions/"+id, nil).refused(404, "function_not_found")
}

func retentionRoutes(r *rig) {
	body := object{
		"name": "r-1", "status": "disabled", "source_database": "db", "source_table_schema": "public", "source_table_name": "t",
		"destination_database": "db", "destination_table_schema": "audit", "destination_table_name": "events",
		"filters": []any{object{"column_name": "v", "operator": "in", "comparison_value": "[a, b]"}, object{"column_name": "v", "operator": "IS NOT NULL"}},
	}
	made := r.admin("POST", "/api/change_retentions", body).require(200)
	id := made.text("id")
	require.Equal(r.t, []any{"insert", "update", "delete"}, made.at("actions"))
	require.Equal(r.t, []any{"a", "b"}, made.at("filters.0.comparison_value"))
	require.Equal(r.t, "active", r.admin("PUT", "/api/change_retentions/r-1", object{"status": "active"}).require(200).text("status"))
	r.eventually("an active one shows red", func() bool {
		return strings.Contains(string(r.admin("GET", "/api/status", nil).require(200).body), `"retention_table_missing"`)
	})
	r.as(otherToken, "GET", "/api/status", nil).require(200)
	require.NotContains(r.t, string(r.as(otherToken, "GET", "/api/status", nil).body), "r-1", "not those of another account")
	r.admin("PATCH", "/api/change_retentions/"+id, object{"destination_table_name": "other"}).require(422)
	body["name"], body["source_database"] = "r-2", "nowhere"
	r.admin("POST", "/api/change_retentions", body).refused(404, "database_not_declared")
	require.Len(r.t, r.admin("GET", "/api/change_retentions", nil).at("data"), 1)
	require.Equal(r.t, id, r.admin("GET", "/api/change_retentions/r-1", nil).require(200).text("id"))
	require.Equal(r.t, "disabled", r.admin("PATCH", "/api/change_retentions/r-1", object{"status": "disabled"}).require(200).text("status"))
	r.admin("DELETE", "/api/change_retentions/r-1", nil).require(200).equalJSON(`{"id":"` + id + `","deleted":true}`)
	r.admin("DELETE", "/api/change_retentions/r-1", nil).refused(404, "change_retention_not_found")
}
