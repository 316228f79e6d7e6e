package server

import (
	"maps"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/backfills"
	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// How long things may take before they count as trouble.
const (
	startGrace   = 30 * time.Second // for a first connection
	streamGrace  = 5 * time.Second  // for a reconnect: a restarted Postgres is not an incident
	silenceLimit = 2 * time.Minute  // without a word from the server: it is asked for one every 20 seconds
	failingGrace = 5 * time.Second  // of deliveries before a sink is red
)

// entities is the health of everything.
func (s *Server) entities() []health.Entity {
	var all []health.Entity
	for _, d := range s.databases() {
		all = append(all, d.health()...)
	}
	if problems := s.undeclared(); len(problems) > 0 { // what was not applied may be missing above
		all = append(all, health.Entity{Kind: "declaration", ID: "declaration", Name: "declaration", Status: health.Error, Problems: problems})
	}
	return all
}

func (d *database) health() []health.Entity {
	d.mu.Lock()
	live, res, openError, since := d.live, d.res, d.openError, d.since
	wanted := maps.Clone(d.wanted)
	runs, failures := map[string]*sinkRun{}, map[string]failure{}
	if live != nil {
		runs, failures = maps.Clone(live.sinks), maps.Clone(live.failures)
	}
	d.mu.Unlock()

	db := health.Entity{Kind: "replication_slot", ID: d.id, Name: res.Name, Status: health.OK}
	var closed []health.Issue // why no sink of it runs
	switch {
	case live != nil:
		db.Status, db.Problems = live.health()
	case openError != nil:
		closed = append(closed, health.IssueOf(health.Error, asProblem(openError, "log_unavailable", "the change log cannot be opened"), since))
	case time.Since(since) > startGrace:
		p := problem.New("log_unavailable", "the change log is not open yet").WithHint("see the log of this process; a slow disk may need longer")
		closed = append(closed, health.IssueOf(health.Error, p, since))
	default:
		db.Status = health.Initializing
	}
	db.Problems = append(db.Problems, closed...)
	db.Status = health.Worst(db.Status, db.Problems)
	all := []health.Entity{db}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		want := wanted[name]
		e := health.Entity{Kind: want.entity(), ID: want.id, Name: want.sink.Name, Status: health.Initializing, Problems: slices.Clone(closed)}
		if run := runs[name]; run != nil {
			e.Status, e.Problems = run.health()
		}
		if f := failures[name]; f.err != nil {
			e.Problems = append(e.Problems, health.IssueOf(health.Error, asProblem(f.err, "sink_not_applied", want.title()+" does not run as it is declared"), f.since))
		}
		e.Status = health.Worst(e.Status, e.Problems)
		all = append(all, e)
	}
	return all
}

func asProblem(err error, code, text string) *problem.Error {
	if p, ok := problem.As(err); ok {
		return p
	}
	return problem.New(code, "%s", text).WithDetail("%s", err).Because(err)
}

// health is the state of one database's capture and log.
func (r *running) health() (health.Status, []health.Issue) {
	st := r.capture.Status()
	status, issues := captureHealth(st)
	for _, w := range st.Warnings {
		issues = append(issues, health.IssueOf(health.Warning, w, time.Time{}))
	}
	_, warnings := r.janitor.state()
	for _, w := range warnings {
		issues = append(issues, health.IssueOf(health.Warning, w, time.Time{}))
	}
	log := r.log.Stats()
	if log.Blocked != nil {
		p := problem.New("log_blocked", "the change log cannot be written").WithDetail("%s; nothing is lost, Postgres keeps what is not confirmed", log.Blocked).
			WithHint("make room on the data directory's file system; it goes on by itself")
		issues = append(issues, health.IssueOf(health.Error, p, log.Since))
	}
	if log.Gaps > 0 {
		p := problem.New("log_damaged", "part of the change log could not be read").WithDetail("%d reads met lost entries; each sink that they concern has a recorded gap", log.Gaps).
			WithHint("check the storage; the tables concerned may need a resync")
		issues = append(issues, health.IssueOf(health.Error, p, time.Time{}))
	}
	return status, issues
}

