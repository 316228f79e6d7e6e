package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// hit is one request that a webhook got.
type hit struct{ method, path, header, body string }

// Static routes send messages to other places by their row; each place gets its own requests, and what fits no route goes where the sink delivers.
func TestStaticRoutes(t *testing.T) {
	t.Parallel()
	hits := make(chan hit, 100)
	url := hook(t, func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		hits <- hit{req.Method, req.URL.Path, req.Header.Get("X-Kind"), string(body)}
	})
	r := newRig(t, pgtest.Shared(t), table, `
  - name: routed
    database: db
    batch_size: 10
    batch_timeout_ms: 50
    destination: {type: webhook, http_endpoint: hook, http_endpoint_path: /rest}
    transform: id
    route:
      - {where: "v = 'big'", to: {endpoint_path: /big, method: PUT, headers: {x-kind: big}}}
      - {where: "v = 'small'", to: {headers: {x-kind: small}}}
functions: [{name: id, type: path, path: record.id}]
`)
	r.config.Endpoints = map[string]string{"hook": url}
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'big'), (2, 'small'), (3, 'big'), (4, null), (5, 'big')")
	got := map[string][]int{}
	for n := 0; n < 5; {
		select {
		case h := <-hits:
			var body struct{ Data []int }
			require.NoError(t, json.Unmarshal([]byte(h.body), &body), h.body)
			place := h.method + " " + h.path + " " + h.header
			got[place] = append(got[place], body.Data...)
			n += len(body.Data)
		case <-time.After(patience):
			t.Fatalf("only %v came", got)
		}
	}
	for _, ids := range got {
		slices.Sort(ids) // rows of different keys have no order among each other
	}
	require.Equal(t, map[string][]int{"PUT /big big": {1, 3, 5}, "POST /rest small": {2}, "POST /rest ": {4}}, got)
	r.healthy()
}
