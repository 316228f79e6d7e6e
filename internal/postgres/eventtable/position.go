package eventtable

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// PositionTable is the name of the table beside the event table that holds how far each writer has come.
const PositionTable = "sequin_retention_position"

// PositionDDL is the statement that makes the table of positions in a schema.
func PositionDDL(schema string) string {
	return "create table if not exists " + Name{schema, PositionTable}.quoted() + ` (
  retention_id uuid primary key,
  life         uuid not null,
  epoch        bigint not null,
  commit_lsn   pg_lsn not null,
  commit_idx   bigint not null,
  written_at   timestamptz not null default now()
)`
}

// errMoved reports that somebody else has written meanwhile: an earlier attempt whose commit was not answered.
var errMoved = errors.New("the position has moved")

func (w *Writer) positions() Name { return Name{w.o.Table.Schema, PositionTable} }

// prepare makes the table of positions unless it is there, and tells whether it can be used. Without it the unique key has to do.
func (w *Writer) prepare(ctx context.Context, t *table) (usable bool, err error) {
	w.advice = nil
	there, err := w.writable(ctx)
	if err != nil || there != nil {
		if there != nil && !*there {
			w.advise(t, "the role may not write it")
			return false, err
		}
		return there != nil && *there, err
	}
	_, err = w.conn.Exec(ctx, PositionDDL(w.o.Table.Schema))
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "42501": // no privilege to create
			w.advise(t, pg.Message)
			return false, nil
		case "23505", "42P07": // somebody else makes it at the same moment
			err = nil
		}
	}
	return err == nil, err
}

// writable tells whether the table of positions can be written, nil when it is not there.
func (w *Writer) writable(ctx context.Context) (*bool, error) {
	const query = `select has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
		from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2`
	var may bool
	err := w.conn.QueryRow(ctx, query, w.o.Table.Schema, PositionTable).Scan(&may)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // it is not there
	}
	if err != nil {
		return nil, fmt.Errorf("look for the table of positions: %w", err)
	}
	return &may, nil
}

func (w *Writer) advise(t *table, reason string) {
	w.advice = problem.New("retention_position_unkept", "the position of event table %s cannot be kept beside it", t.name).
		WithDetail("%s; what was written before a crash is recognized by the table's unique key alone", reason).
		WithHint("as its owner: %s; then: grant select, insert, update on %s to the role", PositionDDL(t.name.Schema), w.positions().quoted())
	w.o.Logger.Warn("the position of an event table cannot be kept beside it", "table", t.name.String(), "reason", reason, "hint", w.advice.Hint)
}

// stored is the position in the table, nil for none of this life.
func (w *Writer) stored(ctx context.Context) (*cdc.Position, error) {
	query := "select epoch, commit_lsn::text, commit_idx from " + w.positions().quoted() + " where retention_id = $1::text::uuid and life = $2::text::uuid"
	var epoch, index int64
	var lsn string
	err := w.conn.QueryRow(ctx, query, w.o.Writer, w.o.Life).Scan(&epoch, &lsn, &index)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // it is not known
	}
	if err != nil {
		return nil, fmt.Errorf("read the position of the event table: %w", err)
	}
	at, err := cdc.ParseLSN(lsn)
	if err != nil {
		return nil, fmt.Errorf("read the position of the event table: %w", err)
	}
	return &cdc.Position{LSN: at, Index: uint32(index), Epoch: uint32(epoch)}, nil //nolint:gosec // as they were written
}

// compare notices a position behind what was written: whoever wrote it heard that it was durable, and has let the changes go.
func (w *Writer) compare() {
	if w.highest == nil || w.position != nil && w.position.Compare(*w.highest) >= 0 {
		return
	}
	from := cdc.LSN(0)
	if w.position != nil {
		from = w.position.LSN
	}
	w.setBack = problem.New("retention_set_back", "event table %s has lost rows that were written to it", w.o.Table).
		WithDetail("its position is %s, and was %s: its server was restored, or replaced by a standby that lagged", from, w.highest.LSN).
		WithHint("see what is missing, while the change log has it: sequin log print --from-lsn %s --to-lsn %s", from, w.highest.LSN)
	w.o.Logger.Error("an event table has lost rows that were written to it", "table", w.o.Table.String(), "position", from, "was", w.highest.LSN)
	w.highest = w.position
}

// move is the statement that moves the position on, from where this writer believes it to be. One that affects no row says that it is elsewhere. It
// waits for another transaction that moves it.
func (w *Writer) move(to *cdc.Position) (sql string, args []any) {
	name := w.positions().quoted()
	sql = "insert into " + name + ` as p (retention_id, life, epoch, commit_lsn, commit_idx)
		values ($1::text::uuid, $2::text::uuid, $3::bigint, $4::text::pg_lsn, $5::bigint)
		on conflict (retention_id) do update set life = excluded.life, epoch = excluded.epoch, commit_lsn = excluded.commit_lsn,
			commit_idx = excluded.commit_idx, written_at = now() where `
	args = []any{w.o.Writer, w.o.Life, int64(to.Epoch), to.LSN.String(), int64(to.Index)}
	if from := w.position; from != nil {
		sql += "p.life = excluded.life and p.epoch = $6::bigint and p.commit_lsn = $7::text::pg_lsn and p.commit_idx = $8::bigint"
		return sql, append(args, int64(from.Epoch), from.LSN.String(), int64(from.Index))
	}
	return sql + "p.life <> excluded.life", args
}
