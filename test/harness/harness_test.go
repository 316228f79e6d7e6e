package harness_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
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

func TestOneChangeReachesBothKindsOfConsumer(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, "create table orders (id int primary key, status text)")
	bodies := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
	}))
	t.Cleanup(hook.Close)
	s := harness.New(t, harness.Config{
		DB: db, Slot: db.Slot(t), Publication: db.Publication(t), Endpoints: map[string]string{"hook": hook.URL},
		Sinks: `
  - {name: pull, database: db, destination: {type: sequin_stream}}
  - {name: push, database: db, destination: {type: webhook, http_endpoint: hook, batch: false}}`,
	}.YAML(t))
	s.Start()
	s.WaitHealthy(20 * time.Second)
	db.Exec(t, "insert into orders values (1, 'new')")

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	batch, err := s.Stream("pull").Receive(ctx, 10, 5*time.Second)
	require.NoError(t, err)
	require.Len(t, batch, 1)
	require.JSONEq(t, `{"id":1,"status":"new"}`, string(batch[0].Data.Record))
	require.NoError(t, s.Stream("pull").Ack(ctx, batch[0].AckID))
	select {
	case body := <-bodies:
		require.Contains(t, body, `"record":{"id":1,"status":"new"}`)
	case <-ctx.Done():
		t.Fatal("no webhook came")
	}
	s.Stop()
}
