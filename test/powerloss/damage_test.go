package powerloss_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/test/harness"
)

// hole damages one block of every log on its way from the engine.
type hole struct {
	*embedded.Engine
	damage damage
}

// damage says what becomes of the block at.
type damage struct {
	at   uint64
	kind string // flipped, unreadable or lost
}

func (h *hole) Log(ctx context.Context, name string) (engine.Log, error) {
	l, err := h.Engine.Log(ctx, name)
	return &holedLog{l, h.damage}, err
}

type holedLog struct {
	engine.Log
	damage damage
}

func (l *holedLog) of(b engine.Block, err error, lost func() (engine.Block, error)) (engine.Block, error) {
	if err != nil || b.First != l.damage.at {
		return b, err
	}
	switch l.damage.kind {
	case "flipped":
		b.Data[len(b.Data)/2] ^= 4
		return b, nil
	case "unreadable":
		return engine.Block{}, &engine.DamageError{From: b.First, To: b.First, Cause: errors.New("a test")}
	}
	return lost()
}

func (l *holedLog) Read(ctx context.Context, seq uint64) (engine.Block, error) {
	b, err := l.Log.Read(ctx, seq)
	return l.of(b, err, func() (engine.Block, error) { return l.Log.Read(ctx, b.First-1) })
}

func (l *holedLog) Next(ctx context.Context, seq uint64) (engine.Block, error) {
	b, err := l.Log.Next(ctx, seq)
	return l.of(b, err, func() (engine.Block, error) { return l.Log.Next(ctx, b.First) })
}

func (l *holedLog) Last(ctx context.Context) (engine.Block, error) {
	b, err := l.Log.Last(ctx)
	return l.of(b, err, func() (engine.Block, error) { return l.Log.Read(ctx, b.First-1) })
}

// backlog captures a few hundred changes that nobody reads yet and stops in an orderly way. It returns the blocks' numbers.
func (r *rig) backlog(changes int) (blocks []uint64) {
	r.t.Helper()
	m := r.boot()
	m.awaitHealthy()
	l := r.load(r.t)
	require.True(r.t, r.ledger.await(patience, func() bool { return r.ledger.committed >= changes }))
	l.end(r.t)
	require.Eventually(r.t, func() bool { return r.logged(m) == r.ledger.committed }, patience, 5*time.Millisecond)
	for seq := uint64(0); ; {
		b, err := r.blocks(m).Next(r.t.Context(), seq)
		if errors.Is(err, engine.ErrNotFound) {
			break
		}
		require.NoError(r.t, err)
		blocks = append(blocks, b.First)
		seq = b.First
	}
	r.finish(m)
	return blocks
}

// logged is how many entries the log has, says its metric.
func (r *rig) logged(m *machine) (entries int) {
	_, text := m.get("/metrics")
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "sequin_log_end_seq{") {
			_, _ = fmt.Sscan(value, &entries)
		}
	}
	return entries
}

// blocks is the storage of the one log.
func (r *rig) blocks(m *machine) engine.Log {
	r.t.Helper()
	for entry, err := range m.engine.State().List(r.t.Context(), "database/") {
		require.NoError(r.t, err)
		id, _, _ := strings.Cut(strings.TrimPrefix(entry.Key, "database/"), "/")
		l, err := m.engine.Log(r.t.Context(), id)
		require.NoError(r.t, err)
		return l
	}
	r.t.Fatal("no log")
	return nil
}

