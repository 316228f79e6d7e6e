package resource_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]string{
		"": "", "abc": "***", "abcde": "*****", "postgres": "p******s", "abcdefghi": "a*******i", "new-password": "new********d",
		strings.Repeat("x", 60): "xxx" + strings.Repeat("*", 20) + "x", "пароль": "п****ь",
	} {
		require.Equal(t, want, resource.Mask(secret), secret)
	}
}

func TestSecretsDoNotSlipOut(t *testing.T) {
	t.Parallel()
	d := resource.Database{Name: "prod", Password: "hunter2-hunter2"}
	encoded, err := json.Marshal(d)
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "password", d.Password, "database", d)
	for _, text := range []string{string(encoded), log.String(), fmt.Sprint(d), fmt.Sprintf("%+v %#v %s %q", d, d, d.Password, d.Password)} {
		require.NotContains(t, text, "hunter2")
		require.Contains(t, text, "hun**")
	}
	require.Equal(t, "hunter2-hunter2", d.Password.Reveal())
}

func TestSigningKey(t *testing.T) {
	t.Parallel()
	key, err := resource.SigningKey("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	require.NoError(t, err)
	require.Equal(t, "0123456789abcdef0123456789abcdef", string(key))
	for _, bad := range []resource.Secret{"", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64 at all!!!!!!!!!!!!!!!"} {
		_, err := resource.SigningKey(bad)
		require.Error(t, err)
	}
}

func TestSourceSelects(t *testing.T) {
	t.Parallel()
	orders := resource.ParseTableName("orders")
	tests := []struct {
		name   string
		source resource.Source
		want   map[string]bool
	}{
		{"everything", resource.Source{}, map[string]bool{"public.orders": true, "audit.log": true}},
		{"schema", resource.Source{IncludeSchemas: []string{"public"}}, map[string]bool{"public.orders": true, "audit.log": false}},
		{"not schema", resource.Source{ExcludeSchemas: []string{"public"}}, map[string]bool{"public.orders": false, "audit.log": true}},
		{"table", resource.Source{IncludeTables: []resource.TableName{orders}}, map[string]bool{"public.orders": true, "public.items": false, "audit.orders": false}},
		{"not table", resource.Source{ExcludeTables: []resource.TableName{orders}}, map[string]bool{"public.orders": false, "public.items": true}},
		{"schema without a table", resource.Source{IncludeSchemas: []string{"public"}, ExcludeTables: []resource.TableName{orders}}, map[string]bool{"public.orders": false, "public.items": true, "audit.log": false}},
	}
	for _, tt := range tests {
		for name, want := range tt.want {
			n := resource.ParseTableName(name)
			require.Equal(t, want, tt.source.Selects(n.Schema, n.Name), "%s: %s", tt.name, name)
		}
	}
	require.Equal(t, resource.TableName{Schema: "a", Name: "b.c"}, resource.ParseTableName("a.b.c"))
}

func validSet() *resource.Set {
	d := resource.NewDatabase()
	d.Name, d.Hostname, d.Database = "prod", "localhost", "app"
	d.Slot.Name, d.Publication.Name = "slot", "pub"
	k := resource.NewSink()
	k.Name, k.Database = "orders", "prod"
	k.Destination.Type = resource.DestinationWebhook
	k.Destination.Webhook.HTTPEndpoint = "hook"
	return &resource.Set{
		Account:       resource.Account{Name: "acme"},
		Databases:     []resource.Database{d},
		HTTPEndpoints: []resource.HTTPEndpoint{{Name: "hook", URL: "https://api.acme.test"}},
		Sinks:         []resource.Sink{k},
	}
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	require.Empty(t, validSet().Validate())
}

// Each bound, a step inside and a step outside.
func TestBounds(t *testing.T) {
	t.Parallel()
	sink := func(change func(*resource.Sink)) func(*resource.Set) {
		return func(s *resource.Set) { change(&s.Sinks[0]) }
	}
	database := func(change func(*resource.Database)) func(*resource.Set) {
		return func(s *resource.Set) { change(&s.Databases[0]) }
	}
	endpoint := func(url string) func(*resource.Set) {
		return func(s *resource.Set) { s.HTTPEndpoints[0].URL = url }
	}
	annotations := func(n int) func(*resource.Sink) {
		return func(k *resource.Sink) { k.Annotations = json.RawMessage(`{"a":"` + strings.Repeat("x", n-8) + `"}`) }
	}
	path := func(p string) func(*resource.Set) {
		return sink(func(k *resource.Sink) { k.Destination.Webhook.HTTPEndpointPath = p })
	}
	initSQL := func(sql string) func(*resource.Set) {
		return database(func(d *resource.Database) {
			d.Publication = resource.Publication{Name: "pub", CreateIfNotExists: true, InitSQL: sql}
		})
	}
	tests := []struct {
		name   string
		change func(*resource.Set)
		path   string // "" when valid
	}{
		{"batch 1000", sink(func(k *resource.Sink) { k.BatchSize = 1000 }), ""},
		{"batch 1001", sink(func(k *resource.Sink) { k.BatchSize = 1001 }), "sinks[0].batch_size"},
		{"batch 0", sink(func(k *resource.Sink) { k.BatchSize = 0 }), "sinks[0].batch_size"},
		{"unbatched", sink(func(k *resource.Sink) { k.Destination.Webhook.Batch = false }), ""},
		{"unbatched, many", sink(func(k *resource.Sink) { k.Destination.Webhook.Batch, k.BatchSize = false, 2 }), "sinks[0].batch_size"},
		{"ack wait 500", sink(func(k *resource.Sink) { k.AckWait = 500 * time.Millisecond }), ""},
		{"ack wait 499", sink(func(k *resource.Sink) { k.AckWait = 499 * time.Millisecond }), "sinks[0].ack_wait_ms"},
		{"annotations 8192", sink(annotations(8192)), ""},
		{"annotations 8193", sink(annotations(8193)), "sinks[0].annotations"},
		{"annotations a list", sink(func(k *resource.Sink) { k.Annotations = json.RawMessage(`[]`) }), "sinks[0].annotations"},
		{"path", path("/v1/x?a=1"), ""},
		{"path of a query", path("?a=1"), ""},
		{"path relative", path("v1"), "sinks[0].destination.http_endpoint_path"},
		{"path with a space", path("/a b"), "sinks[0].destination.http_endpoint_path"},
		{"path to another host", path("//evil.test/x"), "sinks[0].destination.http_endpoint_path"},
		{"path 2001", path("/" + strings.Repeat("x", 2000)), "sinks[0].destination.http_endpoint_path"},
		{"truncate", sink(func(k *resource.Sink) { k.Actions = []resource.Action{resource.ActionTruncate} }), ""},
		{"read", sink(func(k *resource.Sink) { k.Actions = []resource.Action{"read"} }), "sinks[0].actions[0]"},
		{"table outside its schemas", sink(func(k *resource.Sink) {
			k.Source = resource.Source{IncludeSchemas: []string{"a"}, IncludeTables: []resource.TableName{{Schema: "b", Name: "t"}}}
		}), "sinks[0].source.include_tables[0]"},
		{"columns without grouping", sink(func(k *resource.Sink) {
			k.MessageGrouping = resource.GroupByTable
			k.Tables = []resource.SinkTable{{Name: resource.ParseTableName("t"), GroupColumns: []string{"a"}}}
		}), "sinks[0].tables[0].group_column_names"},

		{"unix socket", database(func(d *resource.Database) { d.Hostname = "/run/postgresql" }), ""},
		{"pooler", database(func(d *resource.Database) { d.Hostname = "aws-0-eu.pooler.supabase.com" }), "databases[0].hostname"},
		{"URL as host", database(func(d *resource.Database) { d.Hostname = "postgres://x" }), "databases[0].hostname"},
		{"port 65536", database(func(d *resource.Database) { d.Port = 65536 }), "databases[0].port"},
		{"slot in upper case", database(func(d *resource.Database) { d.Slot.Name = "Slot" }), "databases[0].slot.name"},
		{"disk smaller than retention", database(func(d *resource.Database) { d.MaxDisk = 1 << 30 }), "databases[0].max_disk"},
		{"certificate without key", database(func(d *resource.Database) { d.SSLCert = "c.pem" }), "databases[0].sslkey"},
		{"no heartbeats", database(func(d *resource.Database) { d.HeartbeatInterval = 0 }), ""},
		{"init_sql", initSQL("\n CREATE  Publication \"pub\" for all tables"), ""},
		{"init_sql plain", initSQL("create publication pub;"), ""},
		{"init_sql of another", initSQL("create publication pub2 for all tables"), "databases[0].publication.init_sql"},
		{"init_sql something else", initSQL("drop table x"), "databases[0].publication.init_sql"},

		{"IPv6 endpoint", endpoint("http://[::1]:8080/x"), ""},
		{"user in URL", endpoint("https://u:p@h/"), "http_endpoints[0].url"},
		{"no host", endpoint("https:///x"), "http_endpoints[0].url"},
		{"port 0", endpoint("https://h:0/"), "http_endpoints[0].url"},
		{"no scheme", endpoint("api.acme.test/x"), "http_endpoints[0].url"},
		{"header with a line break", func(s *resource.Set) { s.HTTPEndpoints[0].Headers = map[string]string{"X": "a\r\nY: b"} }, "http_endpoints[0].headers.X"},

		{"two on one slot", func(s *resource.Set) {
			d := s.Databases[0]
			d.Name, d.Database = "second", "other"
			s.Databases = append(s.Databases, d)
		}, "databases[1].slot.name"},
		{"one token twice", func(s *resource.Set) {
			t := resource.APIToken{Name: "a", Token: "0123456789abcdef", Scopes: []resource.Scope{resource.ScopeAdmin}}
			u := t
			u.Name = "b"
			s.APITokens = []resource.APIToken{t, u}
		}, "api_tokens[1].token"},
		{"token without scopes", func(s *resource.Set) { s.APITokens = []resource.APIToken{{Name: "a", Token: "0123456789abcdef"}} }, "api_tokens[0].scopes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := validSet()
			tt.change(s)
			mistakes := s.Validate()
			if tt.path == "" {
				require.Empty(t, mistakes)
				return
			}
			require.Len(t, mistakes, 1, "%+v", mistakes)
			require.Equal(t, tt.path, mistakes[0].Path)
			require.NotEmpty(t, mistakes[0].Code)
		})
	}
}

