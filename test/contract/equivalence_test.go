package contract_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is declared by a file reads over the API as if it had been declared there, and the other way round: an export plans to nothing where it
// comes from, and declares the same elsewhere. With resources made up at random.
func TestFilesAndAPIDeclareTheSame(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.chaotic = true
	r.db.Exec(t, "create table public.u (id int primary key, a text, b text)")
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := r.on(t)
			g := inventor{rand.New(rand.NewPCG(seed, 3))}
			all := g.resources(r)
			api, file, copied := r.newAccount(fmt.Sprintf("api-%d", seed)), r.newAccount(fmt.Sprintf("file-%d", seed)), r.newAccount(fmt.Sprintf("copy-%d", seed))
			for _, kind := range kinds {
				for _, body := range all[kind.section].([]any) {
					created := r.as(api, "POST", kind.path, r.placed(body, "api", seed))
					require.Contains(t, []int{200, 201}, created.status, "%s: %s: %s", kind.path, encode(body), created.body)
				}
			}
			doc := object{}
			for section, bodies := range all {
				var placed []any
				for _, body := range bodies.([]any) {
					placed = append(placed, r.placed(body, "file", seed))
				}
				doc[section] = placed
			}
			require.NotEmpty(t, r.as(file, "POST", "/api/config/plan", object{"yaml": encode(doc)}).require(200).at("changes"))
			r.as(file, "POST", "/api/config/apply", object{"yaml": encode(doc)}).require(200)
			require.Empty(t, r.as(file, "POST", "/api/config/plan", object{"yaml": encode(doc), "prune": true}).require(200).at("changes"))

			export := r.as(api, "GET", "/api/config/export?show-sensitive=true", nil).require(200).text("yaml")
			plan := r.as(api, "POST", "/api/config/plan", object{"yaml": export, "prune": true}).require(200)
			require.Empty(t, plan.at("changes"), "%s\n%s", plan.body, export)
			moved := strings.ReplaceAll(export, fmt.Sprintf("slot_api_%d", seed), fmt.Sprintf("slot_copy_%d", seed))
			r.as(copied, "POST", "/api/config/apply", object{"yaml": moved}).require(200)

			want := r.everything(api, seed)
			require.Contains(t, want, `"name":"s-0"`)
			require.Equal(t, want, r.everything(file, seed), "by file")
			require.Equal(t, want, r.everything(copied, seed), "by export")
			for _, token := range []string{api, file, copied} {
				r.as(token, "POST", "/api/config/apply", object{"yaml": "", "prune": true}).require(200)
				require.Empty(t, r.as(token, "GET", "/api/sinks", nil).require(200).at("data"))
			}
		})
	}
}

// kinds are those that a document and the API share, in an order in which each finds what it names.
var kinds = []struct{ section, path string }{
	{"databases", "/api/postgres_databases"},
	{"http_endpoints", "/api/destinations/http_endpoints"},
	{"functions", "/api/functions"},
	{"change_retentions", "/api/change_retentions"},
	{"sinks", "/api/sinks"},
}

// newAccount makes an account and returns the token of its administrator.
func (r *rig) newAccount(name string) string {
	r.t.Helper()
	r.operator("POST", "/api/admin/accounts", object{"name": name}).require(200)
	return r.operator("POST", "/api/api_keys", object{"name": "admin"}, "X-Sequin-Account: "+name).require(200).text("token")
}

// placed is a body for one account: a slot has one reader.
func (r *rig) placed(body any, account string, seed uint64) object {
	o := maps.Clone(body.(object))
	if _, is := o["hostname"]; is {
		o["slot"] = object{"name": fmt.Sprintf("slot_%s_%d", account, seed), "create_if_not_exists": true}
	}
	return o
}

// everything is what an account declares as the API shows it with secrets, without what differs between accounts.
func (r *rig) everything(token string, seed uint64) string {
	r.t.Helper()
	var b strings.Builder
	for _, kind := range kinds {
		for _, x := range r.as(token, "GET", kind.path+"?show_sensitive=true", nil).require(200).at("data").([]any) {
			o := x.(object)
			for _, key := range []string{"id", "inserted_at", "updated_at", "health", "replication_slots"} {
				delete(o, key)
			}
			b.WriteString(encode(o) + "\n")
		}
	}
	text := b.String()
	for _, account := range []string{"api", "file", "copy"} {
		text = strings.ReplaceAll(text, fmt.Sprintf("slot_%s_%d", account, seed), "slot")
	}
	return text
}

// inventor makes valid resources up.
type inventor struct{ *rand.Rand }

func among[T any](g inventor, values ...T) T { return values[g.IntN(len(values))] }

// textPieces are what YAML, JSON, shells and people care about.
var textPieces = []string{
	"a", "Z", "0", " ", "$", "$$", "$HOME", "${HOME}", "${X:-y}", "{{", "\"", "'", "`", "\\", "\\n", ":", ": ", "#", " #", "- ", "? ", "!", "&a", "*a", "|", ">", "%", "@", ",", "[", "]", "{", "}",
	"<<", "~", "null", "true", "no", "1e3", "0x1F", "007", "12:30:45", "é", "日本", "😀", "*****",
}

func (g inventor) text() string {
	var b strings.Builder
	for range 1 + g.IntN(8) {
		b.WriteString(among(g, textPieces...))
	}
	return b.String()
}

