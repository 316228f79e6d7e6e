// Package capture moves changes from one database's slot into its change log. It connects, checks that this is still the server and the slot
// that the log was read from, streams, and starts again with backoff when the connection is lost. It promises that Postgres is never told an
// LSN that is not synced in the log (promise P1), that no consumer's trouble reaches the slot (P2), and that nothing is streamed past a
// mismatch: the capture then stops, red, and says what is missing. Repairs are not its business.
package capture

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/problem"
)

// Log is the part of the change log that capture needs.
type Log interface {
	// Durable is the highest LSN such that everything received before it is synced.
	Durable() cdc.LSN
	// CommitEnd is the end of the last transaction that the log itself holds durably.
	CommitEnd() cdc.LSN
	// Writer starts a new run of writing in the epoch; what an earlier one left unfinished is forgotten.
	Writer(epoch uint32) Writer
	// OnDurable registers what is called, briefly, when Durable has moved.
	OnDurable(func(cdc.LSN))
}

// Config is what may change while it runs; a change reconnects.
type Config struct {
	Source            postgres.Config
	Database          string // the Postgres database
	Slot              string
	CreateSlot        bool
	Publication       string
	CreatePublication bool
	InitSQL           string
	Heartbeat         time.Duration // 0: none
	MaxChange         int           // bytes
}

// Deps are fixed for life.
type Deps struct {
	ID       string // of the database resource
	Name     string
	Instance string // of this installation, for the mark on the source
	Version  string
	Log      Log
	State    engine.State
	Logger   *slog.Logger
}

// State says what the capture is doing.
type State string

// The states of a capture.
const (
	Connecting State = "connecting"
	Waiting    State = "waiting" // for the server to finish the slot
	Streaming  State = "streaming"
	Held       State = "held"    // reading stopped on purpose: the log has no room
	Stopped    State = "stopped" // something does not match or does not work; Problem says what
)

// Status is a moment's view for health and metrics.
type Status struct {
	State State
	Since time.Time // of Problem if there is one, else of State
	// Problem is why changes do not flow; nil while they do. A stream that has only just come back keeps the problem of before until it has
	// shown that it works, so that one that breaks again and again does not look well in between.
	Problem *problem.Error
	// Transient says that Problem may well pass by itself, as when the server restarts.
	Transient bool
	Warnings  []*problem.Error // they flow, but
	Source    postgres.Config
	Slot      SlotView

	Confirmed, Durable cdc.LSN
	Received           time.Time // last sign of life from the server
	Moved              time.Time // last part of a transaction
	Heartbeat          time.Time // when the last heartbeat came back
	HeartbeatPending   time.Time // when the oldest heartbeat was sent that waits to come back; zero for none
	HeartbeatLatency   time.Duration
	Messages, Changes  uint64
	Bytes              uint64
	Transactions       uint64
	Unknown, TooBig    uint64
	Reconnects         uint64
	Busy               time.Duration // time that the reader worked, ever
	Backend            uint32        // the server's process behind the replication connection; 0 without one
	Remembered         Remembered
	Known              bool // Remembered is set: the database was connected to before
}

// SlotView is what the server last said of the slot.
type SlotView struct {
	Retained      int64 // bytes of WAL that it holds; -1 when not known yet
	Unconfirmed   int64 // bytes of WAL behind its confirmed position, as long as Retained is known
	SafeWAL       int64 // bytes that may still be written; -1 when unlimited or not known
	KeepSize      int64 // max_slot_wal_keep_size in bytes; -1 for no limit
	WALStatus     string
	ServerVersion string // "15.4"; "" when not known yet
	At            time.Time
}

// Capture runs one database's stream.
type Capture struct {
	deps     Deps
	records  records
	count    counters
	advanced chan struct{}
	bound    atomic.Uint64 // durable confirm bound that is kept beside the log
	raise    chan struct{}
	changed  chan struct{} // the configuration changed
	gate     gate
	backend  atomic.Uint32 // of the replication connection; 0 without one
	floor    atomic.Uint64 // where the slot stood when we connected: a status update never takes it back
	pending  atomic.Int64  // Unix microseconds of the oldest heartbeat that was sent and none came back since; 0 for none
	meter    meter
	marks    marks
	ended    chan struct{} // closed when Run has ended
	unmarked bool          // the source could not be marked, and the log says so; used by Run alone

	mu         sync.Mutex
	cfg        Config
	state      State
	since      time.Time // of state
	problem    *problem.Error
	transient  bool
	troubled   time.Time // since when the stream is down, or up and unproven; zero when it is well
	proof      cdc.LSN   // an unproven stream is well once Durable has passed this
	warnings   map[string]*problem.Error
	slot       SlotView
	remembered Remembered
	known      bool
	reconnects uint64
}

