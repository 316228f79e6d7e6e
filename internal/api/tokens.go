package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/resource"
)

// tokenRoutes are those of API tokens. Who may read sees their names and what they may do; the secret itself is not kept anywhere.
func (a *API) tokenRoutes() []entry {
	const all = "/api/api_keys"
	return append(
		guard(administer,
			route{http.MethodPost, all, a.createToken},
			route{http.MethodDelete, all + "/{id}", a.deleteToken},
			route{http.MethodPost, all + "/{id}/rotate", a.rotateToken},
		),
		guard(reads, route{http.MethodGet, all, a.tokens})...)
}

// tokenView is a token. Token is its secret, which is there once: in the reply to the request that made it.
type tokenView struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	InsertedAt time.Time  `json:"inserted_at"`
	Scopes     []string   `json:"scopes"`
	ExpiresAt  *time.Time `json:"expires_at"`
	Token      string     `json:"token,omitempty"`
}

func viewToken(t *control.Token) tokenView {
	v := tokenView{ID: t.ID, Name: t.Name, InsertedAt: t.InsertedAt.UTC(), Scopes: some(t.Scopes)}
	if !t.ExpiresAt.IsZero() {
		at := t.ExpiresAt.UTC()
		v.ExpiresAt = &at
	}
	return v
}

func (a *API) tokens(w http.ResponseWriter, r *request) error {
	p, err := pageOf(&r.params)
	if err != nil {
		return err
	}
	all, err := a.control.Tokens(r.Context(), r.identity.Account)
	if err != nil {
		return err
	}
	all, next := cut(all, func(t control.Token) string { return t.Name }, p)
	return listViews(a, w, p, next, all, func(t *control.Token) any { return viewToken(t) })
}

// listViews answers with a page of views.
func listViews[T any](a *API, w http.ResponseWriter, p page, next *string, all []T, view func(*T) any) error {
	forms := make([][]byte, len(all))
	for i := range all {
		form, err := json.Marshal(view(&all[i]))
		if err != nil {
			return err
		}
		forms[i] = form
	}
	return a.list(w, p, next, forms)
}

func (a *API) createToken(w http.ResponseWriter, r *request) error {
	var ask control.TokenRequest
	var err error
	if ask.Name, _, err = r.params.word("name"); err != nil {
		return err
	}
	secret, given, err := r.params.word("token")
	if err != nil {
		return err
	}
	ask.Secret = resource.Secret(secret)
	scopes, _, err := r.params.texts("scopes")
	if err != nil {
		return err
	}
	for _, s := range scopes {
		ask.Scopes = append(ask.Scopes, resource.Scope(s))
	}
	if ask.ExpiresAt, err = r.params.future("expires_at"); err != nil {
		return err
	}
	token, made, err := a.control.CreateToken(r.Context(), r.identity.Account, r.actor(), ask)
	if err != nil {
		return err
	}
	view := viewToken(&token)
	if !given || secret == "" {
		view.Token = made.Reveal()
	}
	return a.writeJSON(w, view)
}

func (a *API) rotateToken(w http.ResponseWriter, r *request) error {
	token, made, err := a.control.RotateToken(r.Context(), r.identity.Account, r.tokenID(), r.actor())
	if err != nil {
		return err
	}
	view := viewToken(&token)
	view.Token = made.Reveal()
	return a.writeJSON(w, view)
}

func (a *API) deleteToken(w http.ResponseWriter, r *request) error {
	if _, err := a.control.DeleteToken(r.Context(), r.identity.Account, r.tokenID(), r.actor()); err != nil {
		return err
	}
	return a.done(w, nil)
}

// tokenID is the id in the path. A name is taken as well: nobody loses by it.
func (r *request) tokenID() string {
	if id := r.PathValue("id"); !isUUIDv4(id) {
		return id
	}
	return strings.ToLower(r.PathValue("id"))
}

// word reads a text; null counts as absent.
func (p *params) word(name string) (text string, found bool, err error) {
	v, ok := p.find(name)
	if !ok {
		return "", false, nil
	}
	if raw, inBody := p.body[name]; !v.scalar || inBody && raw[0] != '"' {
		return "", true, mistaken(name, resource.CodeInvalid, "must be a text")
	}
	return v.text, true, nil
}

// future reads a time that is yet to come; zero if it is absent.
func (p *params) future(name string) (time.Time, error) {
	text, found, err := p.word(name)
	if err != nil || !found {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil:
		return time.Time{}, mistaken(name, resource.CodeInvalid, "must be a time such as 2030-01-31T00:00:00Z")
	case !at.After(time.Now()):
		return time.Time{}, mistaken(name, resource.CodeInvalid, "has passed already")
	}
	return at.UTC().Truncate(time.Second), nil
}
