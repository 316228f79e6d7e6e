package contract_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzEverything drives the whole API from its own contract: operations, parameters and bodies chosen by a seed, good and bad ones, as everybody
// there can be. Nothing may answer 500 or anything that the contract does not have, no handler may panic, and no planted secret may come back
// or stand in the log. The seeds below run with the tests; make fuzz finds more.
func FuzzEverything(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	r := newRig(f)
	r.chaotic = true
	p := &players{owner: r.signIn("owner@example.com"), editor: r.signIn("editor@example.com"), viewer: r.signIn("viewer@example.com"), port: free(f), seen: map[string]map[int]int{}}
	p.account, p.slotID = r.admin("GET", "/api/account", nil).text("id"), r.admin("GET", "/api/postgres_replications", nil).text("data.0.id")
	f.Cleanup(func() { f.Log(encode(p.seen)) })
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := *r
		r.t = t
		g := &chaos{Rand: rand.New(rand.NewPCG(seed, 7)), r: &r, players: p}
		for range 60 {
			g.request()
		}
		r.rescue(p.account)
		log := r.log.all()
		require.NotContains(t, log, "panicked")
		require.NotContains(t, log, planted)
	})
}

// planted is part of every secret that is made up here.
const planted = "PLANTED-SECRET"

// players are those who send requests, and what they need.
type players struct {
	owner, editor, viewer string
	account, slotID       string
	port                  int
	seen                  map[string]map[int]int // operations with the statuses that they answered, how often
}

// rescue gives the tests their administrator back if chance has taken it.
func (r *rig) rescue(account string) {
	r.t.Helper()
	if r.as(adminToken, "GET", "/api/account", nil).status == http.StatusUnauthorized {
		header := "X-Sequin-Account: " + account
		r.operator("DELETE", "/api/api_keys/admin", nil, header)
		r.operator("POST", "/api/api_keys", object{"name": "admin", "token": adminToken}, header).require(200)
	}
}

// chaos makes requests up.
type chaos struct {
	*rand.Rand
	r *rig
	*players
	secrets int
}

func oneOf[T any](g *chaos, values ...T) T { return values[g.IntN(len(values))] }

// chance is true once in n times.
func (g *chaos) chance(n int) bool { return g.IntN(n) == 0 }

// request sends one request and judges the reply.
func (g *chaos) request() {
	op := oneOf(g, g.r.contract.operations...)
	path := g.path(op)
	query := g.query(op)
	if query != "" {
		path += "?" + query
	}
	var body any
	if op.body != nil || op.method == "POST" && g.chance(4) {
		body = g.body(op)
	}
	var headers []string
	if g.chance(20) {
		headers = append(headers, "Content-Type: "+oneOf(g, "text/plain", "application/json; charset=utf-8", "multipart/form-data", ""))
	}
	if g.chance(40) {
		headers = append(headers, "Accept: "+oneOf(g, "text/html", "application/*", "*/*;q=0", "garbage"))
	}
	var got reply
	began := time.Now()
	if op.scope == "local" || g.chance(8) {
		got = g.r.operator(op.method, path, body, append(headers, "X-Sequin-Account: "+oneOf(g, g.account, g.account, g.account, "", "nobody"))...)
	} else {
		who := oneOf(g, adminToken, adminToken, adminToken, adminToken, adminToken, adminToken, adminToken, adminToken, adminToken, adminToken, adminToken, adminToken, g.owner, g.editor, g.viewer, readToken, consumeToken, otherToken, "")
		got = g.r.as(who, op.method, path, body, headers...)
		if got.status == http.StatusUnauthorized && who == adminToken {
			g.r.rescue(g.account)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		g.r.t.Logf("%s took %s: %v", got.request, took, body)
	}
	if g.seen[op.id] == nil {
		g.seen[op.id] = map[int]int{}
	}
	g.seen[op.id][got.status]++
	where := fmt.Sprintf("%s with %v: %d %s", got.request, body, got.status, got.body)
	require.NotContains(g.r.t, []int{500, 504}, got.status, where)
	shown := strings.Contains(query, "sensitive")
	if !shown {
		require.NotContains(g.r.t, string(got.body), planted, where)
	}
}

// path fills in a path with names that are there, names that are not, and nonsense.
func (g *chaos) path(op *operation) string {
	if op.id == "adminDeleteAccount" { // that of the test shall stay
		return "/api/admin/accounts/nobody"
	}
	parts := strings.Split(op.path, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "{") {
			parts[i] = url.PathEscape(g.name(part))
			if list := strings.Join(parts[:i], "/"); !g.chance(3) && g.r.contract.find("GET", list) != nil {
				parts[i] = g.existing(list, parts[i])
			}
		}
	}
	return strings.Join(parts, "/")
}

