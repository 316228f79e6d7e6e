package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// queue is a consumer in miniature: messages in order, groups that wait for their first one, outcomes.
type queue struct {
	mu        sync.Mutex
	waiting   []*consumer.Delivery
	held      map[*consumer.Delivery]bool
	notBefore map[*consumer.Delivery]time.Time
	wake      chan struct{}
	retryWait time.Duration
	takeErr   error
	settleErr error

	takes, mostHeld int
	options         []consumer.TakeOptions
	results         []consumer.Result
	done            []uint64
	dead            []consumer.Result
	released        int
}

func newQueue(messages ...*consumer.Delivery) *queue {
	return &queue{waiting: slices.Clone(messages), held: map[*consumer.Delivery]bool{}, notBefore: map[*consumer.Delivery]time.Time{}, wake: make(chan struct{})}
}

// letters makes messages whose groups are the letters of s, in order; '-' is a message without a group.
func letters(s string) []*consumer.Delivery {
	all := make([]*consumer.Delivery, 0, len(s))
	for i, c := range s {
		group := string(c)
		if c == '-' {
			group = ""
		}
		all = append(all, &consumer.Delivery{Seq: uint64(i + 1), ID: fmt.Sprintf("id-%d", i+1), Group: group, Attempt: 1, Size: 10})
	}
	return all
}

func (q *queue) Take(ctx context.Context, o consumer.TakeOptions) ([]*consumer.Delivery, error) {
	for {
		batch, wake, err := q.pick(o)
		if err != nil || len(batch) > 0 {
			return batch, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *queue) pick(o consumer.TakeOptions) ([]*consumer.Delivery, <-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.takes++
	q.options = append(q.options, o)
	if q.takeErr != nil {
		return nil, nil, q.takeErr
	}
	busy := map[string]bool{}
	for d := range q.held {
		busy[d.Group] = true
	}
	var batch []*consumer.Delivery
	q.waiting = slices.DeleteFunc(q.waiting, func(d *consumer.Delivery) bool {
		if len(batch) == o.Max || d.Group != "" && busy[d.Group] {
			return false
		}
		if time.Now().Before(q.notBefore[d]) || !o.SameGroup {
			busy[d.Group] = true
		}
		if time.Now().Before(q.notBefore[d]) {
			return false
		}
		batch = append(batch, d)
		q.held[d] = true
		return true
	})
	q.mostHeld = max(q.mostHeld, len(q.held))
	return batch, q.wake, nil
}

func (q *queue) Settle(ctx context.Context, results []consumer.Result) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := errors.Join(ctx.Err(), q.settleErr); err != nil {
		return err
	}
	for _, r := range results {
		if !q.held[r.Delivery] {
			panic(fmt.Sprintf("message %d was settled but is not out", r.Delivery.Seq))
		}
		delete(q.held, r.Delivery)
		q.results = append(q.results, r)
		switch r.Outcome {
		case consumer.Done:
			q.done = append(q.done, r.Delivery.Seq)
		case consumer.Reject:
			q.dead = append(q.dead, r)
		case consumer.Release:
			q.released++
			q.waiting = append(q.waiting, r.Delivery)
		case consumer.Retry:
			r.Delivery.Attempt++
			wait := max(q.retryWait, r.After)
			q.notBefore[r.Delivery] = time.Now().Add(wait)
			time.AfterFunc(wait, q.signal)
			q.waiting = append(q.waiting, r.Delivery)
		}
	}
	slices.SortFunc(q.waiting, func(a, b *consumer.Delivery) int { return int(a.Seq) - int(b.Seq) })
	q.signalLocked()
	return nil
}

func (q *queue) signal() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.signalLocked()
}

func (q *queue) signalLocked() {
	close(q.wake)
	q.wake = make(chan struct{})
}

// outcomes writes the results so far as one word per message, in order.
func (q *queue) outcomes() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	names := map[consumer.Outcome]string{consumer.Done: "done", consumer.Retry: "retry", consumer.Reject: "reject", consumer.Release: "release"}
	var all []string
	for _, r := range q.results {
		all = append(all, fmt.Sprintf("%d %s", r.Delivery.Seq, names[r.Outcome]))
	}
	return all
}

func (q *queue) read(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f()
}

// sinkFunc is a sink in one function.
type sinkFunc struct {
	deliver func(ctx context.Context, batch []sink.Message) error
	closed  func()
}

func (s *sinkFunc) Deliver(ctx context.Context, batch []sink.Message) error {
	return s.deliver(ctx, batch)
}
func (s *sinkFunc) Check(context.Context) error { return nil }
func (s *sinkFunc) Close() error {
	if s.closed != nil {
		s.closed()
	}
	return nil
}

func to(deliver func(ctx context.Context, batch []sink.Message) error) *sinkFunc {
	return &sinkFunc{deliver: deliver}
}

// encode makes a body that names the message.
func encode(dst []byte, d *consumer.Delivery) ([]byte, error) {
	return fmt.Appendf(dst, `{"seq":%d}`, d.Seq), nil
}

func seqOf(m sink.Message) uint64 {
	var body struct{ Seq uint64 }
	if err := json.Unmarshal(m.Body, &body); err != nil {
		panic(err)
	}
	return body.Seq
}

// pass lets time go by in a bubble and waits until what it brought has happened.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// start runs a push until the test ends or stop is called.
func start(t *testing.T, o delivery.Options) (p *delivery.Push, stop func() error) {
	t.Helper()
	if o.Settings.Shape == nil {
		o.Settings.Shape = shape.Each(encode, nil)
	}
	o.Name = "test"
	p, err := delivery.New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return p, stop
}
