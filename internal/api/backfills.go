package api

import (
	"net/http"

	"github.com/sequinstream/sequin/internal/problem"
)

// backfillRoutes are those of a feature that comes later: there is no backfill yet, and none can be made. DELETE has no route, as in the original,
// whose clients take its 404 for success.
func (a *API) backfillRoutes() []entry {
	const all = "/api/sinks/{id_or_name}/backfills"
	return guarded([]route{
		{http.MethodGet, all, a.listBackfills},
		{http.MethodPost, all, a.createBackfill},
		{http.MethodGet, all + "/{id}", a.noBackfill},
		{http.MethodPut, all + "/{id}", a.noBackfill},
		{http.MethodPatch, all + "/{id}", a.noBackfill},
	})
}

func (a *API) listBackfills(w http.ResponseWriter, r *request) error {
	if _, err := sinkKind().current(a, r); err != nil {
		return err
	}
	p, err := pageOf(&r.params)
	if err != nil {
		return err
	}
	return a.list(w, p, nil, nil)
}

func (a *API) createBackfill(_ http.ResponseWriter, r *request) error {
	if _, err := sinkKind().current(a, r); err != nil {
		return err
	}
	return &statusError{
		status: http.StatusUnprocessableEntity,
		problem: problem.New(CodeUnavailableFeature, "this version has no backfills").
			WithHint("a new sink with start: beginning delivers what the change log retains"),
	}
}

func (a *API) noBackfill(_ http.ResponseWriter, r *request) error {
	if _, err := sinkKind().current(a, r); err != nil {
		return err
	}
	return entityBackfill.missing()
}