// collect receives and acknowledges until nothing is left, and checks the order of each key.
func (r *rig) collect(m *machine, name string) map[element]bool {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	stream := &harness.Stream{Base: m.url, Name: name, Client: m.client}
	got, last := map[element]bool{}, map[int]int{}
	for {
		batch, err := stream.Receive(ctx, 1000, 50*time.Millisecond)
		if err != nil { // it is starting
			require.NoError(r.t, ctx.Err(), "%v", err)
			pause(ctx, 20*time.Millisecond)
			continue
		}
		if len(batch) == 0 {
			if _, text := m.get("/metrics"); idle(text, 1) {
				return got
			}
			require.NoError(r.t, ctx.Err(), "messages are left that nobody gets")
			continue
		}
		r.ledger.mu.Lock()
		for _, message := range batch {
			h, at, ok := r.ledger.find(name, message.Data)
			if !ok {
				continue
			}
			e := h.elements[at]
			if before, seen := last[e.key]; seen && before >= at {
				r.ledger.violated(p3, "%+v after %+v", e, h.elements[before])
			}
			last[e.key], got[e] = at, true
		}
		r.ledger.mu.Unlock()
		require.NoError(r.t, stream.Ack(ctx, harness.AckIDs(batch)...))
	}
}

// gaps counts the messages in the recorded gaps of all consumers.
func (r *rig) gaps(m *machine) (messages int, err error) {
	for entry, err := range m.engine.State().List(r.t.Context(), "consumer/") {
		if err != nil {
			return 0, err
		}
		if !strings.Contains(entry.Key, "/gap/") {
			continue
		}
		var g consumer.GapRecord
		if err := json.Unmarshal(entry.Value[1:], &g); err != nil {
			return 0, err
		}
		messages += int(g.Count) //nolint:gosec // small
	}
	return messages, nil
}

// account checks that every change was either received or is part of a recorded gap.
func (r *rig) account(m *machine, got map[element]bool) (missing int) {
	r.t.Helper()
	r.ledger.require(r.t)
	messages, err := r.gaps(m)
	require.NoError(r.t, err)
	require.Equal(r.t, r.ledger.committed, len(got)+messages, "received and recorded as gaps")
	return messages
}

// A block whose bits have changed, one that cannot be read and one that is gone are each a gap with its reason, for the consumer that needed
// it; health is red; everything else comes, in order.
func TestADamagedBlockIsARecordedGap(t *testing.T) {
	t.Parallel()
	r := newRig(t, build{}, seed(t))
	r.sinks = "  - {name: pull, database: db, start: beginning, destination: {type: sequin_stream}}\n"
	blocks := r.backlog(300)
	require.Greater(t, len(blocks), 4)
	whole := r.disk
	for _, kind := range []string{"flipped", "unreadable", "lost"} {
		for _, place := range []int{1, len(blocks) / 2, len(blocks) - 2} {
			r.disk = copied(t, whole)
			r.strict = false
			at := blocks[place]
			r.build.engine = func(e *embedded.Engine) (engine.Engine, func()) { return &hole{e, damage{at, kind}}, func() {} }
			m := r.boot()
			got := r.collect(m, "pull")
			missing := r.account(m, got)
			require.Equal(t, int(blocks[place+1]-at), missing, "%s block %d", kind, at) //nolint:gosec // small
			require.Contains(t, m.awaitProblem("sink_gap"), "log_damaged")
			m.awaitProblem("log_damaged")
			r.finish(m)
		}
	}
}

// Flipped bits in the files themselves: either the store says that it is damaged and how to go on, or everything is received or recorded as a
// gap. Nothing is skipped in silence.
func TestFlippedBitsOnTheDiskAreNeverSilent(t *testing.T) {
	t.Parallel()
	n := seed(t)
	rng := rand.New(rand.NewPCG(n, 2)) //nolint:gosec // a plan
	r := newRig(t, build{}, n)
	r.sinks = "  - {name: pull, database: db, start: beginning, destination: {type: sequin_stream}}\n"
	r.backlog(400)
	r.finish(r.boot()) // opening moves everything from the write-ahead log into tables
	r.strict = false
	whole := r.disk
	refused, gaps, harmless := 0, 0, 0
	for range points(t, 6, 0.1) {
		r.disk = copied(t, whole)
		name := flip(t, r.disk, rng)
		m, err := r.tryBoot()
		if err != nil {
			require.ErrorIs(t, err, engine.ErrCorrupt, name)
			p, ok := problem.As(err)
			require.True(t, ok, "%s: %v", name, err)
			require.NotEmpty(t, p.Hint)
			refused++
			continue
		}
		missing, told := r.received(m)
		switch {
		case missing > 0:
			require.True(t, told, "%s: %d messages are missing, and health is well", name, missing)
			gaps++
		default:
			harmless++
		}
		r.finish(m)
	}
	t.Logf("%d refused, %d with gaps, %d harmless", refused, gaps, harmless)
}

