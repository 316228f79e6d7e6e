package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/resource"
)

// set reads the whole document.
func (d *decoder) set(root *node) *resource.Set {
	s := &resource.Set{Account: resource.Account{Name: resource.DefaultAccount}}
	if root == nil || root.kind == null {
		return s
	}
	f := d.fields("", root)
	d.account(f, &s.Account)
	f.list("users", func(path string, n *node) { s.Users = append(s.Users, d.user(path, n)) })
	f.list("api_tokens", func(path string, n *node) { s.APITokens = append(s.APITokens, d.apiToken(path, n)) })
	f.list("databases", func(path string, n *node) { s.Databases = append(s.Databases, d.database(path, n)) })
	f.list("http_endpoints", func(path string, n *node) { s.HTTPEndpoints = append(s.HTTPEndpoints, d.endpoint(path, n)) })
	f.list("sinks", func(path string, n *node) { s.Sinks = append(s.Sinks, d.sink(path, n)) })
	f.later("functions", "functions", "transforms")
	f.later("change retention", "change_retentions")
	d.unknownSections(f)
	return s
}

// unknownSections warns of top-level keys that nobody reads: they may hold anchors. Those that begin with x- say so themselves.
func (d *decoder) unknownSections(f *fields) {
	for i := range f.n.entries {
		e := &f.n.entries[i]
		if strings.HasPrefix(e.key, "x-") || slices.Contains(f.known, e.key) {
			continue
		}
		hint := "; name it x-" + e.key + " if it only holds anchors"
		if s := suggest(e.key, f.known); s != "" {
			hint = "; did you mean " + s + "?"
		}
		d.warnOnce("section "+e.key, e.key, e.at, "is not a known section and is ignored%s", hint)
	}
}

func (d *decoder) account(top *fields, a *resource.Account) {
	f, ok := top.section("account")
	if !ok {
		return
	}
	a.Name = ""
	f.text("name", &a.Name)
	f.ignore("id")
	f.close()
}

func (d *decoder) user(path string, n *node) resource.User {
	var u resource.User
	f := d.fields(path, n)
	f.text("email", &u.Email)
	f.secret("password", &u.Password)
	f.ignore("id", "account")
	f.close()
	d.warnOnce("users", path, n.at, "has no effect: this version has no console to sign in to; API access is by api_tokens")
	return u
}

func (d *decoder) apiToken(path string, n *node) resource.APIToken {
	t := resource.APIToken{Scopes: []resource.Scope{resource.ScopeAdmin}}
	f := d.fields(path, n)
	f.text("name", &t.Name)
	f.secret("token", &t.Token)
	var scopes []string
	if f.texts("scopes", &scopes) {
		t.Scopes = make([]resource.Scope, len(scopes))
		for i, s := range scopes {
			t.Scopes[i] = resource.Scope(s)
		}
	}
	f.ignore("id")
	f.close()
	const short = 16
	if n := len(t.Token); n > 0 && n < short {
		d.warnOnce("short "+path, path+".token", d.locate(path+".token"), "has %d characters and is easy to guess; make a better one with: openssl rand -hex 32", n)
	}
	return t
}

func (d *decoder) endpoint(path string, n *node) resource.HTTPEndpoint {
	var e resource.HTTPEndpoint
	f := d.fields(path, n)
	f.text("name", &e.Name)
	f.text("url", &e.URL)
	e.Headers = map[string]string{}
	e.EncryptedHeaders = map[string]resource.Secret{}
	f.headers("headers", func(name, value string) { e.Headers[name] = value })
	f.headers("encrypted_headers", func(name, value string) { e.EncryptedHeaders[name] = resource.Secret(value) })
	var secrets []string
	if f.texts("signing_secrets", &secrets) {
		for _, s := range secrets {
			e.SigningSecrets = append(e.SigningSecrets, resource.Secret(s))
		}
	}
	f.tunnel()
	f.ignore("id", "inserted_at", "updated_at", "account_id")
	f.close()
	return e
}

// tunnel refuses the endpoints that only the original's cloud could reach.
func (f *fields) tunnel() {
	var local, site bool
	if f.boolean("local", &local) && local {
		f.ignore("path")
		n, _ := f.find("local")
		f.mistake("url", n, resource.CodeRetired, "is missing: a local endpoint was reached through a tunnel of the closed cloud").
			Hint = "Sequin runs beside you: give the endpoint's own address, for example url: http://localhost:3000/hook"
		return
	}
	if f.boolean("webhook.site", &site) && site {
		n, _ := f.find("webhook.site")
		f.mistake("url", n, resource.CodeRetired, "is missing: nothing is created at webhook.site for you").
			Hint = "open https://webhook.site in a browser and copy your address to url"
		return
	}
	if n, ok := f.find("path"); ok {
		f.mistake("path", n, resource.CodeRetired, "belongs to tunnels, which are no longer offered").
			Hint = "put the path into url, or into the sink's http_endpoint_path"
	}
}

// headers reads a mapping, or a list of {key, value}.
func (f *fields) headers(key string, add func(name, value string)) {
	n, ok := f.find(key)
	if !ok {
		return
	}
	switch {
	case n.kind == mapping:
		for i := range n.entries {
			e := &n.entries[i]
			if e.value.kind != scalar {
				f.d.mistake(f.at(key)+"."+e.key, e.at, resource.CodeInvalid, "is %s; expected a text", shape(e.value))
				continue
			}
			f.d.places[f.at(key)+"."+e.key] = e.at
			add(e.key, e.value.text)
		}
	case n.kind == sequence:
		for i, item := range n.items {
			h := f.d.fields(fmt.Sprintf("%s[%d]", f.at(key), i), item)
			var name string
			var value resource.Secret
			if !h.text("key", &name) || !h.secret("value", &value) {
				h.d.mistake(h.path, item.at, resource.CodeMissing, "needs key and value")
				continue
			}
			h.close()
			f.d.places[f.at(key)+"."+name] = item.at
			add(name, value.Reveal())
		}
	case strings.Contains(n.text, "sha256sum:"):
		f.d.warnOnce("masked headers", f.at(key), n.at, "is the masked form of an export and is ignored; export again with secrets")
	default:
		f.mistake(key, n, resource.CodeInvalid, "must be a mapping, or a list of {key, value}")
	}
}

// shape describes a value without showing it.
func shape(n *node) string {
	if n.kind == scalar {
		return "a text"
	}
	return n.describe()
}
