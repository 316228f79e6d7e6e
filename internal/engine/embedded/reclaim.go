package embedded

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"
)

// reclaimer gives the room of deleted blocks back: a deletion frees nothing until it has met the blocks in a compaction. With the data in
// files of its own that moves only keys, and the files go when no key is left that refers to them.
//
// Each round flushes the memory, so rounds for little room are kept apart: without that, a log which is trimmed block by block would end up
// in thousands of small files.
type reclaimer struct {
	e     *Engine
	start sync.Once
	kick  chan struct{} // of capacity 1

	mu    sync.Mutex
	spans []span
}

type span struct {
	low, high []byte
	since     time.Time
}

const (
	reclaimBytes = 8 << 20         // at once from here on
	reclaimAfter = 5 * time.Minute // and anyway
)

func newReclaimer(e *Engine) *reclaimer { return &reclaimer{e: e, kick: make(chan struct{}, 1)} }

// ask queues a range of deleted parts.
func (r *reclaimer) ask(low, high []byte) {
	r.add(span{low, high, time.Now()})
	r.start.Do(func() {
		r.e.mu.Lock()
		defer r.e.mu.Unlock()
		if !r.e.closed {
			r.e.bg.Go(r.run)
		}
	})
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

func (r *reclaimer) add(sp span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.spans {
		s := &r.spans[i]
		if bytes.Compare(sp.low, s.high) > 0 || bytes.Compare(s.low, sp.high) > 0 {
			continue
		}
		s.low, s.high = slices.MinFunc([][]byte{s.low, sp.low}, bytes.Compare), slices.MaxFunc([][]byte{s.high, sp.high}, bytes.Compare)
		return
	}
	r.spans = append(r.spans, sp)
}

// run works the queue off until the engine is closed. What it fails to do is left to Pebble's own compactions.
func (r *reclaimer) run() {
	idle := time.NewTicker(reclaimAfter / 4)
	defer idle.Stop()
	for {
		select {
		case <-r.kick:
		case <-idle.C:
		case <-r.e.done:
			return
		}
		r.mu.Lock()
		spans := r.spans
		r.spans = nil
		r.mu.Unlock()
		for _, sp := range spans {
			done, err := r.e.compact(sp)
			if err != nil {
				r.e.opts.Logger.Debug("compact deleted blocks", "error", err)
			}
			if !done {
				r.add(sp)
			}
		}
	}
}

// compact works one range off, unless that can wait.
func (e *Engine) compact(sp span) (done bool, err error) {
	s, err := e.use()
	if err != nil {
		return false, err
	}
	defer s.release()
	size, err := s.db.EstimateDiskUsage(sp.low, sp.high)
	if err != nil {
		return true, storageError(err)
	}
	if size < reclaimBytes && time.Since(sp.since) < reclaimAfter {
		return false, nil
	}
	s.background(func(ctx context.Context) {
		err = s.db.Compact(ctx, sp.low, sp.high, false)
	})
	return true, storageError(err)
}

// flushBegins and flushEnds keep track of what each log has in memory, for Size.
func (e *Engine) flushBegins() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.logs {
		l.flushing.Add(l.fresh.Swap(0))
	}
}

func (e *Engine) flushEnds() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.logs {
		l.flushing.Store(0)
	}
}

// Size is the bytes in the files, by their indexes, and those still in memory. Trimmed blocks count until their room is given back.
func (l *Log) Size(ctx context.Context) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s, err := l.use()
	if err != nil {
		return 0, err
	}
	defer s.release()
	size, err := s.db.EstimateDiskUsage(logKey(l.id, 0), logKey(l.id+1, 0))
	if err != nil {
		return 0, storageError(err)
	}
	return size + uint64(max(0, l.fresh.Load()+l.flushing.Load())), nil
}
