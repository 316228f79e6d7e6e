package consumer_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/problem"
)

func reject(t *testing.T, c *running, payload string, ds ...*consumer.Delivery) {
	t.Helper()
	var rs []consumer.Result
	for _, d := range ds {
		rs = append(rs, consumer.Result{Delivery: d, Outcome: consumer.Reject, Err: errors.New("410 gone"), Payload: []byte(payload)})
	}
	require.NoError(t, c.Settle(t.Context(), rs))
	time.Sleep(20 * time.Millisecond)
	synctest.Wait()
}

func TestRejectedMessageBecomesADeadLetterAndUnblocksItsGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), update(rel, "a", "a"))
		c := start(t, log, state, pushConfig())
		ds := c.take(10)
		reject(t, c, `{"n":1}`, ds...)
		require.Equal(t, []uint64{2}, seqs(c.take(10)))
		d, err := c.DeadLetter(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, consumer.ReasonRejected, d.Reason)
		require.Equal(t, "410 gone", d.Error)
		require.JSONEq(t, `{"n":1}`, string(d.Payload))
		require.Equal(t, 1, d.Attempts)
		require.Equal(t, "public", d.Schema)
		require.Equal(t, "orders", d.Table)
		require.Equal(t, "insert", d.Action)
		require.Equal(t, "a", d.Group)
		require.Equal(t, ds[0].ID, d.ID)
		require.Equal(t, log.changes[0].Position, d.Position)
		require.EqualValues(t, 2, c.Cursor())
		c.stop()

		c = start(t, log, state, pushConfig())
		require.EqualValues(t, 1, c.Stats().DeadLetters)
		require.Equal(t, []uint64{2}, seqs(c.take(10)))
	})
}

func TestACountedDeadLetterCanBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		log.add(insert(table(1, "orders"), "a"))
		c := start(t, log, state, pushConfig())
		rs := []consumer.Result{{Delivery: c.take(1)[0], Outcome: consumer.Reject, Payload: []byte(`{}`)}}
		require.NoError(t, c.Settle(t.Context(), rs))
		synctest.Wait() // counted, and not yet written
		require.EqualValues(t, 1, c.Stats().DeadLetters)
		list, err := c.deadLetters(0, 10)
		require.NoError(t, err)
		require.Len(t, list, 1)
	})
}

func TestAttemptsRunOut(t *testing.T) {
	t.Parallel()
	for _, push := range []bool{true, false} {
		t.Run(fmt.Sprintf("push %v", push), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log, state := newLog(), newState()
				log.add(insert(table(1, "orders"), "a"))
				cfg := pullConfig()
				cfg.Push = push
				cfg.MaxRetryCount = 3
				c := start(t, log, state, cfg)
				for n := 1; n <= 3; n++ {
					var ds []*consumer.Delivery
					if push {
						ds = c.take(1)
						c.settle(consumer.Retry, ds...)
					} else {
						ds = c.receive(consumer.ReceiveOptions{Wait: minute}) // and let it expire
					}
					require.Equal(t, n, ds[0].Attempt)
					if n == 2 { // attempts count on after a restart
						time.Sleep(10 * time.Millisecond)
						c.stop()
						c = start(t, log, state, cfg)
					}
				}
				time.Sleep(minute)
				synctest.Wait()
				d, err := c.DeadLetter(t.Context(), 1)
				require.NoError(t, err)
				require.Equal(t, consumer.ReasonRetries, d.Reason)
				require.Equal(t, 3, d.Attempts)
				require.JSONEq(t, `{"seq":1}`, string(d.Payload), "built from the change")
				if push {
					require.Equal(t, "not today", d.Error)
				} else {
					require.Contains(t, d.Error, "lease expired")
				}
				require.EqualValues(t, 2, c.Cursor())
				require.Empty(t, state.keys("consumer/"+testID+"/msg/"))
			})
		})
	}
}

