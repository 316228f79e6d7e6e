package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/sink"
)

// shortestPause keeps a sink that names no wait from being asked in a tight loop.
const shortestPause = 10 * time.Millisecond

// gate is shut while the sink says that its destination is being left alone.
type gate struct {
	mu    sync.Mutex
	away  *sink.UnavailableError // nil while open
	since time.Time
	until time.Time
	tries int // that reached the destination since it was shut, in vain
}

func (g *gate) shut(away *sink.UnavailableError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.away == nil {
		g.since = now
	}
	g.away, g.tries = away, 0
	g.until = now.Add(max(away.After, shortestPause))
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.away = nil
}

// tried records an attempt that failed. One is the probe, and the sink may leave its destination alone again. A second one that gets
// through says that it no longer does: the destination is there and dislikes what it is sent.
func (g *gate) tried() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tries++
	if g.tries > 1 {
		g.away = nil
	}
}

func (g *gate) isOpen() bool {
	away, _, _ := g.state()
	return away == nil
}

func (g *gate) state() (away *sink.UnavailableError, since, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.away, g.since, g.until
}

// wait returns when it is worth trying. Probe says that the destination was away when last heard of.
func (g *gate) wait(ctx context.Context) (probe bool, err error) {
	away, _, until := g.state()
	if away == nil {
		return false, nil
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-away.Ready:
	case <-ctx.Done():
		return true, ctx.Err()
	}
	return true, nil
}
