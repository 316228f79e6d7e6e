package consumer_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/consumer"
)

// endlessLog makes its changes when they are read, and keeps the last few segments.
type endlessLog struct {
	n    uint64 // changes in all
	key  func(seq uint64) string
	rel  *cdc.Relation
	size uint64

	mu       sync.Mutex
	segments map[uint64][]cdc.Change
	order    []uint64
	decoded  int
}

func newEndless(n uint64, key func(uint64) string) *endlessLog {
	return &endlessLog{n: n, key: key, rel: table(1, "orders"), size: 1000, segments: map[uint64][]cdc.Change{}}
}

func (l *endlessLog) End() consumer.End {
	return consumer.End{Seq: l.n, Position: cdc.Position{LSN: cdc.LSN(l.n)}, CommitTime: cdc.Timestamp(l.n)}
}
func (l *endlessLog) FirstSeq() uint64 { return 1 }
func (l *endlessLog) Since(_ context.Context, at cdc.Timestamp) (uint64, error) {
	if uint64(at) > l.n {
		return 0, consumer.ErrEnd
	}
	return max(uint64(at), 1), nil
}
func (l *endlessLog) Changed() <-chan struct{} { return nil }

func (l *endlessLog) Segment(_ context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error) {
	if seq > l.n {
		return 0, 0, nil, consumer.ErrEnd
	}
	first = (seq-1)/l.size*l.size + 1
	last = min(first+l.size-1, l.n)
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.segments[first]; s != nil {
		return first, last, s, nil
	}
	l.decoded++
	s := make([]cdc.Change, last-first+1)
	for i := range s {
		c := &s[i]
		c.Seq = first + uint64(i)
		c.Position, c.Op, c.Relation, c.Size, c.CommitTime = cdc.Position{LSN: cdc.LSN(c.Seq)}, cdc.OpInsert, l.rel, 100, cdc.Timestamp(c.Seq)
		c.New = cdctest.Tuple(l.key(c.Seq), "v", nil)
	}
	l.segments[first] = s
	l.order = append(l.order, first)
	if len(l.order) > 40 {
		delete(l.segments, l.order[0])
		l.order = l.order[1:]
	}
	return first, last, s, nil
}

func distinct(seq uint64) string { return strconv.FormatUint(seq, 10) }

// preload makes every segment, so that a benchmark measures the consumer and not the log.
func (l *endlessLog) preload(b *testing.B) {
	b.Helper()
	size := l.size
	for first := uint64(1); first <= l.n; first += size {
		l.order = l.order[:0]
		if _, _, _, err := l.Segment(b.Context(), first); err != nil {
			b.Fatal(err)
		}
	}
	l.order = make([]uint64, 0)
}

func BenchmarkTakeSettle(b *testing.B) {
	for _, batch := range []int{1, 10, 100, 1000} {
		for name, key := range map[string]func(uint64) string{
			"distinct": distinct, "thousand": func(s uint64) string { return strconv.FormatUint(s%1000, 10) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, batch), func(b *testing.B) {
				log := newEndless(200_000, key)
				log.preload(b)
				b.ReportAllocs()
				b.ResetTimer()
				left := b.N
				for left > 0 {
					n := min(left, int(log.n))
					left -= n
					c := start(b, log, newState(), pushConfig())
					drainPush(b, c, n, batch)
					c.stop()
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}

func drainPush(b *testing.B, c *running, n, batch int) {
	b.Helper()
	results := make([]consumer.Result, 0, batch)
	for n > 0 {
		ds, err := c.Take(b.Context(), consumer.TakeOptions{Max: min(batch, n)})
		if err != nil {
			b.Fatal(err)
		}
		n -= len(ds)
		results = results[:0]
		for _, d := range ds {
			results = append(results, consumer.Result{Delivery: d})
		}
		if err := c.Settle(b.Context(), results); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReceiveAck(b *testing.B) {
	for _, batch := range []int{1, 10, 100, 1000} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			log := newEndless(200_000, distinct)
			log.preload(b)
			b.ReportAllocs()
			b.ResetTimer()
			left := b.N
			for left > 0 {
				n := min(left, int(log.n))
				left -= n
				c := start(b, log, newState(), pullConfig())
				for n > 0 {
					ds, err := c.Receive(b.Context(), consumer.ReceiveOptions{Max: min(batch, n), Wait: time.Minute})
					if err != nil {
						b.Fatal(err)
					}
					n -= len(ds)
					if err := c.Ack(b.Context(), ackIDs(ds)); err != nil {
						b.Fatal(err)
					}
				}
				c.stop()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

func TestEndlessLog(t *testing.T) {
	t.Parallel()
	first, last, changes, err := newEndless(1500, distinct).Segment(t.Context(), 1200)
	require.NoError(t, err)
	require.Equal(t, []uint64{1001, 1500, 500}, []uint64{first, last, uint64(len(changes))})
}
