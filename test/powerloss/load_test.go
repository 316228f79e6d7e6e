package powerloss_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// load is what the application does meanwhile: writers with keys of their own, so that the order of each key's changes is known. One load after
// the other on a rig goes on with the same rows and versions; there is one at a time.
type load struct {
	r      *rig
	stop   context.CancelFunc
	wg     sync.WaitGroup
	idle   atomic.Bool
	failed atomic.Pointer[error]
}

const (
	writers       = 2
	keysPerWriter = 25
	mostBehind    = 1500 // messages; writers wait for slow consumers
)

func (r *rig) load(t *testing.T) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{r: r, stop: cancel}
	for n := range writers {
		conn, err := pgx.Connect(t.Context(), r.db.URL)
		require.NoError(t, err)
		if r.written[n] == nil {
			r.written[n] = &rows{version: int64(n), there: map[int]int64{}}
		}
		w := &writer{load: l, conn: conn, rng: r.random(), first: n * keysPerWriter, rows: r.written[n]}
		l.wg.Go(func() {
			defer conn.Close(context.Background())
			if err := w.run(ctx); err != nil && ctx.Err() == nil {
				l.failed.Store(&err)
			}
		})
	}
	t.Cleanup(func() { l.end(t) })
	return l
}

// end stops the writers between two transactions.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	if err := l.failed.Load(); err != nil {
		require.NoError(t, *err, "a writer")
	}
}

// writer changes its own keys.
type writer struct {
	load  *load
	conn  *pgx.Conn
	rng   *rand.Rand
	first int
	*rows
}

// rows are what a writer leaves to the one that goes on with its keys.
type rows struct {
	version int64         // the last one that was given
	there   map[int]int64 // the rows that exist, with their versions
}

func (w *writer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		l := w.load.r.ledger
		l.await(time.Second, func() bool { return l.behind() < mostBehind })
		if w.load.idle.Load() || w.behind() {
			pause(ctx, 10*time.Millisecond)
			continue
		}
		if err := w.transaction(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		pause(ctx, time.Duration(w.rng.IntN(8))*time.Millisecond)
	}
	return nil
}

func (w *writer) behind() bool {
	l := w.load.r.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.behind() >= mostBehind
}

// transaction is mostly small, sometimes bigger than a block of the log, sometimes rolled back, in part or as a whole.
func (w *writer) transaction(ctx context.Context) error {
	n, pad := 1+w.rng.IntN(5), 300
	if w.rng.IntN(150) == 0 {
		n, pad = 150, 4000
	}
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // after a commit it does nothing
	was := make(map[int]int64, len(w.there))
	maps.Copy(was, w.there)
	batch := &pgx.Batch{}
	var done []element
	for range n {
		if w.rng.IntN(10) == 0 {
			batch.Queue("savepoint s")
			w.change(batch, pad, map[int]int64{})
			batch.Queue("rollback to s")
		}
		done = append(done, w.change(batch, pad, w.there))
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("change rows: %w", err)
	}
	if w.rng.IntN(10) == 0 {
		w.there = was
		return tx.Rollback(ctx)
	}
	w.load.r.ledger.announce(done)
	return tx.Commit(ctx)
}

// change makes one random change of one of the writer's keys. there is empty for one that will be undone: an insert that may meet a row.
func (w *writer) change(batch *pgx.Batch, pad int, there map[int]int64) element {
	key := w.first + w.rng.IntN(keysPerWriter)
	text := noise(w.rng, w.rng.IntN(pad))
	w.version += writers
	version, exists := there[key]
	switch {
	case !exists:
		there[key] = w.version
		batch.Queue("insert into t values ($1, $2, $3) on conflict (id) do update set v = excluded.v, pad = excluded.pad", key, w.version, text)
		return element{key, "insert", w.version}
	case w.rng.IntN(5) == 0:
		delete(there, key)
		batch.Queue("delete from t where id = $1", key)
		return element{key, "delete", version}
	default:
		there[key] = w.version
		batch.Queue("update t set v = $2, pad = $3 where id = $1", key, w.version, text)
		return element{key, "update", w.version}
	}
}

// noise is text that does not compress.
func noise(rng *rand.Rand, n int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return string(b)
}

// Every change is one of its own, however many loads there were: two that looked the same would count as one message missing that was received.
func TestLoadsNeverWriteTheSameChangeTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, build{}, seed(t))
	for n := range 3 {
		l := r.load(t)
		require.True(t, r.ledger.await(patience, func() bool { return r.ledger.committed >= 150*(n+1) }))
		l.end(t)
		r.ledger.require(t)
	}
	distinct := 0
	for _, h := range r.ledger.keys {
		distinct += len(h.index)
	}
	require.Equal(t, r.ledger.committed, distinct)
}
