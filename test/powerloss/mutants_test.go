package powerloss_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
)

// The tests of the test: builds that do not keep what they say. A ledger that lets one of them pass proves nothing about the product.

// mutantPoints is how many power cuts a faulty build may survive.
const mutantPoints = 20

// found runs a faulty build until the ledger has found it out.
func found(t *testing.T, b build) []string {
	t.Helper()
	r := newRig(t, b, seed(t))
	r.pull("pull")
	r.push("push", 1, 4, "")
	l := r.load(t)
	if m := r.outages(mutantPoints, l); m != nil {
		m.endWork()
		r.finish(m)
	}
	l.end(t)
	wrong := r.ledger.violations()
	t.Log(wrong)
	require.NotEmpty(t, wrong, "%d power cuts did not tell this build from an honest one", mutantPoints)
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	require.Positive(t, r.ledger.lost, "something lost must be among %q", wrong)
	return wrong
}

// A build whose engine answers before it has synced its write-ahead log.
func TestABuildThatSkipsASyncIsFound(t *testing.T) {
	t.Parallel()
	found(t, build{skipSync: true})
}

// A build that says of blocks that they are durable as soon as it has them, and syncs them a moment later: Postgres is told too early.
func TestABuildThatConfirmsBeforeTheSyncIsFound(t *testing.T) {
	t.Parallel()
	wrong := found(t, build{engine: func(e *embedded.Engine) (engine.Engine, func()) {
		h := &hasty{Engine: e, log: newBehind(hastyDelay), state: newBehind(0)}
		return h, h.close
	}})
	require.Contains(t, wrong[0], p1)
}

// A build that answers acknowledgements before they are on the disk.
func TestABuildThatAnswersAcksBeforeTheSyncIsFound(t *testing.T) {
	t.Parallel()
	wrong := found(t, build{engine: func(e *embedded.Engine) (engine.Engine, func()) {
		h := &hasty{Engine: e, log: newBehind(0), state: newBehind(hastyDelay)}
		return h, h.close
	}})
	require.Contains(t, wrong[0], p4)
}

// hastyDelay is how long after the answer a hasty engine writes.
const hastyDelay = 60 * time.Millisecond

// hasty is an engine that says yes before it has done anything. Reads wait for what was promised, so that nobody notices while there is power.
type hasty struct {
	*embedded.Engine
	log, state *behind
}

func (h *hasty) close() {
	h.log.close()
	h.state.close()
}

func (h *hasty) Log(ctx context.Context, name string) (engine.Log, error) {
	l, err := h.Engine.Log(ctx, name)
	return &hastyLog{Log: l, behind: h.log}, err
}

func (h *hasty) State() engine.State { return &hastyState{h.Engine.State(), h.state} }

type hastyLog struct {
	engine.Log
	behind *behind
}

func (l *hastyLog) Append(_ context.Context, blocks ...engine.Block) error {
	for i := range blocks {
		blocks[i].Data = bytes.Clone(blocks[i].Data)
	}
	return l.behind.later(func() error { return l.Log.Append(context.Background(), blocks...) })
}

func (l *hastyLog) Read(ctx context.Context, seq uint64) (engine.Block, error) {
	l.behind.catchUp()
	return l.Log.Read(ctx, seq)
}

func (l *hastyLog) Next(ctx context.Context, seq uint64) (engine.Block, error) {
	l.behind.catchUp()
	return l.Log.Next(ctx, seq)
}

func (l *hastyLog) Last(ctx context.Context) (engine.Block, error) {
	l.behind.catchUp()
	return l.Log.Last(ctx)
}

func (l *hastyLog) TrimBack(ctx context.Context, seq uint64) error {
	l.behind.catchUp()
	return l.Log.TrimBack(ctx, seq)
}

type hastyState struct {
	engine.State
	behind *behind
}

func (s *hastyState) Apply(ctx context.Context, ops ...engine.Op) error {
	if len(ops) > 0 && !strings.HasPrefix(ops[0].Key, "consumer/") {
		s.behind.catchUp()
		return s.State.Apply(ctx, ops...)
	}
	return s.behind.later(func() error { return s.State.Apply(context.Background(), ops...) })
}

func (s *hastyState) Get(ctx context.Context, key string) (engine.Entry, error) {
	s.behind.catchUp()
	return s.State.Get(ctx, key)
}

func (s *hastyState) List(ctx context.Context, prefix string) iter.Seq2[engine.Entry, error] {
	s.behind.catchUp()
	return s.State.List(ctx, prefix)
}

func (s *hastyState) CompareAndSet(ctx context.Context, key string, revision uint64, value []byte) (uint64, error) {
	s.behind.catchUp()
	return s.State.CompareAndSet(ctx, key, revision, value)
}

// behind does in order, and a moment late, what was said to be done.
type behind struct {
	delay time.Duration
	wake  chan struct{}
	done  chan struct{}

	mu     sync.Mutex
	todo   []func() error
	closed bool

	turn sync.Mutex // one writes at a time
}

func newBehind(delay time.Duration) *behind {
	b := &behind{delay: delay, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if delay > 0 {
		go b.run()
	} else {
		close(b.done)
	}
	return b
}

func (b *behind) run() {
	defer close(b.done)
	for range b.wake {
		timer := time.NewTimer(b.delay)
		<-timer.C
		b.catchUp()
	}
}

func (b *behind) later(f func() error) error {
	if b.delay == 0 {
		return f()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errors.New("closed")
	}
	b.todo = append(b.todo, f)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return nil
}

func (b *behind) catchUp() {
	b.turn.Lock()
	defer b.turn.Unlock()
	b.mu.Lock()
	todo := b.todo
	b.todo = nil
	b.mu.Unlock()
	for _, f := range todo {
		_ = f() // it was promised already
	}
}

func (b *behind) close() {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.wake)
	}
	b.mu.Unlock()
	<-b.done
	b.catchUp()
}
