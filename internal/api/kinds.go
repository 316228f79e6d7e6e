package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// sinkKind are the sinks. Their health is known only while they run.
func sinkKind() *kind[resource.Sink] {
	return &kind[resource.Sink]{
		name: control.KindSink, entity: entitySink, section: "sinks", base: "/api/sinks", created: http.StatusOK,
		of:     func(s *resource.Set) *[]resource.Sink { return &s.Sinks },
		meta:   func(x *resource.Sink) (*string, *resource.Meta) { return &x.Name, &x.Meta },
		update: config.UpdateSink,
		form:   config.FormSink,
		refs:   map[string]entity{"database": entityReference, "destination.http_endpoint": entityEndpoint},
		running: func(a *API, r *request) func(x *resource.Sink) []member {
			of := a.runtime.SinkHealth(r.identity.Account)
			return func(x *resource.Sink) []member { return []member{{"health", of(x)}} }
		},
		always: func(a *API, x *resource.Sink) []member {
			active := slices.DeleteFunc(a.backfillsOf(x), func(b Backfill) bool { return b.State != "active" && b.State != "paused" })
			if active == nil {
				active = []Backfill{}
			}
			return []member{{"active_backfills", active}}
		},
		deleted: deletedID,
	}
}

// databaseKind are the databases. Unknown keys are no mistake here.
func databaseKind() *kind[resource.Database] {
	return &kind[resource.Database]{
		name: control.KindDatabase, entity: entityDatabase, section: "databases", base: "/api/postgres_databases",
		created: http.StatusCreated, lenient: true,
		of:     func(s *resource.Set) *[]resource.Database { return &s.Databases },
		meta:   func(x *resource.Database) (*string, *resource.Meta) { return &x.Name, &x.Meta },
		update: config.UpdateDatabase, form: config.FormDatabase,
		users: databaseUsers,
		inUse: func(name string, users []string) error {
			e := &statusError{
				status: http.StatusUnprocessableEntity, refusal: &refusal{},
				problem: problem.New("database_in_use", "database %q is used by %s", name, someOf(users)).WithHint("delete those first"),
			}
			e.refusal.Error = e.problem.Message
			return e
		},
		deleted: successID,
	}
}

func databaseUsers(set *resource.Set, name string) []string {
	var users []string
	for i := range set.Sinks {
		if set.Sinks[i].Database == name {
			users = append(users, "sink "+set.Sinks[i].Name)
		}
	}
	for i := range set.ChangeRetentions {
		if c := &set.ChangeRetentions[i]; c.SourceDatabase == name || c.DestinationDatabase == name {
			users = append(users, "change retention "+c.Name)
		}
	}
	return users
}

// endpointKind are the HTTP endpoints.
func endpointKind() *kind[resource.HTTPEndpoint] {
	return &kind[resource.HTTPEndpoint]{
		name: control.KindEndpoint, entity: entityEndpoint, section: "http_endpoints", base: "/api/destinations/http_endpoints", created: http.StatusOK,
		of:     func(s *resource.Set) *[]resource.HTTPEndpoint { return &s.HTTPEndpoints },
		meta:   func(x *resource.HTTPEndpoint) (*string, *resource.Meta) { return &x.Name, &x.Meta },
		update: config.UpdateEndpoint, form: config.FormEndpoint,
		users: func(set *resource.Set, name string) []string {
			var users []string
			for i := range set.Sinks {
				if d := &set.Sinks[i].Destination; d.Type == resource.DestinationWebhook && d.Webhook.HTTPEndpoint == name {
					users = append(users, "sink "+set.Sinks[i].Name)
				}
			}
			return users
		},
		inUse: func(name string, users []string) error {
			return badRequest("http_endpoint_in_use", "HTTP endpoint %q is used by %s", name, someOf(users)).hint("delete those first, or give them another endpoint")
		},
		deleted: deletedID,
	}
}

// functionKind are the functions.
func functionKind() *kind[resource.Function] {
	return &kind[resource.Function]{
		name: control.KindFunction, entity: entityFunction, section: "functions", base: "/api/functions", created: http.StatusOK,
		of:     func(s *resource.Set) *[]resource.Function { return &s.Functions },
		meta:   func(x *resource.Function) (*string, *resource.Meta) { return &x.Name, &x.Meta },
		update: config.UpdateFunction, form: config.FormFunction, deleted: deletedID,
		users: func(set *resource.Set, name string) []string {
			var users []string
			for i := range set.Sinks {
				if slices.Contains(set.Sinks[i].Functions(), name) {
					users = append(users, "sink "+set.Sinks[i].Name)
				}
			}
			return users
		},
		inUse: func(name string, users []string) error {
			return badRequest("function_in_use", "function %q is used by %s", name, someOf(users)).hint("detach it there first, or delete those")
		},
	}
}

// retentionKind are the change retentions.
func retentionKind() *kind[resource.ChangeRetention] {
	return &kind[resource.ChangeRetention]{
		name: control.KindChangeRetention, entity: entityRetention, section: "change_retentions", base: "/api/change_retentions", created: http.StatusOK,
		of:     func(s *resource.Set) *[]resource.ChangeRetention { return &s.ChangeRetentions },
		meta:   func(x *resource.ChangeRetention) (*string, *resource.Meta) { return &x.Name, &x.Meta },
		update: config.UpdateChangeRetention, form: config.FormChangeRetention,
		refs:    map[string]entity{"source_database": entityReference, "destination_database": entityReference},
		deleted: deletedID,
	}
}

// someOf names the first few of many.
func someOf(names []string) string {
	const shown = 5
	if more := len(names) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), more)
	}
	return strings.Join(names, ", ")
}
