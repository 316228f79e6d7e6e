package manage_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// planted are secrets in every place that takes one. They look like nothing else, so that they are found wherever they come up.
var planted = map[string]string{
	"database":  "planted-pw-Zq8vXw3k",
	"wrong":     "planted-wrong-Yt5mNb2j",
	"header":    "planted-header-Hd7cRf4s",
	"signing":   "whsec_cGxhbnRlZC1zaWduaW5nLWtleS0wMTIzNDU2Nzg5YWI=",
	"token":     "planted-token-Tk9pLs6d",
	"user":      "planted-user-Us4rPw8q",
	"vault":     "cGxhbnRlZC12YXVsdC1rZXktMDEyMzQ1Njc4OWFiY2Q=",
	"url":       "planted-url-Ur3lQq7z",
	"metrics":   "planted-metrics-Me2tRi5c",
	"literal $": "planted-$dollar-Do6lLa1r",
}

// forms are how a secret may look elsewhere.
func forms(secret string) []string {
	return []string{
		secret, url.QueryEscape(secret), strings.ReplaceAll(secret, "$", "$$"), base64.StdEncoding.EncodeToString([]byte(secret)),
		base64.RawURLEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)),
	}
}

// nowhere fails the test when one of the secrets is in what was emitted.
func nowhere(t *testing.T, where string, emitted []byte) {
	t.Helper()
	for name, secret := range planted {
		for _, form := range forms(secret) {
			if at := bytes.Index(emitted, []byte(form)); at >= 0 {
				t.Errorf("the secret %q is in %s: …%s…", name, where, emitted[max(0, at-80):min(len(emitted), at+len(form)+20)])
			}
		}
	}
}

