package upgrade_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/server"
	"github.com/sequinstream/sequin/internal/store"
	"github.com/sequinstream/sequin/test/harness"
)

// observation is everything that a data directory tells, and all that must be told of it for ever.
type observation struct {
	Instance   string
	Identities map[store.Kind][]store.Identity
	Source     string // what the remembered source and the confirm bound amount to, by the refusal of another server
	Relations  []cdc.Relation
	FirstSeq   uint64
	EndSeq     uint64
	Position   cdc.Position
	CommitEnd  string
	Consumers  map[string]account
	Messages   map[string][]received // by pull sink
	Delivered  []any                 // to the webhook
	Declared   []string              `json:",omitempty"` // since the second format's directory
}

// account is a consumer's state as it is before anything runs.
type account struct {
	Generation                                uint32
	Cursor, Lag                               uint64
	InFlight, Retrying, Redriving, Gaps, Dead int
	DeadLetters                               []consumer.DeadLetter
	Payloads                                  []string
	Given                                     []consumer.GapRecord
}

// received is one message of a pull sink.
type received struct {
	AckID        string
	DeliverCount int
	Data         any
}

// century is for leases and waits that must not end before the test is obsolete.
const century = 100 * 365 * 24 * time.Hour

// write makes a data directory that has every kind of record, from a server that nothing else will ever take for its own.
func write(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	db := pgtest.Start(t, pgtest.Options{}).Database(t)
	db.Exec(t, `
		create table orders (id int primary key, status text, note text, price numeric(10,2), tags text[], at timestamptz, doc jsonb, raw bytea);
		create table events (id int primary key);
		create table dropped (id int primary key, v text);
		create table big (id int primary key, v text);
		alter table orders replica identity full;
		create publication `+publicationName+` for all tables`)
	h := newHook(t)
	n := serve(t, dir, db, h)
	defer dropSlot(t, db)
	defer n.stop()
	n.awaitStreaming()
	for i := range 20 {
		db.Exec(t, fmt.Sprintf(`insert into orders values (%d, 'new', 'Grüße "x"', %d.10, '{a,NULL,"b c"}', '2026-01-02 03:04:05.678901+00', '{"k": 1.0}', '\x0001ff')`, i+1, i))
	}
	db.Exec(t, `begin; select pg_logical_emit_message(true, 'sequin:transaction_annotations.set', '{"user":"ann"}');
		update orders set status = 'paid' where id <= 5; update orders set id = 100 where id = 6; delete from orders where id = 7; commit`)
	db.Exec(t, "alter table orders add column extra int default 7; update orders set extra = null where id = 8")
	db.Exec(t, "insert into orders (id, status) values (50, 'poison'), (51, 'poison'), (52, 'fine')")
	db.Exec(t, "insert into big values (1, repeat('x', 100000))")
	db.Exec(t, "insert into dropped select i, 'v' || i from generate_series(1, 5) i")
	db.Exec(t, "insert into events select i from generate_series(1, 10000) i")
	db.Exec(t, "truncate dropped, big")
	require.Eventually(t, func() bool {
		return n.metric("sequin_sink_lag_messages", "hooked") == 0 && n.metric("sequin_sink_dead_letters", "hooked") == 3
	}, patience, 20*time.Millisecond, "%s", n.get(n.MetricsAddr(), "/metrics"))
	n.stop()

	in := look(t, dir)
	defer in.stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	take := func(c *consumer.Consumer, count int, lease time.Duration) []string {
		var ids []string
		for len(ids) < count {
			batch, err := c.Receive(ctx, consumer.ReceiveOptions{Max: min(count-len(ids), 1000), Wait: time.Second, Visibility: lease})
			require.NoError(t, err)
			for _, d := range batch {
				ids = append(ids, d.AckID)
			}
		}
		return ids
	}
	in.run(t, "leased", func(c *consumer.Consumer) {
		ids := take(c, 14, century) // of 20 keys; what comes later of those waits behind them
		require.NoError(t, c.Ack(ctx, append(ids[:3:3], ids[4], ids[6])))
		require.NoError(t, c.Nack(ctx, ids[7:8], 0))
		require.NoError(t, c.Nack(ctx, ids[8:9], century))
	})
	in.run(t, "sparse", func(c *consumer.Consumer) {
		ids := take(c, 10000, time.Hour)
		for chunk := range slices.Chunk(ids[1:], 1000) {
			require.NoError(t, c.Ack(ctx, chunk))
		}
		require.NoError(t, c.Nack(ctx, ids[:1], 0))
	})
	in.run(t, "released", func(c *consumer.Consumer) { require.NoError(t, c.Release(ctx, 12, "discard_on_full")) })
	in.run(t, "rewound", func(c *consumer.Consumer) {
		require.NoError(t, c.Ack(ctx, take(c, 5, time.Hour)))
		_, err := c.Move(ctx, consumer.MoveRequest{To: 1})
		require.NoError(t, err)
	})
	in.run(t, "hooked", func(c *consumer.Consumer) {
		dead, err := c.DeadLetters(ctx, consumer.DeadQuery{Limit: 10})
		require.NoError(t, err)
		require.Len(t, dead.Letters, 3)
		_, err = c.Redrive(ctx, consumer.DeadSelection{Seqs: []uint64{dead.Letters[0].Seq}})
		require.NoError(t, err)
	})
	return dir
}

