package embedded

import (
	"bytes"
	"context"
	"sync"

	"github.com/sequinstream/sequin/internal/engine"
)

// reclaimer gives the room of deleted blocks back at once: a deletion frees nothing until it has met the blocks in a compaction. With the
// data in files of its own that moves only keys, and the files go when no key is left that refers to them.
type reclaimer struct {
	e *Engine

	mu      sync.Mutex
	running bool
	spans   []span
}

type span struct{ low, high []byte }

// ask queues a range of deleted parts.
func (r *reclaimer) ask(low, high []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.spans {
		if s := &r.spans[i]; bytes.Compare(low, s.high) <= 0 && bytes.Compare(s.low, high) <= 0 {
			s.low, s.high = minKey(s.low, low), maxKey(s.high, high)
			return
		}
	}
	r.spans = append(r.spans, span{low, high})
	if r.running {
		return
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if !r.e.closed {
		r.running = true
		r.e.bg.Go(r.run)
	}
}

func minKey(a, b []byte) []byte {
	if bytes.Compare(a, b) <= 0 {
		return a
	}
	return b
}

func maxKey(a, b []byte) []byte {
	if bytes.Compare(a, b) >= 0 {
		return a
	}
	return b
}

func (r *reclaimer) next() (span, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spans) == 0 {
		r.running = false
		return span{}, false
	}
	next := r.spans[0]
	r.spans = r.spans[1:]
	return next, true
}

// run works the queue off. What it fails to do is left to Pebble's own compactions.
func (r *reclaimer) run() {
	for {
		next, ok := r.next()
		if !ok {
			return
		}
		if err := r.e.compact(next); err != nil {
			r.e.opts.Logger.Debug("compact deleted blocks", "error", err)
		}
	}
}

func (e *Engine) compact(sp span) error {
	s, err := e.use()
	if err != nil {
		return err
	}
	defer s.release()
	s.background(func(ctx context.Context) {
		err = s.db.Compact(ctx, sp.low, sp.high, false)
	})
	return storageError(err)
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
	return size + uint64(max(0, l.fresh.Load()+l.flushing.Load())), nil //nolint:gosec // not negative
}

var _ engine.Log = (*Log)(nil)
