package consumer_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/filter"
	"github.com/sequinstream/sequin/internal/problem"
)

const minute = time.Minute

func TestPullDeliversInOrderAndForgetsWhatIsAcked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 20 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c := start(t, log, state, pullConfig())
		synctest.Wait()
		ds := c.receive(consumer.ReceiveOptions{Max: 12, Wait: minute})
		require.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, seqs(ds))
		require.Equal(t, "3", ds[3].Group)
		require.Equal(t, log.changes[3].IdempotencyKey(), ds[3].ID)
		require.Equal(t, 1, ds[3].Attempt)
		require.EqualValues(t, 4, ds[3].Change.Seq)
		c.ack(ds...)
		require.EqualValues(t, 13, c.Cursor())
		c.stop()

		c = start(t, log, state, pullConfig())
		synctest.Wait()
		require.Equal(t, []uint64{13, 14, 15, 16, 17, 18, 19, 20}, seqs(c.receive(consumer.ReceiveOptions{Max: 100, Wait: minute})))
		require.Empty(t, c.receive(consumer.ReceiveOptions{Max: 100, Wait: time.Second}), "leased")
		c.stop()
	})
}

func TestOneMessageOfAGroupAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel, other := table(1, "orders"), table(2, "lines")
		log.add(insert(rel, "a"), update(rel, "a", "a"), insert(rel, "b"), remove(rel, "a"), insert(other, "a"))
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		ds := c.take(10)
		require.Equal(t, []uint64{1, 3, 5}, seqs(ds), "the same key in another table is another group")
		c.none(minute)
		c.settle(consumer.Done, ds[0])
		second := c.take(10)
		require.Equal(t, []uint64{2}, seqs(second))
		c.settle(consumer.Done, second...)
		require.Equal(t, []uint64{4}, seqs(c.take(10)))
	})
}

func TestSameGroupSharesABatchInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"), update(rel, "a", "a"), update(rel, "a", "a"), update(rel, "b", "b"))
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		ds, err := c.Take(t.Context(), consumer.TakeOptions{Max: 4, SameGroup: true})
		require.NoError(t, err)
		require.Equal(t, []uint64{1, 2, 3, 4}, seqs(ds))
		c.none(minute)
		// 1 fails: what comes after it in its group was not delivered, whatever the results say of it as failures.
		require.NoError(t, c.Settle(t.Context(), []consumer.Result{
			{Delivery: ds[0], Outcome: consumer.Retry, After: time.Second, Err: errors.New("no")},
			{Delivery: ds[1], Outcome: consumer.Done},
			{Delivery: ds[2], Outcome: consumer.Release},
			{Delivery: ds[3], Outcome: consumer.Retry},
		}))
		require.Equal(t, []uint64{5}, seqs(c.take(10)))
		ds, err = c.Take(t.Context(), consumer.TakeOptions{Max: 10, SameGroup: true})
		require.NoError(t, err)
		require.Equal(t, []uint64{1, 3, 4}, seqs(ds))
		require.Equal(t, []int{2, 1, 1}, []int{ds[0].Attempt, ds[1].Attempt, ds[2].Attempt})
		c.settle(consumer.Done, ds...)
		c.none(minute)
	})
}

func TestRetryFollowsTheScheduleAndBlocksItsGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), update(rel, "a", "a"))
		c := start(t, log, newState(), pushConfig())
		for n := 1; n <= 12; n++ {
			ds := c.take(10)
			require.Equal(t, []uint64{1}, seqs(ds))
			require.Equal(t, n, ds[0].Attempt)
			at := time.Now()
			c.settle(consumer.Retry, ds...)
			want := time.Second << (n - 1)
			lo, hi := want*85/100, want*115/100
			if n >= 10 {
				lo, hi = 600*time.Second, 600*time.Second
			}
			c.none(lo - time.Millisecond)
			require.Equal(t, 1, c.Stats().WaitingRetry)
			ctx, cancel := context.WithTimeout(t.Context(), hi-lo+2*time.Millisecond)
			again, err := c.Take(ctx, consumer.TakeOptions{Max: 10})
			cancel()
			require.NoError(t, err, "failure %d", n)
			require.LessOrEqual(t, time.Since(at), hi+time.Millisecond)
			c.settle(consumer.Release, again...)
		}
		st := c.Stats()
		require.Equal(t, "not today", st.LastError)
		require.False(t, st.FailingFrom.IsZero())
		c.settle(consumer.Done, c.take(1)...)
		require.True(t, c.Stats().FailingFrom.IsZero())
		require.Equal(t, []uint64{2}, seqs(c.take(1)))
	})
}

func TestDestinationChoosesTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		log.add(insert(table(1, "orders"), "a"))
		c := start(t, log, newState(), pushConfig())
		ds := c.take(1)
		require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: ds[0], Outcome: consumer.Retry, After: 42 * time.Second}}))
		c.none(42*time.Second - time.Nanosecond)
		require.Len(t, c.take(1), 1)
	})
}

func TestLongPollWakesAtOnceAndInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		c := start(t, log, newState(), pullConfig())
		begin := time.Now()
		got := make(chan int, 3)
		for i := range 3 {
			go func() {
				ds, err := c.Receive(t.Context(), consumer.ReceiveOptions{Max: 10, Wait: minute})
				if err == nil && len(ds) == 1 {
					got <- i
				} else {
					got <- -1
				}
			}()
			synctest.Wait()
		}
		require.Equal(t, 3, c.Stats().Receiving)
		for i := range 3 {
			log.add(insert(rel, strconv.Itoa(i)))
			require.Equal(t, i, <-got)
		}
		require.Equal(t, begin, time.Now(), "no time passes between a message and its delivery")
		require.Empty(t, c.receive(consumer.ReceiveOptions{Wait: time.Second}))
		require.Equal(t, time.Second, time.Since(begin))
	})
}

func TestTooManyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := pullConfig()
		cfg.MaxWaiting = 2
		c := start(t, newLog(), newState(), cfg)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { _, _ = c.Receive(t.Context(), consumer.ReceiveOptions{Wait: minute}) })
		}
		synctest.Wait()
		_, err := c.Receive(t.Context(), consumer.ReceiveOptions{Wait: minute})
		require.Equal(t, "too_many_waiting", problem.Code(err))
		ds, err := c.Receive(t.Context(), consumer.ReceiveOptions{})
		require.NoError(t, err, "who does not wait is not counted")
		require.Empty(t, ds)
		wg.Wait()
		require.Empty(t, c.receive(consumer.ReceiveOptions{Wait: minute}))
	})
}

func TestLeaseIsDurableBeforeReceiveReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		log.add(insert(table(1, "orders"), "a"))
		c := start(t, log, state, pullConfig())
		synctest.Wait()
		gate := make(chan struct{})
		state.mu.Lock()
		state.hook = func([]engine.Op) error { <-gate; return nil }
		state.mu.Unlock()
		got := make(chan []*consumer.Delivery, 1)
		go func() { got <- c.receive(consumer.ReceiveOptions{Max: 1, Wait: minute}) }()
		synctest.Wait()
		require.Empty(t, got)
		close(gate)
		ds := <-got
		require.Len(t, state.keys("consumer/"+testID+"/lease/"), 1)

		// The same holds for acknowledgements, also for the second of two.
		gate = make(chan struct{})
		acked := make(chan error, 2)
		for range 2 {
			go func() { acked <- c.Ack(t.Context(), ackIDs(ds)) }()
		}
		synctest.Wait()
		require.Empty(t, acked)
		close(gate)
		require.NoError(t, <-acked)
		require.NoError(t, <-acked)
		require.Empty(t, state.keys("consumer/"+testID+"/lease/"))
	})
}

func TestReceiveThatIsCancelledReleases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		log.add(insert(table(1, "orders"), "a"))
		c := start(t, log, state, pullConfig())
		synctest.Wait()
		gate := make(chan struct{})
		state.mu.Lock()
		state.hook = func([]engine.Op) error { <-gate; return nil }
		state.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Receive(ctx, consumer.ReceiveOptions{Max: 1})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(gate)
		ds := c.receive(consumer.ReceiveOptions{Max: 1})
		require.Len(t, ds, 1)
		require.Equal(t, 1, ds[0].Attempt)
	})
}

