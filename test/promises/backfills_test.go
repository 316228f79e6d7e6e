package promises_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// P4: what was acknowledged of a backfill does not come again, and nothing of it is missing, wherever it is killed. What was written meanwhile comes
// too, and rows that were deleted do not come back.
func TestP4ABackfillGoesOnWhereItWasKilled(t *testing.T) {
	t.Parallel()
	const rows = 12_000
	in := install(t, pgtest.Shared(t), "create table t (id int primary key, v text); insert into t select i, 'old' from generate_series(1, 12000) i", "",
		"  - {name: pull, database: db, ack_wait_ms: 1000, destination: {type: sequin_stream}}\n", nil)
	in.Start()
	in.WaitHealthy(20 * time.Second)
	var made struct{ ID string }
	in.call(t, http.MethodPost, "/api/sinks/pull/backfills", `{"table": "t", "max_rows_per_second": 6000}`, &made)
	acked, state := map[string]bool{}, map[string]string{}
	kills, last := 0, time.Now()
	for deadline := time.Now().Add(2 * time.Minute); len(state) < rows; { // each by a read or by its change
		require.True(t, time.Now().Before(deadline), "%d of %d rows came", len(state), rows)
		if kills < 6 && time.Since(last) > 400*time.Millisecond {
			in.db.Exec(t, "update t set v = 'new' where id % 1000 = $1", kills)
			in.db.Exec(t, "delete from t where id = $1", 11_990+kills)
			in.Kill()
			in.Start()
			kills, last = kills+1, time.Now()
		}
		batch, err := in.Stream("pull").Receive(t.Context(), 500, time.Second)
		require.NoError(t, err)
		if len(batch) == 0 {
			continue
		}
		require.NoError(t, in.Stream("pull").Ack(t.Context(), harness.AckIDs(batch)...))
		for i := range batch {
			m := &batch[i].Data
			key := m.Metadata.RecordPKs[0]
			if m.Action == "read" {
				require.False(t, acked[m.Metadata.IdempotencyKey], "row %s came again", key)
				acked[m.Metadata.IdempotencyKey] = true
				require.NotEqual(t, "delete", state[key], "row %s came back", key)
			}
			state[key] = m.Action
		}
	}
	require.Positive(t, kills)
	require.Eventually(t, func() bool {
		var now struct{ State string }
		in.call(t, http.MethodGet, "/api/sinks/pull/backfills/"+made.ID, "", &now)
		batch, err := in.Stream("pull").Receive(t.Context(), 500, 0)
		require.NoError(t, err)
		if len(batch) > 0 {
			require.NoError(t, in.Stream("pull").Ack(t.Context(), harness.AckIDs(batch)...))
		}
		return now.State == "completed"
	}, 30*time.Second, 50*time.Millisecond)
}
