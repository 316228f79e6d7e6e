package capture_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/pgtest"
)

const table = "create table t (id int primary key, v text)"

// comment is the publication's, where the mark is.
func (r *rig) comment() string {
	r.t.Helper()
	return pgtest.Value[string](r.t, r.db, "select coalesce((select obj_description(oid, 'pg_publication') from pg_publication where pubname = $1), '')", r.pub)
}

func TestFirstConnectionAdoptsAndMarks(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	st := r.cap.Status()
	require.True(t, st.Known)
	require.Equal(t, r.slot, st.Remembered.Slot)
	require.NotZero(t, st.Remembered.From)
	require.Contains(t, r.comment(), r.engine.Instance())
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	require.Equal(t, []string{"I t 1"}, r.entries())
}

// A slot and a publication that people made by hand are adopted where they stand: what was committed since the slot was made comes, too.
func TestSlotMadeByHandIsAdopted(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.change = func(c *capture.Config) { c.CreateSlot, c.CreatePublication = false, false }
	r.db.Exec(t, "create publication "+r.pub+" for table t")
	r.db.Exec(t, "insert into t values (0)")
	r.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", r.slot)
	r.db.Exec(t, "insert into t values (1)")
	from := r.confirmed()
	r.start()
	r.streaming()
	require.Equal(t, from, r.cap.Status().Remembered.From)
	r.db.Exec(t, "insert into t values (2)")
	r.caughtUp()
	require.Equal(t, []string{"I t 1", "I t 2"}, r.entries())
}

func TestMissingThingsAreNamedWithTheirRepair(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.change = func(c *capture.Config) { c.CreateSlot, c.CreatePublication = false, false }
	r.start()
	require.NotEmpty(t, r.stopped("publication_not_found").Problem.Hint)
	r.db.Exec(t, "create publication "+r.pub+" for table t")
	st := r.stopped("slot_not_found")
	require.Contains(t, st.Problem.Hint, "pg_create_logical_replication_slot")
	require.False(t, st.Transient)
	r.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", r.slot)
	r.streaming()
}

// Stopping confirms the last LSN, and going on repeats and loses nothing.
func TestFarewellConfirmsTheLastLSN(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	for i := range 3 {
		r.db.Exec(t, "insert into t select i, repeat('x', 1000) from generate_series($1::int, $1 + 999) i", 1000*i)
		r.eventually("it arrives", func() bool { return r.log.End().Seq >= uint64(1000*(i+1)) })
		end := r.log.End().CommitEnd
		r.stop()
		require.GreaterOrEqual(t, r.confirmed(), end, "what was synced is confirmed at the end")
		r.start()
		r.streaming()
	}
	r.caughtUp()
	require.Equal(t, uint64(3000), r.log.End().Seq)
}

// A status update never takes a confirmed position back: not after a restart of ours, and not after one over a log that is behind the bound.
func TestConfirmedPositionNeverGoesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.db.Exec(t, "create table quiet (id int); insert into quiet select generate_series(1, 100)") // not published
	end := r.caughtUp()
	require.Greater(t, end, r.log.End().CommitEnd)
	r.stop()
	confirmed := r.confirmed()
	require.GreaterOrEqual(t, confirmed, end)
	r.start()
	r.streaming()
	require.GreaterOrEqual(t, r.cap.Status().Confirmed, confirmed, "what was confirmed once stays confirmed")
	for range 20 {
		require.GreaterOrEqual(t, r.confirmed(), confirmed)
		time.Sleep(time.Millisecond)
	}
}

// The bound that idle keepalives raised survives a crash, so that the slot within it is no stranger.
func TestIdleBoundSurvivesACrash(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.db.Exec(t, "create table quiet (id int)")
	for seed := range uint64(4) {
		r.start()
		r.streaming()
		r.db.Exec(t, "insert into t values ($1)", int(seed))
		r.db.Exec(t, "insert into quiet select generate_series(1, 100)")
		end := r.caughtUp()
		r.crash(seed)
		require.GreaterOrEqual(t, r.confirmed(), end)
	}
	r.start()
	r.streaming()
	r.caughtUp()
	require.Equal(t, []string{"I t 0", "I t 1", "I t 2", "I t 3"}, r.entries())
}

