package delivery

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// Attempt is one call of the sink, or the messages of a batch that could not be built for it.
type Attempt struct {
	Accepted int           // messages
	Failed   int           // messages that were tried in vain
	Unbuilt  int           // messages that could not be made; the other fields are then zero
	Bytes    int           // of all bodies that were tried
	Latency  time.Duration // of the call
	// Waited is how long the oldest message had been committed when the call began, among those tried for the first time; 0 if none was.
	Waited time.Duration
	Err    error // nil when all were accepted
}

// Observer hears of every attempt, from many goroutines. Messages that were not tried do not appear.
type Observer interface {
	Observe(a Attempt)
}

// Status is what a Push shows to people.
type Status struct {
	Workers     int
	InFlight    int       // messages at the sink now
	Away        error     // why the destination is being left alone, nil if it is not
	AwaySince   time.Time // zero unless Away
	NextTry     time.Time // zero unless Away
	Failures    int       // deliveries in a row that failed
	LastError   error     // of the last failed delivery, nil if the last one succeeded
	LastFailure time.Time
	LastSuccess time.Time
}

type stats struct {
	inFlight    atomic.Int64
	lastSuccess atomic.Int64 // Unix nanoseconds, 0 for never
	failures    atomic.Int64

	mu          sync.Mutex
	lastError   error
	lastFailure time.Time
}

// Status reports how deliveries go.
func (p *Push) Status() Status {
	p.mu.Lock()
	gen := p.current
	p.mu.Unlock()
	s := Status{Workers: gen.Workers, InFlight: int(p.stats.inFlight.Load()), Failures: int(p.stats.failures.Load())}
	if away, since, until := gen.gate.state(); away != nil {
		s.Away, s.AwaySince, s.NextTry = away, since, until
	}
	if at := p.stats.lastSuccess.Load(); at > 0 {
		s.LastSuccess = time.Unix(0, at)
	}
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	s.LastFailure = p.stats.lastFailure
	if s.Failures > 0 {
		s.LastError = p.stats.lastError
	}
	return s
}

// record updates the status and tells the log when things turn, not of each failure.
func (p *Push) record(a Attempt, now time.Time) {
	if a.Accepted+a.Failed+a.Unbuilt == 0 {
		return
	}
	switch {
	case a.Failed > 0:
		p.stats.mu.Lock()
		p.stats.lastError, p.stats.lastFailure = a.Err, now
		p.stats.mu.Unlock()
		if p.stats.failures.Add(1) == 1 {
			p.logger.Warn("deliveries fail", slog.String("error", problem.Public(a.Err)), slog.String("code", problem.Code(a.Err)))
		}
	case a.Accepted > 0:
		if p.stats.failures.Load() > 0 {
			if n := p.stats.failures.Swap(0); n > 0 {
				p.logger.Info("deliveries succeed again", slog.Int64("failed", n))
			}
		}
	}
	if a.Accepted > 0 {
		p.stats.lastSuccess.Store(now.UnixNano())
	}
	if p.observer != nil {
		p.observer.Observe(a)
	}
}
