package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

func (p *preflight) checkPublication(ctx context.Context) (finding, error) {
	name := p.opts.Publication
	if name == "" {
		return good("none named"), nil
	}
	pub, err := publication.Inspect(ctx, p.conn, name)
	if errors.Is(err, publication.ErrNotFound) {
		if p.opts.CreatePublication {
			return good("%q does not exist; it is created on request (publication.create_if_not_exists)", name), nil
		}
		return fail(problem.New("publication_not_found", "publication %q does not exist in database %q", name, p.server.database).
			WithHint("set publication.create_if_not_exists, or: create publication %s for table …; create it before the slot", quoteIdent(name))), nil
	}
	if err != nil {
		return finding{}, err
	}
	p.report.Publication = &pub
	if off := actionsOff(pub); off != "" {
		return warn(problem.New("publication_incomplete", "publication %q does not publish %s", name, off).
			WithHint("alter publication %s set (publish = 'insert, update, delete, truncate')", quoteIdent(name))), nil
	}
	if len(pub.Tables) == 0 && !pub.AllTables && len(pub.Schemas) == 0 {
		return warn(problem.New("publication_empty", "publication %q has no tables", name).
			WithHint("alter publication %s add table …", quoteIdent(name))), nil
	}
	if found, err := p.missingTables(ctx, pub); err != nil || found.problem != nil {
		return found, err
	}
	return good("%q: %s", name, describePublication(pub)), nil
}

func describePublication(pub publication.Publication) string {
	text := count(len(pub.Tables), "table")
	if pub.AllTables {
		text += ", for all tables"
	}
	if len(pub.Schemas) > 0 {
		text += ", for the schemas " + strings.Join(pub.Schemas, ", ")
	}
	if pub.ViaPartitionRoot {
		text += ", partitions under the name of their partitioned table"
	}
	return text
}

// missingTables complains of tables asked for that the publication does not send.
func (p *preflight) missingTables(ctx context.Context, pub publication.Publication) (finding, error) {
	if len(p.opts.Tables) == 0 {
		return finding{}, nil
	}
	missing, err := publication.Reconcile(ctx, p.conn, pub.Name, p.opts.Tables)
	if err != nil {
		return finding{}, err
	}
	var names, repairs []string
	for _, m := range missing {
		if m.NotFound {
			continue // the check of the tables says so
		}
		names = append(names, m.Name.String())
		if m.SQL != "" {
			repairs = append(repairs, m.SQL)
		}
	}
	if len(names) == 0 {
		return finding{}, nil
	}
	if len(repairs) == 0 {
		repairs = []string{"it cannot be added as it is: see the check of the tables"}
	}
	return fail(problem.New("table_not_published", "publication %q does not cover %s", pub.Name, strings.Join(names, ", ")).
		WithHint("%s", strings.Join(repairs, "; "))), nil
}

func actionsOff(pub publication.Publication) string {
	var off []string
	for _, a := range []struct {
		name string
		on   bool
	}{{"insert", pub.Insert}, {"update", pub.Update}, {"delete", pub.Delete}, {"truncate", pub.Truncate}} {
		if !a.on {
			off = append(off, a.name)
		}
	}
	return strings.Join(off, ", ")
}

// checkIdentities names the tables that the publication breaks or, before there is one, those that a new one would leave out.
func (p *preflight) checkIdentities(ctx context.Context) (finding, error) {
	switch pub := p.report.Publication; {
	case pub != nil && len(pub.Breaks) > 0 && p.full: // an application fails now
		return fail(BrokenTables(*pub)), nil
	case pub != nil && len(pub.Breaks) > 0:
		return warn(BrokenTables(*pub)), nil
	case pub != nil || !p.full:
		return good("every published table identifies its rows"), nil
	}
	plan, err := p.planned(ctx)
	if err != nil {
		return finding{}, err
	}
	var out, repairs []string
	for _, l := range plan.LeftOut {
		if l.Reason == publication.NotOwner || l.Reason == publication.NotPublishable {
			continue
		}
		out = append(out, l.Explain())
		repairs = append(repairs, l.Repair)
	}
	if len(out) == 0 {
		return good("no table's UPDATE or DELETE would fail once it is published"), nil
	}
	found := problem.New("replica_identity_missing", "UPDATE and DELETE would fail on %s once published; a publication of ours leaves what it would harm out", count(len(out), "table")).
		WithDetail("%s", someTables(out, func(s string) string { return s })).WithHint("%s", strings.Join(repairs[:min(len(repairs), maxNamed)], "; "))
	if len(p.opts.Tables) > 0 {
		return fail(found), nil
	}
	return warn(found), nil
}