// Whatever moment the power fails in, everything comes, once.
func TestCrashUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	next := 0
	for seed := range uint64(6) {
		r.start()
		r.streaming()
		for range 40 {
			r.db.Exec(t, "insert into t values ($1)", next)
			next++
		}
		r.crash(seed)
	}
	r.start()
	r.streaming()
	r.caughtUp()
	require.Equal(t, uint64(next), r.log.End().Seq)
	require.Len(t, r.entries(), next)
}

func TestSlotThatMovedStops(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]string{
		"advanced":  "select pg_replication_slot_advance($1, pg_current_wal_lsn())",
		"recreated": "select pg_drop_replication_slot($1), pg_create_logical_replication_slot($1, 'pgoutput')",
		"read":      "select count(*) from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', current_setting('my.pub'))",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pgtest.Shared(t), table)
			r.start()
			r.streaming()
			r.db.Exec(t, "insert into t values (1)")
			r.caughtUp()
			r.stop()
			end := r.confirmed()
			r.db.Exec(t, "set my.pub = "+r.pub)
			r.db.Exec(t, "insert into t values (2)")
			if name == "recreated" {
				r.db.Exec(t, "select pg_drop_replication_slot($1)", r.slot)
				r.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", r.slot)
			} else {
				r.db.Exec(t, move, r.slot)
			}
			r.start()
			st := r.stopped("slot_moved")
			require.Contains(t, st.Problem.Detail, end.String())
			require.Contains(t, st.Problem.Detail, r.confirmed().String())
			require.False(t, st.Transient)
			r.db.Exec(t, "insert into t values (3)")
			require.Equal(t, []string{"I t 1"}, r.entries(), "nothing is streamed past a mismatch")
		})
	}
}

func TestLostSlotStops(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	r.db.Exec(t, "select pg_drop_replication_slot($1)", r.slot)
	r.db.Exec(t, "insert into t values (2)")
	r.start()
	st := r.stopped("slot_lost")
	require.Contains(t, st.Problem.Detail, r.log.End().CommitEnd.String()[:1])
	require.Zero(t, pgtest.Value[int64](t, r.db, "select count(*) from pg_replication_slots where slot_name = $1", r.slot), "it is not created anew")
}

// Another slot that begins within the log goes on without a gap and without repeating anything.
func TestAnotherSlotWithoutAGap(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	other := r.db.Slot(t)
	r.db.Exec(t, "insert into t values (1)")
	r.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", other)
	r.db.Exec(t, "insert into t values (2)")
	r.caughtUp()
	from := r.cap.Status().Remembered.From
	first := r.slot
	r.slot = other
	r.cap.Update(r.config())
	r.eventually("it reads the other slot", func() bool { return r.cap.Status().Remembered.Slot == other })
	r.db.Exec(t, "insert into t values (3)")
	r.caughtUp()
	require.Equal(t, []string{"I t 1", "I t 2", "I t 3"}, r.entries())
	require.Equal(t, from, r.cap.Status().Remembered.From, "the log is complete from where it was")
	require.Contains(t, r.comment(), first)
	require.Contains(t, r.comment(), other)

	// And back: the first slot stands before the log's end.
	r.slot = first
	r.cap.Update(r.config())
	r.eventually("it reads the first slot again", func() bool { return r.cap.Status().Remembered.Slot == first })
	r.db.Exec(t, "insert into t values (4)")
	r.caughtUp()
	require.Len(t, r.entries(), 4)
}

// Another slot that begins behind the log is the accepted end of one history: from then on is what the log has without holes.
func TestAnotherSlotBehindAGap(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	r.db.Exec(t, "insert into t values (2)")
	before := r.wal()
	r.slot = r.db.Slot(t)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (3)")
	r.caughtUp()
	require.Equal(t, []string{"I t 1", "I t 3"}, r.entries())
	require.GreaterOrEqual(t, r.cap.Status().Remembered.From, before, "the log is not complete across the gap, and must not say so")
}

