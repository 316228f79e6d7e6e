package store_test

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/sequinstream/sequin/internal/engine"
)

var errCrash = errors.New("the machine is off")

// crashing is a state store whose machine stops after a number of writes: the write in progress is cut to a prefix, and nothing works any more.
// With late, a compare-and-set that is met by the crash takes effect all the same.
type crashing struct {
	engine.State
	late bool

	mu   sync.Mutex
	left int // writes until the crash
	off  bool
}

// take counts n writes and returns how many of them come before the crash.
func (c *crashing) take(n int) (before int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return 0, errCrash
	}
	if n > c.left {
		c.off = true
		return c.left, errCrash
	}
	c.left -= n
	return n, nil
}

func (c *crashing) crashed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return errCrash
	}
	return nil
}

func (c *crashing) Get(ctx context.Context, key string) (engine.Entry, error) {
	if err := c.crashed(); err != nil {
		return engine.Entry{}, err
	}
	return c.State.Get(ctx, key)
}

func (c *crashing) List(ctx context.Context, prefix string) iter.Seq2[engine.Entry, error] {
	if err := c.crashed(); err != nil {
		return func(yield func(engine.Entry, error) bool) { yield(engine.Entry{}, err) }
	}
	return c.State.List(ctx, prefix)
}

func (c *crashing) Apply(ctx context.Context, ops ...engine.Op) error {
	n, crash := c.take(len(ops))
	if err := c.State.Apply(ctx, ops[:n]...); err != nil {
		return err
	}
	return crash
}

func (c *crashing) CompareAndSet(ctx context.Context, key string, revision uint64, value []byte) (uint64, error) {
	off := c.crashed()
	_, crash := c.take(1)
	if crash != nil && (off != nil || !c.late) {
		return 0, crash
	}
	next, err := c.State.CompareAndSet(ctx, key, revision, value)
	if err == nil {
		err = crash
	}
	return next, err
}

// DeletePrefix is not promised to be one write.
func (c *crashing) DeletePrefix(ctx context.Context, prefix string) error {
	if err := c.crashed(); err != nil {
		return err
	}
	var ops []engine.Op
	for entry, err := range c.State.List(ctx, prefix) {
		if err != nil {
			return err
		}
		ops = append(ops, engine.Delete(entry.Key))
	}
	return c.Apply(ctx, ops...)
}

// doubtful is a state store that reports writes as failed and lets them come true later, as storage does that waits for room.
type doubtful struct {
	engine.State
	fail func(ops []engine.Op) bool // which calls of Apply

	held [][]engine.Op
}

var errDoubt = errors.New("nobody knows what became of it")

func (d *doubtful) Apply(ctx context.Context, ops ...engine.Op) error {
	if d.fail(ops) {
		d.held = append(d.held, ops)
		return errDoubt
	}
	return d.State.Apply(ctx, ops...)
}

// release lets what was held come true.
func (d *doubtful) release(ctx context.Context) error {
	for _, ops := range d.held {
		if err := d.State.Apply(ctx, ops...); err != nil {
			return err
		}
	}
	d.held = nil
	return nil
}

// interposed is a state store on which somebody else comes first: before runs once, ahead of the first batch.
type interposed struct {
	engine.State
	before func()
	once   sync.Once
}

func (i *interposed) Apply(ctx context.Context, ops ...engine.Op) error {
	i.once.Do(i.before)
	return i.State.Apply(ctx, ops...)
}
