// Package consumer keeps how far delivery has got for one consumer: the cursor into the change log, the messages in flight, and those that
// wait for redelivery. Messages of the same group are handed out one at a time and in log order; different groups proceed independently.
// A crash repeats messages and never skips one. A Consumer is safe for concurrent use.
package consumer

import (
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Status says whether a consumer keeps and delivers messages.
type Status string

// The statuses of a consumer.
const (
	Active   Status = "active"   // keeps and delivers
	Paused   Status = "paused"   // keeps, does not deliver
	Disabled Status = "disabled" // neither; it returns at "now", with a recorded gap
)

// Start says where a new consumer begins.
type Start string

// The start positions.
const (
	StartNow       Start = "now"       // after the server's WAL position at creation
	StartBeginning Start = "beginning" // the oldest change that the log retains
)

// AckCommit says when a push acknowledgement becomes durable.
type AckCommit string

// The acknowledgement windows.
const (
	AckWindow AckCommit = "window" // at most 10 ms or 1,000 messages after the destination accepted
	AckEach   AckCommit = "each"   // before the next batch of the same worker
)

// Delivery is one message handed out. Change stays readable for as long as the delivery is held.
type Delivery struct {
	Seq      uint64
	AckID    string      // UUID v4 in form; the same on every delivery of this message to this consumer in this generation
	ID       string      // for deduplication at the destination: the idempotency key, plus ":g<generation>" for replays
	Group    string      // ordering key as text, "" when ungrouped
	Attempt  int         // 1 for the first
	Replay   bool        // may have been delivered before: the consumer was moved back, or somebody asked for this message once more
	Redriven bool        // handed out again from the dead letters
	Change   *cdc.Change // nil for a redriven message whose change is no longer retained
	Payload  []byte      // redriven messages only: the body as it was dead-lettered, if it could be built
	Size     int         // bytes of the change on the wire
	Refused  error       // the condition cannot be evaluated for this change: to be settled as a failure, not delivered

	generation uint32
	again      bool // asked for once more, out of order
}

// outOfOrder reports whether the message is delivered beside the others: redriven, or asked for once more.
func (d *Delivery) outOfOrder() bool { return d.Redriven || d.again }

// TakeOptions shapes one batch of a push consumer.
type TakeOptions struct {
	Max       int             // messages, at least 1
	MaxBytes  int             // of Delivery.Size; the first message always fits; 0 for no limit
	Linger    time.Duration   // how long to wait for a fuller batch once there is one message
	Hurry     <-chan struct{} // a value ends the lingering: whoever delivers has nothing else to do; nil for never
	SameGroup bool            // several messages of one group, in order, may share the batch
	MaxRows   int             // rows of backfills in flight at a time, so that something is left for changes; 0 for no limit
}

// ReceiveOptions shapes one pull.
type ReceiveOptions struct {
	Max        int
	Wait       time.Duration // long poll; 0 returns at once
	Visibility time.Duration // lease; 0 for the consumer's ack wait
	SameGroup  bool
}

// Outcome says what became of one delivery.
type Outcome int

// The outcomes of a delivery.
const (
	Done    Outcome = iota // accepted
	Retry                  // try again after the schedule, or After if set; counts as an attempt
	Reject                 // dead letter at once
	Release                // was not tried (a batch that failed before it, a shutdown): available again at once, does not count
)

// Result is the outcome of one delivery of a push consumer.
type Result struct {
	Delivery *Delivery
	Outcome  Outcome
	After    time.Duration // Retry only: the destination's own wish
	Err      error         // Retry and Reject
	Payload  []byte        // Reject: the message as it would have gone out, if it could be built
}
