package server

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/resource"
)

// The checks of a sink, in the order in which one rests on the others.
const (
	checkConfiguration = "Sink configuration"
	checkIngestion     = "Message ingestion"
	checkPending       = "Messages pending delivery"
	checkDelivery      = "Message delivery"
	checkSlot          = "Replication slot health"
)

// checkOf is the check that a problem of a sink belongs to; others are about its configuration.
var checkOf = map[string]string{
	"log_unreadable": checkIngestion, "state_unwritable": checkIngestion, "sink_gap": checkIngestion, "log_unavailable": checkIngestion,
	"sink_bounded":     checkPending,
	"destination_down": checkDelivery, "delivery_failing": checkDelivery, "messages_retrying": checkDelivery,
	"dead_letters": checkDelivery, "dead_letters_full": checkDelivery, "dead_letters_old": checkDelivery,
}

// sinkHealth is a sink's health in the original's words. A sink that is paused or disabled is that, whatever else is wrong: the checks say so.
func sinkHealth(sink *resource.Sink, entity, slot health.Entity) api.Health {
	h := api.Health{Name: "Consumer health", Status: string(entity.Status)}
	if sink.Status != resource.StatusActive {
		h.Status = string(health.Paused)
	}
	failed := false
	for _, name := range []string{checkConfiguration, checkIngestion, checkPending, checkDelivery} {
		check := api.Check{Name: name, Status: string(health.OK)}
		if failed || entity.Status == health.Initializing {
			check.Status = string(health.Initializing)
		}
		for i := range entity.Problems {
			p := &entity.Problems[i]
			if owner := checkOf[p.Code]; owner == name || owner == "" && name == checkConfiguration {
				worsen(&check, p)
			}
		}
		failed = failed || check.Status == string(health.Error)
		h.Checks = append(h.Checks, check)
	}
	if len(slot.Problems) > 0 { // the sink is not at fault, and nothing reaches it
		check := api.Check{Name: checkSlot, Status: string(health.OK)}
		for i := range slot.Problems {
			p := slot.Problems[i]
			p.Severity = health.Warning
			worsen(&check, &p)
		}
		h.Checks = append(h.Checks, check)
		if h.Status == string(health.OK) {
			h.Status = string(health.Warning)
		}
	}
	return h
}

// worsen takes a problem into a check, unless a worse one is there.
func worsen(check *api.Check, p *health.Issue) {
	if check.Error != "" && (check.Status == string(health.Error) || p.Severity != health.Error) {
		return
	}
	check.Status, check.Error, check.Code, check.Hint = string(p.Severity), p.Message, p.Code, p.Hint
	if p.Detail != "" {
		check.Error += ": " + p.Detail
	}
}

// Slot tells of a database's slot and publication as Postgres has them, and of the change log behind.
func (o overview) Slot(ctx context.Context, db *resource.Database) (api.SlotDetails, error) {
	v := api.SlotDetails{Database: db.Name, Gaps: []api.Gap{}, Warnings: []health.Issue{}, Capture: api.CaptureView{State: closed}}
	v.Budget = api.Budget{
		OnWALBudget: string(db.OnWALBudget), RetentionAgeMS: db.Retention.MaxAge.Milliseconds(), RetentionBytes: db.Retention.MaxSize,
		WALBudgetBytes: db.WALBudget,
	}
	if d := o.database(db.ID); d != nil {
		if _, live := d.parts(); live != nil {
			st := live.capture.Status()
			v.Capture, v.Log = captureView(st), live.logStatus()
			v.Budget.MaxDiskBytes, v.Budget.WALBudgetBytes = live.janitor.limit(*db), live.janitor.walBudget(*db)
			v.ConfirmedFlushLSN, v.WALStatus = lsn(st.Confirmed), st.Slot.WALStatus
			for _, w := range st.Warnings {
				v.Warnings = append(v.Warnings, health.IssueOf(health.Warning, w, time.Time{}))
			}
		}
		v.Gaps = append(append(v.Gaps, d.sourceGaps()...), d.sinkGaps()...)
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	err := sourceLook{}.with(ctx, db, func(conn *pgx.Conn, _ postgres.Config) error { return fillSlot(ctx, conn, db, &v) })
	if err != nil {
		issue := health.IssueOf(health.Error, asProblem(err, "source_unreachable", "the source database could not be looked at"), time.Time{})
		v.Unreachable = &issue
	}
	return v, nil
}

// fillSlot asks the server. What is not there stays null.
func fillSlot(ctx context.Context, conn *pgx.Conn, db *resource.Database, v *api.SlotDetails) error {
	s, err := slot.Inspect(ctx, conn, db.Slot.Name)
	switch {
	case errors.Is(err, slot.ErrNotFound):
	case err != nil:
		return err
	default:
		v.Slot = &api.SlotView{
			Name: s.Name, Plugin: s.Plugin, Database: s.Database, Active: s.Active, ApplicationName: s.Reader.ApplicationName,
			InvalidationReason: s.InvalidationReason, Failover: s.Failover, TwoPhase: s.TwoPhase, UnconfirmedBytes: s.Unconfirmed,
		}
		if s.ActivePID != 0 {
			v.Slot.ActivePID = &s.ActivePID
		}
		v.ConfirmedFlushLSN, v.RestartLSN, v.WALStatus = lsn(s.ConfirmedFlush), lsn(s.RestartLSN), s.WALStatus
		v.RetainedWALBytes, v.SafeWALBytes = &s.Retained, s.SafeWALSize
	}
	p, err := publication.Inspect(ctx, conn, db.Publication.Name)
	if errors.Is(err, publication.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	v.Publication = publicationView(&p)
	return nil
}

func publicationView(p *publication.Publication) *api.PublicationView {
	v := &api.PublicationView{
		Name: p.Name, AllTables: p.AllTables, Schemas: append([]string{}, p.Schemas...), Tables: []string{}, Actions: []string{}, ViaPartitionRoot: p.ViaPartitionRoot,
	}
	for i := range p.Tables {
		v.Tables = append(v.Tables, resource.TableName{Schema: p.Tables[i].Schema, Name: p.Tables[i].Table}.String())
	}
	for _, action := range []struct {
		name string
		on   bool
	}{{"insert", p.Insert}, {"update", p.Update}, {"delete", p.Delete}, {"truncate", p.Truncate}} {
		if action.on {
			v.Actions = append(v.Actions, action.name)
		}
	}
	return v
}
