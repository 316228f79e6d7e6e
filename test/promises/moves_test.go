package promises_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// A move that kill -9 cuts off was made or was not, and one that was taken back leaves exactly what was not acknowledged.
func TestMovesSurviveKill(t *testing.T) {
	t.Parallel()
	in := install(t, pgtest.Shared(t), "create table t (id int primary key, v text)", "", pull, nil)
	in.Start()
	in.WaitHealthy(20 * time.Second)
	in.db.Exec(t, "insert into t select i, 'v' from generate_series(1, 30) i")
	in.receiveAll(t, "pull", 30)

	type move struct {
		Generation int
		Undoable   bool
	}
	generation, made := 0, 0
	for round := range 8 {
		row := strconv.Itoa(31 + round)
		in.db.Exec(t, "insert into t values ($1::int, 'not received before the move')", row)
		moved := in.moveUnheard(t, `{"to":{"table":"t","key":"6"}}`)
		if round%2 == 0 { // in the middle
			<-time.After(time.Duration(round) * time.Millisecond)
		} else {
			<-moved
		}
		in.Kill()
		<-moved
		in.Start()
		in.WaitHealthy(20 * time.Second)
		var list struct{ Data []move }
		in.call(t, http.MethodGet, "/api/sinks/pull/moves", "", &list)
		if len(list.Data) > 0 && list.Data[0].Generation > generation {
			require.Equal(t, move{generation + 1, true}, list.Data[0])
			made++
			batch, err := in.Stream("pull").Receive(t.Context(), 10, 5*time.Second)
			require.NoError(t, err)
			require.Equal(t, []string{"6"}, batch[0].Data.Metadata.RecordPKs)
			require.True(t, batch[0].Data.Metadata.Replay)
			require.NoError(t, in.Stream("pull").Ack(t.Context(), harness.AckIDs(batch)[3:]...))
			var undone move
			in.call(t, http.MethodPost, "/api/sinks/pull/move/undo", "", &undone)
			generation += 2
			require.Equal(t, generation, undone.Generation)
			in.Kill()
			in.Start()
			in.WaitHealthy(20 * time.Second)
		} else {
			require.Zero(t, round%2, "a move that was answered was made")
		}
		require.Equal(t, []string{row}, in.receiveAll(t, "pull", 1)[0].Data.Metadata.RecordPKs)
		batch, err := in.Stream("pull").Receive(t.Context(), 1000, 100*time.Millisecond)
		require.NoError(t, err)
		require.Empty(t, batch, "everything else was acknowledged before")
	}
	require.GreaterOrEqual(t, made, 4)
}

// moveUnheard asks for a move whose answer may never come, and closes the channel when there is nothing to wait for any more.
func (in installation) moveUnheard(t *testing.T, body string) <-chan struct{} {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, in.URL+"/api/sinks/pull/move", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+harness.Token)
	req.Header.Set("Content-Type", "application/json")
	over := make(chan struct{})
	go func() {
		defer close(over)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	return over
}
