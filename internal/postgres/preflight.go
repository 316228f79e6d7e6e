package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

// Status is how a check went.
type Status string

// The outcomes of a check.
const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warn" // it works, and somebody should know
	StatusFail Status = "fail" // streaming will not work
)

// Item is the outcome of one check. Problem is nil when Status is ok.
type Item struct {
	Name    string
	Status  Status
	Problem *problem.Error
}

// Report is what a preflight found.
type Report struct {
	Items       []Item
	Version     int // server_version_num: 150004 is 15.4
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

// PreflightOptions say what is going to be done with the database.
type PreflightOptions struct {
	Config      Config // how conn was made
	Slot        string // "" leaves the slot unchecked
	Publication string // "" leaves the publication unchecked
	// CreateSlot and CreatePublication: it is fine if they are missing, they are going to be created.
	CreateSlot        bool
	CreatePublication bool
	OwnPID            int32 // the backend of ours that streams from the slot, 0 for none
	HasPrimary        bool  // conn leads to a standby, and the primary is configured too
}

// minVersion is the oldest version that is supported.
const minVersion = 120000

// preflight carries one run of the checks.
type preflight struct {
	conn   *pgx.Conn
	opts   PreflightOptions
	server serverFacts
	report Report
}

// Preflight looks at everything that streaming needs and reports each check with its repair. It changes nothing. The error is for a connection
// that failed meanwhile; what is wrong with the database is in the report.
func Preflight(ctx context.Context, conn *pgx.Conn, opts PreflightOptions) (Report, error) {
	p := &preflight{conn: conn, opts: opts}
	for _, check := range []struct {
		name string
		run  func(context.Context) (*finding, error)
	}{
		{"pooler", p.checkPooler}, // first: through a pooler, the others may speak of another session
		{"version", p.checkVersion},
		{"recovery", p.checkRecovery},
		{"wal_level", p.checkWALLevel},
		{"connect_privilege", p.checkConnect},
		{"replication", p.checkReplication},
		{"publication", p.checkPublication},
		{"replica_identity", p.checkIdentities},
		{"slot", p.checkSlot},
		{"wal_retention", p.checkRetention},
		{"timeouts", p.checkTimeouts},
		{"provider", p.checkProvider},
	} {
		found, err := check.run(ctx)
		if err != nil {
			return p.report, fmt.Errorf("preflight, %s: %w", check.name, opts.Config.Explain(err))
		}
		p.add(check.name, found)
	}
	return p.report, nil
}

// finding is a problem and how bad it is; nil means that all is well.
type finding struct {
	status  Status
	problem *problem.Error
}

func fail(p *problem.Error) *finding { return &finding{StatusFail, p} }
func warn(p *problem.Error) *finding { return &finding{StatusWarn, p} }

func (p *preflight) add(name string, found *finding) {
	if found == nil {
		found = &finding{status: StatusOK}
	}
	p.report.Items = append(p.report.Items, Item{Name: name, Status: found.status, Problem: found.problem})
}

func (p *preflight) checkVersion(context.Context) (*finding, error) {
	if p.server.version >= minVersion {
		return nil, nil //nolint:nilnil // nil means that all is well
	}
	return fail(problem.New("postgres_too_old", "the server runs Postgres %s; 12 is the oldest that works", p.server.versionText).
		WithHint("upgrade the server")), nil
}

func (p *preflight) checkRecovery(context.Context) (*finding, error) {
	s := p.server
	switch {
	case !s.inRecovery:
		return nil, nil //nolint:nilnil // nil means that all is well
	case s.version < 160000:
		return fail(problem.New("standby_not_supported", "%s is a standby, and only 16 or later can decode there", p.opts.Config.Address()).
			WithHint("connect to the primary")), nil
	case !p.opts.HasPrimary:
		return fail(problem.New("primary_missing", "%s is a standby, and no primary is configured", p.opts.Config.Address()).
			WithHint("add `primary` to the database, or connect to the primary itself: heartbeats are written there")), nil
	case !s.flag("hot_standby_feedback"):
		return warn(problem.New("hot_standby_feedback_off", "the standby does not tell its primary which rows the slot needs").
			WithHint("set hot_standby_feedback = on, or VACUUM on the primary can invalidate the slot")), nil
	}
	return nil, nil //nolint:nilnil // nil means that all is well
}

func (p *preflight) checkWALLevel(context.Context) (*finding, error) {
	level := p.server.settings["wal_level"].text
	if level == "logical" {
		return nil, nil //nolint:nilnil // nil means that all is well
	}
	return fail(problem.New("wal_level_not_logical", "the server writes no WAL that can be decoded").WithDetail("wal_level is %s", level).
		WithHint("%s", walLevelHint(p.opts.Config.Provider()))), nil
}

func (p *preflight) checkConnect(context.Context) (*finding, error) {
	if p.server.mayConnect {
		return nil, nil //nolint:nilnil // nil means that all is well
	}
	return fail(problem.New("no_connect_privilege", "user %q may not connect to database %q", p.server.user, p.server.database).
		WithHint("GRANT CONNECT ON DATABASE %s TO %s", quoteIdent(p.server.database), quoteIdent(p.server.user))), nil
}

// checkReplication opens a replication connection, which proves the privilege, pg_hba.conf and a free walsender at once.
func (p *preflight) checkReplication(ctx context.Context) (*finding, error) {
	if p.opts.OwnPID != 0 {
		return nil, nil //nolint:nilnil // the stream that runs is the proof
	}
	if !p.server.mayReplicate {
		return fail(problem.New("replication_privilege_missing", "user %q lacks the REPLICATION privilege", p.server.user).
			WithHint("%s", replicationHint(p.opts.Config.Provider(), p.server.user))), nil
	}
	conn, err := p.opts.Config.ConnectReplication(ctx)
	if err != nil {
		if found, ok := problem.As(err); ok {
			return fail(found), nil
		}
		return nil, err
	}
	defer closeQuietly(ctx, conn.Close)
	identity, err := Identify(ctx, conn)
	if errors.Is(err, ErrNotReplication) {
		return fail(pooled(p.opts.Config, "it ignored the request for a replication connection")), nil
	}
	if err != nil {
		return nil, err
	}
	p.report.Identity = &identity
	return nil, nil //nolint:nilnil // nil means that all is well
}

func (p *preflight) checkRetention(context.Context) (*finding, error) {
	s := p.report.Slot
	if s != nil && (s.WALStatus == "unreserved" || s.WALStatus == "extended" && s.SafeWALSize != nil) {
		return warn(problem.New("slot_near_limit", "replication slot %q is close to losing its WAL", s.Name).
			WithDetail("wal_status is %s; %d bytes are retained", s.WALStatus, s.Retained).
			WithHint("let the stream catch up, or raise max_slot_wal_keep_size")), nil
	}
	const small = 1 << 30
	if keep, ok := p.server.bytes("max_slot_wal_keep_size"); ok && keep >= 0 && keep < small {
		return warn(problem.New("wal_retention_small", "the server drops the WAL of a slot that falls %d MiB behind", keep>>20).
			WithHint("raise max_slot_wal_keep_size to the WAL of the longest outage that the slot should survive")), nil
	}
	return nil, nil //nolint:nilnil // nil means that all is well
}

func (p *preflight) checkTimeouts(context.Context) (*finding, error) {
	if idle, ok := p.server.duration("idle_replication_slot_timeout"); ok && idle > 0 {
		return warn(problem.New("idle_slot_timeout", "the server invalidates slots that nobody reads for %s", idle).
			WithHint("set idle_replication_slot_timeout = 0, or never stop for that long")), nil
	}
	if timeout, ok := p.server.duration("wal_sender_timeout"); ok && timeout > 0 && timeout < 5*time.Second {
		return warn(problem.New("wal_sender_timeout_short", "the server gives up on a stream that is silent for %s", timeout).
			WithHint("set wal_sender_timeout to 60s, its default")), nil
	}
	return nil, nil //nolint:nilnil // nil means that all is well
}

func (p *preflight) checkProvider(context.Context) (*finding, error) {
	provider := p.opts.Config.Provider()
	text := quirk(provider)
	if text == "" {
		return nil, nil //nolint:nilnil // nil means that all is well
	}
	return warn(problem.New("provider_note", "the database runs at %s", provider).WithHint("%s", text)), nil
}

func closeQuietly(ctx context.Context, end func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = end(ctx) // the server frees the session in any case
}
