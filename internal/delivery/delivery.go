// Package delivery is the loop between a consumer and a sink: take a batch, build its messages, deliver them, settle what became of each.
// It keeps the promises of order that a batch could break: when a message fails, the later ones of its group in the batch count as not
// delivered. A Push never holds more messages than its workers can carry, so a slow destination costs its own consumer only. When a sink
// says that its destination is being left alone, taking pauses and one delivery at a time probes. Retry schedules, dead letters and
// durability belong to the consumer; connections to the sink.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
)

// Source is what a Push needs of a consumer. Take waits until there is something to deliver or its context ends. Settle keeps nothing of
// the slice that it is given.
type Source interface {
	Take(ctx context.Context, o consumer.TakeOptions) ([]*consumer.Delivery, error)
	Settle(ctx context.Context, results []consumer.Result) error
}

// Settings is what can be replaced while a Push runs.
type Settings struct {
	Sink       sink.Sink
	Atomicity  sink.Atomicity
	Shape      shape.Shaper
	BatchSize  int           // messages at most; 0 for 1
	BatchBytes int           // bytes of a batch on the wire, at most; 0 for DefaultBatchBytes
	Linger     time.Duration // how long an incomplete batch waits while others are delivered (batch_timeout_ms); 0 for DefaultLinger, negative for not at all
	Workers    int           // deliveries at a time; 0 for DefaultWorkers()
}

// The defaults of Settings and Options.
const (
	DefaultLinger     = 5 * time.Millisecond
	DefaultBatchBytes = 1 << 20
	DefaultDrain      = 10 * time.Second
)

// settleGrace is how long outcomes may take to be recorded once nothing is delivered any more.
const settleGrace = 5 * time.Second

// DefaultWorkers is how many deliveries run at a time unless something else is asked for: twice the CPUs, at least 10 because they mostly
// wait, at most 80.
func DefaultWorkers() int { return min(max(2*runtime.GOMAXPROCS(0), 10), 80) }

func (s Settings) withDefaults() (Settings, error) {
	if s.Sink == nil || s.Shape == nil {
		return s, errors.New("a push needs a sink and a shaper")
	}
	if s.BatchSize <= 0 {
		s.BatchSize = 1
	}
	if s.BatchBytes <= 0 {
		s.BatchBytes = DefaultBatchBytes
	}
	if s.Linger == 0 {
		s.Linger = DefaultLinger
	}
	s.Linger = max(s.Linger, 0)
	if s.Workers <= 0 {
		s.Workers = DefaultWorkers()
	}
	return s, nil
}

// Options is what a Push is made of. It owns the sink from New on.
type Options struct {
	Name     string // of the consumer, for logs
	Source   Source
	Settings Settings
	Logger   *slog.Logger
	Observer Observer      // nil for none
	Drain    time.Duration // how long deliveries in flight may go on after a stop; 0 for DefaultDrain, negative for not at all
}

// Push delivers the messages of one consumer.
type Push struct {
	name     string
	source   Source
	logger   *slog.Logger
	observer Observer
	drain    time.Duration

	turn     chan struct{} // held by the one worker that takes; deliveries do not need it
	stats    stats
	carrying atomic.Int64  // workers that have taken a batch and are not done with it
	hurry    chan struct{} // has a value once there is none

	mu         sync.Mutex
	current    *generation
	updated    chan struct{}      // closed at the next update
	cancelTake context.CancelFunc // ends the taking of the current generation
	ended      bool
}