// existing is the name or the id of something in a list.
func (g *chaos) existing(list, otherwise string) string {
	all, _ := g.r.operator("GET", list, nil, "X-Sequin-Account: "+g.account).object()["data"].([]any)
	if len(all) == 0 {
		return otherwise
	}
	for _, key := range []string{"name", "id", "email", "number", "seq"} {
		if v, there := oneOf(g, all...).(object)[key]; there && !g.chance(3) {
			return fmt.Sprint(v)
		}
	}
	return otherwise
}

func (g *chaos) name(part string) string {
	if part == "{seq}" || part == "{number}" || part == "{seq_or_ack_id}" {
		return oneOf(g, "1", "2", "3", "7", "0", "-1", "18446744073709551616", "x", "3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e55")
	}
	if !g.chance(4) {
		return oneOf(g, "n-1", "n-2", "n-3", "n-4", "pull", "db", g.slotID, "a@example.com", "b@example.com")
	}
	return oneOf(g, "nobody", "0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11", "viewer@example.com", "..", "a/b", "a b", "%", "'; drop table t; --",
		"日本", strings.Repeat("x", 300), "\x00", "null")
}

// query makes parameters: those of the contract, and some that nobody knows.
func (g *chaos) query(op *operation) string {
	v := url.Values{}
	for _, p := range op.parameters {
		if p["in"] == "query" && g.chance(2) {
			v.Set(p["name"].(string), g.word(p["name"].(string)))
		}
	}
	if g.chance(10) {
		v.Add(oneOf(g, "x", "name", "name[]", "destination[type]", "a[b][c]", "[", "limit", "after", "wait_for[]"), oneOf(g, "1", "", "webhook", "\xff"))
	}
	if wait := v.Get("wait_for"); wait != "" { // or the test would wait as long
		v.Set("wait_for", oneOf(g, "0", "1ms", "5", "-1", "x", wait[:0]))
	}
	text := v.Encode()
	if g.chance(60) {
		text += "&%zz"
	}
	return text
}

func (g *chaos) word(name string) string {
	switch name {
	case "limit", "batch_size", "max_batch_size", "before", "from", "to", "after", "visibility_timeout_ms":
		return oneOf(g, "1", "2", "10", "1000", "1001", "0", "-1", "1e3", "", "x", "99999999999999999999")
	case "show_sensitive", "show-sensitive", "same_group":
		return oneOf(g, "true", "false", "1", "0", "yes", "")
	case "state":
		return oneOf(g, "available", "backing_off", "dead_letter", "nowhere")
	}
	return oneOf(g, "a", "pull", "public.t", "t", "1", "")
}

// body makes a body from the schema of the contract, and then perhaps breaks it.
func (g *chaos) body(op *operation) any {
	if g.chance(25) {
		return oneOf(g, "", "{", "[]", "null", "7", `{"a":`, "{}{}", strings.Repeat("[", 300), `{"name":"\ud800"}`, "\x00")
	}
	schema := op.body
	if schema == nil {
		schema = object{"type": "object"}
	}
	if !g.chance(3) {
		if o := g.example(schema); o != nil {
			return encode(o)
		}
	}
	v := g.value("", schema, 0)
	if o, ok := v.(object); ok {
		g.tame(o)
	}
	return encode(v)
}

