package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"

	"github.com/sequinstream/sequin/internal/engine"
)

// store is one opening of the Pebble database. When it fails it is abandoned for a new one.
type store struct {
	e     *Engine
	db    *pebble.DB
	guard *guard

	// turn is held by the one write that is entering Pebble's commit pipeline. Revisions are given out under it, and no other goroutine can
	// be stuck inside the pipeline when a write there fails.
	turn     chan struct{}
	reserved uint64         // revisions up to here may be given out, says the disk; under turn
	last     chan struct{}  // closed when the write before was published; under turn
	adding   sync.Mutex     // held to add to commits, and to wait for them
	commits  sync.WaitGroup // writes that are under way; they are added under turn

	failed atomic.Pointer[error]
	opened atomic.Bool

	mu      sync.Mutex
	refs    int           // calls in progress
	retired bool          // no new ones
	drained chan struct{} // closed when retired and unused
	waiting int           // writes to vital files that wait for room
	flush   error         // why the last flush failed, nil after one that worked
	trouble chan struct{} // closed while writes must be refused
}

// openStore opens the database and reads its counters.
func openStore(e *Engine) (*store, error) {
	s := &store{
		e:       e,
		guard:   newGuard(e.opts.FS),
		turn:    make(chan struct{}, 1),
		last:    make(chan struct{}),
		drained: make(chan struct{}),
		trouble: make(chan struct{}),
	}
	close(s.last)
	s.guard.fatal = s.fail
	s.guard.stalled = s.stalled
	s.guard.synced = e.witness.note
	if err := e.witness.check(e.opts.FS, e.storeDir()); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db, err := pebble.Open(e.storeDir(), s.pebbleOptions())
	if failure := s.failure(); failure != nil {
		err = failure
	}
	if err != nil {
		if db != nil {
			err = errors.Join(err, closeDB(db))
		}
		if isBadRecord(err) {
			err = fmt.Errorf("%w: %w", errWAL, err)
		}
		return nil, fmt.Errorf("open store: %w", storageError(err))
	}
	s.db = db
	if err := s.readCounters(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), closeDB(db))
	}
	s.opened.Store(true)
	s.guard.strict.Store(false)
	if failure := s.failure(); failure != nil { // between the two lines above nobody was told
		return nil, errors.Join(fmt.Errorf("open store: %w", storageError(failure)), closeDB(db))
	}
	return s, nil
}

// isBadRecord reports what Pebble finds wrong in a WAL while it replays it.
func isBadRecord(err error) bool {
	return pebble.IsCorruptionError(err) && (errors.Is(err, record.ErrInvalidChunk) || errors.Is(err, record.ErrZeroedChunk) ||
		errors.Is(err, record.ErrUnexpectedEOF))
}

func (s *store) readCounters() error {
	v, err := s.get(keyRevision)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(v) != 8 {
		return fmt.Errorf("%w: revision counter of %d bytes", engine.ErrCorrupt, len(v))
	}
	s.reserved = binary.BigEndian.Uint64(v)
	if s.reserved > s.e.revision.Load() {
		s.e.revision.Store(s.reserved)
	}
	return nil
}

// get copies a raw value out.
func (s *store) get(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if err != nil {
		return nil, storageError(err)
	}
	out := append([]byte{}, v...)
	return out, closer.Close()
}

// storageError translates Pebble's errors into the engine's.
func storageError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrNoSpace), errors.Is(err, engine.ErrCorrupt):
		return err
	case errors.Is(err, pebble.ErrNotFound):
		return engine.ErrNotFound
	case errors.Is(err, pebble.ErrClosed):
		return engine.ErrClosed
	case isNoSpace(err):
		return fmt.Errorf("%w: %w", engine.ErrNoSpace, err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", engine.ErrCorrupt, err)
	}
	return err
}

