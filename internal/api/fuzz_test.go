package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Whatever a receive request says, it gets a JSON answer of the documented statuses, and only options in bounds reach the stream.
func FuzzReceiveParameters(f *testing.F) {
	f.Add("", "")
	f.Add("batch_size=5&wait_for=60s", "")
	f.Add("ack_ids[]=x", `{"batch_size":10,"wait_for":120000}`)
	f.Add("same_group=1", `{"max_batch_size":"10","wait_for":"500ms","visibility_timeout_ms":1e3,"same_group":true}`)
	f.Add("%zz", `{"batch_size":null,"wait_for":[{}]}`)
	f.Add("wait_for=99999999999999999999m", `{"wait_for":"-5m"}`)
	f.Add("batch_size=1000&batch_size=1001", "{\"a\":\"\xff\"}")
	f.Fuzz(func(t *testing.T, query, body string) {
		s := &fakeStream{}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/sequin_streams/orders/receive", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer admin-token")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		newAPI(s).ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("not JSON: %s", w.Body)
		}
		if (w.Code == http.StatusOK) != (len(s.options) == 1) {
			t.Fatalf("status %d after %d calls", w.Code, len(s.options))
		}
		for _, o := range s.options {
			if o.Max < 1 || o.Max > 1000 || o.Wait < 0 || o.Wait > 5*time.Minute || o.Visibility < 0 || o.Visibility > 24*time.Hour {
				t.Fatalf("out of bounds: %+v", o)
			}
		}
	})
}
