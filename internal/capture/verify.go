package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	mark, marked, err := publication.ReadMark(ctx, conn, s.cfg.Publication, s.cfg.Slot)
	if err != nil {
		return err
	}
	if marked && mark.Instance != s.c.deps.Instance {
		return s.anothers(mark, now)
	}
	if marked && (!known || was.Slot != s.cfg.Slot) {
		if err := s.explained(ctx, mark, now); err != nil {
			return err
		}
	}
	if known {
		if was, err = s.lineage(ctx, repl, id, was); err != nil {
			return err
		}
	}
	source, err := s.source(ctx, id, now, was, known)
	if err != nil {
		return err
	}
	s.c.floor.Store(uint64(now.ConfirmedFlush))
	s.remember(source)
	if !marked || !mark.Since.Equal(source.Since.Truncate(time.Microsecond)) {
		s.mark(ctx, conn, source)
	}
	return nil
}

// explained stops at a mark of ours that nothing here explains: the slot was read, and its record is gone. The identity of a data directory
// outlives a store that was lost or whose end was torn off, so the instance alone proves nothing; adopted anew, the slot would hide what was
// confirmed. Where it was confirmed no further than this log reaches, nothing is missing.
func (s *session) explained(ctx context.Context, mark publication.Mark, now slot.Slot) error {
	end := s.c.end()
	if now.ConfirmedFlush <= end {
		return nil
	}
	explained, err := s.c.records.explains(ctx, mark)
	if err != nil || explained {
		return err
	}
	from := "the slot's creation"
	if end > 0 {
		from = end.String()
	}
	return problem.New("log_lost", "replication slot %q was read by this installation, which does not know of it any more: its data directory was lost in part", s.cfg.Slot).
		WithDetail("marked by this instance since %s; changes committed between %s and %s are missing here",
			mark.Since.UTC().Format(time.RFC3339), from, now.ConfirmedFlush).
		WithHint("bring the data directory back as it was; or, if nothing before %s is needed here, remove the mark with COMMENT ON PUBLICATION %s IS NULL and the slot is adopted",
			now.ConfirmedFlush, pgx.Identifier{s.cfg.Publication}.Sanitize())
}

// source decides whether the slot may be read, and returns what is remembered of it from now on.
func (s *session) source(ctx context.Context, id postgres.Identity, now slot.Slot, was Remembered, known bool) (Remembered, error) {
	if !known || was.Slot != s.cfg.Slot {
		return s.adopt(ctx, id, now, was, known)
	}
	if err := s.moved(now); err != nil {
		return was, err
	}
	if was.Timeline == id.Timeline {
		return was, nil
	}
	was.MovedFrom, was.Timeline = was.Timeline, id.Timeline
	return was, s.c.records.putSource(ctx, was)
}

// moved is the rule of the confirm bound: Postgres was never told more than we know to have told it.
func (s *session) moved(now slot.Slot) error {
	end := s.c.end()
	if now.ConfirmedFlush <= end {
		return nil
	}
	return problem.New("slot_moved", "replication slot %q was moved or read by someone else", s.cfg.Slot).
		WithDetail("the server holds %s for confirmed, but only what lies before %s is in the change log: changes committed between %s and %s are missing here",
			now.ConfirmedFlush, end, end, now.ConfirmedFlush).
		WithHint("find out who advanced, recreated or read the slot, or whether the data directory is an older copy; to begin anew without the missing changes, give the database another slot.name, " +
			"which starts a new history, and backfill the tables that matter")
}

// unmoved looks at the slot again once it is ours alone: somebody may have moved it since it was verified.
func (s *session) unmoved(ctx context.Context, conn *pgx.Conn) error {
	now, err := slot.Inspect(ctx, conn, s.cfg.Slot)
	if err != nil {
		return err
	}
	return s.moved(now)
}

// lineage checks that the server is the one that the log was read from, in the same history: only then are the log's LSNs worth anything.
// Told to another server, they would make it skip what it holds.
func (s *session) lineage(ctx context.Context, repl *pgconn.PgConn, id postgres.Identity, was Remembered) (Remembered, error) {
	end := s.c.end()
	if id.SystemID != was.SystemID {
		return was, s.replaced(id, was)
	}
	if id.Timeline != was.Timeline {
		history, err := postgres.TimelineHistory(ctx, repl, id.Timeline)
		if err != nil {
			return was, err
		}
		switched, ancestor := postgres.SwitchPoint(history, was.Timeline)
		if !ancestor || switched < end {
			return was, s.diverged(id, was, switched, ancestor)
		}
		s.c.deps.Logger.Warn("the database is on a new timeline of the same history", "timeline", id.Timeline, "was", was.Timeline, "switch_point", switched.String())
	}
	// Nothing reaches us that the server has not flushed, so it always stands at the log's end or behind it; one that was put back by copying its
	// files has neither a new identifier nor a new timeline, and its next changes would come under LSNs that the log knows already.
	if id.Position < end {
		return was, problem.New("source_rewound", "database %q was put back to an earlier state: its WAL ends before the change log does", s.c.deps.Name).
			WithDetail("the server's WAL ends at %s; the log is complete up to %s", id.Position, end).
			WithHint("changes between the two positions were delivered and do not exist there any more; declare the database under another name and backfill it. A standby that is still catching up goes on by itself")
	}
	return was, nil
}

