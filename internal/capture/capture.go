// Package capture moves changes from one database's slot into its change log. It connects, checks that this is still the server and the slot
// that the log was read from, streams, and starts again with backoff when the connection is lost. It promises that Postgres is never told an
// LSN that is not synced in the log (promise P1), that no consumer's trouble reaches the slot (P2), and that nothing is streamed past a
// mismatch: the capture then stops, red, and says what is missing. Repairs are not its business.
package capture

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
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
	State   State
	Since   time.Time
	Problem *problem.Error // why changes do not flow; nil while they do
	// Transient says that Problem may well pass by itself, as when the server restarts.
	Transient bool
	Warnings  []*problem.Error // they flow, but
	Source    postgres.Config
	Slot      SlotView

	Confirmed, Durable cdc.LSN
	Received           time.Time // last sign of life from the server
	Heartbeat          time.Time // when the last heartbeat came back
	HeartbeatLatency   time.Duration
	Messages, Changes  uint64
	Bytes              uint64
	Transactions       uint64
	Unknown, TooBig    uint64
	Reconnects         uint64
	Busy               time.Duration // time that the reader worked, ever
	Remembered         Remembered
	Known              bool // Remembered is set: the database was connected to before
}

// SlotView is what the server last said of the slot.
type SlotView struct {
	Retained  int64 // bytes of WAL that it holds; -1 when not known yet
	SafeWAL   int64 // bytes that may still be written; -1 when unlimited or not known
	KeepSize  int64 // max_slot_wal_keep_size in bytes; -1 for no limit
	WALStatus string
	At        time.Time
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
	waited   atomic.Int64 // nanoseconds that the reader waited for input
	begun    atomic.Int64 // Unix nanoseconds of the current stream's start; 0 while there is none
	busy     atomic.Int64 // nanoseconds of finished streams

	mu         sync.Mutex
	cfg        Config
	state      State
	since      time.Time
	problem    *problem.Error
	transient  bool
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
		state: Connecting, since: time.Now(), warnings: map[string]*problem.Error{},
		slot: SlotView{Retained: -1, SafeWAL: -1, KeepSize: -1},
	}
	c.count.latency.Store(-1)
	c.gate.open()
	deps.Log.OnDurable(func(cdc.LSN) { signal(c.advanced) })
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
)

// Run streams until ctx ends.
func (c *Capture) Run(ctx context.Context) error {
	wait := firstBackoff
	for ctx.Err() == nil {
		started := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil { // reconfigured
			wait = firstBackoff
			continue
		}
		if time.Since(started) > steady {
			wait = firstBackoff
		}
		c.failed(err, wait)
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
func (c *Capture) failed(err error, retry time.Duration) {
	p := asProblem(c.config().Source.Explain(err))
	c.mu.Lock()
	repeated := c.state == Stopped && c.problem != nil && c.problem.Code == p.Code
	if c.state != Stopped {
		c.since = time.Now()
	}
	c.state, c.problem = Stopped, p
	c.transient = postgres.Transient(err) || p.Code == "replication_stream_lost" || p.Code == "slot_in_use"
	c.reconnects++
	c.mu.Unlock()
	level := slog.LevelWarn
	if repeated {
		level = slog.LevelDebug
	}
	c.deps.Logger.Log(context.Background(), level, "the replication stream is down", "code", p.Code, "reason", p.Error(), "hint", p.Hint, "retry_in", retry)
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

// enter changes the state and clears the problem.
func (c *Capture) enter(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != s {
		c.state, c.since = s, time.Now()
	}
	if s == Streaming {
		c.problem = nil
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
	c.state, c.problem = Waiting, p
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
		c.deps.Logger.Warn(p.Message, "code", p.Code, "detail", p.Detail, "hint", p.Hint)
	}
	c.warnings[kind] = p
}

// Status is the view of this moment.
func (c *Capture) Status() Status {
	c.mu.Lock()
	s := Status{
		State: c.state, Since: c.since, Problem: c.problem, Transient: c.transient, Source: c.cfg.Source, Slot: c.slot, Reconnects: c.reconnects,
		Remembered: c.remembered, Known: c.known,
	}
	for _, w := range c.warnings {
		s.Warnings = append(s.Warnings, w)
	}
	c.mu.Unlock()
	if why, since := c.gate.why(); why != nil {
		s.State, s.Problem, s.Since = Held, why, since
	}
	s.Confirmed, s.Durable = c.confirmed(), c.deps.Log.Durable()
	s.Received, s.Heartbeat = microTime(c.count.received.Load()), microTime(c.count.heartbeat.Load())
	s.HeartbeatLatency = time.Duration(c.count.latency.Load()) * time.Microsecond
	s.Messages, s.Changes, s.Bytes = c.count.messages.Load(), c.count.changes.Load(), c.count.bytes.Load()
	s.Transactions, s.Unknown, s.TooBig = c.count.transactions.Load(), c.count.unknown.Load(), c.count.tooBig.Load()
	s.Busy = time.Duration(c.busy.Load())
	if begun := c.begun.Load(); begun != 0 {
		s.Busy += time.Since(time.Unix(0, begun)) - time.Duration(c.waited.Load())
	}
	return s
}

func microTime(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

// confirmed is what Postgres may be told: synced in the log, and covered by a bound that is durable, either with the log's own blocks or
// beside them.
func (c *Capture) confirmed() cdc.LSN {
	return min(c.deps.Log.Durable(), max(c.deps.Log.CommitEnd(), cdc.LSN(c.bound.Load())))
}
