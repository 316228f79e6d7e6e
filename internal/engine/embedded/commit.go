package embedded

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sequinstream/sequin/internal/engine"
)

// revisionStep is how many revisions are reserved by one write of the counter; a start skips what is left of them.
const revisionStep = 1 << 20

// write is one batch on its way to the disk.
type write struct {
	s       *store
	batch   *pebble.Batch
	entries []engine.Entry // for watchers; the values lie in the batch
	before  <-chan struct{}
	told    chan struct{}
}

// revision gives out the next revision; it reserves more in the same batch when they run out.
func (w *write) revision() (uint64, error) {
	next := w.s.e.revision.Add(1)
	if next <= w.s.reserved {
		return next, nil
	}
	reserved := next + revisionStep
	if err := w.batch.Set(keyRevision, binary.BigEndian.AppendUint64(nil, reserved), nil); err != nil {
		return 0, err
	}
	w.s.reserved = reserved
	return next, nil
}

// set adds a state value under a new revision.
func (w *write) set(key string, value []byte) (uint64, error) {
	revision, err := w.revision()
	if err != nil {
		return 0, err
	}
	k := stateKey(key)
	op := w.batch.SetDeferred(len(k), stateHead+len(value))
	copy(op.Key, k)
	encodeState(op.Value, k, revision, value)
	w.entries = append(w.entries, engine.Entry{Key: key, Value: op.Value[stateHead:], Revision: revision})
	return revision, op.Finish()
}

// remove deletes a state value.
func (w *write) remove(key string) error {
	revision, err := w.revision()
	if err != nil {
		return err
	}
	w.entries = append(w.entries, engine.Entry{Key: key, Deleted: true, Revision: revision})
	return w.batch.Delete(stateKey(key), nil)
}

// commit builds a batch and returns when it is durable. build runs alone: what it reads cannot change before its batch takes effect. size is
// a guess at the batch's bytes. When writing gets stuck for want of room, commit returns ErrNoSpace while the batch stays in line; it
// will be written before any later one.
func (e *Engine) commit(ctx context.Context, size int, build func(w *write) error) error {
	s, err := e.use()
	if err != nil {
		return err
	}
	w, err := s.begin(ctx, size, build)
	if err != nil || w == nil {
		s.release()
		return err
	}
	trouble := s.troubled()
	done := make(chan error, 1)
	s.adding.Lock()
	s.commits.Go(func() {
		defer s.release()
		done <- w.finish()
	})
	s.adding.Unlock()
	select {
	case err := <-done:
		return err
	case <-trouble:
	}
	select { // it may have been through all the same
	case err := <-done:
		return err
	default:
		return s.refusal()
	}
}

// begin waits for the turn and builds the batch. It returns a write that holds the turn, or nil when there is nothing to write.
func (s *store) begin(ctx context.Context, size int, build func(w *write) error) (*write, error) {
	trouble := s.troubled()
	select {
	case <-trouble:
		return nil, s.refusal()
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
	}
	select {
	case s.turn <- struct{}{}:
	case <-trouble:
		return nil, s.refusal()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w := &write{s: s, batch: s.db.NewBatchWithSize(size+64, pebble.WithMaxRetainedSizeBytes(2*maxBatch))}
	reserved := s.reserved
	err := build(w)
	if err == nil && s.failure() != nil {
		err = s.refusal()
	}
	if err == nil && !w.batch.Empty() {
		w.before, w.told = s.last, make(chan struct{})
		s.last = w.told
		return w, nil
	}
	s.reserved = reserved // what build reserved was not written
	<-s.turn
	closeErr := w.batch.Close()
	if err != nil {
		return nil, err
	}
	return nil, closeErr
}

// finish takes the batch through the pipeline, waits for the sync and tells watchers, in the order of the writes.
func (w *write) finish() (err error) {
	defer func() { // those who watch hear about writes in their order, also about those that failed: nothing
		<-w.before
		if err == nil {
			w.s.e.watchers.publish(w.entries)
			err = w.batch.Close()
		} else {
			w.s.e.doubt(w.entries)
		}
		close(w.told)
	}()
	if err := w.enter(); err != nil {
		return err
	}
	err = w.batch.SyncWait()
	if failure := w.s.failure(); failure != nil {
		return w.s.refusal() // the sync may have been a dead store's; the batch is left to the collector
	}
	if err != nil {
		w.s.fail(err)
	}
	return storageError(err)
}

// enter hands the batch to Pebble and gives the turn back. Pebble panics when its WAL has failed.
func (w *write) enter() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("write to store: %v", p)
			w.s.fail(err)
		}
		<-w.s.turn
	}()
	if err := w.s.db.ApplyNoSyncWait(w.batch, pebble.Sync); err != nil {
		w.s.fail(err)
		return storageError(err)
	}
	return nil
}

// doubt notes keys whose last write may or may not have taken effect.
func (e *Engine) doubt(entries []engine.Entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, entry := range entries {
		e.unsure[entry.Key] = struct{}{}
	}
}