// example is one of the contract's, of something that is there or may come to be, with a few keys changed.
func (g *chaos) example(schema object) object {
	schema = g.r.contract.resolve(schema)
	examples, _ := schema["examples"].([]any)
	if len(examples) == 0 {
		return nil
	}
	var o object
	if json.Unmarshal([]byte(encode(oneOf(g, examples...))), &o) != nil {
		return nil
	}
	for key, values := range map[string][]any{
		"name": {"n-1", "n-2", "n-3", "n-4"}, "database": {"db"}, "source_database": {"db"}, "destination_database": {"db"}, "source": {object{"include_tables": []any{"t"}}},
		"slot_name": {g.r.slot, g.r.slot + "_2"}, "publication_name": {g.r.pub, g.r.pub + "_2"},
		"encrypted_headers": {object{"X-A": g.secret()}}, "password": {g.secret()}, "email": {"a@example.com", "b@example.com", "owner@example.com"}, "setup_token": {g.secret()},
	} {
		if _, there := o[key]; there {
			o[key] = oneOf(g, values...)
		}
	}
	if d, ok := o["destination"].(object); ok {
		d["http_endpoint"] = oneOf[any](g, "n-1", "n-2", "n-3", "n-4")
		if !g.chance(3) {
			o["destination"] = object{"type": "sequin_stream"}
		}
	}
	properties, _ := schema["properties"].(object)
	names := slices.Sorted(maps.Keys(properties))
	for range g.IntN(3) {
		if len(names) > 0 {
			name := oneOf(g, names...)
			o[name] = g.value(name, properties[name].(object), 1)
		}
	}
	g.tame(o)
	return o
}

// tame keeps chance from long waits and from machines that are not ours.
func (g *chaos) tame(o object) {
	if _, there := o["hostname"]; there {
		o["hostname"] = oneOf[any](g, "127.0.0.1", "127.0.0.1", "localhost", "bad host", "", "/", 7)
		o["port"] = oneOf[any](g, g.port, g.port, 0, 70000, "x")
	}
	delete(o, "wait_for")
	if nested, ok := o["postgres_database"].(object); ok {
		nested["hostname"] = "127.0.0.1"
		g.tame(nested)
	}
	delete(o, "await_database") // one that cannot be reached is not tried again
	if _, there := o["url"]; there {
		good := fmt.Sprintf("http://127.0.0.1:%d/x", g.port)
		o["url"] = oneOf[any](g, good, good, good, good, good, fmt.Sprintf("postgres://u:%s@127.0.0.1:%d/d", g.secret(), g.port), "https://example.com", "nowhere",
			"http://user:"+g.secret()+"@example.com", 7, nil)
	}
	if _, there := o["yaml"]; there {
		o["yaml"] = g.yaml()
	}
}

// secret is a new one.
func (g *chaos) secret() string {
	g.secrets++
	return fmt.Sprintf("%s-%d-%d", planted, g.Uint64(), g.secrets)
}

// value makes a value of a schema, most of the time.
func (g *chaos) value(key string, schema object, depth int) any {
	schema = g.r.contract.resolve(schema)
	if g.chance(60) {
		return oneOf[any](g, nil, true, 7, -1, 1.5, "", "text", []any{}, []any{1}, object{}, object{"a": g.anySecret(key)}, 1e300, strings.Repeat("y", 1000))
	}
	if choices, ok := schema["anyOf"].([]any); ok {
		return g.value(key, oneOf(g, choices...).(object), depth)
	}
	if enum, ok := schema["enum"].([]any); ok && !g.chance(10) {
		return oneOf(g, enum...)
	}
	if v, ok := schema["const"]; ok {
		return v
	}
	kind := schema["type"]
	if kinds, ok := kind.([]any); ok {
		kind = oneOf(g, kinds...)
	}
	switch kind {
	case "object":
		return g.object(key, schema, depth)
	case "array":
		var list []any
		items, _ := schema["items"].(object)
		for range g.IntN(4) {
			list = append(list, g.value(key, items, depth+1))
		}
		return list
	case "integer", "number":
		return oneOf[any](g, 1, 2, 10, 500, 1000, 60000, 0, -1, 1<<40, "10", 1.5)
	case "boolean":
		return oneOf[any](g, true, false, "true", "0")
	case "null":
		return nil
	}
	return g.text(key)
}