func dropSlot(t *testing.T, db *pgtest.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		return pgtest.Value[int64](t, db, "select count(*) from pg_replication_slots where slot_name = $1 and active", slotName) == 0
	}, patience, 5*time.Millisecond)
	db.Exec(t, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1", slotName)
}

func (n *node) awaitStreaming() {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		body := n.get(n.Addr(), "/healthz?database=db")
		return strings.Contains(body, `"status":"healthy"`)
	}, patience, 10*time.Millisecond)
}

// observe looks at everything in a directory, first from inside and then through a server. The directory is used up.
func observe(t *testing.T, dir string) observation {
	t.Helper()
	o := observation{Identities: map[store.Kind][]store.Identity{}, Consumers: map[string]account{}, Messages: map[string][]received{}}
	o.inside(t, dir)
	o.served(t, dir)
	return o
}

func (o *observation) inside(t *testing.T, dir string) {
	t.Helper()
	in := look(t, dir)
	defer in.stop()
	o.Instance = in.engine.Instance()
	end := in.log.End()
	o.FirstSeq, o.EndSeq, o.Position, o.CommitEnd = in.log.FirstSeq(), end.Seq, end.Position, end.CommitEnd.String()
	for _, kind := range []store.Kind{store.Database, store.Sink} {
		o.Identities[kind] = in.known(t, kind)
	}
	o.Declared = in.declared(t, dir)
	for entry, err := range in.engine.State().List(t.Context(), "database/") {
		require.NoError(t, err)
		if strings.Contains(entry.Key, "/relation/") {
			var r cdc.Relation
			require.NoError(t, json.Unmarshal(entry.Value, &r))
			o.Relations = append(o.Relations, r)
		}
	}
	for name := range tables {
		o.Consumers[name] = accountOf(t, in.consumer(t, name))
	}
}

func accountOf(t *testing.T, c *consumer.Consumer) account {
	t.Helper()
	s := c.Stats()
	a := account{
		Generation: s.Generation, Cursor: s.Cursor, Lag: s.Lag, InFlight: s.InFlight, Retrying: s.WaitingRetry, Redriving: s.Redriving, Gaps: s.Gaps,
		Dead: int(s.DeadLetters),
	}
	var err error
	a.Given, err = c.Gaps(t.Context())
	require.NoError(t, err)
	dead, err := c.DeadLetters(t.Context(), consumer.DeadQuery{Limit: 100})
	require.NoError(t, err)
	a.DeadLetters = dead.Letters
	for i, d := range a.DeadLetters {
		a.DeadLetters[i].At, a.DeadLetters[i].CommitTime = d.At.UTC(), d.CommitTime.UTC()
		whole, err := c.DeadLetter(t.Context(), d.Seq)
		require.NoError(t, err)
		a.Payloads = append(a.Payloads, string(whole.Payload))
	}
	return a
}

var rememberedSource = regexp.MustCompile(`was [^;]*; the log is complete up to [0-9A-F/]+`)

// served starts a server on the directory, with another Postgres behind it.
func (o *observation) served(t *testing.T, dir string) {
	t.Helper()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, "create table orders (id int primary key); create publication "+publicationName+" for all tables")
	db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", slotName)
	h := newHook(t)
	n := serve(t, dir, db, h)
	defer dropSlot(t, db)
	defer n.stop()
	require.Eventually(t, func() bool {
		o.Source = rememberedSource.FindString(n.get(n.Addr(), "/healthz"))
		return o.Source != ""
	}, patience, 20*time.Millisecond, "%s", n.get(n.Addr(), "/healthz"))
	for name := range tables {
		if name != "hooked" {
			o.Messages[name] = n.drain(t, name)
		}
	}
	require.Eventually(t, func() bool { // the redriven one has been accepted
		return n.metric("sequin_sink_lag_messages", "hooked") == 0 && n.metric("sequin_sink_dead_letters", "hooked") == 2
	}, patience, 20*time.Millisecond, "%s", n.get(n.MetricsAddr(), "/metrics"))
	for _, body := range h.bodies() {
		o.Delivered = append(o.Delivered, decoded(t, body))
	}
}

// drain receives what can be had; of one sink it acknowledges everything, so that what waits behind others of its group comes too.
func (n *node) drain(t *testing.T, name string) (all []received) {
	t.Helper()
	require.Eventually(t, func() bool { return n.metric("sequin_sink_lag_messages", name) >= 0 }, patience, 10*time.Millisecond)
	for {
		batch, err := n.stream(name).Receive(t.Context(), 1000, 300*time.Millisecond)
		require.NoError(t, err)
		if len(batch) == 0 {
			break
		}
		for _, r := range batch {
			data, err := json.Marshal(r.Data)
			require.NoError(t, err)
			all = append(all, received{r.AckID, r.DeliverCount, decoded(t, data)})
		}
		if name == "all" {
			require.NoError(t, n.stream(name).Ack(t.Context(), harness.AckIDs(batch)...))
		}
	}
	return all
}

