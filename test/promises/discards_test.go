package promises_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// What an operator discarded stays discarded through kill -9, and what was left alone is delivered.
func TestDiscardsSurviveKill(t *testing.T) {
	t.Parallel()
	in := install(t, pgtest.Shared(t), "create table t (id int primary key, v text)", "", pull, nil)
	in.Start()
	in.WaitHealthy(20 * time.Second)
	in.db.Exec(t, "insert into t select i, 'v' from generate_series(1, 10) i")
	var list struct {
		Data []struct {
			Seq uint64
			Key string
		}
	}
	require.Eventually(t, func() bool {
		in.call(t, http.MethodGet, "/api/sinks/pull/messages", "", &list)
		return len(list.Data) == 10
	}, 20*time.Second, 20*time.Millisecond)
	var did struct{ Count int }
	in.call(t, http.MethodPost, "/api/sinks/pull/messages/discard", `{"key":"3"}`, &did)
	require.Equal(t, 1, did.Count)
	in.call(t, http.MethodPost, "/api/sinks/pull/messages/discard", `{"key":"7"}`, &did)
	require.Equal(t, 1, did.Count)
	in.Kill()
	in.Start()
	var ids []string
	for _, m := range in.receiveAll(t, "pull", 8) {
		ids = append(ids, m.Data.Metadata.RecordPKs...)
	}
	require.Equal(t, []string{"1", "2", "4", "5", "6", "8", "9", "10"}, ids)
	in.call(t, http.MethodGet, "/api/sinks/pull/messages", "", &list)
	require.Empty(t, list.Data)
}
