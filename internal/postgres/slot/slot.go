// Package slot looks at, creates and drops logical replication slots.
//
// It never drops or moves a slot unasked. Creation waits for the transactions that are open on the server, possibly for hours; it says whom it
// waits for, and when it is called off it leaves no slot behind. Works on Postgres 12 to 18; functions use the connection they are given and
// nothing else, so they are as safe for concurrent use as it is.
package slot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// Plugin is the output plugin that our slots use.
const Plugin = "pgoutput"

// Errors that callers decide on.
var (
	// ErrNotFound reports a slot that is not there.
	ErrNotFound = errors.New("replication slot not found")
	// ErrExists reports a slot that is there already.
	ErrExists = errors.New("replication slot exists")
	// ErrInUse reports a slot from which someone streams.
	ErrInUse = errors.New("replication slot is in use")
	// ErrInvalidated reports a slot whose WAL the server has removed, or that it has otherwise given up.
	ErrInvalidated = errors.New("replication slot is invalidated")
	// ErrUnusable reports a slot of another kind: physical, of another plugin or database, or with two-phase decoding.
	ErrUnusable = errors.New("replication slot is not usable")
)

// Querier runs a query; a connection, a transaction or a pool does.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Slot is a replication slot as the server shows it. What a major version does not know has its zero value.
type Slot struct {
	Name               string
	Plugin             string
	Type               string // logical or physical
	Database           string
	Temporary          bool
	Active             bool
	ActivePID          int32
	RestartLSN         cdc.LSN
	ConfirmedFlush     cdc.LSN
	WALStatus          string // 13 and later: reserved, extended, unreserved, lost
	SafeWALSize        *int64 // 13 and later, nil without a limit: bytes that may still be written before the slot is in danger
	TwoPhase           bool   // 14 and later
	Conflicting        bool   // 16 and later
	InvalidationReason string // 17 and later
	InactiveSince      time.Time
	Failover           bool // 17 and later
	Synced             bool // 17 and later: made as a standby's copy; a promoted standby keeps saying so
	InRecovery         bool // the server is a standby
	// Retained is the WAL that the server keeps for the slot, and Unconfirmed how far its confirmed position lies behind, in bytes.
	Retained    int64
	Unconfirmed int64
	// Reader tells who streams from the slot, as far as our privileges let us see.
	Reader Reader
}

// Reader is the client that streams from a slot.
type Reader struct {
	ApplicationName string
	Address         string
	Since           time.Time
}

// row mirrors pg_replication_slots. Read as JSON, one query serves every major version: columns that it lacks stay empty.
type row struct {
	SlotName           string     `json:"slot_name"`
	Plugin             string     `json:"plugin"`
	SlotType           string     `json:"slot_type"`
	Database           string     `json:"database"`
	Temporary          bool       `json:"temporary"`
	Active             bool       `json:"active"`
	ActivePID          int32      `json:"active_pid"`
	RestartLSN         string     `json:"restart_lsn"`
	ConfirmedFlushLSN  string     `json:"confirmed_flush_lsn"`
	WALStatus          string     `json:"wal_status"`
	SafeWALSize        *int64     `json:"safe_wal_size"`
	TwoPhase           bool       `json:"two_phase"`
	Conflicting        bool       `json:"conflicting"`
	InvalidationReason string     `json:"invalidation_reason"`
	InactiveSince      *time.Time `json:"inactive_since"`
	Failover           bool       `json:"failover"`
	Synced             bool       `json:"synced"`
}

// The replay position exists on a server that was once a standby too, and stands still there: it counts during recovery only.
const inspectQuery = `
select to_jsonb(s),
  coalesce(pg_wal_lsn_diff(w.lsn, s.restart_lsn), 0)::bigint,
  coalesce(pg_wal_lsn_diff(w.lsn, s.confirmed_flush_lsn), 0)::bigint,
  coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''), a.backend_start, pg_is_in_recovery()
from pg_replication_slots s
cross join (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn) w
left join pg_stat_activity a on a.pid = s.active_pid
where s.slot_name = $1`

