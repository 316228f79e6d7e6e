package consumer_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
)

func (r *running) replay(sel consumer.ReplaySelection) consumer.Changed {
	r.t.Helper()
	did, err := r.Replay(r.t.Context(), sel)
	require.NoError(r.t, err)
	synctest.Wait()
	return did
}

// A message that is done can be asked for once more: it survives restarts and the log, is retried, and changes nothing else.
func TestReplayDeliversOnceMore(t *testing.T) {
	t.Parallel()
	for _, push := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			log, _ := history()
			state, cfg := newState(), only("orders")
			cfg.Push = push
			c := startCopying(t, log, state, cfg)
			get := func() []*consumer.Delivery {
				synctest.Wait()
				if push {
					return c.take(100)
				}
				return c.receive(consumer.ReceiveOptions{Max: 100, Wait: minute})
			}
			done := func(ds ...*consumer.Delivery) {
				if push {
					c.settle(consumer.Done, ds...)
				} else {
					c.ack(ds...)
				}
			}
			var first *consumer.Delivery
			for n := 0; n < 7; {
				ds := get()
				if first == nil {
					first = ds[0]
				}
				done(ds...)
				n += len(ds)
			}
			last := get()
			require.Equal(t, []uint64{6}, seqs(last))
			cursor := c.Stats().Cursor
			did := c.replay(consumer.ReplaySelection{Seqs: []uint64{1, 2, 4, 6, 77, 4}})
			require.Equal(t, consumer.Changed{Count: 2, Missing: []consumer.Missing{
				{Seq: 2, Reason: consumer.MissingNotFound}, {Seq: 6, Reason: consumer.MissingAvailable}, {Seq: 77, Reason: consumer.MissingNotFound},
			}}, did)
			require.Equal(t, cursor, c.Stats().Cursor)
			did = c.replay(consumer.ReplaySelection{Seqs: []uint64{1}})
			require.Equal(t, []consumer.Missing{{Seq: 1, Reason: consumer.MissingInFlight}}, did.Missing)
			c.stop()
			log.trim(6)
			c = startCopying(t, log, state, cfg)
			if !push {
				time.Sleep(minute)
			}
			ds := get()
			require.Equal(t, []uint64{1, 4, 6}, seqs(ds))
			require.True(t, ds[0].Replay && ds[1].Replay && !ds[2].Replay && !ds[0].Redriven)
			require.True(t, strings.HasPrefix(ds[0].ID, first.ID+":r"), ds[0].ID)
			require.Equal(t, first.Change.New, ds[0].Change.New, "out of its copy")
			require.Equal(t, "a", ds[0].Group)
			require.Len(t, c.Replays(), 2)
			if push {
				c.settle(consumer.Retry, ds[0])
			} else {
				require.NoError(t, c.Nack(t.Context(), ackIDs(ds[:1]), 0))
			}
			done(ds[1:]...)
			time.Sleep(minute)
			again := get()
			require.Equal(t, []uint64{1}, seqs(again))
			require.Equal(t, 2, again[0].Attempt)
			require.Equal(t, ds[0].ID, again[0].ID)
			done(again...)
			require.Empty(t, c.Replays())
			require.Empty(t, c.Books())
			require.EqualValues(t, 11, c.Cursor())
			time.Sleep(2 * time.Second)
			require.Empty(t, state.keys("consumer/"+testID+"/again/"))
			require.Empty(t, state.keys("consumer/"+testID+"/redrive/"))
		})
	}
}

func TestReplayBySearch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, began := history()
		c := startCopying(t, log, newState(), only("orders"))
		for range 3 {
			synctest.Wait()
			c.ack(c.receive(consumer.ReceiveOptions{Max: 100})...)
		}
		require.EqualValues(t, 11, c.Cursor())
		minutes := func(n int) time.Time { return began.Add(time.Duration(n) * time.Minute) }
		all := consumer.ReplaySelection{Search: &consumer.Search{}, From: minutes(4), Until: minutes(9)}
		tally, err := c.CountReplay(t.Context(), all)
		require.NoError(t, err)
		require.Equal(t, consumer.Tally{Messages: 4, Bytes: 400, First: minutes(4), Last: minutes(7)}, tally)
		require.Equal(t, 4, c.replay(all).Count)
		require.Equal(t, 0, c.replay(all).Count)
		require.Equal(t, 4, c.replay(all).Skipped, "they are on their way")
		did, err := c.CancelReplays(t.Context(), []uint64{4, 99}, false)
		require.NoError(t, err)
		require.Equal(t, consumer.Changed{Count: 1, Missing: []consumer.Missing{{Seq: 99, Reason: consumer.MissingNotFound}}}, did)
		require.Equal(t, []uint64{5, 6, 7}, seqs(c.all()))
		did, err = c.CancelReplays(t.Context(), nil, true)
		require.NoError(t, err)
		require.Equal(t, 3, did.Count)
		require.Empty(t, c.Replays())

		where := consumer.ReplaySelection{Search: &consumer.Search{Where: idIs("d")}}
		require.Equal(t, 2, c.replay(where).Count)
		require.Equal(t, []uint64{7, 9}, seqs(c.all()))
		require.Equal(t, 8, c.replay(consumer.ReplaySelection{Search: &consumer.Search{Where: idIs("fails")}}).Skipped, "the condition fails")
		c.move(8, false)
		require.Empty(t, c.Books())
		require.Len(t, c.Replays(), 1, "9 is delivered by the move")

		_, err = c.CancelReplays(t.Context(), nil, true)
		require.NoError(t, err)
		c.SetMaxRedrives(3)
		many := consumer.ReplaySelection{Search: &consumer.Search{}, Until: minutes(8)}
		did = c.replay(many)
		require.Equal(t, 3, did.Count)
		require.EqualValues(t, 4, did.Next, "behind 1, 3 and 4")
		many.Search.After = did.Next
		_, err = c.Replay(t.Context(), many)
		requireCode(t, "too_many_redrives", err)
	})
}

