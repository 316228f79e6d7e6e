package contract_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const hooks = "http_endpoints:\n  - {name: doc-1, url: \"https://example.com\", encrypted_headers: {A: doc-secret-1}}\n  - {name: doc-2, url: \"https://example.com\"}\n"

func documentRoutes(r *rig) {
	t := r.t
	plan := r.admin("POST", "/api/config/plan", object{"yaml": hooks}).require(200)
	require.Equal(t, `{"action":"create","changed":[],"name":"doc-2","new":{"encrypted_headers":{},"headers":{},"name":"doc-2","url":"https://example.com"},"old":null,"resource_type":"http_endpoint"}`,
		encode(plan.at("changes.1")))
	require.NotContains(t, string(plan.body), "doc-secret-1")
	require.Len(t, plan.at("changes"), 2, "only what changes")
	revision := plan.at("revision")
	r.admin("GET", "/api/destinations/http_endpoints/doc-1", nil).require(404)

	r.admin("POST", "/api/config/apply", object{"yaml": hooks, "expect_revision": revision.(float64) + 1}).refused(409, "revision_conflict")
	applied := r.admin("POST", "/api/config/apply", object{"yaml": hooks, "expect_revision": revision}).require(200)
	require.InDelta(t, revision.(float64)+1, applied.at("revision"), 0)
	require.Contains(t, encode(applied.at("resources")), `"name":"pull"`, "everything that is declared")
	require.NotContains(t, string(applied.body), "doc-secret-1")
	again := r.admin("POST", "/api/config/apply", object{"yaml": hooks}).require(200)
	require.Empty(t, again.at("changes"))
	require.Equal(t, applied.at("revision"), again.at("revision"))

	changed := strings.Replace(hooks, "doc-secret-1", "doc-secret-2", 1)
	plan = r.admin("POST", "/api/config/plan", object{"yaml": changed}).require(200)
	require.Equal(t, []any{"encrypted_headers"}, plan.at("changes.0.changed"))
	require.Equal(t, "update", plan.text("changes.0.action"))
	r.admin("POST", "/api/config/apply", object{"yaml": "http_endpoints: [{name: doc-1, url: \"https://example.org\"}]"}).require(200)
	require.Equal(t, "doc-secret-1", r.admin("GET", "/api/destinations/http_endpoints/doc-1?show_sensitive=true", nil).text("encrypted_headers.A"), "what is left out stays")

	export := r.admin("GET", "/api/config/export?show-sensitive=true", nil).require(200).text("yaml")
	require.Contains(t, export, "doc-secret-1")
	require.Empty(t, r.admin("POST", "/api/config/plan", object{"yaml": export, "prune": true}).require(200).at("changes"))
	masked := r.admin("GET", "/api/config/export", nil).require(200).text("yaml")
	require.NotContains(t, masked, "doc-secret-1")
	r.as(readToken, "GET", "/api/config/export?show-sensitive=true", nil).refused(403, "token_scope")
	r.as(readToken, "GET", "/api/config/export?show_sensitive=1", nil).refused(403, "token_scope")

	without := strings.Replace(export, "  - name: doc-2\n    url: https://example.com\n    headers: {}\n    encrypted_headers: {}\n", "", 1)
	require.NotEqual(t, export, without, export)
	plan = r.admin("POST", "/api/config/plan", object{"yaml": without, "prune": true}).require(200)
	require.Equal(t, []any{"delete", "doc-2"}, []any{plan.at("changes.0.action"), plan.at("changes.0.name")})
	r.admin("POST", "/api/config/apply", object{"yaml": without, "prune": true}).require(200)
	r.admin("GET", "/api/destinations/http_endpoints/doc-2", nil).require(404)
	r.admin("GET", "/api/sinks/pull", nil).require(200)
	r.gone("/api/destinations/http_endpoints/doc-1")

	made := r.admin("POST", "/api/config/apply", object{"yaml": "api_tokens: [{name: doc-token, scopes: [read]}]"}).require(200)
	r.as(made.text("tokens.0.token"), "GET", "/api/account", nil).require(200)
	r.gone("/api/api_keys/doc-token")
}

