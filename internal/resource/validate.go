package resource

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Validate checks the whole set, references between its members included, and returns every mistake.
func (s *Set) Validate() []Mistake { return s.ValidateOver(&Set{}) }

// ValidateOver checks a set that is to be put over a stored one, by name: references may be to what is stored, and what the set declares must
// not contradict what stays. The stored set itself is not checked.
func (s *Set) ValidateOver(stored *Set) []Mistake {
	var c checker
	c.account("account", &s.Account)
	each(&c, "users", s.Users, (*checker).user)
	each(&c, "api_tokens", s.APITokens, (*checker).apiToken)
	each(&c, "databases", s.Databases, (*checker).database)
	each(&c, "change_retentions", s.ChangeRetentions, (*checker).changeRetention)
	each(&c, "http_endpoints", s.HTTPEndpoints, (*checker).endpoint)
	each(&c, "functions", s.Functions, (*checker).function)
	each(&c, "sinks", s.Sinks, (*checker).sink)
	c.unique(s, stored)
	c.references(s, stored)
	return c.mistakes
}

func each[T any](c *checker, section string, items []T, check func(*checker, string, *T)) {
	for i := range items {
		check(c, fmt.Sprintf("%s[%d]", section, i), &items[i])
	}
}

// Validate checks one sink without its references; path, if there is one, is put before the paths of its mistakes.
func (s *Sink) Validate(path string) []Mistake { return one(path, s, (*checker).sink) }

// Validate checks one database; path, if there is one, is put before the paths of its mistakes.
func (d *Database) Validate(path string) []Mistake { return one(path, d, (*checker).database) }

// Validate checks one endpoint; path, if there is one, is put before the paths of its mistakes.
func (e *HTTPEndpoint) Validate(path string) []Mistake { return one(path, e, (*checker).endpoint) }

// Validate checks one function; path, if there is one, is put before the paths of its mistakes.
func (f *Function) Validate(path string) []Mistake { return one(path, f, (*checker).function) }

// Validate checks one change retention without its references; path, if there is one, is put before the paths of its mistakes.
func (r *ChangeRetention) Validate(path string) []Mistake {
	return one(path, r, (*checker).changeRetention)
}

// Validate checks one token; path, if there is one, is put before the paths of its mistakes.
func (t *APIToken) Validate(path string) []Mistake { return one(path, t, (*checker).apiToken) }

// Validate checks one user; path, if there is one, is put before the paths of its mistakes.
func (u *User) Validate(path string) []Mistake { return one(path, u, (*checker).user) }

func one[T any](path string, item *T, check func(*checker, string, *T)) []Mistake {
	var c checker
	check(&c, path, item)
	if path == "" {
		for i := range c.mistakes {
			c.mistakes[i].Path = strings.TrimPrefix(c.mistakes[i].Path, ".")
		}
	}
	return c.mistakes
}

type checker struct {
	mistakes []Mistake
}

func (c *checker) add(path, code, format string, args ...any) *Mistake {
	c.mistakes = append(c.mistakes, Mistake{Path: path, Code: code, What: fmt.Sprintf(format, args...)})
	return &c.mistakes[len(c.mistakes)-1]
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_\-.]+$`)

const maxNameLength = 255

func (c *checker) name(path, name string) {
	switch {
	case name == "":
		c.add(path, CodeMissing, "is required")
	case !namePattern.MatchString(name):
		c.add(path, CodeInvalid, "is %q; a name has letters, digits, and the characters _ - . only", name)
	case len(name) > maxNameLength:
		c.add(path, CodeInvalid, "is longer than %d characters", maxNameLength)
	}
}

func oneOf[T ~string](c *checker, path string, value T, accepted []T) {
	if !slices.Contains(accepted, value) {
		c.add(path, CodeInvalid, "is %q; accepted: %s", string(value), List(accepted))
	}
}

// List joins accepted values for a message.
func List[T ~string](values []T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}

func (c *checker) between(path string, value, low, high int) {
	if value < low || value > high {
		c.add(path, CodeInvalid, "is %d; it must be between %d and %d", value, low, high)
	}
}

func (c *checker) millis(path string, value, low, high time.Duration) {
	if value < low || value > high {
		c.add(path, CodeInvalid, "is %d; it must be between %d and %d (milliseconds)", value.Milliseconds(), low.Milliseconds(), high.Milliseconds())
	}
}

const maxAnnotations = 8192

func (c *checker) annotations(path string, raw json.RawMessage) {
	if len(raw) > maxAnnotations {
		c.add(path, CodeInvalid, "has %d bytes as JSON; at most %d are kept with every message", len(raw), maxAnnotations)
		return
	}
	var object map[string]json.RawMessage
	if len(raw) > 0 && json.Unmarshal(raw, &object) != nil {
		c.add(path, CodeInvalid, "must be an object")
	}
}

func (c *checker) account(path string, a *Account) {
	if strings.TrimSpace(a.Name) == "" {
		c.add(path+".name", CodeMissing, "is required")
	} else if len(a.Name) > 80 {
		c.add(path+".name", CodeInvalid, "is longer than 80 characters")
	}
}

func (c *checker) user(path string, u *User) {
	local, domain, ok := strings.Cut(u.Email, "@")
	switch {
	case u.Email == "":
		c.add(path+".email", CodeMissing, "is required")
	case !ok || local == "" || domain == "" || strings.ContainsAny(u.Email, " \t\r\n,;"):
		c.add(path+".email", CodeInvalid, "is %q, which is not an e-mail address", u.Email)
	case len(u.Email) > 160:
		c.add(path+".email", CodeInvalid, "is longer than 160 characters")
	}
	if n := len(u.Password); n == 0 {
		c.add(path+".password", CodeMissing, "is required")
	} else if n < 8 || n > 72 {
		c.add(path+".password", CodeInvalid, "must have 8 to 72 characters")
	}
	oneOf(c, path+".role", u.Role, Roles())
}

func (c *checker) apiToken(path string, t *APIToken) {
	c.name(path+".name", t.Name)
	if strings.ContainsFunc(t.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		c.add(path+".token", CodeInvalid, "has spaces or characters that cannot be sent in an HTTP header").Hint = "make one with: openssl rand -hex 32"
	}
	if len(t.Scopes) == 0 {
		c.add(path+".scopes", CodeInvalid, "is empty; accepted: admin, read, consume:<sink>")
	}
	for i, scope := range t.Scopes {
		sink, consume := strings.CutPrefix(string(scope), consumePrefix)
		if scope != ScopeAdmin && scope != ScopeRead && (!consume || !namePattern.MatchString(sink)) {
			c.add(fmt.Sprintf("%s.scopes[%d]", path, i), CodeInvalid, "is %q; accepted: admin, read, consume:<sink>", string(scope))
		}
	}
}
