// Package circuit keeps a failing destination from being asked over and over. A Breaker is closed while calls succeed. After a number of
// consecutive failures it opens: nothing is asked until a wait has passed, then one call at a time may probe. A probe that succeeds closes
// it; one that fails doubles the wait, up to a bound. Which outcomes count as failures is for the caller to say: a destination that
// refuses one message is alive. A Breaker is safe for concurrent use.
package circuit

import (
	"fmt"
	"sync"
	"time"
)

// The defaults of Options.
const (
	DefaultFailures = 20
	DefaultMinWait  = time.Second
	DefaultMaxWait  = 30 * time.Second
)

// Options shapes a Breaker; the zero value means the defaults.
type Options struct {
	Failures int           // consecutive failures that open it; 0 for DefaultFailures, negative for never
	MinWait  time.Duration // before the first probe; 0 for DefaultMinWait
	MaxWait  time.Duration // between probes, at most; 0 for DefaultMaxWait
}

func (o Options) withDefaults() Options {
	if o.Failures == 0 {
		o.Failures = DefaultFailures
	}
	if o.MinWait <= 0 {
		o.MinWait = DefaultMinWait
	}
	if o.MaxWait <= 0 {
		o.MaxWait = DefaultMaxWait
	}
	o.MinWait = min(o.MinWait, o.MaxWait)
	return o
}

// OpenError says that the call must not be made now.
type OpenError struct {
	Cause   error           // the last failure
	Since   time.Time       // when the breaker opened
	After   time.Duration   // when to ask again
	Changed <-chan struct{} // closed when asking sooner may succeed
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("failing since %s: %v", e.Since.UTC().Format(time.RFC3339), e.Cause)
}
func (e *OpenError) Unwrap() error { return e.Cause }

// Status is what a Breaker shows to people.
type Status struct {
	Open     bool
	Failures int       // consecutive failures so far
	Since    time.Time // when it opened, zero when closed
	Next     time.Time // when the next probe may go out, zero when closed
	Cause    error     // the last failure, nil after a success
}

// Breaker is the state of one destination.
type Breaker struct {
	mu       sync.Mutex
	options  Options
	open     bool
	probing  bool
	epoch    uint64 // raised whenever it opens or closes; the outcome of a call that began in an earlier one says nothing new
	failures int
	wait     time.Duration
	since    time.Time
	next     time.Time
	cause    error
	changed  chan struct{}
}

// New returns a closed breaker.
func New(o Options) *Breaker {
	return &Breaker{options: o.withDefaults(), changed: make(chan struct{})}
}

// Call is one call in progress. Exactly one of its methods must be called when it ends.
type Call struct {
	breaker *Breaker
	epoch   uint64
	probe   bool
}

// Begin asks for permission to call the destination; the error is an *OpenError.
func (b *Breaker) Begin() (Call, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return Call{breaker: b, epoch: b.epoch}, nil
	}
	left := time.Until(b.next)
	if b.probing || left > 0 {
		// While a probe is out nobody knows how long it takes: Changed tells, the wait is only a fallback.
		if b.probing {
			left = b.wait
		}
		return Call{}, &OpenError{Cause: b.cause, Since: b.since, After: left, Changed: b.changed}
	}
	b.probing = true
	return Call{breaker: b, epoch: b.epoch, probe: true}, nil
}

// Succeed records that the destination is alive.
func (c Call) Succeed() {
	b := c.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.epoch != b.epoch {
		return
	}
	b.failures, b.cause = 0, nil
	if b.open {
		b.open, b.probing, b.wait = false, false, 0
		b.since, b.next = time.Time{}, time.Time{}
		b.epoch++
		b.wake()
	}
}

// Fail records a failure. After is the destination's own wish for a pause, 0 for none; it lengthens the wait within its bound.
func (c Call) Fail(cause error, after time.Duration) {
	b := c.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.epoch != b.epoch {
		return
	}
	b.failures++
	b.cause = cause
	switch {
	case c.probe:
		b.probing = false
		b.pause(min(2*b.wait, b.options.MaxWait), after)
	case b.options.Failures > 0 && b.failures >= b.options.Failures:
		b.open, b.since = true, time.Now()
		b.epoch++
		b.pause(b.options.MinWait, after)
	}
}

// Abandon records that the call ended without telling anything about the destination.
func (c Call) Abandon() {
	b := c.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.probe && c.epoch == b.epoch {
		b.probing = false
		b.wake()
	}
}

func (b *Breaker) pause(wait, after time.Duration) {
	b.wait = wait
	b.next = time.Now().Add(max(wait, min(after, b.options.MaxWait)))
}

func (b *Breaker) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Status reports the breaker's state.
func (b *Breaker) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Status{Open: b.open, Failures: b.failures, Since: b.since, Next: b.next, Cause: b.cause}
}
