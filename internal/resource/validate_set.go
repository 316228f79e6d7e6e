package resource

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// unique finds names that stand twice in one kind.
func (c *checker) unique(s *Set) {
	sameNames(c, "users", "email", s.Users, func(u *User) string { return strings.ToLower(u.Email) })
	sameNames(c, "api_tokens", "name", s.APITokens, func(t *APIToken) string { return t.Name })
	sameNames(c, "databases", "name", s.Databases, func(d *Database) string { return d.Name })
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
	c.sameSlot(s)
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
func (c *checker) sameSlot(s *Set) {
	type slot struct {
		host string
		port int
		name string
	}
	seen := map[slot]int{}
	for i := range s.Databases {
		d := &s.Databases[i]
		if d.Slot.Name == "" || d.Hostname == "" {
			continue
		}
		key := slot{strings.ToLower(d.Hostname), d.Port, d.Slot.Name}
		if first, ok := seen[key]; ok {
			c.add(fmt.Sprintf("databases[%d].slot.name", i), CodeConflict,
				"is %q, which databases[%d] reads on the same server; a slot has one reader, and slots are named per server", d.Slot.Name, first)
			continue
		}
		seen[key] = i
	}
}

// references finds names that nothing has.
func (c *checker) references(s *Set) {
	for i := range s.Sinks {
		k := &s.Sinks[i]
		at := fmt.Sprintf("sinks[%d]", i)
		if _, ok := s.Database(k.Database); !ok && k.Database != "" {
			c.missing(at+".database", "database", k.Database, names(s.Databases, func(d *Database) string { return d.Name }))
		}
		if k.Destination.Type != DestinationWebhook || k.Destination.Webhook.HTTPEndpoint == "" {
			continue
		}
		endpoint := k.Destination.Webhook.HTTPEndpoint
		if _, ok := s.HTTPEndpoint(endpoint); !ok {
			c.missing(at+webhookKey, "HTTP endpoint", endpoint, names(s.HTTPEndpoints, func(e *HTTPEndpoint) string { return e.Name }))
		}
	}
	for i := range s.APITokens {
		for j, scope := range s.APITokens[i].Scopes {
			sink, ok := strings.CutPrefix(string(scope), consumePrefix)
			if _, found := s.Sink(sink); ok && !found {
				c.missing(fmt.Sprintf("api_tokens[%d].scopes[%d]", i, j), "sink", sink, names(s.Sinks, func(k *Sink) string { return k.Name }))
			}
		}
	}
}

func names[T any](items []T, name func(*T) string) []string {
	var all []string
	for i := range items {
		if n := name(&items[i]); n != "" {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (c *checker) missing(at, kind, name string, declared []string) {
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