func decoded(t *testing.T, body []byte) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(body, &v))
	if message, ok := v.(map[string]any); ok {
		if metadata, ok := message["metadata"].(map[string]any); ok {
			delete(metadata, "database") // as it is declared now
		}
	}
	return v
}

// Promise P11: every data directory that an earlier version wrote is opened, and means what it meant.
func TestP11UpgradesAreSafe(t *testing.T) {
	if *update {
		add(t)
	}
	archives, err := filepath.Glob(filepath.Join("testdata", "*.tar.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, archives)
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			text, err := os.ReadFile(strings.TrimSuffix(archive, ".tar.gz") + ".json")
			require.NoError(t, err)
			var want any
			require.NoError(t, json.Unmarshal(text, &want))
			seen := observe(t, unpack(t, archive))
			got := decoded(t, marshal(t, seen))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("what the directory tells has changed (-then +now):\n%s", diff)
			}
			seen.complete(t)
		})
	}
}

// complete checks that the directory has something of every kind.
func (o *observation) complete(t *testing.T) {
	t.Helper()
	require.NotEmpty(t, o.Relations)
	require.Positive(t, o.Consumers["leased"].InFlight)
	require.Equal(t, []int{2}, slices.Compact(again(o.Messages["leased"])), "one message was given back")
	require.Equal(t, 3, o.Consumers["hooked"].Dead)
	require.Equal(t, 1, o.Consumers["hooked"].Redriving)
	require.Len(t, o.Consumers["released"].Given, 1)
	require.Equal(t, uint32(1), o.Consumers["rewound"].Generation)
	require.Len(t, o.Messages["sparse"], 1)
	require.Len(t, o.Messages["rewound"], 5)
	require.Empty(t, o.Messages["off"])
	require.Len(t, o.Delivered, 1)
}

// again are the numbers of those deliveries that were not the first.
func again(messages []received) (counts []int) {
	for _, m := range messages {
		if m.DeliverCount > 1 {
			counts = append(counts, m.DeliverCount)
		}
	}
	return counts
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return append(text, '\n')
}

// add writes one more golden directory under the next number.
func add(t *testing.T) {
	t.Helper()
	dir := write(t)
	there, err := filepath.Glob(filepath.Join("testdata", "*.tar.gz"))
	require.NoError(t, err)
	name := filepath.Join("testdata", fmt.Sprintf("%02d", len(there)+1))
	_, err = os.Stat(name + ".tar.gz")
	require.ErrorIs(t, err, os.ErrNotExist, "an older version is never written over")
	require.NoError(t, os.MkdirAll("testdata", 0o750))
	pack(t, dir, name+".tar.gz")
	require.NoError(t, os.WriteFile(name+".json", marshal(t, observe(t, unpack(t, name+".tar.gz"))), 0o600))
}

// What this version writes today can be read by this version, with something of every kind in it: the golden directories do not lag behind.
func TestP11TodaysDirectoryHasEveryKindOfRecord(t *testing.T) {
	seen := observe(t, write(t))
	seen.complete(t)
}

// Promise P11, the other half: a directory of a newer format is refused, with the version that it needs, and untouched.
func TestP11ANewerFormatIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob(filepath.Join("testdata", "*.tar.gz"))
	require.NoError(t, err)
	dir := unpack(t, archives[0])
	format := filepath.Join(dir, "FORMAT")
	text, err := os.ReadFile(format) //nolint:gosec // our own file
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(format, newer(string(text)), 0o600))
	before := contents(t, dir)
	_, err = server.New(t.Context(), server.Options{DataDir: dir, Ephemeral: true, Listen: "127.0.0.1:0"})
	require.Equal(t, "data_format_too_new", problem.Code(err))
	require.ErrorContains(t, err, "reads format 99")
	require.Equal(t, before, contents(t, dir))
}

// A damaged write-ahead log is refused, and opened when that is asked for.
func TestSalvageIsAsked(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob(filepath.Join("testdata", "*.tar.gz"))
	require.NoError(t, err)
	dir := unpack(t, archives[0])
	logs, err := filepath.Glob(filepath.Join(dir, "store", "*.log"))
	require.NoError(t, err)
	newest := slices.Max(logs)
	info, err := os.Stat(newest)
	require.NoError(t, err)
	require.Positive(t, info.Size())
	require.NoError(t, os.Truncate(newest, info.Size()/2))
	opts := server.Options{DataDir: dir, Ephemeral: true, Listen: "127.0.0.1:0", ShutdownTimeout: time.Second}
	_, err = server.New(t.Context(), opts)
	require.Equal(t, "wal_damaged", problem.Code(err))
	opts.Salvage = true
	s, err := server.New(t.Context(), opts)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx, empty(), nil))
}
