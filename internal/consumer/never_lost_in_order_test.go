package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/filter"
)

// The model knows of every message what it conflicts with and what became of it, and judges each delivery. The consumer under it is crashed
// after any number of writes and opened again on what they left.
type model struct {
	t     *testing.T
	r     *rand.Rand
	log   *fakeLog
	state *fakeState
	cfg   consumer.Config
	c     *running
	same  bool
	keys  map[uint64][]string // of each message: its groups, or "fence"
	table map[uint64]uint32

	done     map[uint64]bool // acknowledged, certainly and durably
	maybe    map[uint64]bool // the acknowledgement was not answered, or not durable yet
	dead     map[uint64]bool
	attempts map[uint64]int       // the last one seen
	slack    map[uint64]int       // attempts that may have been counted or not
	failed   map[uint64]bool      // the last attempt seen is over
	recalled map[uint64]bool      // the last attempt seen may have been taken back
	leased   map[uint64]time.Time // until when nobody else may get it
	ids      map[uint64]string
	held     map[uint64]*consumer.Delivery

	crashes, deliveries int
}

func newModel(t *testing.T, seed uint64, cfg consumer.Config) *model {
	t.Helper()
	m := &model{
		t: t, r: rand.New(rand.NewPCG(seed, 1)), log: newLog(), state: newState(), cfg: cfg,
		keys: map[uint64][]string{}, table: map[uint64]uint32{}, done: map[uint64]bool{}, maybe: map[uint64]bool{}, dead: map[uint64]bool{},
		attempts: map[uint64]int{}, slack: map[uint64]int{}, failed: map[uint64]bool{}, recalled: map[uint64]bool{},
		leased: map[uint64]time.Time{}, ids: map[uint64]string{}, held: map[uint64]*consumer.Delivery{},
	}
	m.log.block = 1 + m.r.IntN(9)
	m.same = m.r.IntN(3) == 0
	m.open()
	return m
}

func (m *model) open() {
	c, err := consumer.Open(m.t.Context(), deps(m.log, m.state), m.cfg)
	require.NoError(m.t, err)
	m.c = run(m.t, c)
}

// write appends a few changes: inserts, updates, deletes, changes of key, now and then a truncate or one that nobody wants.
func (m *model) write() {
	tables := []*cdc.Relation{table(1, "orders"), table(2, "lines"), table(3, "unwanted")}
	for range 1 + m.r.IntN(12) {
		rel := tables[m.r.IntN(3)]
		a, b := strconv.Itoa(m.r.IntN(5)), strconv.Itoa(m.r.IntN(5))
		var c *cdc.Change
		groups := []string{a}
		switch m.r.IntN(12) {
		case 0, 1, 2:
			c = insert(rel, a)
		case 3, 4, 5, 6:
			c = update(rel, a, a)
		case 7:
			c = remove(rel, a)
		case 8, 9, 10:
			c = update(rel, a, b)
			groups = []string{a, b}
		default:
			c = truncate(rel)
			groups = []string{"fence"}
		}
		m.log.add(c)
		if rel.OID != 3 {
			m.keys[c.Seq], m.table[c.Seq] = groups, rel.OID
		}
	}
}

func (m *model) conflict(a, b uint64) bool {
	if m.table[a] != m.table[b] {
		return false
	}
	for _, x := range m.keys[a] {
		if x == "fence" || slices.Contains(m.keys[b], x) || slices.Contains(m.keys[b], "fence") {
			return true
		}
	}
	return false
}

// judge checks a batch that was handed out.
func (m *model) judge(ds []*consumer.Delivery) {
	t, now := m.t, time.Now()
	require.True(t, slices.IsSorted(seqs(ds)))
	inBatch := map[uint64]bool{}
	for _, d := range ds {
		m.deliveries++
		s := d.Seq
		require.NotNil(t, m.keys[s], "message %d is not wanted", s)
		require.False(t, m.done[s], "message %d was acknowledged before", s)
		require.False(t, m.dead[s], "message %d is a dead letter", s)
		require.NotNil(t, d.Change)
		require.Equal(t, s, d.Change.Seq)
		if id, ok := m.ids[s]; ok {
			require.Equal(t, id, d.AckID)
		}
		m.ids[s] = d.AckID
		if m.held[s] != nil && !m.recalled[s] {
			require.False(t, now.Before(m.leased[s]), "message %d is leased until %v", s, m.leased[s])
		}
		for other := range m.keys {
			if other == s || m.done[other] || m.maybe[other] || m.dead[other] || inBatch[other] || !m.conflict(other, s) {
				continue
			}
			require.Greater(t, other, s, "message %d was handed out before %d of its group", s, other)
			_, out := m.held[other]
			require.False(t, out && !m.recalled[other] && now.Before(m.leased[other]), "%d is out while %d is", other, s)
		}
		m.judgeAttempt(d)
		inBatch[s] = true
		m.held[s], m.attempts[s] = d, d.Attempt
		m.failed[s], m.recalled[s], m.slack[s] = false, false, 0
	}
}

