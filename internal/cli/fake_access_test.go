package cli_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// access is tokens, users, sessions and the operator's routes.
func (f *fakeServer) access() {
	byID := func(table, what string, handle func(i int, body object) reply) func(*http.Request, object) reply {
		return func(r *http.Request, body object) reply {
			i := slices.IndexFunc(f.tables[table], func(o object) bool { return o["id"] == r.PathValue("id") })
			if i < 0 {
				return notFound(what)
			}
			return handle(i, body)
		}
	}
	f.on("GET /api/api_keys", func(*http.Request, object) reply { return ok(object{"data": f.list("api_keys")}) })
	f.on("POST /api/api_keys", func(_ *http.Request, body object) reply {
		name, _ := body["name"].(string)
		if find(f.tables["api_keys"], name) >= 0 {
			return invalid("name", "has already been taken")
		}
		scopes := body["scopes"]
		if scopes == nil {
			scopes = []string{"admin"}
		}
		made := object{"id": id(10 + len(f.tables["api_keys"])), "name": name, "scopes": scopes, "expires_at": body["expires_at"], "inserted_at": when(9)}
		f.tables["api_keys"] = append(f.tables["api_keys"], made)
		shown := object{}
		merge(shown, made)
		if body["token"] == nil {
			shown["token"] = "new-secret-0123456789"
		}
		return ok(shown)
	})
	f.on("POST /api/api_keys/{id}/rotate", byID("api_keys", "api token", func(i int, _ object) reply {
		o := f.tables["api_keys"][i]
		return ok(object{"id": o["id"], "name": o["name"], "inserted_at": o["inserted_at"], "token": "rotated-secret-0123456789"})
	}))
	f.on("DELETE /api/api_keys/{id}", byID("api_keys", "api token", func(i int, _ object) reply {
		f.tables["api_keys"] = slices.Delete(f.tables["api_keys"], i, i+1)
		return ok(object{"success": true})
	}))
	makeUser := func(_ *http.Request, body object) reply {
		if text, _ := body["password"].(string); len(text) < 8 {
			return invalid("password", "should be at least 8 characters")
		}
		made := object{"id": id(20 + len(f.tables["users"])), "email": body["email"], "role": "editor", "inserted_at": when(8)}
		if body["role"] != nil {
			made["role"] = body["role"]
		}
		f.tables["users"] = append(f.tables["users"], made)
		return ok(made)
	}
	f.on("GET /api/users", func(*http.Request, object) reply { return ok(object{"data": f.list("users")}) })
	f.on("GET /api/admin/users", func(*http.Request, object) reply {
		all := []object{}
		for _, u := range f.tables["users"] {
			for _, account := range f.tables["accounts"] { // whoever is a user is one of every account here
				whole := object{"account": object{"id": account["id"], "name": account["name"]}}
				merge(whole, u)
				all = append(all, whole)
			}
		}
		return ok(object{"data": all})
	})
	f.on("POST /api/users", makeUser)
	f.on("POST /api/admin/users", makeUser)
	f.on("PATCH /api/users/{id}", byID("users", "user", func(i int, body object) reply {
		delete(body, "password")
		merge(f.tables["users"][i], body)
		return ok(f.tables["users"][i])
	}))
	f.on("DELETE /api/users/{id}", byID("users", "user", func(i int, _ object) reply {
		gone := f.tables["users"][i]
		f.tables["users"] = slices.Delete(f.tables["users"], i, i+1)
		return ok(object{"id": gone["id"], "deleted": true})
	}))
	f.on("POST /api/admin/users/{email}/password", func(r *http.Request, body object) reply {
		if !slices.ContainsFunc(f.tables["users"], func(o object) bool { return o["email"] == r.PathValue("email") }) {
			return notFound("user")
		}
		if text, _ := body["password"].(string); len(text) < 8 {
			return invalid("password", "should be at least 8 characters")
		}
		return ok(object{"success": true})
	})
	f.sessionRoutes()
	f.accountRoutes()
}

func (f *fakeServer) sessionRoutes() {
	f.on("POST /api/sessions", func(_ *http.Request, body object) reply {
		if body["email"] != "ops@acme.test" || body["password"] != "correct horse" {
			return no(http.StatusUnauthorized, "login_failed", "e-mail or password is wrong")
		}
		token := fmt.Sprintf("session-token-%d", len(f.sessions))
		f.sessions[token] = true
		return ok(object{"token": token, "expires_at": "2026-03-20T09:00:00Z", "account": object{"id": id(3), "name": "default"}, "role": "owner"})
	})
	f.on("DELETE /api/sessions/current", func(r *http.Request, _ object) reply {
		delete(f.sessions, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		return ok(object{"success": true})
	})
}

func (f *fakeServer) accountRoutes() {
	f.on("GET /api/account", func(r *http.Request, _ object) reply {
		o := object{"id": id(3), "name": f.tables["accounts"][0]["name"]}
		if name := r.Header.Get("X-Sequin-Account"); name != "" {
			o["name"] = name
		}
		return ok(o)
	})
	f.on("PATCH /api/account", func(_ *http.Request, body object) reply {
		f.tables["accounts"][0]["name"] = body["name"]
		return ok(object{"id": id(3), "name": body["name"]})
	})
	f.on("GET /api/admin/accounts", func(*http.Request, object) reply { return ok(object{"data": f.list("accounts")}) })
	f.on("POST /api/admin/accounts", func(_ *http.Request, body object) reply {
		made := object{"id": id(30 + len(f.tables["accounts"])), "name": body["name"], "inserted_at": when(7)}
		f.tables["accounts"] = append(f.tables["accounts"], made)
		return ok(made)
	})
	one := func(handle func(i int, body object) reply) func(*http.Request, object) reply {
		return func(r *http.Request, body object) reply {
			i := find(f.tables["accounts"], r.PathValue("name"))
			if i < 0 {
				return notFound("account")
			}
			return handle(i, body)
		}
	}
	f.on("PATCH /api/admin/accounts/{name}", one(func(i int, body object) reply {
		f.tables["accounts"][i]["name"] = body["name"]
		return ok(f.tables["accounts"][i])
	}))
	f.on("DELETE /api/admin/accounts/{name}", one(func(i int, _ object) reply {
		f.tables["accounts"] = slices.Delete(f.tables["accounts"], i, i+1)
		return ok(object{"success": true})
	}))
	f.on("POST /api/admin/vault/rotate", func(*http.Request, object) reply { return ok(object{"key_id": "0123456789abcdef", "resealed": 12}) })
	f.on("POST /api/admin/setup_link", func(*http.Request, object) reply {
		return ok(object{"link": "http://localhost:7376/setup?token=secret-of-the-link", "setup_token": "secret-of-the-link"})
	})
}
