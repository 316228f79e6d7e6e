package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

// The examples of the original's reference, and what becomes of each. A mistake here is a decision: what cannot be done is refused and never
// passed over in silence.
func TestExamplesOfTheOriginal(t *testing.T) {
	t.Parallel()
	const database = "\ndatabases: [{name: prod, hostname: h, database: d, slot_name: s, publication_name: p}]"
	const sink = database + "\nhttp_endpoints: [{name: hook, url: \"http://h/\"}]\nsinks:\n  - name: s\n    database: prod\n    destination: {type: webhook, http_endpoint: hook}\n    "
	tests := []struct {
		name, doc string
		want      string // mistakes; "" when there are none
		check     func(*testing.T, *resource.Set)
	}{
		{"account, users and tokens", `
account: {name: acme}                 # required on boot
users:
  - {email: ops@acme.test, password: at-least-8}   # 8..72 chars; found by email, never updated
api_tokens:                           # self-hosted only
  - {name: ci, token: s3cret}`, "", func(t *testing.T, s *resource.Set) {
			t.Helper()
			require.Equal(t, "acme", s.Account.Name)
			require.Equal(t, resource.RoleOwner, s.Users[0].Role)
			require.Equal(t, "s3cret", s.APITokens[0].Token.Reveal())
		}},
		{"endpoints", `
http_endpoints:
  - name: hook
    url: https://api.acme.test/hook?x=1
    headers: [{key: X-A, value: b}]            # or a map
    encrypted_headers: {Authorization: "Bearer t"}`, "", func(t *testing.T, s *resource.Set) {
			t.Helper()
			require.Equal(t, "b", s.HTTPEndpoints[0].Headers["X-A"])
		}},
		{"a tunnel", `
http_endpoints:
  - {name: dev, local: "true", path: /hook}    # CLI tunnel (cloud)`, "http_endpoints[0].url no_longer_offered", nil},
		{"a site of others", `
http_endpoints:
  - {name: site, webhook.site: "true"}`, "http_endpoints[0].url no_longer_offered", nil},
		{"functions", `
functions:                                     # old name: transforms (both → error)
  - {name: only-record, type: path, path: record.id}
  - name: shape
    type: transform                            # "function" is accepted as an old alias
    code: |-
      def transform(action, record, changes, metadata) do %{id: record["id"]} end
  - {name: vip, type: filter, code: "def filter(action, record, changes, metadata) do true end"}
  - {name: route, type: routing, sink_type: webhook, code: "def route(action, record, changes, metadata) do %{method: \"POST\"} end"}
  - {name: enrich, type: enrichment, code: "SELECT id, x FROM t WHERE id = ANY($1)"}`, "", func(t *testing.T, s *resource.Set) {
			t.Helper()
			require.Len(t, s.Functions, 5)
			require.Equal(t, resource.LanguageElixir, s.Functions[1].Language)
			require.Equal(t, resource.LanguageSQL, s.Functions[4].Language)
		}},
		{"change retentions", database + `
change_retentions:
  - name: audit
    status: active                             # or disabled
    source_database: prod
    source_table_schema: public
    source_table_name: users
    destination_database: prod
    destination_table_schema: audit
    destination_table_name: user_events
    actions: [insert, update, delete]          # default all
    filters:
      - {column_name: status, operator: "=", comparison_value: active}
      - {column_name: meta, field_path: type.name, field_type: string, operator: "=", comparison_value: premium}`, "", func(t *testing.T, s *resource.Set) {
			t.Helper()
			require.Equal(t, "type.name", s.ChangeRetentions[0].Filters[1].FieldPath)
		}},
		{"a backfill of everything", sink + "initial_backfill: true            # every table of the source; false/absent: none", "", func(t *testing.T, s *resource.Set) {
			t.Helper()
			require.Equal(t, resource.InitialBackfill{All: true}, s.Sinks[0].InitialBackfill)
		}},
		{"a backfill of tables", sink + `initial_backfill:
      - table: public.users           # type: full (default)
      - table: public.orders
        type: partial
        sort_column: updated_at       # both required for partial
        start_position: "2025-01-01T00:00:00Z"`, "", func(t *testing.T, s *resource.Set) {
			t.Helper()
			require.Equal(t, resource.InitialBackfill{Tables: []resource.InitialTable{
				{Table: resource.TableName{Schema: "public", Name: "users"}},
				{Table: resource.TableName{Schema: "public", Name: "orders"}, SortColumn: "updated_at", Start: "2025-01-01T00:00:00Z"},
			}}, s.Sinks[0].InitialBackfill)
		}},
		{"no backfill", sink + "initial_backfill: false", "", func(t *testing.T, s *resource.Set) { t.Helper(); require.Len(t, s.Sinks, 1) }},
		{"a port of a variable", `
databases: [{name: prod, hostname: h, database: d, port: "${P:-5432}", slot: {name: s}, publication: {name: p, create_if_not_exists: true}}]`, "", func(t *testing.T, s *resource.Set) {
			t.Helper()
			require.Equal(t, 5432, s.Databases[0].Port)
			require.Equal(t, "postgres", s.Databases[0].Password.Reveal())
		}},
		{"a database by all keys", `
databases:
  - {name: prod, url: "postgres://u:p@h:5433/d", pool_size: 10, queue_interval: 1000, queue_target: 50, ssl: true, ipv6: false, use_local_tunnel: false, annotations: {},
     slot: {name: s, create_if_not_exists: false}, publication: {name: p, create_if_not_exists: true, init_sql: create publication p for all tables},
     await_database: {timeout_ms: 30000, interval_ms: 3000}, tables: []}`, "", func(t *testing.T, s *resource.Set) {
			t.Helper()
			require.Equal(t, resource.SSLRequire, s.Databases[0].SSLMode)
		}},
		{
			"a replica", `
databases: [{name: prod, hostname: h, database: d, slot_name: s, publication_name: p, primary: {hostname: h, port: 5432, database: d, username: u, password: p}}]`,
			"databases[0].primary not_in_this_version", nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, _, err := config.Parse("sequin.yaml", []byte(tt.doc), func(string) (string, bool) { return "", false })
			if tt.want != "" {
				require.Equal(t, tt.want, mistakes(t, err))
				return
			}
			require.NoError(t, err)
			tt.check(t, set)
		})
	}
}

