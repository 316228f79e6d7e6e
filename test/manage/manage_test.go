// Package manage_test changes what a real server declares while it works: over the HTTP API, from files and from the command line, and looks at
// what everybody else notices of it.
package manage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	harness.CleanUp()
	os.Exit(code)
}

// patience bounds each wait for something that takes milliseconds on a quiet machine.
const patience = 45 * time.Second

const pull = "  - {name: pull, database: db, destination: {type: sequin_stream}}\n"

// rig is an installation with one database.
type rig struct {
	*harness.Sequin
	t      *testing.T
	db     *pgtest.DB
	config harness.Config
}

func newRig(t *testing.T, ddl, sinks string) *rig {
	t.Helper()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, ddl)
	config := harness.Config{DB: db, Slot: db.Slot(t), Publication: db.Publication(t), Sinks: sinks}
	return &rig{Sequin: harness.New(t, config.YAML(t)), t: t, db: db, config: config}
}

// answer is what the API said.
type answer struct {
	status int
	body   []byte
}

// get finds a value in the body: "data.0.name".
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.body, v), "%s", a.body)
}

// call sends a request with the token of the configuration.
func (r *rig) call(method, path string, body any) answer {
	r.t.Helper()
	return r.callAs(harness.Token, method, path, body)
}

func (r *rig) callAs(token, method, path string, body any) answer {
	r.t.Helper()
	var payload io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		require.NoError(r.t, err)
		payload = bytes.NewReader(encoded)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.URL+path, payload)
	require.NoError(r.t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return answer{resp.StatusCode, text}
}

// must is a call that succeeds.
func (r *rig) must(method, path string, body any) answer {
	r.t.Helper()
	a := r.call(method, path, body)
	require.Less(r.t, a.status, 300, "%s %s: %d %s", method, path, a.status, a.body)
	return a
}

// ids are the values of the column id that a sink hands out, acknowledged, until there are n.
func (r *rig) ids(sink string, n int) []int {
	r.t.Helper()
	var ids []int
	stream := r.Stream(sink)
	for deadline := time.Now().Add(patience); len(ids) < n; {
		require.Less(r.t, time.Now().UnixNano(), deadline.UnixNano(), "sink %s: %v", sink, ids)
		got, err := stream.Receive(r.t.Context(), 100, time.Second)
		require.NoError(r.t, err)
		for _, m := range got {
			var row struct{ ID int }
			require.NoError(r.t, json.Unmarshal(m.Data.Record, &row))
			ids = append(ids, row.ID)
			require.NoError(r.t, stream.Ack(r.t.Context(), m.AckID))
		}
	}
	return ids
}

func numbers(from, to int) []int {
	var all []int
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}

func row(id int) string { return fmt.Sprintf("insert into t values (%d)", id) }
