// Package shape makes the messages of changes, a batch at a time: it builds their JSON, adds what an enrichment's query returns, drops what a
// filter function does not want, lets a transform or a path make another body, and finds out where each goes. What goes wrong with a message is
// the failure of that message alone. Conditions in SQL were judged before, by the consumer. A Pipeline is immutable and safe for concurrent use.
package shape

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/sink"
)

// Batch is messages on their way from a consumer to whoever delivers them.
type Batch struct {
	Deliveries []*consumer.Delivery
	Items      []Item // Items[i] belongs to Deliveries[i]

	bytes []byte // the bodies
}

// Item is what became of one message.
type Item struct {
	Route sink.Route // where to; the zero value for where the sink is configured to deliver
	Skip  bool       // a filter function does not want it: it is done without being delivered
	Err   error      // it could not be made
	Final bool       // and no further attempt will change that

	start, end int
}

// Shaper makes the messages of a batch. Items that have an error already are left alone.
type Shaper func(ctx context.Context, b *Batch)

// Begin prepares a batch for a Shaper. What the consumer refuses to have judged fails at once.
func (b *Batch) Begin(deliveries []*consumer.Delivery) {
	b.Deliveries, b.bytes = deliveries, b.bytes[:0]
	clear(b.Items)
	b.Items = b.Items[:0]
	for _, d := range deliveries {
		b.Items = append(b.Items, Item{Err: d.Refused})
	}
}

// What is larger than this is left to the garbage collector, so that one huge batch does not stay in memory.
const maxKeptBytes = 1 << 20

// End forgets the batch, so that what it was made of can be let go. The bodies are no more.
func (b *Batch) End() {
	clear(b.Items)
	b.Deliveries, b.Items, b.bytes = nil, b.Items[:0], b.bytes[:0]
	if cap(b.bytes) > maxKeptBytes {
		b.bytes = nil
	}
}

// Body is the message of an item, until Begin or End.
func (b *Batch) Body(i int) []byte {
	it := &b.Items[i]
	return b.bytes[it.start:it.end:it.end]
}

// set makes body the message of an item.
func (b *Batch) set(i int, body []byte) {
	it := &b.Items[i]
	it.start = len(b.bytes)
	b.bytes = append(b.bytes, body...)
	it.end = len(b.bytes)
}

// Encoder appends the body of one message to dst. An error means that it can never be built.
type Encoder func(dst []byte, d *consumer.Delivery) ([]byte, error)

// Each is the Shaper that does nothing but encode. The logger, nil for none, hears of panics.
func Each(e Encoder, logger *slog.Logger) Shaper {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return func(_ context.Context, b *Batch) { e.each(b, logger) }
}

func (e Encoder) each(b *Batch, logger *slog.Logger) {
	for i := range b.Items {
		if b.Items[i].Err == nil {
			e.one(b, i, logger)
		}
	}
}

func (e Encoder) one(b *Batch, i int, logger *slog.Logger) {
	it := &b.Items[i]
	start := len(b.bytes)
	bytes, err := e.guarded(b.bytes, b.Deliveries[i], logger)
	if err != nil {
		it.Err, it.Final = err, true
		return
	}
	b.bytes = bytes
	it.start, it.end = start, len(bytes)
}

func (e Encoder) guarded(dst []byte, d *consumer.Delivery, logger *slog.Logger) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			logger.Error("building a message panicked", slog.Uint64("seq", d.Seq), slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("building the message panicked: %v", r)
		}
	}()
	return e(dst, d)
}
