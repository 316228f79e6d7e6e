package consumer_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
)

func TestBulkChangesOfDeadLetters(t *testing.T) {
	t.Parallel()
	for entries, n := range map[int]int{50_000: 1200, 1: 200} {
		t.Run(strconv.Itoa(entries), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { bulkDead(t, entries, n) })
		})
	}
}

func bulkDead(t *testing.T, entries, n int) {
	t.Helper()
	log, state := newLog(), newState()
	rel, other := table(1, "orders"), table(2, "lines")
	for i := range n {
		switch {
		case i%100 == 7:
			log.add(&cdc.Change{Op: cdc.OpInsert, Relation: rel, TooBig: true, Size: 99_000_000})
		case i%2 == 0:
			log.add(insert(rel, strconv.Itoa(i)))
		default:
			log.add(insert(other, strconv.Itoa(i)))
		}
	}
	opened, err := consumer.Open(t.Context(), deps(log, state), pushConfig())
	require.NoError(t, err)
	opened.SetEffort(entries, time.Hour)
	c := run(t, opened)
	synctest.Wait()
	var rs []consumer.Result
	for _, d := range c.take(n) {
		rs = append(rs, consumer.Result{Delivery: d, Outcome: consumer.Reject, Err: errors.New("410")})
	}
	require.NoError(t, c.Settle(t.Context(), rs))
	time.Sleep(time.Second)
	synctest.Wait()
	require.EqualValues(t, n, c.Stats().DeadLetters)

	all := func(act func(consumer.DeadSelection) (consumer.Changed, error), f consumer.DeadFilter) (sum consumer.Changed, calls int) {
		sel := consumer.DeadSelection{All: true, DeadFilter: f}
		for {
			did, err := act(sel)
			require.NoError(t, err)
			require.Empty(t, did.Missing)
			sum.Count += did.Count
			sum.Skipped += did.Skipped
			if calls++; did.Next == 0 {
				return sum, calls
			}
			require.Greater(t, did.Next, sel.After)
			sel.After = did.Next
		}
	}
	redrive := func(sel consumer.DeadSelection) (consumer.Changed, error) { return c.Redrive(t.Context(), sel) }
	discard := func(sel consumer.DeadSelection) (consumer.Changed, error) { return c.Discard(t.Context(), sel) }

	lines := consumer.DeadFilter{MessageFilter: consumer.MessageFilter{Table: "lines"}}
	ofLines := n/2 - n/100
	sum, calls := all(redrive, lines)
	require.Equal(t, consumer.Changed{Count: ofLines}, sum)
	require.Equal(t, entries == 1, calls > 1)
	sum, _ = all(redrive, lines)
	require.Zero(t, sum.Count, "they are on their way")
	page, err := c.DeadLetters(t.Context(), consumer.DeadQuery{DeadFilter: lines, Limit: n})
	require.NoError(t, err)
	for _, d := range page.Letters {
		require.True(t, d.Redriving)
	}
	// One that failed again, and waits, is on its way at once when it is redriven once more.
	ds := c.take(10)
	c.retry(24*time.Hour, ds[0])
	did, err := redrive(consumer.DeadSelection{Seqs: []uint64{ds[0].Seq, ds[1].Seq}})
	require.NoError(t, err)
	require.Equal(t, consumer.Changed{Count: 1}, did)
	again := c.take(1)[0]
	require.Equal(t, ds[0].Seq, again.Seq)
	require.Equal(t, 2, again.Attempt)
	c.settle(consumer.Done, append(ds[1:], again)...)
	time.Sleep(20 * time.Millisecond)
	synctest.Wait()
	require.EqualValues(t, n-10, c.Stats().DeadLetters)

	sum, _ = all(redrive, consumer.DeadFilter{Reason: consumer.ReasonTooBig})
	require.Equal(t, consumer.Changed{Skipped: n / 100}, sum, "their data was not kept")
	sum, _ = all(discard, consumer.DeadFilter{Reason: consumer.ReasonTooBig})
	require.Equal(t, consumer.Changed{Count: n / 100}, sum)
	sum, _ = all(discard, consumer.DeadFilter{MessageFilter: consumer.MessageFilter{Key: "4"}})
	require.Equal(t, consumer.Changed{Count: 1}, sum)
	sum, calls = all(discard, consumer.DeadFilter{})
	require.Equal(t, consumer.Changed{Count: n - 10 - n/100 - 1}, sum)
	require.Equal(t, entries == 1, calls > 1)
	require.Zero(t, c.Stats().DeadLetters)
	require.Zero(t, c.Stats().Redriving)
	require.Empty(t, state.keys("consumer/"+testID+"/dead/"))
	require.Empty(t, state.keys("consumer/"+testID+"/deadbody/"))
	require.Empty(t, c.Books())
}

// As many dead letters as may be are under way; the others have to wait, and the call says so.
func TestRedriveEverythingStopsAtItsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 30 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		opened, err := consumer.Open(t.Context(), deps(log, state), pushConfig())
		require.NoError(t, err)
		opened.SetMaxRedrives(20)
		c := run(t, opened)
		synctest.Wait()
		for _, d := range c.take(30) {
			c.settle(consumer.Reject, d)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		sel := consumer.DeadSelection{All: true}
		did, err := c.Redrive(t.Context(), sel)
		require.NoError(t, err)
		require.Equal(t, consumer.Changed{Count: 20, Next: 20}, did)
		sel.After = did.Next
		_, err = c.Redrive(t.Context(), sel)
		require.ErrorContains(t, err, "at most 20 dead letters")
		c.settle(consumer.Done, c.take(100)...)
		did, err = c.Redrive(t.Context(), sel)
		require.NoError(t, err)
		require.Equal(t, consumer.Changed{Count: 10}, did)
	})
}

func TestDeadLettersArePagedBothWays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		for i := range 600 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		var want []uint64
		for _, d := range c.take(1000) {
			if d.Seq%5 == 0 {
				want = append(want, d.Seq)
				require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: d, Outcome: consumer.Reject}}))
			}
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		for _, descending := range []bool{false, true} {
			var got []uint64
			q := consumer.DeadQuery{Descending: descending, Limit: 17}
			for {
				page, err := c.DeadLetters(t.Context(), q)
				require.NoError(t, err)
				for i := range page.Letters {
					got = append(got, page.Letters[i].Seq)
				}
				if page.Next == 0 {
					break
				}
				if descending {
					q.Before = page.Next
				} else {
					q.After = page.Next
				}
			}
			if descending {
				slices.Reverse(got)
			}
			require.Equal(t, want, got)
		}
		page, err := c.DeadLetters(t.Context(), consumer.DeadQuery{After: 20, Before: 36, Descending: true, Limit: 10})
		require.NoError(t, err)
		require.Len(t, page.Letters, 3)
		require.EqualValues(t, 35, page.Letters[0].Seq)
		require.Zero(t, page.Next)
	})
}