// stops are the problems behind which messages may be missing without a recorded gap: nothing is skipped, it does not go on.
var stops = []string{"slot_moved", "log_lost", "log_unavailable", "log_unreadable", "sink_not_applied", "declaration_not_applied"} //nolint:gochecknoglobals // constant

// received collects what comes and tells how much does not, and whether health says so. What was in the damaged end of the log comes again from
// Postgres, or its loss is stated and nothing is streamed past it.
func (r *rig) received(m *machine) (missing int, told bool) {
	r.t.Helper()
	got := map[element]bool{}
	var body string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for e := range r.collectSome(m) {
			got[e] = true
		}
		missing = r.ledger.committed - len(got)
		var status int
		status, body = m.get("/healthz")
		told = status == http.StatusServiceUnavailable
		recorded, err := r.gaps(m)
		stopped := err != nil && told
		for _, code := range stops {
			stopped = stopped || strings.Contains(body, `"code":"`+code+`"`)
		}
		if missing == 0 || told && missing <= recorded || stopped {
			r.ledger.require(r.t)
			return missing, told
		}
	}
	r.t.Fatalf("%d messages are missing and nothing is said: %s\n%s", missing, body, m.log.tail(30))
	return missing, told
}

// collectSome receives what is there now.
func (r *rig) collectSome(m *machine) map[element]bool {
	stream := &harness.Stream{Base: m.url, Name: "pull", Client: m.client}
	got := map[element]bool{}
	for {
		batch, err := stream.Receive(r.t.Context(), 1000, 50*time.Millisecond)
		if err != nil || len(batch) == 0 {
			return got
		}
		for _, message := range batch {
			if e, err := elementOf(message.Data); err == nil {
				got[e] = true
			}
		}
		if stream.Ack(r.t.Context(), harness.AckIDs(batch)...) != nil {
			return got
		}
	}
}

func copied(t *testing.T, d *powerloss.Disk) *powerloss.Disk {
	t.Helper()
	c, err := d.Copy()
	require.NoError(t, err)
	return c
}

// flip changes one bit of one file of the store.
func flip(t *testing.T, disk *powerloss.Disk, rng *rand.Rand) (what string) {
	t.Helper()
	fs := disk.FS()
	dir := fs.PathJoin(powerloss.Dir, "store")
	names, err := fs.List(dir)
	require.NoError(t, err)
	var full []string // the bigger, the oftener
	for _, n := range names {
		if info, err := fs.Stat(fs.PathJoin(dir, n)); err == nil && info.Size() > 0 && n != "LOCK" {
			full = append(full, slices.Repeat([]string{n}, 1+int(info.Size()>>13))...)
		}
	}
	name := full[rng.IntN(len(full))]
	data := read(t, fs, fs.PathJoin(dir, name))
	at := rng.IntN(len(data))
	data[at] ^= 1 << rng.IntN(8)
	write(t, fs, fs.PathJoin(dir, name), data)
	return fmt.Sprintf("bit at byte %d of %d of %s", at, len(data), name)
}

func read(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	data, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return data
}

