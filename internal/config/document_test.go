package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

func storedSet() *resource.Set {
	return &resource.Set{
		Account:       resource.Account{Name: "acme"},
		Databases:     []resource.Database{storedDatabase()},
		HTTPEndpoints: []resource.HTTPEndpoint{{Name: "hook", URL: "https://h/", Headers: map[string]string{"A": "b"}, EncryptedHeaders: map[string]resource.Secret{}}},
		Functions: []resource.Function{{
			Name: "shape", Description: "what it is for", Type: resource.FunctionTransform, Language: resource.LanguageLua, Code: "return 1",
		}},
		ChangeRetentions: []resource.ChangeRetention{{
			Name: "audit", Status: resource.RetentionActive, SourceDatabase: "prod", SourceTable: resource.TableName{Schema: "public", Name: "users"},
			DestinationDatabase: "prod", DestinationTable: resource.TableName{Schema: "audit", Name: "events"}, Actions: []resource.Action{resource.ActionDelete},
		}},
		Sinks: []resource.Sink{storedSink()},
	}
}

func TestDocumentOverWhatIsStored(t *testing.T) {
	t.Parallel()
	base := storedSet()
	require.Empty(t, base.Validate())
	doc, warnings, err := config.ParseDocument("d.yaml", []byte(`
databases:
  - {name: prod, ssl: true, pool_size: 3}
functions:
  - {name: shape, code: return 2}
change_retentions:
  - {name: audit, status: disabled, filters: [{column_name: a, operator: is_null}]}
http_endpoints:
  - {name: second, url: "https://second/"}
sinks:
  - {name: orders, batch_size: 5, max_retry_count: null, database: prod}
  - {name: new, database: prod, destination: {type: webhook, http_endpoint: hook}}
`), config.DocumentOptions{Base: base})
	require.NoError(t, err)
	require.Empty(t, warnings)
	want := storedSet()
	want.Account.Name = resource.DefaultAccount
	want.Databases[0].SSLMode, want.Databases[0].PoolSize = resource.SSLRequire, 3
	want.Functions[0].Code = "return 2"
	want.ChangeRetentions[0].Status = resource.RetentionDisabled
	want.ChangeRetentions[0].Filters = []resource.ColumnFilter{{Column: "a", Operator: resource.OpIsNull}}
	want.HTTPEndpoints = []resource.HTTPEndpoint{{Name: "second", URL: "https://second/", Headers: map[string]string{}, EncryptedHeaders: map[string]resource.Secret{}}}
	want.Sinks[0].BatchSize, want.Sinks[0].MaxRetryCount = 5, 0
	fresh := resource.NewSink()
	fresh.Name, fresh.Database, fresh.Destination.Type, fresh.Destination.Webhook.HTTPEndpoint = "new", "prod", resource.DestinationWebhook, "hook"
	want.Sinks = append(want.Sinks, fresh)
	same(t, want, doc.Set, "")
	same(t, storedSet(), base, "what is stored stays as it is")
	require.Equal(t, []string{"databases", "functions", "change_retentions", "http_endpoints", "sinks"}, doc.Sections)
	require.False(t, doc.HasAccount)
	file, line, column := doc.Locate("sinks[1].destination.http_endpoint")
	require.Equal(t, []any{"d.yaml", 12, 77}, []any{file, line, column})
}

func TestAnotherSlotInPlace(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"databases: [{name: prod, slot: {name: other}}]", "databases: [{name: prod, slot_name: other, publication_name: third}]"} {
		doc, warnings, err := config.ParseDocument("d.yaml", []byte(text), config.DocumentOptions{Base: storedSet()})
		require.NoError(t, err)
		require.Equal(t, "other", doc.Set.Databases[0].Slot.Name)
		require.Len(t, warnings, 1)
		require.Contains(t, warnings[0].String(), "d.yaml:1:")
		require.Contains(t, warnings[0].String(), "a recorded gap")
	}
	d := storedDatabase()
	warnings, err := config.UpdateDatabase(&d, []byte(`{"slot":{"name":"other"}}`), config.BodyOptions{})
	require.NoError(t, err)
	require.Len(t, warnings, 1)
}