// fail records the first failure that ends this store. Nothing that Pebble does afterwards reaches the directory.
func (s *store) fail(err error) {
	if !s.failed.CompareAndSwap(nil, &err) {
		return
	}
	s.guard.kill()
	s.mu.Lock()
	s.retired = true
	s.drainLocked()
	s.refuseLocked()
	s.mu.Unlock()
	if s.opened.Load() {
		s.e.lost(s, err)
	}
}

func (s *store) failure() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *store) acquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired {
		return false
	}
	s.refs++
	return true
}

func (s *store) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs--
	s.drainLocked()
}

func (s *store) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	s.drainLocked()
}

func (s *store) drainLocked() {
	if !s.retired || s.refs > 0 {
		return
	}
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// stalled hears from the guard that a write waits for room, or no longer does.
func (s *store) stalled(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.waiting--
		s.allowLocked()
		return true
	}
	select {
	case <-s.e.done: // nobody is left to make room for
		return false
	default:
	}
	s.waiting++
	s.refuseLocked()
	return true
}

// flushed hears how a flush ended. One that the storage refused is repeated by Pebble until it succeeds; writes are refused meanwhile, or
// they would fill the memory and then block.
func (s *store) flushed(err error) {
	var refused *ioError
	if err != nil && !errors.As(err, &refused) {
		err = nil // an empty one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush = err
	if err != nil {
		s.refuseLocked()
		return
	}
	s.allowLocked()
}

func (s *store) refuseLocked() {
	select {
	case <-s.trouble:
	default:
		close(s.trouble)
	}
}

func (s *store) allowLocked() {
	if s.waiting > 0 || s.flush != nil || s.failure() != nil {
		return
	}
	select {
	case <-s.trouble:
		s.trouble = make(chan struct{})
	default:
	}
}

// troubled is closed while writes must be refused; refusal says why.
func (s *store) troubled() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

func (s *store) refusal() error {
	if err := s.failure(); err != nil {
		return storageError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == 0 && s.flush != nil {
		return storageError(s.flush)
	}
	return fmt.Errorf("%w: a write waits for room", engine.ErrNoSpace)
}

// close ends the store once the calls in progress have returned. Trouble cuts them short.
func (s *store) close(logger *slog.Logger) error {
	s.retire()
	select {
	case <-s.drained:
	case <-s.troubled():
		s.fail(engine.ErrClosed)
		<-s.drained
	}
	s.awaitCommits()
	s.guard.strict.Store(true)
	err := closeDB(s.db)
	if s.failure() != nil {
		if err != nil {
			logger.Debug("close failed store", "error", err)
		}
		return nil
	}
	return storageError(err)
}

// closeDB turns a panic of a database that has failed into an error.
func closeDB(db *pebble.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("close store: %v", p)
		}
	}()
	return db.Close()
}

// current reads what became of a key, for watchers.
func (s *store) current(key string, revision *atomic.Uint64) []engine.Entry {
	k := stateKey(key)
	v, err := s.get(k)
	if err == nil {
		var entry engine.Entry
		if entry, err = decodeState(k, v); err == nil {
			return []engine.Entry{entry}
		}
	}
	if !errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	return []engine.Entry{{Key: key, Deleted: true, Revision: revision.Add(1)}}
}

// pebbleLog passes Pebble's errors on, and keeps its fatal ones from ending the process.
type pebbleLog struct{ s *store }

func (pebbleLog) Infof(string, ...any) {}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.s.e.opts.Logger.Warn("storage", "error", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Fatalf(format string, args ...any) {
	l.s.e.opts.Logger.Debug("storage gave up", "stack", string(debug.Stack()))
	l.s.fail(fmt.Errorf(format, args...))
}

// background runs f with a context that ends with the store or the engine.
func (s *store) background(f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-s.guard.died:
		case <-s.e.done:
		case <-stop:
		}
		cancel()
	})
	f(ctx)
	close(stop)
	wg.Wait()
}

// awaitCommits waits for the writes that are under way; none is added meanwhile.
func (s *store) awaitCommits() {
	s.adding.Lock()
	defer s.adding.Unlock()
	s.commits.Wait()
}