func TestTooBigChangeIsADeadLetterOfThoseWhoWantIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel, other := table(1, "orders"), table(2, "lines")
		log.add(
			&cdc.Change{Op: cdc.OpInsert, Relation: rel, TooBig: true, Size: 99_000_000},
			&cdc.Change{Op: cdc.OpInsert, Relation: other, TooBig: true, Size: 99_000_000},
			insert(rel, "a"),
		)
		cfg := pushConfig()
		cfg.Source.IncludeSchemas = []string{"public"}
		cfg.Source.ExcludeTables = append(cfg.Source.ExcludeTables, tableRef("lines"))
		c := start(t, log, newState(), cfg)
		require.Equal(t, []uint64{3}, seqs(c.take(10)))
		time.Sleep(20 * time.Millisecond)
		dead, err := c.deadLetters(0, 10)
		require.NoError(t, err)
		require.Len(t, dead, 1)
		require.EqualValues(t, 1, dead[0].Seq)
		require.Equal(t, consumer.ReasonTooBig, dead[0].Reason)
		require.Equal(t, 99_000_000, dead[0].Size)
		require.Contains(t, dead[0].Error, "99000000 bytes")
		_, err = c.Redrive(t.Context(), consumer.DeadSelection{Seqs: []uint64{1}})
		require.Equal(t, "not_redrivable", problem.Code(err))
	})
}

// What is written first: the dead letter, then the bit that says that its message is done.
func TestDeadLetterIsWrittenBeforeItsMessageIsDone(t *testing.T) {
	t.Parallel()
	for budget := 1; ; budget++ {
		crashed := false
		synctest.Test(t, func(t *testing.T) {
			log, state := newLog(), newState()
			rel := table(1, "orders")
			log.add(insert(rel, "a"), insert(rel, "b"), insert(rel, "c"))
			cfg := pushConfig()
			c := start(t, log, state, cfg)
			synctest.Wait()
			ds := c.take(10)
			state.mu.Lock()
			state.budget = budget - 1
			state.mu.Unlock()
			require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: ds[1], Outcome: consumer.Reject, Payload: []byte("b")}}))
			time.Sleep(time.Second)
			synctest.Wait()
			select {
			case <-state.crashed:
				crashed = true
				c.over = true
				require.Error(t, <-c.done)
			default:
				c.stop()
			}
			state = state.survivor()
			c = start(t, log, state, cfg)
			synctest.Wait()
			time.Sleep(time.Second)
			again := c.take(10)
			dead, err := c.deadLetters(0, 10)
			require.NoError(t, err)
			if len(again) == 3 {
				require.Empty(t, dead, "never both")
				require.Empty(t, state.keys("consumer/"+testID+"/dead"))
				return
			}
			require.Equal(t, []uint64{1, 3}, seqs(again))
			require.Len(t, dead, 1)
			d, err := c.DeadLetter(t.Context(), 2)
			require.NoError(t, err)
			require.Equal(t, "b", string(d.Payload))
			require.EqualValues(t, 1, c.Stats().DeadLetters)
			require.Empty(t, state.keys("consumer/"+testID+"/bury/"))
		})
		if !crashed {
			require.Greater(t, budget, 4)
			return
		}
	}
}

