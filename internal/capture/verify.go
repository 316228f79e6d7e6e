package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

// preflightPrefix begins the kinds of the preflight's warnings.
const preflightPrefix = "preflight/"

// prepare checks the server and creates what may be created: the publication first, since WAL is decoded with the publications of its time.
func (s *session) prepare(ctx context.Context, conn *pgx.Conn) error {
	report, err := postgres.Preflight(ctx, conn, postgres.PreflightOptions{
		Config: s.cfg.Source, Slot: s.cfg.Slot, Publication: s.cfg.Publication,
		CreateSlot: true, CreatePublication: s.cfg.CreatePublication, // whether a missing slot may be created is decided below
	})
	if err != nil {
		return fmt.Errorf("check the server: %w", err)
	}
	s.version = report.Version
	s.catalog.version = report.Version
	for _, item := range report.Items {
		switch item.Status {
		case postgres.StatusFail:
			return item.Problem
		case postgres.StatusWarn:
			s.c.warn(preflightPrefix+item.Name, item.Problem)
		case postgres.StatusOK:
			s.c.warn(preflightPrefix+item.Name, nil)
		}
	}
	if err := s.ensurePublication(ctx, conn); err != nil {
		return err
	}
	return s.ensureSlot(ctx, conn)
}

func (s *session) ensurePublication(ctx context.Context, conn *pgx.Conn) error {
	_, err := publication.Inspect(ctx, conn, s.cfg.Publication)
	if err == nil || !errors.Is(err, publication.ErrNotFound) {
		return err
	}
	if !s.cfg.CreatePublication {
		return problem.New("publication_not_found", "publication %q does not exist", s.cfg.Publication).Because(err).
			WithHint("CREATE PUBLICATION %s FOR TABLE …, or set publication.create_if_not_exists: true", pgx.Identifier{s.cfg.Publication}.Sanitize())
	}
	made, err := publication.Create(ctx, conn, publication.Options{Name: s.cfg.Publication, InitSQL: s.cfg.InitSQL})
	if err != nil && !errors.Is(err, publication.ErrExists) {
		return err
	}
	s.c.deps.Logger.Info("created the publication", "publication", s.cfg.Publication, "tables", len(made.Tables), "left_out", len(made.LeftOut))
	for _, out := range append(made.LeftOut, made.Breaks...) {
		s.c.deps.Logger.Warn("a table needs attention", "table", out.Name.String(), "reason", out.Explain(), "repair", out.Repair)
	}
	return nil
}

// ensureSlot creates the slot when that was asked for and it never existed. A slot that was there before and is gone is a gap.
func (s *session) ensureSlot(ctx context.Context, conn *pgx.Conn) error {
	_, err := slot.Inspect(ctx, conn, s.cfg.Slot)
	if err == nil || !errors.Is(err, slot.ErrNotFound) {
		return err
	}
	was, known, recErr := s.c.records.source(ctx)
	if recErr != nil {
		return recErr
	}
	if known && was.Slot == s.cfg.Slot {
		return s.lost(ctx, conn, was)
	}
	if !s.cfg.CreateSlot {
		return problem.New("slot_not_found", "replication slot %q does not exist", s.cfg.Slot).Because(err).
			WithHint("SELECT pg_create_logical_replication_slot('%s', 'pgoutput'), or set slot.create_if_not_exists: true", s.cfg.Slot)
	}
	lsn, err := slot.Create(ctx, s.cfg.Source.Connect, slot.Options{
		Name: s.cfg.Slot, Waiting: func(w slot.Wait) { s.c.waitFor(w.Problem(s.cfg.Slot)) },
	})
	if err != nil && !errors.Is(err, slot.ErrExists) {
		return err
	}
	s.c.deps.Logger.Info("created the replication slot", "slot", s.cfg.Slot, "consistent_point", lsn.String())
	return nil
}

// lost states what went with a slot that is gone.
func (s *session) lost(ctx context.Context, conn *pgx.Conn, was Remembered) error {
	var now string
	if err := conn.QueryRow(ctx, "select pg_current_wal_lsn()::text").Scan(&now); err != nil {
		now = "an unknown LSN"
	}
	return problem.New("slot_lost", "replication slot %q is gone, and with it the changes that only it still held", s.cfg.Slot).
		WithDetail("the change log is complete from %s to %s; changes committed between %s and now (%s) may be missing", was.From, s.c.end(), s.c.end(), now).
		WithHint("nothing is streamed until the gap is decided on; to begin anew without the missing changes, give the database another slot.name, " +
			"which starts a new history, and backfill the tables that matter").Because(slot.ErrNotFound)
}

// end is the highest LSN that Postgres may have been told.
func (c *Capture) end() cdc.LSN { return max(c.deps.Log.CommitEnd(), cdc.LSN(c.bound.Load())) }

// verify compares the server with what the log was read from, and remembers it the first time. Nothing is streamed past a mismatch.
func (s *session) verify(ctx context.Context, conn *pgx.Conn, repl *pgconn.PgConn) error {
	id, err := postgres.Identify(ctx, repl)
	if err != nil {
		return err
	}
	now, err := slot.Inspect(ctx, conn, s.cfg.Slot)
	if err != nil {
		return err
	}
	if err := now.Check(s.cfg.Database, 0); err != nil {
		return err
	}
	bound, err := s.c.records.bound(ctx)
	if err != nil {
		return err
	}
	s.c.bound.Store(max(s.c.bound.Load(), uint64(bound)))
	was, known, err := s.c.records.source(ctx)
	if err != nil {
		return err
	}
	if !known || was.Slot != s.cfg.Slot {
		return s.adopt(ctx, conn, id, now, was, known)
	}
	if was, err = s.compare(ctx, repl, id, now, was); err != nil {
		return err
	}
	s.remember(was)
	return nil
}

