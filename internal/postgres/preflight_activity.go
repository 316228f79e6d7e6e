package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/problem"
)

// surveyChecks are what Check runs beside the checks of a stream: what an operator should know, and what hits only later.
func (p *preflight) surveyChecks() []check {
	return []check{
		{"latency", "a distant server makes backfills and confirmations slow", p.checkLatency},
		{"clock", "ages and lags are told from the clocks of both machines", p.checkClock},
		{"encoding", "messages are UTF-8", p.checkEncoding},
		{"replication_slots", "a stream needs a slot, and the server has a fixed number", p.checkSlots},
		{"wal_senders", "a stream needs a walsender, and the server has a fixed number", p.checkSenders},
		{"create_privilege", "only the owner of a table may publish it, and only who has CREATE on the database may create a publication", p.checkCreate},
		{"open_transactions", "the server creates a slot only when the transactions that write have ended", p.checkTransactions},
		{"tables", "only permanent tables can be published, and partitions, chunks and children have rules of their own", p.checkTables},
		{"table_privileges", "backfills read the tables; the stream does not", p.checkTablePrivileges},
		{"old_values", "a change holds the old values of all columns only with replica identity full", p.checkOldValues},
		{"large_values", "the server does not write an unchanged large (TOAST) value into the WAL again", p.checkLarge},
		{"generated_columns", "what the server computes is not part of a change unless the publication says so", p.checkGenerated},
		{"row_security", "a backfill reads as this role, and sees what its policies let it see", p.checkRowSecurity},
	}
}

// Round trips that are measured, and beyond what they are worth a warning.
const (
	roundTrips  = 5
	slowTrip    = 100 * time.Millisecond
	clockOff    = 5 * time.Second
	longRunning = 10 * time.Second
)

func (p *preflight) checkLatency(ctx context.Context) (finding, error) {
	trips := make([]time.Duration, 0, roundTrips)
	for range roundTrips {
		began := time.Now()
		if err := p.conn.Ping(ctx); err != nil {
			return finding{}, err
		}
		trips = append(trips, time.Since(began))
	}
	slices.Sort(trips)
	median := trips[len(trips)/2]
	text := fmt.Sprintf("a round trip takes %s", median.Round(10*time.Microsecond))
	if median < slowTrip {
		return good("%s", text), nil
	}
	return warn(problem.New("latency_high", "the server is far away: %s", text).WithHint("run Sequin near the database, in the same region or network")), nil
}

func (p *preflight) checkClock(ctx context.Context) (finding, error) {
	var there time.Time
	before := time.Now()
	if err := p.conn.QueryRow(ctx, "select clock_timestamp()").Scan(&there); err != nil {
		return finding{}, err
	}
	return judgeClocks(before, there, time.Now()), nil
}

// judgeClocks compares a time that the server told between two of ours.
func judgeClocks(before, there, after time.Time) finding {
	trip := after.Sub(before)
	off := there.Sub(before.Add(trip / 2))
	if off.Abs() <= clockOff+trip {
		return good("the clocks differ by %s, within %s", off.Abs().Round(time.Millisecond), (trip / 2).Round(time.Millisecond))
	}
	direction := "ahead"
	if off < 0 {
		direction = "behind"
	}
	return warn(problem.New("clock_difference", "the server's clock is %s %s ours", off.Abs().Round(time.Second), direction).
		WithHint("let both machines follow a time server (NTP); `timedatectl` tells whether this one does"))
}

func (p *preflight) checkEncoding(context.Context) (finding, error) {
	encoding := p.server.settings["server_encoding"].text
	switch encoding {
	case "UTF8":
		return good("UTF8"), nil
	case "SQL_ASCII":
		return warn(problem.New("encoding_unchecked", "the database has the encoding SQL_ASCII: the server checks and converts nothing").
			WithDetail("a value that is not UTF-8 comes out damaged").
			WithHint("dump the database and restore it into one with the encoding UTF8; until then see that applications write UTF-8 only")), nil
	}
	return good("%s, which the server converts to UTF-8", encoding), nil
}

// secret is where a statement that sets a password begins to tell it.
var secret = regexp.MustCompile(`(?is)(password).*`)

// transaction is one that the creation of a slot waits for.
type transaction struct {
	pid   int32
	user  string
	state string
	age   time.Duration
	query string
}

// transactionsQuery lists who has a transaction id, which is what a slot waits for, in whatever database: sessions, then prepared transactions.
// Who lacks pg_read_all_stats sees the sessions of its own role alone.
const transactionsQuery = `
select a.pid, coalesce(a.usename::text, ''), coalesce(a.state, ''), extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.query_start))::float8,
  left(regexp_replace(coalesce(a.query, ''), '\s+', ' ', 'g'), 80)
from pg_stat_activity a where a.backend_xid is not null and a.pid <> pg_backend_pid()
union all
select 0, owner::text, 'prepared transaction', extract(epoch from clock_timestamp() - prepared)::float8, gid from pg_prepared_xacts
order by 4 desc nulls last`

func (p *preflight) checkTransactions(ctx context.Context) (finding, error) {
	if p.report.Slot != nil {
		return good("not asked: the slot exists"), nil
	}
	open, err := p.openTransactions(ctx)
	if err != nil {
		return finding{}, err
	}
	var seesAll bool
	if err := p.conn.QueryRow(ctx, "select pg_has_role('pg_read_all_stats', 'USAGE')").Scan(&seesAll); err != nil {
		return finding{}, err
	}
	limit := ""
	if !seesAll {
		limit = "; those of other roles cannot be seen without pg_read_all_stats"
	}
	if len(open) == 0 || open[0].age < p.longRunning {
		return good("%s, none older than %s%s", count(len(open), "transaction writes", "transactions write"), p.longRunning, limit), nil
	}
	oldest := open[0]
	if oldest.pid == 0 {
		return warn(problem.New("transactions_open", "the creation of a slot would wait for %s", count(len(open), "open transaction")).
			WithDetail("the oldest is the prepared transaction %q of user %q, %s old", oldest.query, oldest.user, oldest.age.Round(time.Second)).
			WithHint("in its database: COMMIT PREPARED '%[1]s' or ROLLBACK PREPARED '%[1]s'", strings.ReplaceAll(oldest.query, "'", "''"))), nil
	}
	return warn(problem.New("transactions_open", "the creation of a slot would wait for %s", count(len(open), "open transaction")).
		WithDetail("the oldest: PID %d, user %q, %s, open for %s: %s%s", oldest.pid, oldest.user, oldest.state, oldest.age.Round(time.Second), oldest.query, limit).
		WithHint("end it in its application, or: SELECT pg_terminate_backend(%d)", oldest.pid)), nil
}

func (p *preflight) openTransactions(ctx context.Context) ([]transaction, error) {
	rows, err := p.conn.Query(ctx, transactionsQuery)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (transaction, error) {
		var (
			t   transaction
			age *float64
		)
		err := r.Scan(&t.pid, &t.user, &t.state, &age, &t.query)
		if age != nil {
			t.age = time.Duration(*age * float64(time.Second))
		}
		if t.pid != 0 { // else it is the name of a prepared transaction
			t.query = secret.ReplaceAllString(t.query, "$1 …")
		}
		return t, err
	})
}
