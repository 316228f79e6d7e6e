package consumer

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/message"
)

// MessageState says what has become of a message that is not done.
type MessageState string

// The states of a message.
const (
	MessageAvailable  MessageState = "available"          // never failed, and not out: next, or behind others
	MessageDelivering MessageState = "delivering"         // out
	MessageBackingOff MessageState = "backing_off"        // failed, and waits for its next attempt
	MessageRedelivery MessageState = "pending_redelivery" // failed, and may go out again: next, or behind others
	MessageDeadLetter MessageState = "dead_letter"        // given up, or about to be
)

// Bounds of a survey.
const (
	surveyPages     = 1024    // of the done set that are looked at without letting others in
	surveyReads     = 32      // single messages that are held at a time,
	surveyReadBytes = 8 << 20 // or so many bytes of them
)

// MessageStates are all states.
func MessageStates() []MessageState {
	return []MessageState{MessageAvailable, MessageDelivering, MessageBackingOff, MessageRedelivery, MessageDeadLetter}
}

// effort bounds what one question, or one change of many messages, may take. It goes on where it stopped when it is asked again.
type effort struct {
	entries int           // of the log or of the dead letters
	time    time.Duration // it ends soon after
}

func defaultEffort() effort { return effort{entries: 50_000, time: 2 * time.Second} }

// budget is what is left of an effort.
type budget struct {
	left  int
	until time.Time
}

func (e effort) begin() budget { return budget{left: e.entries, until: time.Now().Add(e.time)} }

// spent reports whether it is time to stop and tell where to go on.
func (b *budget) spent() bool { return b.left <= 0 || !time.Now().Before(b.until) }

// MessageFilter selects messages; what is empty selects all.
type MessageFilter struct {
	Table string // with or without its schema
	Key   string // the primary key as text, its columns with colons between them
}

func (f *MessageFilter) empty() bool { return f.Table == "" && f.Key == "" }

// Passes reports whether a change is selected.
func (f *MessageFilter) Passes(c *cdc.Change) bool {
	if f.Table != "" && (c.Relation == nil || !namesTable(f.Table, c.Relation.Schema, c.Relation.Name)) {
		return false
	}
	return f.Key == "" || keyText(c) == f.Key || oldKeyText(c) == f.Key
}

// namesTable tells whether name, with or without a schema, is that of the table.
func namesTable(name, schema, table string) bool {
	if name == table {
		return true
	}
	rest, ok := strings.CutPrefix(name, schema)
	return ok && strings.HasPrefix(rest, ".") && rest[1:] == table
}

func keyText(c *cdc.Change) string { return strings.Join(message.RecordPKs(c), ":") }

// oldKeyText is the key that a change of key has left behind, or "".
func oldKeyText(c *cdc.Change) string {
	if c.Op != cdc.OpUpdate || c.OldKind == 0 || c.Relation == nil {
		return ""
	}
	var key []byte
	for i, column := range c.Relation.PrimaryKey {
		if i > 0 {
			key = append(key, ':')
		}
		d, ok := c.Old.Column(column)
		if !ok || d.Null() || d.Unchanged() {
			return ""
		}
		key = append(key, d.Text...)
	}
	return string(key)
}

// sighting is a message that is not done, as it stood when it was looked at.
type sighting struct {
	seq        uint64
	change     *cdc.Change // nil when nobody wanted to see it
	state      MessageState
	attempts   int  // begun
	failed     bool // there is an error to tell: this one, or else that of the last attempt
	cause      string
	reason     Reason    // of one that is about to be a dead letter
	until      time.Time // end of its lease, or of its wait
	blockedBy  uint64    // 0: by nothing
	generation uint32
	replay     bool
	plan       *plan
}

// survey looks at messages that are not done, a few at a time, and changes nothing by itself. It takes the consumer's lock for a few hundred
// messages at a time, and not while it reads.
type survey struct {
	c      *Consumer
	filter MessageFilter
	read   logReader
	sight  sight
	items  []item
	buf    []byte
	budget
}

