package contract_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// legacy are the keys of a database as clients of 2024 send it.
func (r *rig) legacy(name string, more object) object {
	o := r.database(name, "", "", false)
	delete(o, "slot")
	delete(o, "publication")
	maps.Copy(o, object{"ssl": false, "ipv6": false, "pool_size": 3, "queue_interval": 1000, "queue_target": 50})
	maps.Copy(o, more)
	return o
}

// exists counts slots or publications of a name.
func (r *rig) exists(kind, name string) bool {
	r.t.Helper()
	query := map[string]string{
		"slot": "select count(*) > 0 from pg_replication_slots where slot_name = $1", "publication": "select count(*) > 0 from pg_publication where pubname = $1",
	}[kind]
	return pgtest.Value[bool](r.t, r.db, query, name)
}

// The way of 2024: declare a database, set up its slot and its publication, receive.
func legacyRoutes(r *rig) {
	t := r.t.(*testing.T)
	slot, publication := r.db.Slot(t), r.db.Publication(t)
	r.db.Exec(t, `create table nokey (v int); insert into nokey values (1); create table "Odd Name" (id int primary key); create schema empty`)
	fields := r.legacy("d-2024", nil)
	secret := fields["password"].(string)
	probe := r.legacy("", nil)
	delete(probe, "name")
	r.admin("POST", "/api/databases/test_connection", probe).require(200).equalJSON(`{"success":true}`)

	made := r.admin("POST", "/api/databases", fields).require(200)
	id := made.text("id")
	require.Contains(t, encode(made.at("warnings")), "sequin_slot", "it says what is missing")
	shown := r.admin("GET", "/api/databases/d-2024", nil).require(200)
	require.Equal(t, []string{
		"database", "hostname", "id", "ipv6", "name", "password", "pool_size", "port", "queue_interval", "queue_target", "ssl", "username",
	}, slices.Sorted(maps.Keys(shown.object())))
	for _, key := range []string{"name", "hostname", "database", "username", "ssl", "ipv6"} {
		require.Equal(t, fields[key], shown.at(key), key)
	}
	require.NotContains(t, string(made.body)+string(shown.body), secret)
	require.Equal(t, secret, r.admin("GET", "/api/databases/"+id+"?show_sensitive=true", nil).text("password"))
	require.Contains(t, string(r.admin("GET", "/api/databases?show_sensitive=true", nil).body), secret)
	require.NotContains(t, string(r.admin("GET", "/api/databases", nil).body), secret)
	for _, who := range []string{readToken, r.signIn("viewer@example.com"), r.signIn("editor@example.com")} {
		r.as(who, "GET", "/api/databases/d-2024?show_sensitive=true", nil).require(403)
	}
	require.Equal(t, "sequin_slot", r.admin("GET", "/api/postgres_databases/d-2024", nil).text("slot.name"))

	r.admin("POST", "/api/databases/d-2024/test_connection", nil).require(200).equalJSON(`{"success":true}`)
	require.Contains(t, r.admin("GET", "/api/databases/d-2024/schemas", nil).require(200).at("schemas"), "empty")
	r.admin("GET", "/api/databases/d-2024/schemas/public/tables", nil).require(200).equalJSON(`{"tables":["Odd Name","nokey","t"]}`)
	for _, schema := range []string{"nowhere", "%00", "a%2Fb", "%27%3B%20drop%20table%20t%3B%20--", "pg_catalog", "%ff"} {
		r.admin("GET", "/api/databases/d-2024/schemas/"+schema+"/tables", nil).require(200).equalJSON(`{"tables":[]}`)
	}

	// A table whose UPDATE would fail from then on is left out, and the reply says what mends that.
	done := r.admin("POST", "/api/databases/d-2024/setup_replication", object{
		"slot_name": slot, "publication_name": publication, "tables": [][]string{{"public", "t"}, {"public", "nokey"}, {"public", "Odd Name"}, {"public", "t"}},
	}).require(200)
	require.Equal(t, []any{"publication", "slot"}, done.at("created"))
	require.ElementsMatch(t, []any{[]any{"public", "t"}, []any{"public", "Odd Name"}}, done.at("tables"))
	require.Len(t, done.at("left_out"), 1)
	require.Equal(t, []any{"public", "nokey"}, done.at("left_out.0.table"))
	require.Equal(t, "no_primary_key", done.at("left_out.0.reason"))
	r.db.Exec(t, "update nokey set v = 2")
	r.db.Exec(t, done.text("left_out.0.repair"))
	r.db.Exec(t, "update nokey set v = 3")
	declared := r.admin("GET", "/api/postgres_databases/d-2024", nil)
	require.Equal(t, slot, declared.text("slot.name"))
	require.Equal(t, publication, declared.text("publication.name"))
	require.Contains(t, string(r.admin("GET", "/api/audit", nil).body), "created: publication, slot")

	again := r.admin("POST", "/api/databases/d-2024/setup_replication", object{"tables": []any{[]any{"public", "nokey"}, "t"}}).require(200)
	require.Empty(t, again.at("created"))
	require.Empty(t, again.at("left_out"), "the repair has mended it")
	require.Len(t, again.at("tables"), 2)

	r.admin("POST", "/api/sinks", object{"name": "of-2024", "database": "d-2024", "source": object{"include_tables": []string{"public.t"}}, "destination": object{"type": "sequin_stream"}}).require(200)
	r.eventually("it streams", func() bool {
		return r.admin("GET", "/api/postgres_databases/d-2024/slot", nil).text("capture.state") == "streaming"
	})
	r.db.Exec(t, "insert into t values (2024)")
	r.eventually("the row comes", func() bool {
		got := r.admin("POST", "/api/http_pull_consumers/of-2024/receive", object{"wait_for": 1000}).require(200)
		return len(got.at("data").([]any)) == 1 && got.at("data.0.data.record.id") == 2024.0
	})
	r.admin("DELETE", "/api/databases/d-2024", nil).refused(422, "database_in_use")
	r.gone("/api/sinks/of-2024")
	r.admin("PUT", "/api/databases/d-2024", object{"port": free(t), "pool_size": 7}).refused(422, "connection_refused")
	require.InDelta(t, 3, r.admin("GET", "/api/databases/d-2024", nil).at("pool_size"), 0, "what does not connect is not stored")
	require.InDelta(t, 7, r.admin("PATCH", "/api/databases/d-2024", object{"pool_size": 7}).require(200).at("pool_size"), 0)
	sent := r.admin("PUT", "/api/databases/"+id, shown.object()).require(200) // as it was shown, with the masked password
	require.InDelta(t, 3, sent.at("pool_size"), 0)
	require.Equal(t, secret, r.admin("GET", "/api/databases/"+id+"?show_sensitive=true", nil).text("password"))
	r.admin("DELETE", "/api/databases/d-2024", nil).require(200).equalJSON(`{"id":"` + id + `","deleted":true}`)
	require.True(t, r.exists("slot", slot))
	r.admin("GET", "/api/databases/"+id, nil).refused(404, "database_not_declared")
}

