package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// Backfills keeps and runs backfills; without one there are none and none can be made.
type Backfills interface {
	// Backfills are those of a sink, the newest first.
	Backfills(sink *resource.Sink) []Backfill
	// CreateBackfill checks what is asked for and starts it. What is wrong with it is an *resource.InvalidError.
	CreateBackfill(ctx context.Context, sink *resource.Sink, db *resource.Database, ask BackfillAsk) (Backfill, error)
	// SetBackfillState pauses, resumes or ends one; ErrNoBackfill if there is none.
	SetBackfillState(ctx context.Context, sink *resource.Sink, id, state string) (Backfill, error)
}

// ErrNoBackfill reports a backfill that is not there.
var ErrNoBackfill = errors.New("no such backfill")

// Codes of backfills that a sink cannot have.
const (
	CodeBackfillNotWanted    = "backfill_table_not_wanted"
	CodeBackfillSinkDisabled = "backfill_sink_disabled"
)

// Backfill is a backfill in a reply.
type Backfill struct {
	ID        string     `json:"id"`
	Sink      string     `json:"sink_consumer"`
	State     string     `json:"state"`
	Table     string     `json:"table"`
	Sort      *string    `json:"sort_column"`
	Initial   *int64     `json:"rows_initial_count"`
	Processed int64      `json:"rows_processed_count"`
	Ingested  int64      `json:"rows_ingested_count"`
	Completed *time.Time `json:"completed_at"`
	Canceled  *time.Time `json:"canceled_at"`
	Inserted  time.Time  `json:"inserted_at"`
	Updated   time.Time  `json:"updated_at"`

	Estimated     bool          `json:"rows_initial_count_estimated"`
	Start         *string       `json:"start_position"`
	End           *string       `json:"end_position"`
	Where         *string       `json:"where"`
	KeyQuery      *string       `json:"key_query"`
	Keys          int           `json:"keys_count"`
	Workers       int           `json:"workers"`
	RowsPerSecond *int          `json:"max_rows_per_second"`
	TimeoutMS     int64         `json:"timeout_ms"`
	Bytes         int64         `json:"bytes_processed"`
	Pending       uint64        `json:"rows_pending"`
	Speed         float64       `json:"rows_per_second"`
	SecondsLeft   *float64      `json:"seconds_left"`
	CurrentKey    *string       `json:"current_key"`
	Queued        bool          `json:"queued"`
	Waiting       *string       `json:"waiting"`
	Error         *health.Issue `json:"error"`
}

// BackfillAsk is what a request asks for.
type BackfillAsk struct {
	Table         string     `json:"table"`
	State         string     `json:"state"`
	SortColumn    string     `json:"sort_column"`
	Start         string     `json:"start_position"`
	End           string     `json:"end_position"`
	Where         string     `json:"where"`
	Keys          [][]string `json:"-"`
	KeyQuery      string     `json:"key_query"`
	Workers       int        `json:"workers"`
	RowsPerSecond int        `json:"max_rows_per_second"`
	TimeoutMS     int        `json:"timeout_ms"`
}

// Bounds of what may be asked for.
const (
	maxBackfillKeys    = 10_000
	maxBackfillWorkers = 8
	maxBackfillTimeout = 600_000
)

// backfillRoutes are those of the backfills of a sink. DELETE has no route, as in the original, whose clients take its 404 for success.
func (a *API) backfillRoutes() []entry {
	const all = "/api/sinks/{id_or_name}/backfills"
	return guarded([]route{
		{http.MethodGet, all, a.listBackfills},
		{http.MethodPost, all, a.createBackfill},
		{http.MethodGet, all + "/{id}", a.showBackfill},
		{http.MethodPut, all + "/{id}", a.changeBackfill},
		{http.MethodPatch, all + "/{id}", a.changeBackfill},
	})
}

func (a *API) listBackfills(w http.ResponseWriter, r *request) error {
	sink, err := sinkKind().current(a, r)
	if err != nil {
		return err
	}
	p, err := pageOf(&r.params)
	if err != nil {
		return err
	}
	all := a.backfillsOf(sink)
	var next *string
	if p.after != "" {
		at := slices.IndexFunc(all, func(b Backfill) bool { return b.ID == p.after })
		all = all[at+1:]
	}
	if p.limit > 0 && len(all) > p.limit {
		next, all = &all[p.limit-1].ID, all[:p.limit]
	}
	forms := make([][]byte, len(all))
	for i := range all {
		if forms[i], err = json.Marshal(&all[i]); err != nil {
			return fmt.Errorf("encode a backfill: %w", err)
		}
	}
	return a.list(w, p, next, forms)
}

func (a *API) backfillsOf(sink *resource.Sink) []Backfill {
	if a.backfills == nil {
		return nil
	}
	return a.backfills.Backfills(sink)
}

func (a *API) showBackfill(w http.ResponseWriter, r *request) error {
	sink, err := sinkKind().current(a, r)
	if err != nil {
		return err
	}
	all := a.backfillsOf(sink)
	i := slices.IndexFunc(all, func(b Backfill) bool { return b.ID == strings.ToLower(r.PathValue("id")) })
	if i < 0 {
		return entityBackfill.missing()
	}
	return a.writeJSON(w, &all[i])
}

