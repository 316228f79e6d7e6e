package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/consumer"
)

// discard is a reply that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func benchmark(b *testing.B, a *api.API, target, body string) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, target, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer admin-token")
		r.Header.Set("Content-Type", "application/json")
		a.ServeHTTP(discard{http.Header{}}, r)
	}
}

func BenchmarkReceive(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			batch := make([]*consumer.Delivery, n)
			for i := range batch {
				batch[i] = delivery(ackID, `{"record":{"id":1,"name":"`+strings.Repeat("n", 200)+`"},"changes":null,"action":"insert"}`, 1)
			}
			s := &fakeStream{receive: func(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) { return batch, nil }}
			benchmark(b, newAPIWith(s, api.Limits{}), "/api/http_pull_consumers/orders/receive", `{"batch_size":`+strconv.Itoa(n)+`}`)
		})
	}
}

func BenchmarkAck(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			ids := strings.Repeat(`"`+ackID+`",`, n)
			benchmark(b, newAPI(&fakeStream{}), "/api/http_pull_consumers/orders/ack", `{"ack_ids":[`+ids[:len(ids)-1]+`]}`)
		})
	}
}