func captureHealth(st capture.Status) (health.Status, []health.Issue) {
	failing := func(p *problem.Error, since time.Time) (health.Status, []health.Issue) {
		return health.OK, []health.Issue{health.IssueOf(health.Error, p, since)}
	}
	age := time.Since(st.Since)
	switch st.State {
	case capture.Held:
		return failing(st.Problem, st.Since)
	case capture.Waiting:
		return health.Initializing, []health.Issue{health.IssueOf(health.Error, st.Problem, st.Since)}
	case capture.Streaming:
		if st.Problem == nil {
			return streamHealth(st)
		}
	case capture.Connecting, capture.Stopped:
	}
	switch {
	case st.Problem != nil && (age >= streamGrace || !st.Transient):
		return failing(st.Problem, st.Since)
	case st.Problem == nil && age >= startGrace:
		return failing(problem.New("not_streaming", "the connection to %s is not established", st.Source.Address()).WithHint("see the log of this process"), st.Since)
	}
	return health.Initializing, nil
}

// streamHealth tells whether anything comes over an established stream.
func streamHealth(st capture.Status) (health.Status, []health.Issue) {
	quiet := func(since time.Time) bool { return !since.IsZero() && time.Since(since) > silenceLimit }
	switch {
	case quiet(st.Received):
		p := problem.New("stream_silent", "the server has not sent anything for %s", time.Since(st.Received).Round(time.Second)).
			WithHint("check the network between Sequin and %s; the connection is given up when TCP notices", st.Source.Address())
		return health.OK, []health.Issue{health.IssueOf(health.Error, p, st.Received)}
	case quiet(st.HeartbeatPending) && (st.Moved.IsZero() || quiet(st.Moved)):
		p := problem.New("stream_stalled", "the server answers but sends no changes").
			WithDetail("a heartbeat of %s has not come back, and nothing else has come since", st.HeartbeatPending.UTC().Format(time.RFC3339)).
			WithHint("the server may be decoding a big transaction, or wait for a standby (synchronized_standby_slots): see pg_stat_replication and pg_stat_activity")
		return health.OK, []health.Issue{health.IssueOf(health.Error, p, st.HeartbeatPending)}
	}
	return health.OK, nil
}