func TestExpiryNackExtend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"), update(rel, "a", "a"))
		c := start(t, log, state, pullConfig())
		synctest.Wait()
		one := c.receive(consumer.ReceiveOptions{Max: 10})
		require.Equal(t, []uint64{1, 2}, seqs(one))

		// Extend renews one of them; the other expires on time.
		time.Sleep(20 * time.Second)
		gone, err := c.Extend(t.Context(), []string{one[0].AckID, consumer.AckID{Seq: 9}.String()}, minute)
		require.NoError(t, err)
		require.Equal(t, []string{consumer.AckID{Seq: 9}.String()}, gone)
		begin := time.Now()
		two := c.receive(consumer.ReceiveOptions{Max: 10, Wait: 5 * minute})
		require.Equal(t, []uint64{2}, seqs(two))
		require.Equal(t, one[1].AckID, two[0].AckID)
		require.Equal(t, 2, two[0].Attempt)
		require.Equal(t, 10*time.Second, time.Since(begin))

		// A nack is at once, or after the delay.
		require.NoError(t, c.Nack(t.Context(), ackIDs(two), 0))
		two = c.receive(consumer.ReceiveOptions{Max: 10})
		require.Equal(t, 3, two[0].Attempt)
		require.NoError(t, c.Nack(t.Context(), ackIDs(two), 7*time.Second))
		begin = time.Now()
		two = c.receive(consumer.ReceiveOptions{Max: 10, Wait: minute, Visibility: 5 * minute})
		require.Equal(t, 7*time.Second, time.Since(begin))
		require.Equal(t, 4, two[0].Attempt)

		// The renewed one expires, goes to another worker, and the first one's late ack still completes it.
		again := c.receive(consumer.ReceiveOptions{Max: 10, Wait: 5 * minute})
		require.Equal(t, []uint64{1}, seqs(again))
		c.ack(one[0])
		require.Equal(t, []uint64{3}, seqs(c.receive(consumer.ReceiveOptions{Max: 10})))
		gone, err = c.Extend(t.Context(), ackIDs(again), minute)
		require.NoError(t, err)
		require.Len(t, gone, 1)
		require.NoError(t, c.Nack(t.Context(), ackIDs(again), 0), "of a message that is done: nothing happens")
		require.Empty(t, c.receive(consumer.ReceiveOptions{Max: 10}))
		require.EqualValues(t, 2, c.Stats().Expired)
		require.EqualValues(t, 2, c.Stats().Nacked)
	})
}

// A worker that takes several messages of a group gives the first one back: the second counts as not delivered, also after a restart.
func TestRecalledMessageIsNotLeasedAnyMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), update(rel, "a", "a"), insert(rel, "b"))
		c := start(t, log, state, pullConfig())
		synctest.Wait()
		ds := c.receive(consumer.ReceiveOptions{Max: 10, SameGroup: true, Visibility: time.Hour})
		require.Equal(t, []uint64{1, 2, 3}, seqs(ds))
		require.NoError(t, c.Nack(t.Context(), []string{ds[0].AckID}, 0))
		gone, err := c.Extend(t.Context(), ackIDs(ds[:2]), time.Hour)
		require.NoError(t, err)
		require.Equal(t, ackIDs(ds[:2]), gone)
		c.ack(c.receive(consumer.ReceiveOptions{Max: 1})...)
		c.stop()
		c = start(t, log, state, pullConfig())
		synctest.Wait()
		again := c.receive(consumer.ReceiveOptions{Max: 10})
		require.Equal(t, []uint64{2}, seqs(again))
		require.Equal(t, 1, again[0].Attempt)
	})
}

func TestAckIsIdempotentAndIgnoresStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"))
		c := start(t, log, newState(), pullConfig())
		ds := c.receive(consumer.ReceiveOptions{Max: 1, Wait: minute})
		own, err := consumer.ParseAckID(ds[0].AckID)
		require.NoError(t, err)
		require.NoError(t, c.Ack(t.Context(), []string{
			consumer.AckID{Consumer: own.Consumer + 1, Seq: 2}.String(),              // another consumer
			consumer.AckID{Consumer: own.Consumer, Generation: 1, Seq: 2}.String(),   // another generation
			consumer.AckID{Consumer: own.Consumer, Seq: 3}.String(),                  // not there yet
			consumer.AckID{Consumer: own.Consumer, Seq: math.MaxUint32 + 1}.String(), // never
			consumer.AckID{Consumer: own.Consumer, Seq: 0}.String(),                  // nothing
			"00000000-0000-0000-0000-000000000000", "3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e55",
		}))
		require.Equal(t, "invalid_ack_id", problem.Code(c.Ack(t.Context(), []string{ds[0].AckID, "x"})))
		require.EqualValues(t, 1, c.Stats().Cursor)
		c.ack(ds...)
		c.ack(ds...)
		require.EqualValues(t, 1, c.Stats().Acked)
		require.EqualValues(t, 2, c.Stats().Cursor)

		// One that was not handed out yet belongs to a message all the same.
		require.NoError(t, c.Ack(t.Context(), []string{consumer.AckID{Consumer: own.Consumer, Seq: 2}.String()}))
		require.Empty(t, c.receive(consumer.ReceiveOptions{Max: 1}))
		require.EqualValues(t, 3, c.Stats().Cursor)
	})
}

func TestFilterSkips(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel, other := table(1, "orders"), table(2, "lines")
		log.add(insert(other, "1"), insert(rel, "1"), remove(rel, "1"), truncate(rel), &cdc.Change{Op: cdc.OpMessage, Prefix: "x"}, insert(rel, "2"))
		cfg := pushConfig()
		cfg.Source = filter.Source{IncludeTables: []filter.TableRef{{Schema: "public", Name: "orders"}}}
		cfg.Actions = []string{"insert"}
		state := newState()
		c := start(t, log, state, cfg)
		synctest.Wait()
		ds := c.take(10)
		require.Equal(t, []uint64{2, 6}, seqs(ds))
		require.EqualValues(t, 4, c.Stats().Filtered)
		c.settle(consumer.Done, ds...)
		time.Sleep(10 * time.Millisecond)
		require.EqualValues(t, 7, c.Cursor(), "what the filter skips is done")
		log.add(insert(other, "5"))
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 8, c.Cursor(), "and the cursor follows without any acknowledgement")
	})
}

func TestStartNowSkipsWhatCommittedBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "old"))
		cfg := pushConfig()
		cfg.Start, cfg.SkipBelow = consumer.StartNow, 5*16
		c := start(t, log, state, cfg)
		log.add(insert(rel, "before")) // 32 < 80: committed before the consumer was created, captured later
		c.stop()
		cfg.SkipBelow = 0 // what was decided at creation holds
		c = start(t, log, state, cfg)
		log.add(insert(rel, "before too"), insert(rel, "before as well"), insert(rel, "after"))
		require.Equal(t, []uint64{5}, seqs(c.take(10)))
		require.EqualValues(t, 5, c.Stats().Cursor)
	})
}

func TestMaxAckPendingBoundsWhatIsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		for i := range 10 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		cfg := pushConfig()
		cfg.MaxAckPending = 3
		c := start(t, log, newState(), cfg)
		synctest.Wait()
		ds := c.take(10)
		require.Equal(t, []uint64{1, 2, 3}, seqs(ds))
		require.Equal(t, consumer.BoundPending, c.Stats().Bounded)
		c.none(minute)
		c.settle(consumer.Retry, ds[0])
		c.none(500 * time.Millisecond) // one that waits for its retry counts
		c.settle(consumer.Done, ds[1])
		require.Equal(t, []uint64{4}, seqs(c.take(10)))
		cfg.MaxAckPending = 1
		require.NoError(t, c.Update(t.Context(), cfg))
		c.none(minute)
		cfg.MaxAckPending = 100
		require.NoError(t, c.Update(t.Context(), cfg))
		require.Equal(t, []uint64{1, 5, 6, 7, 8, 9, 10}, seqs(c.take(10)))
	})
}

func TestBatchBytesAndLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		big := insert(rel, "big")
		big.Size = 1000
		log.add(big, insert(rel, "a"), insert(rel, "b"), insert(rel, "c"))
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		for _, want := range [][]uint64{{1}, {2, 3}, {4}} {
			ds, err := c.Take(t.Context(), consumer.TakeOptions{Max: 10, MaxBytes: 250})
			require.NoError(t, err)
			require.Equal(t, want, seqs(ds))
		}
		require.EqualValues(t, 4, c.Stats().Delivered, "what did not fit does not count")

		begin := time.Now()
		go func() {
			for i := range 5 {
				log.add(insert(rel, strconv.Itoa(i)))
				time.Sleep(10 * time.Millisecond)
			}
		}()
		ds, err := c.Take(t.Context(), consumer.TakeOptions{Max: 3, Linger: minute})
		require.NoError(t, err)
		require.Equal(t, []uint64{5, 6, 7}, seqs(ds))
		require.Equal(t, 20*time.Millisecond, time.Since(begin), "a full batch does not wait")
		ds, err = c.Take(t.Context(), consumer.TakeOptions{Max: 30, Linger: minute})
		require.NoError(t, err)
		require.Equal(t, []uint64{8, 9}, seqs(ds))
		require.Equal(t, 20*time.Millisecond+10*time.Millisecond+minute, time.Since(begin))
	})
}

func TestWrongWayOfDelivery(t *testing.T) {
	t.Parallel()
	c := start(t, newLog(), newState(), pullConfig())
	_, err := c.Take(t.Context(), consumer.TakeOptions{Max: 1})
	require.ErrorIs(t, err, consumer.ErrMode)
	p := start(t, newLog(), newState(), pushConfig())
	_, err = p.Receive(t.Context(), consumer.ReceiveOptions{Max: 1})
	require.ErrorIs(t, err, consumer.ErrMode)
}

func TestStoppedConsumerSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		log.add(insert(table(1, "orders"), "a"))
		c := start(t, log, newState(), pushConfig())
		ds := c.take(1)
		waiting := make(chan error, 1)
		go func() {
			_, err := c.Take(t.Context(), consumer.TakeOptions{Max: 1})
			waiting <- err
		}()
		synctest.Wait()
		c.stop()
		require.ErrorIs(t, <-waiting, consumer.ErrStopped)
		require.ErrorIs(t, c.Settle(t.Context(), []consumer.Result{{Delivery: ds[0]}}), consumer.ErrStopped)
		require.ErrorIs(t, c.Ack(t.Context(), nil), consumer.ErrStopped)
		_, err := c.Take(t.Context(), consumer.TakeOptions{Max: 1})
		require.ErrorIs(t, err, consumer.ErrStopped)
	})
}

func TestConfigMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := consumer.Open(t.Context(), deps(newLog(), newState()), consumer.Config{Status: "x", AckWait: -1, MaxRetryCount: -1, AckCommit: "y"})
	p, ok := problem.As(err)
	require.True(t, ok)
	require.Equal(t, "invalid_consumer", p.Code)
	require.Len(t, p.Fields, 5)
}

func TestDeliveredCountersAndAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		c := start(t, log, newState(), pushConfig())
		require.Zero(t, c.Stats().OldestAge)
		log.add(insert(rel, "a"))
		time.Sleep(minute)
		require.Equal(t, minute, c.Stats().OldestAge)
		require.EqualValues(t, 1, c.Stats().Lag)
		log.add(insert(rel, "b"))
		time.Sleep(minute)
		ds := c.take(10)
		require.Equal(t, 2*minute, c.Stats().OldestAge)
		c.settle(consumer.Done, ds[0])
		require.Equal(t, minute, c.Stats().OldestAge)
		c.settle(consumer.Done, ds[1])
		require.Zero(t, c.Stats().OldestAge)
		require.Zero(t, c.Stats().Lag)
		st := c.Stats()
		require.EqualValues(t, 2, st.Delivered)
		require.EqualValues(t, 2, st.Acked)
	})
}
