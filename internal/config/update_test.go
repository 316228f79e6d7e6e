package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

func storedSink() resource.Sink {
	s := resource.NewSink()
	s.ID, s.Name, s.Database = "0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11", "orders", "prod"
	s.Source.IncludeTables = []resource.TableName{{Schema: "public", Name: "orders"}}
	s.Tables = []resource.SinkTable{{Name: s.Source.IncludeTables[0], GroupColumns: []string{"a"}}}
	s.Destination = resource.Destination{Type: resource.DestinationWebhook, Webhook: resource.Webhook{HTTPEndpoint: "hook", HTTPEndpointPath: "/v1", Batch: true}}
	s.BatchSize, s.MaxRetryCount, s.AckWait = 50, 7, time.Minute
	s.Annotations = []byte(`{"a":1}`)
	return s
}

func TestUpdateSink(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		body   string
		change func(*resource.Sink)
		warns  string
	}{
		{"nothing", `{}`, func(*resource.Sink) {}, ""},
		{"a name", `{"name":"other"}`, func(s *resource.Sink) { s.Name = "other" }, ""},
		{"another database", `{"database":"elsewhere"}`, func(*resource.Sink) {}, "stays with its database"},
		{"a source without the database", `{"source":{"exclude_schemas":["audit"]}}`, func(s *resource.Sink) { s.Source = resource.Source{ExcludeSchemas: []string{"audit"}} }, ""},
		{"null for source, tables and destination", `{"source":null,"tables":null,"destination":null}`, func(*resource.Sink) {}, ""},
		{"everything again", `{"source":{}}`, func(s *resource.Sink) { s.Source = resource.Source{} }, ""},
		{"the old key for a table", `{"table":"x.y.z"}`, func(s *resource.Sink) {
			s.Source = resource.Source{IncludeTables: []resource.TableName{{Schema: "x", Name: "y.z"}}}
		}, ""},
		{"no tables", `{"tables":[]}`, func(s *resource.Sink) { s.Tables = nil }, ""},
		{"null asks for the default", `{"status":null,"batch_size":null,"max_retry_count":null,"ack_wait_ms":null,"annotations":null,"timestamp_format":null}`, func(s *resource.Sink) {
			s.BatchSize, s.MaxRetryCount, s.AckWait, s.Annotations = 1, 0, 30*time.Second, nil
		}, ""},
		{"part of the destination", `{"destination":{"http_endpoint_path":null}}`, func(s *resource.Sink) { s.Destination.Webhook.HTTPEndpointPath = "" }, ""},
		{"the same type", `{"destination":{"type":"webhook","http_endpoint":"second"}}`, func(s *resource.Sink) { s.Destination.Webhook.HTTPEndpoint = "second" }, ""},
		{"another type", `{"destination":{"type":"sequin_stream"}}`, func(s *resource.Sink) {
			s.Destination = resource.Destination{Type: resource.DestinationStream, Webhook: resource.Webhook{Batch: true}}
		}, ""},
		{"texts that are cast", `{"ack_wait_ms":"5000","message_grouping":"false","tables":[]}`, func(s *resource.Sink) {
			s.AckWait, s.MessageGrouping, s.Tables = 5*time.Second, resource.GroupNone, nil
		}, ""},
		{"whatever a client sends back", `{"id":"x","inserted_at":"x","updated_at":1,"account_id":null,"replication_slot_id":"x","sequence_id":"x","health":{"status":"healthy"}}`, func(*resource.Sink) {}, ""},
		{"old keys", `{"active_backfills":[],"message_kind":"event"}`, func(*resource.Sink) {}, "has no effect"},
		{"functions that are off", `{"filter":"none","transform":null,"routing":"none","enrichment":"null","initial_backfill":false}`, func(*resource.Sink) {}, ""},
		{"max_deliver", `{"max_deliver":3}`, func(s *resource.Sink) { s.MaxRetryCount = 3 }, ""},
		{"emoji as Python writes it", `{"annotations":{"x":"\ud83d\ude00","n":12345678901234567890,"f":1.50}}`, func(s *resource.Sink) {
			s.Annotations = []byte(`{"x":"😀","n":12345678901234567890,"f":1.50}`)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, want := storedSink(), storedSink()
			tt.change(&want)
			warnings, err := config.UpdateSink(&got, []byte(tt.body), config.BodyOptions{})
			require.NoError(t, err)
			same(t, want, got, tt.body)
			if tt.warns == "" {
				require.Empty(t, warnings)
				return
			}
			require.Contains(t, warnings[0].String(), tt.warns)
		})
	}
}