// The sink of the original's API reference, as its clients read and send it.
func TestSinkObjectOfTheOriginal(t *testing.T) {
	t.Parallel()
	s := resource.NewSink()
	s.ID, s.Name, s.Database = "0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11", "orders-pull", "prod"
	s.Source.IncludeTables = []resource.TableName{{Schema: "public", Name: "orders"}}
	s.Tables = []resource.SinkTable{{Name: s.Source.IncludeTables[0], GroupColumns: []string{"account_id"}}}
	s.Destination = resource.Destination{Type: resource.DestinationWebhook, Webhook: resource.Webhook{HTTPEndpoint: "hook", Batch: true}}
	form := config.AppendKey(config.FormSink(&s, config.FormOptions{API: true}), "active_backfills", []byte("[]"))
	require.Equal(t, `{"id":"0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11","name":"orders-pull","database":"prod","status":"active","actions":["insert","update","delete"],`+
		`"source":{"include_schemas":null,"exclude_schemas":null,"include_tables":["public.orders"],"exclude_tables":null},`+
		`"tables":[{"name":"public.orders","group_column_names":["account_id"]}],`+
		`"destination":{"type":"webhook","http_endpoint":"hook","http_endpoint_path":null,"batch":true},`+
		`"filter":"none","transform":"none","routing":"none","enrichment":"none","batch_size":1,"timestamp_format":"iso8601","message_grouping":true,`+
		`"max_retry_count":null,"load_shedding_policy":"pause_on_full","annotations":{},`+
		`"batch_timeout_ms":5,"ack_wait_ms":30000,"max_ack_pending":10000,"max_waiting":20,"concurrency":null,"ack_commit":"window","start":"now",`+
		`"legacy_transform":"none","compatibility":{"unchanged_toast":"omit"},"active_backfills":[]}`, string(form))
	require.Equal(t, `{"name":"orders-pull","database":"prod","status":"active","actions":["insert","update","delete"],"source":{"include_tables":["public.orders"]},`+
		`"tables":[{"name":"public.orders","group_column_names":["account_id"]}],"destination":{"type":"webhook","http_endpoint":"hook","http_endpoint_path":null,"batch":true},`+
		`"filter":"none","transform":"none","routing":"none","enrichment":"none","batch_size":1,"timestamp_format":"iso8601","message_grouping":true,`+
		`"max_retry_count":null,"load_shedding_policy":"pause_on_full","annotations":{}}`, string(config.FormSink(&s, config.FormOptions{})))
}

func TestOtherObjectsOfTheOriginal(t *testing.T) {
	t.Parallel()
	d := storedDatabase()
	d.SSLMode = resource.SSLRequire
	require.Equal(t, `{"name":"prod","username":"postgres","password":"hun***********2","hostname":"db.internal","database":"app","slot":{"name":"slot"},`+
		`"publication":{"name":"pub"},"port":6543,"pool_size":10,"ssl":true,"ipv6":false,"use_local_tunnel":false}`, string(config.FormDatabase(&d, config.FormOptions{})))
	require.Contains(t, string(config.FormDatabase(&d, config.FormOptions{ID: true})), `{"id":"`+d.ID+`","name"`)
	require.Contains(t, string(config.FormDatabase(&d, config.FormOptions{API: true})),
		`"username":"postgres","password":"hun***********2","ssl":true,"ipv6":false,"use_local_tunnel":false,"pool_size":10,"queue_interval":1000,"queue_target":50,`+
			`"replication_slots":[{"id":"`+d.SlotID()+`","publication_name":"pub","slot_name":"slot","status":"active"}],`)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, d.SlotID())

	e := resource.HTTPEndpoint{Meta: resource.Meta{ID: "x"}, Name: "hook", URL: "https://h:443/x", EncryptedHeaders: map[string]resource.Secret{"X-Secret": "sec1ret"}}
	require.Equal(t, `{"id":"x","name":"hook","url":"https://h/x","headers":{},"encrypted_headers":{"X-Secret":"s*****t"},"signing_secrets":[]}`,
		string(config.FormEndpoint(&e, config.FormOptions{API: true})))
	require.Equal(t, `{"a":1}`, string(config.AppendKey([]byte(`{}`), "a", []byte("1"))))
}
