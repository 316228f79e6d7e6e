// Package resource holds what people declare: accounts, tokens, databases, endpoints and sinks. It is the one model behind sequin.yaml, the
// HTTP API and the CLI, and Validate is the one validation: it reports every mistake at once, each with its path. The package knows nothing
// of files, storage or what is running.
package resource

import "time"

// Set is everything that one account declares. References between its members are by name.
type Set struct {
	Account          Account
	Users            []User     // as a document declares them; what is stored of them lives beside the sets
	APITokens        []APIToken // likewise
	Databases        []Database
	ChangeRetentions []ChangeRetention
	HTTPEndpoints    []HTTPEndpoint
	Functions        []Function
	Sinks            []Sink
}

// Meta is what a stored resource has beside its declaration. The zero value is that of one that was never stored.
type Meta struct {
	ID         string    // a version 4 UUID in lower case, for ever
	InsertedAt time.Time // UTC, whole seconds
	UpdatedAt  time.Time // likewise
}

// DefaultAccount is the account that exists when none is declared.
const DefaultAccount = "default"

// Account owns everything that is declared.
type Account struct {
	ID   string
	Name string
}

// User may sign in. Only a hash of the password is ever stored.
type User struct {
	Email    string
	Password Secret
	Role     Role
}

// Role is what a user may do in an account.
type Role string

// The roles.
const (
	RoleOwner  Role = "owner"  // everything: users, tokens and secrets too
	RoleEditor Role = "editor" // change what is declared, and messages
	RoleViewer Role = "viewer" // see everything but secrets
)

// Roles lists the roles.
func Roles() []Role { return []Role{RoleOwner, RoleEditor, RoleViewer} }

// APIToken opens the HTTP API. Only its hash is ever stored.
type APIToken struct {
	ID     string
	Name   string
	Token  Secret // "" in a document: one is made
	Scopes []Scope
}

// Scope is what a token may do: ScopeAdmin, ScopeRead, or ConsumeScope of one sink.
type Scope string

// The scopes that do not name a sink.
const (
	ScopeAdmin Scope = "admin" // everything
	ScopeRead  Scope = "read"  // see everything but secrets, change nothing
)

const consumePrefix = "consume:"

// ConsumeScope lets a token receive and acknowledge the messages of one sink.
func ConsumeScope(sink string) Scope { return Scope(consumePrefix + sink) }

// Database finds a database by name.
func (s *Set) Database(name string) (*Database, bool) {
	for i := range s.Databases {
		if s.Databases[i].Name == name {
			return &s.Databases[i], true
		}
	}
	return nil, false
}

// HTTPEndpoint finds an endpoint by name.
func (s *Set) HTTPEndpoint(name string) (*HTTPEndpoint, bool) {
	for i := range s.HTTPEndpoints {
		if s.HTTPEndpoints[i].Name == name {
			return &s.HTTPEndpoints[i], true
		}
	}
	return nil, false
}

// Function finds a function by name.
func (s *Set) Function(name string) (*Function, bool) {
	for i := range s.Functions {
		if s.Functions[i].Name == name {
			return &s.Functions[i], true
		}
	}
	return nil, false
}

// ChangeRetention finds a change retention by name.
func (s *Set) ChangeRetention(name string) (*ChangeRetention, bool) {
	for i := range s.ChangeRetentions {
		if s.ChangeRetentions[i].Name == name {
			return &s.ChangeRetentions[i], true
		}
	}
	return nil, false
}

// Sink finds a sink by name.
func (s *Set) Sink(name string) (*Sink, bool) {
	for i := range s.Sinks {
		if s.Sinks[i].Name == name {
			return &s.Sinks[i], true
		}
	}
	return nil, false
}
