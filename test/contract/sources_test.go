package contract_test

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// free is a port that nothing listens on.
func free(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// slots makes a slot and a publication as people do by hand.
func (r *rig) slots(t *testing.T) (slot, publication string) {
	t.Helper()
	slot, publication = r.db.Slot(t), r.db.Publication(t)
	r.db.Exec(t, "create publication "+publication+" for table public.t")
	r.db.Exec(t, "select pg_create_logical_replication_slot('"+slot+"', 'pgoutput')")
	t.Cleanup(func() { // once nobody reads it
		r.eventually("the slot is free", func() bool {
			return pgtest.Value[bool](t, r.db, "select not coalesce(bool_or(active), false) from pg_replication_slots where slot_name = $1", slot)
		})
		r.db.Exec(t, "select pg_drop_replication_slot('"+slot+"')")
		r.db.Exec(t, "drop publication "+publication)
	})
	return slot, publication
}

// original declares the test's database as clients of the original do.
func (r *rig) original(name, slot, publication string) object {
	o := r.database(name, slot, publication, false)
	delete(o, "slot")
	delete(o, "publication")
	o["replication_slots"] = []any{object{"slot_name": slot, "publication_name": publication, "status": "disabled"}}
	return o
}

func databaseRoutes(r *rig) {
	t := r.t.(*testing.T)
	slot, publication := r.slots(t)
	body := r.original("d-1", slot, publication)
	body["nobody-knows-this"] = 1
	made := r.admin("POST", "/api/postgres_databases", body).require(201)
	id, slotID := made.text("id"), made.text("replication_slots.0.id")
	require.NotEqual(t, id, slotID)
	for key, want := range map[string]any{
		"name": "d-1", "hostname": body["hostname"], "database": r.db.Name, "ssl": false, "ipv6": false, "use_local_tunnel": false, "pool_size": 10.0,
		"queue_interval": 1000.0, "queue_target": 50.0, "replication_slots.0.slot_name": slot, "replication_slots.0.publication_name": publication,
		"replication_slots.0.status": "active",
	} {
		require.Equal(t, want, made.at(key), key)
	}
	secret := body["password"].(string)
	require.NotContains(t, string(made.body), secret)
	require.Equal(t, secret, r.admin("GET", "/api/postgres_databases/d-1?show_sensitive=true", nil).text("password"))
	require.Contains(t, string(r.admin("GET", "/api/postgres_databases?show_sensitive=true", nil).body), secret)
	for _, who := range []string{readToken, r.signIn("viewer@example.com"), r.signIn("editor@example.com")} {
		r.as(who, "GET", "/api/postgres_databases?show_sensitive=true", nil).require(403)
	}
	r.admin("GET", "/api/postgres_databases?show_sensitive=maybe", nil).refused(400, "invalid_parameter")

	kept := r.admin("PUT", "/api/postgres_databases/"+id, object{"pool_size": "20", "replication_slots": []any{}, "password": made.text("password")}).require(200)
	require.Equal(t, made.at("port"), kept.at("port"), "what is left out keeps its value")
	require.InDelta(t, 20, kept.at("pool_size"), 0)
	require.Equal(t, object{"team": "a"}, r.admin("PATCH", "/api/postgres_databases/d-1", object{"annotations": object{"team": "a"}}).require(200).at("annotations"))
	require.Equal(t, secret, r.admin("GET", "/api/postgres_databases/d-1?show_sensitive=true", nil).text("password"))
	for range 10 { // our own stream, which begins just now, is not somebody else's
		r.admin("POST", "/api/postgres_databases/d-1/test_connection", nil).require(200).equalJSON(`{"success":true}`)
	}
	r.admin("POST", "/api/postgres_databases/d-1/refresh_tables", nil).require(200).equalJSON(`{"success":true}`)

	details := r.admin("GET", "/api/postgres_databases/d-1/slot", nil).require(200)
	require.Equal(t, slot, details.text("slot.name"))
	require.Equal(t, []any{"public.t"}, details.at("publication.tables"))
	require.Nil(t, details.at("unreachable"))
	require.Equal(t, pgtest.Value[string](t, r.db, "select wal_status from pg_replication_slots where slot_name = $1", slot), details.text("wal_status"))
	r.eventually("it streams", func() bool {
		return r.admin("GET", "/api/postgres_databases/d-1/slot", nil).text("capture.state") == "streaming"
	})
	r.admin("DELETE", "/api/postgres_databases/d-1", nil).require(200).equalJSON(`{"success":true,"id":"` + id + `"}`)
	require.Equal(t, 1, pgtest.Value[int](t, r.db, "select count(*)::int from pg_replication_slots where slot_name = $1", slot), "the slot stays")
}

func databaseMistakes(r *rig) {
	t := r.t.(*testing.T)
	slot, publication := r.slots(t)
	change := func(more object) object {
		o := r.original("bad", slot, publication)
		for k, v := range more {
			if v == nil {
				delete(o, k)
				continue
			}
			o[k] = v
		}
		return o
	}
	for _, tt := range []struct {
		name   string
		body   any
		status int
		code   string
	}{
		{"nothing", object{}, 422, "missing_value"},
		{"the name is taken", change(object{"name": "db"}), 422, ""},
		{"no such slot", change(object{"replication_slots": []any{object{"slot_name": "nowhere", "publication_name": publication}}}), 404, "slot_not_found"},
		{"no such publication", change(object{"replication_slots": []any{object{"slot_name": slot, "publication_name": "nowhere"}}}), 404, "publication_not_found"},
		{"two slots", change(object{"replication_slots": []any{object{}, object{}}}), 422, "invalid_value"},
		{"a slot without a name", change(object{"replication_slots": []any{object{"publication_name": publication}}}), 422, "missing_value"},
		{"a wrong password", change(object{"database": "template_of_nobody"}), 422, "database_not_found"},
		{"nobody listens", change(object{"port": free(t), "await_database": object{"timeout_ms": 1}}), 422, "connection_refused"},
		{"a URL beside a host name", change(object{"url": "postgres://u:p@h:1/d"}), 422, "conflicting_keys"},
		{"a pooler", change(object{"hostname": "aws-0.pooler.supabase.com"}), 422, "invalid_value"},
		{"a password file", change(object{"password_file": "/etc/passwd"}), 422, "local_only"},
		{"a file of certificates", change(object{"sslrootcert": "/etc/passwd"}), 422, "local_only"},
		{"a client's certificate", change(object{"sslcert": "/etc/passwd", "sslkey": "/etc/shadow"}), 422, "local_only"},
		{"a tunnel", change(object{"use_local_tunnel": true}), 422, "no_longer_offered"},
		{"a primary", change(object{"primary": object{"hostname": "x"}}), 422, "not_in_this_version"},
		{"the slot of another database", change(object{"replication_slots": []any{object{"slot_name": r.slot, "publication_name": publication}}}), 422, "conflicting_keys"},
	} {
		got := r.admin("POST", "/api/postgres_databases", tt.body).require(tt.status)
		if tt.code != "" {
			require.Equal(t, tt.code, got.at("code"), "%s: %s", tt.name, got.body)
		}
	}
	nested := r.admin("POST", "/api/postgres_databases", change(object{"replication_slots": []any{object{"publication_name": publication}}}))
	require.JSONEq(t, `{"replication_slots":{"slot_name":["is required"]}}`, encode(nested.at("validation_errors")))
	r.admin("GET", "/api/postgres_databases/bad", nil).refused(404, "database_not_declared")
	r.admin("PUT", "/api/postgres_databases/db", object{"replication_slots": []any{object{"slot_name": "x"}}}).require(422)
	r.admin("PUT", "/api/postgres_databases/db", object{"replication_slots": []any{object{}, object{}}}).require(422)
}

func databasesInUse(r *rig) {
	t := r.t.(*testing.T)
	refused := r.admin("DELETE", "/api/postgres_databases/db", nil).refused(422, "database_in_use")
	require.Equal(t, false, refused.at("success"))
	require.Contains(t, refused.text("error"), "sink pull")

	slot, publication := r.slots(t)
	r.admin("POST", "/api/postgres_databases", r.original("d-2", slot, publication)).require(201)
	r.admin("PUT", "/api/postgres_databases/d-2", object{"port": free(t)}).require(200) // nothing is connected to before it is stored
	failed := r.admin("POST", "/api/postgres_databases/d-2/test_connection", nil).refused(422, "connection_refused")
	require.Equal(t, false, failed.at("success"))
	require.Contains(t, failed.text("reason"), "nothing listens")
	failed = r.admin("POST", "/api/postgres_databases/d-2/refresh_tables", nil).refused(422, "connection_refused")
	require.Equal(t, false, failed.at("success"))
	require.NotContains(t, failed.object(), "reason")
	away := r.admin("GET", "/api/postgres_databases/d-2/slot", nil).require(200)
	require.Equal(t, "connection_refused", away.text("unreachable.code"))
	require.Nil(t, away.at("slot"))
	r.gone("/api/postgres_databases/d-2")
	for _, route := range []string{"GET slot", "POST test_connection", "POST refresh_tables"} {
		method, path, _ := strings.Cut(route, " ")
		r.admin(method, "/api/postgres_databases/d-2/"+path, nil).refused(404, "database_not_declared")
	}
}

func replicationRoutes(r *rig) {
	t := r.t.(*testing.T)
	slot, publication := r.slots(t)
	id := r.admin("GET", "/api/postgres_databases/db", nil).text("id")
	account := r.admin("GET", "/api/account", nil).text("id")
	list := r.admin("GET", "/api/postgres_replications", nil).require(200)
	mine := list.text("data.0.id")
	list.equalJSON(`{"data":[{"id":"` + mine + `","publication_name":"` + r.pub + `","slot_name":"` + r.slot + `","account_id":"` + account + `","postgres_database_id":"` + id + `"}]}`)
	shown := r.admin("GET", "/api/postgres_replications/"+mine, nil).require(200)
	require.Equal(t, mine, shown.text("postgres_replication.id"))
	require.Nil(t, shown.at("info"))

	confirmed := r.admin("POST", "/api/postgres_replications", object{"slot_name": r.slot, "publication_name": r.pub, "postgres_database_id": id}).require(200)
	require.Equal(t, mine, confirmed.text("id"))
	r.admin("POST", "/api/postgres_replications", object{"slot_name": slot, "publication_name": r.pub, "postgres_database_id": id}).refused(422, "conflicting_keys")
	r.admin("POST", "/api/postgres_replications", object{"slot_name": slot, "publication_name": publication}).refused(422, "missing_value")
	r.admin("POST", "/api/postgres_replications", object{"slot_name": slot, "publication_name": publication, "postgres_database_id": mine}).refused(404, "database_not_declared")

	nested := r.database("d-3", "", "", false)
	delete(nested, "slot")
	delete(nested, "publication")
	r.admin("POST", "/api/postgres_replications", object{"slot_name": "nowhere", "publication_name": publication, "postgres_database": nested}).refused(404, "slot_not_found")
	made := r.admin("POST", "/api/postgres_replications", object{"slot_name": slot, "publication_name": publication, "postgres_database": nested}).require(200)
	require.Equal(t, made.text("postgres_database_id"), r.admin("GET", "/api/postgres_databases/d-3", nil).require(200).text("id"))
	r.admin("PUT", "/api/postgres_replications/"+made.text("id"), object{"postgres_database_id": id}).refused(422, "conflicting_keys")
	changed := r.admin("PATCH", "/api/postgres_replications/"+made.text("id"), object{"publication_name": r.pub}).require(200)
	require.Equal(t, r.pub, changed.text("publication_name"))
	require.Equal(t, publication, r.admin("PUT", "/api/postgres_replications/"+made.text("id"), object{"publication_name": publication}).require(200).text("publication_name"))
	require.Equal(t, made.text("id"), changed.text("id"))
	r.admin("DELETE", "/api/postgres_replications/"+mine, nil).refused(422, "database_in_use")
	r.admin("DELETE", "/api/postgres_replications/"+made.text("id"), nil).require(200).equalJSON(`{"id":"` + made.text("id") + `","deleted":true}`)
	r.admin("GET", "/api/postgres_databases/d-3", nil).require(404)
	r.admin("GET", "/api/postgres_replications/"+made.text("id"), nil).refused(404, "replication_not_found")
	r.admin("GET", "/api/postgres_replications/no-uuid", nil).refused(400, "invalid_parameter")
}

func compatibilityRoutes(r *rig) {
	r.admin("GET", "/api/local_tunnels", nil).require(200).equalJSON(`{"data":[]}`)
	r.admin("GET", "/api/api/sinks/pull", nil).require(200)
	r.admin("GET", "/api/sinks/pull/", nil).require(200)
	r.admin("POST", "//api//config/plan", object{"yaml": ""}).require(200)
	r.admin("GET", "/api/sinks/pull/..", nil).refused(404, "route_not_found")
	r.admin("GET", "/api/streams", nil).refused(404, "route_not_found")
	r.admin("HEAD", "/api/sinks", nil).require(404)
}
