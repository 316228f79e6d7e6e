package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/resource"
)

// database runs one source: its change log, its capture, its janitor, and the sinks that read from it. When the log's storage breaks, all of
// them start anew on a freshly opened log; another database does not notice.
//
// Starting, changing and stopping sinks takes time: for that applying is held, and mu, which those who answer requests need, is not. Who needs
// both takes applying first.
type database struct {
	id      string
	account string // by id
	server  *Server
	logger  *slog.Logger

	applying sync.Mutex // one change of what runs at a time
	trimming sync.Mutex // what a sink begins with is not trimmed before it is known to be needed; taken before mu

	mu        sync.Mutex
	res       resource.Database
	wanted    map[string]declared // sinks by name, change retentions by retentionKey
	starts    map[string]place    // by name: where sinks begin that were never started; kept until they are
	live      *running            // nil while the log is not open
	openError error               // why it is not
	since     time.Time           // when that began

	facts *tableFacts

	opened     chan struct{} // closed when the log was opened, or could not be, for the first time
	openedOnce sync.Once

	task *task
}

// declared is a sink with what it refers to.
type declared struct {
	id       string
	sink     resource.Sink
	endpoint *resource.HTTPEndpoint // webhooks
	// functions are those that it names, by name.
	functions map[string]*resource.Function
	asked     *resource.Database // by its enrichment, as it is to be reached
	retention *retained          // what it is really; nil for a sink
	created   bool               // by this declaration: its start position is yet to be fixed
}

// running is one life of an open log.
type running struct {
	log     *changelog.Log
	blocks  engine.Log
	capture *capture.Capture
	janitor *janitor

	sinks    map[string]*sinkRun // by name; guarded by database.mu, as failures
	failures map[string]failure  // why declared sinks do not run, or not as declared

	marker             marker // for backfills
	recallTransactions sync.Once

	busyMu    sync.Mutex
	busyAt    time.Time
	busyWas   time.Duration
	busyShare float64
}

// failure is why something is not as it should be, and since when.
type failure struct {
	err   error
	since time.Time
}

func newDatabase(s *Server, account string, res resource.Database, sinks map[string]declared) *database {
	d := &database{
		id: res.ID, account: account, server: s, res: res, wanted: sinks, starts: map[string]place{}, logger: s.logger.With("database", res.Name), since: time.Now(), opened: make(chan struct{}),
	}
	d.facts = newTableFacts(s.engine.State(), d.id, d.logger, d.resource)
	return d
}

func (d *database) resource() resource.Database {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.res
}

// run opens the log and keeps its parts going until ctx ends.
func (d *database) run(ctx context.Context) error {
	defer d.tried()
	d.askStarts(ctx)
	live, err := d.open(ctx)
	if err != nil {
		d.failed(err)
		return err
	}
	// The log outlives ctx: capture hands over its last block and consumers read until they have ended.
	logCtx, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLog()
	g, gctx := errgroup.WithContext(logCtx)
	g.Go(func() error { return live.log.Run(gctx) })
	d.begin(ctx, live)
	d.tried()
	err = live.runParts(ctx, gctx)
	if cause := context.Cause(gctx); cause != nil && ctx.Err() == nil {
		err = fmt.Errorf("change log: %w", cause)
		d.failed(err)
	}
	d.end(live) //nolint:contextcheck // ctx has ended
	stopLog()
	if logErr := g.Wait(); logErr != nil && ctx.Err() == nil {
		err = fmt.Errorf("change log: %w", logErr)
	}
	return err
}

// begin makes a log known and starts the sinks that read from it.
func (d *database) begin(ctx context.Context, live *running) {
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.Lock()
	d.live, d.openError = live, nil
	d.mu.Unlock()
	if err := d.applySinks(ctx, live); err != nil { // the others run, and changes are kept for those that do not yet
		d.logger.Error("not every sink could be started; it is tried again", "reason", err)
	}
}

// end stops the sinks of a log that nothing feeds any more.
func (d *database) end(live *running) {
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.Lock()
	sinks := live.sinks
	d.live, live.sinks = nil, nil
	d.mu.Unlock()
	stopSinks(sinks)
	live.marker.end()
}

// failed notes why the log is not open.
func (d *database) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.openError == nil {
		d.since = time.Now()
	}
	d.openError = err
}

// tried says that the first attempt to open the log is over.
func (d *database) tried() { d.openedOnce.Do(func() { close(d.opened) }) }

// runParts runs what feeds and trims the log, until ctx ends, one of them fails, or the log breaks.
func (r *running) runParts(ctx, log context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(log, cancel)()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.capture.Run(ctx) })
	g.Go(func() error { return r.janitor.run(ctx) })
	g.Go(func() error { return r.janitor.d.repair(ctx, r) })
	g.Go(func() error { return r.janitor.d.facts.run(ctx) })
	return g.Wait()
}

