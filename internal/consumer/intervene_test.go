package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/filter"
	"github.com/sequinstream/sequin/internal/problem"
)

func (r *running) redeliver(sel consumer.Selection) consumer.Changed {
	r.t.Helper()
	did, err := r.Redeliver(r.t.Context(), sel)
	require.NoError(r.t, err)
	return did
}

func (r *running) discardMessages(sel consumer.Selection) consumer.Changed {
	r.t.Helper()
	did, err := r.DiscardMessages(r.t.Context(), sel)
	require.NoError(r.t, err)
	return did
}

// retry fails a delivery, for the next attempt to be after d.
func (r *running) retry(d time.Duration, ds ...*consumer.Delivery) {
	r.t.Helper()
	var rs []consumer.Result
	for _, x := range ds {
		rs = append(rs, consumer.Result{Delivery: x, Outcome: consumer.Retry, After: d, Err: fmt.Errorf("503 of %d", x.Seq)})
	}
	require.NoError(r.t, r.Settle(r.t.Context(), rs))
}

func TestRedeliverEndsAWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"), insert(rel, "c"), insert(rel, "d"), update(rel, "a", "a"))
		c := start(t, log, state, pushConfig())
		ds := c.take(3)
		c.retry(24*time.Hour, ds[0], ds[1])
		did := c.redeliver(consumer.Selection{Seqs: []uint64{1, 3, 4, 5, 6, 1}})
		require.Equal(t, consumer.Changed{Count: 1, Missing: []consumer.Missing{
			{Seq: 3, Reason: consumer.MissingInFlight},
			{Seq: 4, Reason: consumer.MissingAvailable},
			{Seq: 5, Reason: consumer.MissingAvailable},
			{Seq: 6, Reason: consumer.MissingNotFound},
		}}, did)
		again := c.take(1)
		require.EqualValues(t, 1, again[0].Seq)
		require.Equal(t, 2, again[0].Attempt, "attempts count on")
		c.settle(consumer.Done, again[0])
		did = c.redeliver(consumer.Selection{Seqs: []uint64{1}, AckIDs: []string{ds[1].AckID, consumer.AckID{Seq: 2, Consumer: 9}.String()}})
		require.Equal(t, 1, did.Count)
		require.ElementsMatch(t, []consumer.Missing{
			{Seq: 1, Reason: consumer.MissingDone}, {AckID: consumer.AckID{Seq: 2, Consumer: 9}.String(), Reason: consumer.MissingNotFound},
		}, did.Missing)
		require.Equal(t, []uint64{2, 4, 5}, seqs(c.take(10)))

		_, err := c.Redeliver(t.Context(), consumer.Selection{AckIDs: []string{"x"}})
		require.Equal(t, "invalid_ack_id", problem.Code(err))
		require.Zero(t, c.redeliver(consumer.Selection{}), "nothing is named, nothing is done")
		require.Empty(t, c.Books())
	})
}

// The end of a wait survives a crash, and so does what is known of the last error.
func TestRedeliverIsDurable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 300 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		cfg := pushConfig()
		c := start(t, log, state, cfg)
		synctest.Wait()
		c.retry(24*time.Hour, c.take(300)...)
		paused := cfg
		paused.Status = consumer.Paused
		require.NoError(t, c.Update(t.Context(), paused))
		require.Equal(t, consumer.Changed{Count: 300}, c.redeliver(consumer.Selection{All: true, State: consumer.MessageBackingOff}))
		require.Zero(t, c.redeliver(consumer.Selection{All: true}))
		state = state.survivor()
		other := start(t, log, state, paused)
		synctest.Wait()
		all := other.list(consumer.MessageQuery{State: consumer.MessageRedelivery})
		require.Len(t, all, 300)
		for i := range all {
			require.Equal(t, fmt.Sprintf("503 of %d", i+1), all[i].LastError)
			require.Equal(t, 1, all[i].Attempts)
		}
		require.NoError(t, other.Update(t.Context(), cfg))
		require.Len(t, other.take(300), 300)
	})
}

func TestRedeliverLeavesLeasesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"))
		c := start(t, log, newState(), pullConfig())
		ds := c.receive(consumer.ReceiveOptions{Max: 2, Wait: minute, Visibility: minute})
		require.NoError(t, c.Nack(t.Context(), []string{ds[1].AckID}, time.Hour))
		did := c.redeliver(consumer.Selection{AckIDs: ackIDs(ds)})
		require.Equal(t, consumer.Changed{Count: 1, Missing: []consumer.Missing{{Seq: 1, AckID: ds[0].AckID, Reason: consumer.MissingInFlight}}}, did)
		again := c.receive(consumer.ReceiveOptions{Max: 2})
		require.Equal(t, []uint64{2}, seqs(again))
		c.ack(ds[0])
		time.Sleep(minute)
		require.Equal(t, []uint64{2}, seqs(c.receive(consumer.ReceiveOptions{Max: 2})), "the lease ended")
	})
}

func TestDiscardLetsTheNextGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), update(rel, "a", "a"), update(rel, "a", "a"), insert(rel, "b")) // 1 to 4
		c := start(t, log, state, pushConfig())
		ds := c.take(10)
		c.retry(24*time.Hour, ds[0])
		c.none(minute)
		did := c.discardMessages(consumer.Selection{Seqs: []uint64{1, 4, 9}})
		require.Equal(t, consumer.Changed{Count: 1, Missing: []consumer.Missing{
			{Seq: 4, Reason: consumer.MissingInFlight}, {Seq: 9, Reason: consumer.MissingNotFound},
		}}, did)
		require.EqualValues(t, 1, c.Stats().Discarded)
		require.Zero(t, c.Stats().FailingFrom, "what failed is gone")
		require.Equal(t, []uint64{2}, seqs(c.take(10)))
		require.Equal(t, consumer.Changed{Count: 1}, c.discardMessages(consumer.Selection{Seqs: []uint64{3}}), "out of a backlog")
		require.Equal(t, []consumer.Missing{{Seq: 1, Reason: consumer.MissingDone}}, c.discardMessages(consumer.Selection{Seqs: []uint64{1}}).Missing)
		require.Empty(t, c.Books())
		c.stop()

		c = start(t, log, state.survivor(), pushConfig())
		require.Equal(t, []uint64{2, 4}, seqs(c.take(10)))
		c.none(48 * time.Hour)
		require.Zero(t, c.Stats().DeadLetters, "a discard leaves no dead letter")
	})
}

// A change of key blocks two groups; once it is discarded it blocks none, whether it was next in one, in the other, or in both.
func TestDiscardedChangeOfKeyBlocksNobody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before []string // groups with a message that fails for long
		also   bool     // what is behind the change is discarded too
	}{
		"next in both": {}, "next in the new group": {before: []string{"a"}}, "next in the old group": {before: []string{"b"}},
		"next in none": {before: []string{"a", "b"}}, "with what is behind": {before: []string{"a", "b"}, also: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log, state := newLog(), newState()
				rel := table(1, "orders")
				for _, key := range test.before {
					log.add(insert(rel, key))
				}
				n := uint64(len(test.before))
				log.add(update(rel, "a", "b"), insert(rel, "a"), insert(rel, "b"), truncate(rel)) // n+1 to n+4
				cfg := pushConfig()
				cfg.Actions = filter.Actions()
				c := start(t, log, state, cfg)
				synctest.Wait()
				if n > 0 {
					c.retry(24*time.Hour, c.take(int(n))...) //nolint:gosec // two
				}
				sel := consumer.Selection{Seqs: []uint64{n + 1}}
				if test.also {
					sel.Seqs = append(sel.Seqs, n+2)
				}
				require.Equal(t, consumer.Changed{Count: len(sel.Seqs)}, c.discardMessages(sel))
				require.Empty(t, c.Books())
				want := map[string]uint64{"a": n + 2, "b": n + 3}
				for _, key := range test.before {
					delete(want, key)
				}
				for range want {
					d := c.take(1)[0]
					require.Equal(t, want[d.Group], d.Seq)
					c.settle(consumer.Done, d)
				}
				require.Empty(t, c.Books())
				for c.Cursor() < n+4 && n > 0 { // the rest goes its way, and the truncation last
					d := c.take(1)[0]
					if d.Seq == n+4 {
						break
					}
					require.NotEqual(t, n+1, d.Seq)
					c.settle(consumer.Done, d)
					time.Sleep(10 * time.Millisecond)
				}
				require.Empty(t, c.Books())
			})
		})
	}
}

// A message that was received may be discarded; a late acknowledgement is fine.
func TestDiscardTakesALeasedMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), update(rel, "a", "a"))
		c := start(t, log, newState(), pullConfig())
		ds := c.receive(consumer.ReceiveOptions{Wait: minute, Visibility: 12 * time.Hour})
		require.Equal(t, consumer.Changed{Count: 1}, c.discardMessages(consumer.Selection{AckIDs: ackIDs(ds)}))
		c.ack(ds...)
		require.EqualValues(t, 2, c.Stats().Cursor)
		require.Equal(t, []uint64{2}, seqs(c.receive(consumer.ReceiveOptions{})))
	})
}

// Everything can be discarded: what has a history, what waits, and what was not read yet; but neither what others want, nor what is on its way.
func TestDiscardEverything(t *testing.T) {
	t.Parallel()
	for _, entries := range []int{50_000, 100} {
		t.Run(fmt.Sprintf("at most %d at a time", entries), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { discardEverything(t, entries) })
		})
	}
}

