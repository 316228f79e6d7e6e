package api

import (
	"encoding/json"
	"net/http"

	"github.com/sequinstream/sequin/internal/control"
)

// documentRoutes are those of sequin.yaml.
func (a *API) documentRoutes() []entry {
	return append(
		guard(changes,
			route{http.MethodPost, "/api/config/plan", a.plan},
			route{http.MethodPost, "/api/config/apply", a.applyDocument},
		),
		guard(reads, route{http.MethodGet, "/api/config/export", a.export})...)
}

// planView is the answer to plan, compare and restore. The first two keys are the original's.
type planView struct {
	Changes  []changeView `json:"changes"`
	Actions  []actionView `json:"actions"`
	Warnings []string     `json:"warnings"`
	Revision uint64       `json:"revision"`
}

// changeView is what happens to one resource.
type changeView struct {
	ResourceType string          `json:"resource_type"`
	Action       string          `json:"action"`
	Name         string          `json:"name"`
	Old          json.RawMessage `json:"old"`
	New          json.RawMessage `json:"new"`
	Changed      []string        `json:"changed"`
}

// actionView is what happens beside the declaration.
type actionView struct {
	Description string `json:"description"`
}

func changeViews(changes []control.Change) []changeView {
	all := make([]changeView, len(changes))
	for i := range changes {
		c := &changes[i]
		all[i] = changeView{ResourceType: c.Kind, Action: c.Action, Name: c.Name, Old: c.Old(), New: c.New(), Changed: some(c.Changed)}
	}
	return all
}

// some is an empty list rather than null.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func newPlanView(revision uint64, changes []control.Change, effects, warnings []string) planView {
	v := planView{Changes: changeViews(changes), Actions: make([]actionView, len(effects)), Warnings: some(warnings), Revision: revision}
	for i, text := range effects {
		v.Actions[i].Description = text
	}
	return v
}

// document reads the body of plan and apply.
func (r *request) document() (control.Document, error) {
	yaml, found := r.params.find("yaml")
	if !found || !yaml.scalar {
		return control.Document{}, plain(http.StatusBadRequest, "yaml_missing", "the body has no yaml").hint(`send {"yaml": "…"}`)
	}
	prune, err := r.params.boolean("prune")
	if err != nil {
		return control.Document{}, err
	}
	const most = 1<<53 - 1 // what JSON clients can count to
	expect, _, err := r.params.integer("expect_revision", 0, most)
	if err != nil {
		return control.Document{}, err
	}
	return control.Document{
		Name: "sequin.yaml", Data: []byte(yaml.text), Local: r.identity.Local, Prune: prune, Expect: uint64(expect), //nolint:gosec // not negative
	}, nil
}

func (a *API) plan(w http.ResponseWriter, r *request) error {
	doc, err := r.document()
	if err != nil {
		return err
	}
	plan, err := a.control.Plan(r.Context(), r.identity.Account, doc)
	if err != nil {
		return documentRefused(err)
	}
	return a.writeJSON(w, newPlanView(plan.Revision, plan.Changes, plan.Effects, plan.Warnings))
}

func documentRefused(err error) error {
	return sourceTrouble(documentStatus(err), http.StatusBadGateway)
}

// appliedView is the answer to apply: everything that is declared then, and what it took.
type appliedView struct {
	Resources []json.RawMessage `json:"resources"`
	Revision  uint64            `json:"revision"`
	Changes   []changeView      `json:"changes"`
	Warnings  []string          `json:"warnings"`
	Tokens    []madeToken       `json:"tokens,omitempty"`
}

// madeToken is a token that was declared without a secret: the one that was made is shown once.
type madeToken struct {
	Name  string `json:"name"`
	Token string `json:"token"`
}

func (a *API) applyDocument(w http.ResponseWriter, r *request) error {
	doc, err := r.document()
	if err != nil {
		return err
	}
	result, err := a.control.ApplyDocument(r.Context(), r.identity.Account, r.actor(), doc)
	if err != nil {
		return documentRefused(err)
	}
	view := appliedView{
		Resources: some(control.Resources(result.Set)), Revision: result.Revision, Changes: changeViews(result.Changes), Warnings: some(result.Warnings),
	}
	for i := range result.Tokens {
		view.Tokens = append(view.Tokens, madeToken{result.Tokens[i].Name, result.Tokens[i].Token.Reveal()})
	}
	return a.writeJSON(w, view)
}

func (a *API) export(w http.ResponseWriter, r *request) error {
	shown, err := r.clear()
	if err != nil {
		return err
	}
	text, err := a.control.Export(r.identity.Account, shown)
	if err != nil {
		return err
	}
	if shown {
		a.noteReveal(r, "config", "")
	}
	return a.writeJSON(w, map[string]string{"yaml": string(text)})
}
