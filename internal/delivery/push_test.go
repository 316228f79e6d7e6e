package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
)

// A flaky destination, every way of failing, many workers: each message is accepted once, in the order of its group.
func TestOrderWithinGroups(t *testing.T) {
	t.Parallel()
	for _, atomicity := range []sink.Atomicity{sink.PerMessage, sink.Atomic, sink.Prefix} {
		for seed := range uint64(20) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				groups := make([]byte, 400)
				for i := range groups {
					groups[i] = "abcdefghij-"[random.IntN(11)]
				}
				q := newQueue(letters(string(groups))...)
				q.retryWait = time.Second
				d := &flaky{random: random, atomicity: atomicity}
				_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{
					Atomicity: atomicity, BatchSize: 1 + random.IntN(30), Workers: 1 + random.IntN(8), Sink: to(d.deliver),
				}})
				pass(time.Hour)
				require.NoError(t, stop())
				require.Empty(t, q.waiting, "everything was delivered")
				require.Len(t, d.accepted, 400, "exactly once: nothing here crashes")
				last := map[string]uint64{}
				for _, m := range d.accepted {
					if m.group != "" {
						require.Greater(t, m.seq, last[m.group], "atomicity %d seed %d", atomicity, seed)
						last[m.group] = m.seq
					}
				}
			})
		}
	}
}

type accepted struct {
	seq   uint64
	group string
}

type flaky struct {
	mu        sync.Mutex
	random    *rand.Rand
	atomicity sink.Atomicity
	accepted  []accepted
}

func (f *flaky) deliver(_ context.Context, batch []sink.Message) error {
	f.mu.Lock()
	wait := time.Duration(f.random.IntN(1000)) * time.Millisecond
	f.mu.Unlock()
	time.Sleep(wait)
	f.mu.Lock()
	defer f.mu.Unlock()
	take := func(m sink.Message) { f.accepted = append(f.accepted, accepted{seqOf(m), m.Group}) }
	if f.random.IntN(4) == 0 {
		switch f.random.IntN(3) {
		case 0:
			return errDown
		case 1:
			return sink.RetryAfter(errDown, 3*time.Second)
		}
		return &sink.UnavailableError{Cause: errDown, After: time.Second}
	}
	bad := map[int]error{}
	for i, m := range batch {
		if f.random.IntN(10) == 0 {
			bad[i] = errDown
			if f.atomicity == sink.Atomic {
				return errDown
			}
			if f.atomicity == sink.Prefix {
				return failed(bad)
			}
			continue
		}
		if f.atomicity != sink.Atomic {
			take(m)
		}
	}
	if f.atomicity == sink.Atomic {
		for _, m := range batch {
			take(m)
		}
	}
	if len(bad) > 0 {
		return failed(bad)
	}
	return nil
}

func TestWhatIsAskedOfTheConsumer(t *testing.T) {
	t.Parallel()
	for atomicity, sameGroup := range map[sink.Atomicity]bool{sink.PerMessage: false, sink.Atomic: true, sink.Prefix: true} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue()
			_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{
				Atomicity: atomicity, BatchSize: 7, BatchBytes: 999, Linger: time.Second, Sink: to(nil),
			}})
			synctest.Wait()
			require.NoError(t, stop())
			require.Len(t, q.options, 1, "one worker waits for messages, the others for their turn")
			o := q.options[0]
			require.Equal(t, sameGroup, o.SameGroup)
			require.Equal(t, 7, o.Max)
			require.Equal(t, 999, o.MaxBytes)
			require.Zero(t, o.Linger, "with nothing at the sink, waiting for a fuller batch only costs time")
			require.NotNil(t, o.Hurry)
		})
	}
}