func discardEverything(t *testing.T, entries int) {
	t.Helper()
	const n = 12_000
	log, state := newLog(), newState()
	rel, other := table(1, "orders"), table(2, "lines")
	for i := range n {
		if i%3 == 0 {
			log.add(insert(other, strconv.Itoa(i)))
		} else {
			log.add(insert(rel, strconv.Itoa(i%100)))
		}
	}
	cfg := pushConfig()
	cfg.Source.ExcludeTables = []filter.TableRef{tableRef("lines")}
	opened, err := consumer.Open(t.Context(), deps(log, state), cfg)
	require.NoError(t, err)
	opened.SetBounds(20, 4096, 50, 1<<30) // it hardly reads ahead
	opened.SetEffort(entries, time.Hour)
	c := run(t, opened)
	synctest.Wait()
	ds := c.take(5)
	c.retry(24*time.Hour, ds[0], ds[1])
	count, calls := 0, 0
	sel := consumer.Selection{All: true}
	for {
		did := c.discardMessages(sel)
		count += did.Count
		calls++
		if did.Next == 0 {
			break
		}
		require.Greater(t, did.Next, sel.After)
		sel.After = did.Next
	}
	require.Equal(t, n/3*2-3, count, "the count is exact")
	require.GreaterOrEqual(t, calls, n/entries/6)
	require.EqualValues(t, count, c.Stats().Discarded)
	synctest.Wait()
	require.Equal(t, seqs(ds[2:]), seqsOf(c.list(consumer.MessageQuery{})))
	c.settle(consumer.Done, ds[2:]...)
	time.Sleep(2 * time.Second)
	require.EqualValues(t, n+1, c.Cursor())
	require.Empty(t, c.Books())
	log.add(insert(rel, "later"))
	require.EqualValues(t, n+1, c.take(10)[0].Seq)
}

func TestDiscardByStateTableAndKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel, other := table(1, "orders"), table(2, "lines")
		for i := range 10 {
			log.add(insert(rel, strconv.Itoa(i)), insert(other, strconv.Itoa(i)))
		}
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		ds := c.take(8)
		c.retry(24*time.Hour, ds[:6]...)
		key := consumer.MessageFilter{Key: "1"}
		require.Equal(t, 2, c.discardMessages(consumer.Selection{All: true, State: consumer.MessageBackingOff, MessageFilter: key}).Count)
		lines := consumer.MessageFilter{Table: "public.lines"}
		require.Equal(t, 2, c.discardMessages(consumer.Selection{All: true, State: consumer.MessageBackingOff, MessageFilter: lines}).Count)
		did := c.discardMessages(consumer.Selection{All: true, State: consumer.MessageDelivering})
		require.Equal(t, consumer.Changed{Skipped: 2}, did, "they are on their way")
		require.Equal(t, 3, c.discardMessages(consumer.Selection{All: true, State: consumer.MessageAvailable, MessageFilter: lines, After: 14}).Count)
		require.Equal(t, []string{
			"1 backing_off", "5 backing_off", "7 delivering", "8 delivering", "9 available", "10 available", "11 available", "12 available",
			"13 available", "14 available", "15 available", "17 available", "19 available",
		}, states(c.list(consumer.MessageQuery{})))
	})
}

// With the dead letters at their bound, messages that wait to become one can be discarded like others.
func TestDiscardOfWhatIsDying(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		for i := range 6 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		cfg := pushConfig()
		cfg.DeadLetters.MaxBytes = 1200
		c := start(t, log, newState(), cfg)
		synctest.Wait()
		for _, d := range c.take(6) {
			require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: d, Outcome: consumer.Reject, Err: errors.New("no")}}))
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 3, c.Stats().DeadLetters)
		require.Equal(t, consumer.Changed{Count: 1, Missing: []consumer.Missing{{Seq: 1, Reason: consumer.MissingDeadLetter}}},
			c.discardMessages(consumer.Selection{Seqs: []uint64{1, 4}}))
		require.Equal(t, []consumer.Missing{{Seq: 5, Reason: consumer.MissingDeadLetter}}, c.redeliver(consumer.Selection{Seqs: []uint64{5}}).Missing)
		cfg.DeadLetters.MaxBytes = 1 << 20
		require.NoError(t, c.Update(t.Context(), cfg))
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		list, err := c.deadLetters(0, 10)
		require.NoError(t, err)
		require.Len(t, list, 5)
		require.EqualValues(t, 7, c.Stats().Cursor)
	})
}

func TestChangesWaitForTheDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		log.add(insert(table(1, "orders"), "a"))
		c := start(t, log, state, pullConfig())
		synctest.Wait()
		state.mu.Lock()
		state.hook = func([]engine.Op) error { return engine.ErrNoSpace }
		state.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), minute)
		defer cancel()
		_, err := c.DiscardMessages(ctx, consumer.Selection{All: true})
		require.ErrorIs(t, err, context.DeadlineExceeded, "it is not said to be done")
		state.mu.Lock()
		state.hook = nil
		state.mu.Unlock()
		c.stop()
		_, err = c.DiscardMessages(t.Context(), consumer.Selection{All: true})
		require.ErrorIs(t, err, consumer.ErrStopped)
		_, err = c.Redeliver(t.Context(), consumer.Selection{Seqs: []uint64{1}})
		require.ErrorIs(t, err, consumer.ErrStopped)
	})
}
