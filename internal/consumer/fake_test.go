package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLog is a change log in memory.
type fakeLog struct {
	mu      sync.Mutex
	changes []cdc.Change // changes[i].Seq is i+1
	block   int          // changes in a segment
	first   uint64
	lost    map[uint64]uint64 // first to last
	changed chan struct{}
	reads   int
}

func newLog() *fakeLog {
	return &fakeLog{block: 7, first: 1, lost: map[uint64]uint64{}, changed: make(chan struct{})}
}

// add appends changes and makes them visible; seq, position and size are filled in.
func (l *fakeLog) add(changes ...*cdc.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		c.Seq = uint64(len(l.changes)) + 1
		if c.Position.LSN == 0 {
			c.Position = cdc.Position{LSN: cdc.LSN(c.Seq * 16)}
		}
		if c.Size == 0 {
			c.Size = 100
		}
		if c.CommitTime == 0 {
			c.CommitTime = cdc.Timestamp(time.Now().UnixMicro())
		}
		// Field by field: a change holds atomics.
		l.changes = append(l.changes, cdc.Change{
			Seq: c.Seq, Position: c.Position, Op: c.Op, OldKind: c.OldKind, TooBig: c.TooBig, XID: c.XID, CommitTime: c.CommitTime,
			Relation: c.Relation, Old: c.Old, New: c.New, Size: c.Size, Prefix: c.Prefix, Annotations: c.Annotations,
		})
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *fakeLog) End() consumer.End {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.changes) == 0 {
		return consumer.End{}
	}
	last := &l.changes[len(l.changes)-1]
	return consumer.End{Seq: last.Seq, Position: last.Position, CommitEnd: last.Position.LSN + 8, CommitTime: last.CommitTime}
}

func (l *fakeLog) FirstSeq() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *fakeLog) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *fakeLog) trim(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = seq
}

type lostError struct{ from, to uint64 }

func (e lostError) Error() string          { return fmt.Sprintf("block %d is damaged", e.from) }
func (e lostError) Gap() (from, to uint64) { return e.from, e.to }

func (l *fakeLog) lose(from, to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost[from] = to
}

func (l *fakeLog) Segment(_ context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	seq = max(seq, l.first, 1)
	n := uint64(len(l.changes))
	if seq > n {
		return 0, 0, nil, consumer.ErrEnd
	}
	block := uint64(l.block)
	first = max((seq-1)/block*block+1, l.first)
	last = min((seq-1)/block*block+block, n)
	for from, to := range l.lost {
		switch {
		case seq >= from && seq <= to:
			return 0, 0, nil, lostError{seq, to}
		case from > seq && from <= last:
			last = from - 1
		case to < seq && to >= first:
			first = to + 1
		}
	}
	return first, last, l.changes[first-1 : last], nil
}

func (l *fakeLog) Since(_ context.Context, at cdc.Timestamp) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := max(l.first, 1) - 1; i < uint64(len(l.changes)); i++ {
		if l.changes[i].CommitTime >= at {
			return i + 1, nil
		}
	}
	return 0, consumer.ErrEnd
}

// table is a relation with the columns id (the key), val and grp.
func table(oid uint32, name string) *cdc.Relation {
	return &cdc.Relation{
		OID: oid, SourceID: oid, Schema: "public", Name: name, Identity: 'd',
		Columns:    []cdc.Column{{Name: "id"}, {Name: "val"}, {Name: "grp"}},
		PrimaryKey: []int{0}, IdentityKey: []int{0},
	}
}

func insert(rel *cdc.Relation, id string) *cdc.Change {
	return &cdc.Change{Op: cdc.OpInsert, Relation: rel, New: cdctest.Tuple(id, "v", nil)}
}

func update(rel *cdc.Relation, from, to string) *cdc.Change {
	c := &cdc.Change{Op: cdc.OpUpdate, Relation: rel, New: cdctest.Tuple(to, "w", nil)}
	if from != to {
		c.OldKind, c.Old = 'K', cdctest.Tuple(from, nil, nil)
	}
	return c
}

func remove(rel *cdc.Relation, id string) *cdc.Change {
	return &cdc.Change{Op: cdc.OpDelete, Relation: rel, OldKind: 'K', Old: cdctest.Tuple(id, nil, nil)}
}

func truncate(rel *cdc.Relation) *cdc.Change {
	return &cdc.Change{Op: cdc.OpTruncate, Relation: rel, TruncateN: 1}
}

var errCrashed = errors.New("crashed")

// fakeState keeps state in memory. With a budget it stops in the middle of an Apply and keeps what came before.
type fakeState struct {
	mu      sync.Mutex
	m       map[string][]byte
	budget  int // writes until the crash; negative for none
	crashed chan struct{}
	applies int
	writes  int
	biggest int
	hook    func(ops []engine.Op) error // before anything is written
}

func newState() *fakeState {
	return &fakeState{m: map[string][]byte{}, budget: -1, crashed: make(chan struct{})}
}

// survivor is what a crash leaves.
func (s *fakeState) survivor() *fakeState {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := newState()
	n.m = maps.Clone(s.m)
	return n
}