func write(t *testing.T, fs vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(data)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// The end of the write-ahead log is torn off although it had been synced, as by a disk that lies. The store says so before anything is opened.
// Opened all the same, or without its witness, what was lost and not confirmed comes again from Postgres; what Postgres was told is safe is
// stated as missing, with its range, and nothing is streamed past it.
//
// How much of it is in the torn part depends on how the machine got on. So it is judged by what is left and what Postgres was told.
func TestATornTailIsNeverSilent(t *testing.T) {
	t.Parallel()
	r := newRig(t, build{}, seed(t))
	r.sinks = "  - {name: pull, database: db, start: beginning, destination: {type: sequin_stream}}\n"
	r.backlog(200)
	r.tail()
	r.strict = false
	r.untorn()
	whole := r.disk
	for _, share := range []float64{0, 0.3, 0.9} {
		r.tornAway(whole, share, func() {})
	}
}

// The same where Postgres was told nothing of the torn part: all of it comes again, into the same places.
func TestATornTailThatWasNotConfirmedComesAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, build{}, seed(t))
	r.sinks = "  - {name: pull, database: db, start: beginning, destination: {type: sequin_stream}}\n"
	r.backlog(200)
	kept := r.db.Slot(t)
	const copySlot = "select pg_copy_logical_replication_slot($1, $2)"
	told := r.confirmed()
	r.db.Exec(t, copySlot, r.slot, kept)
	r.tail()
	r.strict = false
	whole := r.disk
	for _, share := range []float64{0, 0.3, 0.9} {
		r.tornAway(whole, share, func() {
			r.confirmed() // nobody reads it any more
			r.db.Exec(t, "select pg_drop_replication_slot($1)", r.slot)
			r.db.Exec(t, copySlot, kept, r.slot)
			require.Equal(t, told, r.confirmed())
			end, _, err := r.left(r.disk, r.salvage)
			require.NoError(t, err)
			require.GreaterOrEqual(t, end, told, "what came before is in tables")
		})
	}
}

// Nothing at all is left of the store, but the data directory's identity. The slot is not taken for a new one.
func TestALostLogIsNeverSilent(t *testing.T) {
	t.Parallel()
	r := newRig(t, build{}, seed(t))
	r.sinks = "  - {name: pull, database: db, start: beginning, destination: {type: sequin_stream}}\n"
	r.backlog(200)
	r.strict = false
	confirmed := r.confirmed()
	require.NoError(t, r.disk.FS().RemoveAll(r.disk.FS().PathJoin(powerloss.Dir, "store")))
	r.disk = copied(t, r.disk) // the removal is synced
	_, err := r.tryBoot()
	require.Equal(t, "wal_damaged", problem.Code(err))
	r.salvage = true
	m := r.boot()
	defer r.finish(m)
	require.Contains(t, m.awaitProblem("log_lost"), confirmed.String())
	missing, told := r.received(m)
	require.True(t, told)
	require.Equal(t, r.ledger.committed, missing)
	now, _ := r.slotState(t.Context())
	require.Equal(t, confirmed, now, "nothing is confirmed past a gap")
}

// tail captures changes that are in the newest write-ahead log only, and stops in an orderly way. A store that begins another one at the end has
// moved them into tables: then it captures more.
func (r *rig) tail() {
	r.t.Helper()
	for tries := 0; tries == 0 || r.inTail() < 20; tries++ {
		require.Less(r.t, tries, 10)
		m := r.boot()
		m.awaitHealthy()
		before := r.logged(m)
		l := r.load(r.t)
		require.Eventually(r.t, func() bool { return r.logged(m) > before+100 }, patience, 5*time.Millisecond)
		l.end(r.t)
		require.Eventually(r.t, func() bool { return r.logged(m) == r.ledger.committed }, patience, 5*time.Millisecond)
		r.finish(m)
	}
}

// inTail is how many entries of the log are in the newest write-ahead log only.
func (r *rig) inTail() int {
	r.t.Helper()
	_, entries, err := r.left(torn(r.t, r.disk, 0), true)
	require.NoError(r.t, err)
	_, size := synced(r.t, r.disk)
	r.t.Logf("of %d entries, %d are in the newest write-ahead log only, which has %d bytes", r.ledger.committed, r.ledger.committed-entries, size)
	return r.ledger.committed - entries
}

