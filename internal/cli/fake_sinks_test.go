package cli_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// extras are the routes below databases and sinks.
func (f *fakeServer) extras() {
	database := func(handle func(o object) reply) func(*http.Request, object) reply {
		return func(r *http.Request, _ object) reply {
			i := find(f.tables["postgres_databases"], r.PathValue("name"))
			if i < 0 {
				return notFound("postgres database")
			}
			return handle(f.tables["postgres_databases"][i])
		}
	}
	f.on("POST /api/postgres_databases/{name}/test_connection", database(func(o object) reply {
		if o["hostname"] == "nowhere" {
			return reply{http.StatusUnprocessableEntity, object{"success": false, "reason": "the host nowhere does not exist"}}
		}
		return ok(object{"success": true})
	}))
	f.on("POST /api/postgres_databases/{name}/refresh_tables", database(func(object) reply { return ok(object{"success": true}) }))
	f.on("GET /api/postgres_databases/{name}/slot", database(func(object) reply {
		return ok(object{
			"slot": object{"name": "sequin_slot", "plugin": "pgoutput", "active": true}, "confirmed_flush_lsn": "0/1924D40", "wal_status": "reserved", "retained_wal_bytes": 1024,
			"log": object{"first_seq": 1, "last_seq": 9, "bytes": 4096}, "gaps": []object{},
		})
	}))
	sink := func(handle func(r *http.Request, body object) reply) func(*http.Request, object) reply {
		return func(r *http.Request, body object) reply {
			if find(f.tables["sinks"], r.PathValue("name")) < 0 {
				return notFound("consumer")
			}
			return handle(r, body)
		}
	}
	f.on("GET /api/sinks/{name}/position", sink(func(*http.Request, object) reply {
		return ok(object{"cursor": 4, "frontier": 7, "log_end": 9, "pending": 5, "oldest_unacked": object{"seq": 4, "lsn": "0/1", "age_ms": 1200}, "status": "active"})
	}))
	refills := []object{}
	f.on("GET /api/sinks/{name}/backfills", sink(func(*http.Request, object) reply { return ok(object{"data": refills}) }))
	f.on("POST /api/sinks/{name}/backfills", sink(func(_ *http.Request, body object) reply {
		if body["table"] == "public.nowhere" {
			return no(http.StatusUnprocessableEntity, "backfill_table_missing", "there is no table public.nowhere")
		}
		made := object{"id": "00000000-0000-4000-8000-00000000020" + strconv.Itoa(len(refills)), "state": "active", "rows_processed_count": 5, "rows_initial_count": 10}
		maps.Copy(made, body)
		refills = append([]object{made}, refills...)
		return ok(made)
	}))
	f.on("PATCH /api/sinks/{name}/backfills/{id}", sink(func(r *http.Request, body object) reply {
		for _, one := range refills {
			if one["id"] == r.PathValue("id") {
				one["state"] = body["state"]
				return ok(one)
			}
		}
		return no(http.StatusNotFound, "backfill_not_found", "there is no such backfill")
	}))
	f.messageRoutes(sink)
	f.moveRoutes(sink)
}