func TestMarkOfAnotherInstance(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	old := r.disk
	r.disk = powerloss.New() // the data directory is lost
	r.start()
	st := r.stopped("slot_marked_by_another")
	require.Contains(t, st.Problem.Hint, "COMMENT ON PUBLICATION")
	// The repair that it names.
	r.db.Exec(t, "comment on publication "+r.pub+" is null")
	r.streaming()
	r.db.Exec(t, "insert into t values (2)")
	r.caughtUp()
	require.Equal(t, []string{"I t 2"}, r.entries())
	r.stop()

	// The old directory comes back: the slot is another's now.
	r.disk = old
	r.start()
	r.stopped("slot_marked_by_another")
	require.Equal(t, []string{"I t 1"}, r.entries())
}

// A data directory that still has its identity and lost its store, or the part of it that tells of the slot, is no new one: adopting the slot
// would hide what only the lost log had.
func TestLogThatIsGoneStops(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	instance := r.engine.Instance()
	fs := r.disk.FS()
	require.NoError(t, fs.RemoveAll(fs.PathJoin(powerloss.Dir, "store")))
	require.NoError(t, fs.Remove(fs.PathJoin(powerloss.Dir, "SYNCED")))
	confirmed := r.confirmed()
	r.start()
	require.Equal(t, instance, r.engine.Instance())
	st := r.stopped("log_lost")
	require.Contains(t, st.Problem.Detail, confirmed.String())
	require.False(t, st.Transient)
	r.db.Exec(t, "insert into t values (2)")
	require.Empty(t, r.entries(), "nothing is streamed past a mismatch")
	require.Equal(t, confirmed, r.confirmed())
	// The repair that it names.
	r.db.Exec(t, "comment on publication "+r.pub+" is null")
	r.streaming()
	r.caughtUp()
	require.Equal(t, []string{"I t 2"}, r.entries())
	r.eventually("the mark is back", func() bool { return r.comment() != "" })
}

// The same when what is left of the store is older than the adoption of the slot, and knows of another one.
func TestStoreFromBeforeTheSlotStops(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	older, err := r.disk.Copy()
	require.NoError(t, err)
	first := r.slot
	r.slot = r.db.Slot(t)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (2)")
	r.caughtUp()
	r.eventually("it is marked", func() bool { return strings.Contains(r.comment(), r.slot) })
	r.stop()
	whole := r.disk
	r.disk = older
	r.start()
	st := r.stopped("log_lost")
	require.Contains(t, st.Problem.Detail, r.confirmed().String())
	require.Equal(t, []string{"I t 1"}, r.entries())
	r.stop()

	// With the whole store, the first slot is one whose reading ended on purpose, wherever it stands now.
	r.disk, r.slot = whole, first
	r.db.Exec(t, "insert into t values (3)")
	r.db.Exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", first)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (4)")
	r.caughtUp()
	require.Equal(t, []string{"I t 1", "I t 2", "I t 4"}, r.entries())
}

// A database that was forgotten on purpose can be declared anew, under its old slot, and a loss after that is noticed all the same.
func TestForgottenDatabaseIsAdoptedAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	mark := r.comment()
	r.stop()
	e, err := r.disk.Open(t.Context(), powerloss.Options{})
	require.NoError(t, err)
	require.NoError(t, e.DropLog(t.Context(), "db"))
	require.NoError(t, capture.Forget(t.Context(), e.State(), "db"))
	require.NoError(t, e.Close())
	forgotten, err := r.disk.Copy()
	require.NoError(t, err)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (2)")
	r.caughtUp()
	require.Equal(t, []string{"I t 2"}, r.entries())
	r.eventually("the mark tells of the new reading", func() bool { return r.comment() != mark })
	r.stop()
	r.disk = forgotten
	r.start()
	r.stopped("log_lost")
}

// A mark that could not be left at first, or that went with its publication, is left later.
func TestMissingMarkIsWrittenAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	instance := r.engine.Instance()
	r.stop()
	r.db.Exec(t, "comment on publication "+r.pub+" is 'of the shop'")
	r.start()
	r.streaming()
	r.eventually("the mark is back", func() bool { return r.comment() != "of the shop" })
	require.Contains(t, r.comment(), "of the shop\n")
	require.Contains(t, r.comment(), instance)
}