// New wires a capture; Run starts it.
func New(deps Deps, cfg Config) *Capture {
	c := &Capture{
		deps: deps, cfg: cfg, records: records{deps.State, deps.ID},
		advanced: make(chan struct{}, 1), raise: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		ended: make(chan struct{}),
		state: Connecting, since: time.Now(), warnings: map[string]*problem.Error{},
		slot: SlotView{Retained: -1, SafeWAL: -1, KeepSize: -1},
	}
	c.count.latency.Store(-1)
	c.gate.open()
	deps.Log.OnDurable(func(cdc.LSN) {
		signal(c.advanced)
		c.marks.durable()
	})
	return c
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Update replaces the configuration; the stream reconnects with it at once.
func (c *Capture) Update(cfg Config) {
	c.mu.Lock()
	c.cfg = cfg
	c.mu.Unlock()
	signal(c.changed)
}

// Hold stops the reading until Resume, with the reason: the log has no room. Feedback goes on, WAL stays on the server.
func (c *Capture) Hold(why *problem.Error) {
	if c.gate.shut(why) {
		c.deps.Logger.Error("reading the slot has stopped", "code", why.Code, "reason", why.Error(), "hint", why.Hint)
	}
}

// Resume lets the reading go on.
func (c *Capture) Resume() {
	if c.gate.open() {
		c.deps.Logger.Info("reading the slot goes on")
	}
}

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
	// steady is how long a stream must have run for the backoff to start afresh.
	steady = 10 * time.Second
	// proving is how long a stream without news must have run to be well after a trouble.
	proving = 5 * time.Second
)

// Run streams until ctx ends. A capture runs once.
func (c *Capture) Run(ctx context.Context) error {
	defer close(c.ended)
	wait := firstBackoff
	for ctx.Err() == nil {
		started := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return nil // the caller asked for the end
		}
		if err == nil { // reconfigured
			wait = firstBackoff
			continue
		}
		if time.Since(started) > steady {
			wait = firstBackoff
		}
		c.failed(ctx, err, wait)
		c.pause(ctx, wait)
		wait = min(2*wait, lastBackoff)
	}
	return nil
}

// pause waits with jitter, and less when the configuration changes.
func (c *Capture) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(time.Duration(float64(d) * (0.85 + 0.3*rand.Float64()))) //nolint:gosec // jitter, not a secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-c.changed:
	}
}

// once runs one connection; nil means that ctx ended or the configuration changed.
func (c *Capture) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-c.changed:
			cancel(errReconfigured)
		case <-stop:
		}
	})
	err := c.session(ctx)
	close(stop)
	watching.Wait()
	if errors.Is(context.Cause(ctx), errReconfigured) {
		return nil
	}
	return err
}

var errReconfigured = errors.New("the configuration changed")

// failed notes why the stream is not running.
func (c *Capture) failed(ctx context.Context, err error, retry time.Duration) {
	p := asProblem(c.config().Source.Explain(err))
	c.mu.Lock()
	c.prove()
	repeated := c.problem != nil && c.problem.Code == p.Code
	if c.state != Stopped {
		c.since = time.Now()
	}
	if c.troubled.IsZero() {
		c.troubled = time.Now()
	}
	c.state, c.problem = Stopped, p
	c.transient = passing(p, err)
	c.reconnects++
	c.mu.Unlock()
	level := slog.LevelWarn
	if repeated {
		level = slog.LevelDebug
	}
	c.deps.Logger.Log(ctx, level, "the replication stream is down", "code", p.Code, "reason", p.Error(), "hint", p.Hint, "retry_in", retry)
}

// passing tells whether a problem may well pass by itself. One of reaching the server may while the server comes and goes: in the midst of a
// shutdown it can even look like one that does not offer TLS. What was found out about the slot or the history does not pass.
func passing(p *problem.Error, err error) bool {
	if postgres.Transient(err) {
		return true
	}
	switch p.Code {
	case "replication_stream_lost", "slot_in_use", "tls_not_offered", "tls_refused", "connection_closed":
		return true
	}
	return false
}

