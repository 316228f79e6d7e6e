// Package health answers three different questions on three routes: is the process alive (livez), can it serve pulls and write its state
// (readyz), and does data flow (healthz). Only the last knows of databases and sinks, and only it says what is wrong and how to mend it; it is
// for alerts, never for probes: a probe that restarted Sequin because a database is down would cut consumers off from their backlog.
package health

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// Status of an entity, worst last.
type Status string

// The statuses, with the words of sequin_entity_health.
const (
	OK           Status = "healthy"
	Initializing Status = "initializing"
	Paused       Status = "paused"
	Warning      Status = "warning"
	Error        Status = "error"
)

// Entity is one thing that can be well or not.
type Entity struct {
	Kind     string  `json:"entity_type"` // replication_slot or sink
	ID       string  `json:"entity_id"`
	Name     string  `json:"entity_name"` // a database's or a sink's
	Status   Status  `json:"status"`
	Problems []Issue `json:"problems,omitempty"`
}

// Issue is one reason with its repair.
type Issue struct {
	Severity Status     `json:"severity"` // error or warning
	Code     string     `json:"code"`
	Message  string     `json:"message"`
	Detail   string     `json:"detail,omitempty"`
	Hint     string     `json:"hint,omitempty"`
	Docs     string     `json:"docs,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
}

// DocsPath is where the page of an error code stands in the documentation.
func DocsPath(code string) string { return "docs/reference/errors.md#" + code }

// IssueOf renders a problem.
func IssueOf(severity Status, p *problem.Error, since time.Time) Issue {
	i := Issue{Severity: severity, Code: p.Code, Message: p.Message, Detail: p.Detail, Hint: p.Hint, Docs: DocsPath(p.Code)}
	if !since.IsZero() {
		utc := since.UTC()
		i.Since = &utc
	}
	return i
}

// Worst is the entity's status given its problems and what it would be without. A warning does not hide that nothing flows yet.
func Worst(base Status, issues []Issue) Status {
	worst := base
	for _, i := range issues {
		if i.Severity == Error {
			return Error
		}
		if base != Initializing {
			worst = Warning
		}
	}
	return worst
}

// Deps of the routes.
type Deps struct {
	Version  string
	Entities func() []Entity
	// Ready reports why pulls or state writes cannot be served; nil when they can.
	Ready func(ctx context.Context) error
}

// Routes adds the health routes to mux.
func Routes(mux *http.ServeMux, d Deps) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, map[string]any{"ok": true}) })
	mux.HandleFunc("GET /readyz", d.readyz)
	mux.HandleFunc("GET /healthz", d.healthz)
	mux.HandleFunc("GET /health", d.health)
	mux.HandleFunc("GET /info/version", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"version": d.Version})
	})
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"version": d.Version, "nodes": []string{}})
	})
	mux.HandleFunc("GET /{$}", d.health)
}

// health is the original's route: the process and its own storage, whatever the databases do.
func (d Deps) health(w http.ResponseWriter, r *http.Request) {
	if err := d.Ready(r.Context()); err != nil {
		reply(w, http.StatusInternalServerError, map[string]any{"ok": false, "error": "Error with service: " + err.Error()})
		return
	}
	reply(w, http.StatusOK, map[string]any{"ok": true, "rev": d.Version})
}

func (d Deps) readyz(w http.ResponseWriter, r *http.Request) {
	err := d.Ready(r.Context())
	if err == nil {
		reply(w, http.StatusOK, map[string]any{"ok": true})
		return
	}
	body := map[string]any{"ok": false, "summary": err.Error()}
	if p, ok := problem.As(err); ok {
		body["problems"] = []Issue{IssueOf(Error, p, time.Time{})}
	}
	reply(w, http.StatusServiceUnavailable, body)
}

// healthz is 503 while data does not flow, for everything or for one database or sink.
func (d Deps) healthz(w http.ResponseWriter, r *http.Request) {
	database, sink := r.URL.Query().Get("database"), r.URL.Query().Get("sink")
	chosen := []Entity{}
	for _, e := range d.Entities() {
		switch {
		case database == "" && sink == "",
			database != "" && e.Kind == "replication_slot" && (e.Name == database || e.ID == database),
			sink != "" && e.Kind == "sink" && (e.Name == sink || e.ID == sink):
			chosen = append(chosen, e)
		}
	}
	if len(chosen) == 0 && (database != "" || sink != "") {
		reply(w, http.StatusNotFound, map[string]any{"ok": false, "summary": "Not found: no such database or sink"})
		return
	}
	status := http.StatusOK
	for _, e := range chosen {
		if e.Status == Error {
			status = http.StatusServiceUnavailable
		}
	}
	reply(w, status, map[string]any{"ok": status == http.StatusOK, "entities": chosen})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails; there is nobody to tell
}
