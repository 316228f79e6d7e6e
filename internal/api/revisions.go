package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/store"
)

// revisionRoutes are those of what was declared before.
func (a *API) revisionRoutes() []entry {
	return guarded([]route{
		{http.MethodGet, "/api/revisions", a.revisions},
		{http.MethodGet, "/api/revisions/compare", a.compare},
		{http.MethodGet, "/api/revisions/{number}", a.revision},
		{http.MethodPost, "/api/revisions/{number}/restore", a.restore},
	})
}

// revisionView is one revision.
type revisionView struct {
	Number  uint64         `json:"number"`
	At      time.Time      `json:"at"`
	Actor   actorView      `json:"actor"`
	What    string         `json:"what"`
	Changes []revisionStep `json:"changes"`
	YAML    *string        `json:"yaml,omitempty"`
}

// revisionStep is what a revision did to one resource.
type revisionStep struct {
	ResourceType string `json:"resource_type"`
	Name         string `json:"name"`
	Action       string `json:"action"`
}

// actorView is who did something.
type actorView struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Address string `json:"address"`
}

func viewActor(x store.Actor) actorView { return actorView{x.Kind, x.Name, x.Address} }

func viewRevision(x *store.Revision) revisionView {
	v := revisionView{Number: x.Number, At: x.At, Actor: viewActor(x.Actor), What: x.What, Changes: make([]revisionStep, len(x.Changes))}
	for i, c := range x.Changes {
		v.Changes[i] = revisionStep{c.Kind, c.Name, c.Action}
	}
	return v
}

// newest is a page of a list whose newest come first; next is the before of the next page.
type newest[T any] struct {
	Data []T     `json:"data"`
	Next *uint64 `json:"next"`
}

func (a *API) revisions(w http.ResponseWriter, r *request) error {
	limit, before, err := r.params.newestFirst()
	if err != nil {
		return err
	}
	all, err := a.control.Revisions(r.Context(), r.identity.Account, before, limit)
	if err != nil {
		return err
	}
	reply := newest[revisionView]{Data: make([]revisionView, len(all))}
	for i := range all {
		reply.Data[i] = viewRevision(&all[i])
	}
	if len(all) == limit {
		reply.Next = &all[limit-1].Number
	}
	return a.writeJSON(w, reply)
}

// number reads a revision's number from the path.
func (r *request) number() (uint64, error) {
	text := r.PathValue("number")
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, plain(http.StatusBadRequest, "invalid_parameter", "the number of a revision is "+strconv.Quote(clip(text))+"; expected a number from 1 on")
	}
	return n, nil
}

func (a *API) revision(w http.ResponseWriter, r *request) error {
	number, err := r.number()
	if err != nil {
		return err
	}
	revision, set, err := a.control.Revision(r.Context(), r.identity.Account, number)
	if err != nil {
		return err
	}
	text, err := config.Export(set, false)
	if err != nil {
		return err
	}
	view := viewRevision(&revision)
	yaml := string(text)
	view.YAML = &yaml
	return a.writeJSON(w, view)
}

// compare tells what leads from one revision to another; without one of them, from or to what is declared now.
func (a *API) compare(w http.ResponseWriter, r *request) error {
	var numbers [2]uint64
	for i, name := range []string{"from", "to"} {
		v, found := r.params.find(name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(v.text, 10, 64)
		if err != nil || !v.scalar {
			return badParameter(name, "is %s; expected the number of a revision", v.shown)
		}
		numbers[i] = n
	}
	changes, err := a.control.Compare(r.Context(), r.identity.Account, numbers[0], numbers[1])
	if err != nil {
		return err
	}
	_, current, err := a.control.Current(r.identity.Account)
	if err != nil {
		return err
	}
	return a.writeJSON(w, newPlanView(current, changes, nil, nil))
}

func (a *API) restore(w http.ResponseWriter, r *request) error {
	number, err := r.number()
	if err != nil {
		return err
	}
	result, err := a.control.Restore(r.Context(), r.identity.Account, number, r.actor())
	if err != nil {
		return documentRefused(err)
	}
	return a.writeJSON(w, newPlanView(result.Revision, result.Changes, nil, result.Warnings))
}

// auditView is a line of the audit log.
type auditView struct {
	ID           uint64    `json:"id"`
	At           time.Time `json:"at"`
	Actor        actorView `json:"actor"`
	Action       string    `json:"action"`
	ResourceType string    `json:"resource_type"`
	Resource     string    `json:"resource"`
	Detail       string    `json:"detail"`
	RequestID    string    `json:"request_id"`
	Outcome      string    `json:"outcome"`
}

func (a *API) audit(w http.ResponseWriter, r *request) error {
	limit, before, err := r.params.newestFirst()
	if err != nil {
		return err
	}
	lines, err := a.control.AuditLog(r.Context(), r.identity.Account, before, limit)
	if err != nil {
		return err
	}
	reply := newest[auditView]{Data: make([]auditView, len(lines))}
	for i := range lines {
		x := &lines[i]
		reply.Data[i] = auditView{
			ID: x.ID, At: x.At.UTC().Truncate(time.Microsecond), Actor: viewActor(x.Actor), Action: x.Action, ResourceType: x.ResourceType, Resource: x.Resource,
			Detail: x.Detail, RequestID: x.Actor.RequestID, Outcome: x.Outcome,
		}
	}
	if len(lines) == limit {
		reply.Next = &lines[limit-1].ID
	}
	return a.writeJSON(w, reply)
}