func (s *session) diverged(id postgres.Identity, was Remembered, switched cdc.LSN, ancestor bool) error {
	where := "is not a descendant of it"
	if ancestor {
		where = "branched off at " + switched.String()
	}
	return problem.New("timeline_diverged", "database %q is on another timeline, and the change log holds changes that it does not have", s.c.deps.Name).
		WithDetail("timeline %d, was %d, %s; the log is complete up to %s", id.Timeline, was.Timeline, where, s.c.end()).
		WithHint("changes behind that point were delivered and then undone by the failover; declare the database under another name and backfill it")
}

func (s *session) replaced(id postgres.Identity, was Remembered) error {
	return problem.New("source_replaced", "database %q is another server, or another history of it, than the one the change log was read from", s.c.deps.Name).
		WithDetail("system identifier %s, timeline %d; was %s, timeline %d; the log is complete up to %s of the old one, and where the new one's data branched off is not known",
			id.SystemID, id.Timeline, was.SystemID, was.Timeline, s.c.end()).
		WithHint("point the database at the old server again, or declare the new one under another name and backfill it")
}

// anothers refuses a slot with another installation's mark, which is what a lost data directory looks like.
func (s *session) anothers(mark publication.Mark, now slot.Slot) error {
	return problem.New("slot_marked_by_another", "replication slot %q was read by another installation of Sequin, or by this one before its data directory was lost", s.cfg.Slot).
		WithDetail("marked by instance %s since %s; this is instance %s; what was confirmed before %s is not in this change log",
			mark.Instance, mark.Since.UTC().Format(time.RFC3339), s.c.deps.Instance, now.ConfirmedFlush).
		WithHint("bring the old data directory back; or, if nothing before %s is needed here, remove the mark with COMMENT ON PUBLICATION %s IS NULL and the slot is adopted",
			now.ConfirmedFlush, pgx.Identifier{s.cfg.Publication}.Sanitize())
}

// adopt takes over a slot that this log has not read before.
func (s *session) adopt(ctx context.Context, id postgres.Identity, now slot.Slot, was Remembered, known bool) (Remembered, error) {
	end := s.c.end()
	fresh := Remembered{
		SystemID: id.SystemID, Timeline: id.Timeline, Slot: s.cfg.Slot, Database: s.cfg.Database, From: now.ConfirmedFlush, Since: time.Now().UTC(),
	}
	if known && was.Timeline != id.Timeline {
		fresh.MovedFrom = was.Timeline
	}
	switch {
	case known && now.ConfirmedFlush <= end:
		fresh.Epoch, fresh.From, fresh.Gaps = was.Epoch, was.From, was.Gaps
		s.c.deps.Logger.Info("the database reads another slot now, and nothing lies between the two", "slot", s.cfg.Slot, "was", was.Slot)
	case known:
		fresh.Epoch = was.Epoch
		fresh.Gaps = append(slices.Clone(was.Gaps[max(0, len(was.Gaps)-maxGaps+1):]), SourceGap{From: end, To: now.ConfirmedFlush, At: fresh.Since})
		s.c.deps.Logger.Error("the database reads another slot now; changes between the log's end and the slot's position are missing", "slot", s.cfg.Slot,
			"was", was.Slot, "from", end.String(), "to", now.ConfirmedFlush.String())
	}
	if known {
		if err := s.c.records.putEnded(ctx, was); err != nil {
			return fresh, err
		}
	}
	if err := s.c.records.putBound(ctx, max(now.ConfirmedFlush, end)); err != nil {
		return fresh, err
	}
	if err := s.c.records.putSource(ctx, fresh); err != nil {
		return fresh, err
	}
	s.c.bound.Store(max(s.c.bound.Load(), uint64(now.ConfirmedFlush)))
	s.c.deps.Logger.Info("adopted the slot; everything committed from here on is captured", "slot", s.cfg.Slot, "from", now.ConfirmedFlush.String())
	return fresh, nil
}

// mark leaves our mark on the source. It is tried at each connection until it succeeds: without it a lost data directory goes unnoticed.
func (s *session) mark(ctx context.Context, conn *pgx.Conn, source Remembered) {
	err := publication.WriteMark(ctx, conn, s.cfg.Publication, publication.Mark{Instance: s.c.deps.Instance, Slot: s.cfg.Slot, Since: source.Since})
	if err == nil || ctx.Err() != nil {
		return
	}
	level := slog.LevelWarn
	if s.c.unmarked {
		level = slog.LevelDebug
	}
	s.c.unmarked = true
	s.c.deps.Logger.Log(ctx, level, "the publication could not be marked as ours; a lost data directory would go unnoticed",
		"publication", s.cfg.Publication, "reason", err)
}

func (s *session) remember(r Remembered) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.remembered, s.c.known = r, true
}