// BrokenTables names the tables whose UPDATE or DELETE fails because of the publication, with the repairs.
func BrokenTables(pub publication.Publication) *problem.Error {
	var details, repairs []string
	for _, b := range pub.Breaks[:min(len(pub.Breaks), maxNamed)] {
		details = append(details, b.Explain())
		repairs = append(repairs, b.Repair)
	}
	if more := len(pub.Breaks) - maxNamed; more > 0 {
		details = append(details, fmt.Sprintf("and %d more tables", more))
	}
	return problem.New("replica_identity_missing", "publication %q makes UPDATE or DELETE fail on %d tables", pub.Name, len(pub.Breaks)).
		WithDetail("%s", strings.Join(details, "; ")).WithHint("%s", strings.Join(repairs, "; "))
}

func (p *preflight) checkSlot(ctx context.Context) (finding, error) {
	name := p.opts.Slot
	if name == "" {
		return good("none named"), nil
	}
	s, err := slot.Inspect(ctx, p.conn, name)
	if errors.Is(err, slot.ErrNotFound) {
		return p.missingSlot(name)
	}
	if err != nil {
		return finding{}, err
	}
	p.report.Slot = &s
	if found, ok := problem.As(s.Check(p.server.database, p.opts.OwnPID)); ok {
		return fail(found).saying("%s", describeSlot(s)), nil
	}
	if p.full && p.server.version >= 170000 && !s.Failover && !s.InRecovery {
		standbys, err := p.standbys(ctx)
		if err != nil {
			return finding{}, err
		}
		if standbys > 0 {
			return warn(problem.New("slot_not_failover", "replication slot %q is not copied to the standbys: after a failover it is gone", name).
				WithHint("over a replication connection: ALTER_REPLICATION_SLOT %s (FAILOVER true); and on the standbys %s", name,
					changeSetting(p.provider, "sync_replication_slots", "on", false))).saying("%s", describeSlot(s)), nil
		}
	}
	return good("%s", describeSlot(s)), nil
}

// describeSlot tells how a slot is.
func describeSlot(s slot.Slot) string {
	parts := []string{fmt.Sprintf("%q: %s", s.Name, s.Type)}
	if s.Plugin != "" {
		parts = append(parts, s.Plugin)
	}
	switch {
	case s.Active:
		parts = append(parts, fmt.Sprintf("read by PID %d", s.ActivePID))
	case !s.InactiveSince.IsZero():
		parts = append(parts, "not read since "+s.InactiveSince.Format("2006-01-02 15:04 UTC"))
	default:
		parts = append(parts, "not read")
	}
	if s.WALStatus != "" {
		parts = append(parts, "wal_status "+s.WALStatus)
	}
	if reason, yes := s.Invalidated(); yes {
		parts = append(parts, "invalidated: "+reason)
	}
	if s.Failover {
		parts = append(parts, "failover on")
	}
	return strings.Join(append(parts, size(s.Retained)+" of WAL retained for it"), ", ")
}

// standbys counts the servers that stream from this one: the walsenders that are connected to no database.
func (p *preflight) standbys(ctx context.Context) (int, error) {
	var n int
	err := p.conn.QueryRow(ctx, `select count(*)::int from pg_stat_replication r join pg_stat_activity a on a.pid = r.pid where a.datid is null`).Scan(&n)
	return n, err
}

