package postgres

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

// Status is how a check went.
type Status string

// The outcomes of a check.
const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warning" // it works, and somebody should know
	StatusFail Status = "error"   // streaming, or an application, does not work
)

// Item is the outcome of one check. Problem is nil when Status is ok.
type Item struct {
	Name    string
	Status  Status
	Found   string // what was found
	Why     string // why that matters
	Problem *problem.Error
}

// Report is what the checks found. Its JSON form holds no secret.
type Report struct {
	Items       []Item
	Address     string
	Database    string
	User        string
	Connected   bool   // a connection was made; always so for Preflight
	Version     int    // server_version_num: 150004 is 15.4
	VersionText string // as the server says it
	Provider    Provider
	Evidence    string // how the provider is known
	InRecovery  bool
	Identity    *Identity                // nil without a replication connection
	Slot        *slot.Slot               // nil if it is not there
	Publication *publication.Publication // nil if it is not there
}

// Err is the first failure, or nil.
func (r Report) Err() error {
	for _, item := range r.Items {
		if item.Status == StatusFail {
			return item.Problem
		}
	}
	return nil
}

// Warnings are the problems that do not stop streaming.
func (r Report) Warnings() []*problem.Error {
	var list []*problem.Error
	for _, item := range r.Items {
		if item.Status == StatusWarn {
			list = append(list, item.Problem)
		}
	}
	return list
}

// Count is how many checks ended with the status.
func (r Report) Count(s Status) int {
	n := 0
	for _, item := range r.Items {
		if item.Status == s {
			n++
		}
	}
	return n
}

// Status is the worst outcome of any check.
func (r Report) Status() Status {
	switch {
	case r.Count(StatusFail) > 0:
		return StatusFail
	case r.Count(StatusWarn) > 0:
		return StatusWarn
	default:
		return StatusOK
	}
}

func (r *Report) add(c check, f finding) {
	if f.problem != nil {
		f.found = cmp.Or(f.found, f.problem.Detail, f.problem.Message)
	}
	r.Items = append(r.Items, Item{Name: c.name, Status: f.status, Found: f.found, Why: c.why, Problem: f.problem})
}

// order is that of the items for people: the way to the server first, then the server, the role, slot and publication, the tables.
var order = []string{ //nolint:gochecknoglobals // a constant list
	"address", "tls", "authentication", "latency", "clock", "pooler", "provider", "version", "recovery", "wal_level", "encoding", "replication_slots", "wal_senders",
	"wal_retention", "timeouts", "connect_privilege", "replication", "create_privilege", "table_privileges", "publication", "slot", "open_transactions", "tables",
	"replica_identity", "old_values", "large_values", "generated_columns", "row_security",
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Items, func(x, y Item) int { return cmp.Compare(slices.Index(order, x.Name), slices.Index(order, y.Name)) })
}

// itemJSON is an Item as clients see it.
type itemJSON struct {
	Name    string `json:"name"`
	Status  Status `json:"status"`
	Found   string `json:"found"`
	Why     string `json:"why"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// reportJSON is a Report as clients see it.
type reportJSON struct {
	Status        Status        `json:"status"`
	Errors        int           `json:"errors"`
	Warnings      int           `json:"warnings"`
	Address       string        `json:"address"`
	Database      string        `json:"database"`
	User          string        `json:"user"`
	Connected     bool          `json:"connected"`
	ServerVersion string        `json:"server_version,omitempty"`
	InRecovery    bool          `json:"in_recovery"`
	Provider      *providerJSON `json:"provider"`
	Guide         string        `json:"guide"`
	Checks        []itemJSON    `json:"checks"`
}

type providerJSON struct {
	Name string `json:"name"`
	How  string `json:"how"`
}

// MarshalJSON writes the form that the command line and the API show.
func (r Report) MarshalJSON() ([]byte, error) {
	out := reportJSON{
		Status: r.Status(), Errors: r.Count(StatusFail), Warnings: r.Count(StatusWarn),
		Address: r.Address, Database: r.Database, User: r.User, Connected: r.Connected, ServerVersion: r.VersionText, InRecovery: r.InRecovery,
		Guide: r.Provider.Guide(), Checks: make([]itemJSON, 0, len(r.Items)),
	}
	if r.Provider != ProviderNone {
		out.Provider = &providerJSON{Name: string(r.Provider), How: r.Evidence}
	}
	for _, i := range r.Items {
		item := itemJSON{Name: i.Name, Status: i.Status, Found: i.Found, Why: i.Why}
		if i.Problem != nil {
			item.Code, item.Message, item.Detail, item.Hint = i.Problem.Code, i.Problem.Message, i.Problem.Detail, i.Problem.Hint
		}
		out.Checks = append(out.Checks, item)
	}
	encoded, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return encoded, nil
}