func TestAnotherServerStops(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	// A server that looks the same: database, table, publication, and a slot of the same name.
	own := pgtest.Start(t, pgtest.Options{})
	twin := own.Database(t)
	twin.Exec(t, table)
	twin.Exec(t, "create publication "+r.pub+" for table t")
	twin.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", r.slot)
	r.db, r.wire = twin, nil
	r.start()
	st := r.stopped("source_replaced")
	require.Contains(t, st.Problem.Detail, "system identifier")
	// Another slot name does not make it the same server.
	r.slot = twin.Slot(t)
	r.cap.Update(r.config())
	r.stopped("source_replaced")
	twin.Exec(t, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")
}

// A server that was put back to an earlier state, without a new timeline, has another history: its LSNs come a second time.
func TestServerPutBackStops(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := newRig(t, server, table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	server.Stop(t)
	data := server.Cluster(t).DataDir()
	copied := filepath.Join(t.TempDir(), "data")
	copyDir(t, data, copied)
	server.StartAgain(t)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t select i, repeat('x', 1000) from generate_series(2, 2000) i")
	end := r.caughtUp()
	r.stop()
	server.Stop(t)
	require.NoError(t, os.RemoveAll(data))
	copyDir(t, copied, data)
	server.StartAgain(t)
	r.start()
	st := r.stopped("source_rewound")
	require.Contains(t, st.Problem.Detail, "0/")
	require.GreaterOrEqual(t, r.cap.Status().Durable, end)
}

// copyDir copies a data directory with its owner and modes.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput()
	require.NoError(t, err, string(out))
}

// A new timeline of the same history goes on, when it branched off behind the log's end.
func TestNewTimelineOfTheSameHistory(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := newRig(t, server, table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	promote(t, server, r.db)
	r.start()
	r.streaming()
	require.Equal(t, uint32(2), r.cap.Status().Remembered.Timeline)
	require.Equal(t, uint32(1), r.cap.Status().Remembered.MovedFrom)
	r.db.Exec(t, "insert into t values (2)")
	r.caughtUp()
	require.Equal(t, []string{"I t 1", "I t 2"}, r.entries())
}

// A new timeline that branched off before the log's end lacks what the log holds.
func TestDivergedTimelineStops(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := newRig(t, server, table)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (1)")
	r.caughtUp()
	r.stop()
	server.Stop(t)
	data := server.Cluster(t).DataDir()
	copied := filepath.Join(t.TempDir(), "data")
	copyDir(t, data, copied)
	server.StartAgain(t)
	r.start()
	r.streaming()
	r.db.Exec(t, "insert into t values (2)")
	r.caughtUp()
	r.stop()
	server.Stop(t)
	require.NoError(t, os.RemoveAll(data))
	copyDir(t, copied, data)
	server.StartAgain(t)
	promote(t, server, r.db)
	r.db.Exec(t, "insert into t select i from generate_series(10, 20000) i") // further than the log's end
	r.start()
	st := r.stopped("timeline_diverged")
	require.Contains(t, st.Problem.Detail, "branched off at")
	require.Equal(t, []string{"I t 1", "I t 2"}, r.entries())
}

// promote ends the server's timeline and begins the next one, as a failover does.
func promote(t *testing.T, server *pgtest.Server, db *pgtest.DB) {
	t.Helper()
	server.Stop(t)
	data := server.Cluster(t).DataDir()
	require.NoError(t, os.WriteFile(filepath.Join(data, "recovery.signal"), nil, 0o600))
	info, err := os.Stat(data)
	require.NoError(t, err)
	chownLike(t, filepath.Join(data, "recovery.signal"), info)
	require.NoError(t, appendFile(filepath.Join(data, "postgresql.auto.conf"), "restore_command = 'false'\n"))
	server.StartAgain(t)
	require.Eventually(t, func() bool { return !pgtest.Value[bool](t, db, "select pg_is_in_recovery()") }, patience, 20*time.Millisecond)
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600) //nolint:gosec // a test's own directory
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