func (a *API) createBackfill(w http.ResponseWriter, r *request) error {
	sink, err := sinkKind().current(a, r)
	if err != nil {
		return err
	}
	if a.backfills == nil {
		return &statusError{status: http.StatusUnprocessableEntity, problem: problem.New(CodeUnavailableFeature, "backfills are not run here")}
	}
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return err
	}
	db, ok := set.Database(sink.Database)
	if !ok {
		return entityReference.missing()
	}
	ask, err := backfillAsk(r.declaration())
	if err != nil {
		return err
	}
	if ask.Table == "" {
		if len(sink.Source.IncludeTables) != 1 || strings.Contains(sink.Source.IncludeTables[0].String(), "*") {
			return mistaken("table", resource.CodeMissing, "is missing, and the sink's source does not include exactly one")
		}
		ask.Table = sink.Source.IncludeTables[0].String()
	}
	b, err := a.backfills.CreateBackfill(r.Context(), sink, db, *ask)
	if err != nil {
		return err
	}
	a.noteBackfill(r, sink, "backfill.create", b.ID, "of table "+clip(ask.Table))
	return a.writeJSON(w, &b)
}

func (a *API) noteBackfill(r *request, sink *resource.Sink, action, id, detail string) {
	if a.noted != nil {
		a.noted(r.Context(), r.identity.Account, control.Entry{
			Actor: r.actor(), Action: action, ResourceType: control.KindSink, Resource: sink.Name, Detail: strings.TrimSpace("backfill " + id + " " + detail),
		})
	}
}

func (a *API) changeBackfill(w http.ResponseWriter, r *request) error {
	sink, err := sinkKind().current(a, r)
	if err != nil {
		return err
	}
	id := strings.ToLower(r.PathValue("id"))
	if !slices.ContainsFunc(a.backfillsOf(sink), func(b Backfill) bool { return b.ID == id }) {
		return entityBackfill.missing()
	}
	var body struct {
		State string `json:"state"`
	}
	if err := readObject(r.declaration(), &body, []string{"state"}); err != nil {
		return err
	}
	states := []string{"active", "paused", "completed", "cancelled", "failed"}
	if !slices.Contains(states, body.State) {
		return mistaken("state", resource.CodeInvalid, "must be one of "+strings.Join(states, ", "))
	}
	b, err := a.backfills.SetBackfillState(r.Context(), sink, id, body.State)
	if errors.Is(err, ErrNoBackfill) {
		return entityBackfill.missing()
	}
	if err != nil {
		return err
	}
	a.noteBackfill(r, sink, "backfill."+body.State, id, "")
	return a.writeJSON(w, &b)
}

// backfillAsk reads the body of a request for a backfill.
func backfillAsk(body []byte) (*BackfillAsk, error) {
	var ask struct {
		BackfillAsk
		Keys []json.RawMessage `json:"keys"`
	}
	keys := []string{
		"table", "state", "sort_column", "start_position", "end_position", "where", "keys", "key_query", "workers", "max_rows_per_second", "timeout_ms",
	}
	if err := readObject(body, &ask, keys); err != nil {
		return nil, err
	}
	var wrong []resource.Mistake
	add := func(bad bool, path, what string) {
		if bad {
			wrong = append(wrong, resource.Mistake{Path: path, Code: resource.CodeInvalid, What: what})
		}
	}
	add(ask.State != "" && ask.State != "active" && ask.State != "paused", "state", "must be active or paused")
	add(ask.Workers < 0 || ask.Workers > maxBackfillWorkers, "workers", fmt.Sprintf("must be 1 to %d", maxBackfillWorkers))
	add(ask.RowsPerSecond < 0, "max_rows_per_second", "must not be negative")
	add(ask.TimeoutMS < 0 || ask.TimeoutMS > maxBackfillTimeout, "timeout_ms", fmt.Sprintf("must be 1 to %d", maxBackfillTimeout))
	add(len(ask.Keys) > maxBackfillKeys, "keys", fmt.Sprintf("has %d entries; at most %d are taken: use key_query", len(ask.Keys), maxBackfillKeys))
	add(len(ask.Keys) > 0 && ask.KeyQuery != "", "keys", "stands beside key_query; give one of them")
	for i, raw := range ask.Keys {
		key, err := keyOf(raw)
		add(err != nil, fmt.Sprintf("keys[%d]", i), "must be a value, or a list of the values of the key's columns")
		ask.BackfillAsk.Keys = append(ask.BackfillAsk.Keys, key)
	}
	if len(wrong) > 0 {
		return nil, &resource.InvalidError{Mistakes: wrong}
	}
	return &ask.BackfillAsk, nil
}

// keyOf reads a key: a text or a number, or a list of them.
func keyOf(raw json.RawMessage) ([]string, error) {
	var many []json.RawMessage
	if err := json.Unmarshal(raw, &many); err != nil || len(many) == 0 {
		many = []json.RawMessage{raw}
	}
	key := make([]string, len(many))
	for i, v := range many {
		var n json.Number
		if err := json.Unmarshal(v, &key[i]); err == nil && string(v) != "null" {
			continue
		}
		if err := json.Unmarshal(v, &n); err != nil || string(v) == "null" {
			return nil, errors.New("not a key")
		}
		key[i] = n.String()
	}
	return key, nil
}

// readObject decodes an object with these keys and no others.
func readObject(body []byte, into any, keys []string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return badRequest(resource.CodeJSON, "the body is not a JSON object")
	}
	var wrong []resource.Mistake
	for key, value := range members {
		if !slices.Contains(keys, key) {
			wrong = append(wrong, resource.Mistake{Path: key, Code: resource.CodeUnknownKey, What: "is not known; the keys are " + strings.Join(keys, ", ")})
			continue
		}
		one, err := json.Marshal(map[string]json.RawMessage{key: value})
		if err == nil {
			err = json.Unmarshal(one, into)
		}
		if err != nil {
			wrong = append(wrong, resource.Mistake{Path: key, Code: resource.CodeInvalid, What: "has the wrong type"})
		}
	}
	if len(wrong) > 0 {
		slices.SortFunc(wrong, func(x, y resource.Mistake) int { return strings.Compare(x.Path, y.Path) })
		return &resource.InvalidError{Mistakes: wrong}
	}
	return nil
}