func TestInvalidErrorIsOneProblemAndMany(t *testing.T) {
	t.Parallel()
	s := validSet()
	s.Sinks[0].BatchSize = 0
	s.Sinks[0].Database = "nothing"
	mistakes := s.Validate()
	require.Len(t, mistakes, 2)
	mistakes[0].File, mistakes[0].Line, mistakes[0].Column = "sequin.yaml", 7, 3
	err := &resource.InvalidError{Mistakes: mistakes}
	p, ok := problem.As(fmt.Errorf("start: %w", err))
	require.True(t, ok)
	require.Equal(t, "validation_failed", p.Code)
	require.Equal(t, "the declaration has 2 mistakes", p.Message)
	require.Equal(t, map[string][]string{
		"sinks[0].batch_size": {"is 0; it must be between 1 and 1000"},
		"sinks[0].database":   {`is "nothing", but there is no such database; declared: prod`},
	}, p.Fields)
	require.Equal(t, "sequin.yaml:7:3: sinks[0].batch_size is 0; it must be between 1 and 1000\n"+
		`sinks[0].database is "nothing", but there is no such database; declared: prod`, err.Error())
	all := err.Problems()
	require.Len(t, all, 2)
	require.Equal(t, "at sequin.yaml:7:3", all[0].Detail)
}

func TestMatchName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"orders", "orders", true},
		{"orders", "orders_1", false},
		{"Orders", "orders", false},
		{"", "", true},
		{"*", "", true},
		{"*", "anything", true},
		{"order_*", "order_1", true},
		{"order_*", "order_", true},
		{"order_*", "orders", false},
		{"*_log", "a_log", true},
		{"*_log", "a_logs", false},
		{"a*b*c", "abc", true},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "acb", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"**", "x", true},
		{"*ab*ab", "abab", true},
		{"*ab*ab", "ab", false},
		{"a?c", "abc", false},
	} {
		require.Equal(t, c.want, resource.MatchName(c.pattern, c.name), "%s %s", c.pattern, c.name)
	}
	s := resource.Source{IncludeTables: []resource.TableName{{Schema: "tenant_*", Name: "orders"}}, ExcludeSchemas: []string{"*_old"}}
	require.True(t, s.Selects("tenant_1", "orders"))
	require.False(t, s.Selects("tenant_1", "orders_2"))
	require.False(t, s.Selects("tenant_old", "orders"))
	require.False(t, s.Selects("public", "orders"))
}
