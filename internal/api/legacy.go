package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// legacyRoutes are the original's routes of 2024 for databases. They show and change what /api/postgres_databases does, in the shapes of their
// time, when a database was declared first and its slot and publication were set up afterwards.
func (a *API) legacyRoutes() []entry {
	k := legacyKind()
	bind := func(f func(*API, http.ResponseWriter, *request) error) func(http.ResponseWriter, *request) error {
		return func(w http.ResponseWriter, r *request) error { return f(a, w, r) }
	}
	one := k.base + "/{id_or_name}"
	return guarded([]route{
		{http.MethodGet, k.base, bind(k.list)},
		{http.MethodPost, k.base, a.createLegacyDatabase},
		{http.MethodPost, k.base + "/test_connection", a.testLegacyConnection},
		{http.MethodGet, one, bind(k.show)},
		{http.MethodPut, one, a.changeLegacyDatabase},
		{http.MethodPatch, one, a.changeLegacyDatabase},
		{http.MethodDelete, one, bind(k.remove)},
		{http.MethodPost, one + "/test_connection", a.testLegacyDatabase},
		{http.MethodPost, one + "/setup_replication", a.setUpReplication},
		{http.MethodGet, one + "/schemas", a.schemas},
		{http.MethodGet, one + "/schemas/{schema}/tables", a.schemaTables},
	})
}

// legacyKind are the databases in the form of 2024.
func legacyKind() *kind[resource.Database] {
	k := databaseKind()
	k.base, k.created, k.form, k.deleted, k.looked = "/api/databases", http.StatusOK, formLegacyDatabase, deletedID, true
	return k
}

