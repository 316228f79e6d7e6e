package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/postgres/publication"
)

// Remembered is what the log was read from, as it is remembered beside the log: which server, which history, which slot, and from where on
// everything is there. Before anything is streamed the server is compared with it.
type Remembered struct {
	SystemID  string    `json:"system_id"`
	Timeline  uint32    `json:"timeline"`
	Slot      string    `json:"slot"`
	Database  string    `json:"database"`
	From      cdc.LSN   `json:"from_lsn"` // everything from this LSN on is in the log
	Since     time.Time `json:"since"`
	Epoch     uint32    `json:"epoch"`
	SlotMade  bool      `json:"slot_made"` // the slot is ours: we created it
	MovedFrom uint32    `json:"moved_from_timeline,omitempty"`
	// Gaps are what the log lacks behind its beginning: each was accepted with another slot. The newest ones are kept.
	Gaps []SourceGap `json:"gaps,omitempty"`
}

// SourceGap is a stretch of the source's history that is not in the log.
type SourceGap struct {
	From cdc.LSN   `json:"from_lsn"`
	To   cdc.LSN   `json:"to_lsn"`
	At   time.Time `json:"at"`
}

// maxGaps bounds Remembered.Gaps.
const maxGaps = 20

// records keeps Source and the confirm bound of one database in the state store.
type records struct {
	state engine.State
	id    string
}

func (r records) sourceKey() string { return "database/" + r.id + "/source" }
func (r records) boundKey() string  { return "database/" + r.id + "/bound" }
func (r records) relationKey(oid uint32) string {
	return fmt.Sprintf("database/%s/relation/%d", r.id, oid)
}

// source returns the remembered source, and false before the first connection.
func (r records) source(ctx context.Context) (Remembered, bool, error) {
	var s Remembered
	entry, err := r.state.Get(ctx, r.sourceKey())
	if errors.Is(err, engine.ErrNotFound) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("read the remembered source: %w", err)
	}
	if err := json.Unmarshal(entry.Value, &s); err != nil {
		return s, false, fmt.Errorf("decode the remembered source: %w", err)
	}
	return s, true, nil
}

func (r records) putSource(ctx context.Context, s Remembered) error {
	value, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the source: %w", err)
	}
	if err := r.state.Apply(ctx, engine.Put(r.sourceKey(), value)); err != nil {
		return fmt.Errorf("remember the source: %w", err)
	}
	return nil
}

// A reading is the time from a slot's adoption until another is adopted or the database is forgotten. The mark on the source tells of it by slot
// and beginning, and so does the state, for ever: as the source while it lasts, under its own key once it has ended on purpose. A mark of ours
// that the state cannot explain means that the state has lost what came after it was made, and the log with it.
func endedKey(slot string, since time.Time) string {
	return "reading/" + slot + "/" + since.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
}

// putEnded remembers that a reading has ended on purpose.
func (r records) putEnded(ctx context.Context, was Remembered) error {
	if err := r.state.Apply(ctx, engine.Put(endedKey(was.Slot, was.Since), []byte(r.id))); err != nil {
		return fmt.Errorf("remember the end of the reading of slot %q: %w", was.Slot, err)
	}
	return nil
}

// explains tells whether the reading of the mark is remembered, be it that of another database.
func (r records) explains(ctx context.Context, mark publication.Mark) (bool, error) {
	key := endedKey(mark.Slot, mark.Since)
	_, err := r.state.Get(ctx, key)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, engine.ErrNotFound) {
		return false, fmt.Errorf("look for the end of a reading: %w", err)
	}
	for entry, err := range r.state.List(ctx, "database/") {
		if err != nil {
			return false, fmt.Errorf("look for the reading of a slot: %w", err)
		}
		var other Remembered
		if strings.HasSuffix(entry.Key, "/source") && json.Unmarshal(entry.Value, &other) == nil && endedKey(other.Slot, other.Since) == key {
			return true, nil
		}
	}
	return false, nil
}

// Forget removes what is remembered of a database, on a person's word. That its slot was read stays known.
func Forget(ctx context.Context, state engine.State, id string) error {
	r := records{state, id}
	was, known, err := r.source(ctx)
	if err == nil && known {
		err = r.putEnded(ctx, was)
	}
	return errors.Join(err, state.DeletePrefix(ctx, "database/"+id+"/"))
}

// bound returns the highest LSN that a status update may have carried while the log itself did not yet reach it.
func (r records) bound(ctx context.Context) (cdc.LSN, error) {
	entry, err := r.state.Get(ctx, r.boundKey())
	if errors.Is(err, engine.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the confirm bound: %w", err)
	}
	lsn, err := cdc.ParseLSN(string(entry.Value))
	if err != nil {
		return 0, fmt.Errorf("decode the confirm bound: %w", err)
	}
	return lsn, nil
}

func (r records) putBound(ctx context.Context, lsn cdc.LSN) error {
	if err := r.state.Apply(ctx, engine.Put(r.boundKey(), []byte(lsn.String()))); err != nil {
		return fmt.Errorf("raise the confirm bound: %w", err)
	}
	return nil
}

// relation returns the catalog facts that were last seen for a table, for changes that outlive it.
func (r records) relation(ctx context.Context, oid uint32) (*cdc.Relation, error) {
	entry, err := r.state.Get(ctx, r.relationKey(oid))
	if err != nil {
		return nil, err
	}
	var rel cdc.Relation
	if err := json.Unmarshal(entry.Value, &rel); err != nil {
		return nil, fmt.Errorf("decode the remembered facts of table %d: %w", oid, err)
	}
	return &rel, nil
}

func (r records) putRelation(ctx context.Context, rel *cdc.Relation) error {
	value, err := json.Marshal(rel)
	if err != nil {
		return fmt.Errorf("encode the facts of table %s.%s: %w", rel.Schema, rel.Name, err)
	}
	return r.state.Apply(ctx, engine.Put(r.relationKey(rel.SourceID), value))
}
