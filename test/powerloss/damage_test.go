package powerloss_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
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
var stops = []string{"slot_moved", "log_unavailable", "log_unreadable", "sink_not_applied", "declaration_not_applied"} //nolint:gochecknoglobals // constant

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
func TestATornTailIsNeverSilent(t *testing.T) {
	t.Parallel()
	if os.Getenv("SEQUIN_SOAK") == "" {
		t.Skip("on a machine that is busy it is not settled what the torn part held; make soak runs it")
	}
	r := newRig(t, build{}, seed(t))
	r.sinks = "  - {name: pull, database: db, start: beginning, destination: {type: sequin_stream}}\n"
	r.backlog(200)
	// What comes now is in the write-ahead log only, unless the machine is so slow that the store has begun another one meanwhile.
	for tries := 0; tries == 0 || newestWAL(t, r.disk) < 8<<10; tries++ {
		require.Less(t, tries, 10)
		l := r.load(t)
		m := r.boot()
		before := r.logged(m)
		require.Eventually(t, func() bool { return r.logged(m) > before+100 }, patience, 5*time.Millisecond)
		l.end(t)
		require.Eventually(t, func() bool { return r.logged(m) == r.ledger.committed }, patience, 5*time.Millisecond)
		r.finish(m)
	}
	r.strict = false
	whole := r.disk
	for _, share := range []float64{0, 0.3, 0.9} {
		confirmed := r.confirmed()
		torn := copied(t, whole)
		tear(t, torn, share)

		r.disk, r.salvage = copied(t, torn), false
		m, err := r.tryBoot()
		if err == nil { // the store had moved all of it into tables
			if missing, told := r.received(m); missing > 0 {
				require.True(t, told, "%d messages are missing, and health is well", missing)
			}
			r.finish(m)
			continue
		}
		require.Equal(t, "wal_damaged", problem.Code(err))

		r.disk, r.salvage = copied(t, torn), true
		r.tornAway(confirmed, share)

		r.disk, r.salvage = copied(t, torn), false
		require.NoError(t, r.disk.FS().Remove(r.disk.FS().PathJoin(powerloss.Dir, "SYNCED")))
		r.disk = copied(t, r.disk) // the removal is synced
		r.tornAway(confirmed, share)
	}
}

// tornAway boots on a log whose end is gone.
func (r *rig) tornAway(confirmed cdc.LSN, share float64) {
	t := r.t
	t.Helper()
	end, err := r.surviving()
	require.NoError(t, err)
	m := r.boot()
	defer r.finish(m)
	if end >= confirmed {
		missing, _ := r.received(m)
		require.Zero(t, missing)
		return
	}
	body := m.awaitProblem("slot_moved")
	require.Contains(t, body, end.String())
	require.Contains(t, body, confirmed.String())
	missing, told := r.received(m)
	require.True(t, told)
	// What was torn off may hold no changes at all, only how far the slot had come.
	require.GreaterOrEqual(t, missing, r.ledger.committed-r.logged(m), "share %v", share)
	now, _ := r.slotState(t.Context())
	require.Equal(t, confirmed, now, "nothing is confirmed past a gap")
}

// tear leaves a share of the newest write-ahead log.
func tear(t *testing.T, disk *powerloss.Disk, share float64) {
	t.Helper()
	fs, name := disk.FS(), newestName(t, disk)
	data := read(t, fs, name)
	write(t, fs, name, data[:int(share*float64(len(data)))])
}

// newestWAL is the size of the newest write-ahead log in bytes.
func newestWAL(t *testing.T, disk *powerloss.Disk) int {
	t.Helper()
	return len(read(t, disk.FS(), newestName(t, disk)))
}

func newestName(t *testing.T, disk *powerloss.Disk) string {
	t.Helper()
	fs := disk.FS()
	dir := fs.PathJoin(powerloss.Dir, "store")
	names, err := fs.List(dir)
	require.NoError(t, err)
	newest := ""
	for _, n := range names {
		if strings.HasSuffix(n, ".log") && n > newest {
			newest = n
		}
	}
	require.NotEmpty(t, newest)
	return fs.PathJoin(dir, newest)
}