// open recovers the log and wires what runs on it.
func (d *database) open(ctx context.Context) (*running, error) {
	d.mu.Lock()
	res := d.res
	d.mu.Unlock()
	if err := d.facts.load(ctx); err != nil {
		return nil, err
	}
	blocks, err := d.server.engine.Log(ctx, d.id)
	if err != nil {
		return nil, fmt.Errorf("open the storage of the change log: %w", err)
	}
	log, err := changelog.Open(ctx, changelog.Options{
		Name: res.Name, Blocks: blocks, Logger: d.logger, CacheBytes: d.server.cacheBytes(),
		MaxChangeBytes: changelog.LargestChange, // the declared limit is capture's, and may change
	})
	if err != nil {
		return nil, err
	}
	cfg, err := captureConfig(res)
	if err != nil {
		return nil, err
	}
	live := &running{log: log, blocks: blocks, sinks: map[string]*sinkRun{}}
	live.capture = capture.New(capture.Deps{
		ID: d.id, Name: res.Name, Instance: d.server.instance, Version: d.server.opts.Version,
		Log: captureLog{log}, State: d.server.engine.State(), Logger: d.logger,
	}, cfg)
	live.janitor = newJanitor(d, live)
	return live, nil
}

// apply takes over a new declaration in place: a changed connection reconnects, limits take effect at the janitor's next round.
func (d *database) apply(ctx context.Context, res resource.Database, sinks map[string]declared) error {
	cfg, err := captureConfig(res)
	if err != nil {
		return err
	}
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.Lock()
	old, live := d.res, d.live
	for name := range sinks { // a sink that was never started is still new when it is declared once more
		want := sinks[name]
		if was, there := d.wanted[name]; there && was.id == want.id {
			want.created = want.created || was.created
			sinks[name] = want
		}
	}
	d.res, d.wanted = res, sinks
	d.mu.Unlock()
	if live == nil {
		return nil
	}
	if !sameSource(old, res) {
		live.capture.Update(cfg)
	}
	return d.applySinks(ctx, live)
}

// declared are the sinks as they were last declared.
func (d *database) declared() map[string]declared {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.wanted)
}

// forgetMetrics drops the series of the database's sinks.
func (d *database) forgetMetrics() {
	wanted := d.declared()
	for name := range wanted {
		d.server.metrics.Forget(wanted[name].id, wanted[name].sink.Name)
	}
}

// sameSource tells whether the stream can go on as it is.
func sameSource(x, y resource.Database) bool {
	return x.Hostname == y.Hostname && x.Port == y.Port && x.Database == y.Database && x.Username == y.Username && x.Password == y.Password && x.PasswordFile == y.PasswordFile &&
		slices.Equal(x.PasswordCommand, y.PasswordCommand) &&
		x.IPv6 == y.IPv6 && x.SSLMode == y.SSLMode && x.SSLRootCert == y.SSLRootCert && x.SSLCert == y.SSLCert && x.SSLKey == y.SSLKey &&
		x.Slot == y.Slot && x.Publication == y.Publication && x.MaxChangeBytes == y.MaxChangeBytes && x.HeartbeatInterval == y.HeartbeatInterval
}

// captureConfig translates a declaration.
func captureConfig(res resource.Database) (capture.Config, error) {
	source, err := Source(res)
	if err != nil {
		return capture.Config{}, err
	}
	return capture.Config{
		Source: source, Database: res.Database,
		Slot: res.Slot.Name, CreateSlot: res.Slot.CreateIfNotExists,
		Publication: res.Publication.Name, CreatePublication: res.Publication.CreateIfNotExists, InitSQL: res.Publication.InitSQL,
		Heartbeat: res.HeartbeatInterval, MaxChange: int(res.MaxChangeBytes),
	}, nil
}

// Source is the connection of a declared database.
func Source(res resource.Database) (postgres.Config, error) {
	if res.Port < 0 || res.Port > 65535 {
		return postgres.Config{}, fmt.Errorf("port %d is not between 0 and 65535", res.Port)
	}
	password := postgres.StaticPassword(res.Password.Reveal())
	switch {
	case len(res.PasswordCommand) > 0:
		password = postgres.PasswordCommand(res.PasswordCommand)
	case res.PasswordFile != "":
		password = postgres.PasswordFile(res.PasswordFile)
	}
	return postgres.Config{
		Hosts:    []postgres.Host{{Name: res.Hostname, Port: uint16(res.Port)}},
		Database: res.Database, User: res.Username, Password: password,
		SSLMode: postgres.SSLMode(res.SSLMode), SSLRootCert: res.SSLRootCert, SSLCert: res.SSLCert, SSLKey: res.SSLKey, IPv6: res.IPv6,
	}, nil
}

// tailOf is the end that every message of a sink has.
func tailOf(id string, res resource.Database, want declared) *message.Tail {
	return message.NewTail(
		message.Database{ID: id, Name: res.Name, Annotations: orEmpty(res.Annotations), Database: res.Database, Hostname: res.Hostname},
		message.Consumer{ID: want.id, Name: want.sink.Name, Annotations: orEmpty(want.sink.Annotations)})
}

func orEmpty(annotations json.RawMessage) json.RawMessage {
	if len(annotations) == 0 {
		return json.RawMessage("{}")
	}
	return annotations
}