func documentMistakes(r *rig) {
	t := r.t
	for _, tt := range []struct {
		name, yaml string
		status     int
		code       string
	}{
		{"not YAML", "a: [", 400, "invalid_yaml"},
		{"an account", "account: {name: acme}", 400, "account_in_document"},
		{"a bad endpoint", "http_endpoints: [{name: x, url: nowhere}]", 400, "invalid_value"},
		{"a bad function", "functions: [{name: x, type: path, path: nowhere}]", 400, "invalid_value"},
		{"a bad sink", "sinks: [{name: x, database: db, destination: {type: sequin_stream}, batch_size: 0}]", 422, "invalid_value"},
		{"a sink of no database", "sinks: [{name: x, database: nowhere, destination: {type: sequin_stream}}]", 404, "unknown_reference"},
		{"a sink without an endpoint", "sinks: [{name: x, database: db, destination: {type: webhook, http_endpoint: nowhere}}]", 404, "unknown_reference"},
		{"a table that is not there", "sinks: [{name: x, database: db, source: {include_tables: [nix]}, destination: {type: sequin_stream}}]", 404, "unknown_reference"},
		{"another secret for a token", "api_tokens: [{name: admin, token: another-secret-of-it}]", 400, "token_differs"},
		{"a secret in a file", "http_endpoints: [{name: x, url: \"https://example.com\", encrypted_headers: {A: {file: /etc/passwd}}}]", 400, ""},
		{"a database that cannot be reached", fmt.Sprintf("databases: [%s]", encode(object{
			"name": "x", "hostname": "127.0.0.1", "port": free(t), "database": "x", "slot": object{"name": "x"}, "publication": object{"name": "x"}, "await_database": object{"timeout_ms": 1},
		})), 502, "connection_refused"},
	} {
		for _, route := range []string{"plan", "apply"} {
			if route == "plan" && tt.code == "token_differs" {
				continue // a plan does not look at tokens
			}
			got := r.admin("POST", "/api/config/"+route, object{"yaml": tt.yaml}).require(tt.status)
			if tt.code != "" {
				require.Equal(t, tt.code, got.at("code"), "%s: %s", tt.name, got.body)
			}
		}
	}
	located := r.admin("POST", "/api/config/plan", object{"yaml": "sinks:\n  - name: x\n    database: db\n    destination: {type: sequin_stream}\n    batch_size: 0\n"})
	require.Contains(t, located.text("detail"), "sequin.yaml:5:17: sinks[0].batch_size is 0")
	require.JSONEq(t, `{"sinks":[{"batch_size":["is 0; it must be between 1 and 1000"]}]}`, encode(located.at("validation_errors")))
	require.Contains(t, r.admin("POST", "/api/config/apply", object{"yaml": fmt.Sprintf("databases: [%s]", encode(object{
		"name": "x", "hostname": "127.0.0.1", "port": free(t), "database": "x", "slot": object{"name": "x"}, "publication": object{"name": "x"}, "await_database": object{"timeout_ms": 1},
	}))}).text("summary"), "[customer_postgres]: ")
	require.Equal(t, "Bad Request", r.admin("POST", "/api/config/plan", object{}).refused(400, "yaml_missing").text("errors.detail"))
	r.admin("POST", "/api/config/plan", object{"yaml": []int{1}}).refused(400, "yaml_missing")
	r.admin("POST", "/api/config/plan", object{"yaml": "", "prune": "maybe"}).refused(400, "invalid_parameter")
	require.Empty(t, r.admin("POST", "/api/config/plan", object{"yaml": ""}).require(200).at("changes"))
}

