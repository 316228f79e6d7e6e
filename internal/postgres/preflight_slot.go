package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

func (p *preflight) checkPublication(ctx context.Context) (*finding, error) {
	name := p.opts.Publication
	if name == "" {
		return nil, nil //nolint:nilnil // there is nothing to check
	}
	pub, err := publication.Inspect(ctx, p.conn, name)
	if errors.Is(err, publication.ErrNotFound) {
		if p.opts.CreatePublication {
			return nil, nil //nolint:nilnil // it is going to be created
		}
		return fail(problem.New("publication_not_found", "publication %q does not exist in database %q", name, p.server.database).
			WithHint("set publication.create_if_not_exists, or: create publication %s for table …; create it before the slot", quoteIdent(name))), nil
	}
	if err != nil {
		return nil, err
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
	return nil, nil //nolint:nilnil // nil means that all is well
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

// maxNamed bounds how many tables a problem names.
const maxNamed = 20

// checkIdentities names the tables that the publication breaks.
func (p *preflight) checkIdentities(context.Context) (*finding, error) {
	pub := p.report.Publication
	if pub == nil || len(pub.Breaks) == 0 {
		return nil, nil //nolint:nilnil // nil means that all is well
	}
	return warn(BrokenTables(*pub)), nil
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

func (p *preflight) checkSlot(ctx context.Context) (*finding, error) {
	name := p.opts.Slot
	if name == "" {
		return nil, nil //nolint:nilnil // there is nothing to check
	}
	s, err := slot.Inspect(ctx, p.conn, name)
	if errors.Is(err, slot.ErrNotFound) {
		return p.missingSlot(name)
	}
	if err != nil {
		return nil, err
	}
	p.report.Slot = &s
	if found, ok := problem.As(s.Check(p.server.database, p.opts.OwnPID)); ok {
		return fail(found), nil
	}
	return nil, nil //nolint:nilnil // nil means that all is well
}

func (p *preflight) missingSlot(name string) (*finding, error) {
	if !p.opts.CreateSlot {
		return fail(problem.New("slot_not_found", "replication slot %q does not exist", name).Because(slot.ErrNotFound).
			WithHint("set slot.create_if_not_exists, or: select pg_create_logical_replication_slot('%s', 'pgoutput'); create the publication first", name)), nil
	}
	if found, ok := problem.As(slot.CheckName(name)); ok {
		return fail(found), nil
	}
	total, ok := p.server.bytes("max_replication_slots")
	if ok && int64(p.server.slotsUsed) >= total {
		return fail(noSlotLeft(p.opts.Config.Address()).WithDetail("%d of max_replication_slots = %d are taken", p.server.slotsUsed, total)), nil
	}
	return nil, nil //nolint:nilnil // it is going to be created
}
