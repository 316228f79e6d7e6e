package capture_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
)

// messages creates what carries watermarks where pgoutput has no logical messages.
func messages(t *testing.T, r *rig) {
	t.Helper()
	if pgtest.Value[int](t, r.db, "select current_setting('server_version_num')::int") >= 140000 {
		return
	}
	r.db.Exec(t, postgres.MessagesTableSQL)
	r.db.Exec(t, `create publication "`+r.pub+`" for table t, `+postgres.MessagesTable)
}

// emitter writes watermarks on a connection of its own.
func emitter(t *testing.T, r *rig) func(ctx context.Context, slot, publication, id string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), r.db.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	return func(ctx context.Context, slot, publication, id string) error {
		return postgres.EmitWatermark(ctx, conn, slot, publication, id)
	}
}

// What was committed before a watermark is in the log when it has passed, on an idle table too, and whatever becomes of the connection.
func TestAWatermarkComesAfterWhatWasBeforeIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	messages(t, r)
	r.start()
	r.streaming()
	emit := emitter(t, r)
	for i := range 20 {
		r.db.Exec(t, "insert into t values ($1)", i)
		if i%5 == 4 {
			r.db.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1", r.slot)
		}
		mark, err := r.cap.Watermark(t.Context(), emit)
		require.NoError(t, err)
		require.Equal(t, uint64(i+1), r.log.End().Seq) //nolint:gosec // a count
		require.Greater(t, mark.End, mark.Commit)
		require.GreaterOrEqual(t, r.log.Durable(), mark.End)
	}
	idle, err := r.cap.Watermark(t.Context(), emit)
	require.NoError(t, err)
	require.Positive(t, idle.Commit)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.cap.Watermark(ctx, func(context.Context, string, string, string) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	failure := errors.New("read-only")
	_, err = r.cap.Watermark(t.Context(), func(context.Context, string, string, string) error { return failure })
	require.ErrorIs(t, err, failure)
}

// Whoever waits for a watermark of a capture that has ended is told so: another capture takes its place.
func TestAWatermarkEndsWithItsCapture(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	c, waiting, ended := r.cap, make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := c.Watermark(context.WithoutCancel(t.Context()), func(context.Context, string, string, string) error {
			close(waiting)
			return nil // which comes back to nobody
		})
		ended <- err
	}()
	<-waiting
	r.stop()
	require.ErrorIs(t, r.ended(ended), capture.ErrEnded)
}

// A transaction whose commit waits for a synchronous standby is received although no snapshot can see it.
func TestReceivedBeforeItIsVisible(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := newRig(t, server, table)
	r.start()
	r.streaming()
	r.insert(0)
	r.db.HoldCommit(t, "insert into t select coalesce(max(id), 0) + 1 from t")
	rows := uint64(pgtest.Value[int64](t, r.db, "select count(*) from t")) //nolint:gosec // a count
	r.eventually("the row that is not visible arrives", func() bool { return r.log.End().Seq == rows+1 })
	xmax := uint64(pgtest.Value[int64](t, r.db, "select txid_snapshot_xmax(txid_current_snapshot())")) //nolint:gosec // an id
	require.NotEmpty(t, r.cap.Received(nil, xmax))
	require.Empty(t, r.cap.Received(nil, xmax+1000))
	_, err := r.cap.Watermark(t.Context(), emitter(t, r))
	require.NoError(t, err, "a watermark does not wait for the standby")
}