// While a delivery is under way the next batch may fill; once it is back, nothing waits any longer.
func TestBatchesLingerOnlyWhileOthersAreDelivered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("a")...)
		answer := make(chan struct{})
		_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{
			BatchSize: 7, Linger: time.Second, Workers: 2,
			Sink: to(func(context.Context, []sink.Message) error { <-answer; return nil }),
		}})
		synctest.Wait()
		q.mu.Lock()
		require.Len(t, q.options, 2)
		second := q.options[1]
		q.mu.Unlock()
		require.Equal(t, time.Second, second.Linger)
		select {
		case <-second.Hurry:
			t.Fatal("nothing has come back yet")
		default:
		}
		answer <- struct{}{}
		synctest.Wait()
		select {
		case <-second.Hurry:
		default:
			t.Fatal("the sink has nothing to do, and the batch still lingers")
		}
		require.NoError(t, stop())
	})
}

// A destination that does not answer holds as many messages as its workers carry, and no more.
func TestSlowDestinationHoldsOnlyItsWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters(string(bytes.Repeat([]byte{'-'}, 1000)))...)
		var at, most atomic.Int64
		p, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{
			BatchSize: 5, Workers: 3,
			Sink: to(func(context.Context, []sink.Message) error {
				if n := at.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer at.Add(-1)
				time.Sleep(time.Minute)
				return nil
			}),
		}})
		synctest.Wait()
		require.Equal(t, 15, q.mostHeld)
		require.Equal(t, 15, p.Status().InFlight)
		require.Equal(t, 3, p.Status().Workers)
		pass(30 * time.Minute)
		require.Equal(t, int64(3), most.Load(), "workers deliver side by side")
		require.Equal(t, 15, q.mostHeld)
		require.NoError(t, stop())
	})
}

func TestUnavailableDestinationIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("abcdefghijklmnop")...)
		var down atomic.Bool
		down.Store(true)
		var calls, at, most atomic.Int64
		ready := make(chan struct{})
		p, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{Workers: 8, Sink: to(func(context.Context, []sink.Message) error {
			calls.Add(1)
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			time.Sleep(time.Second)
			if down.Load() {
				return &sink.UnavailableError{Cause: errDown, After: 9 * time.Second, Ready: ready}
			}
			return nil
		})}})
		synctest.Wait()
		pass(2 * time.Second)
		first := calls.Load()
		require.LessOrEqual(t, first, int64(8))
		status := p.Status()
		require.ErrorIs(t, status.Away, errDown)
		require.WithinDuration(t, time.Now().Add(8*time.Second), status.NextTry, time.Second)
		require.False(t, status.AwaySince.IsZero())

		most.Store(0)
		pass(100 * time.Second)
		require.Equal(t, first+10, calls.Load(), "one probe in ten seconds")
		require.Equal(t, int64(1), most.Load(), "one at a time")
		q.read(func() {
			for _, d := range q.waiting {
				require.Equal(t, 1, d.Attempt, "what was not tried is not counted")
			}
		})

		down.Store(false)
		synctest.Wait()
		begin := time.Now()
		close(ready) // whoever shares the destination found it alive
		for delivered := 0; delivered < 16; q.read(func() { delivered = len(q.done) }) {
			pass(100 * time.Millisecond)
		}
		require.Less(t, time.Since(begin), 6*time.Second)
		require.Equal(t, int64(8), most.Load(), "all work again")
		require.NoError(t, p.Status().Away)
		require.NoError(t, stop())
	})
}

// The destination is alive again and dislikes what it gets: deliveries go on side by side, each fails on its own account.
func TestFailuresAfterAnOutageOpenTheGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("abcdefgh")...)
		q.retryWait = 10 * time.Minute
		var calls atomic.Int64
		p, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{Workers: 4, Sink: to(func(context.Context, []sink.Message) error {
			if calls.Add(1) <= 4 {
				return &sink.UnavailableError{Cause: errDown}
			}
			return errDown
		})}})
		pass(time.Minute)
		require.NoError(t, p.Status().Away)
		require.Equal(t, 8, p.Status().Failures)
		require.NoError(t, stop())
	})
}

func TestStopLetsDeliveriesFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("abcdef")...)
		closed := false
		destination := to(func(ctx context.Context, batch []sink.Message) error {
			select {
			case <-time.After(time.Duration(seqOf(batch[0])) * 3 * time.Second):
				return nil
			case <-ctx.Done():
				return fmt.Errorf("given up: %w", ctx.Err())
			}
		})
		destination.closed = func() { closed = true }
		p, stop := start(t, delivery.Options{Source: q, Drain: 10 * time.Second, Settings: delivery.Settings{Workers: 5, Sink: destination}})
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, stop())
		require.Equal(t, 10*time.Second, time.Since(begin))
		require.Equal(t, []string{"1 done", "2 done", "3 done"}, q.outcomes()[:3])
		require.ElementsMatch(t, []string{"4 release", "5 release"}, q.outcomes()[3:])
		require.True(t, closed)
		require.Error(t, p.Update(delivery.Settings{Sink: to(nil), Shape: shape.Each(encode, nil)}))
	})
}

func TestStopIsPromptWhenIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, stop := start(t, delivery.Options{Source: newQueue(), Settings: delivery.Settings{Sink: to(nil)}})
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, stop())
		require.Zero(t, time.Since(begin))
	})
}

func TestUpdateInPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("abc")...)
		var log []string
		var mu sync.Mutex
		destination := func(name string, wait time.Duration) *sinkFunc {
			note := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				log = append(log, name+" "+fmt.Sprintf(format, args...))
			}
			s := to(func(_ context.Context, batch []sink.Message) error {
				time.Sleep(wait)
				for _, m := range batch {
					note("%d", seqOf(m))
				}
				return nil
			})
			s.closed = func() { note("closed") }
			return s
		}
		old, next := destination("old", 10*time.Second), destination("new", time.Second)
		p, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{Workers: 4, Sink: old}})
		synctest.Wait() // three out, one worker waits in Take
		require.NoError(t, p.Update(delivery.Settings{Workers: 2, BatchSize: 5, Sink: next, Shape: shape.Each(encode, nil)}))
		q.read(func() {
			for _, d := range letters("defghi") {
				d.Seq += 3
				q.waiting = append(q.waiting, d)
			}
			q.signalLocked()
		})
		pass(5 * time.Second)
		require.Equal(t, 2, p.Status().Workers)
		mu.Lock()
		so := slices.Clone(log)
		mu.Unlock()
		require.ElementsMatch(t, []string{"new 4", "new 5", "new 6", "new 7", "new 8", "new 9"}, so)
		pass(6 * time.Second)
		require.Len(t, log, 10)
		require.ElementsMatch(t, []string{"old 1", "old 2", "old 3"}, log[6:9])
		require.Equal(t, "old closed", log[9], "after its last delivery")

		// The same sink again, other sizes: it stays open. More workers start.
		require.NoError(t, p.Update(delivery.Settings{Workers: 6, Sink: next, Shape: shape.Each(encode, nil)}))
		q.read(func() {
			for _, d := range letters("jklmno") {
				d.Seq += 9
				q.waiting = append(q.waiting, d)
			}
			q.signalLocked()
		})
		begin := time.Now()
		pass(1500 * time.Millisecond)
		require.Len(t, log, 16, "six at a time since %s", begin)
		require.NoError(t, stop())
		require.Equal(t, "new closed", log[16])
		require.Len(t, q.done, 9+6)
		require.Zero(t, slices.IndexFunc(q.options, func(o consumer.TakeOptions) bool { return o.Max == 1 }))
	})
}

func TestUpdateEndsAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("a")...)
		p, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{Sink: to(func(context.Context, []sink.Message) error {
			return &sink.UnavailableError{Cause: errDown, After: 24 * time.Hour}
		})}})
		synctest.Wait()
		require.Error(t, p.Status().Away)
		require.NoError(t, p.Update(delivery.Settings{Shape: shape.Each(encode, nil), Sink: to(func(context.Context, []sink.Message) error { return nil })}))
		synctest.Wait()
		require.Equal(t, []uint64{1}, q.done)
		require.NoError(t, stop())
	})
}

