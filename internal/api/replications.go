package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/resource"
)

// replicationRoutes are the original's low-level view of slots. A database has exactly one slot here and is declared with it, so a replication is
// a view of a database: made, changed and deleted with it.
func (a *API) replicationRoutes() []entry {
	const all = "/api/postgres_replications"
	return guarded([]route{
		{http.MethodGet, all, a.replications},
		{http.MethodPost, all, a.createReplication},
		{http.MethodGet, all + "/{id}", a.replication},
		{http.MethodPut, all + "/{id}", a.updateReplication},
		{http.MethodPatch, all + "/{id}", a.updateReplication},
		{http.MethodDelete, all + "/{id}", a.deleteReplication},
	})
}

// replicationView is a slot. The first five keys are the original's.
type replicationView struct {
	ID              string `json:"id"`
	PublicationName string `json:"publication_name"`
	SlotName        string `json:"slot_name"`
	AccountID       string `json:"account_id"`
	DatabaseID      string `json:"postgres_database_id"`
}

func viewReplication(account string, db *resource.Database) replicationView {
	return replicationView{ID: db.SlotID(), PublicationName: db.Publication.Name, SlotName: db.Slot.Name, AccountID: account, DatabaseID: db.ID}
}

func (a *API) replications(w http.ResponseWriter, r *request) error {
	p, err := pageOf(&r.params)
	if err != nil {
		return err
	}
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return err
	}
	all := make([]replicationView, len(set.Databases))
	for i := range all {
		all[i] = viewReplication(r.identity.Account, &set.Databases[i])
	}
	all, next := cut(all, func(v replicationView) string { return v.ID }, p)
	return listViews(a, w, p, next, all, func(v *replicationView) any { return v })
}

// replicated finds the database whose slot has the id in the path.
func (r *request) replicated(set *resource.Set) (*resource.Database, int, error) {
	id := strings.ToLower(r.PathValue("id"))
	if !isUUIDv4(id) {
		return nil, 0, plain(http.StatusBadRequest, "invalid_parameter", "the id is not a version 4 UUID")
	}
	for i := range set.Databases {
		if set.Databases[i].SlotID() == id {
			return &set.Databases[i], i, nil
		}
	}
	return nil, 0, entityReplication.missing()
}

func (a *API) replication(w http.ResponseWriter, r *request) error {
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return err
	}
	db, _, err := r.replicated(set)
	if err != nil {
		return err
	}
	return a.writeJSON(w, struct {
		Replication replicationView `json:"postgres_replication"`
		Info        *struct{}       `json:"info"`
	}{Replication: viewReplication(r.identity.Account, db)})
}

// createReplication declares a database with its slot. For a database that is declared it confirms the slot that it has, or gives it one.
func (a *API) createReplication(w http.ResponseWriter, r *request) error {
	slot, err := r.slotNames()
	if err != nil {
		return err
	}
	var nested map[string]json.RawMessage
	if raw, found := r.params.body["postgres_database"]; found && raw[0] != 'n' {
		if json.Unmarshal(raw, &nested) != nil {
			return mistaken("postgres_database", resource.CodeInvalid, "must be an object")
		}
		return a.createReplicated(w, r, slot, nested)
	}
	id, found, err := r.params.word("postgres_database_id")
	if err != nil {
		return err
	}
	if !found {
		return mistaken("postgres_database_id", resource.CodeMissing, "is required, or postgres_database")
	}
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return err
	}
	i, err := databaseKind().find(set, id)
	if err != nil {
		return err
	}
	db := &set.Databases[i]
	if slot.name == db.Slot.Name && slot.publication == db.Publication.Name {
		return a.writeJSON(w, viewReplication(r.identity.Account, db))
	}
	return a.takeSlot(w, r, id, slot)
}