// legacyDatabase has the keys of 2024 and no others. The last two mean nothing here.
type legacyDatabase struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Hostname      string `json:"hostname"`
	Port          int    `json:"port"`
	Database      string `json:"database"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	SSL           bool   `json:"ssl"`
	IPv6          bool   `json:"ipv6"`
	PoolSize      int    `json:"pool_size"`
	QueueInterval int    `json:"queue_interval"`
	QueueTarget   int    `json:"queue_target"`
}

func formLegacyDatabase(d *resource.Database, o config.FormOptions) []byte {
	v := legacyDatabase{
		ID: d.ID, Name: d.Name, Hostname: d.Hostname, Port: d.Port, Database: d.Database, Username: d.Username, Password: d.Password.String(),
		SSL: d.SSLMode.Required(), IPv6: d.IPv6, PoolSize: d.PoolSize, QueueInterval: config.QueueInterval, QueueTarget: config.QueueTarget,
	}
	if o.Clear {
		v.Password = d.Password.Reveal()
	}
	form, err := json.Marshal(v) //nolint:gosec // the password is masked unless it was asked for
	if err != nil {              // cannot happen: texts and numbers
		return []byte("{}")
	}
	return form
}

// Names of 2024 for the slot and the publication of a database that was declared without.
const (
	legacySlot        = "sequin_slot"
	legacyPublication = "sequin_pub"
)

// withSlot gives a declaration the slot and the publication that it does not name. Slots are named per server: where another database has the
// usual name, the database's own goes into it.
func withSlot(set *resource.Set, body []byte) ([]byte, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil {
		return nil, err
	}
	named := func(all ...string) bool {
		return slices.ContainsFunc(all, func(key string) bool { _, there := keys[key]; return there })
	}
	if !named("slot", "slot_name", "replication_slots") {
		keys["slot_name"] = jsonText(freeSlot(set, keys))
	}
	if !named("publication", "publication_name", "replication_slots") {
		keys["publication_name"] = jsonText(legacyPublication)
	}
	return json.Marshal(keys)
}

func jsonText(text string) json.RawMessage {
	raw, err := json.Marshal(text)
	if err != nil { // cannot happen
		return json.RawMessage(`""`)
	}
	return raw
}

// freeSlot is the usual name, or one with the database's own name if the usual one is taken.
func freeSlot(set *resource.Set, keys map[string]json.RawMessage) string {
	taken := slices.ContainsFunc(set.Databases, func(d resource.Database) bool { return d.Slot.Name == legacySlot })
	var name string
	if !taken || json.Unmarshal(keys["name"], &name) != nil {
		return legacySlot
	}
	own := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
			return c
		}
		return '_'
	}, strings.ToLower(name))
	own = legacySlot + "_" + own
	return own[:min(len(own), maxSlotName)]
}

// maxSlotName is what Postgres leaves of a longer one.
const maxSlotName = 63

// createLegacyDatabase declares a database that can be connected to. Its slot and its publication may still be missing; the warnings say so.
func (a *API) createLegacyDatabase(w http.ResponseWriter, r *request) error {
	k := legacyKind()
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return err
	}
	body, err := withSlot(set, r.declaration())
	if err != nil {
		return err
	}
	o := config.BodyOptions{Create: true, IgnoreUnknown: true, Local: r.identity.Local}
	var probe resource.Database
	if _, err := config.UpdateDatabase(&probe, body, o); err != nil {
		return k.refused(err, 0)
	}
	if k.taken(set, probe.Name, -1) {
		return errTaken()
	}
	lacks, err := a.runtime.Connect(r.Context(), &probe)
	if err != nil {
		return sourceTrouble(err, http.StatusUnprocessableEntity)
	}
	var c changed
	return k.apply(a, w, r, k.created, &c, k.what("create", probe.Name), func(set *resource.Set) error {
		c = changed{place: len(set.Databases), name: probe.Name, warnings: lacks}
		if k.taken(set, probe.Name, -1) {
			return errTaken()
		}
		set.Databases = append(set.Databases, probe)
		return nil
	})
}

// changeLegacyDatabase connects with what the settings would be before they are.
func (a *API) changeLegacyDatabase(w http.ResponseWriter, r *request) error {
	k := legacyKind()
	next, place, err := a.databaseCopy(r, r.PathValue("id_or_name"))
	if err != nil {
		return err
	}
	if _, err := config.UpdateDatabase(next, r.declaration(), config.BodyOptions{IgnoreUnknown: true, Local: r.identity.Local}); err != nil {
		return k.refused(err, place)
	}
	if _, err := a.runtime.Connect(r.Context(), next); err != nil {
		return sourceTrouble(err, http.StatusUnprocessableEntity)
	}
	return k.change(a, w, r)
}

// databaseCopy is a copy of a database, to be changed.
func (a *API) databaseCopy(r *request, idOrName string) (db *resource.Database, place int, err error) {
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return nil, 0, err
	}
	if place, err = databaseKind().find(set, idOrName); err != nil {
		return nil, 0, err
	}
	return &set.Clone().Databases[place], place, nil
}

// testLegacyConnection tries settings that are not declared.
func (a *API) testLegacyConnection(w http.ResponseWriter, r *request) error {
	body, err := withSlot(&resource.Set{}, r.declaration())
	if err != nil {
		return err
	}
	if !r.params.has("name") {
		body = withKeys(body, member{"name", "unnamed"})
	}
	var probe resource.Database
	o := config.BodyOptions{Create: true, IgnoreUnknown: true, Local: r.identity.Local}
	if _, err := config.UpdateDatabase(&probe, body, o); err != nil {
		return err
	}
	_, err = a.runtime.Connect(r.Context(), &probe)
	return a.looked(w, err, reasonObject)
}

// testLegacyDatabase tries the settings of a database. Its slot may still be missing.
func (a *API) testLegacyDatabase(w http.ResponseWriter, r *request) error {
	db, err := a.database(r)
	if err != nil {
		return err
	}
	_, err = a.runtime.Connect(r.Context(), db)
	return a.looked(w, err, reasonObject)
}

// reasonObject is a problem as the replies of 2024 have it.
func reasonObject(p *problem.Error) any {
	return struct {
		Summary string `json:"summary"`
		Code    string `json:"code"`
		Detail  string `json:"detail,omitempty"`
		Hint    string `json:"hint,omitempty"`
	}{p.Message, p.Code, p.Detail, p.Hint}
}

func (a *API) schemas(w http.ResponseWriter, r *request) error {
	db, err := a.database(r)
	if err != nil {
		return err
	}
	names, err := a.runtime.Schemas(r.Context(), db)
	if err != nil {
		return sourceTrouble(err, http.StatusBadGateway)
	}
	return a.writeJSON(w, map[string][]string{"schemas": some(names)})
}

func (a *API) schemaTables(w http.ResponseWriter, r *request) error {
	db, err := a.database(r)
	if err != nil {
		return err
	}
	schema := r.PathValue("schema")
	if !utf8.ValidString(schema) || strings.ContainsRune(schema, 0) { // no name is like that, and Postgres would not read it
		return a.writeJSON(w, map[string][]string{"tables": {}})
	}
	names, err := a.runtime.TableNames(r.Context(), db, schema)
	if err != nil {
		return sourceTrouble(err, http.StatusBadGateway)
	}
	return a.writeJSON(w, map[string][]string{"tables": some(names)})
}