func TestDocumentMistakesOverWhatIsStored(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, doc, want string }{
		{"a new one needs everything", "sinks: [{name: x}]", "sinks[0].database missing_value, sinks[0].destination.type missing_value"},
		{"nobody of that name", "sinks: [{name: orders, destination: {http_endpoint: nobody}}]", "sinks[0].destination.http_endpoint unknown_reference"},
		{"a sink of another database", "sinks: [{name: orders, database: other}]", "sinks[0].database cannot_change"},
		{"a slot that is taken", "databases: [{name: x, hostname: DB.internal, port: 6543, database: d, slot_name: slot, publication_name: p}]", "databases[0].slot.name conflicting_keys"},
		{"another destination", "change_retentions: [{name: audit, destination_table_name: other}]", "change_retentions[0].destination_table_name cannot_change"},
		{"another source database", "change_retentions: [{name: audit, source_database: other}]", "change_retentions[0].source_database cannot_change, change_retentions[0].source_database unknown_reference"},
		{"a function on a sink", "sinks: [{name: orders, transform: nothing}]", "sinks[0].transform unknown_reference"},
		{"a backfill of nothing", "sinks: [{name: orders, initial_backfill: [{type: full}]}]", "sinks[0].initial_backfill[0].table missing_value"},
		{"a token for a sink of nobody", "api_tokens: [{name: a, scopes: ['consume:orders', 'consume:none']}]", "api_tokens[0].scopes[1] unknown_reference"},
		{"both names of a section", "functions: []\ntransforms: []", "transforms conflicting_keys"},
		{"a file of the server", "databases: [{name: prod, password_file: /x}]", "databases[0].password_file local_only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := config.ParseDocument("d.yaml", []byte(tt.doc), config.DocumentOptions{Base: storedSet()})
			got := mistakes(t, err)
			if tt.name == "another source database" {
				require.Contains(t, got, "cannot_change")
				return
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestSecretsInFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	parse := func(path string, o config.DocumentOptions) (*config.Document, error) {
		o.Lookup = func(string) (string, bool) { return path, true }
		doc, _, err := config.ParseDocument("d.yaml", []byte(`
users: [{email: a@b, password: {file: $FILE}}]
http_endpoints: [{name: h, url: "http://h", encrypted_headers: {A: {file: $FILE}, B: c}}]
`), o)
		return doc, err
	}
	for text, want := range map[string]string{"hunter2-ü$HOME": "hunter2-ü$HOME", "hunter2-x\n": "hunter2-x", "hunter2-x\r\n": "hunter2-x", "hunter2-x\n\n": "hunter2-x\n"} {
		doc, err := parse(write("ok", text), config.DocumentOptions{Files: true})
		if strings.HasSuffix(want, "\n") {
			require.ErrorContains(t, err, "line break") // in a header
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, doc.Set.Users[0].Password.Reveal())
		require.Equal(t, want, doc.Set.HTTPEndpoints[0].EncryptedHeaders["A"].Reveal())
	}
	for name, path := range map[string]string{
		"no such file": filepath.Join(dir, "none"), "not a regular file": dir,
		"more than": write("large", strings.Repeat("hunter2 ", 10_000)), "does not hold a text": write("binary", "hunter2\xff\x00"),
	} {
		_, err := parse(path, config.DocumentOptions{Files: true})
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, path)
		require.NotContains(t, err.Error(), "hunter2")
		require.Contains(t, mistakes(t, err), "users[0].password.file invalid_value")
	}
	_, err := parse(write("secret", "hunter2-hunter2"), config.DocumentOptions{Local: true})
	require.Equal(t, "users[0].password.file local_only, http_endpoints[0].encrypted_headers.A.file local_only", mistakes(t, err))
}

func TestUsersAndTokens(t *testing.T) {
	t.Parallel()
	doc, warnings, err := config.ParseDocument("d.yaml", []byte(`
users: [{email: a@b, password: 12345678}, {email: c@d, password: 12345678, role: viewer, account: x}]
api_tokens: [{name: made}, {name: given, token: 0123456789abcdef, scopes: [read]}]
`), config.DocumentOptions{})
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, []resource.User{{Email: "a@b", Password: "12345678", Role: resource.RoleOwner}, {Email: "c@d", Password: "12345678", Role: resource.RoleViewer}}, doc.Set.Users)
	require.Equal(t, []resource.APIToken{
		{Name: "made", Scopes: []resource.Scope{resource.ScopeAdmin}}, {Name: "given", Token: "0123456789abcdef", Scopes: []resource.Scope{resource.ScopeRead}},
	}, doc.Set.APITokens)
	_, _, err = config.ParseDocument("d.yaml", []byte(`users: [{email: a@b, password: 12345678, role: king}]`), config.DocumentOptions{})
	require.Equal(t, "users[0].role invalid_value", mistakes(t, err))
}

