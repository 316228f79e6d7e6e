package api

import (
	"net/http"

	"github.com/sequinstream/sequin/internal/resource"
)

// accountRoutes are those of the account that the token belongs to.
func (a *API) accountRoutes() []entry {
	return append(
		guard(reads, route{http.MethodGet, "/api/account", a.account}),
		guard(administer, route{http.MethodPatch, "/api/account", a.renameAccount})...)
}

// accountView is an account.
type accountView struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func viewAccount(x resource.Account) accountView { return accountView{x.ID, x.Name} }

func (a *API) account(w http.ResponseWriter, r *request) error {
	account, err := a.control.FindAccount(r.identity.Account)
	if err != nil {
		return err
	}
	return a.writeJSON(w, viewAccount(account))
}

func (a *API) renameAccount(w http.ResponseWriter, r *request) error {
	return a.rename(w, r, r.identity.Account)
}

func (a *API) rename(w http.ResponseWriter, r *request, id string) error {
	name, _, err := r.params.word("name")
	if err != nil {
		return err
	}
	account, err := a.control.RenameAccount(r.Context(), id, name, r.actor())
	if err != nil {
		return err
	}
	return a.writeJSON(w, viewAccount(account))
}
