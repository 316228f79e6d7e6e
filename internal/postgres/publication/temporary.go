package publication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// TemporaryPrefix begins the names of publications that live as long as one command.
const TemporaryPrefix = "sequin_tail_"

// temporaryInstance is the instance in the marks of temporary publications.
const temporaryInstance = "sequin tail"

// CreateTemporary creates a publication for the temporary slot of that name, and marks it. The connection must stay open until the slot
// exists: it holds a lock that tells RemoveStale that the publication is in use. Remove it with Drop.
func CreateTemporary(ctx context.Context, conn *pgx.Conn, opts Options, slot string) (Created, error) {
	if !strings.HasPrefix(opts.Name, TemporaryPrefix) {
		return Created{}, fmt.Errorf("create temporary publication %q: its name must begin with %s", opts.Name, TemporaryPrefix)
	}
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(hashtextextended($1, 0))`, lockKey("temporary", opts.Name)); err != nil {
		return Created{}, fmt.Errorf("create temporary publication %q: %w", opts.Name, err)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return Created{}, fmt.Errorf("create temporary publication %q: %w", opts.Name, err)
	}
	defer rollback(ctx, tx)
	created, err := create(ctx, tx, opts)
	if err != nil {
		return Created{}, creationError(opts.Name, err)
	}
	if err := WriteMark(ctx, tx, opts.Name, Mark{Instance: temporaryInstance, Slot: slot, Since: time.Now()}); err != nil {
		return Created{}, err
	}
	if err := tx.Commit(ctx); err != nil {
		return Created{}, creationError(opts.Name, err)
	}
	return created, nil
}

// RenewTemporary marks a publication of CreateTemporary with the slot that takes the place of a lost one. Without a slot it was stale, so it may
// have been removed meanwhile: ErrNotFound. As in CreateTemporary, the connection must stay open until the slot exists.
func RenewTemporary(ctx context.Context, conn *pgx.Conn, name, slot string) error {
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(hashtextextended($1, 0))`, lockKey("temporary", name)); err != nil {
		return fmt.Errorf("renew temporary publication %q: %w", name, err)
	}
	err := editMarks(ctx, conn, name, func([]Mark) []Mark {
		return []Mark{{Instance: temporaryInstance, Slot: slot, Since: time.Now().UTC().Truncate(time.Microsecond)}}
	})
	if err != nil {
		return fmt.Errorf("renew temporary publication %q: %w", name, err)
	}
	return nil
}

// RemoveStale drops the temporary publications that a killed command left behind: marked as such, their slot gone, and nobody at work on them. It
// returns their names. Those of other roles stay. Call it before CreateTemporary if both use one connection, whose own locks do not stop it.
func RemoveStale(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `
		select pubname::text from pg_publication
		where starts_with(pubname::text, $1) and pg_has_role(pubowner, 'USAGE') order by 1`, TemporaryPrefix)
	if err != nil {
		return nil, fmt.Errorf("remove stale publications: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("remove stale publications: %w", err)
	}
	var removed []string
	for _, name := range names {
		gone, err := removeIfStale(ctx, conn, name)
		if err != nil {
			return removed, fmt.Errorf("remove stale publication %q: %w", name, err)
		}
		if gone {
			removed = append(removed, name)
		}
	}
	return removed, nil
}

func removeIfStale(ctx context.Context, conn *pgx.Conn, name string) (bool, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer rollback(ctx, tx)
	// The lock comes first: from its creation until its slot exists, a publication in use is locked.
	var free bool
	err = tx.QueryRow(ctx, `select pg_try_advisory_xact_lock(hashtextextended($1, 0))`, lockKey("temporary", name)).Scan(&free)
	if err != nil || !free {
		return false, err
	}
	comment, err := readComment(ctx, tx, name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, marks := splitComment(comment)
	if len(marks) != 1 || marks[0].Instance != temporaryInstance {
		return false, nil
	}
	var live bool
	err = tx.QueryRow(ctx, `select exists (select from pg_replication_slots where slot_name = $1)`, marks[0].Slot).Scan(&live)
	if err != nil || live {
		return false, err
	}
	if err := Drop(ctx, tx, name); err != nil {
		return false, err
	}
	return true, tx.Commit(ctx)
}
