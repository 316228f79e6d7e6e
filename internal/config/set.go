package config

import (
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
	resources(f, "databases", &s.Databases, d.base.Database, d.database)
	resources(f, "change_retentions", &s.ChangeRetentions, d.base.ChangeRetention, d.changeRetention)
	resources(f, "http_endpoints", &s.HTTPEndpoints, d.base.HTTPEndpoint, d.endpoint)
	d.functions(f, s)
	resources(f, "sinks", &s.Sinks, d.base.Sink, d.sink)
	if !f.describing() {
		d.unknownSections(f)
	}
	return s
}

// resources reads a section, each item on top of the stored one of its name.
func resources[T any](f *fields, section string, dst *[]T, find func(name string) (*T, bool), read func(path string, n *node, stored *T) T) {
	f.list(section, func(path string, n *node) {
		var stored *T
		if name := n.entry("name"); name != nil && name.kind == scalar {
			stored, _ = find(name.text)
		}
		*dst = append(*dst, read(path, n, stored))
	})
}

// functions reads the section under its name or its old one.
func (d *decoder) functions(f *fields, s *resource.Set) {
	_, now := f.find("functions")
	if n, old := f.find("transforms"); now && old {
		f.mistake("transforms", n, resource.CodeConflict, "is the old name of functions; give one of them")
	}
	resources(f, "functions", &s.Functions, d.base.Function, d.function)
	if now {
		return
	}
	d.as["transforms"] = "functions" // one path for what is one section
	resources(f, "transforms", &s.Functions, d.base.Function, d.function)
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
	f.name("name", &a.Name)
	f.ignore("id")
	f.close()
}

func (d *decoder) user(path string, n *node) resource.User {
	u := resource.User{Role: resource.RoleOwner}
	f := d.fields(path, n)
	f.name("email", &u.Email)
	f.secret("password", &u.Password, "")
	choice(f, "role", &u.Role, resource.RoleOwner, resource.Roles())
	f.ignore("id", "account")
	f.close()
	return u
}

func (d *decoder) apiToken(path string, n *node) resource.APIToken {
	all := []resource.Scope{resource.ScopeAdmin}
	t := resource.APIToken{Scopes: all}
	f := d.fields(path, n)
	f.name("name", &t.Name)
	f.secret("token", &t.Token, "")
	var scopes []string
	if f.texts("scopes", &scopes, []string{string(resource.ScopeAdmin)}) {
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
