package powerloss_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/pgtest"
)

// build is what is run: the zero value is the product.
type build struct {
	skipSync bool                                                        // the engine does not sync its write-ahead log
	engine   func(*embedded.Engine) (faulty engine.Engine, close func()) // stands between the product and its engine
}

// rig is a database under load and the machines that capture it, one after the other, all on one disk.
type rig struct {
	t           *testing.T
	build       build
	slow        time.Duration // a sync takes up to so long
	salvage     bool          // open a store whose write-ahead log is damaged
	strict      bool          // whatever the log says of losses is a violation
	db          *pgtest.DB
	postgres    string // host:port
	slot        string
	publication string
	database    string // more keys of the database
	sinks       string
	written     [writers]*rows
	ledger      *ledger
	receiver    *receiver
	hook        *httptest.Server
	disk        *powerloss.Disk
	life        int
	rng         *rand.Rand
	rngMu       sync.Mutex
	dead        sync.WaitGroup
	admin       *pgx.Conn
	born        cdc.LSN // where the slot was made
}

const leaseMS = 500

// newRig makes the table, the publication and the slot; from here on every change counts.
func newRig(t *testing.T, b build, seed uint64) *rig {
	t.Helper()
	r := &rig{
		t: t, build: b, slow: 2 * time.Millisecond, strict: b.engine == nil && !b.skipSync,
		db: pgtest.Shared(t).Database(t), ledger: newLedger(), disk: powerloss.New(), rng: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // a plan
		database: "    heartbeat_interval: 1s",
	}
	u, err := url.Parse(r.db.URL)
	require.NoError(t, err)
	r.postgres = u.Host
	r.slot, r.publication = r.db.Slot(t), r.db.Publication(t)
	r.db.Exec(t, "create table t (id int primary key, v bigint not null, pad text); alter table t replica identity full")
	r.db.Exec(t, "create publication "+r.publication+" for table t")
	r.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", r.slot)
	r.admin = r.db.Conn(t)
	r.born = r.confirmed()
	r.receiver = &receiver{l: r.ledger, machines: map[string]*machine{}, outages: map[int]outage{}}
	mux := http.NewServeMux()
	mux.Handle("POST /{life}/{book}", r.receiver)
	r.hook = httptest.NewServer(mux)
	t.Cleanup(r.hook.Close)
	t.Cleanup(r.dead.Wait)
	return r
}

// pull declares a pull sink and opens its account.
func (r *rig) pull(name string) *pullBook {
	r.sinks += fmt.Sprintf("  - {name: %s, database: db, start: beginning, ack_wait_ms: %d, destination: {type: sequin_stream}}\n", name, leaseMS)
	return r.ledger.pull(name, leaseMS*time.Millisecond)
}

// push declares a webhook sink and opens its account.
func (r *rig) push(name string, batch, workers int, more string) *pushBook {
	r.sinks += fmt.Sprintf("  - {name: %s, database: db, start: beginning, batch_size: %d, concurrency: %d, %sdestination: {type: webhook, http_endpoint: %s, batch: %t}}\n",
		name, batch, workers, more, name, batch > 1)
	if strings.Contains(more, "ack_commit: each") {
		return r.ledger.push(name, batch*workers, false)
	}
	return r.ledger.push(name, 1000+batch*workers, true)
}

func (r *rig) random() *rand.Rand {
	r.rngMu.Lock()
	defer r.rngMu.Unlock()
	return rand.New(rand.NewPCG(r.rng.Uint64(), r.rng.Uint64())) //nolint:gosec // a plan
}

// cut ends the machine's life. With keepCache only the process dies: what it wrote without a sync is there for the next one, but is on the
// disk no more than before.
func (r *rig) cut(m *machine, keepCache bool) {
	r.t.Helper()
	m.power.cut(func() {
		m.disk.kill()
		if !keepCache {
			r.disk = r.disk.Cut(r.rng.Uint64())
		}
		now := time.Now()
		r.ledger.mu.Lock()
		r.receiver.outages[m.life] = outage{at: now, window: m.yardstick.window(now)}
		r.ledger.mu.Unlock()
	})
	m.endWork()
	m.proxy.close()
	m.stop()
	r.dead.Go(m.abandon)
	confirmed := r.confirmed()
	end, err := r.surviving()
	switch {
	case err != nil:
		r.ledger.complain(p1, "life %d: what the cut left cannot be read: %v", m.life, err)
	case confirmed > end:
		r.ledger.complain(p1, "life %d: Postgres was told %s, the disk holds everything up to %s only", m.life, confirmed, end)
	}
}

// confirmed waits until the walsender has noticed the end and returns what it was told last.
func (r *rig) confirmed() cdc.LSN {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for {
		lsn, active := r.slotState(ctx)
		if !active {
			return lsn
		}
		pause(ctx, 2*time.Millisecond)
	}
}

// slotState is what the slot was told last, and whether somebody streams from it.
func (r *rig) slotState(ctx context.Context) (confirmed cdc.LSN, active bool) {
	r.t.Helper()
	var text string
	err := r.admin.QueryRow(ctx, "select active, confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", r.slot).Scan(&active, &text)
	require.NoError(r.t, err)
	confirmed, err = cdc.ParseLSN(text)
	require.NoError(r.t, err)
	return confirmed, active
}

// surviving is the LSN up to which the disk proves to hold everything: the log's end or the confirm bound.
func (r *rig) surviving() (cdc.LSN, error) {
	end, _, err := r.left(r.disk, r.salvage)
	return end, err
}

// left is the LSN up to which a disk proves to hold everything, and how many entries its log has. It looks at a copy, without what was not synced.
func (r *rig) left(disk *powerloss.Disk, salvage bool) (end cdc.LSN, entries int, err error) {
	copied := disk.Cut(r.rng.Uint64())
	e, err := copied.Open(r.t.Context(), powerloss.Options{Options: embedded.Options{ReserveBytes: -1, Salvage: salvage}})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	for entry, err := range e.State().List(r.t.Context(), "database/") {
		if err != nil {
			return 0, 0, err
		}
		id, name, _ := strings.Cut(strings.TrimPrefix(entry.Key, "database/"), "/")
		if name != "bound" {
			continue
		}
		if end, err = cdc.ParseLSN(string(entry.Value)); err != nil {
			return 0, 0, err
		}
		blocks, err := e.Log(r.t.Context(), id)
		if err != nil {
			return 0, 0, err
		}
		log, err := changelog.Open(r.t.Context(), changelog.Options{Name: id, Blocks: blocks})
		if err != nil {
			return 0, 0, err
		}
		if lost := log.Recovered().Lost; lost != nil {
			return 0, 0, lost
		}
		return max(end, log.End().CommitEnd), int(log.End().Seq), nil //nolint:gosec // small
	}
	return r.born, 0, nil // before the first connection nothing was told, and the slot is where it was made
}