func revisionRoutes(r *rig) {
	t := r.t
	start := r.admin("GET", "/api/revisions?limit=1", nil).require(200).at("data.0.number").(float64)
	id := r.hook("rev-1")
	r.admin("PATCH", "/api/destinations/http_endpoints/rev-1", object{"encrypted_headers": object{"A": "rev-secret-1"}}).require(200)
	r.gone("/api/destinations/http_endpoints/rev-1")

	list := r.admin("GET", "/api/revisions?limit=2", nil).require(200)
	require.Len(t, list.at("data"), 2)
	require.InDelta(t, start+3, list.at("data.0.number"), 0)
	require.Equal(t, []any{object{"resource_type": "http_endpoint", "name": "rev-1", "action": "delete"}}, list.at("data.0.changes"))
	require.Equal(t, []any{"token", "admin", "delete http_endpoint rev-1"}, []any{list.at("data.0.actor.kind"), list.at("data.0.actor.name"), list.at("data.0.what")})
	next := r.admin("GET", fmt.Sprintf("/api/revisions?limit=2&before=%v", list.at("next")), nil).require(200)
	require.InDelta(t, start+1, next.at("data.0.number"), 0)

	shown := r.admin("GET", fmt.Sprintf("/api/revisions/%v", start+2), nil).require(200)
	require.Contains(t, shown.text("yaml"), "rev-1")
	require.NotContains(t, string(shown.body), "rev-secret-1")
	compared := r.admin("GET", fmt.Sprintf("/api/revisions/compare?from=%v&to=%v", start+1, start+2), nil).require(200)
	require.Equal(t, []any{"encrypted_headers"}, compared.at("changes.0.changed"))
	require.NotContains(t, string(compared.body), "rev-secret-1")
	require.Equal(t, "delete", r.admin("GET", fmt.Sprintf("/api/revisions/compare?from=%v", start+2), nil).text("changes.0.action"), "to what is declared now")
	require.Empty(t, r.admin("GET", "/api/revisions/compare", nil).at("changes"))

	restored := r.admin("POST", fmt.Sprintf("/api/revisions/%v/restore", start+2), nil).require(200)
	require.Equal(t, "create", restored.text("changes.0.action"))
	back := r.admin("GET", "/api/destinations/http_endpoints/rev-1?show_sensitive=true", nil).require(200)
	require.Equal(t, []any{id, "rev-secret-1"}, []any{back.at("id"), back.at("encrypted_headers.A")})
	r.gone("/api/destinations/http_endpoints/rev-1")

	for _, path := range []string{"/api/revisions/99999", "/api/revisions/compare?from=99999"} {
		r.admin("GET", path, nil).refused(404, "revision_not_found")
	}
	r.admin("POST", "/api/revisions/99999/restore", nil).refused(404, "revision_not_found")
	for _, path := range []string{"/api/revisions/x", "/api/revisions/0", "/api/revisions/-1", "/api/revisions?before=x", "/api/revisions?limit=0", "/api/revisions?limit=1001", "/api/revisions/compare?to=x"} {
		r.admin("GET", path, nil).refused(400, "invalid_parameter")
	}
	r.as(otherToken, "GET", "/api/revisions/1", nil).refused(404, "revision_not_found")
}

