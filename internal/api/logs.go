package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/resource"
)

// Logs looks into change logs, whether or not what writes them runs. It changes nothing.
type Logs interface {
	// Log opens the change log of a database as it stands.
	Log(ctx context.Context, db *resource.Database) (Log, error)
}

// Log is a change log as it stood when it was opened. Every question is answered within a few seconds, and says where to go on.
type Log interface {
	Describe(ctx context.Context) (LogView, error)
	Tables(ctx context.Context) (LogTables, error)
	Changes(ctx context.Context, q LogQuery) (LogPage, error)
	Verify(ctx context.Context, after uint64) (LogVerified, error)
}

// LogView is what a change log holds.
type LogView struct {
	Database   string     `json:"database"`
	DatabaseID string     `json:"database_id"`
	FirstSeq   uint64     `json:"first_seq"`
	LastSeq    uint64     `json:"last_seq"`
	Entries    uint64     `json:"entries"`
	Bytes      uint64     `json:"bytes"`
	Epoch      uint32     `json:"epoch"`
	FirstLSN   *string    `json:"first_lsn"`
	LastLSN    *string    `json:"last_lsn"`
	Oldest     *time.Time `json:"oldest_appended_at"`
	Newest     *time.Time `json:"newest_commit_timestamp"`
	Damage     *LogDamage `json:"damaged_end"`
}

// LogDamage is a range of entries that cannot be read.
type LogDamage struct {
	From  uint64 `json:"from_seq"`
	To    uint64 `json:"to_seq"`
	Cause string `json:"cause"`
}

// LogTables counts the entries of each table in the newest part of a log.
type LogTables struct {
	From     uint64      `json:"from_seq"`
	To       uint64      `json:"to_seq"`
	Complete bool        `json:"complete"` // nothing before it is left out
	Tables   []LogTable  `json:"tables"`
	Damage   []LogDamage `json:"damage"`
}

// LogTable is one table's part.
type LogTable struct {
	Table     string `json:"table"`
	Inserts   uint64 `json:"inserts"`
	Updates   uint64 `json:"updates"`
	Deletes   uint64 `json:"deletes"`
	Truncates uint64 `json:"truncates"`
	Bytes     uint64 `json:"bytes"` // as they came
}

// LogQuery selects entries; what is zero selects all.
type LogQuery struct {
	consumer.MessageFilter
	After, Before  uint64 // between them, both left out
	From, To       time.Time
	FromLSN, ToLSN cdc.LSN // of the commit, both taken in
	Limit          int
}

// LogPage is some of the entries, in their order.
type LogPage struct {
	Entries []LogEntry
	Damage  []LogDamage
	Next    uint64 // the after of the next page; 0 on the last one
}

// LogEntry is one of them.
type LogEntry struct {
	Seq      uint64
	Position cdc.Position
	Message  []byte // nil if it cannot be made
	Err      error  // why
}

// LogVerified is what became of checking a part of a log.
type LogVerified struct {
	From    uint64      `json:"from_seq"`
	To      uint64      `json:"to_seq"`
	Entries uint64      `json:"entries"`
	Blocks  uint64      `json:"blocks"`
	Damage  []LogDamage `json:"damage"`
	Next    seqOrNull   `json:"next"`
}

// SetNext says where to go on.
func (v *LogVerified) SetNext(seq uint64) { v.Next = seqOrNull(seq) }

func (a *API) logRoutes() []entry {
	const base = "/api/postgres_databases/{id_or_name}/log"
	return guard(reads,
		route{http.MethodGet, base, a.showLog},
		route{http.MethodGet, base + "/tables", a.logTables},
		route{http.MethodGet, base + "/changes", a.logChanges},
		route{http.MethodGet, base + "/verify", a.verifyLog},
	)
}

func (a *API) openLog(r *request) (Log, error) {
	db, err := a.database(r)
	if err != nil {
		return nil, err
	}
	return a.logs.Log(r.Context(), db)
}