// anySecret plants one where secrets belong.
func (g *chaos) anySecret(key string) any {
	switch key {
	case "password", "token", "encrypted_headers", "signing_secrets", "setup_token":
		return g.secret()
	}
	return "value"
}

func (g *chaos) object(key string, schema object, depth int) any {
	o := object{}
	if key == "encrypted_headers" {
		o["X-"+oneOf(g, "A", "B", "bad name")] = g.secret()
		return o
	}
	properties, _ := schema["properties"].(object)
	required, _ := schema["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		wanted := g.chance(3)
		for _, n := range required {
			wanted = wanted || n == name && !g.chance(12)
		}
		if wanted && depth < 6 {
			o[name] = g.value(name, properties[name].(object), depth+1)
		}
	}
	if g.chance(15) {
		o[oneOf(g, "nobody-knows", "id", "Name", "")] = "x"
	}
	return o
}

func (g *chaos) text(key string) string {
	switch key {
	case "password", "token", "setup_token", "signing_secrets":
		return oneOf(g, g.secret(), g.secret(), "", "short", "\n"+g.secret(), strings.Repeat(g.secret(), 10))
	case "name":
		return oneOf(g, "n-1", "n-2", "n-3", "n-4", "pull", "db", "", "a b", "none", "admin", strings.Repeat("n", 300))
	case "database", "source_database", "destination_database":
		return oneOf(g, "db", "db", "db", "nowhere", "")
	case "http_endpoint":
		return oneOf(g, "n-1", "n-2", "n-3", "nowhere")
	case "filter", "transform", "routing", "enrichment":
		return oneOf(g, "none", "none", "none", "n-1", "")
	case "include_tables", "exclude_tables":
		return oneOf(g, "t", "public.t", "public.t", "nix", ".", "")
	case "group_column_names", "column_name":
		return oneOf(g, "id", "v", "nix", "")
	case "email":
		return oneOf(g, "a@example.com", "b@example.com", "nobody", "", "owner@example.com")
	case "scopes":
		return oneOf(g, "read", "admin", "consume:pull", "consume:", "everything")
	case "expires_at":
		return oneOf(g, "2099-01-01T00:00:00Z", "2000-01-01T00:00:00Z", "soon")
	case "slot_name", "publication_name":
		return oneOf(g, "s_1", "S 1", "", strings.Repeat("s", 70))
	case "path":
		return oneOf(g, "record.id", "record", "nowhere", "")
	case "code":
		return oneOf(g, "def transform(a, r, c, m) do\n  r\nend", "return 1", "select 1 where id = $1", strings.Repeat("x", 20000), "")
	}
	return oneOf(g, "active", "x", "1h", "64MiB", "10GiB", "-5s", "", "日本", "public", "\u2028", "<b>", "a.b.c[0]", "select 1")
}

// sections are those of a document, with what describes their items.
var sections = map[string]string{
	"http_endpoints": "HTTPEndpointCreate", "functions": "FunctionCreate", "change_retentions": "ChangeRetentionCreate", "sinks": "SinkCreate",
	"databases": "DatabaseCreate", "api_tokens": "TokenCreate",
}

// yaml makes a document of the same pieces.
func (g *chaos) yaml() any {
	if g.chance(6) {
		return oneOf[any](g, "a: [", "- 1", "x: &a {b: *a}", "account: {name: x}", "users: [{email: x@y, password: "+g.secret()+"}]", "\t", nil, 7, "sinks: {}", "databases: null",
			"x: &a [1,1,1,1,1,1,1,1,1]\ny: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nz: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nw: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nv: [*d,*d,*d,*d,*d,*d,*d]")
	}
	doc := object{}
	schemas := g.r.contract.doc["components"].(object)["schemas"].(object)
	for _, section := range []string{"api_tokens", "change_retentions", "databases", "functions", "http_endpoints", "sinks"} {
		if !g.chance(3) {
			continue
		}
		var list []any
		for range 1 + g.IntN(2) {
			v := g.value("", schemas[sections[section]].(object), 0)
			if o, ok := v.(object); ok {
				g.tame(o)
			}
			list = append(list, v)
		}
		doc[section] = list
	}
	return encode(doc)
}