// health is the state of one sink.
func (r *sinkRun) health() (health.Status, []health.Issue) {
	c, push := r.now()
	st := c.Stats()
	r.mu.Lock()
	want := r.want
	r.mu.Unlock()
	status, title, ref := want.sink.Status, want.title(), want.ref()
	base := health.OK
	if status != resource.StatusActive {
		base = health.Paused
	}
	var issues []health.Issue
	report := func(severity health.Status, since time.Time, p *problem.Error) {
		issues = append(issues, health.IssueOf(severity, p, since))
	}
	if f, broken := r.task.trouble(); broken {
		report(health.Error, f.since, problem.New("sink_broken", "%s broke, and starts again at intervals", title).WithDetail("%s", f.err).
			WithHint("see the log of this process"))
	}
	if st.Stopped != "" {
		report(health.Error, time.Time{}, problem.New(string(st.Stopped), "%s has stopped: its dead letters have reached their bound", title).
			WithDetail("%d dead letters of %d bytes", st.DeadLetters, st.DeadLetterBytes).
			WithHint("redrive or discard them: GET /api/sinks/%s/dead_letters, then POST …/redrive or …/discard with {\"seqs\": [..]}", ref))
	}
	if st.StateError != "" {
		report(health.Error, time.Time{}, problem.New("state_unwritable", "what %s acknowledged cannot be stored", title).WithDetail("%s", st.StateError).
			WithHint("make room on the data directory's file system; it goes on by itself"))
	}
	if st.LogError != "" {
		report(health.Error, time.Time{}, problem.New("log_unreadable", "%s cannot read the change log", title).WithDetail("%s", st.LogError))
	}
	if st.WhereError != nil {
		p, ok := problem.As(st.WhereError)
		if !ok {
			p = problem.New("table_facts_unknown", "the condition of %s cannot be told", title).WithDetail("%s", st.WhereError.Error())
		}
		report(health.Error, time.Time{}, p)
	}
	// A gap that comes from disabling the sink was decided by whoever disabled it.
	if g := st.LastGap; st.Gaps > 0 && g != nil && g.Reason != consumer.GapDisabled {
		report(health.Error, g.At, problem.New("sink_gap", "%s did not get %d messages", title, g.Count).
			WithDetail("entries %d to %d, LSN %s to %s: %s %s", g.From, g.To, g.FromLSN, g.ToLSN, g.Reason, g.Detail).
			WithHint("backfill the tables concerned: sequin backfills create %s --table …", r.name))
	}
	switch {
	case want.retention != nil && push != nil:
		issues = append(issues, r.retentionHealth(title, st, push.Status())...)
	case push != nil:
		issues = append(issues, deliveryHealth(title, st, push.Status())...)
	case st.LastError != consumer.NackCause:
		issues = append(issues, deliveryHealth(title, st, delivery.Status{})...)
	}
	if st.DeadLetters > 0 {
		report(health.Warning, st.OldestDead, problem.New("dead_letters", "%s has %d dead letters", title, st.DeadLetters).
			WithHint("GET /api/sinks/%s/dead_letters lists them with their reasons; POST …/redrive or …/discard with {\"seqs\": [..]} settles them", ref))
	}
	if st.Bounded != "" && st.Bounded != consumer.BoundReady {
		report(health.Warning, time.Time{}, problem.New("sink_bounded", "%s waits at a bound: %s", title, st.Bounded).
			WithDetail("%d in flight, %d waiting for a retry, %d behind others of their group", st.InFlight, st.WaitingRetry, st.Waiting).
			WithHint("see why messages are not acknowledged; or raise max_ack_pending"))
	}
	return base, append(issues, r.db.server.backfillHealth(r.id)...)
}

// backfillHealth tells of backfills that do not get on, and of tables whose last backfill has failed.
func (s *Server) backfillHealth(sink string) []health.Issue {
	var issues []health.Issue
	seen := map[resource.TableName]bool{}
	all := s.backfills.List(sink) // the newest first
	for i := range all {
		v := &all[i]
		p := v.ErrorOf()
		if seen[v.Table] || p == nil || (v.State != backfills.Failed && v.State != backfills.Active) {
			seen[v.Table] = true
			continue
		}
		seen[v.Table] = true
		what := "does not get on"
		if v.State == backfills.Failed {
			what = "has failed"
		}
		p.Message = "the backfill of table " + v.Table.String() + " " + what + ": " + p.Message
		issues = append(issues, health.IssueOf(health.Warning, p, v.Updated))
	}
	return issues
}

func deliveryHealth(title string, st consumer.Stats, push delivery.Status) []health.Issue {
	var issues []health.Issue
	switch {
	case push.Away != nil:
		p := problem.New("destination_down", "the destination of %s fails, and is tried at intervals", title).
			WithDetail("%s; next try %s", push.Away, push.NextTry.UTC().Format(time.RFC3339)).WithHint("mend the endpoint; delivery goes on by itself")
		issues = append(issues, health.IssueOf(health.Error, p, push.AwaySince))
	case !st.FailingFrom.IsZero() && time.Since(st.FailingFrom) > failingGrace:
		p := problem.New("delivery_failing", "deliveries of %s fail", title).WithDetail("%s; %d messages wait for a retry", st.LastError, st.WaitingRetry).
			WithHint("mend what the detail names; delivery goes on by itself")
		issues = append(issues, health.IssueOf(health.Error, p, st.FailingFrom))
	case st.WaitingRetry > 0:
		p := problem.New("messages_retrying", "%d messages of %s wait for a retry", st.WaitingRetry, title).WithDetail("%s", st.LastError)
		issues = append(issues, health.IssueOf(health.Warning, p, st.LastErrorAt))
	}
	return issues
}
