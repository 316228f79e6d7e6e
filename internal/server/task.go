package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// task is a component that runs until it is stopped. When it fails or panics it starts again with backoff; its neighbours do not notice.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu  sync.Mutex
	err error // of the last failure; nil while it runs
}

const (
	firstRestart = 200 * time.Millisecond
	lastRestart  = 10 * time.Second
)

// start runs f until stop, again whenever it ends by itself.
func start(logger *slog.Logger, name string, f func(ctx context.Context) error) *task {
	ctx, cancel := context.WithCancel(context.Background())
	t := &task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		wait := firstRestart
		for ctx.Err() == nil {
			begun := time.Now()
			err := guarded(ctx, f)
			if ctx.Err() != nil {
				return
			}
			if time.Since(begun) > time.Minute {
				wait = firstRestart
			}
			t.failed(err)
			logger.Error("a component stopped and starts again", "component", name, "reason", err, "in", wait)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			wait = min(2*wait, lastRestart)
		}
	}()
	return t
}

func guarded(ctx context.Context, f func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f(ctx)
}

func (t *task) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// stop asks the task to end and waits for it, at most until ctx ends.
func (t *task) stop(ctx context.Context) error {
	t.cancel()
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
