package contract_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func tokenRoutes(r *rig) {
	t := r.t
	made := r.admin("POST", "/api/api_keys", object{"name": "k-1", "scopes": []string{"read"}, "expires_at": "2099-01-31T00:00:00Z"}).require(200)
	secret, id := made.text("token"), made.text("id")
	require.Len(t, secret, 64)
	require.Equal(t, "2099-01-31T00:00:00Z", made.text("expires_at"))
	r.as(secret, "GET", "/api/account", nil).require(200)
	r.as(secret, "POST", "/api/functions", object{}).refused(403, "token_scope")
	own := r.admin("POST", "/api/api_keys", object{"name": "k-2", "token": "my-own-secret-0123456789"}).require(200)
	require.NotContains(t, own.object(), "token", "it is known already")
	require.Equal(t, []any{"admin"}, own.at("scopes"))
	r.as("my-own-secret-0123456789", "GET", "/api/account", nil).require(200)

	list := r.admin("GET", "/api/api_keys", nil).require(200)
	require.NotContains(t, string(list.body), secret)
	require.NotContains(t, string(list.body), "token\"")
	rotated := r.admin("POST", "/api/api_keys/"+id+"/rotate", nil).require(200)
	r.as(secret, "GET", "/api/account", nil).refused(401, "token_unknown")
	r.as(rotated.text("token"), "GET", "/api/account", nil).require(200)
	r.admin("DELETE", "/api/api_keys/"+strings.ToUpper(id), nil).require(200).equalJSON(`{"success":true}`)
	r.as(rotated.text("token"), "GET", "/api/account", nil).refused(401, "token_unknown")
	r.admin("DELETE", "/api/api_keys/"+id, nil).refused(404, "api_token_not_found")
	r.admin("POST", "/api/api_keys/"+id+"/rotate", nil).refused(404, "api_token_not_found")
	r.admin("POST", "/api/api_keys/admin/rotate", nil).refused(409, "token_from_file")

	for _, tt := range []struct {
		body   any
		errors string
	}{
		{object{}, `{"name":["is required"]}`},
		{object{"name": "k-2"}, `{"name":["has already been taken"]}`},
		{object{"name": "a b"}, `{"name":["is \"a b\"; a name has letters, digits, and the characters _ - . only"]}`},
		{object{"name": "k-3", "token": "my-own-secret-0123456789"}, `{"token":["is in use already"]}`},
		{object{"name": "k-3", "scopes": []string{"read", "write"}}, `{"scopes":["item 2 is \"write\"; accepted: admin, read, consume:<sink>"]}`},
		{object{"name": "k-3", "expires_at": "2020-01-31T00:00:00Z"}, `{"expires_at":["has passed already"]}`},
		{object{"name": "k-3", "expires_at": "soon"}, `{"expires_at":["must be a time such as 2030-01-31T00:00:00Z"]}`},
		{object{"name": 7}, `{"name":["must be a text"]}`},
	} {
		got := r.admin("POST", "/api/api_keys", tt.body).require(422)
		require.JSONEq(t, tt.errors, encode(got.at("validation_errors")))
		require.NotContains(t, string(got.body), "my-own-secret")
	}
	r.admin("POST", "/api/api_keys", object{"name": "k-3", "scopes": "read"}).refused(400, "invalid_parameter")
	soon := r.admin("POST", "/api/api_keys", object{"name": "k-soon", "expires_at": time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)}).require(200).text("token")
	r.eventually("it expires", func() bool { return r.as(soon, "GET", "/api/account", nil).status == http.StatusUnauthorized })
	r.as(soon, "GET", "/api/account", nil).refused(401, "token_expired")
	r.gone("/api/api_keys/k-soon")
	r.gone("/api/api_keys/k-2")
}

