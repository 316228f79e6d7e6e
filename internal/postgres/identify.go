package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
)

// ErrNotReplication reports a connection that is not in replication mode although it asked for it, as a pooler in between makes it.
var ErrNotReplication = errors.New("not a replication connection")

// Identity says which database system this is and where its WAL stands.
type Identity struct {
	SystemID string // of the cluster; copies and standbys share it
	Timeline uint32
	Position cdc.LSN // flushed on a primary, received or replayed on a standby
	Database string
}

// Identify asks the server who it is. The connection must be in replication mode.
func Identify(ctx context.Context, conn *pgconn.PgConn) (Identity, error) {
	row, err := command(ctx, conn, "IDENTIFY_SYSTEM", 4)
	if err != nil {
		return Identity{}, fmt.Errorf("identify system: %w", err)
	}
	timeline, err := strconv.ParseUint(row[1], 10, 32)
	if err != nil {
		return Identity{}, fmt.Errorf("identify system: timeline: %w", err)
	}
	position, err := cdc.ParseLSN(row[2])
	if err != nil {
		return Identity{}, fmt.Errorf("identify system: %w", err)
	}
	return Identity{SystemID: row[0], Timeline: uint32(timeline), Position: position, Database: row[3]}, nil
}

// Switch is the end of a timeline: its history went on as the next one from At.
type Switch struct {
	Timeline uint32
	At       cdc.LSN
	Reason   string
}

// TimelineHistory returns how the timeline came to be, oldest switch first; timeline 1 has no history. The connection must be in replication
// mode.
func TimelineHistory(ctx context.Context, conn *pgconn.PgConn, timeline uint32) ([]Switch, error) {
	if timeline <= 1 {
		return nil, nil
	}
	row, err := command(ctx, conn, fmt.Sprintf("TIMELINE_HISTORY %d", timeline), 2)
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", timeline, err)
	}
	history, err := ParseTimelineHistory(row[1])
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", timeline, err)
	}
	return history, nil
}

// ParseTimelineHistory reads a timeline history file: lines of parent timeline, switch point and reason, with comments after #.
func ParseTimelineHistory(text string) ([]Switch, error) {
	var history []Switch
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		number, rest, _ := strings.Cut(line, "\t")
		at, reason, _ := strings.Cut(rest, "\t")
		timeline, err := strconv.ParseUint(strings.TrimSpace(number), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("timeline history: %w", err)
		}
		lsn, err := cdc.ParseLSN(strings.TrimSpace(at))
		if err != nil {
			return nil, fmt.Errorf("timeline history: %w", err)
		}
		history = append(history, Switch{Timeline: uint32(timeline), At: lsn, Reason: strings.TrimSpace(reason)})
	}
	return history, nil
}

// SwitchPoint is where the given older timeline ended on the way to the one that the history leads to, and false when it is not an ancestor.
func SwitchPoint(history []Switch, timeline uint32) (cdc.LSN, bool) {
	for _, s := range history {
		if s.Timeline == timeline {
			return s.At, true
		}
	}
	return 0, false
}

// command runs a replication command that answers with one row of at least so many columns.
func command(ctx context.Context, conn *pgconn.PgConn, sql string, columns int) ([]string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42601" { // an ordinary session takes the command for bad SQL
		return nil, fmt.Errorf("%w: %w", ErrNotReplication, err)
	}
	if err != nil {
		return nil, err
	}
	if len(results) == 0 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < columns {
		return nil, errors.New("the server's answer has another form than expected")
	}
	row := make([]string, 0, columns)
	for _, value := range results[0].Rows[0] {
		row = append(row, string(value))
	}
	return row, nil
}