func legacyMistakes(r *rig) {
	t := r.t.(*testing.T)
	r.db.Exec(t, "create table lone (v int)")
	r.admin("POST", "/api/databases", r.legacy("m-1", nil)).require(200)
	r.admin("POST", "/api/databases", r.legacy("m-1", nil)).refused(422, "duplicate_name")
	r.admin("POST", "/api/databases", r.legacy("M 2", nil)).refused(422, "invalid_value")
	r.admin("POST", "/api/databases", object{}).refused(422, "missing_value")
	r.admin("POST", "/api/databases", r.legacy("m-2", object{"port": free(t)})).refused(422, "connection_refused")
	r.admin("POST", "/api/databases", r.legacy("m-2", object{"password_file": "/etc/passwd"})).refused(422, "local_only")
	r.admin("PUT", "/api/databases/m-1", object{"sslrootcert": "/etc/passwd"}).refused(422, "local_only")
	failed := r.admin("POST", "/api/databases/test_connection", r.legacy("m-2", object{"port": free(t)})).refused(422, "connection_refused")
	require.Equal(t, false, failed.at("success"))
	require.Equal(t, "connection_refused", failed.at("reason.code"))
	r.admin("POST", "/api/databases/test_connection", r.legacy("m-2", object{"sslkey": "/etc/shadow", "sslcert": "/etc/passwd"})).refused(422, "local_only")
	r.admin("POST", "/api/databases/test_connection", object{}).refused(422, "missing_value")

	slot, publication := r.db.Slot(t), r.db.Publication(t)
	for _, tt := range []struct {
		name   string
		body   object
		status int
		code   string
	}{
		{"a name that no slot can have", object{"slot_name": "Big-Slot"}, 422, "invalid_value"},
		{"a number", object{"slot_name": 7}, 422, "invalid_value"},
		{"a table that is not there", object{"tables": []any{"public.t", "public.nowhere"}}, 422, "table_not_found"},
		{"nothing that can be published", object{"tables": []any{"lone"}}, 422, "table_not_publishable"},
		{"no list", object{"tables": "public.t"}, 422, "invalid_value"},
		{"an empty list", object{"tables": []any{}}, 422, "invalid_value"},
		{"no pair", object{"tables": []any{[]any{"public"}}}, 422, "invalid_value"},
		{"no text", object{"tables": []any{[]any{1, 2}}}, 422, "invalid_value"},
		{"an empty name", object{"tables": []any{"."}}, 422, "invalid_value"},
		{"a name with a zero", object{"tables": []any{"public.\x00"}}, 422, "invalid_value"},
		{"the slot of another database", object{"slot_name": r.slot}, 422, "conflicting_keys"},
	} {
		body := object{"slot_name": slot, "publication_name": publication}
		maps.Copy(body, tt.body)
		got := r.admin("POST", "/api/databases/m-1/setup_replication", body).refused(tt.status, tt.code)
		require.False(t, r.exists("slot", slot) || r.exists("publication", publication), "%s: %s", tt.name, got.body)
	}
	r.admin("POST", "/api/databases/nobody/setup_replication", object{}).refused(404, "database_not_declared")
	r.as(readToken, "POST", "/api/databases/m-1/setup_replication", object{}).refused(403, "token_scope")

	// What is there is kept: a publication of somebody else's as it is, and the one slot that a database has.
	r.db.Exec(t, "create publication "+publication+" for table public.t")
	kept := r.admin("POST", "/api/databases/m-1/setup_replication", object{"slot_name": slot, "publication_name": publication, "tables": []any{"t", "lone", "nowhere"}}).require(200)
	require.Equal(t, []any{"slot"}, kept.at("created"))
	require.Equal(t, []any{[]any{"public", "t"}}, kept.at("tables"))
	require.Equal(t, "no_primary_key", kept.at("left_out.0.reason"))
	require.Equal(t, "table_not_found", kept.at("left_out.1.reason"))
	require.Equal(t, 1, pgtest.Value[int](t, r.db, "select count(*)::int from pg_publication_tables where pubname = $1", publication))
	other := r.db.Slot(t)
	r.admin("POST", "/api/databases/m-1/setup_replication", object{"slot_name": other}).refused(422, "conflicting_keys")
	r.admin("POST", "/api/databases/m-1/setup_replication", object{"publication_name": other}).refused(422, "conflicting_keys")
	require.False(t, r.exists("slot", other) || r.exists("publication", other))

	r.admin("PUT", "/api/postgres_databases/m-1", object{"port": free(t)}).require(200)
	r.admin("GET", "/api/databases/m-1/schemas", nil).refused(502, "connection_refused")
	r.admin("GET", "/api/databases/m-1/schemas/public/tables", nil).refused(502, "connection_refused")
	r.admin("POST", "/api/databases/m-1/setup_replication", object{"slot_name": other}).refused(422, "connection_refused")
	require.Equal(t, "connection_refused", r.admin("POST", "/api/databases/m-1/test_connection", nil).refused(422, "connection_refused").at("reason.code"))
	r.gone("/api/databases/m-1")
}

