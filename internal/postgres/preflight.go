package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/problem"
)

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

	// Tables narrows what Check says of tables to these; without them it is those of the publication, or else all that could be published.
	Tables []publication.Name
	// OldValues: the old values of every column are wanted with updates and deletes.
	OldValues bool
}

// minVersion is the oldest version that is supported, and newestVersion the newest that was tried.
const (
	minVersion    = 120000
	newestVersion = 18
)

// preflight carries one run of the checks.
type preflight struct {
	conn     *pgx.Conn
	opts     PreflightOptions
	full     bool // every check, for people; else what a stream needs
	server   serverFacts
	provider Provider
	how      string // the provider is known
	tables   []*tableFacts
	plan     *publication.Planned
	report   Report

	longRunning time.Duration // from which age on a transaction is worth a warning
}

// check is one check: its name, why it matters, and what it runs.
type check struct {
	name string
	why  string
	run  func(context.Context) (finding, error)
}

// finding is what a check found, and a problem unless all is well.
type finding struct {
	status  Status
	found   string
	problem *problem.Error
}

// good is a finding without a problem.
func good(format string, args ...any) finding {
	return finding{status: StatusOK, found: fmt.Sprintf(format, args...)}
}

// fail and warn are findings; without a text of its own, the problem tells what was found.
func fail(p *problem.Error) finding { return finding{status: StatusFail, problem: p} }
func warn(p *problem.Error) finding { return finding{status: StatusWarn, problem: p} }

// saying adds what was found.
func (f finding) saying(format string, args ...any) finding {
	f.found = fmt.Sprintf(format, args...)
	return f
}

// streamChecks are what Preflight runs: what decides whether a stream works.
func (p *preflight) streamChecks() []check {
	return []check{
		// first: through a pooler, the others may speak of another session
		{"pooler", "a pooler shares sessions and does not pass replication on, so the stream needs the server itself", p.checkPooler},
		{"version", "what the server can decode depends on its version", p.checkVersion},
		{"recovery", "a standby takes no writes, and before version 16 it does not decode", p.checkRecovery},
		{"wal_level", "changes are decoded from the WAL, which holds enough for that only at the level logical", p.checkWALLevel},
		{"connect_privilege", "every connection to the database needs the privilege CONNECT", p.checkConnect},
		{"replication", "the stream needs a replication connection: the right to replicate, an entry in pg_hba.conf and a free walsender", p.checkReplication},
		{"publication", "a slot decodes the changes of those tables that a publication names", p.checkPublication},
		{"replica_identity", "Postgres refuses UPDATE and DELETE on a published table whose rows it cannot identify", p.checkIdentities},
		{"slot", "the slot makes the server keep the WAL that was not read yet", p.checkSlot},
		{"wal_retention", "a slot that falls too far behind loses its WAL, and with it changes", p.checkRetention},
		{"timeouts", "the server gives up on streams and slots that are silent for too long", p.checkTimeouts},
		{"provider", "managed servers are set up otherwise than one's own", p.checkProvider},
	}
}

// Preflight looks at everything that streaming needs and reports each check with its repair. It changes nothing. The error is for a connection
// that failed meanwhile; what is wrong with the database is in the report.
func Preflight(ctx context.Context, conn *pgx.Conn, opts PreflightOptions) (Report, error) {
	p := newPreflight(conn, opts)
	for _, c := range p.streamChecks() {
		found, err := c.run(ctx)
		if err != nil {
			return p.report, fmt.Errorf("preflight, %s: %w", c.name, opts.Config.Explain(err))
		}
		p.report.add(c, found)
	}
	return p.report, nil
}

func newPreflight(conn *pgx.Conn, opts PreflightOptions) *preflight {
	return &preflight{conn: conn, opts: opts, report: Report{
		Address: opts.Config.Address(), Database: opts.Config.Database, User: opts.Config.User,
		Provider: opts.Config.Provider(),
	}, provider: opts.Config.Provider()}
}

// checkTimeout bounds one check of Check: a catalog that somebody holds locked is no reason to wait for ever.
const checkTimeout = 20 * time.Second

// Check connects to a database and looks at all that may concern those who want its changes: the way to it, the server, the role, slot and
// publication, and the tables. It changes nothing on the server and needs no privilege but to connect. What cannot be found out is a warning of
// its own; without a connection the report ends with what prevents it.
func Check(ctx context.Context, cfg Config, opts PreflightOptions) Report {
	opts.Config = cfg
	p := newPreflight(nil, opts)
	p.full, p.longRunning = true, longRunning
	return p.checkAll(ctx)
}

func (p *preflight) checkAll(ctx context.Context) Report {
	if !p.reach(ctx) {
		return p.report
	}
	defer closeQuietly(ctx, p.conn.Close)
	p.report.Connected = true
	for _, c := range append(p.streamChecks(), p.surveyChecks()...) {
		if !p.run(ctx, c) || c.name == "version" && p.server.version < minVersion { // of a server so old, the others would tell nonsense
			break
		}
	}
	p.report.sort()
	return p.report
}

// run runs one check and notes what it found. It returns false when the others cannot be run any more.
func (p *preflight) run(ctx context.Context, c check) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	found, err := c.run(ctx)
	if err == nil {
		p.report.add(c, found)
		return true
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && !p.conn.IsClosed() {
		unknown := problem.New("check_not_possible", "the server did not answer what this check asks").
			WithDetail("%s", pg.Message).WithHint("give the role the privilege that the server names, or check this by hand")
		if p.server.version == 0 { // not even what every other check builds on
			p.report.add(c, fail(unknown))
			return false
		}
		p.report.add(c, warn(unknown))
		return true
	}
	explained, ok := problem.As(p.opts.Config.Explain(err))
	if !ok {
		explained = problem.New("check_interrupted", "the connection was lost during the check").WithDetail("%v", err).
			WithHint("run the check again; if it ends here once more, the server's log tells why")
	}
	p.report.add(c, fail(explained))
	return false
}

func closeQuietly(ctx context.Context, end func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = end(ctx) // the server frees the session in any case
}
