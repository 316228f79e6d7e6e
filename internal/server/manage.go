package server

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/resource"
)

// apiDeps is what the API works with.
func (s *Server) apiDeps() api.Deps {
	return api.Deps{
		Streams: streams{s}, Sinks: streams{s}, Audit: s.plane.Audit, Auth: s.tokens, Logger: s.logger,
		Control: s.plane, Runtime: overview{s}, Functions: trials{s}, Backfills: history{s}, Logs: logs{s}, SignIns: s.signIns, SetupLink: s.setupLink,
	}
}

// looker looks at source databases, and marks what is wrong with them as theirs.
type looker struct{ look sourceLook }

// Check makes the checks of a start.
func (l looker) Check(ctx context.Context, db *resource.Database) error {
	return sourceError(l.look.Check(ctx, db))
}

// Tables lists the tables.
func (l looker) Tables(ctx context.Context, db *resource.Database) ([]control.Table, error) {
	tables, err := l.look.Tables(ctx, db)
	return tables, sourceError(err)
}

// CheckConditions compiles conditions for the tables as they are now.
func (l looker) CheckConditions(ctx context.Context, db *resource.Database, asks []control.Condition) ([]control.Verdict, error) {
	verdicts, err := l.look.CheckConditions(ctx, db, asks)
	return verdicts, sourceError(err)
}

// CheckEnrichment has the database that a sink's enrichment asks read its query.
func (l looker) CheckEnrichment(ctx context.Context, set *resource.Set, sk *resource.Sink) error {
	return l.look.CheckEnrichment(ctx, set, sk)
}

// Effects tells what a start would create.
func (l looker) Effects(ctx context.Context, db *resource.Database) ([]string, error) {
	effects, err := l.look.Effects(ctx, db)
	return effects, sourceError(err)
}

func sourceError(err error) error {
	if err == nil {
		return nil
	}
	return &api.SourceError{Err: err, Transient: postgres.Transient(err)}
}

// overview tells the API how what is declared runs.
type overview struct{ s *Server }

// lookTime bounds a look at a source database that somebody waits for.
const lookTime = 15 * time.Second

// TestConnection makes the checks of a start.
func (o overview) TestConnection(ctx context.Context, db *resource.Database) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return sourceError(sourceLook{}.check(ctx, db, func() int32 { return o.backend(db.ID) }))
}

// RefreshTables reads the tables. Nothing keeps them: capture reads the catalog by itself when it meets a table.
func (o overview) RefreshTables(ctx context.Context, db *resource.Database) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	_, err := looker{}.Tables(ctx, db)
	return err
}

// backend is the backend of our own stream from a database's slot, 0 for none.
func (o overview) backend(id string) int32 {
	d := o.database(id)
	if d == nil {
		return 0
	}
	_, live := d.parts()
	if live == nil {
		return 0
	}
	return int32(live.capture.Status().Backend) //nolint:gosec // process ids are below 2^31
}

// database finds a running database.
func (o overview) database(id string) *database {
	o.s.mu.RLock()
	defer o.s.mu.RUnlock()
	return o.s.dbs[id]
}

// SinkHealth tells of each sink of an account, in the original's words.
func (o overview) SinkHealth(account string) func(*resource.Sink) api.Health {
	sinks, slots := map[string]health.Entity{}, map[string]health.Entity{}
	for _, d := range o.s.databases() {
		if d.account != account {
			continue
		}
		all := d.health() // the database comes first
		for i := range all[1:] {
			sinks[all[1+i].ID], slots[all[1+i].ID] = all[1+i], all[0]
		}
	}
	return func(sink *resource.Sink) api.Health {
		entity, runs := sinks[sink.ID]
		if !runs {
			entity.Status = health.Initializing
		}
		return sinkHealth(sink, entity, slots[sink.ID])
	}
}

// Status is everything of an account on one screen.
func (o overview) Status(account string) api.Status {
	v := api.Status{
		Version: o.s.opts.Version, Instance: o.s.instance, Accounts: len(o.s.plane.Accounts()),
		Databases: []api.DatabaseStatus{}, Sinks: []api.SinkStatus{}, Gaps: []api.Gap{}, Problems: []health.Issue{},
	}
	worst := health.OK
	for _, d := range o.s.databases() {
		if d.account != account {
			continue
		}
		all := d.health()
		db := d.status()
		db.Status, db.Problems = all[0].Status, someIssues(all[0].Problems)
		worst = worse(worst, db.Status)
		v.Databases = append(v.Databases, db)
		v.Gaps = append(v.Gaps, d.sourceGaps()...)
		wanted, runs := d.sinks()
		for i := range all[1:] {
			if all[1+i].Kind != "sink" {
				continue
			}
			want := wanted[all[1+i].Name]
			sink := sinkStatus(db.Name, runs, &want, &all[1+i])
			worst = worse(worst, sink.Health)
			v.Sinks = append(v.Sinks, sink)
		}
		v.Gaps = append(v.Gaps, d.sinkGaps()...)
	}
	for _, e := range o.rest(account) {
		worst = worse(worst, e.Status)
		v.Problems = append(v.Problems, e.Problems...)
	}
	v.Status = worst
	slices.SortFunc(v.Databases, func(a, b api.DatabaseStatus) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(v.Sinks, func(a, b api.SinkStatus) int { return strings.Compare(a.Name, b.Name) })
	return v
}

// rest is the health of what is neither a database nor a sink.
func (o overview) rest(account string) []health.Entity {
	mine := map[string]bool{}
	if set, _, err := o.s.plane.Current(account); err == nil {
		for i := range set.ChangeRetentions {
			mine[set.ChangeRetentions[i].ID] = true
		}
	}
	return slices.DeleteFunc(o.s.entities(), func(e health.Entity) bool {
		return e.Kind != "declaration" && (e.Kind != "wal_pipeline" || !mine[e.ID])
	})
}

// worse is the worse of two states. What is paused, or starts, does not hide that something else is wrong.
func worse(a, b health.Status) health.Status {
	rank := []health.Status{health.OK, health.Paused, health.Initializing, health.Warning, health.Error}
	if slices.Index(rank, b) > slices.Index(rank, a) && b != health.Paused {
		return b
	}
	return a
}

func someIssues(all []health.Issue) []health.Issue {
	if all == nil {
		return []health.Issue{}
	}
	return all
}

// parts are a database's declaration and what runs of it.
func (d *database) parts() (resource.Database, *running) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.res, d.live
}

