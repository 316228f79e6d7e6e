package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/resource"
)

// userRoutes are those of the members of an account.
func (a *API) userRoutes() []entry {
	const all = "/api/users"
	return append(
		guard(administer,
			route{http.MethodPost, all, a.createUser},
			route{http.MethodPatch, all + "/{id}", a.updateUser},
			route{http.MethodDelete, all + "/{id}", a.deleteUser},
		),
		guard(reads, route{http.MethodGet, all, a.users})...)
}

// userView is a member. Account is there where members of several accounts are listed.
type userView struct {
	ID         string        `json:"id"`
	Email      string        `json:"email"`
	Role       resource.Role `json:"role"`
	InsertedAt time.Time     `json:"inserted_at"`
	Account    *accountView  `json:"account,omitempty"`
}

func viewUser(u *control.User) userView {
	return userView{ID: u.ID, Email: u.Email, Role: u.Role, InsertedAt: u.InsertedAt.UTC()}
}

func (a *API) users(w http.ResponseWriter, r *request) error {
	p, err := pageOf(&r.params)
	if err != nil {
		return err
	}
	all, err := a.control.Users(r.Context(), r.identity.Account)
	if err != nil {
		return err
	}
	all, next := cut(all, func(u control.User) string { return u.Email }, p)
	return listViews(a, w, p, next, all, func(u *control.User) any { return viewUser(u) })
}

// member reads what a request says of a user.
func (p *params) member() (u resource.User, role, password bool, err error) {
	email, _, err := p.word("email")
	if err != nil {
		return u, false, false, err
	}
	secret, password, err := p.word("password")
	if err != nil {
		return u, false, false, err
	}
	word, role, err := p.word("role")
	return resource.User{Email: email, Password: resource.Secret(secret), Role: resource.Role(word)}, role, password, err
}

func (a *API) createUser(w http.ResponseWriter, r *request) error {
	u, _, _, err := r.params.member()
	if err != nil {
		return err
	}
	made, err := a.control.AddUser(r.Context(), r.identity.Account, r.actor(), u)
	if err != nil {
		return err
	}
	return a.writeJSON(w, viewUser(&made))
}

func (a *API) updateUser(w http.ResponseWriter, r *request) error {
	u, role, password, err := r.params.member()
	if err != nil {
		return err
	}
	if u.Email != "" {
		if err := a.sameEmail(r, u.Email); err != nil {
			return err
		}
	}
	var change control.UserChange
	if role {
		change.Role = &u.Role
	}
	if password {
		change.Password = &u.Password
	}
	changed, err := a.control.UpdateUser(r.Context(), r.identity.Account, r.PathValue("id"), r.actor(), change)
	if err != nil {
		return err
	}
	return a.writeJSON(w, viewUser(&changed))
}

// sameEmail refuses another e-mail address than the one that the user has: it is who they are.
func (a *API) sameEmail(r *request, email string) error {
	all, err := a.control.Users(r.Context(), r.identity.Account)
	if err != nil {
		return err
	}
	for i := range all {
		if id := r.PathValue("id"); (all[i].ID == id || strings.EqualFold(all[i].Email, id)) && strings.EqualFold(all[i].Email, email) {
			return nil
		}
	}
	return mistaken("email", resource.CodeInvalid, "cannot be changed: add another user, and remove this one")
}

func (a *API) deleteUser(w http.ResponseWriter, r *request) error {
	gone, err := a.control.RemoveUser(r.Context(), r.identity.Account, r.PathValue("id"), r.actor())
	if err != nil {
		return err
	}
	a.write(w, http.StatusOK, deletedID(gone.ID))
	return nil
}
