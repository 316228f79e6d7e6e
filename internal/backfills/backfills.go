// Package backfills keeps the backfills of sinks and runs them: it reads tables in pages, waits until the change log holds what the page's
// snapshot saw, and offers the rows to the sink's consumer, which delivers them beside the changes.
//
// A backfill is remembered until its sink is removed, its progress together with the last page that the consumer took: after a crash it goes on
// behind that page. At most two of a database run at a time; the others wait for their turn. A Manager is safe for concurrent use.
package backfills

import (
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/postgres/backfill"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// State says where a backfill is.
type State string

// The states of a backfill. The last three are final.
const (
	Active    State = "active"
	Paused    State = "paused"
	Completed State = "completed"
	Cancelled State = "cancelled"
	Failed    State = "failed"
)

// Over tells whether a state is final.
func (s State) Over() bool { return s == Completed || s == Cancelled || s == Failed }

// Valid tells whether there is such a state.
func (s State) Valid() bool {
	return slices.Contains([]State{Active, Paused, Completed, Cancelled, Failed}, s)
}

// may tells whether a backfill may go from one state to another.
func (s State) may(to State) bool {
	switch s {
	case Active:
		return to != Active
	case Paused:
		return to == Active || to == Cancelled
	case Completed, Cancelled, Failed:
	}
	return false
}

// Backfill is one backfill of one table for one sink.
type Backfill struct {
	ID       string             `json:"id"`
	Sink     string             `json:"sink"`     // by id
	Database string             `json:"database"` // by id
	Table    resource.TableName `json:"table"`
	OID      uint32             `json:"oid,omitempty"` // once it was read from
	State    State              `json:"state"`
	Part     Part               `json:"part"`
	Workers  int                `json:"workers,omitempty"` // readers at a time; 0 for one
	Rate     int                `json:"rate,omitempty"`    // rows a second; 0 for no limit
	Timeout  time.Duration      `json:"timeout,omitempty"` // of a page

	Rows      *int64    `json:"rows,omitempty"` // to read, nil until it is known
	Estimated bool      `json:"estimated,omitempty"`
	Error     string    `json:"error,omitempty"`
	ErrorCode string    `json:"error_code,omitempty"`
	Hint      string    `json:"hint,omitempty"`
	Inserted  time.Time `json:"inserted"`
	Updated   time.Time `json:"updated"`
	Ended     time.Time `json:"ended"`
	// Read and the others are what was read when it ended; while it runs they are in its progress.
	Read    int64 `json:"read,omitempty"`
	Offered int64 `json:"offered,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
}

// Part is what of the table is wanted; the zero value is all of it.
type Part struct {
	SortColumn string     `json:"sort_column,omitempty"`
	From       string     `json:"from,omitempty"`
	To         string     `json:"to,omitempty"`
	Where      string     `json:"where,omitempty"`
	Keys       [][]string `json:"keys,omitempty"`
	KeyQuery   string     `json:"key_query,omitempty"`
}

// Spec is the backfill as its table is read.
func (b *Backfill) Spec(publication string) backfill.Spec {
	return backfill.Spec{
		Schema: b.Table.Schema, Table: b.Table.Name, Publication: publication, SortColumn: b.Part.SortColumn, From: b.Part.From, To: b.Part.To,
		Where: b.Part.Where, Keys: b.Part.Keys, KeyQuery: b.Part.KeyQuery, Timeout: b.Timeout,
	}
}

// View is a backfill as it is now.
type View struct {
	Backfill
	Queued  bool    // waits for its turn
	Waiting string  // what it waits for; "" for nothing
	Speed   float64 // rows a second, lately
	Key     string  // the last that was read
	Left    time.Duration
	Pending uint64 // rows that were read and are not delivered
}

// ErrorOf is why a backfill does not go on, nil if it does.
func (v *View) ErrorOf() *problem.Error {
	if v.Error == "" {
		return nil
	}
	return problem.New(v.ErrorCode, "%s", v.Error).WithHint("%s", v.Hint)
}