// New makes a push. It starts nothing.
func New(o Options) (*Push, error) {
	if o.Source == nil {
		return nil, errors.New("a push needs a source")
	}
	settings, err := o.Settings.withDefaults()
	if err != nil {
		return nil, err
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	drain := o.Drain
	if drain == 0 {
		drain = DefaultDrain
	}
	return &Push{
		name: o.Name, source: o.Source, logger: logger.With(slog.String("consumer", o.Name)), observer: o.Observer, drain: max(drain, 0),
		turn: make(chan struct{}, 1), hurry: make(chan struct{}, 1), updated: make(chan struct{}), cancelTake: func() {},
		current: newGeneration(settings, &shared{sink: settings.Sink}),
	}, nil
}

// Update replaces the settings in place, at once: new workers start while those of the old settings end what they have in flight, so for a
// moment there may be more of both. A sink that is no longer used is closed after its last delivery.
func (p *Push) Update(s Settings) error {
	s, err := s.withDefaults()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return fmt.Errorf("update deliveries of %q: they have ended", p.name)
	}
	old := p.current
	destination := old.shared
	if destination.sink != s.Sink {
		destination = &shared{sink: s.Sink}
		old.shared.replaced = true
		p.closeUnused(old.shared)
	}
	p.current = newGeneration(s, destination)
	p.cancelTake()
	close(p.updated)
	p.updated = make(chan struct{})
	return nil
}

// generation is one version of the settings, with workers of its own.
type generation struct {
	Settings
	shared  *shared
	gate    gate
	started bool // under Push.mu
}

// shared counts the users of a sink, which may outlive a generation.
type shared struct {
	sink     sink.Sink
	users    int  // workers; under Push.mu
	replaced bool // under Push.mu
	closed   bool // under Push.mu
}

func newGeneration(s Settings, destination *shared) *generation {
	return &generation{Settings: s, shared: destination}
}

// closeUnused closes a sink that nobody will use again. Push.mu is held; closing does not wait for the network.
func (p *Push) closeUnused(s *shared) {
	if !s.replaced || s.users > 0 || s.closed {
		return
	}
	s.closed = true
	if err := s.sink.Close(); err != nil {
		p.logger.Warn("closing a sink", slog.Any("error", err))
	}
}

// run is what the workers of a run share. They go by three contexts: taking ends first, then delivering, then settling.
type run struct {
	fail    context.CancelCauseFunc
	workers sync.WaitGroup
	broken  atomic.Pointer[error]
}

func (r *run) stop(err error) {
	r.broken.CompareAndSwap(nil, &err)
	r.fail(err)
}

// Run delivers until ctx ends; then it takes no more, lets what is in flight finish until the drain time is over, gives back the rest and
// closes the sink. An error means that the consumer could not be read or could not record an outcome. Run is called once.
func (p *Push) Run(ctx context.Context) error {
	taking, fail := context.WithCancelCause(ctx)
	settling, endSettling := context.WithCancel(context.WithoutCancel(ctx))
	defer endSettling()
	delivering, cut := context.WithCancel(settling)
	defer cut()
	r := &run{fail: fail}
	defer fail(nil)

	for taking.Err() == nil {
		updated := p.startWorkers(taking, delivering, settling, r)
		select {
		case <-taking.Done():
		case <-updated:
		}
	}
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		r.workers.Wait()
	}()
	p.waitOrCut(idle, p.drain, cut)
	p.waitOrCut(idle, settleGrace, endSettling)
	<-idle
	p.end()
	if err := r.broken.Load(); err != nil {
		return *err
	}
	return nil
}

func (p *Push) waitOrCut(idle <-chan struct{}, patience time.Duration, cut context.CancelFunc) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
		cut()
	}
}

// startWorkers starts those of the current settings and returns what the next update closes.
func (p *Push) startWorkers(taking, delivering, settling context.Context, r *run) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	gen := p.current
	if gen.started {
		return p.updated
	}
	gen.started = true
	taking, p.cancelTake = context.WithCancel(taking)
	for range gen.Workers {
		gen.shared.users++
		r.workers.Go(func() {
			defer p.leave(gen.shared)
			p.work(taking, delivering, settling, r, gen)
		})
	}
	return p.updated
}

func (p *Push) leave(s *shared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.users--
	p.closeUnused(s)
}

func (p *Push) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.current.shared.replaced = true
	p.closeUnused(p.current.shared)
}
