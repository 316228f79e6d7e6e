package embedded

import (
	"context"
	"strings"
	"sync"

	"github.com/sequinstream/sequin/internal/engine"
)

// watchers tells those who watch a prefix about writes, in the order of the writes.
type watchers struct {
	done <-chan struct{} // the engine is closed
	wg   sync.WaitGroup

	mu  sync.Mutex
	all map[*watcher]struct{}
}

// watcher holds what its reader has not taken yet: of each key the newest value only, so that a slow reader costs no more than the keys do.
type watcher struct {
	prefix string
	wake   chan struct{} // of capacity 1

	mu      sync.Mutex
	order   []string
	pending map[string]engine.Entry
}

func newWatchers(done <-chan struct{}) *watchers {
	return &watchers{done: done, all: map[*watcher]struct{}{}}
}

// wait returns when every watch has ended, after done was closed.
func (ws *watchers) wait() {
	ws.mu.Lock()
	ws.mu.Unlock() //nolint:gocritic,staticcheck // a watch that saw done open has been counted
	ws.wg.Wait()
}

func (ws *watchers) watch(ctx context.Context, prefix string) <-chan engine.Entry {
	out := make(chan engine.Entry)
	w := &watcher{prefix: prefix, wake: make(chan struct{}, 1), pending: map[string]engine.Entry{}}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	select {
	case <-ws.done:
		close(out)
		return out
	default:
	}
	ws.all[w] = struct{}{}
	ws.wg.Go(func() {
		defer close(out)
		defer ws.remove(w)
		w.deliver(ctx, ws.done, out)
	})
	return out
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}

func (ws *watchers) publish(entries []engine.Entry) {
	if len(entries) == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.add(entries)
	}
}

func (w *watcher) add(entries []engine.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		if !strings.HasPrefix(e.Key, w.prefix) {
			continue
		}
		if _, ok := w.pending[e.Key]; !ok {
			w.order = append(w.order, e.Key)
		}
		e.Value = append([]byte{}, e.Value...)
		if e.Deleted {
			e.Value = nil
		}
		w.pending[e.Key] = e
	}
	if len(w.order) > 0 {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) next() (engine.Entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.order) == 0 {
		w.order = nil
		return engine.Entry{}, false
	}
	e := w.pending[w.order[0]]
	delete(w.pending, w.order[0])
	w.order = w.order[1:]
	return e, true
}

func (w *watcher) deliver(ctx context.Context, done <-chan struct{}, out chan<- engine.Entry) {
	for {
		e, ok := w.next()
		if !ok {
			select {
			case <-w.wake:
				continue
			case <-ctx.Done():
				return
			case <-done:
				return
			}
		}
		select {
		case out <- e:
		case <-ctx.Done():
			return
		case <-done:
			return
		}
	}
}
