package contract_test

import (
	"strings"

	"github.com/stretchr/testify/require"
)

func pullRoutes(r *rig) {
	t := r.t
	r.db.Exec(t, "insert into t values (1, 'a'), (2, 'b'), (3, 'c')")
	for _, family := range []string{"/api/sequin_streams/pull", "/api/http_pull_consumers/pull"} {
		got := r.as(consumeToken, "POST", family+"/receive", object{"batch_size": 1, "wait_for": "20s"}).require(200)
		id := got.text("data.0.ack_id")
		require.Equal(t, "insert", got.text("data.0.data.action"))
		r.as(consumeToken, "POST", family+"/extend", object{"ack_ids": []string{id}, "visibility_timeout_ms": 60000}).require(200).equalJSON(`{"success":true}`)
		r.as(consumeToken, "POST", family+"/nack", object{"ack_ids": []string{id}}).require(200).equalJSON(`{"success":true}`)
		again := r.as(consumeToken, "GET", family+"/receive?batch_size=1&wait_for=20s", nil).require(200)
		require.Equal(t, id, again.text("data.0.ack_id"))
		r.as(consumeToken, "POST", family+"/ack", object{"ack_ids": []string{id}}).require(200).equalJSON(`{"success":true}`)
		r.as(consumeToken, "POST", family+"/extend", object{"ack_ids": []string{id}}).require(200)
		r.as(consumeToken, "POST", family+"/ack", object{"ack_ids": []string{}}).refused(400, "invalid_parameter")
		r.as(consumeToken, "GET", family+"/receive?batch_size=0", nil).refused(400, "invalid_parameter")
		r.as(readToken, "POST", family+"/receive", nil).refused(403, "token_scope")
	}
	r.as(consumeToken, "GET", "/api/sinks/pull", nil).refused(403, "token_scope")
	last := r.as(consumeToken, "POST", "/api/sequin_streams/pull/receive", object{"wait_for": "20s"}).require(200).text("data.0.ack_id")
	r.as(consumeToken, "POST", "/api/sequin_streams/pull/ack", object{"ack_tokens": []string{last}}).require(200)
	r.as(consumeToken, "POST", "/api/sequin_streams/pull/receive", nil).require(200).equalJSON(`{"data":[]}`)

	require.Empty(t, r.admin("GET", "/api/sinks/pull/dead_letters", nil).require(200).at("data"))
	r.admin("GET", "/api/sinks/pull/dead_letters/1", nil).refused(404, "dead_letter_not_found")
	r.admin("GET", "/api/sinks/nobody/dead_letters", nil).refused(404, "sink_not_found")
}

