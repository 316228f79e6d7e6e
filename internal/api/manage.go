package api

import (
	"net/http"
	"slices"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/openapi"
)

// managementRoutes are those of what is declared and of who may get in.
func (a *API) managementRoutes() []entry {
	return slices.Concat(
		sinkKind().routes(a), databaseKind().routes(a), endpointKind().routes(a), functionKind().routes(a), retentionKind().routes(a),
		a.backfillRoutes(), a.databaseRoutes(), a.replicationRoutes(), a.legacyRoutes(), a.documentRoutes(), a.revisionRoutes(),
		a.logRoutes(), a.tokenRoutes(), a.userRoutes(), a.sessionRoutes(), a.accountRoutes(), a.trialRoutes(),
		guard(reads,
			route{http.MethodGet, "/api/status", a.status},
			route{http.MethodGet, "/api/audit", a.audit},
			route{http.MethodGet, "/api/local_tunnels", a.tunnels},
		),
		guard(public,
			route{http.MethodGet, "/api/openapi.json", a.contract},
			route{http.MethodGet, "/api/config/schema", a.schema},
		),
	)
}

// contract is the description of this API.
func (a *API) contract(w http.ResponseWriter, _ *request) error {
	a.write(w, http.StatusOK, openapi.JSON)
	return nil
}

// schema is the description of sequin.yaml.
func (a *API) schema(w http.ResponseWriter, _ *request) error {
	a.write(w, http.StatusOK, config.Schema())
	return nil
}

func (a *API) status(w http.ResponseWriter, r *request) error {
	return a.writeJSON(w, a.runtime.Status(r.identity.Account))
}

// tunnels are those of the original's cloud: there is none.
func (a *API) tunnels(w http.ResponseWriter, _ *request) error {
	a.write(w, http.StatusOK, noData)
	return nil
}

var noData = []byte(`{"data":[]}`)
