// Package auth tells who a request comes from. Tokens are kept as SHA-256 hashes and compared in constant time; a token opens its account, as
// far as its scopes go. Passwords are kept as argon2id hashes. Tokens and Passwords are safe for concurrent use.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// Codes of the errors.
const (
	CodeMissing      = "authorization_missing"
	CodeDuplicated   = "authorization_duplicated"
	CodeNotBearer    = "authorization_not_bearer"
	CodeUnknownToken = "token_unknown"
	CodeExpired      = "token_expired"
	CodeScope        = "token_scope"
	CodeRole         = "role_insufficient"
)

// Hash is what is kept of a token.
type Hash [sha256.Size]byte

// HashToken hashes a token.
func HashToken(token string) Hash { return sha256.Sum256([]byte(token)) }

// Token is a known token: an API token with scopes, or a user's session with the role that the user has now.
type Token struct {
	ID      string
	Account string // the account's id or name, as the lookups of the API expect it
	Name    string // of the token; of a session the user's e-mail address
	Hash    Hash
	Scopes  []resource.Scope
	Expires time.Time // zero: never

	User string // sessions: the user's id
	Role resource.Role
}

// Identity is who a request comes from.
type Identity struct {
	Account string
	Token   string // the token's name, or the user's e-mail address
	TokenID string
	User    string        // sessions: the user's id
	Role    resource.Role // sessions
	Local   bool          // the operator on this machine, who may do everything
	scopes  []resource.Scope
}

// LocalOperator is the identity of whoever reaches the server through a file that only the operator can open.
func LocalOperator(account string) Identity {
	return Identity{Account: account, Local: true, Role: resource.RoleOwner}
}

// FromResources hashes declared tokens of an account.
func FromResources(account string, tokens []resource.APIToken) []Token {
	all := make([]Token, len(tokens))
	for i := range tokens {
		t := &tokens[i]
		all[i] = Token{Account: account, Name: t.Name, Hash: HashToken(t.Token.Reveal()), Scopes: slices.Clone(t.Scopes)}
	}
	return all
}

// Tokens knows every token.
type Tokens struct {
	known atomic.Pointer[[]Token]
}

// NewTokens makes a set of tokens.
func NewTokens(tokens []Token) *Tokens {
	t := &Tokens{}
	t.Replace(tokens)
	return t
}

// Replace changes what is known; requests under way are not affected.
func (t *Tokens) Replace(tokens []Token) {
	known := slices.Clone(tokens)
	t.known.Store(&known)
}

// Empty reports whether there is no token, so that nobody can get in.
func (t *Tokens) Empty() bool { return len(*t.known.Load()) == 0 }

// Check finds the identity behind the Authorization header. Each way to be wrong has an error of its own.
func (t *Tokens) Check(h http.Header) (Identity, error) {
	values := h["Authorization"]
	switch len(values) {
	case 0:
		return Identity{}, problem.New(CodeMissing, "the Authorization header is missing").WithHint("send Authorization: Bearer <token>")
	case 1:
	default:
		return Identity{}, problem.New(CodeDuplicated, "there is more than one Authorization header").WithHint("send it once")
	}
	scheme, token, found := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if !found || token == "" || !strings.EqualFold(scheme, "Bearer") {
		return Identity{}, problem.New(CodeNotBearer, "the Authorization header is not of the form Bearer <token>").
			WithHint("send Authorization: Bearer <token>")
	}
	known := t.find(HashToken(token))
	if known != nil && !known.Expires.IsZero() && !time.Now().Before(known.Expires) {
		return Identity{}, problem.New(CodeExpired, "the token has expired").WithDetail("since %s", known.Expires.UTC().Format(time.RFC3339)).
			WithHint("sign in again with sequin login, or make a new token with sequin tokens create")
	}
	if known != nil {
		return Identity{Account: known.Account, Token: known.Name, TokenID: known.ID, User: known.User, Role: known.Role, scopes: known.Scopes}, nil
	}
	return Identity{}, problem.New(CodeUnknownToken, "the token is not known").WithHint("use one of the api_tokens declared for this server")
}

// find compares with every token, so that the time says nothing about which one came close.
func (t *Tokens) find(h Hash) *Token {
	known := *t.known.Load()
	match := -1
	for i := range known {
		match = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(h[:], known[i].Hash[:]), i, match)
	}
	if match < 0 {
		return nil
	}
	return &known[match]
}

// MayConsume returns nil if the identity may receive and acknowledge the messages of the sink.
func (id Identity) MayConsume(sink string) error {
	return id.require(resource.ConsumeScope(sink), resource.RoleOwner, resource.RoleEditor)
}

// MayRead returns nil if the identity may see what is declared.
func (id Identity) MayRead() error {
	return id.require(resource.ScopeRead, resource.RoleOwner, resource.RoleEditor, resource.RoleViewer)
}

// MayChange returns nil if the identity may change what is declared, and what becomes of messages.
func (id Identity) MayChange() error {
	return id.require(resource.ScopeAdmin, resource.RoleOwner, resource.RoleEditor)
}

// MayAdminister returns nil if the identity may see secrets, and change tokens and users.
func (id Identity) MayAdminister() error { return id.require(resource.ScopeAdmin, resource.RoleOwner) }

// require asks a user for one of the roles, and a token for the scope.
func (id Identity) require(scope resource.Scope, roles ...resource.Role) error {
	if id.Local {
		return nil
	}
	if id.User != "" {
		if slices.Contains(roles, id.Role) {
			return nil
		}
		return problem.New(CodeRole, "%s has the role %s, which does not allow this", id.Token, id.Role).
			WithHint("it takes the role %s; an owner of the account can give it", resource.List(roles))
	}
	if slices.Contains(id.scopes, resource.ScopeAdmin) || slices.Contains(id.scopes, scope) {
		return nil
	}
	return problem.New(CodeScope, "the token %q does not have the scope %s", id.Token, scope).WithHint("add the scope to the token, or use another one")
}