// No secret is in anything that the process emits: log, replies, errors, plans, exports, revisions, the audit log, health, metrics, the command
// line's output; and in the data directory there is none in clear.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.Options{Password: planted["database"]})
	db := pg.Database(t)
	db.Exec(t, "create table t (id int primary key)")
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Error(w, "refused, and this is what came: "+req.Header.Get("Authorization"), http.StatusForbidden) // an endpoint that tells on us
	}))
	t.Cleanup(failing.Close)
	config := harness.Config{DB: db, Slot: db.Slot(t), Publication: db.Publication(t), Sinks: pull +
		"  - {name: hook, database: db, max_retry_count: 1, destination: {type: webhook, http_endpoint: failing}}\n"}
	yaml := strings.Replace(config.YAML(t), "sinks:\n", fmt.Sprintf(`http_endpoints:
  - {name: failing, url: %q, encrypted_headers: {Authorization: "Bearer %s"}, signing_secrets: [%q]}
users:
  - {email: ada@example.com, password: %q}
sinks:
`, failing.URL, planted["header"], planted["signing"], planted["user"]), 1)
	yaml = strings.Replace(yaml, "api_tokens: [", fmt.Sprintf("api_tokens: [{name: planted, token: %q}, ", planted["token"]), 1)
	r := &rig{Sequin: harness.New(t, yaml, "--log-level", "debug"), t: t, db: db, config: config}
	r.Env = []string{"SEQUIN_VAULT_KEY=" + planted["vault"], "SEQUIN_METRICS_USER=prometheus", "SEQUIN_METRICS_PASSWORD=" + planted["metrics"]}
	r.Start()
	r.WaitHealthy(patience)
	db.Exec(t, row(1))
	r.ids("pull", 1)
	r.WaitProblem("dead_letters", patience)

	var emitted bytes.Buffer
	note := func(a answer) answer { emitted.Write(a.body); emitted.WriteByte('\n'); return a }
	for _, path := range []string{
		"/api/sinks", "/api/sinks/hook", "/api/sinks/hook/dead_letters", "/api/sinks/hook/dead_letters/1", "/api/sinks/hook/position", "/api/postgres_databases", "/api/postgres_databases/db",
		"/api/postgres_databases/db/slot", "/api/destinations/http_endpoints", "/api/api_keys", "/api/users", "/api/revisions", "/api/revisions/1", "/api/revisions/compare?from=1&to=1",
		"/api/audit", "/api/status", "/api/account", "/api/config/export", "/healthz", "/readyz", "/health", "/api/openapi.json",
	} {
		note(r.call("GET", path, nil))
	}
	badURL := fmt.Sprintf("postgres://sequin:%s@127.0.0.1:1/none", planted["url"])
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/api/postgres_databases", map[string]any{"name": "x", "url": badURL, "replication_slots": []any{map[string]any{"slot_name": "x", "publication_name": "x"}}}},
		{"POST", "/api/postgres_databases", map[string]any{"name": "x y", "url": badURL + "?nonsense=" + planted["wrong"]}},
		{"PATCH", "/api/postgres_databases/db", map[string]any{"password": planted["wrong"]}},
		{"POST", "/api/postgres_databases/db/test_connection", nil},
		{"PATCH", "/api/postgres_databases/db", map[string]any{"password": planted["database"], "port": "no number"}},
		{"PATCH", "/api/postgres_databases/db", map[string]any{"password": planted["database"]}},
		{"PATCH", "/api/destinations/http_endpoints/failing", map[string]any{"encrypted_headers": map[string]any{"X": planted["literal $"]}, "url": "no url " + planted["url"]}},
		{"PATCH", "/api/destinations/http_endpoints/failing", map[string]any{"encrypted_headers": map[string]any{"X": planted["literal $"] + "\n"}}},
		{"POST", "/api/destinations/http_endpoints", map[string]any{"name": "x", "url": "https://user:" + planted["url"] + "@example.com"}},
		{"POST", "/api/destinations/http_endpoints", map[string]any{"name": "x", "url": "https://example.com", "signing_secrets": []string{planted["signing"] + "x", planted["wrong"]}}},
		{"POST", "/api/api_keys", map[string]any{"name": "x", "token": planted["token"]}},
		{"POST", "/api/api_keys", map[string]any{"name": "in valid", "token": planted["wrong"]}},
		{"POST", "/api/sessions", map[string]any{"email": "ada@example.com", "password": planted["wrong"]}},
		{"POST", "/api/users", map[string]any{"email": "no address", "password": planted["user"]}},
		{"POST", "/api/config/plan", map[string]any{"yaml": "http_endpoints: [{name: failing, encrypted_headers: {Authorization: " + planted["wrong"] + "}}]"}},
		{"POST", "/api/config/plan", map[string]any{"yaml": "databases: [{name: db, password: [" + planted["wrong"] + "]}]"}},
		{"POST", "/api/config/plan", map[string]any{"yaml": "http_endpoints: [{name: x, url: 'https://example.com', encrypted_headers: {A: '${" + planted["wrong"] + "'}}]\nnonsense: {"}},
		{"POST", "/api/config/apply", map[string]any{"yaml": "http_endpoints: [{name: failing, encrypted_headers: {Authorization: \"Bearer " + planted["header"] + "\", X: \"" + planted["literal $"] + "\"}}]"}},
	} {
		note(r.call(c.method, c.path, c.body))
	}
	note(r.callAs(planted["wrong"], "GET", "/api/sinks", nil))
	db.Exec(t, row(2))
	r.ids("pull", 1)
	for _, args := range [][]string{
		{"status"},
		{"databases", "list"},
		{"databases", "show", "db", "-o", "yaml"},
		{"endpoints", "list", "-o", "json"},
		{"sinks", "list"},
		{"tokens", "list"},
		{"config", "export"},
		{"config", "plan", r.ConfigPath()},
		{"revisions", "list"},
		{"audit", "list"},
		{"config", "validate", r.ConfigPath()},
		{"check", badURL},
	} {
		code, out, errs := r.cli(nil, args...)
		require.NotEqual(t, 2, code, "%v: %s", args, errs)
		emitted.WriteString(out + errs)
	}
	_, metrics := r.Get(strings.Replace(r.Metrics, "http://", "http://prometheus:"+planted["metrics"]+"@", 1))
	emitted.WriteString(metrics)
	r.Stop()
	nowhere(t, "what was answered", emitted.Bytes())
	nowhere(t, "the log", []byte(r.Log()))
	require.NoError(t, filepath.WalkDir(r.DataDir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		nowhere(t, path, content)
		return err
	}))
	require.Greater(t, emitted.Len(), 10_000, "there was something to look through")
}
