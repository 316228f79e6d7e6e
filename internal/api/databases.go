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
	return a.looked(w, a.runtime.TestConnection(r.Context(), db), true)
}

// refreshTables reads the catalog now.
func (a *API) refreshTables(w http.ResponseWriter, r *request) error {
	db, err := a.database(r)
	if err != nil {
		return err
	}
	return a.looked(w, a.runtime.RefreshTables(r.Context(), db), false)
}

// looked answers whether a look at a source database succeeded. Either way it is an answer: 422 when the database is at fault.
func (a *API) looked(w http.ResponseWriter, err error, reason bool) error {
	if _, ok := errors.AsType[*SourceError](err); !ok {
		return a.done(w, err)
	}
	refused := sourceTrouble(err, http.StatusUnprocessableEntity)
	if e, ok := errors.AsType[*statusError](refused); ok {
		e.status, e.refusal = http.StatusUnprocessableEntity, &refusal{}
		if reason {
			e.refusal.Reason = textOf(e.problem)
		}
	}
	return refused
}

// textOf is a problem in one line.
func textOf(p *problem.Error) string {
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
