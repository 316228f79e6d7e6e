package slot

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// pollEvery is how often we look whom a creation waits for, and cleanUp how long tidying up may take after the context has ended.
const (
	pollEvery = time.Second
	cleanUp   = 10 * time.Second
)

// Connect opens a connection to the database.
type Connect func(ctx context.Context) (*pgx.Conn, error)

// Options describe a slot to create.
type Options struct {
	Name string
	// Failover asks for a slot that standbys keep in sync; the server must be 17 or later.
	Failover bool
	// Waiting is called about once a second while the creation waits, with everyone it waits for. It may be nil, and must not block.
	Waiting func(Wait)
}

// Wait tells why the creation of a slot has not finished.
type Wait struct {
	Since    time.Time
	Blockers []Blocker
	// Standby is true on a standby, which waits until its primary logs its running transactions.
	Standby bool
}

// Blocker is a session whose open transaction has to end first.
type Blocker struct {
	PID             int32
	User            string
	ApplicationName string
	State           string
	Query           string // its latest statement, cut to 200 characters
	TransactionAge  time.Duration
	TransactionAt   time.Time
}

// Problem says the same for people.
func (w Wait) Problem(name string) *problem.Error {
	p := problem.New("slot_creation_waits", "the creation of replication slot %q waits for open transactions", name)
	if len(w.Blockers) == 0 {
		if w.Standby {
			return p.WithHint("run on the primary (16 or later): select pg_log_standby_snapshot()")
		}
		return p.WithDetail("none is visible; it may be a prepared transaction: select * from pg_prepared_xacts").
			WithHint("COMMIT PREPARED or ROLLBACK PREPARED it")
	}
	b := w.Blockers[0]
	p = p.WithDetail("PID %d (user %q, application_name %q, %s) has a transaction open for %s; its latest statement: %s",
		b.PID, b.User, b.ApplicationName, b.State, b.TransactionAge.Round(time.Second), b.Query)
	return p.WithHint("end that transaction, or: select pg_terminate_backend(%d)", b.PID)
}

// Create creates a logical slot for pgoutput and returns its consistent point. It uses two connections of its own, one to wait in and one to
// look and to call off. When ctx ends before the slot is there, none is left behind. ErrExists if the name is taken.
func Create(ctx context.Context, connect Connect, opts Options) (cdc.LSN, error) {
	if err := CheckName(opts.Name); err != nil {
		return 0, err
	}
	creator, err := connect(ctx)
	if err != nil {
		return 0, fmt.Errorf("create slot %q: %w", opts.Name, err)
	}
	defer closeConn(ctx, creator)
	// Roles and databases may have limits that are meant for queries; this waits as long as it takes.
	if _, err := creator.Exec(ctx, "select set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)"); err != nil {
		return 0, fmt.Errorf("create slot %q: %w", opts.Name, err)
	}
	sql := fmt.Sprintf("select lsn::text from pg_create_logical_replication_slot('%s', '%s'", opts.Name, Plugin)
	if opts.Failover {
		sql += ", failover => true"
	}
	sql += ")"
	c := creation{opts: opts, connect: connect, creator: creator.PgConn()}
	return c.run(ctx, sql, 0)
}

// CreateTemporary creates a slot that lives as long as the replication connection, on which it can be streamed from at once. connect opens
// the regular connection that looks for whom it waits.
func CreateTemporary(ctx context.Context, replication *pgconn.PgConn, connect Connect, opts Options) (cdc.LSN, error) {
	if err := CheckName(opts.Name); err != nil {
		return 0, err
	}
	sql := fmt.Sprintf("CREATE_REPLICATION_SLOT %s TEMPORARY LOGICAL %s NOEXPORT_SNAPSHOT", opts.Name, Plugin)
	c := creation{opts: opts, connect: connect, creator: replication, temporary: true}
	return c.run(ctx, sql, 1)
}

type created struct {
	lsn cdc.LSN
	err error
}