func TestPasswordCommand(t *testing.T) {
	t.Parallel()
	const d = "name: d, hostname: h, database: d, slot_name: s, publication_name: p"
	for keys, want := range map[string]string{
		"password_command: [/bin/pw, --db, d]":                   "",
		"password_command: []":                                   "",
		"password_command: ['']":                                 "databases[0].password_command invalid_value",
		"password_command: [/bin/pw], password_file: /x":         "databases[0].password_command conflicting_keys",
		"password_command: /bin/pw":                              "databases[0].password_command invalid_value",
		`password_command: [/bin/pw, "a\0b"]`:                    "databases[0].password_command[1] invalid_value",
		"password_command: [/bin/pw], password: {file: /none-x}": "databases[0].password.file invalid_value",
	} {
		_, _, err := config.Parse("d.yaml", []byte("databases: [{"+d+", "+keys+"}]"), nil)
		if want == "" {
			require.NoError(t, err, keys)
			continue
		}
		require.Equal(t, want, mistakes(t, err), keys)
	}
}

// A document in which dollar signs are doubled says so, and means the same with variables filled in and without.
func TestDollarSigns(t *testing.T) {
	t.Parallel()
	parse := func(doc string, lookup config.LookupEnv) resource.HTTPEndpoint {
		d, _, err := config.ParseDocument("d", []byte(doc), config.DocumentOptions{Lookup: lookup})
		require.NoError(t, err)
		return d.Set.HTTPEndpoints[0]
	}
	const endpoint = `http_endpoints: [{name: h, url: "http://h/?$${A}$$$$", headers: {A: $$x}}]`
	for _, lookup := range []config.LookupEnv{nil, noVariables} {
		e := parse("x-dollar: $$\n"+endpoint, lookup)
		require.Equal(t, "http://h/?${A}$$", e.URL)
		require.Equal(t, "$x", e.Headers["A"])
	}
	require.Equal(t, "http://h/?$${A}$$$$", parse(endpoint, nil).URL, "a document that does not say so is taken as it is")
	require.Equal(t, "http://h/?$${A}$$$$", parse("x-dollar: $\n"+endpoint, nil).URL, "variables have been filled in already")
}

func TestAccountName(t *testing.T) {
	t.Parallel()
	lookup := func(string) (string, bool) { return "filled", true }
	for doc, want := range map[string]string{"account: {name: $X}": "filled", "account: {}": "", "databases: 7": "", "": "", "account: 7": ""} {
		name, err := config.AccountName("d.yaml", []byte(doc), lookup)
		require.NoError(t, err, doc)
		require.Equal(t, want, name)
	}
	_, err := config.AccountName("d.yaml", []byte("a: ["), lookup)
	require.Equal(t, "validation_failed", problem.Code(err))
}

func TestMaskedSecretsOfNobodyWarn(t *testing.T) {
	t.Parallel()
	for password, warns := range map[string]bool{"p******s": true, "pos**********s": true, "****": false, "a*b*c*d*e": false, "new-password": false} {
		_, warnings, err := config.Parse("d", []byte("databases: [{name: d, hostname: h, database: d, slot_name: s, publication_name: p, password: '"+password+"'}]"), nil)
		require.NoError(t, err)
		require.Equal(t, warns, len(warnings) == 1, "%s: %v", password, warnings)
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "1m30s", time.Hour: "1h", 24 * time.Hour: "24h", 48 * time.Hour: "2d", 25*time.Hour + time.Second: "25h0m1s",
		10 * time.Minute: "10m", 1500 * time.Millisecond: "1.5s", 100 * time.Hour: "100h", 20*time.Hour + 10*time.Minute: "20h10m",
	} {
		require.Equal(t, want, config.FormatDuration(d))
		back, err := config.ParseDuration(want)
		require.NoError(t, err)
		require.Equal(t, d, back)
	}
}
