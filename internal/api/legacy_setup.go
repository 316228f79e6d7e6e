package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// tableList reads names of tables: ["schema", "table"] as in 2024, or "schema.table".
func (p *params) tableList(key string) ([]resource.TableName, error) {
	raw, there := p.body[key]
	if !there || raw[0] == 'n' {
		return nil, nil
	}
	wrong := func(i int) error {
		return mistaken(fmt.Sprintf("%s[%d]", key, i), resource.CodeInvalid, `must be ["schema", "table"] or "schema.table"`)
	}
	var items []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		return nil, mistaken(key, resource.CodeInvalid, "must be a list")
	}
	if len(items) == 0 {
		return nil, mistaken(key, resource.CodeInvalid, "names no table; leave it out for all that can be published")
	}
	var all []resource.TableName
	for i, item := range items {
		var text string
		var pair []string
		var t resource.TableName
		switch {
		case json.Unmarshal(item, &text) == nil && item[0] == '"':
			t = resource.ParseTableName(text)
		case json.Unmarshal(item, &pair) == nil && len(pair) == 2:
			t = resource.TableName{Schema: pair[0], Name: pair[1]}
		default:
			return nil, wrong(i)
		}
		if t.Schema == "" || t.Name == "" || strings.ContainsRune(t.Schema+t.Name, 0) {
			return nil, wrong(i)
		}
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all, nil
}

// setupReply is what setup_replication has done. The first four keys are the original's.
type setupReply struct {
	Success     bool           `json:"success"`
	Slot        string         `json:"slot_name"`
	Publication string         `json:"publication_name"`
	Tables      [][2]string    `json:"tables"`
	Created     []string       `json:"created"`
	LeftOut     []leftOutReply `json:"left_out"`
	Warnings    []string       `json:"warnings,omitempty"`
}

// leftOutReply is a table that the publication does not have.
type leftOutReply struct {
	Table  [2]string `json:"table"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail"`
	Repair string    `json:"repair,omitempty"`
}

// setUpReplication creates what a database lacks to be read: the publication, then the slot. Nothing that is there is changed or dropped.
func (a *API) setUpReplication(w http.ResponseWriter, r *request) error {
	names, err := r.slotNames()
	if err != nil {
		return err
	}
	tables, err := r.params.tableList("tables")
	if err != nil {
		return err
	}
	db, place, err := a.databaseCopy(r, r.PathValue("id_or_name"))
	if err != nil {
		return err
	}
	renamed, err := a.renames(r, db, names)
	if err != nil {
		return err
	}
	edit := control.Edit{Actor: r.actor(), What: "update database " + clip(db.Name), Change: func(set *resource.Set) error { return setSlot(set, db) }}
	if renamed { // what cannot be declared is not made either
		if err := a.control.Check(r.Context(), r.identity.Account, edit); err != nil {
			return databaseKind().refused(err, place)
		}
	}
	made, err := a.runtime.SetUpReplication(r.Context(), db, tables)
	if len(made.Created) > 0 {
		a.control.Audit(r.Context(), r.identity.Account, control.Entry{
			Actor: r.actor(), Action: "set_up", ResourceType: control.KindDatabase, Resource: db.Name, Detail: "created: " + strings.Join(made.Created, ", "),
		})
	}
	if problem.Code(err) == codeSlotWaits {
		return sourceTrouble(err, http.StatusGatewayTimeout)
	}
	if err != nil {
		return sourceTrouble(err, http.StatusUnprocessableEntity)
	}
	if renamed {
		result, err := a.control.Apply(r.Context(), r.identity.Account, edit)
		if err != nil {
			return databaseKind().refused(err, place)
		}
		made.Warnings = append(made.Warnings, result.Warnings...)
	}
	return a.writeJSON(w, viewSetup(db, &made))
}

// codeSlotWaits is the code of a creation that has waited in vain for transactions that are open.
const codeSlotWaits = "slot_creation_waits"

func viewSetup(db *resource.Database, made *ReplicationSetup) setupReply {
	v := setupReply{
		Success: true, Slot: db.Slot.Name, Publication: db.Publication.Name,
		Tables: make([][2]string, len(made.Tables)), Created: some(made.Created), LeftOut: make([]leftOutReply, len(made.LeftOut)), Warnings: made.Warnings,
	}
	for i, t := range made.Tables {
		v.Tables[i] = [2]string{t.Schema, t.Name}
	}
	for i := range made.LeftOut {
		l := &made.LeftOut[i]
		v.LeftOut[i] = leftOutReply{Table: [2]string{l.Table.Schema, l.Table.Name}, Reason: l.Reason, Detail: l.Detail, Repair: l.Repair}
	}
	return v
}

// renames gives a copy of a database the names in a request, and tells whether they are other ones than it has. It keeps the slot that it has if
// that is there: a database has one, and a slot that nobody reads holds WAL for ever.
func (a *API) renames(r *request, db *resource.Database, names slotNames) (bool, error) {
	was := *db
	if names.name != "" {
		db.Slot.Name = names.name
	}
	if names.publication != "" {
		db.Publication.Name = names.publication
	}
	newSlot, newPublication := db.Slot.Name != was.Slot.Name, db.Publication.Name != was.Publication.Name
	if !newSlot && !newPublication {
		return false, nil
	}
	there, err := a.runtime.Slot(r.Context(), &was)
	if err != nil {
		return false, err
	}
	if i := there.Unreachable; i != nil {
		return false, &statusError{status: http.StatusUnprocessableEntity, problem: problem.New(i.Code, "%s", i.Message).WithDetail("%s", i.Detail).WithHint("%s", i.Hint)}
	}
	switch {
	case there.Slot != nil && newSlot:
		return false, mistaken("slot_name", resource.CodeConflict, "is not the slot "+was.Slot.Name+" that the database is read through, and a database has one slot")
	case there.Slot != nil && newPublication && there.Publication != nil:
		return false, mistaken("publication_name", resource.CodeConflict, "is not the publication "+was.Publication.Name+" that the database is read with; change it at /api/postgres_replications")
	}
	return true, nil
}

// setSlot takes slot and publication of a database over into a set.
func setSlot(set *resource.Set, db *resource.Database) error {
	for i := range set.Databases {
		if set.Databases[i].ID == db.ID {
			set.Databases[i].Slot.Name, set.Databases[i].Publication.Name = db.Slot.Name, db.Publication.Name
			return nil
		}
	}
	return entityDatabase.missing()
}
