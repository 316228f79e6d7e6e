package eventtable

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/message"
)

// row is what is written of a change.
type row struct {
	change      *cdc.Change
	again       bool
	seq         int64
	oid         int64
	key         string
	record      string
	changes     *string
	annotations *string
	committed   time.Time
}

func (w *Writer) row(r *Row) row {
	c := r.Change
	made := row{
		change: c, again: r.Again, seq: int64(c.Position.LSN) + int64(c.Position.Index), oid: int64(c.Relation.OID), //nolint:gosec // no server has written 8 EiB of WAL
		key: strings.Join(message.RecordPKs(c), ","), record: string(r.Record), committed: c.CommitTime.Time(),
	}
	if c.Op == cdc.OpUpdate {
		made.changes = text(message.AppendChanges(nil, c, message.Format{}))
	}
	if len(c.Annotations) > 0 {
		made.annotations = text(message.AppendAnnotations(nil, c))
	}
	return made
}

func text(b []byte) *string {
	s := string(b)
	return &s
}

// asText turns the documents of the row's json columns, and its annotations, into texts: Postgres keeps some in a column of type json that no
// jsonb can hold, such as a \u0000.
func (r *row) asText() error {
	record, err := message.AppendRecordAsText(nil, r.change)
	if err != nil {
		return err
	}
	r.record = string(record)
	if r.changes != nil {
		r.changes = text(message.AppendChangesAsText(nil, r.change))
	}
	if r.annotations != nil {
		r.annotations = text(message.AppendText(nil, r.change.Annotations))
	}
	return nil
}

// keyColumns make a row of an event table unique.
const keyColumns = "source_database_id, committed_at, seq, record_pk"

// source is the rows of a statement, in order: what insert and twins select from.
const source = `unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[])
	with ordinality as x(seq, oid, schema, name, pk, record, changes, action, annotations, committed, ord)`

// insert is the statement that writes rows. The key is named, so that a row that meets another unique constraint is an error and not passed over.
func (t *table) insert() string {
	column := func(name, expression string) (string, string) { return name, expression + "::" + t.columns[name].cast }
	var names, values []string
	add := func(name, expression string) {
		n, v := column(name, expression)
		names, values = append(names, n), append(values, v)
	}
	add("seq", "x.seq")
	add("source_database_id", "$1::text")
	add("source_table_oid", "x.oid")
	add("source_table_schema", "x.schema")
	add("source_table_name", "x.name")
	add("record_pk", "x.pk")
	add("record", "x.record")
	add("changes", "x.changes")
	add("action", "x.action")
	if t.has(annotations) {
		add(annotations, "x.annotations")
	}
	add("committed_at", "x.committed")
	add("inserted_at", "now()")
	return "insert into " + t.name.quoted() + " (" + strings.Join(names, ", ") + ") select " + strings.Join(values, ", ") + " from " + source +
		" order by x.ord on conflict (" + keyColumns + ") do nothing"
}

// twins is the query for the rows that are in the table already, word for word.
func (t *table) twins() string {
	cast := func(name string) string { return t.columns[name].cast }
	same := func(name, expression string) string {
		if c := cast(name); c != "jsonb" {
			return fmt.Sprintf("t.%s::text is not distinct from %s::text", name, expression)
		}
		return fmt.Sprintf("t.%s is not distinct from %s::jsonb", name, expression)
	}
	return "select x.ord from " + source + " join " + t.name.quoted() + " t on t.source_database_id = $1::text::" + cast("source_database_id") +
		" and t.committed_at = x.committed::" + cast("committed_at") + " and t.seq = x.seq and t.record_pk = x.pk and t.action = x.action" +
		" and t.source_table_oid::bigint = x.oid and " + same("record", "x.record") + " and " + same("changes", "x.changes")
}

// arguments are the parameters of insert and twins.
func (w *Writer) arguments(rows []row) []any {
	n := len(rows)
	seqs, oids := make([]int64, n), make([]int64, n)
	schemas, names, keys, records, actions := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	changes, notes := make([]*string, n), make([]*string, n)
	times := make([]time.Time, n)
	for i := range rows {
		r := &rows[i]
		rel := r.change.Relation
		seqs[i], oids[i], schemas[i], names[i], keys[i] = r.seq, r.oid, rel.Schema, rel.Name, r.key
		records[i], changes[i], actions[i], notes[i], times[i] = r.record, r.changes, r.change.Op.Action(), r.annotations, r.committed
	}
	return []any{w.o.Database, seqs, oids, schemas, names, keys, records, changes, actions, notes, times}
}