// Inspect returns the slot, or ErrNotFound.
func Inspect(ctx context.Context, conn Querier, name string) (Slot, error) {
	var (
		raw   []byte
		since *time.Time
		s     Slot
	)
	err := conn.QueryRow(ctx, inspectQuery, name).
		Scan(&raw, &s.Retained, &s.Unconfirmed, &s.Reader.ApplicationName, &s.Reader.Address, &since, &s.InRecovery)
	if errors.Is(err, pgx.ErrNoRows) {
		return Slot{}, fmt.Errorf("slot %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Slot{}, fmt.Errorf("inspect slot %q: %w", name, err)
	}
	if since != nil {
		s.Reader.Since = since.UTC()
	}
	if err := s.fill(raw); err != nil {
		return Slot{}, fmt.Errorf("inspect slot %q: %w", name, err)
	}
	return s, nil
}

func (s *Slot) fill(raw []byte) error {
	var r row
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	s.Name, s.Plugin, s.Type, s.Database = r.SlotName, r.Plugin, r.SlotType, r.Database
	s.Temporary, s.Active, s.ActivePID = r.Temporary, r.Active, r.ActivePID
	s.WALStatus, s.SafeWALSize, s.TwoPhase = r.WALStatus, r.SafeWALSize, r.TwoPhase
	s.Conflicting, s.InvalidationReason, s.Failover, s.Synced = r.Conflicting, r.InvalidationReason, r.Failover, r.Synced
	if r.InactiveSince != nil {
		s.InactiveSince = r.InactiveSince.UTC()
	}
	var err error
	if s.RestartLSN, err = parseLSN(r.RestartLSN); err != nil {
		return err
	}
	s.ConfirmedFlush, err = parseLSN(r.ConfirmedFlushLSN)
	return err
}

func parseLSN(text string) (cdc.LSN, error) {
	if text == "" {
		return 0, nil
	}
	return cdc.ParseLSN(text)
}

// Invalidated reports whether the server has given the slot up, and why in its words. Nothing can be read from it any more.
func (s Slot) Invalidated() (reason string, yes bool) {
	switch {
	case s.InvalidationReason != "":
		return s.InvalidationReason, true
	case s.Conflicting:
		return "conflict with recovery", true
	case s.WALStatus == "lost":
		return "wal_removed", true
	}
	return "", false
}

// Check says why we cannot stream from the slot into the given database, or returns nil. The errors are problems that wrap the sentinels.
// ownPID is the backend of ours that may hold the slot, 0 for none.
func (s Slot) Check(database string, ownPID int32) error {
	if reason, yes := s.Invalidated(); yes {
		return problem.New("slot_invalidated", "replication slot %q is invalidated", s.Name).
			WithDetail("reason: %s; confirmed up to %s; what came after it can no longer be read", reason, s.ConfirmedFlush).
			WithHint("%s", invalidationHint(reason, s.Name)).Because(ErrInvalidated)
	}
	if err := s.checkKind(database); err != nil {
		return err
	}
	if s.Active && s.ActivePID != ownPID {
		return s.inUse()
	}
	return nil
}

func (s Slot) checkKind(database string) error {
	var what string
	switch {
	case s.Type != "logical":
		what = "it is a physical slot"
	case s.Plugin != Plugin:
		what = fmt.Sprintf("its output plugin is %s, not %s", s.Plugin, Plugin)
	case s.Database != database:
		what = fmt.Sprintf("it belongs to database %q, not %q", s.Database, database)
	case s.TwoPhase:
		what = "it decodes prepared transactions (two_phase)"
	case s.Synced && s.InRecovery:
		what = "it is a standby's copy of a slot on the primary (synced); it can be read after a promotion"
	default:
		return nil
	}
	return problem.New("slot_unusable", "replication slot %q cannot be used", s.Name).WithDetail("%s", what).
		WithHint("choose another name with slot.name, or create the slot anew: " +
			"select pg_create_logical_replication_slot('<name>', 'pgoutput') in the right database").Because(ErrUnusable)
}

func (s Slot) inUse() error {
	p := problem.New("slot_in_use", "replication slot %q is in use by PID %d", s.Name, s.ActivePID).Because(ErrInUse).
		WithHint("stop that process, or give this database its own slot with slot.name")
	if s.Reader.Since.IsZero() {
		return p.WithDetail("another process is streaming from it")
	}
	detail := "another process has been streaming from it since " + s.Reader.Since.Format("2006-01-02 15:04 UTC")
	if s.Reader.ApplicationName != "" {
		detail += fmt.Sprintf(", application_name %q", s.Reader.ApplicationName)
	}
	if s.Reader.Address != "" {
		detail += ", from " + s.Reader.Address
	}
	return p.WithDetail("%s", detail)
}

func invalidationHint(reason, name string) string {
	again := fmt.Sprintf("drop the slot, select pg_drop_replication_slot('%s'), create it again, and backfill what was missed", name)
	switch reason {
	case "idle_timeout":
		return again + "; raise idle_replication_slot_timeout, or set it to 0"
	case "wal_level_insufficient":
		return "set wal_level = logical again; then " + again
	case "wal_removed":
		return again + "; raise max_slot_wal_keep_size so that it does not happen again"
	default:
		return again
	}
}

// Classify wraps an error of a replication command or function on the slot with the sentinel that it stands for. What it does not know, it
// returns as it is.
func Classify(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "55006":
		return fmt.Errorf("%w: %w", ErrInUse, err)
	case "42704":
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case "42710":
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	return err
}
