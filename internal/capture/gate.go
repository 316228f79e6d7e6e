package capture

import (
	"context"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// gate lets the reader pass or makes it wait.
type gate struct {
	mu     sync.Mutex
	reason *problem.Error
	since  time.Time
	opened chan struct{} // closed while open
}

// shut makes the reader wait; true if it was open.
func (g *gate) shut(why *problem.Error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.reason == nil
	if was {
		g.opened, g.since = make(chan struct{}), time.Now()
	}
	g.reason = why
	return was
}

// open lets the reader pass; true if it was shut.
func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
		close(g.opened)
		return false
	}
	was := g.reason != nil
	if was {
		g.reason = nil
		close(g.opened)
	}
	return was
}

func (g *gate) why() (*problem.Error, time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason, g.since
}

func (g *gate) isOpen() bool {
	why, _ := g.why()
	return why == nil
}

// pass waits until the gate is open.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	default:
	}
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