func messageRoutes(r *rig) {
	t := r.t
	r.hook("msg-hook") // nothing listens there
	r.admin("POST", "/api/sinks", object{
		"name": "msg", "database": "db", "destination": object{"type": "webhook", "http_endpoint": "msg-hook", "batch": false}, "max_retry_count": 100,
	}).require(200)
	r.db.Exec(t, "insert into t values (101, 'x'), (102, 'y')")
	const base = "/api/sinks/msg"
	r.eventually("both were tried", func() bool {
		listed := r.admin("GET", base+"/messages", nil).require(200).at("data").([]any)
		return len(listed) == 2 && listed[0].(object)["attempts"].(float64) > 0 && listed[1].(object)["attempts"].(float64) > 0
	})
	list := r.admin("GET", base+"/messages?limit=1&table=public.t", nil).require(200)
	require.Equal(t, []any{"public.t", "insert", "101"}, []any{list.at("data.0.table"), list.at("data.0.action"), list.at("data.0.key")})
	require.Equal(t, list.at("data.0.seq"), list.at("next"))
	require.NotNil(t, list.at("data.0.last_error"))
	seq, ack := list.at("data.0.seq"), list.text("data.0.ack_id")
	shown := r.admin("GET", base+"/messages/"+ack, nil).require(200)
	require.Equal(t, "x", shown.at("data.record.v"))
	r.admin("GET", base+"/messages/99999999", nil).require(404)
	r.admin("GET", base+"/messages?state=lost", nil).refused(400, "invalid_parameter")

	position := r.admin("GET", base+"/position", nil).require(200)
	require.InDelta(t, 2, position.at("pending"), 0)
	require.Equal(t, seq, position.at("oldest_unacked.seq"))
	require.InDelta(t, 1, r.admin("POST", base+"/messages/redeliver", object{"seqs": []any{seq, 99999999}}).require(200).at("count"), 1)
	discarded := r.admin("POST", base+"/messages/discard", object{"ack_ids": []string{ack}}).require(200)
	if discarded.at("count") == 0.0 { // it was out at that moment
		r.eventually("it can be discarded", func() bool {
			return r.admin("POST", base+"/messages/discard", object{"ack_ids": []string{ack}}).require(200).at("count") == 1.0
		})
	}
	require.Contains(t, string(r.admin("GET", "/api/audit?limit=20", nil).body), "discard")
	r.admin("POST", base+"/messages/redeliver", object{}).refused(400, "invalid_parameter")

	r.admin("PATCH", base, object{"max_retry_count": 1}).require(200)
	r.admin("POST", base+"/messages/redeliver", object{"all": true}).require(200)
	r.eventually("the other is a dead letter", func() bool {
		return len(r.admin("GET", base+"/dead_letters", nil).require(200).at("data").([]any)) == 1
	})
	dead := r.admin("GET", base+"/dead_letters", nil).at("data.0.seq")
	require.Equal(t, "y", r.admin("GET", base+"/dead_letters/"+encode(dead), nil).require(200).at("data.record.v"))
	require.Equal(t, true, r.admin("POST", base+"/dead_letters/redrive", object{"seqs": []any{dead}}).require(200).at("success"))
	r.eventually("it is gone", func() bool {
		r.admin("POST", base+"/dead_letters/discard", object{"all": true}).require(200)
		return len(r.admin("GET", base+"/dead_letters", nil).at("data").([]any)) == 0
	})
	for _, route := range []string{"GET messages", "GET position", "POST messages/redeliver", "POST messages/discard"} {
		method, path, _ := strings.Cut(route, " ")
		r.admin(method, "/api/sinks/nobody/"+path, nil).refused(404, "sink_not_found")
	}
	r.gone(base)
	r.gone("/api/destinations/http_endpoints/msg-hook")
}

func statusRoutes(r *rig) {
	t := r.t
	status := r.admin("GET", "/api/status", nil).require(200)
	require.Equal(t, []any{"db", "streaming", r.slot}, []any{status.at("databases.0.name"), status.at("databases.0.state"), status.at("databases.0.slot")})
	require.NotNil(t, status.at("databases.0.server_version"))
	require.Equal(t, []any{"pull", "sequin_stream", "healthy"}, []any{status.at("sinks.0.name"), status.at("sinks.0.type"), status.at("sinks.0.health")})
	require.Empty(t, r.as(otherToken, "GET", "/api/status", nil).require(200).at("databases"))

	r.hook("down")
	r.admin("POST", "/api/sinks", object{"name": "down", "database": "db", "destination": object{"type": "webhook", "http_endpoint": "down"}}).require(200)
	r.db.Exec(t, "insert into t values (201, 'x')")
	r.eventually("it is red, with the repair", func() bool {
		sink := r.admin("GET", "/api/sinks/down", nil).require(200)
		checks := sink.at("health.checks").([]any)
		delivery := checks[len(checks)-1].(object)
		return sink.text("health.status") == "error" && delivery["name"] == "Message delivery" && delivery["status"] == "error" && delivery["hint"] != nil
	})
	require.Equal(t, "error", r.admin("GET", "/api/status", nil).text("status"))
	require.Equal(t, "paused", r.admin("PATCH", "/api/sinks/down", object{"status": "paused"}).require(200).text("status"))
	require.Equal(t, "paused", r.admin("GET", "/api/sinks/down", nil).text("health.status"))
	r.gone("/api/sinks/down")
	r.gone("/api/destinations/http_endpoints/down")
}
