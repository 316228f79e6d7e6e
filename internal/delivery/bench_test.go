package delivery_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

// endless hands out the same messages again and again until it has been told of enough of them.
type endless struct {
	messages []*consumer.Delivery
	left     atomic.Int64
	settled  atomic.Int64
	want     int64
	done     chan struct{}
}

func (e *endless) Take(ctx context.Context, o consumer.TakeOptions) ([]*consumer.Delivery, error) {
	if e.left.Add(-int64(o.Max)) < -int64(o.Max) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return e.messages[:o.Max], nil
}

func (e *endless) Settle(_ context.Context, results []consumer.Result) error {
	for i := range results {
		if results[i].Outcome != consumer.Done {
			return fmt.Errorf("a message failed: %w", results[i].Err)
		}
	}
	if n := e.settled.Add(int64(len(results))); n >= e.want && n-int64(len(results)) < e.want {
		close(e.done)
	}
	return nil
}

// BenchmarkWebhook is the whole way from the consumer to an endpoint in the same process, on the same cores.
func BenchmarkWebhook(b *testing.B) {
	body := `{"record":{"id":1,"name":"` + strings.Repeat("x", 300) + `"},"changes":null,"action":"insert","metadata":{}}`
	for _, size := range []int{1, 100} {
		for _, workers := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("batch=%d/workers=%d", size, workers), func(b *testing.B) {
				server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
				defer server.Close()
				c := webhook.DefaultConfig()
				c.URL, c.Batch = server.URL, size > 1
				e := &endless{want: int64(b.N * size), done: make(chan struct{})}
				e.left.Store(e.want)
				for i := range size {
					e.messages = append(e.messages, &consumer.Delivery{Seq: uint64(i), ID: fmt.Sprintf("MjM0NTY3ODk6%d", i), Group: strconv.Itoa(i), Attempt: 1})
				}
				p, err := delivery.New(delivery.Options{Source: e, Settings: delivery.Settings{
					Sink: openWebhook(b, c, sink.Env{}), Atomicity: webhook.Definition.Atomicity(c), BatchSize: size, Workers: workers,
					Shape: shape.Each(func(dst []byte, _ *consumer.Delivery) ([]byte, error) { return append(dst, body...), nil }, nil),
				}})
				require.NoError(b, err)
				ctx, cancel := context.WithCancel(b.Context())
				ended := make(chan error, 1)
				b.ReportAllocs()
				b.ResetTimer()
				begin := time.Now()
				go func() { ended <- p.Run(ctx) }()
				select {
				case <-e.done:
				case err := <-ended:
					require.NoError(b, err)
				}
				b.ReportMetric(float64(b.N*size)/time.Since(begin).Seconds(), "msg/s")
				b.StopTimer()
				cancel()
				require.NoError(b, <-ended)
			})
		}
	}
}
