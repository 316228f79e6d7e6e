package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// Tokens that the fake knows.
const (
	adminToken  = "admin-token-0123456789"
	readerToken = "reader-token-0123456789"
)

type object = map[string]any

// fakeServer answers as the management API is documented, from memory. It knows shapes, statuses and errors; it captures and delivers nothing.
type fakeServer struct {
	*httptest.Server
	mux *http.ServeMux

	mu        sync.Mutex
	tables    map[string][]object // by route
	revisions []object
	audit     []object
	messages  []object
	dead      []object
	sessions  map[string]bool
	status    string // the body of GET /api/status
	requests  []string
	local     bool // as on the operator's socket: no token needed
}

// entity is what the API calls a kind when there is none.
var entities = map[string]string{
	"sinks": "consumer", "postgres_databases": "postgres database", "destinations/http_endpoints": "http endpoint",
	"functions": "function", "change_retentions": "change retention",
}

func newFake(t testing.TB) *fakeServer {
	t.Helper()
	f := newFakeHandler()
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func newFakeHandler() *fakeServer {
	f := &fakeServer{mux: http.NewServeMux(), tables: map[string][]object{}, sessions: map[string]bool{}}
	f.tables["api_keys"] = []object{{"id": id(1), "name": "Default", "scopes": []string{"admin"}, "expires_at": nil, "inserted_at": when(1)}}
	f.tables["users"] = []object{{"id": id(2), "email": "ops@acme.test", "role": "owner", "inserted_at": when(1)}}
	f.tables["accounts"] = []object{{"id": id(3), "name": "default", "inserted_at": when(1)}}
	for route := range entities {
		f.crud(route)
	}
	f.extras()
	f.access()
	f.documents()
	f.looking()
	return f
}

// id and when are the same in every run.
func id(n int) string   { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
func when(n int) string { return fmt.Sprintf("2026-02-18T09:%02d:00Z", n) }

// reply is what a handler answers.
type reply struct {
	status int
	body   any
}

func ok(body any) reply { return reply{http.StatusOK, body} }

func no(status int, code, format string, args ...any) reply {
	return reply{status, object{"summary": fmt.Sprintf(format, args...), "code": code, "docs": "docs/reference/errors.md#" + code}}
}

func notFound(what string) reply {
	return no(http.StatusNotFound, "not_found", "Not found: No `%s` found matching the provided ID or name", what)
}

func invalid(field, what string) reply {
	r := no(http.StatusUnprocessableEntity, "validation_failed", "the declaration has 1 mistake")
	r.body.(object)["validation_errors"] = object{field: []string{what}}
	r.body.(object)["detail"] = field + " " + what
	return r
}

// on adds a route. The handler holds the lock.
func (f *fakeServer) on(pattern string, handle func(r *http.Request, body object) reply) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var body object
		text, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodGet && r.Method != http.MethodDelete && !strings.Contains(r.Header.Get("Content-Type"), "application/json") {
			send(w, no(http.StatusBadRequest, "content_type", "the content type must be application/json"))
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if len(text) > 0 && decoder.Decode(&body) != nil {
			send(w, reply{http.StatusBadRequest, object{"errors": object{"detail": "Bad Request"}}})
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		send(w, handle(r, body))
	})
}

func send(w http.ResponseWriter, r reply) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(r.body) // the client sees what is missing
}

// ServeHTTP checks who asks.
func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Request-Id", "request-0123456789abcdef")
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.RequestURI())
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	known := f.local || token == adminToken || token == readerToken || f.sessions[token]
	f.mu.Unlock()
	switch path := r.URL.Path; {
	case path == "/api/sessions" || path == "/api/config/schema":
	case strings.HasPrefix(path, "/api/admin/") && !f.local:
		send(w, reply{http.StatusNotFound, object{"errors": object{"detail": "Not Found"}}})
		return
	case !bearer && !f.local:
		send(w, no(http.StatusUnauthorized, "authorization_missing", "the Authorization header is missing"))
		return
	case !known:
		send(w, no(http.StatusUnauthorized, "token_unknown", "the token is not known"))
		return
	case token == readerToken && r.Method != http.MethodGet && path != "/api/config/plan":
		send(w, no(http.StatusForbidden, "token_scope", "the token %q does not have the scope admin", "reader"))
		return
	}
	f.mux.ServeHTTP(w, r)
}

// find is the place of an object, by id or name.
func find(list []object, key string) int {
	return slices.IndexFunc(list, func(o object) bool {
		if _, err := uuid.Parse(key); err == nil {
			return o["id"] == key
		}
		return o["name"] == key
	})
}

