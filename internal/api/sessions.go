package api

import (
	"net/http"
	"time"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// sessionRoutes are those of signing in. Nobody is asked for a token to get one; guessing is slowed down instead.
func (a *API) sessionRoutes() []entry {
	return append(
		guard(public,
			route{http.MethodPost, "/api/sessions", a.signIn},
			route{http.MethodPost, "/api/setup", a.setUp},
		),
		guard(anybody, route{http.MethodDelete, "/api/sessions/current", a.signOut})...)
}

// signInsAtOnce is how many passwords are checked at a time. Whoever sends many at once waits, and is told to go away as soon as enough of them
// have turned out wrong.
const signInsAtOnce = 2

// sessionView is a session. The token is shown once.
type sessionView struct {
	Token     string        `json:"token"`
	ExpiresAt time.Time     `json:"expires_at"`
	Account   accountView   `json:"account"`
	Role      resource.Role `json:"role"`
}

func viewSession(s *control.Session) sessionView {
	return sessionView{Token: s.Token.Reveal(), ExpiresAt: s.Expires.UTC(), Account: accountView{s.Account.ID, s.Account.Name}, Role: s.Role}
}

// guessing runs what checks a secret that somebody may be guessing: few at a time, and not for an address or a subject that has failed too often.
func (a *API) guessing(r *request, subject, failure string, check func() (control.Session, error)) (control.Session, error) {
	select {
	case a.signingIn <- struct{}{}:
		defer func() { <-a.signingIn }()
	case <-r.Context().Done():
		return control.Session{}, r.Context().Err()
	}
	if err := a.signIns.Allow(r.RemoteAddr, subject); err != nil {
		return control.Session{}, err
	}
	session, err := check()
	switch {
	case err == nil:
		a.signIns.Succeeded(subject)
	case problem.Code(err) == failure:
		a.signIns.Failed(r.RemoteAddr, subject)
		// Not who: people type their password into the wrong field.
		a.logger.Warn("a sign-in failed", "address", r.RemoteAddr, "code", failure, "request_id", r.id)
	}
	return session, err
}

func (a *API) signIn(w http.ResponseWriter, r *request) error {
	u, _, _, err := r.params.member()
	if err != nil {
		return err
	}
	account, _, err := r.params.word("account")
	if err != nil {
		return err
	}
	for _, part := range []struct{ key, value string }{{"email", u.Email}, {"password", u.Password.Reveal()}} {
		if part.value == "" {
			return mistaken(part.key, resource.CodeMissing, "is required")
		}
	}
	session, err := a.guessing(r, u.Email, "sign_in_failed", func() (control.Session, error) {
		return a.control.SignIn(r.Context(), u.Email, u.Password, account, r.actor())
	})
	if err != nil {
		return err
	}
	return a.writeJSON(w, viewSession(&session))
}

// setUp makes the first owner.
func (a *API) setUp(w http.ResponseWriter, r *request) error {
	u, _, _, err := r.params.member()
	if err != nil {
		return err
	}
	secret, _, err := r.params.word("setup_token")
	if err != nil {
		return err
	}
	if secret == "" {
		return mistaken("setup_token", resource.CodeMissing, "is required: it is in the link that the server's log has")
	}
	actor := control.Actor{Kind: control.ByUser, Name: u.Email, Address: r.RemoteAddr, RequestID: r.id}
	session, err := a.guessing(r, "setup", "setup_link_invalid", func() (control.Session, error) {
		return a.control.SetUp(r.Context(), secret, u, actor)
	})
	if err != nil {
		return err
	}
	return a.writeJSON(w, viewSession(&session))
}

// signOut ends the session that the request came with.
func (a *API) signOut(w http.ResponseWriter, r *request) error {
	if r.identity.User == "" {
		return notFound("session_not_found", "Not found: the request did not come with a session")
	}
	return a.done(w, a.control.SignOut(r.Context(), r.identity.TokenID))
}
