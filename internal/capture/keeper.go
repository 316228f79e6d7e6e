package capture

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

// beat sends a heartbeat through the slot.
func (k *keeper) beat(ctx context.Context) {
	if k.cfg.Heartbeat <= 0 {
		return
	}
	err := k.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		now := time.Now()
		_, err := postgres.EmitHeartbeat(ctx, conn, k.cfg.Slot, k.cfg.Publication)
		if err == nil {
			k.c.sent(now)
		}
		return err
	})
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		k.c.warn("heartbeat", nil)
		return
	}
	if p, ok := problem.As(err); ok {
		k.c.warn("heartbeat", p)
		return
	}
	k.c.warn("heartbeat", problem.New("heartbeat_failed", "heartbeats cannot be sent to database %q", k.c.deps.Name).WithDetail("%s", err).
		WithHint("changes still flow; without heartbeats an idle database's lag is not measured; heartbeat_interval: 0 turns them off").Because(err))
}

// look reads the slot's state and checks the publication.
func (k *keeper) look(ctx context.Context) {
	err := k.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		now, err := slot.Inspect(ctx, conn, k.cfg.Slot)
		if err != nil {
			return err
		}
		view := SlotView{
			Retained: now.Retained, Unconfirmed: now.Unconfirmed, SafeWAL: -1, KeepSize: -1, WALStatus: now.WALStatus, At: time.Now(),
			ServerVersion: conn.PgConn().ParameterStatus("server_version"),
		}
		// 13 and later; in MB, -1 for no limit
		err = conn.QueryRow(ctx, "select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size'").Scan(&view.KeepSize)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if view.KeepSize > 0 {
			view.KeepSize <<= 20
		}
		if now.SafeWALSize != nil {
			view.SafeWAL = max(*now.SafeWALSize, 0)
		}
		k.c.mu.Lock()
		k.c.slot = view
		k.c.mu.Unlock()
		k.walStatus(now)
		return k.published(ctx, conn)
	})
	if err != nil && ctx.Err() == nil {
		k.c.deps.Logger.Debug("the slot could not be looked at", "reason", err)
	}
}

// walStatus warns while the server is about to give the slot up.
func (k *keeper) walStatus(now slot.Slot) {
	if now.WALStatus != "unreserved" && now.WALStatus != "extended" || now.SafeWALSize == nil {
		k.c.warn("wal", nil)
		return
	}
	k.c.warn("wal", problem.New("slot_wal_short", "the server will soon drop WAL that slot %q still needs", k.cfg.Slot).
		WithDetail("wal_status %s; %d bytes may still be written", now.WALStatus, *now.SafeWALSize).
		WithHint("see what holds the reading back with GET /healthz, or raise max_slot_wal_keep_size"))
}

// published warns of a publication that covers nothing or makes statements fail.
func (k *keeper) published(ctx context.Context, conn *pgx.Conn) error {
	p, err := publication.Inspect(ctx, conn, k.cfg.Publication)
	if errors.Is(err, publication.ErrNotFound) {
		// Until 17 the next change ends the stream; from 18 on the server passes over changes without a word in the stream.
		k.c.warn("publication", problem.New("publication_not_found", "publication %q does not exist any more", k.cfg.Publication).Because(err).
			WithDetail("what changes until it is there again is not sent").
			WithHint("CREATE PUBLICATION %s FOR TABLE …, and resync what changed meanwhile", pgx.Identifier{k.cfg.Publication}.Sanitize()))
		return nil
	}
	if err != nil {
		return err
	}
	if len(p.Tables) == 0 {
		k.c.warn("publication", problem.New("publication_empty", "publication %q covers no table", k.cfg.Publication).
			WithHint("ALTER PUBLICATION %s ADD TABLE …", pgx.Identifier{k.cfg.Publication}.Sanitize()))
	} else {
		k.c.warn("publication", nil)
	}
	const kind = preflightPrefix + "replica_identity" // the same as the preflight's, which looks once
	if len(p.Breaks) == 0 {
		k.c.warn(kind, nil)
		return nil
	}
	k.c.warn(kind, postgres.BrokenTables(p))
	return nil
}