func asProblem(err error) *problem.Error {
	if p, ok := problem.As(err); ok {
		return p
	}
	return problem.New("replication_stream_lost", "the replication stream broke").WithDetail("%s", err).
		WithHint("nothing to do if it comes back by itself; else look into the Postgres log").Because(err)
}

func (c *Capture) config() Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg
}

// streams notes that the stream runs.
func (c *Capture) streams() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.since, c.proof = Streaming, time.Now(), c.deps.Log.Durable()
	if c.troubled.IsZero() {
		c.problem = nil // it waited
	}
}

// prove clears the problem of a stream that has come back and works. c.mu is held.
func (c *Capture) prove() {
	if c.state == Streaming && (c.deps.Log.Durable() > c.proof || time.Since(c.since) > proving) {
		c.problem, c.transient, c.troubled = nil, false, time.Time{}
	}
}

// connecting leaves a stop and its reason visible until the stream runs again.
func (c *Capture) connecting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Streaming {
		c.state, c.since = Connecting, time.Now()
	}
}

// waitFor shows what a connection waits for.
func (c *Capture) waitFor(p *problem.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Waiting {
		c.since = time.Now()
	}
	c.state, c.problem, c.transient = Waiting, p, false
}

// warn sets or clears (nil) one kind of warning.
func (c *Capture) warn(kind string, p *problem.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p == nil {
		delete(c.warnings, kind)
		return
	}
	if _, there := c.warnings[kind]; !there {
		c.deps.Logger.Warn("something needs attention", "what", p.Message, "code", p.Code, "detail", p.Detail, "hint", p.Hint)
	}
	c.warnings[kind] = p
}

// Status is the view of this moment.
func (c *Capture) Status() Status {
	c.mu.Lock()
	c.prove()
	s := Status{
		State: c.state, Since: c.since, Problem: c.problem, Transient: c.transient, Source: c.cfg.Source, Slot: c.slot, Reconnects: c.reconnects,
		Remembered: c.remembered, Known: c.known,
	}
	if c.problem != nil && !c.troubled.IsZero() {
		s.Since = c.troubled
	}
	for _, kind := range slices.Sorted(maps.Keys(c.warnings)) {
		s.Warnings = append(s.Warnings, c.warnings[kind])
	}
	c.mu.Unlock()
	if why, since := c.gate.why(); why != nil {
		s.State, s.Problem, s.Since = Held, why, since
	}
	s.Confirmed, s.Durable = c.confirmed(), c.deps.Log.Durable()
	s.Received, s.Moved = microTime(c.count.received.Load()), microTime(c.count.moved.Load())
	s.Heartbeat, s.HeartbeatPending = microTime(c.count.heartbeat.Load()), c.awaited()
	s.HeartbeatLatency = time.Duration(c.count.latency.Load()) * time.Microsecond
	s.Messages, s.Changes, s.Bytes = c.count.messages.Load(), c.count.changes.Load(), c.count.bytes.Load()
	s.Transactions, s.Unknown, s.TooBig = c.count.transactions.Load(), c.count.unknown.Load(), c.count.tooBig.Load()
	s.Busy, s.Backend = c.meter.worked(), c.backend.Load()
	return s
}

// awaited is when the oldest heartbeat was sent of those after the last one that came back; zero for none.
func (c *Capture) awaited() time.Time {
	pending := c.pending.Load()
	if pending == 0 || c.count.heartbeat.Load() >= pending {
		return time.Time{}
	}
	return time.UnixMicro(pending)
}

// sent notes that a heartbeat was sent.
func (c *Capture) sent(at time.Time) {
	if c.awaited().IsZero() {
		c.pending.Store(at.UnixMicro())
	}
}

func microTime(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

// confirmed is what Postgres may be told: synced in the log, and covered by a bound that is durable, either with the log's own blocks or
// beside them; and what it was told before we connected, which the bound covers as well: some versions take a lower position for an order to go
// back there.
func (c *Capture) confirmed() cdc.LSN {
	return max(min(c.deps.Log.Durable(), c.end()), cdc.LSN(c.floor.Load()))
}