func (p *preflight) missingSlot(name string) (finding, error) {
	if !p.opts.CreateSlot {
		return fail(problem.New("slot_not_found", "replication slot %q does not exist", name).Because(slot.ErrNotFound).
			WithHint("set slot.create_if_not_exists, or: select pg_create_logical_replication_slot('%s', 'pgoutput'); create the publication first", name)), nil
	}
	if found, ok := problem.As(slot.CheckName(name)); ok {
		return fail(found), nil
	}
	if total, ok := p.server.bytes("max_replication_slots"); ok && int64(p.server.slotsUsed) >= total {
		return fail(p.noSlot(total)), nil
	}
	return good("%q does not exist; it is created on request (slot.create_if_not_exists)", name), nil
}

func (p *preflight) noSlot(total int64) *problem.Error {
	return noSlotLeft(p.opts.Config.Address()).WithDetail("%d of max_replication_slots = %d are taken", p.server.slotsUsed, total).
		WithHint("drop one that nobody uses, select pg_drop_replication_slot('…'); or %s; `select * from pg_replication_slots` lists them",
			changeSetting(p.provider, "max_replication_slots", strconv.FormatInt(total+10, 10), true))
}

// checkSlots counts the slots of the server, and names those that nobody reads.
func (p *preflight) checkSlots(ctx context.Context) (finding, error) {
	total, _ := p.server.bytes("max_replication_slots")
	text := fmt.Sprintf("%d of %d in use", p.server.slotsUsed, total)
	rows, err := p.conn.Query(ctx, `select slot_name::text from pg_replication_slots where not active order by 1`)
	if err != nil {
		return finding{}, err
	}
	idle, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return finding{}, err
	}
	if len(idle) > 0 {
		text += "; nobody reads " + someTables(idle, func(s string) string { return s })
	}
	if p.opts.Slot == "" && p.opts.CreateSlot && p.opts.OwnPID == 0 && int64(p.server.slotsUsed) >= total { // else the check of the slot says so
		return fail(p.noSlot(total)).saying("%s", text), nil
	}
	return good("%s", text), nil
}

// checkSenders counts the walsenders. The replication connection proves that one is free at this moment.
func (p *preflight) checkSenders(ctx context.Context) (finding, error) {
	var used int64
	if err := p.conn.QueryRow(ctx, `select count(*) from pg_stat_replication`).Scan(&used); err != nil {
		return finding{}, err
	}
	total, _ := p.server.bytes("max_wal_senders")
	text := fmt.Sprintf("%d of %d in use", used, total)
	if p.report.Identity == nil && p.opts.OwnPID == 0 && used >= total {
		return fail(problem.New("no_walsender_left", "all walsenders of %s are taken", p.opts.Config.Address()).
			WithHint("%s; `select * from pg_stat_replication` shows who holds them", changeSetting(p.provider, "max_wal_senders", strconv.FormatInt(total+10, 10), true))).
			saying("%s", text), nil
	}
	return good("%s", text), nil
}

func (p *preflight) checkRetention(context.Context) (finding, error) {
	s := p.report.Slot
	keep, limited := p.server.bytes("max_slot_wal_keep_size")
	limited = limited && keep >= 0
	if s != nil && (s.WALStatus == "unreserved" || s.WALStatus == "extended" && s.SafeWALSize != nil) {
		return warn(problem.New("slot_near_limit", "replication slot %q is close to losing its WAL", s.Name).
			WithDetail("wal_status is %s; %d bytes are retained", s.WALStatus, s.Retained).
			WithHint("let the stream catch up, or %s", changeSetting(p.provider, "max_slot_wal_keep_size", moreWAL(keep), false))), nil
	}
	const small = 1 << 30
	if limited && keep < small {
		return warn(problem.New("wal_retention_small", "the server drops the WAL of a slot that falls %d MiB behind", keep>>20).
			WithHint("raise it to the WAL of the longest outage that the slot should survive: %s", changeSetting(p.provider, "max_slot_wal_keep_size", "10GB", false))), nil
	}
	if !limited {
		return good("no limit: the server keeps the WAL of a slot until its disk is full"), nil
	}
	return good("max_slot_wal_keep_size is %s", size(keep)), nil
}

// moreWAL is twice as much, as a setting.
func moreWAL(keep int64) string { return fmt.Sprintf("%dMB", max(2*keep>>20, 10<<10)) }
