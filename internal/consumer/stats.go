package consumer

import (
	"time"
)

// Bound says which bound makes a consumer wait before it reads on.
type Bound string

// The bounds of the window.
const (
	BoundReady       Bound = "ready"        // enough can be handed out: the workers are the limit
	BoundBacklog     Bound = "backlog"      // too many messages wait behind others of their group
	BoundDistance    Bound = "distance"     // the oldest message that is not done is too far behind the newest that was read
	BoundDeadLetters Bound = "dead_letters" // too many messages wait to become dead letters
	BoundPending     Bound = "ack_pending"  // max_ack_pending messages are in flight or wait for a retry
)

// Stats is how a consumer is doing.
type Stats struct {
	Status     Status
	Generation uint32
	Cursor     uint64        // everything below is done
	Frontier   uint64        // everything below was read
	EndSeq     uint64        // of the log
	Lag        uint64        // messages of the log from the cursor to its end that are not done, other tables' included as far as they are not read
	OldestAge  time.Duration // since the commit of the oldest message that is not done; 0 with nothing to do, or when it is not known yet

	Ready         int // could be handed out
	InFlight      int
	WaitingRetry  int
	Waiting       int // behind others of their group or table
	BlockedGroups int // groups with messages that wait behind their first
	Receiving     int // long polls that wait

	DeadLetters     int64
	DeadLetterBytes int64
	OldestDead      time.Time // zero without dead letters, and until they were counted after the start
	Redriving       int
	Gaps            int
	LastGap         *GapRecord

	Stopped     StopReason // hands out nothing: red
	Bounded     Bound      // waits at a bound: yellow
	StateError  string     // the state cannot be written: nothing becomes durable
	LogError    string     // the log cannot be read
	WhereError  error      // the condition on a table cannot be told: nothing is read beyond its change; red
	LastError   string     // of a delivery, without what rows hold
	LastErrorAt time.Time
	FailingFrom time.Time // the first failure since the last success; zero after a success

	Delivered    uint64 // handed out, since the start as all that follow
	Redelivered  uint64 // of these, not for the first time
	Acked        uint64
	Nacked       uint64
	Expired      uint64 // leases that ran out, by message
	Filtered     uint64 // skipped by the filter
	Matched      uint64 // passed the filter; again after a restart
	MatchedBytes uint64 // of these, on the wire
	DeadLettered uint64
	Discarded    uint64 // made done by an operator, without delivery
}

// counters are the parts of Stats that only ever are written down.
type counters struct {
	delivered, redelivered, acked, nacked, expired, filtered, deadLettered, discarded, matched, matchedBytes uint64

	lastError                string
	lastErrorAt, failingFrom time.Time
	stateErr, logErr         error
	whereErr                 error
}

func (c *Consumer) noteSuccess() { c.stats.failingFrom = time.Time{} }

func (c *Consumer) noteFailure(now time.Time, cause string) {
	c.stats.lastError, c.stats.lastErrorAt = truncate(cause, maxErrorBytes), now
	if c.stats.failingFrom.IsZero() {
		c.stats.failingFrom = now
	}
}

// Stats tells how the consumer is doing.
func (c *Consumer) Stats() Stats {
	end := c.log.End()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &c.stats
	s := Stats{
		Status: c.cfg.Status, Generation: c.place.generation, Cursor: c.done.cursor, Frontier: c.next, EndSeq: end.Seq,
		Ready: c.readyN + c.lane.readyN, InFlight: c.inFlightN, WaitingRetry: c.retryN, Waiting: c.waiting, BlockedGroups: c.blockedGroups, Receiving: c.receiving,
		DeadLetters: c.deadCount, DeadLetterBytes: c.deadBytes, OldestDead: c.deadOldest, Redriving: len(c.redrives),
		Gaps: c.gaps, LastGap: c.lastGap, Stopped: c.stopReason, Bounded: c.bound(),
		StateError: errorText(n.stateErr), LogError: errorText(n.logErr), WhereError: n.whereErr,
		LastError: n.lastError, LastErrorAt: n.lastErrorAt, FailingFrom: n.failingFrom,
		Delivered: n.delivered, Redelivered: n.redelivered, Acked: n.acked, Nacked: n.nacked, Expired: n.expired, Filtered: n.filtered,
		DeadLettered: n.deadLettered, Discarded: n.discarded, Matched: n.matched, MatchedBytes: n.matchedBytes,
	}
	if s.Bounded == "" && c.inFlightN+c.retryN >= c.cfg.MaxAckPending {
		s.Bounded = BoundPending
	}
	if end.Seq < c.done.cursor || s.Status == Disabled {
		return s
	}
	oldest := end.CommitTime // all that is known while nothing was read
	if c.done.cursor < c.next {
		s.Lag = c.done.undone(c.done.cursor, min(end.Seq, c.next-1))
		oldest = c.ages.at(c.done.cursor)
	}
	if c.next <= end.Seq {
		s.Lag += end.Seq - c.next + 1
	}
	if oldest != 0 {
		s.OldestAge = max(time.Since(oldest.Time()), 0)
	}
	return s
}