func (a *API) showLog(w http.ResponseWriter, r *request) error {
	log, err := a.openLog(r)
	if err != nil {
		return err
	}
	v, err := log.Describe(r.Context())
	if err != nil {
		return err
	}
	return a.writeJSON(w, v)
}

func (a *API) logTables(w http.ResponseWriter, r *request) error {
	log, err := a.openLog(r)
	if err != nil {
		return err
	}
	v, err := log.Tables(r.Context())
	if err != nil {
		return err
	}
	return a.writeJSON(w, v)
}

func (a *API) verifyLog(w http.ResponseWriter, r *request) error {
	log, err := a.openLog(r)
	if err != nil {
		return err
	}
	after, _, err := r.params.seq("after")
	if err != nil {
		return err
	}
	v, err := log.Verify(r.Context(), after)
	if err != nil {
		return err
	}
	return a.writeJSON(w, v)
}

func (a *API) logChanges(w http.ResponseWriter, r *request) error {
	log, err := a.openLog(r)
	if err != nil {
		return err
	}
	q, err := r.params.logQuery()
	if err != nil {
		return err
	}
	page, err := log.Changes(r.Context(), q)
	if err != nil {
		return err
	}
	type listed struct {
		Seq      uint64          `json:"seq"`
		Position string          `json:"position"`
		Data     json.RawMessage `json:"data"`
		Error    *string         `json:"data_error,omitempty"`
	}
	reply := struct {
		Data   []listed    `json:"data"`
		Damage []LogDamage `json:"damage"`
		Next   seqOrNull   `json:"next"`
	}{Data: make([]listed, len(page.Entries)), Damage: page.Damage, Next: seqOrNull(page.Next)}
	for i := range page.Entries {
		e := &page.Entries[i]
		reply.Data[i] = listed{Seq: e.Seq, Position: positionText(e.Position), Data: e.Message}
		if e.Err != nil {
			text := e.Err.Error()
			reply.Data[i].Data, reply.Data[i].Error = json.RawMessage("null"), &text
		}
	}
	return a.writeJSON(w, reply)
}

// logQuery reads which entries are asked for.
func (p *params) logQuery() (q LogQuery, err error) {
	limit, found, err := p.integer("limit", 1, maxListed)
	if err != nil {
		return q, err
	}
	if q.Limit = limit; !found {
		q.Limit = defaultListed
	}
	if q.MessageFilter, err = p.messageFilter(); err != nil {
		return q, err
	}
	if q.After, _, err = p.seq("after"); err != nil {
		return q, err
	}
	if q.Before, _, err = p.seq("before"); err != nil {
		return q, err
	}
	for name, at := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if *at, err = p.moment(name); err != nil {
			return q, err
		}
	}
	for name, at := range map[string]*cdc.LSN{"from_lsn": &q.FromLSN, "to_lsn": &q.ToLSN} {
		if *at, err = p.lsn(name); err != nil {
			return q, err
		}
	}
	return q, nil
}

// moment reads a time; the zero time when it is not given.
func (p *params) moment(name string) (time.Time, error) {
	v, ok := p.find(name)
	if !ok || v.scalar && v.text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v.text)
	if err != nil || !v.scalar {
		return time.Time{}, badParameter(name, "is %s; expected a time with its zone, for example 2026-01-31T09:30:00Z", v.shown)
	}
	return t, nil
}

// lsn reads an LSN; 0 when it is not given.
func (p *params) lsn(name string) (cdc.LSN, error) {
	v, ok := p.find(name)
	if !ok || v.scalar && v.text == "" {
		return 0, nil
	}
	lsn, err := cdc.ParseLSN(v.text)
	if err != nil || !v.scalar {
		return 0, badParameter(name, "is %s; expected an LSN, for example 16/B374D848", v.shown)
	}
	return lsn, nil
}