// untorn boots on a copy of the disk as it is: nothing is missing, so whatever is missing later was torn off.
func (r *rig) untorn() {
	r.t.Helper()
	whole := r.disk
	defer func() { r.disk = whole }()
	r.disk = copied(r.t, whole)
	m := r.boot()
	defer r.finish(m)
	missing, _ := r.received(m)
	require.Zero(r.t, missing)
}

// tornAway boots on a disk whose newest write-ahead log was torn, with --salvage and without the witness, each after before.
func (r *rig) tornAway(whole *powerloss.Disk, share float64, before func()) {
	t := r.t
	t.Helper()
	r.disk, r.salvage = torn(t, whole, share), false
	_, err := r.tryBoot()
	require.Equal(t, "wal_damaged", problem.Code(err), "share %v: %v", share, err)

	r.disk, r.salvage = torn(t, whole, share), true
	before()
	lost := r.shortened(share)
	require.GreaterOrEqual(t, lost, 0)
	require.True(t, share > 0 || lost >= 20, "all of the tail is gone, and %d entries", lost)

	r.disk, r.salvage = torn(t, whole, share), false
	require.NoError(t, r.disk.FS().Remove(r.disk.FS().PathJoin(powerloss.Dir, "SYNCED")))
	r.disk = copied(t, r.disk) // the removal is synced
	before()
	require.Equal(t, lost, r.shortened(share), "with and without the witness the same is left")
}

// shortened boots on a log whose end is gone, and returns how many entries it lacks at first.
func (r *rig) shortened(share float64) (lost int) {
	t := r.t
	t.Helper()
	confirmed := r.confirmed()
	end, entries, err := r.left(r.disk, r.salvage)
	require.NoError(t, err)
	lost = r.ledger.committed - entries
	t.Logf("share %v: %d entries are torn off; the log proves to reach %s, Postgres was told %s", share, lost, end, confirmed)
	m := r.boot()
	defer r.finish(m)
	if end >= confirmed {
		missing, _ := r.received(m)
		require.Zero(t, missing, "share %v", share)
		require.Equal(t, r.ledger.committed, r.logged(m), "what came again took the places that it had")
		return lost
	}
	body := m.awaitProblem("slot_moved")
	require.Contains(t, body, end.String())
	require.Contains(t, body, confirmed.String())
	got := map[element]bool{}
	require.Eventually(t, func() bool {
		maps.Copy(got, r.collectSome(m))
		return len(got) >= entries
	}, patience, 5*time.Millisecond, "what is left is delivered")
	missing, told := r.received(m)
	require.True(t, told)
	require.Equal(t, r.ledger.committed, missing, "nothing comes twice")
	require.Len(t, got, entries, "share %v", share)
	now, _ := r.slotState(t.Context())
	require.Equal(t, confirmed, now, "nothing is confirmed past a gap")
	return lost
}

// torn is a copy of a disk with a share of what was synced of the newest write-ahead log. The file may be longer than that: one that is used again
// keeps its length.
func torn(t *testing.T, whole *powerloss.Disk, share float64) *powerloss.Disk {
	t.Helper()
	disk := copied(t, whole)
	fs := disk.FS()
	name, size := synced(t, disk)
	path := fs.PathJoin(powerloss.Dir, "store", name)
	write(t, fs, path, read(t, fs, path)[:int(share*float64(size))])
	return copied(t, disk) // the directory is synced
}

// synced reads from the witness, whose form FORMAT.md tells, which write-ahead log is the newest and how much of it was synced.
func synced(t *testing.T, disk *powerloss.Disk) (name string, size int) {
	t.Helper()
	fs := disk.FS()
	witness := read(t, fs, fs.PathJoin(powerloss.Dir, "SYNCED"))
	const magic, nameBytes = 4, 32
	name = strings.TrimRight(string(witness[magic:magic+nameBytes]), "\x00")
	return name, int(binary.BigEndian.Uint64(witness[magic+nameBytes:])) //nolint:gosec // a file's size
}
