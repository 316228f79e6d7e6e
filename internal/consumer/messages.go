package consumer

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// Message is one that a consumer has yet to deliver, or could not deliver.
type Message struct {
	Seq             uint64
	AckID           string
	State           MessageState
	ID              string // for deduplication at the destination, as in Delivery
	Schema, Table   string
	Action          string
	Key             string // the primary key as text, its columns with colons between them
	Group           string
	Position        cdc.Position
	CommitTime      time.Time
	Attempts        int       // begun, the one under way included
	LastError       string    // "" before the first failure
	NotVisibleUntil time.Time // end of the lease of one that was received, or of the wait for the next attempt; else zero
	BlockedBy       uint64    // the message of its group, or the truncation of its table, that has to go first; 0 for none
	Bytes           int       // of the change on the wire

	Reason    Reason // dead letters: why
	Redriving bool   // dead letters: is being delivered again

	// Of a single message only: the body as it would go out, or why there is none.
	Payload      []byte
	PayloadError error
}

// MessageQuery asks for a page of messages. Those with After < Seq < Before are looked at, as far as the bounds are not 0.
type MessageQuery struct {
	MessageFilter
	State         MessageState // "" for all
	After, Before uint64
	Descending    bool // from the last to the first
	Limit         int
}

// MessagePage is a page, in the order that was asked for. A long backlog is looked at for a bounded time only, so a page may hold fewer messages
// than there are, or none.
type MessagePage struct {
	Messages []Message
	Next     uint64 // the After (descending: the Before) of the next page; 0 when there is none
}

// span is the stretch of the log that a query asks about, both ends included.
type span struct{ low, high uint64 }

// end is where reading the span ends.
func (s span) end(descending bool) uint64 {
	if descending {
		return s.low
	}
	return s.high
}

// Messages lists messages that are not done, and dead letters. It changes nothing, and works for a paused consumer too; a disabled one keeps
// nothing but its dead letters.
func (c *Consumer) Messages(ctx context.Context, q MessageQuery) (MessagePage, error) {
	if err := c.settleDead(ctx); err != nil {
		return MessagePage{}, err
	}
	q.Limit = max(q.Limit, 1)
	sp := span{low: q.After + 1, high: c.log.End().Seq}
	if q.Before > 0 {
		sp.high = min(sp.high, q.Before-1)
	}
	if sp.low > sp.high {
		return MessagePage{}, nil
	}
	l := &lister{s: c.survey(q.MessageFilter), q: q, limit: q.Limit}
	reach, err := l.undone(ctx, sp)
	if err != nil {
		return MessagePage{}, err
	}
	if q.State == "" || q.State == MessageDeadLetter {
		dq := DeadQuery{DeadFilter: DeadFilter{MessageFilter: q.MessageFilter}, Descending: q.Descending, Limit: q.Limit}
		left := c.effort.begin() // or many dead letters would hold up a long backlog, and the reverse
		letters, deadReach, err := c.deadPage(ctx, dq, sp, &left)
		if err != nil {
			return MessagePage{}, err
		}
		for i := range letters {
			l.out = append(l.out, c.messageOfDead(&letters[i]))
		}
		if (deadReach < reach) != q.Descending {
			reach = deadReach
		}
	}
	return l.page(sp, reach), nil
}

// Message is one message with its body as it would go out, named by its seq or its ack id. One that is done, or was never for this consumer, is
// not found.
func (c *Consumer) Message(ctx context.Context, name string) (Message, error) {
	seq, err := c.named(name)
	if err != nil {
		return Message{}, err
	}
	if err := c.settleDead(ctx); err != nil {
		return Message{}, err
	}
	s := c.survey(MessageFilter{})
	var seen *sighting
	if c.config().Status != Disabled && c.holds(seq) {
		if _, err := s.step(ctx, seq, seq, func(sg *sighting) bool { seen = sg; return true }); err != nil {
			return Message{}, err
		}
	}
	if seen != nil {
		m := s.message(ctx, seen)
		if c.encode != nil {
			m.Payload, m.PayloadError = c.encode(seen.change)
		}
		return m, nil
	}
	d, err := c.letter(ctx, seq)
	if errors.Is(err, ErrNotFound) {
		return Message{}, c.noMessage(seq)
	}
	return c.messageOfDead(&d), err
}