// creation is one command that creates a slot, and the connection from which it is watched.
type creation struct {
	opts      Options
	temporary bool
	connect   Connect
	creator   *pgconn.PgConn
	watcher   *pgx.Conn
	pid       int32 // of the backend that creates
	done      chan created
}

// run sends the command on its connection and watches it from another. The answer holds the consistent point in the given column.
func (c *creation) run(ctx context.Context, sql string, column int) (cdc.LSN, error) {
	var err error
	if c.watcher, err = c.connect(ctx); err != nil {
		return 0, fmt.Errorf("create slot %q: %w", c.opts.Name, err)
	}
	defer func() { closeConn(ctx, c.watcher) }()
	if c.pid, err = backendPID(ctx, c.creator); err != nil {
		return 0, fmt.Errorf("create slot %q: %w", c.opts.Name, err)
	}
	c.done = make(chan created, 1)
	// The command is not tied to ctx: a connection that is merely closed would leave the backend waiting, and the slot would appear later.
	background := context.WithoutCancel(ctx)
	go func() {
		lsn, err := execute(background, c.creator, sql, column)
		c.done <- created{lsn, err}
	}()
	return c.await(ctx)
}

// await reports whom the creation waits for until it is done or ctx ends; then it calls the creation off.
func (c *creation) await(ctx context.Context) (cdc.LSN, error) {
	since := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case result := <-c.done:
			if result.err != nil {
				return 0, creationError(c.opts.Name, result.err)
			}
			return result.lsn, nil
		case <-ctx.Done():
			return 0, c.callOff(ctx)
		case <-tick.C:
			c.report(ctx, since)
		}
	}
}

// report looks whom the creation waits for. Not to see it is no reason to stop waiting.
func (c *creation) report(ctx context.Context, since time.Time) {
	if c.opts.Waiting == nil {
		return
	}
	// A query that ctx interrupts would take the connection with it, which is needed to call the creation off.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	wait, err := waiting(ctx, c.watcher, c.pid)
	if err != nil {
		return
	}
	wait.Since = since
	c.opts.Waiting(wait)
}

// callOff cancels a creation and sees to it that no slot stays: it may have succeeded in the last moment. A temporary one ends with its
// connection, which the caller gives up.
func (c *creation) callOff(ctx context.Context) error {
	cause := context.Cause(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	if err := c.cancelBackend(ctx); err != nil {
		return fmt.Errorf("create slot %q: %w; calling it off: %w", c.opts.Name, cause, err)
	}
	select {
	case result := <-c.done:
		if result.err == nil && !c.temporary {
			if err := Drop(ctx, c.watcher, c.opts.Name); err != nil {
				return fmt.Errorf("create slot %q: %w; removing it again: %w", c.opts.Name, cause, err)
			}
		}
		return fmt.Errorf("create slot %q: %w", c.opts.Name, cause)
	case <-ctx.Done():
		_ = c.creator.Conn().Close() // it only has to end the read that still waits
		<-c.done
		return fmt.Errorf("create slot %q: %w; it did not stop, the slot may still appear", c.opts.Name, cause)
	}
}

// cancelBackend asks the server to stop the creation, over a new connection if the old one was lost while it waited.
func (c *creation) cancelBackend(ctx context.Context) error {
	if !c.watcher.IsClosed() {
		if _, err := c.watcher.Exec(ctx, "select pg_cancel_backend($1)", c.pid); err == nil {
			return nil
		}
		closeConn(ctx, c.watcher)
	}
	var err error
	if c.watcher, err = c.connect(ctx); err != nil {
		return err
	}
	_, err = c.watcher.Exec(ctx, "select pg_cancel_backend($1)", c.pid)
	return err
}

// execute runs one command in the simple protocol, the only one that replication connections speak.
func execute(ctx context.Context, conn *pgconn.PgConn, sql string, column int) (cdc.LSN, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return 0, err
	}
	if len(results) == 0 || len(results[0].Rows) == 0 || len(results[0].Rows[0]) <= column {
		return 0, errors.New("the server's answer has no consistent point")
	}
	return cdc.ParseLSN(string(results[0].Rows[0][column]))
}

