package api

import (
	"net/http"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/resource"
)

// accountHeader names the account in which the operator acts.
const accountHeader = "X-Sequin-Account"

// adminRoutes are those that concern the installation as a whole: for the operator on this machine only.
func (a *API) adminRoutes() []entry {
	const accounts, users = "/api/admin/accounts", "/api/admin/users"
	return guard(operates,
		route{http.MethodGet, accounts, a.adminAccounts},
		route{http.MethodPost, accounts, a.adminCreateAccount},
		route{http.MethodPatch, accounts + "/{id_or_name}", a.adminRenameAccount},
		route{http.MethodDelete, accounts + "/{id_or_name}", a.adminDeleteAccount},
		route{http.MethodGet, users, a.adminUsers},
		route{http.MethodPost, users, a.adminCreateUser},
		route{http.MethodPost, users + "/{email}/password", a.adminSetPassword},
		route{http.MethodPost, "/api/admin/vault/rotate", a.adminRotateKey},
		route{http.MethodPost, "/api/admin/setup_link", a.adminSetupLink},
	)
}

// operator is the identity behind every request on the operator's socket. Routes that concern the whole installation need no account.
func (a *API) operator(r *http.Request, x access) (auth.Identity, error) {
	if x == operates {
		return auth.LocalOperator(""), nil
	}
	account, err := a.operatorAccount(r)
	return auth.LocalOperator(account.ID), err
}

// operatorAccount is the account that the header names; without one the only account there is, or the one with the default name. On an
// installation without any it is made, so that there is something to declare in.
func (a *API) operatorAccount(r *http.Request) (resource.Account, error) {
	if name := r.Header.Get(accountHeader); name != "" {
		return a.control.FindAccount(name)
	}
	switch accounts := a.control.Accounts(); len(accounts) {
	case 0:
		return a.control.EnsureAccount(r.Context(), resource.DefaultAccount, actorOf(auth.LocalOperator(""), "", ""))
	case 1:
		return accounts[0], nil
	}
	return a.control.FindAccount(resource.DefaultAccount)
}

func (a *API) adminAccounts(w http.ResponseWriter, r *request) error {
	p, err := pageOf(&r.params)
	if err != nil {
		return err
	}
	all, next := cut(a.control.Accounts(), func(x resource.Account) string { return x.Name }, p)
	return listViews(a, w, p, next, all, func(x *resource.Account) any { return viewAccount(*x) })
}

func (a *API) adminCreateAccount(w http.ResponseWriter, r *request) error {
	name, _, err := r.params.word("name")
	if err != nil {
		return err
	}
	account, err := a.control.CreateAccount(r.Context(), name, r.actor())
	if err != nil {
		return err
	}
	return a.writeJSON(w, viewAccount(account))
}

func (a *API) adminRenameAccount(w http.ResponseWriter, r *request) error {
	account, err := a.control.FindAccount(r.PathValue("id_or_name"))
	if err != nil {
		return err
	}
	return a.rename(w, r, account.ID)
}

func (a *API) adminDeleteAccount(w http.ResponseWriter, r *request) error {
	account, err := a.control.FindAccount(r.PathValue("id_or_name"))
	if err != nil {
		return err
	}
	if err := a.control.DeleteAccount(r.Context(), account.ID, r.actor()); err != nil {
		return err
	}
	a.write(w, http.StatusOK, deletedID(account.ID))
	return nil
}

// adminUsers lists the members of the account that the header names, or else of all accounts.
func (a *API) adminUsers(w http.ResponseWriter, r *request) error {
	p, err := pageOf(&r.params)
	if err != nil {
		return err
	}
	accounts := a.control.Accounts()
	if r.Header.Get(accountHeader) != "" {
		account, err := a.operatorAccount(r.Request)
		if err != nil {
			return err
		}
		accounts = []resource.Account{account}
	}
	var all []userView
	for _, account := range accounts {
		users, err := a.control.Users(r.Context(), account.ID)
		if err != nil {
			return err
		}
		for i := range users {
			v := viewUser(&users[i])
			shown := viewAccount(account)
			v.Account = &shown
			all = append(all, v)
		}
	}
	all, next := cut(all, func(u userView) string { return u.Email + "/" + u.Account.Name }, p)
	return listViews(a, w, p, next, all, func(u *userView) any { return u })
}

func (a *API) adminCreateUser(w http.ResponseWriter, r *request) error {
	account, err := a.operatorAccount(r.Request)
	if err != nil {
		return err
	}
	u, _, _, err := r.params.member()
	if err != nil {
		return err
	}
	made, err := a.control.AddUser(r.Context(), account.ID, r.actor(), u)
	if err != nil {
		return err
	}
	view := viewUser(&made)
	shown := viewAccount(account)
	view.Account = &shown
	return a.writeJSON(w, view)
}

func (a *API) adminSetPassword(w http.ResponseWriter, r *request) error {
	u, _, _, err := r.params.member()
	if err != nil {
		return err
	}
	return a.done(w, a.control.SetPassword(r.Context(), r.PathValue("email"), u.Password, r.actor()))
}

func (a *API) adminRotateKey(w http.ResponseWriter, r *request) error {
	id, err := a.control.RotateKey(r.Context(), r.actor())
	if err != nil {
		return err
	}
	return a.writeJSON(w, map[string]any{"success": true, "key_id": id})
}

// adminSetupLink makes a new one-time link, which replaces the one before.
func (a *API) adminSetupLink(w http.ResponseWriter, r *request) error {
	secret, err := a.control.NewSetupSecret(r.Context())
	if err != nil {
		return err
	}
	for _, account := range a.control.Accounts() {
		a.control.Audit(r.Context(), account.ID, control.Entry{Actor: r.actor(), Action: "create", ResourceType: "setup_link"})
	}
	return a.writeJSON(w, map[string]string{"link": a.setupLink(secret), "setup_token": secret})
}
