package contract_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plants are secrets, and where each was put.
type plants struct {
	t   *testing.T
	all map[string]string
}

// secret is a new one. Nobody would find a part of it by chance.
func (p *plants) secret(where string) string {
	s := fmt.Sprintf("Zq7%dKx%dWv", len(p.all), 918273645546372819-len(p.all)*7919)
	p.all[s] = where
	return s
}

// absent expects that none is in a text, plain or as others write it.
func (p *plants) absent(what string, text []byte) {
	p.t.Helper()
	for s, where := range p.all {
		for _, form := range []string{s, base64.StdEncoding.EncodeToString([]byte(s))} {
			if i := bytes.Index(text, []byte(form)); i >= 0 {
				p.t.Fatalf("the secret in %s is in %s: …%q…", where, what, text[max(0, i-80):min(len(text), i+len(form)+40)])
			}
		}
	}
}

// No secret comes back, whatever is done with it: in replies unless an administrator asks, in errors, plans, revisions and the audit log, in the
// server's log and its metrics, and in no file of the data directory.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.chaotic = true
	p := &plants{t: t, all: map[string]string{}}
	var replies []reply
	do := func(method, path string, body any) reply {
		got := r.admin(method, path, body)
		replies = append(replies, got)
		return got
	}
	slot := r.db.Slot(t)
	db := r.database("sec", slot, r.pub, true)
	db["password"] = p.secret("a database's password")
	do("POST", "/api/postgres_databases", db).require(201)
	whsec := "whsec_" + base64.StdEncoding.EncodeToString([]byte(p.secret("a signing secret")+"-padding-to-24"))
	p.all[whsec] = "a signing secret"
	endpoint := object{"name": "sec", "url": "http://127.0.0.1:9/x", "encrypted_headers": object{"Authorization": p.secret("an encrypted header")}, "signing_secrets": []string{whsec}}
	do("POST", "/api/destinations/http_endpoints", endpoint).require(200)
	do("POST", "/api/sinks", object{"name": "sec", "database": "sec", "destination": object{"type": "webhook", "http_endpoint": "sec"}}).require(200)
	do("POST", "/api/api_keys", object{"name": "sec", "token": p.secret("a token")}).require(200)
	do("POST", "/api/users", object{"email": "sec@example.com", "password": p.secret("a user's password")}).require(200)
	do("PATCH", "/api/users/sec@example.com", object{"password": p.secret("a user's new password")}).require(200)
	do("PATCH", "/api/postgres_databases/sec", object{"password": p.secret("a database's new password")}).require(200)
	do("PATCH", "/api/destinations/http_endpoints/sec", object{"encrypted_headers": object{"Authorization": p.secret("a changed header"), "X-New": p.secret("a new header")}}).require(200)
	session := r.signIn("owner@example.com")
	p.all[session] = "the token of a session"

	for _, body := range mistakesWithSecrets(p) { // whatever is wrong with it
		got := do(body.method, body.path, body.body)
		require.GreaterOrEqual(t, got.status, 400, "%s: %s", got.request, got.body)
	}
	yaml := fmt.Sprintf("databases: [{name: sec, password: %s}]\nhttp_endpoints: [{name: sec, encrypted_headers: {A: %s}}, {name: sec2, url: \"https://example.com\", encrypted_headers: {B: %s}}]\napi_tokens: [{name: sec2, token: %s}]\nusers: [{email: sec2@example.com, password: %s}]\n",
		p.secret("a document's database"), p.secret("a document's header"), p.secret("a new endpoint of a document"), p.secret("a document's token"), p.secret("a document's user"))
	do("POST", "/api/config/plan", object{"yaml": yaml}).require(200)
	do("POST", "/api/config/apply", object{"yaml": yaml}).require(200)
	do("POST", "/api/postgres_databases/sec/test_connection", nil)
	for _, op := range r.contract.operations {
		if op.method == http.MethodGet && op.scope == "read" {
			path := strings.NewReplacer("{id_or_name}", "sec", "{id}", "sec", "{seq}", "1", "{seq_or_ack_id}", "1", "{number}", "2").Replace(op.path)
			do("GET", path, nil)
			replies = append(replies, r.as(session, "GET", path, nil))
		}
	}
	do("GET", "/api/revisions/compare?from=1", nil).require(200)
	do("POST", "/api/revisions/4/restore", nil).require(200)
	do("POST", "/api/api_keys/sec/rotate", nil).require(200)
	r.operator("POST", "/api/admin/vault/rotate", nil).require(200)

	shown := r.admin("GET", "/api/destinations/http_endpoints?show_sensitive=true", nil).require(200)
	require.Contains(t, string(shown.body), "Zq7", "who may see them does")
	for _, got := range replies {
		p.absent("the reply to "+got.request, got.body)
	}
	p.absent("the log", []byte(r.log.all()))
	p.absent("the metrics", r.metrics())
	found := p.files(r.dir)
	require.True(t, found, "what is not secret is found in the files, so that a secret would be")
}