// moveRoutes are those of a sink with two messages that are not delivered, 3 and 5, and a log that ends with 9.
func (f *fakeServer) moveRoutes(sink func(func(*http.Request, object) reply) func(*http.Request, object) reply) {
	moved := func(from, to any) reply {
		return ok(object{
			"moved": from != to, "generation": 1, "from": from, "to": to, "skipped": 0, "unread": 0, "at": "2030-01-31T09:30:00.000000Z",
			"reason": "", "undoes": nil, "undoable": true,
		})
	}
	f.on("POST /api/sinks/{name}/move", sink(func(_ *http.Request, body object) reply {
		to, _ := body["to"].(object)
		number, _ := to["seq"].(json.Number)
		seq, _ := strconv.Atoi(number.String())
		switch {
		case to["time"] == "1999-01-01T00:00:00Z":
			return no(http.StatusConflict, "history_trimmed", "what was committed at 1999-01-01T00:00:00Z is not in the change log any more")
		case to["where"] != nil && to["after"] == nil && body["dry_run"] == true: // as if the part that was looked at had none
			return ok(object{"dry_run": true, "found": false, "next": 3, "from": nil, "to": nil})
		case seq == 0:
			seq = 4
		}
		if body["dry_run"] != true {
			return moved(10, seq)
		}
		const first, last = "2030-01-31T09:30:00.000000Z", "2030-01-31T10:00:00.000000Z"
		skip := object{"messages": 0, "bytes": 0, "at_least": false, "first": nil, "last": nil}
		if seq > 5 {
			skip = object{"messages": 1, "bytes": 10, "at_least": false, "first": first, "last": first}
		}
		return ok(object{
			"dry_run": true, "found": true, "next": nil, "from": object{"seq": 10, "lsn": "0/9", "commit_timestamp": last, "end": true},
			"to":      object{"seq": seq, "lsn": "0/4", "commit_timestamp": first, "end": false},
			"deliver": object{"messages": 6, "bytes": 6144, "at_least": true, "first": first, "last": last}, "again": 4, "skip": skip,
			"in_flight": 1, "dead_letters": 2, "status": "paused",
		})
	}))
	f.on("POST /api/sinks/{name}/replays", sink(func(_ *http.Request, body object) reply {
		if body["dry_run"] == true {
			return ok(object{"dry_run": true, "messages": 1, "bytes": 512, "at_least": false, "first": "2030-01-31T09:30:00Z", "last": "2030-01-31T09:30:00Z"})
		}
		seqs, named := body["seqs"].([]any)
		switch {
		case named:
			return ok(object{"success": true, "count": len(seqs) - 1, "missing": []object{{"seq": seqs[0], "reason": "available"}}, "skipped": 0, "next": nil})
		case body["after"] == nil:
			return ok(object{"success": true, "count": 1, "missing": []object{}, "skipped": 0, "next": 7})
		}
		return ok(object{"success": true, "count": 2, "missing": []object{}, "skipped": 0, "next": nil})
	}))
	f.on("GET /api/sinks/{name}/replays", sink(func(*http.Request, object) reply {
		return ok(object{"data": []object{{"seq": 7, "at": "2030-01-31T09:30:00.000000Z", "state": "available", "attempts": 0, "not_visible_until": nil}}})
	}))
	f.on("POST /api/sinks/{name}/replays/cancel", sink(func(*http.Request, object) reply {
		return ok(object{"success": true, "count": 1, "missing": []object{}, "skipped": 0, "next": nil})
	}))
	f.on("POST /api/sinks/{name}/move/undo", sink(func(*http.Request, object) reply { return moved(4, 10) }))
	f.on("GET /api/sinks/{name}/moves", sink(func(*http.Request, object) reply {
		return ok(object{"data": []object{{"generation": 1, "at": "2030-01-31T09:30:00.000000Z", "from": 10, "to": 4, "skipped": 0, "unread": 0, "undoes": nil, "undoable": true, "reason": "a test"}}})
	}))
}

func (f *fakeServer) messageRoutes(sink func(func(*http.Request, object) reply) func(*http.Request, object) reply) {
	page := func(list []object, r *http.Request) reply {
		q := r.URL.Query()
		after, _ := strconv.Atoi(q.Get("after"))
		if q.Get("key") != "" && after < 2 { // as if the part that was looked at had none
			return ok(object{"data": []object{}, "next": 2})
		}
		limit, _ := strconv.Atoi(q.Get("limit"))
		chosen := []object{}
		var next any
		for _, m := range list {
			if m["seq"].(int) <= after || q.Get("state") != "" && m["state"] != q.Get("state") || q.Get("table") != "" && m["table"] != q.Get("table") {
				continue
			}
			if limit > 0 && len(chosen) == limit {
				next = chosen[limit-1]["seq"]
				break
			}
			chosen = append(chosen, m)
		}
		return ok(object{"data": chosen, "next": next})
	}
	show := func(list []object, code string, r *http.Request) reply {
		for _, m := range list {
			if strconv.Itoa(m["seq"].(int)) == r.PathValue("seq") || m["ack_id"] == r.PathValue("seq") {
				whole := object{"data": object{"record": object{"id": m["seq"]}, "changes": nil, "action": "insert", "metadata": object{"table_name": "orders"}}}
				merge(whole, m)
				return ok(whole)
			}
		}
		return no(http.StatusNotFound, code, "Not found: there is no such message")
	}
	f.on("GET /api/sinks/{name}/messages", sink(func(r *http.Request, _ object) reply { return page(f.messages, r) }))
	f.on("GET /api/sinks/{name}/messages/{seq}", sink(func(r *http.Request, _ object) reply { return show(f.messages, "message_not_found", r) }))
	f.on("GET /api/sinks/{name}/dead_letters", sink(func(r *http.Request, _ object) reply { return page(f.dead, r) }))
	f.on("GET /api/sinks/{name}/dead_letters/{seq}", sink(func(r *http.Request, _ object) reply { return show(f.dead, "dead_letter_not_found", r) }))
	for route, list := range map[string]*[]object{"messages/redeliver": &f.messages, "messages/discard": &f.messages, "dead_letters/redrive": &f.dead, "dead_letters/discard": &f.dead} {
		f.on("POST /api/sinks/{name}/"+route, sink(func(_ *http.Request, body object) reply {
			return choose(list, body, strings.HasSuffix(route, "discard"))
		}))
	}
}