func (m *model) judgeAttempt(d *consumer.Delivery) {
	s := d.Seq
	last, seen := m.attempts[s]
	lo, hi := last+1, last+1+m.slack[s]
	switch {
	case !seen:
		lo = 1
	case m.recalled[s]:
		lo = last
	}
	require.GreaterOrEqual(m.t, d.Attempt, lo, "message %d", s)
	require.LessOrEqual(m.t, d.Attempt, hi, "message %d", s)
}

// fail notes that an attempt is over; what follows in the same batch and group is taken back.
func (m *model) fail(s uint64) {
	delete(m.held, s)
	delete(m.leased, s)
	m.failed[s] = true
	if !m.same {
		return
	}
	m.recallAfter(s)
}

func (m *model) someHeld() []*consumer.Delivery {
	held := slices.Sorted(maps.Keys(m.held))
	var out []*consumer.Delivery
	for _, s := range held {
		if m.r.IntN(2) == 0 {
			out = append(out, m.held[s])
		}
	}
	m.r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// crashIf opens the consumer again if it has crashed, and arms the next crash.
func (m *model) crashIf() bool {
	select {
	case <-m.state.crashed:
	default:
		return false
	}
	m.crashes++
	require.Error(m.t, <-m.c.done)
	m.c.over = true
	m.state = m.state.survivor()
	m.open()
	return true
}

func (m *model) arm() {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	if m.state.budget < 0 {
		m.state.budget = m.r.IntN(40)
	}
}

func (m *model) disarm() {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	m.state.budget = -1
}

// settled is what is left of an error that is not a crash.
func (m *model) crashed(err error) bool {
	if err == nil {
		return false
	}
	require.True(m.t, errors.Is(err, errCrashed) || errors.Is(err, consumer.ErrStopped), "%v", err)
	return true
}

func (m *model) receive() {
	visibility := time.Duration(5+m.r.IntN(60)) * time.Second
	ds, err := m.c.Receive(m.t.Context(), consumer.ReceiveOptions{Max: 1 + m.r.IntN(6), Visibility: visibility, SameGroup: m.same})
	if m.crashed(err) {
		// Leases may have become durable that nobody heard of.
		for s := range m.keys {
			m.slack[s]++
			m.recalled[s] = m.recalled[s] || m.same
		}
		return
	}
	m.judge(ds)
	for _, d := range ds {
		m.leased[d.Seq] = time.Now().Add(visibility)
	}
}

func (m *model) ackSome() {
	ds := m.someHeld()
	for _, d := range ds {
		m.maybe[d.Seq] = true
	}
	lost := m.crashed(m.c.Ack(m.t.Context(), ackIDs(ds)))
	for _, d := range ds {
		m.done[d.Seq] = !lost
		m.recalled[d.Seq] = lost && m.same // may be taken back later, when one before it fails
		if lost && m.same {
			m.recallAfter(d.Seq)
		}
	}
	for _, d := range ds {
		delete(m.held, d.Seq)
		delete(m.leased, d.Seq)
	}
}

func (m *model) nackSome() {
	ds := m.someHeld()
	lost := m.crashed(m.c.Nack(m.t.Context(), ackIDs(ds), time.Duration(m.r.IntN(3))*time.Second))
	for _, d := range ds {
		if m.recalled[d.Seq] {
			continue // it is not leased any more: the nack did nothing
		}
		if lost { // it may be in flight still, until its lease ends
			m.slack[d.Seq]++
			m.recalled[d.Seq] = true
			if m.same {
				m.recallAfter(d.Seq)
			}
			continue
		}
		m.fail(d.Seq)
	}
}

func (m *model) extendSome() {
	ds := m.someHeld()
	gone, err := m.c.Extend(m.t.Context(), ackIDs(ds), minute)
	if m.crashed(err) {
		for _, d := range ds {
			m.recalled[d.Seq] = true // either deadline may hold
			m.slack[d.Seq]++
			if m.same {
				m.recallAfter(d.Seq)
			}
		}
		return
	}
	for _, d := range ds {
		if !slices.Contains(gone, d.AckID) {
			m.leased[d.Seq] = time.Now().Add(minute)
		} else if !m.recalled[d.Seq] {
			require.False(m.t, time.Now().Before(m.leased[d.Seq]), "the lease of %d is gone before its time", d.Seq)
		}
	}
}

// pass lets time go by; leases end.
func (m *model) pass() {
	time.Sleep(time.Duration(m.r.IntN(40)) * time.Second)
	synctest.Wait()
	for _, s := range slices.Sorted(maps.Keys(m.held)) {
		if !time.Now().Before(m.leased[s]) {
			m.fail(s)
		}
	}
}

// drain acknowledges everything that is left, and checks that nothing is missing.
func (m *model) drain() {
	m.disarm()
	m.crashIf()
	for range 10_000 {
		synctest.Wait()
		ds := m.c.receive(consumer.ReceiveOptions{Max: 100, SameGroup: m.same})
		m.judge(ds)
		m.c.ack(ds...)
		for _, d := range ds {
			m.done[d.Seq] = true
			delete(m.held, d.Seq)
		}
		if m.c.Cursor() == m.log.End().Seq+1 {
			break
		}
		if len(ds) == 0 {
			m.pass()
		}
	}
	for s := range m.keys {
		require.True(m.t, m.done[s] || m.maybe[s], "message %d is lost", s)
	}
	require.Equal(m.t, m.log.End().Seq+1, m.c.Cursor())
	require.Empty(m.t, m.c.Books())
	m.c.stop()
	for _, k := range m.state.keys("consumer/" + testID + "/") {
		// The page that the cursor stands in may still be there.
		require.Contains(m.t, []string{"consumer/" + testID + "/cursor", "consumer/" + testID + "/done/0000000000000000"}, k)
	}
}

func TestPullNeverLosesRepeatsOrReorders(t *testing.T) {
	t.Parallel()
	crashes, deliveries := 0, 0
	for seed := range uint64(iterations(300)) {
		synctest.Test(t, func(t *testing.T) {
			cfg := pullConfig()
			cfg.Actions = filter.Actions()
			cfg.Source.ExcludeTables = []filter.TableRef{{Schema: "public", Name: "unwanted"}}
			m := newModel(t, seed, cfg)
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			for range 60 {
				switch m.r.IntN(12) {
				case 0, 1:
					m.write()
				case 2, 3, 4, 5:
					m.receive()
				case 6, 7:
					m.ackSome()
				case 8:
					m.nackSome()
				case 9:
					m.extendSome()
				case 10:
					m.pass()
				default:
					m.arm()
				}
				if m.r.IntN(3) == 0 {
					synctest.Wait()
				}
				m.crashIf()
			}
			m.drain()
			crashes += m.crashes
			deliveries += m.deliveries
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	require.Greater(t, crashes, iterations(300)/4, "the test crashes too rarely to mean anything")
	require.Greater(t, deliveries, iterations(300)*10)
}

// iterations is n, or less when -short asks for it.
func iterations(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

func TestPushNeverLosesOrReorders(t *testing.T) {
	t.Parallel()
	crashes := 0
	for seed := range uint64(iterations(300)) {
		synctest.Test(t, func(t *testing.T) {
			cfg := pushConfig()
			cfg.Actions = filter.Actions()
			cfg.Source.ExcludeTables = []filter.TableRef{{Schema: "public", Name: "unwanted"}}
			if seed%2 == 0 {
				cfg.AckCommit = consumer.AckEach
			}
			if seed%3 == 0 {
				cfg.MaxRetryCount = 3
			}
			m := newModel(t, seed, cfg)
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			for range 60 {
				switch m.r.IntN(12) {
				case 0, 1:
					m.write()
				case 2, 3, 4, 5:
					m.take()
				case 6, 7, 8, 9:
					m.settleSome()
				case 10:
					time.Sleep(time.Duration(m.r.IntN(3000)) * time.Millisecond)
					synctest.Wait()
				default:
					m.arm()
				}
				if m.crashIf() {
					m.forgetHeld()
				}
			}
			m.drainPush()
			crashes += m.crashes
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	require.Greater(t, crashes, iterations(300)/4, "the test crashes too rarely to mean anything")
}

// forgetHeld is what a crash does to a push consumer: what was out will be out again, with the same attempt or the next one.
func (m *model) forgetHeld() {
	clear(m.held)
	clear(m.leased)
	for s := range m.keys {
		m.recalled[s] = true
		m.slack[s] += 2
		if m.attempts[s] > 0 { // failures of the last milliseconds may be forgotten
			m.attempts[s] = max(m.attempts[s]-3, 1)
			m.slack[s] += 3
		}
	}
}

func (m *model) take() {
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Nanosecond)
	defer cancel()
	synctest.Wait()
	ds, err := m.c.Take(ctx, consumer.TakeOptions{Max: 1 + m.r.IntN(6), SameGroup: m.same})
	if err != nil {
		return
	}
	m.judge(ds)
	for _, d := range ds {
		m.leased[d.Seq] = time.Now().Add(24 * time.Hour)
	}
}

func (m *model) settleSome() {
	var rs []consumer.Result
	failed := map[string]bool{}
	for _, s := range slices.Sorted(maps.Keys(m.held)) {
		d := m.held[s]
		if m.r.IntN(3) == 0 {
			continue
		}
		o := []consumer.Outcome{consumer.Done, consumer.Done, consumer.Retry, consumer.Reject, consumer.Release}[m.r.IntN(5)]
		for _, k := range m.keys[s] { // as an atomic or prefix destination does
			k = fmt.Sprint(m.table[s], k)
			if failed[k] || failed[fmt.Sprint(m.table[s], "fence")] {
				o = consumer.Release
			}
			failed[k] = failed[k] || o != consumer.Done
		}
		rs = append(rs, consumer.Result{Delivery: d, Outcome: o, Err: errors.New("no"), After: time.Second})
	}
	lost := m.crashed(m.c.Settle(m.t.Context(), rs))
	for _, r := range rs {
		s := r.Delivery.Seq
		delete(m.held, s)
		delete(m.leased, s)
		switch r.Outcome {
		case consumer.Done:
			m.maybe[s] = true
			m.done[s] = !lost && m.cfg.AckCommit == consumer.AckEach
		case consumer.Retry:
			m.failed[s] = true
			m.maybe[s] = m.maybe[s] || m.cfg.MaxRetryCount > 0 && r.Delivery.Attempt >= m.cfg.MaxRetryCount
			m.recallAfter(s)
		case consumer.Reject:
			m.maybe[s] = true
			m.recallAfter(s)
		case consumer.Release:
			m.recalled[s] = true
			m.recallAfter(s)
		}
	}
}

func (m *model) recallAfter(s uint64) {
	for other := range m.held {
		if other > s && m.conflict(other, s) {
			m.recalled[other] = true
		}
	}
}

func (m *model) drainPush() {
	m.disarm()
	if m.crashIf() {
		m.forgetHeld()
	}
	for s, d := range m.held {
		m.c.settle(consumer.Release, d)
		m.recalled[s] = true
	}
	clear(m.held)
	clear(m.leased)
	for range 10_000 {
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if m.c.Cursor() == m.log.End().Seq+1 {
			break
		}
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
		ds, err := m.c.Take(ctx, consumer.TakeOptions{Max: 100, SameGroup: m.same})
		cancel()
		if err != nil {
			continue
		}
		m.judge(ds)
		m.c.settle(consumer.Done, ds...)
		for _, d := range ds {
			m.done[d.Seq] = true
			delete(m.held, d.Seq)
		}
	}
	dead, err := m.c.deadLetters(0, 10_000)
	require.NoError(m.t, err)
	for i := range dead {
		require.NotNil(m.t, m.keys[dead[i].Seq])
		m.dead[dead[i].Seq] = true
	}
	for s := range m.keys {
		require.True(m.t, m.done[s] || m.maybe[s] || m.dead[s], "message %d is lost", s)
	}
	require.Equal(m.t, m.log.End().Seq+1, m.c.Cursor())
	require.EqualValues(m.t, len(dead), m.c.Stats().DeadLetters)
	m.c.stop()
}
