package server

import (
	"context"
	"time"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/shape"
)

func (r *sinkRun) cursor() uint64 {
	c, _ := r.now()
	return c.Cursor()
}

// copyOut lets go of the log before a number but for a few messages, if a few are all that is not done.
func (r *sinkRun) copyOut(ctx context.Context, before uint64) error {
	ctx, cancel := context.WithTimeout(ctx, copyOutTime)
	defer cancel()
	c, _ := r.now()
	return c.CopyOut(ctx, before)
}

// copyOutTime bounds the wait for storage that is full.
const copyOutTime = 5 * time.Second

func (r *sinkRun) release(ctx context.Context, before uint64, why string) error {
	c, _ := r.now()
	return c.Release(ctx, before, why)
}

// stream is a pull sink as the API sees it.
type stream struct{ *sinkRun }

// Name is the sink's name.
func (s stream) Name() string { return s.name }

// Receive leases messages.
func (s stream) Receive(ctx context.Context, o consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
	c, _ := s.now()
	return c.Receive(ctx, o)
}

// Ack makes messages done.
func (s stream) Ack(ctx context.Context, ids []string) error {
	c, _ := s.now()
	began := time.Now()
	if err := c.Ack(ctx, ids); err != nil {
		return err
	}
	s.observer.acked(len(ids), time.Since(began))
	return nil
}

// Nack makes messages deliverable again.
func (s stream) Nack(ctx context.Context, ids []string, delay time.Duration) error {
	c, _ := s.now()
	return c.Nack(ctx, ids, delay)
}

// Extend renews leases, and names those that have ended.
func (s stream) Extend(ctx context.Context, ids []string, lease time.Duration) ([]string, error) {
	c, _ := s.now()
	return c.Extend(ctx, ids, lease)
}

// Settle gives back what was never sent and buries what cannot be encoded.
func (s stream) Settle(ctx context.Context, results []consumer.Result) error {
	c, _ := s.now()
	return c.Settle(ctx, results)
}

// Shape makes the messages.
func (s stream) Shape(ctx context.Context, b *shape.Batch) {
	s.pipeline.Load().Shape(ctx, b)
	for i := range b.Items {
		if it := &b.Items[i]; it.Err == nil && !it.Skip {
			s.observer.sent(len(b.Body(i)))
		}
	}
}