// sinks are a database's sinks by name: as they are declared, and those that run.
func (d *database) sinks() (wanted map[string]declared, runs map[string]*sinkRun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live != nil {
		runs = maps.Clone(d.live.sinks)
	}
	return maps.Clone(d.wanted), runs
}

// closed is the state of a database whose change log is not open.
const closed = "closed"

func (d *database) status() api.DatabaseStatus {
	res, live := d.parts()
	v := api.DatabaseStatus{ID: d.id, Name: res.Name, Slot: res.Slot.Name, Publication: res.Publication.Name, State: closed}
	if live == nil {
		return v
	}
	st := live.capture.Status()
	v.State, v.ConfirmedFlushLSN, v.Log = string(st.State), lsn(st.Confirmed), live.logStatus()
	if version := st.Slot.ServerVersion; version != "" {
		v.ServerVersion = &version
	}
	if st.Slot.Retained >= 0 {
		v.RetainedWALBytes, v.LagBytes = &st.Slot.Retained, &st.Slot.Unconfirmed
	}
	return v
}

// lsn is a position as text, or nil for none.
func lsn(x cdc.LSN) *string {
	if x == 0 {
		return nil
	}
	text := x.String()
	return &text
}

// moment is a time, or nil for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	utc := t.UTC()
	return &utc
}

func (r *running) logStatus() api.LogStatus {
	end := r.log.End()
	m, _ := r.janitor.state()
	v := api.LogStatus{FirstSeq: r.log.FirstSeq(), LastSeq: end.Seq, Bytes: r.log.Stats().Size, MaxBytes: m.limit, Oldest: moment(m.oldest)}
	if end.Seq >= v.FirstSeq && end.Seq > 0 {
		v.Messages = end.Seq - v.FirstSeq + 1
	}
	if end.CommitTime != 0 {
		v.Newest = moment(end.CommitTime.Time())
	}
	return v
}

// sinkStatus is a sink of a database, with its health.
func sinkStatus(database string, runs map[string]*sinkRun, want *declared, e *health.Entity) api.SinkStatus {
	v := api.SinkStatus{
		ID: e.ID, Name: e.Name, Database: database, Type: string(want.sink.Destination.Type), Status: want.sink.Status,
		Health: e.Status, Problems: someIssues(e.Problems),
	}
	r := runs[e.Name]
	if r == nil {
		return v
	}
	c, _ := r.now()
	st, m := c.Stats(), r.metrics()
	v.Pending, v.InFlight, v.BackingOff, v.DeadLetters, v.OldestAgeMS = st.Lag, st.InFlight, st.WaitingRetry, st.DeadLetters, st.OldestAge.Milliseconds()
	v.Delivered, v.Failed = m.Successes, m.Failures
	return v
}

// sourceGaps are what the change log lacks.
func (d *database) sourceGaps() []api.Gap {
	res, live := d.parts()
	if live == nil {
		return nil
	}
	var all []api.Gap
	for _, g := range live.capture.Status().Remembered.Gaps {
		all = append(all, api.Gap{Database: res.Name, From: g.From.String(), To: g.To.String(), Cause: "source", Since: g.At.UTC()})
	}
	return all
}

// sinkGaps are the last gaps of the sinks that run.
func (d *database) sinkGaps() []api.Gap {
	res, _ := d.parts()
	_, runs := d.sinks()
	var all []api.Gap
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		c, _ := runs[name].now()
		if g := c.Stats().LastGap; g != nil {
			all = append(all, gapOf(res.Name, runs[name].name, g))
		}
	}
	return all
}

func gapOf(database, sink string, g *consumer.GapRecord) api.Gap {
	v := api.Gap{
		Database: database, Sink: &sink, From: strconv.FormatUint(g.From, 10), To: strconv.FormatUint(g.To, 10),
		Messages: &g.Count, Cause: string(g.Reason), Since: g.At.UTC(),
	}
	if g.FromLSN != 0 && g.ToLSN != 0 {
		v.From, v.To = g.FromLSN.String(), g.ToLSN.String()
	}
	return v
}

// captureView is what reads the slot.
func captureView(st capture.Status) api.CaptureView {
	v := api.CaptureView{
		State: string(st.State), Since: moment(st.Since), DurableLSN: lsn(st.Durable), ReceivedAt: moment(st.Received), HeartbeatAt: moment(st.Heartbeat),
		Transactions: st.Transactions, Changes: st.Changes, Reconnects: st.Reconnects,
	}
	if st.HeartbeatLatency >= 0 {
		ms := st.HeartbeatLatency.Milliseconds()
		v.HeartbeatLatencyMS = &ms
	}
	if st.Problem != nil {
		issue := health.IssueOf(health.Error, st.Problem, st.Since)
		v.Problem = &issue
	}
	return v
}
