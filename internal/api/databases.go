package api

import (
	"errors"
	"net/http"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// databaseRoutes are those that look at a database itself.
func (a *API) databaseRoutes() []entry {
	const one = "/api/postgres_databases/{id_or_name}"
	return append(
		guard(changes,
			route{http.MethodPost, one + "/test_connection", a.testConnection},
			route{http.MethodPost, one + "/refresh_tables", a.refreshTables},
		),
		guard(reads, route{http.MethodGet, one + "/slot", a.slot})...)
}

func (a *API) database(r *request) (*resource.Database, error) { return databaseKind().current(a, r) }

// testConnection makes the checks of a start on what is declared.
func (a *API) testConnection(w http.ResponseWriter, r *request) error {
	db, err := a.database(r)
	if err != nil {
		return err
	}
	return a.looked(w, a.runtime.TestConnection(r.Context(), db), reasonText)
}

// refreshTables reads the catalog now.
func (a *API) refreshTables(w http.ResponseWriter, r *request) error {
	db, err := a.database(r)
	if err != nil {
		return err
	}
	return a.looked(w, a.runtime.RefreshTables(r.Context(), db), nil)
}

// looked answers whether a look at a source database succeeded. Either way it is an answer: 422 when the database is at fault, with the reason in
// the form that is given, if one is.
func (a *API) looked(w http.ResponseWriter, err error, reason func(*problem.Error) any) error {
	if _, ok := errors.AsType[*SourceError](err); !ok {
		return a.done(w, err)
	}
	refused := sourceTrouble(err, http.StatusUnprocessableEntity)
	if e, ok := errors.AsType[*statusError](refused); ok {
		e.status, e.refusal = http.StatusUnprocessableEntity, &refusal{}
		if reason != nil {
			e.refusal.Reason = reason(e.problem)
		}
	}
	return refused
}

// reasonText is a problem in one line.
func reasonText(p *problem.Error) any {
	if p.Hint == "" {
		return p.Error()
	}
	return p.Error() + "; " + p.Hint
}

func (a *API) slot(w http.ResponseWriter, r *request) error {
	db, err := a.database(r)
	if err != nil {
		return err
	}
	details, err := a.runtime.Slot(r.Context(), db)
	if err != nil {
		return err
	}
	return a.writeJSON(w, details)
}