// A slot that was made by hand takes the place of the one that a database of 2024 was declared with and that is not there.
func legacySlots(r *rig) {
	t := r.t.(*testing.T)
	r.admin("POST", "/api/databases", r.legacy("l-1", nil)).require(200)
	second := r.admin("POST", "/api/databases", r.legacy("l.Two", nil)).require(200)
	require.Equal(t, "sequin_slot_l_two", r.admin("GET", "/api/postgres_databases/l.Two", nil).text("slot.name"), "slots are named per server")
	id := second.text("id")
	slot, publication := r.slots(t)
	r.admin("POST", "/api/postgres_replications", object{"slot_name": "nowhere_2024", "publication_name": publication, "postgres_database_id": id}).refused(404, "slot_not_found")
	r.admin("POST", "/api/postgres_replications", object{"slot_name": slot, "publication_name": "nowhere", "postgres_database_id": id}).refused(404, "publication_not_found")
	r.admin("POST", "/api/postgres_replications", object{"slot_name": slot, "postgres_database_id": id}).refused(422, "missing_value")
	made := r.admin("POST", "/api/postgres_replications", object{"slot_name": slot, "publication_name": publication, "postgres_database_id": id}).require(200)
	require.Equal(t, slot, made.text("slot_name"))
	require.Equal(t, made.text("id"), r.admin("GET", "/api/postgres_databases/l.Two", nil).text("replication_slots.0.id"))
	r.eventually("it streams", func() bool {
		return r.admin("GET", "/api/postgres_databases/l.Two/slot", nil).text("capture.state") == "streaming"
	})
	r.gone("/api/databases/l.Two")
	r.gone("/api/databases/l-1")
}