type item struct {
	seq    uint64
	change *cdc.Change
	mark   mark
	passes bool
}

func (c *Consumer) survey(f MessageFilter) *survey {
	return &survey{c: c, filter: f, read: logReader{log: c.log}, budget: c.effort.begin()}
}

// step looks at one stretch of the log that begins at at and ends at to or before. visit is called for each message there that is not done and
// passes the filter, in order, with c.mu held, until it returns false: that one was not taken. step returns where to go on; it gets on with
// every call.
func (s *survey) step(ctx context.Context, at, to uint64, visit func(*sighting) bool) (next uint64, err error) {
	c := s.c
	if err := ctx.Err(); err != nil {
		return at, err
	}
	c.mu.Lock()
	at, found := c.done.next(at, to, surveyPages)
	c.mu.Unlock()
	if !found {
		return at, nil
	}
	first, _, changes, err := c.log.Segment(ctx, at)
	if gap, ok := errors.AsType[Gap](err); ok {
		_, end := gap.Gap()
		return max(at, end) + 1, nil
	}
	switch {
	case errors.Is(err, ErrEnd):
		return to + 1, nil
	case err != nil:
		return at, err
	case first > to || first+uint64(len(changes)) <= at:
		return to + 1, nil
	}
	at = max(at, first)
	changes = changes[at-first:]
	n := min(uint64(len(changes)), scanChunk, to-at+1)
	s.items = s.items[:0]
	for i := range changes[:n] {
		s.items = append(s.items, item{seq: at + uint64(i), change: &changes[i]})
	}
	shown := s.show(visit)
	return at + uint64(shown), nil //nolint:gosec // a number of items
}

// look is step for single messages: it tells how many of them it has dealt with. Changes are read for all of them if whole is set, and else only
// where there is no other way to tell whether they are wanted.
func (s *survey) look(ctx context.Context, seqs []uint64, whole bool, visit func(*sighting) bool) (n int, err error) {
	c := s.c
	c.mu.Lock()
	frontier := c.next
	c.mu.Unlock()
	most := surveyReads
	if !whole && s.filter.empty() {
		most = scanChunk
	}
	s.items = s.items[:0]
	for size := 0; n < len(seqs) && n < most && size < surveyReadBytes; n++ {
		it := item{seq: seqs[n]}
		if whole || !s.filter.empty() || it.seq >= frontier {
			change, err := s.read.at(ctx, it.seq)
			switch {
			case lost(err) || errors.Is(err, ErrEnd):
				continue
			case err != nil:
				return n, err
			}
			it.change = change
			size += change.Size
		}
		s.items = append(s.items, it)
	}
	if shown := s.show(visit); shown < len(s.items) {
		return slices.Index(seqs, s.items[shown].seq), nil
	}
	return n, nil
}

// show tells visit about the items that are to be delivered, and returns how many it has dealt with.
func (s *survey) show(visit func(*sighting) bool) int {
	c := s.c
	s.left -= len(s.items)
	c.mu.Lock()
	for plan := c.plan; ; plan = c.plan {
		c.mu.Unlock()
		s.judge(plan)
		c.mu.Lock()
		if c.plan == plan {
			break
		}
	}
	defer c.mu.Unlock()
	now := time.Now()
	for i := range s.items {
		it := &s.items[i]
		// What was read once is delivered even if the filter has changed since.
		if !it.passes || c.done.has(it.seq) || (it.mark.fate == fateSkip && it.seq >= c.next) {
			continue
		}
		sg := c.sighting(it, now)
		if !visit(&sg) {
			return i
		}
	}
	return len(s.items)
}

func (s *survey) judge(p *plan) {
	for i := range s.items {
		it := &s.items[i]
		it.mark, it.passes = mark{seq: it.seq}, true
		if it.change == nil {
			continue
		}
		if it.passes = s.filter.Passes(it.change); it.passes {
			it.mark, s.buf, _ = p.classify(it.change, &s.sight, s.buf) // one that cannot be judged yet is not scanned yet either
		}
	}
}

