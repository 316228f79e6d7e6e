package backfills

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/backoff"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// Bounds of a manager.
const (
	runningAtOnce = 2   // of one database
	remembered    = 200 // of one sink, that are over
	sweepInterval = time.Second
)

// Manager keeps backfills and runs them.
type Manager struct {
	state   engine.State
	targets func(sink string) (Target, bool)
	tables  func(ctx context.Context, sink string) ([]resource.TableName, error)
	logger  *slog.Logger
	wake    chan struct{}

	mu   sync.Mutex
	all  map[string]*Backfill
	runs map[string]*run
	// whole are the sinks that are to read all their tables and whose tables are not known yet, with their databases.
	whole map[string]string
}

// New reads what is kept. targets finds a sink that runs, by id; tables lists those of its source, ErrNoSink if there is no such sink.
func New(ctx context.Context, state engine.State, targets func(sink string) (Target, bool), tables func(ctx context.Context, sink string) ([]resource.TableName, error),
	logger *slog.Logger,
) (*Manager, error) {
	m := &Manager{state: state, targets: targets, tables: tables, logger: logger, wake: make(chan struct{}, 1), all: map[string]*Backfill{}, runs: map[string]*run{}, whole: map[string]string{}}
	for entry, err := range state.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("read the backfills: %w", err)
		}
		b := &Backfill{}
		if err := json.Unmarshal(entry.Value, b); err != nil {
			return nil, fmt.Errorf("read %s: %w", entry.Key, err)
		}
		m.all[b.ID] = b
	}
	for entry, err := range state.List(ctx, wholePrefix) {
		if err != nil {
			return nil, fmt.Errorf("read the backfills: %w", err)
		}
		m.whole[strings.TrimPrefix(entry.Key, wholePrefix)] = string(entry.Value)
	}
	return m, nil
}

// wholePrefix of the keys of sinks that are to read all their tables, which go on with the sink's id. The value is the database's.
const wholePrefix = "backfillall/"

// ErrNoSink reports a sink that is not declared.
var ErrNoSink = errors.New("there is no such sink")

// ReadAll has a sink read all its tables, as soon as the source tells which they are.
func (m *Manager) ReadAll(ctx context.Context, sink, database string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.state.Apply(ctx, engine.Put(wholePrefix+sink, []byte(database))); err != nil {
		return fmt.Errorf("keep a backfill: %w", err)
	}
	m.whole[sink] = database
	m.signal()
	return nil
}

// keepResolving asks again and again: a source that does not answer must not hold up the backfills of others.
func (m *Manager) keepResolving(ctx context.Context) {
	for {
		m.resolve(ctx)
		if sleep(ctx, sweepInterval) != nil {
			return
		}
	}
}

// resolve finds the tables of sinks that are to read all of them.
func (m *Manager) resolve(ctx context.Context) {
	m.mu.Lock()
	whole := maps.Clone(m.whole)
	m.mu.Unlock()
	for sink, database := range whole {
		tables, err := m.tables(ctx, sink)
		if err != nil {
			m.logger.DebugContext(ctx, "the tables that a new sink is to read first are not known yet", "sink", sink, "reason", err)
			continue
		}
		for _, t := range tables {
			if _, err = m.Create(ctx, &Backfill{ID: InitialID(sink, t), Sink: sink, Database: database, Table: t}); err != nil && problem.Code(err) != "backfill_exists" {
				break
			}
			err = nil
		}
		if err == nil {
			err = m.state.Apply(ctx, engine.Delete(wholePrefix+sink))
		}
		if err != nil {
			m.logger.WarnContext(ctx, "the backfills of a new sink could not be kept; it is tried again", "sink", sink, "reason", err)
			continue
		}
		m.mu.Lock()
		delete(m.whole, sink)
		m.mu.Unlock()
	}
}

// prefix of the keys, which go on with the sink's id and the backfill's.
const prefix = "backfill/"

func key(b *Backfill) string { return prefix + b.Sink + "/" + b.ID }

func (m *Manager) put(ctx context.Context, b *Backfill) error {
	value, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode a backfill: %w", err)
	}
	if err := m.state.Apply(ctx, engine.Put(key(b), value)); err != nil {
		return fmt.Errorf("keep a backfill: %w", err)
	}
	return nil
}

func (m *Manager) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Create keeps a backfill and has it run. One without an id gets one; one whose id is known already is left as it is.
func (m *Manager) Create(ctx context.Context, b *Backfill) (View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.ID == "" {
		b.ID = uuid.NewString()
	}
	if known := m.all[b.ID]; known != nil {
		return m.view(known), nil
	}
	for _, other := range m.all {
		if other.Sink == b.Sink && other.Table == b.Table && !other.State.Over() {
			return View{}, problem.New("backfill_exists", "there is a backfill of table %s that is %s", b.Table.String(), other.State).
				WithDetail("its id is %s", other.ID).WithHint("wait until it is over, or cancel it")
		}
	}
	if b.State == "" {
		b.State = Active
	}
	b.Inserted = time.Now().UTC()
	b.Updated = b.Inserted
	if err := m.put(ctx, b); err != nil {
		return View{}, err
	}
	m.all[b.ID] = b
	m.forgetOld(ctx, b.Sink)
	m.signal()
	return m.view(b), nil
}

