package api

import (
	"context"
	"time"

	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/resource"
)

// Runtime tells how what is declared runs, and looks at source databases. It is safe for concurrent use.
type Runtime interface {
	// SinkHealth looks how an account's sinks are doing, once for all of them; what it returns tells of each.
	SinkHealth(account string) func(sink *resource.Sink) Health
	// Status is how everything of an account is doing.
	Status(account string) Status
	// Slot tells of a database's slot, publication and change log. A database that cannot be reached is no error: its answer says so.
	Slot(ctx context.Context, db *resource.Database) (SlotDetails, error)
	// TestConnection makes the checks that a start makes. What is wrong with the database is a *SourceError.
	TestConnection(ctx context.Context, db *resource.Database) error
	// RefreshTables reads the database's tables anew.
	RefreshTables(ctx context.Context, db *resource.Database) error
	// Connect tries to reach the database, whether or not it is set up, and tells what it lacks then.
	Connect(ctx context.Context, db *resource.Database) (lacks []string, err error)
	// Schemas and TableNames list what is there.
	Schemas(ctx context.Context, db *resource.Database) ([]string, error)
	TableNames(ctx context.Context, db *resource.Database, schema string) ([]string, error)
	// SetUpReplication creates the publication of the tables (nil: all that can be published) and the slot, as far as they are missing. What was
	// made before an error is told beside it.
	SetUpReplication(ctx context.Context, db *resource.Database, tables []resource.TableName) (ReplicationSetup, error)
}

// ReplicationSetup is what setting up replication has come to.
type ReplicationSetup struct {
	Created  []string             // of publication and slot
	Tables   []resource.TableName // that were asked for, or all, and are published
	LeftOut  []LeftOutTable
	Warnings []string
}

// What can be created.
const (
	CreatedPublication = "publication"
	CreatedSlot        = "slot"
)

// LeftOutTable is a table that a publication does not have, because it would break it or because it is somebody else's.
type LeftOutTable struct {
	Table                  resource.TableName
	Reason, Detail, Repair string
}

// SourceError is what is wrong with a source database, or with the way to it.
type SourceError struct {
	Err       error
	Transient bool // it may pass by itself
}

func (e *SourceError) Error() string { return e.Err.Error() }
func (e *SourceError) Unwrap() error { return e.Err }

// Temporary tells whether asking again may help.
func (e *SourceError) Temporary() bool { return e.Transient }

// Health is a sink's health in the original's words.
type Health struct {
	Name   string  `json:"name"`
	Status string  `json:"status"`
	Checks []Check `json:"checks"`
}