func userRoutes(r *rig) {
	t := r.t
	made := r.admin("POST", "/api/users", object{"email": "ada@example.com", "password": password, "role": "viewer"}).require(200)
	id := made.text("id")
	require.NotContains(t, string(made.body), password)
	made.equalJSON(`{"id":"` + id + `","email":"ada@example.com","role":"viewer","inserted_at":"` + made.text("inserted_at") + `"}`)
	session := r.signIn("ADA@example.com")
	r.as(session, "GET", "/api/sinks", nil).require(200)
	r.as(session, "PATCH", "/api/sinks/pull", object{}).refused(403, "role_insufficient")
	require.Equal(t, "editor", r.admin("PATCH", "/api/users/"+id, object{"role": "editor"}).require(200).text("role"))
	r.as(session, "PATCH", "/api/sinks/pull", object{}).require(200) // at once
	r.admin("PATCH", "/api/users/"+id, object{"password": "another-" + password, "email": "ada@example.com"}).require(200)
	r.as(session, "GET", "/api/sinks", nil).refused(401, "token_unknown") // whoever knew the old password is out
	require.Len(t, r.admin("GET", "/api/users", nil).require(200).at("data"), 4)
	require.Empty(t, r.as(otherToken, "GET", "/api/users", nil).require(200).at("data"))

	for _, tt := range []struct {
		method, path string
		body         any
		status       int
		errors       string
	}{
		{"POST", "/api/users", object{}, 422, `{"email":["is required"],"password":["is required"]}`},
		{"POST", "/api/users", object{"email": "Ada@Example.com", "password": password}, 422, `{"email":["has already been taken"]}`},
		{"POST", "/api/users", object{"email": "x@y", "password": "short"}, 422, `{"password":["must have 8 to 72 characters"]}`},
		{"POST", "/api/users", object{"email": "x@y", "password": password, "role": "king"}, 422, `{"role":["is \"king\"; accepted: owner, editor, viewer"]}`},
		{"PATCH", "/api/users/" + id, object{"role": "king"}, 422, `{"role":["is \"king\"; accepted: owner, editor, viewer"]}`},
		{"PATCH", "/api/users/" + id, object{"email": "x@y"}, 422, `{"email":["cannot be changed: add another user, and remove this one"]}`},
		{"PATCH", "/api/users/owner@example.com", object{"role": "viewer"}, 422, ""},
		{"DELETE", "/api/users/owner@example.com", nil, 422, ""},
		{"DELETE", "/api/users/0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11", nil, 404, ""},
		{"PATCH", "/api/users/0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11", object{"role": "viewer"}, 404, ""},
	} {
		got := r.admin(tt.method, tt.path, tt.body).require(tt.status)
		if tt.errors != "" {
			require.JSONEq(t, tt.errors, encode(got.at("validation_errors")), got.request)
		}
	}
	r.as(otherToken, "DELETE", "/api/users/"+id, nil).refused(404, "user_not_found")
	r.admin("DELETE", "/api/users/"+id, nil).require(200).equalJSON(`{"id":"` + id + `","deleted":true}`)
}