func TestFullDeadLettersStopTheConsumer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 10 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		cfg := pushConfig()
		cfg.DeadLetters.MaxBytes = 5000
		c := start(t, log, state, cfg)
		synctest.Wait()
		reject(t, c, strings.Repeat("x", 4000), c.take(1)...)
		require.Empty(t, c.Stats().Stopped)
		ds := c.take(3)
		reject(t, c, strings.Repeat("x", 4000), ds[0], ds[1])
		require.Equal(t, consumer.StopDeadLettersFull, c.Stats().Stopped)
		require.EqualValues(t, 2, c.Stats().DeadLetters, "the third message waits; it is not dropped")
		c.settle(consumer.Done, ds[2]) // what is out can still be acknowledged
		c.none(minute)
		c.stop()

		c = start(t, log, state, cfg)
		synctest.Wait()
		require.Equal(t, consumer.StopDeadLettersFull, c.Stats().Stopped)
		require.Equal(t, consumer.Changed{Count: 1, Missing: []consumer.Missing{{Seq: 77, Reason: consumer.MissingNotFound}}}, c.discard(1, 77))
		synctest.Wait()
		require.Empty(t, c.Stats().Stopped)
		require.EqualValues(t, 1, c.Stats().DeadLetters)
		require.Equal(t, []uint64{3}, seqs(c.take(1)), "its rejection had not been written")
		cfg.DeadLetters.MaxBytes = 1
		require.NoError(t, c.Update(t.Context(), cfg))
		c.none(minute)
		c.discard(2)
		require.Len(t, c.take(100), 6)
		_, err := c.DeadLetter(t.Context(), 2)
		require.ErrorIs(t, err, consumer.ErrNotFound)
		require.Empty(t, state.keys("consumer/"+testID+"/dead/"))
		require.Empty(t, state.keys("consumer/"+testID+"/deadbody/"))
	})
}

func TestOldDeadLettersStopTheConsumer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"))
		c := start(t, log, newState(), pushConfig())
		reject(t, c, "x", c.take(1)...)
		time.Sleep(7*24*time.Hour - time.Minute)
		require.Empty(t, c.Stats().Stopped)
		time.Sleep(2 * time.Hour)
		require.Equal(t, consumer.StopDeadLettersOld, c.Stats().Stopped)
		c.none(minute)
		cfg := pushConfig()
		cfg.DeadLetters.MaxAge = -1
		require.NoError(t, c.Update(t.Context(), cfg))
		require.Equal(t, []uint64{2}, seqs(c.take(1)))
	})
}

func TestRedrive(t *testing.T) {
	t.Parallel()
	for _, push := range []bool{true, false} {
		t.Run(fmt.Sprintf("push %v", push), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { redrive(t, push) })
		})
	}
}

func redrive(t *testing.T, push bool) {
	t.Helper()
	log, state := newLog(), newState()
	rel := table(1, "orders")
	log.add(insert(rel, "a"), insert(rel, "b"))
	reached := pushConfig()
	c := start(t, log, state, reached)
	synctest.Wait()
	first := c.take(10)
	reject(t, c, `{"a":1}`, first...)
	c.stop()

	cfg := pullConfig()
	cfg.Push = push
	cfg.MaxRetryCount = 2
	c = start(t, log, state, cfg)
	did, err := c.Redrive(t.Context(), consumer.DeadSelection{Seqs: []uint64{1, 5, 1}})
	require.NoError(t, err)
	require.Equal(t, consumer.Changed{Count: 1, Missing: []consumer.Missing{{Seq: 5, Reason: consumer.MissingNotFound}}}, did)
	next := func() *consumer.Delivery {
		if push {
			return c.take(1)[0]
		}
		return c.receive(consumer.ReceiveOptions{Wait: minute})[0]
	}
	back := func(d *consumer.Delivery) {
		if push {
			c.settle(consumer.Retry, d)
		} else {
			require.NoError(t, c.Nack(t.Context(), []string{d.AckID}, 0))
		}
	}
	d := next()
	require.True(t, d.Redriven)
	require.JSONEq(t, `{"a":1}`, string(d.Payload))
	require.EqualValues(t, 1, d.Change.Seq)
	require.Equal(t, 1, d.Attempt)
	require.Equal(t, first[0].ID, d.ID)
	require.Equal(t, "a", d.Group)
	back(d)
	time.Sleep(20 * time.Millisecond)

	// It goes on after a restart, and without its change when the log has let it go.
	c.stop()
	log.trim(2)
	c = start(t, log, state, cfg)
	d = next()
	require.Equal(t, 2, d.Attempt)
	require.Nil(t, d.Change)
	require.JSONEq(t, `{"a":1}`, string(d.Payload))
	require.Equal(t, first[0].ID, d.ID)
	dead, err := c.deadLetters(0, 10)
	require.NoError(t, err)
	require.Equal(t, []bool{true, false}, []bool{dead[0].Redriving, dead[1].Redriving})

	// It fails for good: a dead letter again, with its payload.
	back(d)
	time.Sleep(minute)
	synctest.Wait()
	again, err := c.DeadLetter(t.Context(), 1)
	require.NoError(t, err)
	require.False(t, again.Redriving)
	require.Equal(t, consumer.ReasonRetries, again.Reason)
	require.Equal(t, 2, again.Attempts)
	require.JSONEq(t, `{"a":1}`, string(again.Payload))
	require.EqualValues(t, 2, c.Stats().DeadLetters)

	// The third try gets through, and only then is it gone.
	_, err = c.Redrive(t.Context(), consumer.DeadSelection{Seqs: []uint64{1, 2}})
	require.NoError(t, err)
	d = next()
	if push {
		c.settle(consumer.Done, d)
		time.Sleep(20 * time.Millisecond)
	} else {
		c.ack(d)
	}
	_, err = c.DeadLetter(t.Context(), 1)
	require.ErrorIs(t, err, consumer.ErrNotFound)
	require.EqualValues(t, 1, c.Stats().DeadLetters)

	// Discarding one that is being redriven ends that.
	c.discard(2)
	c.stop()
	require.Zero(t, c.Stats().DeadLetters)
	require.Zero(t, c.Stats().DeadLetterBytes)
	require.Empty(t, state.keys("consumer/"+testID+"/dead/"))
	require.Empty(t, state.keys("consumer/"+testID+"/redrive/"))
}