func (s *fakeState) Apply(_ context.Context, ops ...engine.Op) error {
	s.mu.Lock()
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		if err := hook(ops); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applies++
	for _, op := range ops {
		if s.budget == 0 {
			select {
			case <-s.crashed:
			default:
				close(s.crashed)
			}
			return fmt.Errorf("%w: %w", errCrashed, engine.ErrClosed)
		}
		if s.budget > 0 {
			s.budget--
		}
		s.writes++
		if op.Value == nil {
			delete(s.m, op.Key)
			continue
		}
		if !strings.Contains(op.Key, "/deadbody/") {
			s.biggest = max(s.biggest, len(op.Value))
		}
		s.m[op.Key] = bytes.Clone(op.Value)
	}
	return nil
}

func (s *fakeState) Get(_ context.Context, key string) (engine.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[key]
	if !ok {
		return engine.Entry{}, engine.ErrNotFound
	}
	return engine.Entry{Key: key, Value: bytes.Clone(v), Revision: 1}, nil
}

func (s *fakeState) keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for k := range s.m {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func (s *fakeState) List(ctx context.Context, prefix string) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		for _, k := range s.keys(prefix) {
			e, err := s.Get(ctx, k)
			if err != nil {
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (s *fakeState) DeletePrefix(_ context.Context, prefix string) error {
	keys := s.keys(prefix)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		delete(s.m, k)
	}
	return nil
}

func (s *fakeState) CompareAndSet(context.Context, string, uint64, []byte) (uint64, error) {
	return 0, errors.ErrUnsupported
}

func (s *fakeState) Watch(context.Context, string) <-chan engine.Entry { return nil }

const testID = "11111111-2222-4333-8444-555555555555"

func pullConfig() consumer.Config {
	return consumer.Config{ID: testID, Name: "orders", Start: consumer.StartBeginning, AckWait: 30 * time.Second}
}

func pushConfig() consumer.Config {
	cfg := pullConfig()
	cfg.Push = true
	return cfg
}

func deps(log consumer.Log, state engine.State) consumer.Deps {
	return consumer.Deps{
		Log: log, State: state, Logger: slog.New(slog.DiscardHandler),
		Encode: func(c *cdc.Change) ([]byte, error) { return fmt.Appendf(nil, `{"seq":%d}`, c.Seq), nil },
	}
}

// running is a consumer that runs until stop.
type running struct {
	*consumer.Consumer
	t    testing.TB
	quit context.CancelFunc
	done chan error
	over bool
}

func start(t testing.TB, log consumer.Log, state engine.State, cfg consumer.Config) *running {
	t.Helper()
	c, err := consumer.Open(t.Context(), deps(log, state), cfg)
	require.NoError(t, err)
	return run(t, c)
}

func run(t testing.TB, c *consumer.Consumer) *running {
	t.Helper()
	ctx, quit := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{Consumer: c, t: t, quit: quit, done: make(chan error, 1)}
	go func() { r.done <- c.Run(ctx) }()
	t.Cleanup(func() {
		if !r.over {
			r.quit()
			require.NoError(t, <-r.done)
		}
	})
	return r
}

// stop ends Run tidily.
func (r *running) stop() {
	r.t.Helper()
	r.quit()
	r.over = true
	require.NoError(r.t, <-r.done)
}

// take takes up to n messages that are there, waiting for the first.
func (r *running) take(n int) []*consumer.Delivery {
	r.t.Helper()
	ds, err := r.Take(r.t.Context(), consumer.TakeOptions{Max: n})
	require.NoError(r.t, err)
	return ds
}

// none asserts that nothing can be taken within d.
func (r *running) none(d time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	ds, err := r.Take(ctx, consumer.TakeOptions{Max: 100})
	require.ErrorIs(r.t, err, context.DeadlineExceeded, "got %v", seqs(ds))
}

func (r *running) settle(o consumer.Outcome, ds ...*consumer.Delivery) {
	r.t.Helper()
	var rs []consumer.Result
	for _, d := range ds {
		rs = append(rs, consumer.Result{Delivery: d, Outcome: o, Err: errors.New("not today")})
	}
	require.NoError(r.t, r.Settle(r.t.Context(), rs))
}

func (r *running) receive(o consumer.ReceiveOptions) []*consumer.Delivery {
	r.t.Helper()
	ds, err := r.Receive(r.t.Context(), o)
	require.NoError(r.t, err)
	return ds
}

func (r *running) ack(ds ...*consumer.Delivery) {
	r.t.Helper()
	require.NoError(r.t, r.Ack(r.t.Context(), ackIDs(ds)))
}

func (r *running) deadLetters(after uint64, limit int) ([]consumer.DeadLetter, error) {
	r.t.Helper()
	page, err := r.DeadLetters(r.t.Context(), consumer.DeadQuery{After: after, Limit: limit})
	return page.Letters, err
}

func (r *running) discard(seqs ...uint64) consumer.Changed {
	r.t.Helper()
	did, err := r.Discard(r.t.Context(), consumer.DeadSelection{Seqs: seqs})
	require.NoError(r.t, err)
	return did
}

func seqs(ds []*consumer.Delivery) []uint64 {
	var out []uint64
	for _, d := range ds {
		out = append(out, d.Seq)
	}
	return out
}

func ackIDs(ds []*consumer.Delivery) []string {
	var out []string
	for _, d := range ds {
		out = append(out, d.AckID)
	}
	return out
}