func sessionRoutes(r *rig) {
	t := r.t
	session := r.as("", "POST", "/api/sessions", object{"email": "viewer@example.com", "password": password, "account": "acme"}).require(200)
	require.Equal(t, []any{"acme", "viewer"}, []any{session.at("account.name"), session.at("role")})
	expires, err := time.Parse(time.RFC3339, session.text("expires_at"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(12*time.Hour), expires, time.Minute)
	token := session.text("token")
	r.as(token, "DELETE", "/api/sessions/current", nil).require(200).equalJSON(`{"success":true}`)
	r.as(token, "DELETE", "/api/sessions/current", nil).refused(401, "token_unknown")
	r.admin("DELETE", "/api/sessions/current", nil).refused(404, "session_not_found")
	r.as("", "POST", "/api/sessions", object{"email": "viewer@example.com"}).refused(422, "missing_value")
	r.as("", "POST", "/api/sessions", object{"email": "viewer@example.com", "password": password, "account": "other"}).refused(401, "sign_in_failed")
	unknown := r.as("", "POST", "/api/sessions", object{"email": "nobody@example.com", "password": password}).refused(401, "sign_in_failed")
	wrong := r.as("", "POST", "/api/sessions", object{"email": "viewer@example.com", "password": "wrong-" + password}).refused(401, "sign_in_failed")
	require.JSONEq(t, string(unknown.body), string(wrong.body), "nobody learns who has an account")
	require.NotContains(t, r.log.all(), "nobody@example.com")
	r.as("", "POST", "/api/setup", object{"setup_token": "guessed", "email": "eve@example.com", "password": password}).refused(403, "setup_link_invalid")
	r.as("", "POST", "/api/setup", object{"email": "eve@example.com", "password": password}).refused(422, "missing_value")
}

func accountRoutes(r *rig) {
	t := r.t
	account := r.admin("GET", "/api/account", nil).require(200)
	id := account.text("id")
	account.equalJSON(`{"id":"` + id + `","name":"acme"}`)
	r.admin("PATCH", "/api/account", object{"name": "initech"}).require(200).equalJSON(`{"id":"` + id + `","name":"initech"}`)
	r.admin("PATCH", "/api/account", object{"name": "other"}).refused(422, "account_exists")
	r.admin("PATCH", "/api/account", object{"name": " "}).refused(422, "missing_value")
	require.Equal(t, "initech", r.as(r.signIn("viewer@example.com"), "GET", "/api/account", nil).text("name"))
	r.admin("PATCH", "/api/account", object{"name": "acme"}).require(200)
}

func adminRoutes(r *rig) {
	t := r.t
	made := r.operator("POST", "/api/admin/accounts", object{"name": "third"}).require(200)
	id := made.text("id")
	r.operator("POST", "/api/admin/accounts", object{"name": "third"}).refused(422, "account_exists")
	require.Len(t, r.operator("GET", "/api/admin/accounts", nil).require(200).at("data"), 3)
	require.Equal(t, "fourth", r.operator("PATCH", "/api/admin/accounts/third", object{"name": "fourth"}).require(200).text("name"))
	user := r.operator("POST", "/api/admin/users", object{"email": "bob@example.com", "password": password}, "X-Sequin-Account: fourth").require(200)
	require.Equal(t, []any{"owner", "fourth"}, []any{user.at("role"), user.at("account.name")})
	require.Len(t, r.operator("GET", "/api/admin/users", nil, "X-Sequin-Account: "+id).require(200).at("data"), 1)
	require.Len(t, r.operator("GET", "/api/admin/users", nil).require(200).at("data"), 4)
	r.operator("POST", "/api/admin/users/bob@example.com/password", object{"password": "new-" + password}).require(200).equalJSON(`{"success":true}`)
	r.as("", "POST", "/api/sessions", object{"email": "bob@example.com", "password": "new-" + password}).require(200)
	r.operator("POST", "/api/admin/users/nobody@example.com/password", object{"password": password}).refused(404, "user_not_found")
	r.operator("POST", "/api/admin/users/bob@example.com/password", object{"password": "short"}).refused(422, "invalid_value")

	fourth := "X-Sequin-Account: fourth"
	r.operator("POST", "/api/destinations/http_endpoints", object{"name": "x", "url": "https://example.com"}, fourth).require(200)
	r.admin("GET", "/api/destinations/http_endpoints/x", nil).require(404)
	r.operator("DELETE", "/api/admin/accounts/fourth", nil).refused(422, "account_in_use")
	r.operator("DELETE", "/api/destinations/http_endpoints/x", nil, fourth).require(200)
	r.operator("DELETE", "/api/admin/accounts/"+id, nil).require(200).equalJSON(`{"id":"` + id + `","deleted":true}`)
	r.as("", "POST", "/api/sessions", object{"email": "bob@example.com", "password": "new-" + password}).refused(401, "sign_in_failed")
	for _, method := range []string{"PATCH", "DELETE"} {
		r.operator(method, "/api/admin/accounts/"+id, object{"name": "x"}).refused(404, "account_not_found")
	}
	r.operator("GET", "/api/sinks", nil, "X-Sequin-Account: nobody").refused(404, "account_not_found")
	r.operator("GET", "/api/sinks", nil).refused(404, "account_not_found") // two accounts, none of them "default"
	require.Equal(t, "pull", r.operator("GET", "/api/sinks/pull", nil, "X-Sequin-Account: acme").text("name"))

	require.Regexp(t, "^[0-9a-f]{16}$", r.operator("POST", "/api/admin/vault/rotate", nil).require(200).text("key_id"))
	require.Equal(t, "unused-but-secret", r.admin("GET", "/api/postgres_databases/db?show_sensitive=true", nil).text("password"))
	link := r.operator("POST", "/api/admin/setup_link", nil).require(200)
	require.Contains(t, link.text("link"), link.text("setup_token"))
	session := r.as("", "POST", "/api/setup", object{"setup_token": link.text("setup_token"), "email": "second@example.com", "password": password}).require(200)
	require.Equal(t, "owner", session.text("role"))
	r.as("", "POST", "/api/setup", object{"setup_token": link.text("setup_token"), "email": "third@example.com", "password": password}).refused(403, "setup_link_invalid")
	r.as(session.text("token"), "DELETE", "/api/users/second@example.com", nil).require(200)

	for _, route := range []string{"GET accounts", "POST accounts", "POST setup_link", "POST vault/rotate", "GET users"} {
		method, path, _ := strings.Cut(route, " ")
		r.admin(method, "/api/admin/"+path, nil).require(404) // over the network there is no such route
	}
}

// What every route does with requests that are no good, and what every reply has.
func requests(r *rig) {
	t := r.t
	for _, tt := range []struct {
		name, method, path string
		body               any
		headers            []string
		status             int
		code               string
	}{
		{"malformed JSON", "POST", "/api/sinks", `{"name":`, nil, 400, "malformed_json"},
		{"a list", "POST", "/api/sinks", `[]`, nil, 400, "body_not_an_object"},
		{"another type", "POST", "/api/sinks", `name=x`, []string{"Content-Type: text/plain"}, 400, "content_type"},
		{"too deep", "POST", "/api/sinks", `{"annotations":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, nil, 400, "body_too_deep"},
		{"too large", "POST", "/api/config/plan", `{"yaml":"` + strings.Repeat("#", 8_000_000) + `"}`, nil, 413, "body_too_large"},
		{"no JSON wanted", "GET", "/api/sinks", nil, []string{"Accept: text/html"}, 406, "not_acceptable"},
		{"a malformed query", "GET", "/api/sinks?a=%zz", nil, nil, 400, "malformed_query"},
		{"no route", "GET", "/api/nothing", nil, nil, 404, "route_not_found"},
		{"no method", "DELETE", "/api/sinks", nil, nil, 404, "route_not_found"},
	} {
		got := r.admin(tt.method, tt.path, tt.body, tt.headers...).refused(tt.status, tt.code)
		require.Equal(t, "docs/reference/errors.md#"+tt.code, got.text("docs"), tt.name)
		require.Equal(t, "application/json; charset=utf-8", got.header.Get("Content-Type"), tt.name)
		require.Equal(t, "no-store", got.header.Get("Cache-Control"), tt.name)
	}
	r.as(otherToken, "GET", "/api/sinks/pull", nil, "X-Sequin-Account: acme").refused(404, "sink_not_found") // over the network the token alone says whose
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, r.oversized())
	r.admin("POST", "/api/sinks/pull/backfills", nil).refused(422, "missing_value") // an empty body needs no type
	r.as("", "GET", "/api/sinks", nil).refused(401, "authorization_missing")
	require.Equal(t, "Bearer", r.as("unknown-token", "GET", "/api/sinks", nil).refused(401, "token_unknown").header.Get("WWW-Authenticate"))
	large := object{"yaml": "x-padding: " + strings.Repeat("x", 1_000_000)}
	require.Empty(t, r.admin("POST", "/api/config/plan", large).require(200).at("changes"))
}

// oversized is the status of a request with a header that is too large, which no handler sees.
func (r *rig) oversized() int {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.server.Addr()+"/api/sinks", http.NoBody)
	require.NoError(r.t, err)
	req.Header.Set("X-Padding", strings.Repeat("x", 128<<10))
	resp, err := r.network.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	return resp.StatusCode
}

func contractRoutes(r *rig) {
	t := r.t
	require.Equal(t, "3.1.0", r.as("", "GET", "/api/openapi.json", nil).require(200).text("openapi"))
	require.Equal(t, "https://json-schema.org/draft/2020-12/schema", r.as("", "GET", "/api/config/schema", nil).require(200).text("$schema"))
}

// Whoever guesses passwords or tokens is slowed down, and nobody else.
func TestGuessingIsSlowedDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 10 {
		r.as("", "POST", "/api/sessions", object{"email": "owner@example.com", "password": fmt.Sprintf("guess-number-%d", i)}).refused(401, "sign_in_failed")
	}
	wait := r.as("", "POST", "/api/sessions", object{"email": "owner@example.com", "password": password}).refused(429, "too_many_attempts").header.Get("Retry-After")
	require.NotEmpty(t, wait)
	require.Greater(t, len(wait), 1, "minutes, in seconds")
	r.as("", "POST", "/api/setup", object{"setup_token": "x", "email": "eve@example.com", "password": password}).refused(429, "too_many_attempts")
	for i := range 100 {
		r.as(fmt.Sprintf("unknown-%d", i), "GET", "/api/sinks", nil).refused(401, "token_unknown")
	}
	r.as("unknown-100", "GET", "/api/sinks", nil).refused(429, "too_many_attempts")
	for range 20 {
		r.admin("GET", "/api/sinks", nil).require(200)
	}
}
