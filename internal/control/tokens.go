package control

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
)

// Where a token comes from.
const (
	fromFile    = "file"    // it follows the file: taken out there, it is revoked
	fromAPI     = "api"     // somebody asked for it
	fromSession = "session" // a user signed in
)

// Token is an API token as it is shown. The secret itself is not kept.
type Token struct {
	ID         string
	Name       string
	Scopes     []string
	InsertedAt time.Time
	ExpiresAt  time.Time // zero: never
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name      string
	Secret    resource.Secret // "": one is made
	Scopes    []resource.Scope
	ExpiresAt time.Time
}

// NewSecret makes the secret of a token: 48 random bytes in 64 characters.
func NewSecret() string {
	var b [48]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// refreshTokens has requests judged by what is stored now.
func (p *Plane) refreshTokens(ctx context.Context) error {
	records, err := p.store.Tokens(ctx)
	if err != nil {
		return err
	}
	users, err := p.store.Users(ctx)
	if err != nil {
		return err
	}
	known := make([]auth.Token, 0, len(records))
	for i := range records {
		r := &records[i]
		t := auth.Token{ID: r.ID, Account: r.Account, Name: r.Name, Hash: r.Hash, Expires: r.ExpiresAt}
		if r.Origin == fromSession {
			// What a user may do is looked up anew, so that a role that was taken away is gone at once.
			user, role := memberOf(users, r.User, r.Account)
			if user == nil {
				continue
			}
			t.Name, t.User, t.Role = user.Email, user.ID, role
		} else {
			for _, s := range r.Scopes {
				t.Scopes = append(t.Scopes, resource.Scope(s))
			}
		}
		known = append(known, t)
	}
	p.tokens.Replace(known)
	return nil
}

func memberOf(users []store.UserRecord, id, account string) (*store.UserRecord, resource.Role) {
	for i := range users {
		if users[i].ID != id {
			continue
		}
		for _, m := range users[i].Memberships {
			if m.Account == account {
				return &users[i], resource.Role(m.Role)
			}
		}
	}
	return nil, ""
}

// Tokens lists an account's API tokens by name; sessions are not among them.
func (p *Plane) Tokens(ctx context.Context, accountID string) ([]Token, error) {
	records, err := p.accountTokens(ctx, accountID)
	if err != nil {
		return nil, err
	}
	all := make([]Token, len(records))
	for i := range records {
		all[i] = shownToken(&records[i])
	}
	return all, nil
}

func shownToken(r *store.TokenRecord) Token {
	return Token{ID: r.ID, Name: r.Name, Scopes: r.Scopes, InsertedAt: r.InsertedAt, ExpiresAt: r.ExpiresAt}
}

func (p *Plane) accountTokens(ctx context.Context, accountID string) ([]store.TokenRecord, error) {
	records, err := p.store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	records = slices.DeleteFunc(records, func(r store.TokenRecord) bool { return r.Account != accountID || r.Origin == fromSession })
	slices.SortFunc(records, func(a, b store.TokenRecord) int { return strings.Compare(a.Name, b.Name) })
	return records, nil
}

// CreateToken makes a token and returns it with its secret, which nobody can read again.
func (p *Plane) CreateToken(ctx context.Context, accountID string, actor Actor, ask TokenRequest) (Token, resource.Secret, error) {
	return p.createToken(ctx, accountID, actor, ask, fromAPI)
}

func (p *Plane) createToken(ctx context.Context, accountID string, actor Actor, ask TokenRequest, origin string) (Token, resource.Secret, error) {
	if ask.Secret == "" {
		ask.Secret = resource.Secret(NewSecret())
	}
	if len(ask.Scopes) == 0 {
		ask.Scopes = []resource.Scope{resource.ScopeAdmin}
	}
	declared := resource.APIToken{Name: ask.Name, Token: ask.Secret, Scopes: ask.Scopes}
	if mistakes := declared.Validate(""); len(mistakes) > 0 {
		for i := range mistakes {
			mistakes[i].Path = strings.TrimPrefix(mistakes[i].Path, ".")
		}
		return Token{}, "", &resource.InvalidError{Mistakes: mistakes}
	}
	p.people.Lock()
	defer p.people.Unlock()
	all, err := p.store.Tokens(ctx)
	if err != nil {
		return Token{}, "", err
	}
	r := store.TokenRecord{
		ID: uuid.NewString(), Account: accountID, Name: ask.Name, Hash: auth.HashToken(ask.Secret.Reveal()), Origin: origin,
		InsertedAt: now(), ExpiresAt: ask.ExpiresAt,
	}
	for _, s := range ask.Scopes {
		r.Scopes = append(r.Scopes, string(s))
	}
	for i := range all {
		switch {
		case all[i].Hash == r.Hash:
			return Token{}, "", invalid("token", resource.CodeDuplicate, "is in use already")
		case all[i].Account == accountID && all[i].Origin != fromSession && all[i].Name == r.Name:
			return Token{}, "", invalid("name", resource.CodeDuplicate, "has already been taken")
		}
	}
	if err := p.writeTokens(ctx, func(ctx context.Context) error { return p.store.PutToken(ctx, r) }); err != nil {
		return Token{}, "", err
	}
	p.Audit(ctx, accountID, Entry{Actor: actor, Action: "create", ResourceType: "api_token", Resource: r.Name, Detail: "scopes: " + strings.Join(r.Scopes, ", ")})
	return shownToken(&r), ask.Secret, nil
}

func invalid(path, code, what string) error {
	return &resource.InvalidError{Mistakes: []resource.Mistake{{Path: path, Code: code, What: what}}}
}

// writeTokens writes and has requests judged by the outcome, whatever it was.
func (p *Plane) writeTokens(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	err := write(ctx)
	if again := p.refreshTokens(ctx); err == nil {
		err = again
	}
	return err
}

// RotateToken gives a token a new secret; the old one is refused from then on.
func (p *Plane) RotateToken(ctx context.Context, accountID, idOrName string, actor Actor) (Token, resource.Secret, error) {
	p.people.Lock()
	defer p.people.Unlock()
	r, err := p.findToken(ctx, accountID, idOrName)
	if err != nil {
		return Token{}, "", err
	}
	if r.Origin == fromFile {
		return Token{}, "", problem.New("token_from_file", "the token %q is declared in the server's configuration file", r.Name).
			WithHint("change it there and send the server SIGHUP: it would come back otherwise")
	}
	secret := resource.Secret(NewSecret())
	r.Hash = auth.HashToken(secret.Reveal())
	if err := p.writeTokens(ctx, func(ctx context.Context) error { return p.store.PutToken(ctx, r) }); err != nil {
		return Token{}, "", err
	}
	p.Audit(ctx, accountID, Entry{Actor: actor, Action: "rotate", ResourceType: "api_token", Resource: r.Name})
	return shownToken(&r), secret, nil
}

func (p *Plane) findToken(ctx context.Context, accountID, idOrName string) (store.TokenRecord, error) {
	records, err := p.accountTokens(ctx, accountID)
	if err != nil {
		return store.TokenRecord{}, err
	}
	i := slices.IndexFunc(records, func(r store.TokenRecord) bool { return r.ID == idOrName || r.Name == idOrName })
	if i < 0 {
		return store.TokenRecord{}, problem.New("api_token_not_found", "Not found: No `api token` found matching the provided ID or name").WithHint("GET /api/api_keys lists them")
	}
	return records[i], nil
}

// DeleteToken revokes a token: requests with it are refused from then on.
func (p *Plane) DeleteToken(ctx context.Context, accountID, idOrName string, actor Actor) (Token, error) {
	p.people.Lock()
	defer p.people.Unlock()
	r, err := p.findToken(ctx, accountID, idOrName)
	if err != nil {
		return Token{}, err
	}
	if err := p.writeTokens(ctx, func(ctx context.Context) error { return p.store.DeleteToken(ctx, r.ID) }); err != nil {
		return Token{}, err
	}
	p.Audit(ctx, accountID, Entry{Actor: actor, Action: "delete", ResourceType: "api_token", Resource: r.Name})
	return shownToken(&r), nil
}

// checkTokens refuses a document over the API that would change the secret of a token: whoever may declare sinks may not lock others out by a
// typing error. The server's own file is the operator's word, and rotates it.
func (p *Plane) checkTokens(ctx context.Context, accountID string, actor Actor, declared []resource.APIToken) error {
	if actor.Kind == ByFile || len(declared) == 0 {
		return nil
	}
	records, err := p.accountTokens(ctx, accountID)
	if err != nil {
		return err
	}
	for i := range declared {
		t := &declared[i]
		for j := range records {
			if records[j].Name == t.Name && t.Token != "" && records[j].Hash != auth.HashToken(t.Token.Reveal()) {
				return problem.New("token_differs", "there is a token %q with another secret", t.Name).
					WithHint("delete it first, or rotate it with: sequin tokens rotate %s", t.Name)
			}
		}
	}
	return nil
}

// declareTokens makes the tokens of a document and returns those whose secret was made. Those that an earlier state of the server's own file
// declared and this one does not are revoked.
func (p *Plane) declareTokens(ctx context.Context, accountID string, actor Actor, declared []resource.APIToken) ([]resource.APIToken, error) {
	records, err := p.accountTokens(ctx, accountID)
	if err != nil {
		return nil, err
	}
	var made []resource.APIToken
	for i := range declared {
		secret, err := p.declareToken(ctx, accountID, actor, &declared[i], records)
		if err != nil {
			return made, fmt.Errorf("token %q: %w", declared[i].Name, err)
		}
		if secret != "" {
			made = append(made, resource.APIToken{Name: declared[i].Name, Token: secret, Scopes: declared[i].Scopes})
		}
	}
	if actor.Kind != ByFile {
		return made, nil
	}
	for i := range records {
		r := &records[i]
		if r.Origin != fromFile || slices.ContainsFunc(declared, func(t resource.APIToken) bool { return t.Name == r.Name }) {
			continue
		}
		if _, err := p.DeleteToken(ctx, accountID, r.ID, actor); err != nil {
			return made, err
		}
		p.logger.Info("a token is no longer in the file and was revoked", "token", r.Name)
	}
	return made, nil
}

// declareToken makes or changes one token. It returns the secret if one was made.
func (p *Plane) declareToken(ctx context.Context, accountID string, actor Actor, t *resource.APIToken, records []store.TokenRecord) (resource.Secret, error) {
	origin := fromAPI
	if actor.Kind == ByFile {
		origin = fromFile
	}
	i := slices.IndexFunc(records, func(r store.TokenRecord) bool { return r.Name == t.Name })
	if i < 0 {
		_, secret, err := p.createToken(ctx, accountID, actor, TokenRequest{Name: t.Name, Secret: t.Token, Scopes: t.Scopes}, origin)
		if t.Token != "" {
			secret = ""
		}
		return secret, err
	}
	r := records[i]
	scopes := make([]string, len(t.Scopes))
	for j, s := range t.Scopes {
		scopes[j] = string(s)
	}
	hash := r.Hash
	if t.Token != "" {
		hash = auth.HashToken(t.Token.Reveal())
	}
	if hash == r.Hash && slices.Equal(scopes, r.Scopes) && r.Origin == origin {
		return "", nil
	}
	action := ActionUpdate
	if hash != r.Hash {
		action = "rotate"
	}
	r.Hash, r.Scopes, r.Origin = hash, scopes, origin
	p.people.Lock()
	defer p.people.Unlock()
	if err := p.writeTokens(ctx, func(ctx context.Context) error { return p.store.PutToken(ctx, r) }); err != nil {
		return "", err
	}
	p.Audit(ctx, accountID, Entry{Actor: actor, Action: action, ResourceType: "api_token", Resource: r.Name})
	return "", nil
}