// holds reports whether a number is of the log, or of a row in the lane that is not done.
func (c *Consumer) holds(seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return seq < laneBase || (seq-laneBase < c.lane.next && !c.isDone(seq))
}

// named is the seq of a message that is named by its seq or its ack id.
func (c *Consumer) named(name string) (uint64, error) {
	if seq, err := strconv.ParseUint(name, 10, 64); err == nil {
		return seq, nil
	}
	id, err := ParseAckID(name)
	if err != nil {
		return 0, problem.New("invalid_ack_id", "%.40q is neither a seq nor an ack id", name).
			WithHint("name a message by the seq or the ack_id that the list of messages shows")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case id.Consumer != c.tag:
		return 0, errNoMessage("ack id %s is not of a message of this sink", name)
	case id.Generation != c.place.generation:
		return 0, errNoMessage("ack id %s is of an earlier generation: the sink was moved since", name)
	}
	return id.Seq, nil
}

func errNoMessage(format string, args ...any) error {
	return problem.New("message_not_found", "there is no such message").WithDetail(format, args...).
		WithHint("list what the sink has yet to deliver: GET /api/sinks/<sink>/messages")
}

// noMessage says why a message is not there.
func (c *Consumer) noMessage(seq uint64) error {
	end := c.log.End().Seq
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case seq == 0 || (seq > end && seq < laneBase) || (seq >= laneBase && seq-laneBase >= c.lane.next):
		return errNoMessage("the change log has the entries up to %d", end)
	case c.isDone(seq):
		return errNoMessage("message %d is done: delivered, discarded or filtered out", seq)
	case c.cfg.Status == Disabled:
		return errNoMessage("the sink is disabled and keeps nothing")
	}
	return errNoMessage("entry %d is not for this sink, or cannot be read any more", seq)
}

// message tells about a message whose change was read.
func (s *survey) message(ctx context.Context, sg *sighting) Message {
	change := sg.change
	m := Message{
		Seq: sg.seq, AckID: AckID{Consumer: s.c.tag, Generation: sg.generation, Seq: sg.seq}.String(), State: sg.state,
		ID: string(appendDeliveryID(nil, change, sg.generation, sg.replay)), Action: change.Op.Action(), Key: truncate(keyText(change), maxShownKey),
		Position:   change.Position,
		CommitTime: change.CommitTime.Time(), Attempts: sg.attempts, NotVisibleUntil: sg.until, BlockedBy: sg.blockedBy, Bytes: change.Size,
	}
	if r := change.Relation; r != nil {
		m.Schema, m.Table = strings.Clone(r.Schema), strings.Clone(r.Name)
		m.Group = truncate(string(s.sight.of(sg.plan, r).appendGroup(nil, change)), maxShownKey)
	}
	m.Reason, m.LastError = sg.reason, sg.cause
	if sg.failed && m.LastError == "" {
		m.LastError = s.c.lastCause(ctx, &burial{seq: sg.seq})
	}
	return m
}

// maxShownKey keeps a list of rows with long keys short.
const maxShownKey = 1000

// messageOfDead shows a dead letter as a message.
func (c *Consumer) messageOfDead(d *DeadLetter) Message {
	return Message{
		Seq: d.Seq, AckID: AckID{Consumer: c.tag, Generation: c.generation(), Seq: d.Seq}.String(), State: MessageDeadLetter, ID: d.ID,
		Schema: d.Schema, Table: d.Table, Action: d.Action, Key: truncate(d.Key, maxShownKey), Group: truncate(d.Group, maxShownKey), Position: d.Position, CommitTime: d.CommitTime,
		Attempts: d.Attempts, LastError: d.Error, Bytes: d.Size, Reason: d.Reason, Redriving: d.Redriving, Payload: d.Payload,
	}
}