// forgetOld lets go of the oldest that are over. Called with m.mu held.
func (m *Manager) forgetOld(ctx context.Context, sink string) {
	var over []*Backfill
	for _, b := range m.all {
		if b.Sink == sink && b.State.Over() {
			over = append(over, b)
		}
	}
	slices.SortFunc(over, func(x, y *Backfill) int { return x.Updated.Compare(y.Updated) })
	for _, b := range over[:max(0, len(over)-remembered)] {
		if err := m.state.Apply(ctx, engine.Delete(key(b))); err == nil {
			delete(m.all, b.ID)
		}
	}
}

// List is the backfills of a sink, the newest first.
func (m *Manager) List(sink string) []View {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []View
	for _, b := range m.all {
		if b.Sink == sink {
			all = append(all, m.view(b))
		}
	}
	slices.SortFunc(all, func(x, y View) int {
		if c := y.Inserted.Compare(x.Inserted); c != 0 {
			return c
		}
		return slices.Compare([]byte(x.ID), []byte(y.ID))
	})
	return all
}

// Get is one backfill of a sink.
func (m *Manager) Get(sink, id string) (View, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.all[id]
	if b == nil || b.Sink != sink {
		return View{}, false
	}
	return m.view(b), true
}

// view is a backfill with what is known of its run. Called with m.mu held.
func (m *Manager) view(b *Backfill) View {
	v := View{Backfill: *b}
	r := m.runs[b.ID]
	v.Queued = r == nil && b.State == Active
	if r == nil {
		return v
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v.Read, v.Offered, v.Bytes = r.progress.Read, r.progress.Offered, r.progress.Bytes
	v.Waiting, v.Key, v.Speed = r.waiting, r.key, r.speed.speed(time.Now())
	if r.consumer != nil {
		v.Pending, _ = r.consumer.Outstanding(b.ID)
	}
	if v.Rows != nil && v.Speed > 0 {
		v.Left = time.Duration(float64(max(*v.Rows-v.Read, 0)) / v.Speed * float64(time.Second))
	}
	return v
}

// record is a copy of what is kept.
func (m *Manager) record(id string) Backfill {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.all[id]; b != nil {
		return *b
	}
	return Backfill{ID: id}
}

// change changes what is kept, unless it is gone.
func (m *Manager) change(ctx context.Context, id string, f func(*Backfill)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.all[id]
	if b == nil {
		return
	}
	next := *b
	f(&next)
	next.Updated = time.Now().UTC()
	if err := m.put(ctx, &next); err != nil {
		m.logger.WarnContext(ctx, "the state of a backfill could not be kept; it is tried again", "backfill", id, "reason", err)
	}
	*b = next
}

// SetState pauses, resumes or ends a backfill. It returns when it has stopped reading.
func (m *Manager) SetState(ctx context.Context, sink, id string, to State) (View, error) {
	m.mu.Lock()
	b := m.all[id]
	if b == nil || b.Sink != sink {
		m.mu.Unlock()
		return View{}, ErrNotFound
	}
	if b.State == to && !to.Over() {
		defer m.mu.Unlock()
		return m.view(b), nil
	}
	if !b.State.may(to) {
		from := b.State
		m.mu.Unlock()
		return View{}, problem.New("backfill_state", "a backfill that is %s cannot become %s", from, to).
			WithHint("active ones can be paused and ended, paused ones resumed and cancelled; start another one for the rest")
	}
	r := m.runs[id]
	next := *b
	next.State, next.Updated = to, time.Now().UTC()
	if to == Active {
		next.Error, next.ErrorCode, next.Hint = "", "", ""
	}
	if to.Over() {
		next.Ended = next.Updated
	}
	if err := m.put(ctx, &next); err != nil {
		m.mu.Unlock()
		return View{}, err
	}
	*b = next
	m.mu.Unlock()
	if r != nil && to != Active {
		r.cancel()
		select {
		case <-r.ended:
		case <-ctx.Done():
		}
		m.recount(ctx, sink, id)
	}
	if to.Over() {
		m.forget(ctx, sink, id)
	}
	m.signal()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view(b), nil
}

// recount notes how far a backfill has read that was stopped: its last page may have been taken at that moment.
func (m *Manager) recount(ctx context.Context, sink, id string) {
	t, ok := m.targets(sink)
	if !ok {
		return
	}
	if p, err := decodeProgress(t.Consumer.Progress(id)); err == nil {
		m.change(ctx, id, func(b *Backfill) { b.Read, b.Offered, b.Bytes = p.Read, p.Offered, p.Bytes })
	}
}

// forget has the sink's consumer forget how far a backfill has read that is over.
func (m *Manager) forget(ctx context.Context, sink, id string) {
	t, ok := m.targets(sink)
	if !ok {
		return
	}
	if err := t.Consumer.Forget(ctx, id); err != nil && ctx.Err() == nil {
		m.logger.WarnContext(ctx, "the progress of a backfill that is over could not be removed", "backfill", id, "reason", err)
	}
}

// ErrNotFound reports a backfill that is not there.
var ErrNotFound = errors.New("there is no such backfill")

// Remove forgets the backfills of a sink that is gone.
func (m *Manager) Remove(ctx context.Context, sink string) error {
	m.mu.Lock()
	var ended []chan struct{}
	for id, b := range m.all {
		if b.Sink != sink {
			continue
		}
		delete(m.all, id)
		if r := m.runs[id]; r != nil {
			r.cancel()
			ended = append(ended, r.ended)
		}
	}
	delete(m.whole, sink)
	m.mu.Unlock()
	for _, ch := range ended {
		<-ch
	}
	if err := m.state.Apply(ctx, engine.Delete(wholePrefix+sink)); err != nil {
		return fmt.Errorf("forget the backfills of sink %s: %w", sink, err)
	}
	if err := m.state.DeletePrefix(ctx, prefix+sink+"/"); err != nil {
		return fmt.Errorf("forget the backfills of sink %s: %w", sink, err)
	}
	return nil
}

// Run runs what is active until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	running.Go(func() { m.keepResolving(ctx) })
	for ctx.Err() == nil {
		m.startDue(ctx, &running)
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-tick.C:
		}
	}
	return nil
}

