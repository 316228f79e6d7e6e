// Package sink is the contract between the delivery engine and a destination. A sink sends a batch and says of each message: done, retry
// (optionally after some time) or reject. Order, batching, concurrency, retries, dead letters, metrics and health belong to the engine and
// are the same for every sink.
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/sink/circuit"
	"github.com/sequinstream/sequin/internal/sink/egress"
)

// Atomicity says what a failed batch means.
type Atomicity int

// How batches fail.
const (
	// PerMessage: each message stands alone; a batch carries at most one message of a group.
	PerMessage Atomicity = iota
	// Atomic: all or nothing; a batch may carry several messages of a group, in order.
	Atomic
	// Prefix: everything before the first failure was accepted, nothing after it; same groups as Atomic.
	Prefix
)

// Definition tells every part of the product about a sink.
type Definition struct {
	Type   string   // as in sequin.yaml, e.g. "webhook"
	Config any      // pointer-free zero value of the config struct; fields, defaults, secrets and help come from its tags
	Routes []string // what a routing function may set
	// Route reads an object that says where one message goes. What it leaves out is as configured if configured is set, and else the sink's own
	// default: a routing function decides about everything. An error says what is wrong with the object. nil for a sink that does not route.
	Route     func(config any, to []byte, configured bool) (Route, error)
	Atomicity func(config any) Atomicity
	Open      func(ctx context.Context, env Env, config any) (Sink, error)
}

// Env is what the engine gives a sink.
type Env struct {
	Name    string // the sink's name
	Logger  *slog.Logger
	Timeout time.Duration // ack_wait_ms: how long one request may take

	Egress   *egress.Policy // where the sink may connect to; nil for the default policy
	Circuits *circuit.Group // shared by sinks with the same destination; nil gives the sink a breaker of its own
}

// Sink delivers. It has no retries of its own and is safe for concurrent use.
type Sink interface {
	// Deliver returns nil when all messages were accepted, a *BatchError naming those that were not, or another error when none was.
	// The batch and its bodies are the caller's again when it returns: nothing may keep or read them afterwards.
	Deliver(ctx context.Context, batch []Message) error
	// Check tests that the destination can be reached and writes nothing.
	Check(ctx context.Context) error
	Close() error
}

// Message is one message on its way out.
type Message struct {
	ID      string // idempotency key (plus ":g<n>" for a replay): the same on every attempt
	Group   string // ordering key; "" for none
	Body    json.RawMessage
	Attempt int // 1 for the first
	Route   Route
	Change  *cdc.Change
}

// Route says where one message goes, as the sink's Definition.Route read it. The zero value is as configured. Messages share a request only if
// their keys are equal.
type Route struct {
	Key string // tells routes apart
	To  any    // the sink's own
}

// BatchError names the messages of a batch that were not accepted, by index.
type BatchError struct {
	Failed map[int]error
}

func (e *BatchError) Error() string {
	for i, err := range e.Failed {
		return fmt.Sprintf("%d messages were not accepted, among them message %d: %v", len(e.Failed), i, err)
	}
	return "no message failed"
}

type rejectError struct{ cause error }

func (e *rejectError) Error() string { return e.cause.Error() }
func (e *rejectError) Unwrap() error { return e.cause }

// Reject marks an error that no repetition can mend: the message becomes a dead letter at once.
func Reject(err error) error { return &rejectError{err} }

// IsReject reports whether err was marked by Reject.
func IsReject(err error) bool {
	_, ok := errors.AsType[*rejectError](err)
	return ok
}

type retryAfterError struct {
	cause error
	after time.Duration
}

func (e *retryAfterError) Error() string { return e.cause.Error() }
func (e *retryAfterError) Unwrap() error { return e.cause }

// RetryAfter marks an error whose destination said when to come back.
func RetryAfter(err error, after time.Duration) error { return &retryAfterError{err, after} }

// After is the wait that RetryAfter recorded, if any.
func After(err error) (time.Duration, bool) {
	if r, ok := errors.AsType[*retryAfterError](err); ok {
		return r.after, true
	}
	return 0, false
}

// UnavailableError says that the destination was not asked at all, because it has been failing and is given time. The messages were not
// tried: their attempts do not count.
type UnavailableError struct {
	Cause error           // why the destination is thought to be away
	After time.Duration   // how long to wait before trying again
	Ready <-chan struct{} // closed when it is worth trying sooner; may be nil
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("not tried: %v", e.Cause)
}
func (e *UnavailableError) Unwrap() error { return e.Cause }

// Unavailable finds an UnavailableError in err's chain.
func Unavailable(err error) (*UnavailableError, bool) {
	return errors.AsType[*UnavailableError](err)
}