// backendPID asks the server: the number from the connection's start may be a proxy's.
func backendPID(ctx context.Context, conn *pgconn.PgConn) (int32, error) {
	results, err := conn.Exec(ctx, "select pg_backend_pid()").ReadAll()
	if err != nil {
		return 0, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return 0, errors.New("the server does not tell its process id")
	}
	pid, err := strconv.ParseInt(string(results[0].Rows[0][0]), 10, 32)
	return int32(pid), err
}

const waitingQuery = `
select a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, ''), left(coalesce(a.query, ''), 200),
  a.xact_start, coalesce(extract(epoch from clock_timestamp() - a.xact_start)::float8, 0)
from pg_stat_activity a
where a.pid = any(pg_blocking_pids($1))
order by a.xact_start nulls last, a.pid`

// waiting looks for whom the backend waits.
func waiting(ctx context.Context, conn *pgx.Conn, pid int32) (Wait, error) {
	var w Wait
	if err := conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&w.Standby); err != nil {
		return Wait{}, err
	}
	rows, err := conn.Query(ctx, waitingQuery, pid)
	if err != nil {
		return Wait{}, err
	}
	w.Blockers, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (Blocker, error) {
		var (
			b       Blocker
			at      *time.Time
			seconds float64
		)
		err := r.Scan(&b.PID, &b.User, &b.ApplicationName, &b.State, &b.Query, &at, &seconds)
		if at != nil {
			b.TransactionAt = at.UTC()
		}
		b.TransactionAge = time.Duration(seconds * float64(time.Second))
		return b, err
	})
	return w, err
}

// creationError explains what the server answered to a creation.
func creationError(name string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("create slot %q: %w", name, err)
	}
	switch pg.Code {
	case "42710":
		return problem.New("slot_exists", "replication slot %q exists already", name).Because(fmt.Errorf("%w: %w", ErrExists, err)).
			WithHint("use it as it is, or choose another name with slot.name")
	case "53400":
		return problem.New("no_slot_left", "all replication slots of the server are taken").Because(err).WithDetail("%s", pg.Message).
			WithHint("drop one that nobody uses, pg_drop_replication_slot('…'), or raise max_replication_slots and restart the server; " +
				"`select * from pg_replication_slots` lists them")
	case "42501":
		return problem.New("replication_privilege_missing", "the user may not create replication slots").Because(err).WithDetail("%s", pg.Message).
			WithHint("ALTER ROLE … REPLICATION; on Amazon RDS and Aurora: GRANT rds_replication TO …")
	case "55000":
		return problem.New("wal_level_not_logical", "the server does not decode its WAL").Because(err).WithDetail("%s", pg.Message).
			WithHint("ALTER SYSTEM SET wal_level = logical; then restart the server")
	}
	return fmt.Errorf("create slot %q: %w", name, err)
}

// Drop removes a slot. It is for slots that we made for a moment; no other is ever dropped unasked.
func Drop(ctx context.Context, conn *pgx.Conn, name string) error {
	if _, err := conn.Exec(ctx, "select pg_drop_replication_slot($1)", name); err != nil {
		return fmt.Errorf("drop slot %q: %w", name, Classify(err))
	}
	return nil
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the server frees the session in any case
}

// CheckName reports a name that the server would refuse, or silently cut to 63 bytes.
func CheckName(name string) error {
	valid := name != "" && len(name) <= 63
	for i := range len(name) {
		c := name[i]
		valid = valid && (c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z')
	}
	if valid {
		return nil
	}
	return problem.New("slot_name_invalid", "%q cannot be the name of a replication slot", name).
		WithHint("use lower-case letters, digits and underscores, at most 63")
}
