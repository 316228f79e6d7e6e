package server

import (
	"context"
	"errors"
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

	mu     sync.Mutex
	begun  time.Time // of the present run; zero between two
	broken failure   // why the last run ended, until another has lasted
}

const (
	firstRestart = 200 * time.Millisecond
	lastRestart  = 10 * time.Second
	// lasting is how long a run must last for the failure before it to be over.
	lasting = 15 * time.Second
)

// start runs f until stop, again whenever it ends by itself.
func start(logger *slog.Logger, name string, f func(ctx context.Context) error) *task {
	ctx, cancel := context.WithCancel(context.Background())
	t := &task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		wait := firstRestart
		for ctx.Err() == nil {
			begun := t.begins()
			err := guarded(ctx, logger, f)
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

// panicError is a panic without its stack, which is for the log.
type panicError struct{ value any }

func (e panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func guarded(ctx context.Context, logger *slog.Logger, f func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logger.Error("a component panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = panicError{p}
		}
	}()
	return f(ctx)
}

func (t *task) begins() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = time.Now()
	return t.begun
}

func (t *task) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recover()
	if err == nil {
		err = errEndedEarly
	}
	if t.broken.err == nil {
		t.broken.since = time.Now()
	}
	t.broken.err, t.begun = err, time.Time{}
}

// recover forgets the failure before a run that has lasted. t.mu is held.
func (t *task) recover() {
	if !t.begun.IsZero() && time.Since(t.begun) > lasting {
		t.broken = failure{}
	}
}

// trouble is why the task does not run, or did not until a moment ago.
func (t *task) trouble() (failure, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recover()
	return t.broken, t.broken.err != nil
}

var errEndedEarly = errors.New("it ended without being asked to")

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

// end asks the task to end and waits for it.
func (t *task) end() {
	t.cancel()
	<-t.done
}
