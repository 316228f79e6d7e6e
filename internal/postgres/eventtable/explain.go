package eventtable

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/problem"
)

// ofData reports whether a server refused what a row holds.
func ofData(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pg.Code, "22")
}

// explain says what is wrong, and what mends it.
func (w *Writer) explain(ctx context.Context, err error) error {
	if p, ok := problem.As(err); ok {
		return p
	}
	table := w.o.Table
	if errors.Is(err, pgx.ErrNoRows) {
		return missingTable(table).Because(err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return explainState(table, pg).Because(err)
	}
	if ctx.Err() != nil {
		return problem.New("retention_timeout", "rows of event table %s were not written within %s", table, w.o.Timeout).
			WithDetail("%s", err.Error()).WithHint("look for locks on the table, and how loaded its server is; it is tried again").Because(err)
	}
	return problem.New("retention_write_failed", "rows of event table %s could not be written", table).WithDetail("%s", err.Error()).
		WithHint("mend what the detail names; it is tried again, and nothing is lost meanwhile").Because(err)
}

func missingTable(table Name) *problem.Error {
	return problem.New("retention_table_missing", "event table %s is not there", table).WithHint("%s", DDL(table, false))
}

func explainState(table Name, pg *pgconn.PgError) *problem.Error {
	switch pg.Code {
	case "42P01", "3F000":
		return missingTable(table).WithDetail("%s", pg.Message)
	case "42501":
		return problem.New("retention_not_permitted", "event table %s may not be written", table).WithDetail("%s", pg.Message).
			WithHint("grant select, insert on %s to the role of the destination database; and grant usage on its id's sequence", table.quoted())
	case "25006":
		return problem.New("retention_read_only", "event table %s cannot be written: its server, or the role, is read-only", table).WithDetail("%s", pg.Message).
			WithHint("give the destination database the address of the primary; or alter role … set default_transaction_read_only = off")
	case "42P10":
		return problem.New("retention_key_missing", "event table %s has no unique index on (%s)", table, keyColumns).WithDetail("%s", pg.Message).
			WithHint("create unique index on %s (%s)", table.quoted(), keyColumns)
	case "23514":
		if strings.Contains(pg.Message, "no partition") {
			return problem.New("retention_no_partition", "event table %s has no partition for a row", table).WithDetail("%s", pg.Message).
				WithHint("create the partition, or a default one: create table … partition of %s default", table.quoted())
		}
	}
	message, value := pg.Message, ""
	if strings.HasPrefix(pg.Code, "22") { // of the data: the value stands at the end
		message, value = problem.CutValue(message)
	}
	p := problem.New("retention_write_failed", "rows of event table %s could not be written", table).
		WithDetail("%s (SQLSTATE %s)", message, pg.Code).WithPrivate(value).
		WithHint("mend what the detail names; it is tried again, and nothing is lost meanwhile")
	if pg.Hint != "" {
		p = p.WithHint("%s; it is tried again, and nothing is lost meanwhile", pg.Hint)
	}
	return p
}