func (f *fakeServer) crud(route string) {
	entity := entities[route]
	base := "/api/" + route
	f.on("GET "+base, func(*http.Request, object) reply { return ok(object{"data": f.list(route)}) })
	f.on("POST "+base, func(_ *http.Request, body object) reply {
		if r, bad := f.check(route, body, true); bad {
			return r
		}
		created := object{"id": uuid.NewString()}
		merge(created, body)
		f.tables[route] = append(f.tables[route], created)
		f.revise("create", route, created)
		if body["concurrency"] != nil {
			shown := object{"warnings": []string{"concurrency is high\x1b[2J"}}
			merge(shown, created)
			return ok(shown)
		}
		if route == "postgres_databases" {
			return reply{http.StatusCreated, created}
		}
		return ok(created)
	})
	one := func(handle func(i int, r *http.Request, body object) reply) func(*http.Request, object) reply {
		return func(r *http.Request, body object) reply {
			i := find(f.tables[route], r.PathValue("name"))
			if i < 0 {
				return notFound(entity)
			}
			return handle(i, r, body)
		}
	}
	f.on("GET "+base+"/{name}", one(func(i int, _ *http.Request, _ object) reply { return ok(f.tables[route][i]) }))
	f.on("PATCH "+base+"/{name}", one(func(i int, _ *http.Request, body object) reply {
		if r, bad := f.check(route, body, false); bad {
			return r
		}
		merge(f.tables[route][i], body)
		f.revise("update", route, f.tables[route][i])
		return ok(f.tables[route][i])
	}))
	f.on("DELETE "+base+"/{name}", one(func(i int, _ *http.Request, _ object) reply {
		gone := f.tables[route][i]
		for _, sink := range f.tables["sinks"] {
			if destination, _ := sink["destination"].(object); route == "destinations/http_endpoints" && destination["http_endpoint"] == gone["name"] {
				return no(http.StatusBadRequest, "endpoint_in_use", "HTTP endpoint %q is used by sink %q", gone["name"], sink["name"])
			}
			if route == "postgres_databases" && sink["database"] == gone["name"] {
				return reply{http.StatusUnprocessableEntity, object{"success": false, "error": "the database has sinks"}}
			}
		}
		f.tables[route] = slices.Delete(f.tables[route], i, i+1)
		f.revise("delete", route, gone)
		return ok(object{"id": gone["id"], "deleted": true, "success": true})
	}))
}

func (f *fakeServer) list(route string) []object {
	return append([]object{}, f.tables[route]...)
}

// merge puts the keys of one object over another, and those of the objects in it.
func merge(dst, src object) {
	for key, value := range src {
		below, isObject := value.(object)
		if old, both := dst[key].(object); both && isObject {
			merge(old, below)
			continue
		}
		dst[key] = value
	}
}

func (f *fakeServer) check(route string, body object, create bool) (reply, bool) {
	name, _ := body["name"].(string)
	if _, there := body["colour"]; there {
		return invalid("colour", "is not a known key"), true
	}
	switch {
	case create && name == "":
		return invalid("name", "can't be blank"), true
	case create && find(f.tables[route], name) >= 0:
		return invalid("name", "has already been taken"), true
	case route == "sinks" && create:
		if destination, _ := body["destination"].(object); destination["type"] == nil {
			return invalid("destination.type", "is required"), true
		}
		if find(f.tables["postgres_databases"], fmt.Sprint(body["database"])) < 0 {
			return notFound("postgres database"), true
		}
	}
	return reply{}, false
}

var kinds = map[string]string{
	"sinks": "sink", "postgres_databases": "database", "destinations/http_endpoints": "http_endpoint", "functions": "function", "change_retentions": "change_retention",
}

func (f *fakeServer) revise(action, route string, o object) {
	n := len(f.revisions) + 1
	f.revisions = append(f.revisions, object{
		"number": n, "at": when(n), "actor": object{"kind": "token", "name": "Default", "address": "127.0.0.1"}, "what": action + " " + kinds[route],
		"changes": []object{{"resource_type": kinds[route], "name": o["name"], "action": action}},
	})
	f.audit = append(f.audit, object{
		"id": n, "at": when(n), "actor": object{"kind": "token", "name": "Default", "address": "127.0.0.1"}, "action": action, "resource_type": kinds[route],
		"resource": o["name"], "detail": "", "request_id": "r" + strconv.Itoa(n), "outcome": "ok",
	})
}

// asked is what the server was asked, without what came before.
func (f *fakeServer) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fakeServer) table(route string) []object {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tables[route])
}

func (f *fakeServer) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func TestTheFakeAnswersAsDocumented(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/api/sinks/none", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	require.JSONEq(t, "{\"summary\":\"Not found: No `consumer` found matching the provided ID or name\",\"code\":\"not_found\",\"docs\":\"docs/reference/errors.md#not_found\"}", string(text))
}