// ascii is a text that may be the value of a header.
func (g inventor) ascii() string {
	return "x" + strings.Map(func(c rune) rune {
		if c > '~' {
			return 'u'
		}
		return c
	}, g.text()) + "x"
}

func (g inventor) resources(r *rig) object {
	db := r.database("main", "", r.pub, false)
	delete(db, "slot")
	db["annotations"] = object{"team": g.text(), "n": g.IntN(9), "deep": object{"list": []any{1, "x", nil, true}}}
	db["max_disk"], db["on_wal_budget"] = among[any](g, "20GiB", "21474836481", nil), among(g, "release", "wait")
	db["retention"] = object{"max_age": among(g, "90s", "36h"), "max_size": among(g, "64MiB", "1GiB")}
	db["heartbeat_interval"], db["pool_size"] = among(g, "0s", "7s"), 1+g.IntN(20)
	out := object{"databases": []any{db}}
	var endpoints, functions, retentions, sinks []any
	for i := range 1 + g.IntN(3) {
		endpoints = append(endpoints, object{
			"name": fmt.Sprintf("e-%d", i), "url": among(g, "https://example.com", "http://example.com:8080/a%20b?x=1&y=$z#f", "https://[::1]/x"),
			"headers": object{"X-Plain": g.ascii()}, "encrypted_headers": object{"Authorization": g.ascii(), "X-Other": g.ascii()}, "signing_secrets": g.signing(),
		})
		functions = append(functions, g.function(i))
		retentions = append(retentions, object{
			"name": fmt.Sprintf("r-%d", i), "status": "disabled", "source_database": "main", "source_table_schema": "public", "source_table_name": among(g, "t", "odd name"),
			"destination_database": "main", "destination_table_schema": "audit", "destination_table_name": "events", "actions": among(g, []string{"insert"}, []string{"update", "delete"}),
			"filters": []any{object{"column_name": "v", "operator": "=", "comparison_value": g.text()}, object{"column_name": "meta", "field_path": "a.b", "field_type": "number", "operator": ">", "comparison_value": 5}},
		})
	}
	for i := range 2 + g.IntN(4) {
		sinks = append(sinks, g.sink(i))
	}
	out["http_endpoints"], out["functions"], out["change_retentions"], out["sinks"] = endpoints, functions, retentions, sinks
	return out
}

func (g inventor) signing() []string {
	secrets := []string{}
	for range g.IntN(3) {
		key := make([]byte, 24+g.IntN(8))
		for i := range key {
			key[i] = byte(g.IntN(256))
		}
		secrets = append(secrets, "whsec_"+base64.StdEncoding.EncodeToString(key))
	}
	return secrets
}

func (g inventor) function(i int) object {
	name := fmt.Sprintf("f-%d", i)
	// Comments with anything in them, in code that is right.
	lua := "--[==[ " + g.text() + "\n\n\t" + g.text() + " ]==]\nfunction %s(action, record)\n  return {method = 'PUT'}\nend\n"
	javascript := "/* " + strings.ReplaceAll(g.text(), "*/", "") + "\n\n\t" + strings.ReplaceAll(g.text(), "*/", "") + " */\nfunction filter(action, record) { return true }\n"
	return among(g,
		object{"name": name, "type": "path", "path": "record.id", "description": g.text()},
		object{"name": name, "type": "transform", "language": "lua", "code": strings.Replace(lua, "%s", "transform", 1)},
		object{"name": name, "type": "filter", "language": "javascript", "code": javascript, "description": g.text()},
		object{"name": name, "type": "routing", "sink_type": "webhook", "language": "lua", "code": strings.Replace(lua, "%s", "route", 1)},
		object{"name": name, "type": "enrichment", "code": "select id, '" + among(g, "$x", "a: b", "#") + "' from t where id = any($1)"},
	)
}

func (g inventor) sink(i int) object {
	s := object{
		"name": fmt.Sprintf("s-%d", i), "database": "main", "status": among(g, "paused", "disabled"), "actions": among(g, []string{"insert"}, []string{"delete", "truncate"}, []string{"insert", "update", "delete"}),
		"source":      among(g, object{}, object{"include_tables": []string{"public.t", "u"}}, object{"exclude_tables": []string{"u"}}, object{"include_schemas": []string{"public"}}),
		"destination": among(g, object{"type": "sequin_stream"}, object{"type": "webhook", "http_endpoint": "e-0", "http_endpoint_path": among(g, "/x?y=$z", "")}),
		"annotations": object{"note": g.text()}, "timestamp_format": among(g, "iso8601", "unix_microsecond"), "max_retry_count": among[any](g, nil, 1, 20),
		"batch_size": 1 + g.IntN(1000), "ack_wait_ms": 500 + g.IntN(60000), "max_ack_pending": 1 + g.IntN(1000), "load_shedding_policy": among(g, "pause_on_full", "discard_on_full"),
		"message_grouping": among[any](g, true, false, "table"), "start": among(g, "now", "beginning"), "compatibility": object{"unchanged_toast": among(g, "omit", "marker")},
	}
	if s["message_grouping"] == true {
		s["tables"] = among(g, []any{}, []any{object{"name": "u", "group_column_names": []string{"a", "b"}}})
	}
	return s
}
