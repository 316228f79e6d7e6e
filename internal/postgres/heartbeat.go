package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/problem"
)

// HeartbeatPrefix is the prefix of heartbeats among logical messages, and their subject in the messages table.
const HeartbeatPrefix = "sequin.heartbeat.1"

// WatermarkPrefix is the prefix of watermarks among logical messages, and their subject in the messages table.
const WatermarkPrefix = "sequin.watermark.1"

// MessagesTable carries heartbeats and watermarks on 12 and 13, where pgoutput has no logical messages.
const MessagesTable = "public.sequin_logical_messages"

// ErrNoMessagesTable reports that the server is 12 or 13 and the table for messages is missing or not published.
var ErrNoMessagesTable = errors.New("no published table for heartbeats")

// Heartbeat is a message that we write so that it comes back through the slot.
type Heartbeat struct {
	ID        uuid.UUID `json:"id"`
	EmittedAt time.Time `json:"emitted_at"`
	Version   string    `json:"version"`
}

// ParseHeartbeat reads the content of a heartbeat.
func ParseHeartbeat(content []byte) (Heartbeat, error) {
	var h Heartbeat
	if err := json.Unmarshal(content, &h); err != nil {
		return Heartbeat{}, fmt.Errorf("parse heartbeat: %w", err)
	}
	return h, nil
}

// Querier runs statements; a connection, a transaction or a pool does.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// EmitHeartbeat writes a heartbeat and returns it. On 14 and later it is a transactional logical message; before, a row of MessagesTable, one for
// each slot, if the publication holds that table, else an error that wraps ErrNoMessagesTable. It needs the primary: a standby writes nothing.
func EmitHeartbeat(ctx context.Context, conn Querier, slot, publication string) (Heartbeat, error) {
	h := Heartbeat{ID: uuid.New(), EmittedAt: time.Now().UTC().Truncate(time.Microsecond), Version: "1.0"}
	content, err := json.Marshal(h)
	if err == nil {
		err = emit(ctx, conn, slot, publication, HeartbeatPrefix, content)
	}
	if err != nil {
		return Heartbeat{}, fmt.Errorf("emit heartbeat: %w", err)
	}
	return h, nil
}

// Watermark is a message that marks a place in the WAL: what committed before it was written comes before it through the slot.
type Watermark struct {
	ID   string `json:"id"`
	Slot string `json:"slot"` // whose stream waits for it
}

// ParseWatermark reads the content of a watermark.
func ParseWatermark(content []byte) (Watermark, error) {
	var w Watermark
	if err := json.Unmarshal(content, &w); err != nil {
		return Watermark{}, fmt.Errorf("parse watermark: %w", err)
	}
	return w, nil
}

// EmitWatermark writes a watermark, in the way and with the errors of EmitHeartbeat.
func EmitWatermark(ctx context.Context, conn Querier, slot, publication, id string) error {
	content, err := json.Marshal(Watermark{ID: id, Slot: slot})
	if err == nil {
		err = emit(ctx, conn, slot, publication, WatermarkPrefix, content)
	}
	if err != nil {
		return fmt.Errorf("emit watermark: %w", err)
	}
	return nil
}

// emit writes a logical message, or what stands for one.
func emit(ctx context.Context, conn Querier, slot, publication, prefix string, content []byte) error {
	old, err := before14(ctx, conn)
	if err != nil {
		return err
	}
	if old {
		return messageRow(ctx, conn, slot, publication, prefix, content)
	}
	// Transactional messages take their place among the commits, and count as progress on every version. Nobody needs them on a standby.
	_, err = conn.Exec(ctx, `select set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, $1::text, $2::text)`,
		prefix, string(content))
	return err
}

// before14 tells whether the server is older than 14. A connection was told its version when it was opened.
func before14(ctx context.Context, conn Querier) (bool, error) {
	if c, ok := conn.(*pgx.Conn); ok {
		major, _, _ := strings.Cut(c.PgConn().ParameterStatus("server_version"), ".")
		if n, err := strconv.Atoi(major); err == nil {
			return n < 14, nil
		}
	}
	var version int
	err := conn.QueryRow(ctx, `select current_setting('server_version_num')::int4`).Scan(&version)
	return version < 140000, err
}

func messageRow(ctx context.Context, conn Querier, slot, publication, prefix string, content []byte) error {
	var exists, published bool
	err := conn.QueryRow(ctx, `
		select to_regclass($1) is not null, exists (select from pg_publication_tables
			where pubname = $2 and schemaname = 'public' and tablename = 'sequin_logical_messages')`, MessagesTable, publication).
		Scan(&exists, &published)
	if err != nil {
		return err
	}
	if !exists || !published {
		return noMessagesTable(publication, exists)
	}
	_, err = conn.Exec(ctx, `
		with local as (select set_config('synchronous_commit', 'local', true))
		insert into public.sequin_logical_messages (slot_id, subject, content) select $1, $2, $3::text::jsonb from local
		on conflict (slot_id, subject) do update set content = excluded.content, updated_at = now()`, slot, prefix, string(content))
	return err
}

// MessagesTableSQL creates the table for heartbeats on 12 and 13.
const MessagesTableSQL = `create table public.sequin_logical_messages (
  id serial primary key,
  slot_id text not null,
  subject text not null,
  content jsonb not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (slot_id, subject)
)`

func noMessagesTable(publication string, exists bool) error {
	add := fmt.Sprintf("alter publication %s add table %s", quoteIdent(publication), MessagesTable)
	p := problem.New("heartbeat_table_missing", "heartbeats need table %s on this version of Postgres", MessagesTable).Because(ErrNoMessagesTable)
	if exists {
		return p.WithDetail("it is not in publication %q", publication).WithHint("%s", add)
	}
	return p.WithDetail("it does not exist").WithHint("%s; %s", MessagesTableSQL, add)
}