// takeSlot has a database read through another slot than the one that it was declared with, which is not there: in 2024 slots came later.
func (a *API) takeSlot(w http.ResponseWriter, r *request, id string, slot slotNames) error {
	switch "" {
	case slot.name:
		return mistaken("slot_name", resource.CodeMissing, "is required")
	case slot.publication:
		return mistaken("publication_name", resource.CodeMissing, "is required")
	}
	db, place, err := a.databaseCopy(r, id)
	if err != nil {
		return err
	}
	if _, err := a.renames(r, db, slot); err != nil {
		return err
	}
	if err := a.runtime.TestConnection(r.Context(), db); err != nil {
		return sourceTrouble(err, http.StatusUnprocessableEntity)
	}
	_, err = a.control.Apply(r.Context(), r.identity.Account, control.Edit{
		Actor: r.actor(), What: "update database " + clip(db.Name), Change: func(set *resource.Set) error { return setSlot(set, db) },
	})
	if err != nil {
		return databaseKind().refused(err, place)
	}
	return a.writeJSON(w, viewReplication(r.identity.Account, db))
}

// slotNames are the names in a request; "" for what it leaves out.
type slotNames struct{ name, publication string }

func (r *request) slotNames() (s slotNames, err error) {
	if s.name, _, err = r.params.word("slot_name"); err == nil {
		s.publication, _, err = r.params.word("publication_name")
	}
	return s, err
}

func (a *API) createReplicated(w http.ResponseWriter, r *request, slot slotNames, nested map[string]json.RawMessage) error {
	list, err := json.Marshal([]map[string]string{{"slot_name": slot.name, "publication_name": slot.publication}})
	if err != nil {
		return err
	}
	nested["replication_slots"] = list
	body, err := json.Marshal(nested)
	if err != nil {
		return err
	}
	k := databaseKind()
	var name string
	var at int
	result, err := a.control.Apply(r.Context(), r.identity.Account, control.Edit{
		Actor: r.actor(), What: "create database", CheckSource: true,
		Change: func(set *resource.Set) error {
			var db resource.Database
			if _, err := config.UpdateDatabase(&db, body, config.BodyOptions{Create: true, IgnoreUnknown: true, Local: r.identity.Local}); err != nil {
				return err
			}
			if k.taken(set, db.Name, -1) {
				return errTaken()
			}
			name, at = db.Name, len(set.Databases)
			set.Databases = append(set.Databases, db)
			return nil
		},
	})
	if err != nil {
		return k.refused(err, at)
	}
	db, ok := result.Set.Database(name)
	if !ok {
		return errInternal()
	}
	return a.writeJSON(w, viewReplication(r.identity.Account, db))
}

// updateReplication changes the names of the slot and the publication, as a change of the database does.
func (a *API) updateReplication(w http.ResponseWriter, r *request) error {
	if _, found := r.params.find("postgres_database_id"); found {
		return mistaken("postgres_database_id", resource.CodeConflict, "cannot be changed: a slot belongs to its database")
	}
	slot, err := r.slotNames()
	if err != nil {
		return err
	}
	var at int
	var id string
	result, err := a.control.Apply(r.Context(), r.identity.Account, control.Edit{
		Actor: r.actor(), What: "update database", CheckSource: true,
		Change: func(set *resource.Set) error {
			db, i, err := r.replicated(set)
			if err != nil {
				return err
			}
			at, id = i, db.ID
			one := map[string]string{"id": db.SlotID()}
			for key, value := range map[string]string{"slot_name": slot.name, "publication_name": slot.publication} {
				if value != "" {
					one[key] = value
				}
			}
			body, err := json.Marshal(map[string]any{"replication_slots": []any{one}})
			if err != nil {
				return err
			}
			_, err = config.UpdateDatabase(db, body, config.BodyOptions{IgnoreUnknown: true})
			return err
		},
	})
	if err != nil {
		return databaseKind().refused(err, at)
	}
	for i := range result.Set.Databases {
		if db := &result.Set.Databases[i]; db.ID == id {
			return a.writeJSON(w, viewReplication(r.identity.Account, db))
		}
	}
	return errInternal()
}

// deleteReplication removes the database that the slot belongs to: it cannot be without one. What depends on it refuses that.
func (a *API) deleteReplication(w http.ResponseWriter, r *request) error {
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return err
	}
	db, _, err := r.replicated(set)
	if err != nil {
		return err
	}
	id := db.SlotID()
	if _, err := databaseKind().delete(a, r, db.ID); err != nil {
		return err
	}
	a.write(w, http.StatusOK, deletedID(id))
	return nil
}