func TestErrorsOfTheConsumerEndTheRun(t *testing.T) {
	t.Parallel()
	errLog := errors.New("log is damaged")
	for name, set := range map[string]func(*queue){"take": func(q *queue) { q.takeErr = errLog }, "settle": func(q *queue) { q.settleErr = errLog }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(letters("ab")...)
				set(q)
				closed := false
				destination := to(func(context.Context, []sink.Message) error { return nil })
				destination.closed = func() { closed = true }
				p, err := delivery.New(delivery.Options{Name: "orders", Source: q, Settings: delivery.Settings{Sink: destination, Shape: shape.Each(encode, nil)}})
				require.NoError(t, err)
				err = p.Run(t.Context())
				require.ErrorIs(t, err, errLog)
				require.ErrorContains(t, err, `"orders"`)
				require.True(t, closed)
			})
		})
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	_, err := delivery.New(delivery.Options{Settings: delivery.Settings{Sink: to(nil), Shape: shape.Each(encode, nil)}})
	require.Error(t, err)
	_, err = delivery.New(delivery.Options{Source: newQueue(), Settings: delivery.Settings{Shape: shape.Each(encode, nil)}})
	require.Error(t, err)
	p, err := delivery.New(delivery.Options{Source: newQueue(), Settings: delivery.Settings{Sink: to(nil), Shape: shape.Each(encode, nil)}})
	require.NoError(t, err)
	require.Error(t, p.Update(delivery.Settings{Sink: to(nil)}))
	require.GreaterOrEqual(t, p.Status().Workers, 10)
	require.LessOrEqual(t, p.Status().Workers, 80)
}

type attempts struct {
	mu  sync.Mutex
	all []delivery.Attempt
}

func (a *attempts) Observe(one delivery.Attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, one)
}

func TestAttemptsAreObservedAndTurnsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		messages := letters("aab")
		committed := time.Now().Add(-3 * time.Second)
		for _, d := range messages {
			d.Change = &cdc.Change{CommitTime: cdc.Timestamp(committed.UnixMicro())}
		}
		q := newQueue(messages...)
		q.retryWait = time.Minute
		var log bytes.Buffer
		seen := &attempts{}
		calls := 0
		p, stop := start(t, delivery.Options{
			Source: q, Observer: seen, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Settings: delivery.Settings{Atomicity: sink.Atomic, BatchSize: 10, Workers: 1, Sink: to(func(context.Context, []sink.Message) error {
				time.Sleep(20 * time.Millisecond)
				calls++
				switch calls {
				case 1:
					return errDown
				case 2:
					return &sink.UnavailableError{Cause: errDown, After: time.Second}
				}
				return nil
			})},
		})
		pass(30 * time.Second)
		status := p.Status()
		require.Equal(t, 1, status.Failures)
		require.ErrorIs(t, status.LastError, errDown)
		require.True(t, status.LastSuccess.IsZero())
		pass(2 * time.Minute)
		require.NoError(t, stop())
		status = p.Status()
		require.Zero(t, status.Failures)
		require.NoError(t, status.LastError)
		require.False(t, status.LastSuccess.IsZero())
		require.False(t, status.LastFailure.IsZero())

		first := seen.all[0]
		require.Equal(t, delivery.Attempt{Failed: 2, Bytes: 18, Latency: 20 * time.Millisecond, Waited: first.Waited, Err: errDown}, first)
		require.InDelta(t, 3, first.Waited.Seconds(), 0.1)
		total := delivery.Attempt{}
		for _, a := range seen.all {
			total.Accepted += a.Accepted
			total.Failed += a.Failed
		}
		require.Equal(t, 3, total.Accepted)
		require.Equal(t, 2, total.Failed, "what was not tried is not an attempt")
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("deliveries fail")))
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("deliveries succeed again")))
	})
}