// durable has a commit wait for the disk, whatever the role's settings are: what was accepted is never sent again.
const durable = "select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'"

// swift writes rows with one statement, in the common case that all of them are new and fit. whole is false when they did not.
func (w *Writer) swift(ctx context.Context, rows []row, next *cdc.Position) (whole bool, err error) {
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer w.rollback(ctx, tx)
	batch := &pgx.Batch{}
	batch.Queue(durable)
	moved := true
	if w.table.keeps && next != nil {
		sql, args := w.move(next)
		batch.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error {
			moved = tag.RowsAffected() == 1
			return nil
		})
	}
	var written int64
	batch.Queue(w.table.statement, w.arguments(rows)...).Exec(func(tag pgconn.CommandTag) error {
		written = tag.RowsAffected()
		return nil
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, err
	}
	switch {
	case !moved:
		return false, errMoved
	case written != int64(len(rows)):
		return false, nil
	}
	return true, tx.Commit(ctx)
}

// rollback ends a transaction that was not committed.
func (w *Writer) rollback(ctx context.Context, tx pgx.Tx) {
	if err := tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		w.o.Logger.Debug("roll back rows of an event table", "reason", err)
	}
}

// careful writes rows of which some are there already, meet another's key, or do not fit: in parts, until those stand alone.
func (w *Writer) careful(ctx context.Context, rows []row, next *cdc.Position) error {
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer w.rollback(ctx, tx)
	if _, err := tx.Exec(ctx, durable); err != nil {
		return err
	}
	if w.table.keeps && next != nil {
		sql, args := w.move(next)
		tag, err := tx.Exec(ctx, sql, args...)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != 1 {
			return errMoved
		}
	}
	if err := w.part(ctx, tx, rows); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// part writes rows in a savepoint, or in two halves when they cannot go together.
func (w *Writer) part(ctx context.Context, tx pgx.Tx, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	written, err := w.try(ctx, tx, rows)
	switch {
	case err != nil && !ofData(err):
		return err
	case err == nil && written:
		return nil
	case len(rows) > 1:
		middle := len(rows) / 2
		if err := w.part(ctx, tx, rows[:middle]); err != nil {
			return err
		}
		return w.part(ctx, tx, rows[middle:])
	case err != nil:
		return w.singleText(ctx, tx, &rows[0])
	}
	return w.single(ctx, tx, &rows[0])
}

// try writes rows, all or none.
func (w *Writer) try(ctx context.Context, tx pgx.Tx, rows []row) (all bool, err error) {
	inner, err := tx.Begin(ctx)
	if err != nil {
		return false, err
	}
	tag, err := inner.Exec(ctx, w.table.statement, w.arguments(rows)...)
	if err == nil && tag.RowsAffected() == int64(len(rows)) {
		return true, inner.Commit(ctx)
	}
	if undo := inner.Rollback(ctx); undo != nil {
		return false, undo
	}
	return false, err
}

// singleText writes a row whose documents no jsonb can hold.
func (w *Writer) singleText(ctx context.Context, tx pgx.Tx, r *row) error {
	if err := r.asText(); err != nil {
		return err
	}
	written, err := w.try(ctx, tx, []row{*r})
	if err != nil || written {
		return err
	}
	return w.single(ctx, tx, r)
}

// maxShift bounds the search for a free number.
const maxShift = 10_000

// single writes a row whose key is taken. Where the position does not tell, it may be the row itself. Otherwise it is another change: two transactions
// that commit in the same microsecond, some bytes of WAL apart, may come to the same number. The later one takes the next that is free.
func (w *Writer) single(ctx context.Context, tx pgx.Tx, r *row) error {
	for shift := 0; shift <= maxShift; shift++ {
		if shift > 0 {
			written, err := w.try(ctx, tx, []row{*r})
			if err != nil || written {
				return err
			}
		}
		if w.position == nil || r.again {
			var ord int64
			switch err := tx.QueryRow(ctx, w.table.twins(), w.arguments([]row{*r})...).Scan(&ord); {
			case err == nil:
				return nil
			case !errors.Is(err, pgx.ErrNoRows):
				return err
			}
		}
		r.seq++
	}
	return errNotTaken
}

// errNotTaken reports rows that the table did not take, and gave no reason.
var errNotTaken = errors.New("the table did not take the row, and gave no reason: a trigger or a rule may keep it away")