// compare is the rule of the confirm bound: same system, same history, same slot, and nobody else has moved it.
func (s *session) compare(ctx context.Context, repl *pgconn.PgConn, id postgres.Identity, now slot.Slot, was Remembered) (Remembered, error) {
	end := s.c.end()
	if id.SystemID != was.SystemID {
		return was, s.replaced(id, was)
	}
	if now.ConfirmedFlush > end {
		return was, problem.New("slot_moved", "replication slot %q was moved or read by someone else", s.cfg.Slot).
			WithDetail("the server holds %s for confirmed, but only what lies before %s is in the change log: changes committed between %s and %s are missing here",
				now.ConfirmedFlush, end, end, now.ConfirmedFlush).
			WithHint("find out who advanced, recreated or read the slot, or whether the data directory is an older copy; to begin anew without the missing changes, give the database another slot.name, " +
				"which starts a new history, and backfill the tables that matter")
	}
	if id.Timeline == was.Timeline {
		return was, nil
	}
	history, err := postgres.TimelineHistory(ctx, repl, id.Timeline)
	if err != nil {
		return was, err
	}
	switched, ancestor := postgres.SwitchPoint(history, was.Timeline)
	if !ancestor || switched < end {
		return was, problem.New("timeline_diverged", "database %q is on another timeline, and the change log holds changes that it does not have", s.c.deps.Name).
			WithDetail("timeline %d, was %d, branched off at %s; the log is complete up to %s", id.Timeline, was.Timeline, switched, end).
			WithHint("changes between the two positions were delivered and then undone by the failover; declare the database under another name and backfill it")
	}
	s.c.deps.Logger.Warn("the database is on a new timeline of the same history; streaming goes on", "timeline", id.Timeline, "was", was.Timeline, "switch_point", switched.String())
	was.MovedFrom, was.Timeline = was.Timeline, id.Timeline
	return was, s.c.records.putSource(ctx, was)
}

func (s *session) replaced(id postgres.Identity, was Remembered) error {
	return problem.New("source_replaced", "database %q is another server, or another history of it, than the one the change log was read from", s.c.deps.Name).
		WithDetail("system identifier %s, timeline %d; was %s, timeline %d; the log is complete up to %s of the old one, and where the new one's data branched off is not known",
			id.SystemID, id.Timeline, was.SystemID, was.Timeline, s.c.end()).
		WithHint("point the database at the old server again, or declare the new one under another name and backfill it")
}

// adopt takes a slot over that this log has not read before. One that carries another installation's mark is what a lost data directory looks
// like, and waits.
func (s *session) adopt(ctx context.Context, conn *pgx.Conn, id postgres.Identity, now slot.Slot, was Remembered, known bool) error {
	mark, marked, err := publication.ReadMark(ctx, conn, s.cfg.Publication, s.cfg.Slot)
	if err != nil {
		return err
	}
	if marked && mark.Instance != s.c.deps.Instance {
		return problem.New("slot_marked_by_another", "replication slot %q was read by another installation of Sequin, or by this one before its data directory was lost", s.cfg.Slot).
			WithDetail("marked by instance %s since %s; this is instance %s; what was confirmed before %s is not in this change log",
				mark.Instance, mark.Since.UTC().Format(time.RFC3339), s.c.deps.Instance, now.ConfirmedFlush).
			WithHint("bring the old data directory back; or, if nothing before %s is needed here, remove the mark with COMMENT ON PUBLICATION %s IS NULL and the slot is adopted",
				now.ConfirmedFlush, pgx.Identifier{s.cfg.Publication}.Sanitize())
	}
	fresh := Remembered{
		SystemID: id.SystemID, Timeline: id.Timeline, Slot: s.cfg.Slot, Database: s.cfg.Database, From: now.ConfirmedFlush, Since: time.Now().UTC(),
	}
	if known {
		// Only within one history are the old LSNs worth anything: told to another server, they would make it skip what it holds.
		if id.SystemID != was.SystemID || id.Timeline != was.Timeline {
			return s.replaced(id, was)
		}
		fresh.Epoch, fresh.From = was.Epoch, was.From
		s.c.deps.Logger.Warn("the database reads another slot now; what lies between the two is a gap", "slot", s.cfg.Slot, "was", was.Slot,
			"log_end", s.c.end().String(), "from", now.ConfirmedFlush.String())
	}
	if err := s.c.records.putBound(ctx, max(now.ConfirmedFlush, s.c.end())); err != nil {
		return err
	}
	if err := s.c.records.putSource(ctx, fresh); err != nil {
		return err
	}
	s.c.bound.Store(max(s.c.bound.Load(), uint64(now.ConfirmedFlush)))
	s.remember(fresh)
	s.c.deps.Logger.Info("adopted the slot; everything committed from here on is captured", "slot", s.cfg.Slot, "from", now.ConfirmedFlush.String())
	err = publication.WriteMark(ctx, conn, s.cfg.Publication, publication.Mark{Instance: s.c.deps.Instance, Slot: s.cfg.Slot, Since: fresh.Since})
	if err != nil {
		s.c.deps.Logger.Warn("the publication could not be marked as ours; a lost data directory would go unnoticed", "publication", s.cfg.Publication, "reason", err)
	}
	return nil
}

func (s *session) remember(r Remembered) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.remembered, s.c.known = r, true
}