// wrong is a request that is refused.
type wrong struct {
	method, path string
	body         any
}

// mistakesWithSecrets are requests that are wrong somewhere near a secret.
func mistakesWithSecrets(p *plants) []wrong {
	s := p.secret
	destination := func(o object) object { return object{"name": "x", "database": "sec", "destination": o} }
	const endpoints = "/api/destinations/http_endpoints"
	return []wrong{
		{"POST", "/api/postgres_databases", object{"name": "x", "url": "postgres://u:" + s("a URL") + "@h:1/d?nope=" + s("a URL's parameter")}},
		{"POST", "/api/postgres_databases", object{"name": "x", "url": "not a url " + s("what is no URL")}},
		{"POST", "/api/postgres_databases", object{"name": "x", "hostname": "h", "database": "d", "username": "u", "password": object{"a": s("an object as password")}}},
		{"POST", "/api/postgres_databases", object{"name": "x", "hostname": "h", "database": "d", "username": "u", "password": []string{s("a list as password")}}},
		{"POST", "/api/postgres_databases", object{"name": "x", "hostname": "127.0.0.1", "port": 1, "database": "d", "username": "u", "password": s("an unreachable database"), "slot": object{"name": "x"}, "publication": object{"name": "x"}}},
		{"POST", "/api/postgres_databases", object{"name": "x", "hostname": "h", "primary": object{"password": s("the password of a primary")}}},
		{"PATCH", "/api/postgres_databases/sec", object{"port": "x", "password": s("beside a mistake")}},
		{"POST", endpoints, object{"name": "sec", "url": "https://user:" + s("the user of a URL") + "@example.com"}},
		{"POST", endpoints, object{"name": "sec", "url": "https://example.com", "encrypted_headers": object{"bad header": s("a bad header")}}},
		{"POST", endpoints, object{"name": "x", "url": "https://example.com", "encrypted_headers": s("headers that are a text")}},
		{"POST", endpoints, object{"name": "x", "url": "https://example.com", "encrypted_headers": object{"A": s("a header with a line break") + "\n"}}},
		{"POST", endpoints, object{"name": "x", "url": "https://example.com", "encrypted_headers": object{"A": object{"file": s("a file's name")}}}},
		{"POST", endpoints, object{"name": "x", "url": "https://example.com", "signing_secrets": []string{s("a bad signing secret")}}},
		{"POST", "/api/sinks", destination(object{"type": "kafka", "password": s("a Kafka password"), "hosts": "h:1"})},
		{"POST", "/api/sinks", destination(object{"type": "sqs", "secret_access_key": s("an AWS key")})},
		{"POST", "/api/sinks", destination(object{"type": "sequin_stream", "password": s("an unknown key")})},
		{"POST", "/api/api_keys", object{"name": "x", "token": s("a token with a space") + " x"}},
		{"POST", "/api/api_keys", object{"name": "bad name", "token": s("a token of a bad name")}},
		{"POST", "/api/api_keys", object{"name": "x", "token": []string{s("a token that is a list")}}},
		{"POST", "/api/users", object{"email": "nobody", "password": s("a user without an address")}},
		{"POST", "/api/users", object{"email": "y@example.com", "password": strings.Repeat(s("a long password"), 5)}},
		{"POST", "/api/sessions", object{"email": s("a password in the wrong field"), "password": s("a wrong password")}},
		{"POST", "/api/setup", object{"setup_token": s("a set-up token"), "email": "z@example.com", "password": s("a password at set-up")}},
		{"POST", "/api/config/plan", object{"yaml": "databases: [{name: sec, password: " + s("a document that breaks off")}},
		{"POST", "/api/config/plan", object{"yaml": "databases: [{name: sec, password: {a: " + s("a mapping as password") + "}}]"}},
		{"POST", "/api/config/plan", object{"yaml": "http_endpoints: [{name: x, url: \"https://u:" + s("a URL in a document") + "@h\"}]"}},
		{"POST", "/api/config/plan", object{"yaml": "api_tokens: [{name: admin, token: " + s("another secret of a token") + "}]\nsinks: [{}]"}},
		{"POST", "/api/config/apply", object{"yaml": "users: [{email: w@example.com, password: " + s("beside a bad sink") + "}]\nsinks: [{}]"}},
		{"POST", "/api/sinks", `{"name": "x", "password": "` + s("malformed JSON")},
	}
}

// metrics are those of the server.
func (r *rig) metrics() []byte {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.server.MetricsAddr()+"/metrics", nil)
	require.NoError(r.t, err)
	resp, err := r.network.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	require.Contains(r.t, string(text), "sequin_build_info")
	return text
}

// files looks through the data directory, and tells whether it found what is kept there in the open: an e-mail address.
func (p *plants) files(dir string) (found bool) {
	p.t.Helper()
	seen := 0
	require.NoError(p.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		found = found || bytes.Contains(text, []byte("sec@example.com"))
		p.absent(path, text)
		return nil
	}))
	require.Greater(p.t, seen, 3)
	return found
}
