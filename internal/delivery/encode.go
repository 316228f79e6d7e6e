package delivery

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink"
)

// Shape says how message bodies look.
type Shape struct {
	Format     message.Format
	Tail       *message.Tail
	RecordOnly bool // legacy_transform: record_only
}

// Encode is the Encoder of a shape. A redriven message whose change is gone goes out as it was kept, with the mark that it is out of order.
func (s Shape) Encode(dst []byte, d *consumer.Delivery) ([]byte, error) {
	switch {
	case d.Change == nil && len(d.Payload) > 0 && s.RecordOnly:
		return append(dst, d.Payload...), nil
	case d.Change == nil && len(d.Payload) > 0:
		return message.AppendKept(dst, d.Payload), nil
	case d.Change == nil:
		return dst, problem.New("message_lost", "the change behind the message is no longer retained, and its body was not kept")
	case s.RecordOnly:
		return message.AppendRecordOnly(dst, d.Change, s.Format)
	}
	return message.Append(dst, d.Change, s.Format, s.Tail, message.Flags{Redriven: d.Redriven})
}

// parcel is a batch on its way: the messages that could be built and the outcomes so far.
type parcel struct {
	batch    []*consumer.Delivery
	bytes    []byte
	messages []sink.Message
	of       []int // messages[i] is batch[of[i]]
	ends     []int // of the bodies in bytes
	results  []consumer.Result
	failed   map[string]bool // groups with a message that waits for another attempt
}

// What is larger than this is left to the garbage collector, so that one huge batch does not stay in memory.
const maxKeptBytes = 1 << 20

var parcels = sync.Pool{New: func() any { return &parcel{failed: make(map[string]bool)} }}

func takeParcel(batch []*consumer.Delivery) *parcel {
	p, _ := parcels.Get().(*parcel)
	p.batch = batch
	return p
}

// giveBack forgets the batch, so that the pool holds no changes.
func (p *parcel) giveBack() {
	if cap(p.bytes) > maxKeptBytes {
		return
	}
	clear(p.messages)
	clear(p.results)
	clear(p.failed)
	p.batch, p.bytes, p.messages, p.of, p.ends, p.results = nil, p.bytes[:0], p.messages[:0], p.of[:0], p.ends[:0], p.results[:0]
	parcels.Put(p)
}

// build makes the bodies. A message that cannot be built is rejected, with the reason and without a body.
func (p *parcel) build(encode Encoder, logger *slog.Logger) (unbuilt error) {
	for i, d := range p.batch {
		start := len(p.bytes)
		bytes, err := guardedEncode(encode, p.bytes, d, logger)
		if err != nil {
			p.bytes = p.bytes[:start]
			p.results = append(p.results, consumer.Result{Delivery: d, Outcome: consumer.Reject, Err: err})
			unbuilt = err
			continue
		}
		p.bytes = bytes
		p.ends = append(p.ends, len(bytes))
		p.of = append(p.of, i)
	}
	p.messages = slices.Grow(p.messages, len(p.of))
	start := 0
	for i, of := range p.of { // only now: the bytes have stopped moving
		d := p.batch[of]
		end := p.ends[i]
		p.messages = append(p.messages, sink.Message{ID: d.ID, Group: d.Group, Body: p.bytes[start:end:end], Attempt: d.Attempt, Change: d.Change})
		start = end
	}
	return unbuilt
}

func guardedEncode(encode Encoder, dst []byte, d *consumer.Delivery, logger *slog.Logger) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			logger.Error("building a message panicked", slog.Uint64("seq", d.Seq), slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("building the message panicked: %v", r)
		}
	}()
	return encode(dst, d)
}