// sighting tells how a message stands that is not done. Called with c.mu held, as blockedBy.
func (c *Consumer) sighting(it *item, now time.Time) sighting {
	s := sighting{seq: it.seq, change: it.change, state: MessageAvailable, generation: c.place.generation, replay: it.seq < c.replayBelow, plan: c.plan}
	e := c.entries[it.seq]
	if e != nil {
		s.attempts, s.failed = e.attempts, e.attempts > 0
		switch {
		case e.state == dying:
			s.state = MessageDeadLetter
			if i := slices.IndexFunc(c.burials, func(b *burial) bool { return b.seq == it.seq && b.redrive == nil }); i >= 0 {
				s.reason, s.cause = c.burials[i].reason, c.burials[i].cause
			}
		case e.state == inFlight:
			s.state = MessageDelivering
			s.attempts++
			if e.lease != nil {
				s.until = e.lease.deadline
			}
		case e.waits(now):
			s.state, s.until = MessageBackingOff, e.next
		case e.attempts > 0:
			s.state = MessageRedelivery
		}
	}
	if s.state != MessageDelivering && s.state != MessageDeadLetter {
		s.blockedBy = c.blockedBy(it, e)
	}
	return s
}

// waits reports whether a message that failed has to wait before it is tried again.
func (e *entry) waits(now time.Time) bool {
	return e.state == retrying || (e.state == held && e.next.After(now))
}

// blockedBy is the message that has to go first, or 0.
func (c *Consumer) blockedBy(it *item, e *entry) uint64 {
	switch {
	case e != nil && e.fence && e.state == held:
		return c.oldestOf(e.t, e.seq)
	case e != nil && e.front():
		return 0
	}
	m := it.mark
	if t := c.tables[m.oid]; t != nil && t.fence != nil && goesBefore(t.fence.seq, t.fence.seq, c.order(it.seq), it.seq) {
		return t.fence.seq
	}
	if m.fate != fateGroup && m.fate != fatePair {
		return 0
	}
	if g := c.groups[groupKey{oid: m.oid, hash: m.a}]; g != nil && goesBefore(c.order(g.head.seq), g.head.seq, c.order(it.seq), it.seq) {
		return g.head.seq
	}
	if g := c.groups[groupKey{oid: m.oid, hash: m.b}]; m.fate == fatePair && g != nil && goesBefore(c.order(g.head.seq), g.head.seq, c.order(it.seq), it.seq) {
		return g.head.seq
	}
	return 0
}

// oldestOf is the first message of a table, before a fence, that is not done, or 0. What waits in a group is behind its head. Called with c.mu held.
func (c *Consumer) oldestOf(t *table, fence uint64) uint64 {
	oldest := fence
	for seq, e := range c.entries {
		if e.t == t && seq < oldest {
			oldest = seq
		}
	}
	if oldest == fence {
		return 0
	}
	return oldest
}

// histories lists the messages with a history for which match is true, ascending. match is called with c.mu held.
func (c *Consumer) histories(match func(*entry) bool) []uint64 {
	next, stop := iter.Pull(maps.Values(c.entries)) // what comes and goes meanwhile may be in the list or not
	defer stop()
	var seqs []uint64
	for more := true; more; {
		c.mu.Lock()
		for range scanChunk {
			var e *entry
			if e, more = next(); !more {
				break
			}
			if match(e) {
				seqs = append(seqs, e.seq)
			}
		}
		c.mu.Unlock()
	}
	slices.Sort(seqs)
	return seqs
}

// inState matches messages with a history that are in a state.
func inState(state MessageState) func(*entry) bool {
	now := time.Now()
	return func(e *entry) bool {
		switch state {
		case MessageDelivering:
			return e.state == inFlight
		case MessageBackingOff:
			return e.waits(now)
		case MessageRedelivery:
			return e.attempts > 0 && (e.state == ready || e.state == held) && !e.waits(now)
		case MessageDeadLetter:
			return e.state == dying
		case MessageAvailable:
			return e.attempts == 0 && (e.state == ready || e.state == held)
		}
		return false
	}
}
