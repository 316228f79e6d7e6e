package resource

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// unique finds names that stand twice in one kind.
func (c *checker) unique(s, stored *Set) {
	sameNames(c, "users", "email", s.Users, func(u *User) string { return strings.ToLower(u.Email) })
	sameNames(c, "api_tokens", "name", s.APITokens, func(t *APIToken) string { return t.Name })
	sameNames(c, "databases", "name", s.Databases, func(d *Database) string { return d.Name })
	sameNames(c, "change_retentions", "name", s.ChangeRetentions, func(r *ChangeRetention) string { return r.Name })
	sameNames(c, "functions", "name", s.Functions, func(f *Function) string { return f.Name })
	sameNames(c, "http_endpoints", "name", s.HTTPEndpoints, func(e *HTTPEndpoint) string { return e.Name })
	sameNames(c, "sinks", "name", s.Sinks, func(k *Sink) string { return k.Name })

	tokens := map[[32]byte]int{}
	for i := range s.APITokens {
		if s.APITokens[i].Token == "" {
			continue
		}
		hash := sha256.Sum256([]byte(s.APITokens[i].Token.Reveal()))
		if first, ok := tokens[hash]; ok {
			c.add(fmt.Sprintf("api_tokens[%d].token", i), CodeDuplicate, "is the same as that of api_tokens[%d]", first)
			continue
		}
		tokens[hash] = i
	}
	c.sameSlot(s, stored)
}

func sameNames[T any](c *checker, kind, key string, items []T, name func(*T) string) {
	seen := map[string]int{}
	for i := range items {
		n := name(&items[i])
		if n == "" {
			continue
		}
		if first, ok := seen[n]; ok {
			c.add(fmt.Sprintf("%s[%d].%s", kind, i, key), CodeDuplicate, "is %q, the same as %s[%d]", n, kind, first)
			continue
		}
		seen[n] = i
	}
}

// sameSlot finds two databases that would read one slot: Postgres lets only one in.
func (c *checker) sameSlot(s, stored *Set) {
	type slot struct {
		host string
		port int
		name string
	}
	seen := map[slot]string{}
	of := func(d *Database) slot { return slot{strings.ToLower(d.Hostname), d.Port, d.Slot.Name} }
	for i := range stored.Databases {
		if _, again := s.Database(stored.Databases[i].Name); !again {
			seen[of(&stored.Databases[i])] = fmt.Sprintf("the database %q", stored.Databases[i].Name)
		}
	}
	for i := range s.Databases {
		d := &s.Databases[i]
		if d.Slot.Name == "" || d.Hostname == "" {
			continue
		}
		if first, ok := seen[of(d)]; ok {
			c.add(fmt.Sprintf("databases[%d].slot.name", i), CodeConflict,
				"is %q, which %s reads on the same server; a slot has one reader, and slots are named per server", d.Slot.Name, first)
			continue
		}
		seen[of(d)] = fmt.Sprintf("databases[%d]", i)
	}
}

// references finds names that nothing has.
func (c *checker) references(s, stored *Set) {
	for i := range s.Sinks {
		k := &s.Sinks[i]
		at := fmt.Sprintf("sinks[%d]", i)
		c.databaseReference(at+".database", k.Database, s, stored)
		c.functionReferences(at, k, s, stored)
		if k.Destination.Type != DestinationWebhook || k.Destination.Webhook.HTTPEndpoint == "" {
			continue
		}
		name := func(e *HTTPEndpoint) string { return e.Name }
		c.reference(at+webhookKey, "HTTP endpoint", k.Destination.Webhook.HTTPEndpoint, names(name, s.HTTPEndpoints, stored.HTTPEndpoints))
	}
	for i := range s.Functions {
		c.databaseReference(fmt.Sprintf("functions[%d].database", i), s.Functions[i].Query.Database, s, stored)
	}
	for i := range s.ChangeRetentions {
		r := &s.ChangeRetentions[i]
		at := fmt.Sprintf("change_retentions[%d]", i)
		c.databaseReference(at+".source_database", r.SourceDatabase, s, stored)
		c.databaseReference(at+".destination_database", r.DestinationDatabase, s, stored)
	}
	c.retentionLoops(s, stored)
	for i := range s.APITokens {
		for j, scope := range s.APITokens[i].Scopes {
			if sink, ok := strings.CutPrefix(string(scope), consumePrefix); ok && namePattern.MatchString(sink) {
				c.reference(fmt.Sprintf("api_tokens[%d].scopes[%d]", i, j), "sink", sink, names(func(k *Sink) string { return k.Name }, s.Sinks, stored.Sinks))
			}
		}
	}
}

// functionReferences finds functions that are not there, or that cannot be used in the place where they are named.
func (c *checker) functionReferences(at string, k *Sink, s, stored *Set) {
	for _, use := range []struct {
		key, name string
		types     []FunctionType
	}{
		{"filter", k.Filter, []FunctionType{FunctionFilter}},
		{"transform", k.Transform, []FunctionType{FunctionTransform, FunctionPath}},
		{"enrichment", k.Enrichment, []FunctionType{FunctionEnrichment}},
		{"routing", k.Routing, []FunctionType{FunctionRouting}},
	} {
		if use.name == "" {
			continue
		}
		path := at + "." + use.key
		f, ok := s.Function(use.name)
		if !ok {
			f, ok = stored.Function(use.name)
		}
		switch {
		case !ok:
			c.reference(path, "function", use.name, names(func(f *Function) string { return f.Name }, s.Functions, stored.Functions))
		case !slices.Contains(use.types, f.Type):
			c.add(path, CodeReference, "is %q, a function of the type %s; accepted here: %s", use.name, f.Type, List(use.types))
		case f.Type == FunctionRouting && f.SinkType != string(k.Destination.Type) && f.SinkType != "":
			c.add(path, CodeReference, "is %q, which routes for sinks of the type %s; this one is of the type %s", use.name, f.SinkType, k.Destination.Type)
		}
	}
}

func (c *checker) databaseReference(at, name string, s, stored *Set) {
	if name != "" {
		c.reference(at, "database", name, names(func(d *Database) string { return d.Name }, s.Databases, stored.Databases))
	}
}

func names[T any](name func(*T) string, declared ...[]T) []string {
	var all []string
	for _, items := range declared {
		for i := range items {
			if n := name(&items[i]); n != "" {
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (c *checker) reference(at, kind, name string, declared []string) {
	if slices.Contains(declared, name) {
		return
	}
	const shown = 10
	more := ""
	if len(declared) > shown {
		declared, more = declared[:shown], ", …"
	}
	if len(declared) == 0 {
		c.add(at, CodeReference, "is %q, but no %s is declared", name, kind)
		return
	}
	c.add(at, CodeReference, "is %q, but there is no such %s; declared: %s%s", name, kind, List(declared), more)
}