// startDue starts what is active and has its turn: the oldest first, and only for sinks that run.
func (m *Manager) startDue(ctx context.Context, running *sync.WaitGroup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	busy := map[string]int{}
	for id := range m.runs {
		if b := m.all[id]; b != nil {
			busy[b.Database]++
		}
	}
	var due []*Backfill
	for id, b := range m.all {
		if b.State == Active && m.runs[id] == nil {
			due = append(due, b)
		}
	}
	slices.SortFunc(due, func(x, y *Backfill) int { return x.Inserted.Compare(y.Inserted) })
	for _, b := range due {
		if busy[b.Database] >= runningAtOnce {
			continue
		}
		busy[b.Database]++
		runCtx, cancel := context.WithCancel(ctx)
		r := &run{m: m, id: b.ID, logger: m.logger.With("backfill", b.ID), cancel: cancel, ended: make(chan struct{})}
		m.runs[b.ID] = r
		running.Go(func() {
			defer close(r.ended)
			defer cancel()
			r.keepOn(runCtx)
			m.mu.Lock()
			delete(m.runs, r.id)
			m.mu.Unlock()
			m.signal()
		})
	}
}

// keepOn works until the backfill is over, trying again after errors that may pass.
func (r *run) keepOn(ctx context.Context) {
	again := backoff.Schedule{Base: 100 * time.Millisecond, Cap: 30 * time.Second}
	for n := 1; ctx.Err() == nil; n++ {
		before := r.rowsRead()
		err := r.work(ctx)
		if r.rowsRead() > before {
			n = 1
		}
		switch p := final(err); {
		case err == nil:
			r.end(ctx, Completed, nil)
			return
		case ctx.Err() != nil:
			return
		case errors.Is(err, consumer.ErrDisabled):
			r.end(ctx, Cancelled, problem.New("backfill_sink_disabled", "the sink was disabled, and holds nothing").WithHint("enable it and start another backfill"))
			return
		case p != nil:
			r.end(ctx, Failed, p)
			return
		case errors.Is(err, errNotRunning) || errors.Is(err, consumer.ErrStopped):
			r.waits("for the sink to run")
		default:
			r.trouble(ctx, err)
		}
		if sleep(ctx, again.Delay(n, nil)) != nil {
			return
		}
	}
}

func (r *run) rowsRead() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress.Read
}

// trouble notes an error that may pass.
func (r *run) trouble(ctx context.Context, err error) {
	text, code, hint := describe(err)
	r.logger.WarnContext(ctx, "a backfill does not get on; it is tried again", "code", code, "reason", text)
	r.waits("to try again")
	if b := r.m.record(r.id); b.Error != text {
		r.m.change(ctx, r.id, func(b *Backfill) { b.Error, b.ErrorCode, b.Hint = text, code, hint })
	}
}

// end notes that the backfill is over.
func (r *run) end(ctx context.Context, state State, why *problem.Error) {
	r.mu.Lock()
	p := r.progress
	r.mu.Unlock()
	r.m.change(ctx, r.id, func(b *Backfill) {
		if b.State.Over() {
			return
		}
		b.State, b.Ended = state, time.Now().UTC()
		b.Read, b.Offered, b.Bytes = p.Read, p.Offered, p.Bytes
		b.Error, b.ErrorCode, b.Hint = "", "", ""
		if why != nil {
			b.Error, b.ErrorCode, b.Hint = describe(why)
		}
	})
	r.m.forget(ctx, r.sink(), r.id)
	attrs := []any{"state", string(state), "rows", p.Read, "bytes", p.Bytes}
	if why != nil {
		attrs = append(attrs, "code", why.Code, "reason", why.Error())
	}
	r.logger.InfoContext(ctx, "a backfill is over", attrs...)
}

// InitialID is the id of a sink's first backfill of a table: the same however often it is asked for.
func InitialID(sink string, table resource.TableName) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("initial backfill of "+table.String()+" for "+sink)).String()
}