// mistakes gives path and code of each mistake, in the order of the body.
func mistakes(t *testing.T, err error) string {
	t.Helper()
	var invalid *resource.InvalidError
	require.ErrorAs(t, err, &invalid)
	var all []string
	for _, m := range invalid.Mistakes {
		require.NotZero(t, m.Line)
		require.NotEmpty(t, m.What)
		all = append(all, m.Path+" "+m.Code)
	}
	return strings.Join(all, ", ")
}

func TestUpdateSinkMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, want string }{
		{"no object", `[]`, " invalid_value"},
		{"no JSON", `{"a":`, " malformed_json"},
		{"half a character", `{"name":"\ud83d"}`, "name malformed_json"},
		{"a key twice", `{"name":"a","name":"b"}`, "name duplicate_name"},
		{"unknown", `{"nmae":"x"}`, "nmae unknown_key"},
		{"unknown below", `{"source":{"include":[]},"destination":{"type":"webhook","url":"x"}}`, "source.include unknown_key, destination.url unknown_key"},
		{"a number for a text", `{"name":7}`, "name invalid_value"},
		{"a text for a size of batches", `{"batch_size":"10"}`, "batch_size invalid_value"},
		{"a text for the retries", `{"max_retry_count":"3"}`, "max_retry_count invalid_value"},
		{"half a message", `{"batch_size":1.5}`, "batch_size invalid_value"},
		{"no attempts", `{"max_retry_count":0}`, "max_retry_count invalid_value"},
		{"one by one", `{"destination":{"batch":false}}`, "batch_size conflicting_keys"},
		{"a status", `{"status":"sleeping"}`, "status invalid_value"},
		{"no name", `{"name":null}`, "name missing_value"},
		{"an empty function", `{"filter":""}`, "filter invalid_value"},
		{"a function that is a number", `{"filter":1}`, "filter invalid_value"},
		{"a condition that is none", `{"where":"id >"}`, "where invalid_value"},
		{"a blank condition", `{"where":" "}`, "where invalid_value"},
		{"a table's condition that is none", `{"tables":[{"name":"t","where":"select 1; drop"}]}`, "tables[0].where invalid_value"},
		{"a route to nowhere", `{"route":[{"where":"id = 1"}]}`, "route[0].to missing_value"},
		{"a route that hides another", `{"route":[{"to":{"a":1}},{"to":{"a":1}}]}`, "route[0].where missing_value"},
		{"a route that is a text", `{"route":[{"to":"/x"}]}`, "route[0].to invalid_value"},
		{"a route and a function", `{"route":[{"to":{"a":1}}],"routing":"r"}`, "route conflicting_keys"},
		{"an enrichment of every table", `{"source":{},"enrichment":"e"}`, "enrichment conflicting_keys"},
		{"a part of a table", `{"initial_backfill":[{"table":"t","type":"partial"}]}`, "initial_backfill[0].sort_column missing_value, initial_backfill[0].start_position missing_value"},
		{"another sink", `{"destination":{"type":"kafka","hosts":"h:1"}}`, "destination.type not_in_this_version"},
		{"groups without grouping", `{"message_grouping":false}`, "tables[0].group_column_names conflicting_keys"},
		{"both forms", `{"source":{},"table":"x"}`, "table conflicting_keys"},
		{"too deep", `{"annotations":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "annotations invalid_value, annotations" + strings.Repeat("[0]", 64) + " malformed_json"},
		{"too much", `{"annotations":{"x":[` + strings.Repeat("0,", 200_000) + `0]}}`, " malformed_json"},
		{"a number beyond all", `{"annotations":{"x":1e999}}`, "annotations invalid_value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := storedSink()
			_, err := config.UpdateSink(&got, []byte(tt.body), config.BodyOptions{})
			require.Equal(t, tt.want, mistakes(t, err))
			same(t, storedSink(), got, "a mistake changes nothing")
		})
	}
}

func TestCreateNeedsWhatItNeeds(t *testing.T) {
	t.Parallel()
	create := config.BodyOptions{Create: true, IgnoreUnknown: true}
	_, err := config.UpdateSink(new(resource.Sink), []byte(`{}`), create)
	require.Equal(t, "name missing_value, database missing_value, destination.type missing_value", mistakes(t, err))
	_, err = config.UpdateDatabase(new(resource.Database), []byte(`{}`), create)
	require.Equal(t, "name missing_value, hostname missing_value, database missing_value, username missing_value, slot.name missing_value, publication.name missing_value", mistakes(t, err))
	_, err = config.UpdateEndpoint(new(resource.HTTPEndpoint), []byte(`{}`), create)
	require.Equal(t, "name missing_value, url missing_value", mistakes(t, err))
	_, err = config.UpdateFunction(new(resource.Function), []byte(`{}`), create)
	require.Equal(t, "name missing_value, type missing_value", mistakes(t, err))
	_, err = config.UpdateChangeRetention(new(resource.ChangeRetention), []byte(`{}`), create)
	require.Contains(t, mistakes(t, err), "destination_table_name missing_value")
}

func storedDatabase() resource.Database {
	d := resource.NewDatabase()
	d.ID, d.Name, d.Hostname, d.Port, d.Database = "6a1d1c0e-3c5c-4c56-8d6f-2f2a8a0f6c11", "prod", "db.internal", 6543, "app"
	d.Password = "hunter2-hunter2"
	d.Slot.Name, d.Publication.Name = "slot", "pub"
	return d
}

func TestUpdateDatabase(t *testing.T) {
	t.Parallel()
	id := storedDatabase()
	tests := []struct {
		name   string
		body   string
		change func(*resource.Database)
	}{
		{"without the port", `{"hostname":"h"}`, func(d *resource.Database) { d.Hostname = "h" }},
		{"the usual port", `{"port":null}`, func(d *resource.Database) { d.Port = 5432 }},
		{"a port as text", `{"port":"7000"}`, func(d *resource.Database) { d.Port = 7000 }},
		{"the password as it was shown", `{"password":"hun***********2"}`, func(*resource.Database) {}},
		{"another password", `{"password":"s***t"}`, func(d *resource.Database) { d.Password = "s***t" }},
		{"no password", `{"password":null}`, func(d *resource.Database) { d.Password = "" }},
		{"TLS", `{"ssl":true}`, func(d *resource.Database) { d.SSLMode = resource.SSLRequire }},
		{"TLS as it was shown", `{"ssl":false}`, func(*resource.Database) {}},
		{"TLS by its mode", `{"ssl":true,"sslmode":"verify-full"}`, func(d *resource.Database) { d.SSLMode = resource.SSLVerifyFull }},
		{"a URL", `{"url":"postgres://u:p%24@h:1/d"}`, func(d *resource.Database) {
			d.Hostname, d.Port, d.Database, d.Username, d.Password = "h", 1, "d", "u", "p$"
		}},
		{"a URL without a port", `{"url":"postgres://u:p@h/d"}`, func(d *resource.Database) {
			d.Hostname, d.Port, d.Database, d.Username, d.Password = "h", 5432, "d", "u", "p"
		}},
		{"no slots", `{"replication_slots":[]}`, func(*resource.Database) {}},
		{"the slot's id", `{"replication_slots":[{"id":"` + id.SlotID() + `","slot_name":"other","status":"active"}]}`, func(d *resource.Database) { d.Slot.Name = "other" }},
		{"keys of nobody", `{"pool":1,"primary":null}`, func(*resource.Database) {}},
		{"no limits", `{"retention":null,"max_disk":null,"heartbeat_interval":"0s"}`, func(d *resource.Database) { d.HeartbeatInterval = 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, want := storedDatabase(), storedDatabase()
			tt.change(&want)
			_, err := config.UpdateDatabase(&got, []byte(tt.body), config.BodyOptions{IgnoreUnknown: true})
			require.NoError(t, err)
			same(t, want, got, tt.body)
		})
	}
}

func TestUpdateDatabaseMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, want string }{
		{"two slots", `{"replication_slots":[{},{}]}`, "replication_slots invalid_value"},
		{"a slot without id", `{"replication_slots":[{"slot_name":"x"}]}`, "replication_slots.id missing_value"},
		{"a slot of another database", `{"replication_slots":[{"id":"0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11"}]}`, "replication_slots.id invalid_value"},
		{"a file of the server", `{"password_file":"/etc/shadow"}`, "password_file local_only"},
		{"a program of the server", `{"password_command":["/bin/sh"]}`, "password_command local_only"},
		{"a secret in a file", `{"password":{"file":"/etc/shadow"}}`, "password.file local_only"},
		{"a URL in a file", `{"url":{"file":"/etc/shadow"}}`, "url.file local_only"},
		{"a URL and a host", `{"url":"postgres://u:p@h/d","hostname":"x"}`, "hostname conflicting_keys"},
		{"a replica", `{"primary":{"hostname":"h"}}`, "primary not_in_this_version"},
		{"a key of nobody in a section", `{"retention":{"max_aeg":"1h"}}`, "retention.max_aeg unknown_key"},
		{"a pooler", `{"hostname":"aws.pooler.supabase.com"}`, "hostname invalid_value"},
		{"bytes in a URL", `{"url":"postgres://u:%FF@h/d"}`, "password invalid_value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := storedDatabase()
			_, err := config.UpdateDatabase(&got, []byte(tt.body), config.BodyOptions{IgnoreUnknown: true})
			require.Equal(t, tt.want, mistakes(t, err))
			require.NotContains(t, err.Error(), "root")
		})
	}
	d := storedDatabase()
	d.PasswordFile = "/run/secrets/pg"
	_, err := config.UpdateDatabase(&d, []byte(`{"password_file":"/run/secrets/pg"}`), config.BodyOptions{})
	require.NoError(t, err, "what is unchanged may be sent back")
	warnings, err := config.UpdateDatabase(&d, []byte(`{"password":"new"}`), config.BodyOptions{})
	require.NoError(t, err)
	require.Contains(t, warnings[0].String(), "is not used")
	_, err = config.UpdateDatabase(&d, []byte(`{"password_file":null}`), config.BodyOptions{})
	require.NoError(t, err)
	require.Empty(t, d.PasswordFile)
	_, err = config.UpdateDatabase(&d, []byte(`{"password_command":["/bin/pw"]}`), config.BodyOptions{Local: true})
	require.NoError(t, err)
	require.Equal(t, []string{"/bin/pw"}, d.PasswordCommand)
}

func TestCreateDatabaseBySlotList(t *testing.T) {
	t.Parallel()
	const rest = `"name":"d","hostname":"h","database":"d","username":"u","password":"p"`
	create := func(body string) (resource.Database, error) {
		d := resource.Database{Meta: resource.Meta{ID: "kept"}}
		_, err := config.UpdateDatabase(&d, []byte(body), config.BodyOptions{Create: true, IgnoreUnknown: true})
		return d, err
	}
	d, err := create(`{` + rest + `,"replication_slots":[{"slot_name":"s","publication_name":"p","status":"disabled"}]}`)
	require.NoError(t, err)
	require.Equal(t, "s", d.Slot.Name)
	require.Equal(t, "p", d.Publication.Name)
	require.Equal(t, "kept", d.ID)
	require.Equal(t, resource.SSLPrefer, d.SSLMode)
	_, err = create(`{` + rest + `,"replication_slots":[{"publication_name":"p"}]}`)
	require.Equal(t, "replication_slots.slot_name missing_value", mistakes(t, err))
	_, err = create(`{` + rest + `,"replication_slots":[]}`)
	require.Equal(t, "replication_slots invalid_value", mistakes(t, err))
	_, err = create(`{` + rest + `,"slot":{"name":"x"},"replication_slots":[{"slot_name":"s","publication_name":"p"}]}`)
	require.Equal(t, "slot.name conflicting_keys", mistakes(t, err))
	d, err = create(`{` + rest + `,"slot":{"name":"s","create_if_not_exists":true},"publication":{"name":"p"}}`)
	require.NoError(t, err)
	require.True(t, d.Slot.CreateIfNotExists)
}

func TestUpdateEndpoint(t *testing.T) {
	t.Parallel()
	const first, second = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	base := func() resource.HTTPEndpoint {
		return resource.HTTPEndpoint{
			Name: "hook", URL: "https://h/x", Headers: map[string]string{"A": "b"},
			EncryptedHeaders: map[string]resource.Secret{"Authorization": "Bearer hunter2"}, SigningSecrets: []resource.Secret{first, second},
		}
	}
	shown := resource.Mask(first)
	tests := []struct {
		name, body string
		change     func(*resource.HTTPEndpoint)
	}{
		{"headers take the place of headers", `{"headers":[{"key":"C","value":"d"}]}`, func(e *resource.HTTPEndpoint) { e.Headers = map[string]string{"C": "d"} }},
		{"no headers", `{"headers":null,"encrypted_headers":null}`, func(e *resource.HTTPEndpoint) {
			e.Headers, e.EncryptedHeaders = map[string]string{}, map[string]resource.Secret{}
		}},
		{"one as it was shown", `{"encrypted_headers":{"Authorization":"Bea**********2","X":"new"}}`, func(e *resource.HTTPEndpoint) { e.EncryptedHeaders["X"] = "new" }},
		{"the form of old exports", `{"encrypted_headers":"(1 encrypted header(s)) - sha256sum: 3f"}`, func(*resource.HTTPEndpoint) {}},
		{"both keys as they were shown", `{"signing_secrets":["` + shown + `","` + shown + `"]}`, func(*resource.HTTPEndpoint) {}},
		{"no keys", `{"signing_secrets":null}`, func(e *resource.HTTPEndpoint) { e.SigningSecrets = nil }},
		{"the port that goes without saying", `{"url":"http://h:80/y"}`, func(e *resource.HTTPEndpoint) { e.URL = "http://h/y" }},
		{"what is not local", `{"local":false,"path":null}`, func(*resource.HTTPEndpoint) {}},
	}
	for _, tt := range tests {
		got, want := base(), base()
		tt.change(&want)
		_, err := config.UpdateEndpoint(&got, []byte(tt.body), config.BodyOptions{})
		require.NoError(t, err, tt.name)
		same(t, want, got, tt.name)
	}
	for body, want := range map[string]string{
		`{"local":true}`:                          "url no_longer_offered",
		`{"webhook.site":"true"}`:                 "url no_longer_offered",
		`{"path":"/x"}`:                           "path no_longer_offered",
		`{"headers":"x"}`:                         "headers invalid_value",
		`{"headers":[{"key":"a"}]}`:               "headers[0] missing_value",
		`{"encrypted_headers":{"A":{"b":1}}}`:     "encrypted_headers.A invalid_value",
		`{"signing_secrets":["` + shown + `"]}`:   "signing_secrets[0] invalid_value",
		`{"signing_secrets":[{"file":"/x"}]}`:     "signing_secrets[0].file local_only",
		`{"url":"https://user:hunter2@host/"}`:    "url invalid_value",
		`{"encrypted_headers":{"A":"a\nhunter"}}`: "encrypted_headers.A invalid_value",
	} {
		e := base()
		_, err := config.UpdateEndpoint(&e, []byte(body), config.BodyOptions{})
		require.Equal(t, want, mistakes(t, err), body)
		require.NotContains(t, err.Error(), "hunter")
	}
}

func TestUpdateFunction(t *testing.T) {
	t.Parallel()
	base := resource.Function{Name: "f", Type: resource.FunctionRouting, Language: resource.LanguageElixir, SinkType: "webhook", Code: "def route(a) do end"}
	f := base
	_, err := config.UpdateFunction(&f, []byte(`{"type":"path","path":"record.id","code":null,"sink_type":null,"language":null}`), config.BodyOptions{})
	require.NoError(t, err)
	require.Equal(t, resource.Function{Name: "f", Type: resource.FunctionPath, Path: "record.id"}, f)
	f = base
	_, err = config.UpdateFunction(&f, []byte(`{"type":"path","path":"record.id"}`), config.BodyOptions{})
	require.NoError(t, err, "what belongs to the old type goes with it")
	require.Empty(t, f.Code)
	_, err = config.UpdateFunction(&f, []byte(`{"type":"transform"}`), config.BodyOptions{})
	require.Equal(t, "code missing_value", mistakes(t, err))
	f = base
	_, err = config.UpdateFunction(&f, []byte(`{"file":"x.ex"}`), config.BodyOptions{})
	require.Equal(t, "file local_only", mistakes(t, err))
}
