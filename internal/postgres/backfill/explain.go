package backfill

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/problem"
)

// ErrTimeout reports a page that took longer than it may: a smaller one may do.
var ErrTimeout = errors.New("the page took too long")

// isUndefined tells the errors for a table, column or schema that is not there.
func isUndefined(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == "42P01" || pgErr.Code == "42703" || pgErr.Code == "3F000")
}

// explain makes an error of the server one for people.
func (r *Reader) explain(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	asked := r.spec.partial() || r.spec.SortColumn != ""
	switch class := pgErr.Code[:min(2, len(pgErr.Code))]; {
	case pgErr.Code == "42501" && strings.Contains(pgErr.Message, "row-level security"):
		return problem.New("backfill_row_security", "row level security hides rows of table %s", r.label()).Because(err).
			WithHint("let Sequin's role pass it: alter role … bypassrls")
	case pgErr.Code == "42501":
		return problem.New("backfill_no_privilege", "table %s cannot be read", r.label()).WithDetail("%s", pgErr.Message).Because(err).
			WithHint("grant select on %s to Sequin's role", r.name())
	case pgErr.Code == "57014":
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case isUndefined(err) && !asked:
		return problem.New("backfill_table_changed", "table %s is not what it was", r.label()).WithDetail("%s", pgErr.Message).Because(err).
			WithHint("start another backfill")
	case asked && (class == "42" || class == "22" || class == "0A" || class == "25" || class == "21" || class == "3F"):
		message, value := problem.CutValue(pgErr.Message)
		return problem.New("backfill_query", "the server does not take the query of the backfill").WithDetail("%s", message).WithPrivate(value).Because(err).
			WithHint("mend where, key_query, the keys, the sort column or the bounds, and start another backfill")
	}
	return err
}
