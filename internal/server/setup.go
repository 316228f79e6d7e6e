package server

import (
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// setupTemplate is the page behind the one-time link: it needs nothing but itself.
var setupTemplate = template.Must(template.New("setup").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer"><title>Set up Sequin</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}label{display:block;margin:1rem 0 .25rem}
input{font:inherit;width:100%;padding:.5rem;box-sizing:border-box}button{font:inherit;margin-top:1.5rem;padding:.5rem 1.5rem}
code{background:#eee;padding:.1rem .3rem;word-break:break-all}.problem{border-left:4px solid #b00;padding-left:1rem}</style></head><body>
<h1>Set up Sequin</h1>
{{with .Problem}}<div class="problem"><p><strong>{{.Message}}</strong></p>{{with .Detail}}<p>{{.}}</p>{{end}}{{with .Hint}}<p>{{.}}</p>{{end}}</div>{{end}}
{{if .Token}}<p>{{.Email}} is the owner of the account <strong>{{.Account}}</strong>.</p>
<p>Sign in from the command line with <code>sequin login --email {{.Email}}</code>. You are signed in until {{.Expires}} with this token, which is shown only now:</p>
<p><code>{{.Token}}</code></p>
{{else if .Form}}<p>This link makes the first owner. It works once.</p>
<form method="post" action="setup"><input type="hidden" name="token" value="{{.Secret}}">
<label for="email">E-mail address</label><input id="email" name="email" type="email" autocomplete="username" value="{{.Email}}" required>
<label for="password">Password, 8 to 72 characters</label><input id="password" name="password" type="password" autocomplete="new-password" minlength="8" maxlength="72" required>
<button>Make the owner</button></form>{{end}}
</body></html>
`))

// setupView is what the page shows.
type setupView struct {
	Form                          bool
	Secret, Email, Account, Token string
	Expires                       string
	Problem                       *problem.Error
}

func showSetup(w http.ResponseWriter, status int, v setupView) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_ = setupTemplate.Execute(w, v) // the browser is gone if this fails
}

// setupPage shows the form while nobody can sign in.
func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) {
	needed, err := s.plane.NeedsSetup(r.Context())
	if err != nil || !needed {
		s.refuseSetup(w, err)
		return
	}
	showSetup(w, http.StatusOK, setupView{Form: true, Secret: r.URL.Query().Get("token")})
}

func (s *Server) refuseSetup(w http.ResponseWriter, err error) {
	if err == nil {
		p, _ := problem.As(errSetupOver())
		showSetup(w, http.StatusNotFound, setupView{Problem: p})
		return
	}
	s.logger.Error("the set-up page could not be shown", "error", err)
	showSetup(w, http.StatusInternalServerError, setupView{Problem: problem.New("internal_error", "something went wrong here").WithHint("see the log of the server")})
}

const setupBytes = 16 << 10

// setUp makes the first owner from the form.
func (s *Server) setUp(w http.ResponseWriter, r *http.Request) {
	if err := s.signIns.Allow(r.RemoteAddr, "setup"); err != nil {
		p, _ := problem.As(err)
		showSetup(w, http.StatusTooManyRequests, setupView{Problem: p})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, setupBytes)
	if err := r.ParseForm(); err != nil {
		showSetup(w, http.StatusBadRequest, setupView{Problem: problem.New("invalid_parameter", "the form could not be read").Because(err)})
		return
	}
	secret, email := r.PostForm.Get("token"), r.PostForm.Get("email")
	session, err := s.plane.SetUp(r.Context(), secret, resource.User{Email: email, Password: resource.Secret(r.PostForm.Get("password"))},
		control.Actor{Kind: control.ByUser, Name: email, Address: r.RemoteAddr, RequestID: w.Header().Get("X-Request-Id")})
	if err == nil {
		showSetup(w, http.StatusOK, setupView{Email: email, Account: session.Account.Name, Token: session.Token.Reveal(), Expires: session.Expires.Format(time.RFC1123)})
		return
	}
	p, ok := problem.As(err)
	if ok && p.Code == "setup_link_invalid" {
		s.signIns.Failed(r.RemoteAddr, "setup")
	}
	if !ok {
		s.refuseSetup(w, err)
		return
	}
	status := http.StatusForbidden
	if invalid, ok := errors.AsType[*resource.InvalidError](err); ok {
		status = http.StatusUnprocessableEntity
		p = invalid.Mistakes[0].Problem()
	}
	showSetup(w, status, setupView{Form: status == http.StatusUnprocessableEntity, Secret: secret, Email: email, Problem: p})
}
