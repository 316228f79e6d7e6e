package api

import (
	"net/http"

	"github.com/sequinstream/sequin/internal/auth"
)

// route is one line of the API.
type route struct {
	method, pattern string
	handle          func(w http.ResponseWriter, r *request) error
}

// entry is a route with who may take it.
type entry struct {
	route
	access access
}

// access is what it takes to call a route.
type access string

// The kinds of access, as x-scope in the contract.
const (
	public     access = "public"     // nobody is asked who they are
	anybody    access = "any"        // a token or session of whatever kind
	reads      access = "read"       // see what is declared
	changes    access = "change"     // change what is declared, and what becomes of messages
	administer access = "administer" // see secrets, and change tokens and users
	consumes   access = "consume"    // receive and acknowledge; which sink is decided by the handler
	operates   access = "local"      // the operator on this machine
)

// allows tells whether somebody has that access.
func (x access) allows(id auth.Identity) error {
	switch x {
	case reads:
		return id.MayRead()
	case changes:
		return id.MayChange()
	case administer:
		return id.MayAdminister()
	case public, anybody, consumes, operates:
	}
	return nil
}

// guard puts one kind of access before routes.
func guard(x access, routes ...route) []entry {
	all := make([]entry, len(routes))
	for i, r := range routes {
		all[i] = entry{r, x}
	}
	return all
}

// guarded lets those who may read GET, and those who may change do the rest.
func guarded(routes []route) []entry {
	all := guard(changes, routes...)
	for i := range all {
		if all[i].method == http.MethodGet {
			all[i].access = reads
		}
	}
	return all
}