// A replay that fails for good becomes a dead letter, also when the log has let go of it.
func TestAReplayThatIsRejectedIsADeadLetter(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log, state := ten(), newState()
			cfg := pushConfig()
			cfg.MaxRetryCount = 2
			c := startCopying(t, log, state, cfg)
			synctest.Wait()
			c.settle(consumer.Done, c.take(10)...)
			c.replay(consumer.ReplaySelection{Seqs: []uint64{2, 3}})
			log.trim(9)
			ds := c.take(10)
			c.settle(consumer.Reject, ds[0])
			c.settle(consumer.Retry, ds[1])
			time.Sleep(time.Hour)
			if restart {
				c.stop()
				c = startCopying(t, log, state, cfg)
			}
			ds = c.take(10)
			require.Equal(t, []uint64{3}, seqs(ds))
			c.settle(consumer.Retry, ds...)
			time.Sleep(time.Hour)
			letters, err := c.deadLetters(0, 10)
			require.NoError(t, err)
			require.Len(t, letters, 2)
			require.Equal(t, consumer.ReasonRejected, letters[0].Reason)
			require.Equal(t, consumer.ReasonRetries, letters[1].Reason)
			letter, err := c.DeadLetter(t.Context(), 2)
			require.NoError(t, err)
			require.NotEmpty(t, letter.Payload)
			require.EqualValues(t, 2, c.Stats().DeadLetters)
			require.Empty(t, c.Replays())
			require.Empty(t, state.keys("consumer/"+testID+"/again/"))
			require.Equal(t, []consumer.Missing{{Seq: 2, Reason: consumer.MissingDeadLetter}}, func() []consumer.Missing {
				log.trim(1)
				return c.replay(consumer.ReplaySelection{Seqs: []uint64{2}}).Missing
			}())
			require.Empty(t, c.Books())
		})
	}
}

// Cut off at every write, a replay is asked for or not, and delivered until it is acknowledged.
func TestReplaysSurviveCrashes(t *testing.T) {
	t.Parallel()
	asked := map[int]int{}
	for budget := range 16 {
		synctest.Test(t, func(t *testing.T) {
			log, state := ten(), newState()
			c := startCopying(t, log, state, pullConfig())
			c.ack(c.all()...)
			time.Sleep(2 * time.Second)
			state.mu.Lock()
			state.budget = budget
			state.mu.Unlock()
			_, err := c.Replay(t.Context(), consumer.ReplaySelection{Seqs: []uint64{2, 5, 8}})
			answered := err == nil
			var acked bool
			if answered {
				ds, err := c.Receive(t.Context(), consumer.ReceiveOptions{Max: 10})
				if err == nil {
					acked = c.Ack(t.Context(), ackIDs(ds[:1])) == nil
				}
			}
			select {
			case <-state.crashed:
				require.Error(t, <-c.done)
				c.over = true
				state = state.survivor()
			default:
				c.stop()
				state.mu.Lock()
				state.budget = -1
				state.mu.Unlock()
			}
			log.trim(10)
			c = startCopying(t, log, state, pullConfig())
			time.Sleep(minute)
			got := seqs(c.all())
			asked[len(got)]++
			switch {
			case acked:
				require.Equal(t, []uint64{5, 8}, got)
			case answered:
				require.Subset(t, got, []uint64{5, 8})
			}
			require.EqualValues(t, 11, c.Cursor(), "nothing else has changed")
			require.Empty(t, c.Books())
		})
	}
	require.Positive(t, asked[0])
	require.Positive(t, asked[2])
	require.Positive(t, asked[3])
}