// Check is one part of it.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
	Code   string `json:"code,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// Status is everything on one screen.
type Status struct {
	Status    health.Status    `json:"status"`
	Version   string           `json:"version"`
	Instance  string           `json:"instance"`
	Accounts  int              `json:"accounts"`
	Databases []DatabaseStatus `json:"databases"`
	Sinks     []SinkStatus     `json:"sinks"`
	Gaps      []Gap            `json:"gaps"`
	Problems  []health.Issue   `json:"problems"` // of neither a database nor a sink
}

// DatabaseStatus is a database on that screen.
type DatabaseStatus struct {
	ID                string         `json:"id"`
	Name              string         `json:"name"`
	Status            health.Status  `json:"status"`
	Slot              string         `json:"slot"`
	Publication       string         `json:"publication"`
	ServerVersion     *string        `json:"server_version"` // null until it was connected to
	State             string         `json:"state"`
	RetainedWALBytes  *int64         `json:"retained_wal_bytes"` // null while not known
	ConfirmedFlushLSN *string        `json:"confirmed_flush_lsn"`
	LagBytes          *int64         `json:"lag_bytes"` // of the change log behind the server, when it was last looked at
	Log               LogStatus      `json:"log"`
	Problems          []health.Issue `json:"problems"`
}

// LogStatus is a change log.
type LogStatus struct {
	FirstSeq uint64     `json:"first_seq"` // 0 for an empty log
	LastSeq  uint64     `json:"last_seq"`
	Messages uint64     `json:"messages"`
	Bytes    uint64     `json:"bytes"`
	MaxBytes uint64     `json:"max_bytes"`
	Oldest   *time.Time `json:"oldest"`
	Newest   *time.Time `json:"newest"`
}

// SinkStatus is a sink on that screen.
type SinkStatus struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	Database    string          `json:"database"`
	Type        string          `json:"type"`
	Status      resource.Status `json:"status"`
	Health      health.Status   `json:"health"`
	Pending     uint64          `json:"pending"`
	InFlight    int             `json:"in_flight"`
	BackingOff  int             `json:"backing_off"`
	DeadLetters int64           `json:"dead_letters"`
	OldestAgeMS int64           `json:"oldest_age_ms"`
	Delivered   uint64          `json:"delivered"` // since the start, as failed
	Failed      uint64          `json:"failed"`
	Problems    []health.Issue  `json:"problems"`
}

// Gap is a stretch of changes that somebody did not get.
type Gap struct {
	Database string    `json:"database"`
	Sink     *string   `json:"sink"` // null: it is missing in the change log, and so for every sink
	From     string    `json:"from"`
	To       string    `json:"to"`
	Messages *uint64   `json:"messages"`
	Cause    string    `json:"cause"`
	Since    time.Time `json:"since"`
}

// SlotDetails is a database's slot and publication as Postgres has them, and the change log behind.
type SlotDetails struct {
	Database          string           `json:"database"`
	Slot              *SlotView        `json:"slot"`        // null when it is not there, or the database could not be asked
	Publication       *PublicationView `json:"publication"` // likewise
	ConfirmedFlushLSN *string          `json:"confirmed_flush_lsn"`
	RestartLSN        *string          `json:"restart_lsn"`
	WALStatus         string           `json:"wal_status"`
	RetainedWALBytes  *int64           `json:"retained_wal_bytes"`
	SafeWALBytes      *int64           `json:"safe_wal_bytes"` // null: no limit, or not known
	Log               LogStatus        `json:"log"`
	Budget            Budget           `json:"budget"`
	Capture           CaptureView      `json:"capture"`
	Gaps              []Gap            `json:"gaps"`
	Unreachable       *health.Issue    `json:"unreachable"` // why the database could not be asked
	Warnings          []health.Issue   `json:"warnings"`
}

// SlotView is a row of pg_replication_slots.
type SlotView struct {
	Name               string `json:"name"`
	Plugin             string `json:"plugin"`
	Database           string `json:"database"`
	Active             bool   `json:"active"`
	ActivePID          *int32 `json:"active_pid"`
	ApplicationName    string `json:"application_name"`
	InvalidationReason string `json:"invalidation_reason"`
	Failover           bool   `json:"failover"`
	TwoPhase           bool   `json:"two_phase"`
	UnconfirmedBytes   int64  `json:"unconfirmed_bytes"`
}

// PublicationView is a publication.
type PublicationView struct {
	Name             string   `json:"name"`
	AllTables        bool     `json:"all_tables"`
	Schemas          []string `json:"schemas"`
	Tables           []string `json:"tables"`
	Actions          []string `json:"actions"`
	ViaPartitionRoot bool     `json:"via_partition_root"`
}

// Budget is what a database's change log and slot may take.
type Budget struct {
	MaxDiskBytes   uint64 `json:"max_disk_bytes"`
	WALBudgetBytes int64  `json:"wal_budget_bytes"`
	OnWALBudget    string `json:"on_wal_budget"`
	RetentionAgeMS int64  `json:"retention_max_age_ms"`
	RetentionBytes int64  `json:"retention_max_bytes"`
}

// CaptureView is what reads the slot.
type CaptureView struct {
	State              string        `json:"state"`
	Since              *time.Time    `json:"since"`
	DurableLSN         *string       `json:"durable_lsn"`
	ReceivedAt         *time.Time    `json:"received_at"`
	HeartbeatAt        *time.Time    `json:"heartbeat_at"`
	HeartbeatLatencyMS *int64        `json:"heartbeat_latency_ms"`
	Transactions       uint64        `json:"transactions"`
	Changes            uint64        `json:"changes"`
	Reconnects         uint64        `json:"reconnects"`
	Problem            *health.Issue `json:"problem"`
}