func TestDeadLettersArePaged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		for i := range 700 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		var want []uint64
		for _, d := range c.take(1000) {
			if d.Seq%3 == 0 {
				want = append(want, d.Seq)
				require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: d, Outcome: consumer.Reject}}))
			}
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		var got []uint64
		for after := uint64(0); ; {
			page, err := c.deadLetters(after, 37)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			for _, d := range page {
				got = append(got, d.Seq)
			}
			after = got[len(got)-1]
		}
		require.Equal(t, want, got)
	})
}

func TestDeadLetterSurvivesAnEncoderThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		log.add(insert(table(1, "orders"), "a"))
		cfg := pushConfig()
		cfg.MaxRetryCount = 1
		d := deps(log, newState())
		d.Encode = func(*cdc.Change) ([]byte, error) { return nil, errors.New("cannot be built") }
		opened, err := consumer.Open(t.Context(), d, cfg)
		require.NoError(t, err)
		c := run(t, opened)
		require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: c.take(1)[0], Outcome: consumer.Retry}}))
		time.Sleep(20 * time.Millisecond)
		dead, err := c.DeadLetter(t.Context(), 1)
		require.NoError(t, err)
		require.Empty(t, dead.Payload)
		require.Equal(t, "cannot be built", dead.Error)
	})
}

// The store refuses writes for a while: nothing is answered as done, and nothing is lost.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		log.add(insert(table(1, "orders"), "a"), insert(table(1, "orders"), "b"))
		c := start(t, log, state, pullConfig())
		ds := c.receive(consumer.ReceiveOptions{Max: 1, Wait: minute})
		state.mu.Lock()
		state.hook = func([]engine.Op) error { return engine.ErrNoSpace }
		state.mu.Unlock()
		acked := make(chan error, 1)
		go func() { acked <- c.Ack(t.Context(), ackIDs(ds)) }()
		time.Sleep(minute)
		synctest.Wait()
		require.Empty(t, acked)
		require.Equal(t, engine.ErrNoSpace.Error(), c.Stats().StateError)
		require.EqualValues(t, 1, c.Cursor())
		state.mu.Lock()
		state.hook = nil
		state.mu.Unlock()
		require.NoError(t, <-acked)
		require.Empty(t, c.Stats().StateError)
		require.EqualValues(t, 2, c.Cursor())
	})
}