// mostAtOnce is how many one request settles.
const mostAtOnce = 3

// choose settles the messages that a body names.
func choose(list *[]object, body object, remove bool) reply {
	count, missing := 0, []any{}
	taken := func(match func(object) bool) int {
		n := 0
		for i, m := range slices.Backward(*list) {
			if match(m) {
				n++
				if remove {
					*list = slices.Delete(*list, i, i+1)
				}
				if n == mostAtOnce {
					break
				}
			}
		}
		return n
	}
	if body["all"] == true && remove {
		answer := object{"success": true, "count": taken(func(object) bool { return true }), "missing": missing, "next": nil}
		if len(*list) > 0 {
			answer["next"] = (*list)[0]["seq"]
		}
		return ok(answer)
	}
	switch {
	case body["all"] == true:
		count = taken(func(object) bool { return true })
	case body["state"] != nil:
		count = taken(func(m object) bool { return m["state"] == body["state"] })
	case body["table"] != nil:
		count = taken(func(m object) bool { return fmt.Sprint(m["schema"], ".", m["table"]) == body["table"] })
	case body["reason_code"] != nil:
		count = taken(func(m object) bool { return m["reason"] == body["reason_code"] })
	default:
		named, _ := body["seqs"].([]any)
		ids, _ := body["ack_ids"].([]any)
		if len(named)+len(ids) == 0 {
			return no(http.StatusBadRequest, "invalid_parameter", "seqs is missing")
		}
		for _, s := range append(named, ids...) {
			if taken(func(m object) bool { return fmt.Sprint(m["seq"]) == fmt.Sprint(s) || m["ack_id"] == s }) == 0 {
				missing = append(missing, object{"seq": s, "reason": "not_found"})
				continue
			}
			count++
		}
	}
	return ok(object{"success": true, "count": count, "missing": missing})
}

// looking are revisions, audit and status.
func (f *fakeServer) looking() {
	f.on("GET /api/revisions", func(r *http.Request, _ object) reply { return pageBack(f.revisions, "number", r) })
	f.on("GET /api/audit", func(r *http.Request, _ object) reply { return pageBack(f.audit, "id", r) })
	f.on("GET /api/revisions/compare", func(r *http.Request, _ object) reply {
		return ok(object{"changes": []object{{
			"resource_type": "sink", "action": "update", "name": "orders", "old": object{"name": "orders", "batch_size": 1}, "new": object{"name": "orders", "batch_size": 10}, "changed": []string{"batch_size"},
		}}, "actions": []object{}, "warnings": []string{}, "from": r.URL.Query().Get("from"), "to": r.URL.Query().Get("to")})
	})
	number := func(handle func(o object) reply) func(*http.Request, object) reply {
		return func(r *http.Request, _ object) reply {
			n, _ := strconv.Atoi(r.PathValue("number"))
			if n < 1 || n > len(f.revisions) {
				return no(http.StatusNotFound, "revision_not_found", "there is no revision %s", r.PathValue("number"))
			}
			return handle(f.revisions[n-1])
		}
	}
	f.on("GET /api/revisions/{number}", number(func(o object) reply {
		whole := object{"yaml": "databases:\n  - name: shop\n"}
		merge(whole, o)
		return ok(whole)
	}))
	f.on("POST /api/revisions/{number}/restore", number(func(o object) reply {
		f.revise("update", "sinks", object{"name": "orders"})
		return ok(f.revisions[len(f.revisions)-1])
	}))
	f.on("GET /api/status", func(*http.Request, object) reply { return ok(json.RawMessage(f.status)) })
}

// pageBack pages from the newest backwards.
func pageBack(list []object, key string, r *http.Request) reply {
	before, _ := strconv.Atoi(r.URL.Query().Get("before"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	page := []object{}
	var next any
	for _, o := range slices.Backward(list) {
		if before > 0 && o[key].(int) >= before {
			continue
		}
		if limit > 0 && len(page) == limit {
			next = page[limit-1][key]
			break
		}
		page = append(page, o)
	}
	return ok(object{"data": page, "next": next})
}
