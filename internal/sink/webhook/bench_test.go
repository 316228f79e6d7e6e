package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

// BenchmarkDeliver posts to a receiver in the same process: the rate is that of both sides on the same cores.
func BenchmarkDeliver(b *testing.B) {
	body := []byte(`{"record":{"id":1,"name":"` + strings.Repeat("x", 300) + `"},"changes":null,"action":"insert","metadata":{}}`)
	for _, size := range []int{1, 100} {
		for _, workers := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("batch=%d/workers=%d", size, workers), func(b *testing.B) {
				server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
				defer server.Close()
				c := webhook.DefaultConfig()
				c.URL, c.Batch = server.URL, size > 1
				s, err := webhook.New(sink.Env{}, c)
				if err != nil {
					b.Fatal(err)
				}
				batch := make([]sink.Message, size)
				for i := range batch {
					batch[i] = sink.Message{ID: fmt.Sprintf("MjM0NTY3ODk6%d", i), Body: body, Attempt: 1}
				}
				b.ReportAllocs()
				b.ResetTimer()
				var next atomic.Int64
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() {
						for next.Add(1) <= int64(b.N) {
							if err := s.Deliver(b.Context(), batch); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "msg/s")
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
