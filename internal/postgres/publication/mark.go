package publication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Mark says which instance reads a slot. It is kept in the comment on the publication, as its last line and in JSON, so that a comment of the
// publication's owner stays what it was. A publication that serves several slots has a mark for each.
type Mark struct {
	Instance string    `json:"instance"`
	Slot     string    `json:"slot"`
	Since    time.Time `json:"since"`
}

// line is the form of the last line of the comment.
type line struct {
	Sequin []Mark `json:"sequin"`
}

// ReadMark returns the mark for the slot, and false if there is none. ErrNotFound without the publication.
func ReadMark(ctx context.Context, conn Conn, name, slot string) (Mark, bool, error) {
	comment, err := readComment(ctx, conn, name)
	if err != nil {
		return Mark{}, false, fmt.Errorf("read the mark on publication %q: %w", name, err)
	}
	_, marks := splitComment(comment)
	for _, m := range marks {
		if m.Slot == slot {
			return m, true, nil
		}
	}
	return Mark{}, false, nil
}

// WriteMark leaves the mark, in place of an earlier one for the same slot. It returns ErrNoPrivilege unless the role owns the publication; one
// can do without a mark then.
func WriteMark(ctx context.Context, conn Conn, name string, mark Mark) error {
	mark.Since = mark.Since.UTC().Truncate(time.Microsecond)
	err := editMarks(ctx, conn, name, func(marks []Mark) []Mark {
		return append(without(marks, mark.Slot), mark)
	})
	if err != nil {
		return fmt.Errorf("mark publication %q: %w", name, err)
	}
	return nil
}

// RemoveMark takes the mark for the slot away; one that is not there is fine.
func RemoveMark(ctx context.Context, conn Conn, name, slot string) error {
	err := editMarks(ctx, conn, name, func(marks []Mark) []Mark { return without(marks, slot) })
	if err != nil {
		return fmt.Errorf("remove the mark from publication %q: %w", name, err)
	}
	return nil
}

func without(marks []Mark, slot string) []Mark {
	var kept []Mark
	for _, m := range marks {
		if m.Slot != slot {
			kept = append(kept, m)
		}
	}
	return kept
}

// editMarks rewrites the comment under a lock, so that instances that share a publication do not overwrite each other's marks.
func editMarks(ctx context.Context, conn Conn, name string, edit func([]Mark) []Mark) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 0))`, lockKey("mark", name)); err != nil {
		return err
	}
	comment, err := readComment(ctx, tx, name)
	if err != nil {
		return err
	}
	text, marks := splitComment(comment)
	if err := writeComment(ctx, tx, name, joinComment(text, edit(marks))); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// lockKey names an advisory lock. Those are counted per database.
func lockKey(purpose, name string) string { return "sequin:publication:" + purpose + ":" + name }

func readComment(ctx context.Context, conn Conn, name string) (string, error) {
	var comment string
	err := conn.QueryRow(ctx, `select coalesce(obj_description(oid, 'pg_publication'), '') from pg_publication where pubname = $1`, name).Scan(&comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrNotFound
	}
	return comment, err
}

func writeComment(ctx context.Context, conn Conn, name, comment string) error {
	// COMMENT takes no parameters; the server quotes.
	var sql string
	err := conn.QueryRow(ctx, `select format('comment on publication %I is %L', $1::text, nullif($2::text, ''))`, name, comment).Scan(&sql)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return classify(err)
}

// splitComment separates a comment into what people wrote and the marks.
func splitComment(comment string) (text string, marks []Mark) {
	i := strings.LastIndexByte(comment, '\n')
	var l line
	if err := json.Unmarshal([]byte(comment[i+1:]), &l); err != nil || l.Sequin == nil {
		return comment, nil
	}
	return comment[:max(i, 0)], l.Sequin
}

func joinComment(text string, marks []Mark) string {
	if len(marks) == 0 {
		return text
	}
	encoded, err := json.Marshal(line{marks})
	if err != nil {
		return text // a time outside the years 0 to 9999; no clock of a server says so
	}
	if text == "" {
		return string(encoded)
	}
	return text + "\n" + string(encoded)
}
