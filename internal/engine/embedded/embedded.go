// Package embedded is the engine for one machine: a Pebble store in the data directory that holds the blocks of every log and the small
// values of the state. It is safe for concurrent use.
//
// A write that returned nil was synced. Concurrent writes share a sync. A read may see a write whose call has not returned yet, and a write
// that returned an error may turn out to have taken effect; it is never half there, except that a prefix of a long Append can remain.
//
// Trouble with the storage ends neither the process nor the engine. On a full disk writes return engine.ErrNoSpace, reads go on, and writing
// resumes by itself when there is room. After a failed sync nothing in memory is trusted: every unfinished write returns an error, and the
// store is opened afresh and reads back what the disk really holds. A damaged block is engine.ErrCorrupt for that block alone.
//
// FORMAT.md beside the code tells the layout on disk.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sequinstream/sequin/internal/engine"
)

// Options configure an engine. Only Dir is required.
type Options struct {
	Dir            string
	Logger         *slog.Logger
	FS             vfs.FS // the disk unless set; tests set file systems that fail
	AllowEphemeral bool   // accept storage that does not outlive the machine or container
	// Salvage opens a store whose write-ahead log is damaged, without the writes from the damage on. They are gone then: acks that were
	// given, positions that Postgres was told. Never set it without a person's word.
	Salvage       bool
	MemtableBytes int   // 8 MiB
	CacheBytes    int64 // 8 MiB
	// ReserveBytes is the room that Append leaves free on the storage, so that acks, trims and the next start find some: 64 MiB, less on a
	// storage below 1.25 GiB, but at least four memtables. Negative: none.
	ReserveBytes int64
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.MemtableBytes <= 0 {
		o.MemtableBytes = 8 << 20
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 8 << 20
	}
	return o
}

// Engine is one open data directory.
type Engine struct {
	opts      Options
	instance  string
	ephemeral bool
	lock      io.Closer
	witness   *witness
	state     *State
	watchers  *watchers
	room      *room
	reclaimer *reclaimer

	done chan struct{}  // closed by Close
	bg   sync.WaitGroup // every goroutine of the engine

	revision atomic.Uint64 // the last one given out; moves only under a store's turn

	mu      sync.Mutex
	store   *store // nil while it is being opened afresh
	cause   error  // why there is none
	closed  bool
	logs    map[string]*Log
	unsure  map[string]struct{} // keys of writes that failed after they were begun
	logTurn sync.Mutex          // serializes opening and dropping of logs
}

var _ engine.Engine = (*Engine)(nil)

// Open opens the data directory, creating it when it is empty, and locks it against other processes.
func Open(ctx context.Context, opts Options) (*Engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	e := &Engine{
		opts:   opts,
		done:   make(chan struct{}),
		logs:   map[string]*Log{},
		unsure: map[string]struct{}{},
	}
	e.state = &State{e: e}
	e.watchers = newWatchers(e.done)
	e.room = newRoom(opts)
	e.reclaimer = newReclaimer(e)
	if err := e.openDir(); err != nil {
		return nil, err
	}
	s, err := openStore(e)
	if opts.Salvage && errors.Is(err, errWAL) {
		if err = e.salvage(); err == nil {
			s, err = openStore(e)
		}
	}
	if err != nil {
		return nil, errors.Join(e.openError(err), e.unlockDir())
	}
	e.adopt(s)
	return e, nil
}

// adopt puts a store into service, unless it has failed already; then another is opened.
func (e *Engine) adopt(s *store) {
	e.mu.Lock()
	defer e.mu.Unlock()
	failure := s.failure()
	switch {
	case e.closed:
		e.bg.Go(func() { _ = s.close(e.opts.Logger) }) // nothing was written to it
	case failure != nil:
		e.store, e.cause = nil, failure
		e.bg.Go(func() { e.reopen(s) })
	default:
		e.store, e.cause = s, nil
	}
}

// Instance is the directory's identity, made when it was created.
func (e *Engine) Instance() string { return e.instance }

// State is the store of small values.
func (e *Engine) State() engine.State { return e.state }

// use hands out the open store; the caller releases it.
func (e *Engine) use() (*store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, engine.ErrClosed
	case e.store == nil || !e.store.acquire():
		return nil, e.unavailable()
	}
	return e.store, nil
}

// unavailable is the error while the store is being opened afresh. The caller holds mu.
func (e *Engine) unavailable() error {
	if isNoSpace(e.cause) {
		return fmt.Errorf("storage is being reopened: %w: %w", engine.ErrNoSpace, e.cause)
	}
	return fmt.Errorf("storage is being reopened: %w", e.cause)
}

// lost takes a store out of service and opens another. It is called once for each store, by whoever met the failure, and must not block.
func (e *Engine) lost(s *store, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.store != s {
		return
	}
	e.opts.Logger.Error("storage failed, reopening it", "error", err)
	e.store, e.cause = nil, err
	e.bg.Go(func() { e.reopen(s) })
}

const (
	reopenFirst = 20 * time.Millisecond
	reopenMost  = 2 * time.Second
)

func (e *Engine) reopen(old *store) {
	old.awaitCommits()                               // each of them ends in an error now; none may publish or add to unsure once the new store is up
	e.bg.Go(func() { _ = old.close(e.opts.Logger) }) // it failed, and that was said
	for wait := reopenFirst; ; wait = min(2*wait, reopenMost) {
		s, err := openStore(e)
		if err == nil {
			e.install(s)
			return
		}
		e.opts.Logger.Error("reopen storage", "error", err, "again_in", wait)
		e.mu.Lock()
		e.cause = err
		e.mu.Unlock()
		select {
		case <-e.done:
			return
		case <-time.After(wait):
		}
	}
}

// install puts a reopened store into service and tells watchers what became of the keys that were being written when its predecessor failed.
func (e *Engine) install(s *store) {
	e.mu.Lock()
	keys := e.unsure
	e.unsure = map[string]struct{}{}
	e.mu.Unlock()
	for key := range keys {
		e.watchers.publish(s.current(key, &e.revision))
	}
	e.opts.Logger.Info("storage reopened")
	e.adopt(s)
}

// Close waits for calls in progress, syncs and releases the directory. Watch channels are closed.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	s := e.store
	e.store = nil
	e.mu.Unlock()

	close(e.done)
	var err error
	if s != nil {
		err = s.close(e.opts.Logger)
	}
	e.bg.Wait()
	e.watchers.wait()
	return errors.Join(err, e.unlockDir())
}