func auditRoutes(r *rig) {
	t := r.t
	session := r.signIn("editor@example.com")
	made := r.as(session, "POST", "/api/destinations/http_endpoints", object{"name": "aud-1", "url": "https://example.com"}, "X-Request-Id: request-of-the-audit-test").require(200)
	require.Equal(t, "request-of-the-audit-test", made.header.Get("X-Request-Id"))
	r.admin("PATCH", "/api/destinations/http_endpoints/aud-1", object{"encrypted_headers": object{"A": "aud-secret-1"}}).require(200)
	r.admin("GET", "/api/destinations/http_endpoints/aud-1?show_sensitive=true", nil).require(200)
	r.operator("DELETE", "/api/destinations/http_endpoints/aud-1", nil, "X-Sequin-Account: acme").require(200)

	lines := r.admin("GET", "/api/audit?limit=4", nil).require(200)
	for i, want := range [][]string{
		{"delete", "http_endpoint", "aud-1", "local", "", ""},
		{"reveal", "http_endpoint", "aud-1", "token", "admin", ""},
		{"update", "http_endpoint", "aud-1", "token", "admin", "changed: encrypted_headers"},
		{"create", "http_endpoint", "aud-1", "user", "editor@example.com", ""},
	} {
		var got []string
		for _, key := range []string{"action", "resource_type", "resource", "actor.kind", "actor.name", "detail"} {
			got = append(got, lines.text(fmt.Sprintf("data.%d.%s", i, key)))
		}
		require.Equal(t, want, got)
	}
	require.Equal(t, "request-of-the-audit-test", lines.text("data.3.request_id"))
	require.NotContains(t, string(lines.body), "aud-secret")
	older := r.admin("GET", fmt.Sprintf("/api/audit?limit=2&before=%v", lines.at("next")), nil).require(200)
	require.Equal(t, "sign_in", older.text("data.0.action"))
	r.as(otherToken, "GET", "/api/audit", nil).require(200)
	require.NotContains(t, string(r.as(otherToken, "GET", "/api/audit", nil).body), "aud-1")
	r.admin("GET", "/api/audit?before=0", nil).refused(400, "invalid_parameter")
}

func pages(r *rig) {
	t := r.t
	for i := range 5 {
		r.hook(fmt.Sprintf("page-%d", i))
	}
	r.hook("a-page")
	var names []string
	path := "/api/destinations/http_endpoints?limit=2"
	for after := ""; ; {
		got := r.admin("GET", path+after, nil).require(200)
		for _, e := range got.at("data").([]any) {
			names = append(names, e.(object)["name"].(string))
		}
		if got.at("next") == nil {
			break
		}
		require.Len(t, got.at("data"), 2)
		after = "&after=" + got.text("next")
	}
	require.Equal(t, []string{"a-page", "page-0", "page-1", "page-2", "page-3", "page-4"}, names)
	r.gone("/api/destinations/http_endpoints/page-2")
	require.Equal(t, "page-3", r.admin("GET", path+"&after=page-2", nil).text("data.0.name"), "a page goes on although its beginning is gone")
	require.Len(t, r.admin("GET", "/api/destinations/http_endpoints", nil).at("data"), 5)
	for _, list := range []string{"sinks", "postgres_databases", "functions", "change_retentions", "api_keys", "users", "postgres_replications", "sinks/pull/backfills"} {
		require.Contains(t, r.admin("GET", "/api/"+list+"?limit=1", nil).require(200).object(), "next", list)
		r.admin("GET", "/api/"+list+"?limit=0", nil).refused(400, "invalid_parameter")
	}
	for _, name := range []string{"a-page", "page-0", "page-1", "page-3", "page-4"} {
		r.gone("/api/destinations/http_endpoints/" + name)
	}
}

// A plan of a thousand sinks is nothing special.
func TestManySinks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var b strings.Builder
	b.WriteString("sinks:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  - {name: many-%d, database: db, status: disabled, destination: {type: sequin_stream}}\n", i)
	}
	require.Len(t, r.admin("POST", "/api/config/plan", object{"yaml": b.String()}).require(200).at("changes"), 1000)
	r.admin("POST", "/api/config/apply", object{"yaml": b.String()}).require(200)
	began := time.Now()
	require.Len(t, r.admin("GET", "/api/sinks", nil).require(200).at("data"), 1001)
	require.Len(t, r.admin("GET", "/api/status", nil).require(200).at("sinks"), 1001)
	require.Less(t, time.Since(began), 10*time.Second, "what is listed together is looked at once")
	r.admin("PATCH", "/api/sinks/many-7", object{"batch_size": 5}).require(200)
}
