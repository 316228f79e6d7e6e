package consumer_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
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

func tableRef(name string) filter.TableRef { return filter.TableRef{Schema: "public", Name: name} }

func TestPausedHoldsAndDeliversLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		cfg := pullConfig()
		cfg.Status = consumer.Paused
		c := start(t, log, newState(), cfg)
		log.add(insert(rel, "a"))
		begin := time.Now()
		require.Empty(t, c.receive(consumer.ReceiveOptions{Wait: minute}))
		require.Equal(t, minute, time.Since(begin), "waits, so that workers do not spin")
		require.EqualValues(t, 1, c.Cursor())
		cfg.Status = consumer.Active
		go func() {
			time.Sleep(time.Second)
			_ = c.Update(t.Context(), cfg)
		}()
		ds := c.receive(consumer.ReceiveOptions{Wait: minute})
		require.Equal(t, []uint64{1}, seqs(ds))
		cfg.Status = consumer.Paused
		require.NoError(t, c.Update(t.Context(), cfg))
		c.ack(ds...)
		require.EqualValues(t, 2, c.Cursor(), "acknowledgements count while paused")
	})
}

func TestDisabledLetsGoAndReturnsAtNowWithAGap(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log, state := newLog(), newState()
				rel := table(1, "orders")
				log.add(insert(rel, "a"), insert(rel, "b"), insert(rel, "c"))
				cfg := pushConfig()
				c := start(t, log, state, cfg)
				synctest.Wait()
				ds := c.take(2)
				c.settle(consumer.Done, ds[0])
				cfg.Status = consumer.Disabled
				require.NoError(t, c.Update(t.Context(), cfg))
				require.Equal(t, uint64(math.MaxUint64), c.Cursor())
				stored, err := consumer.StoredCursor(t.Context(), state, testID)
				require.NoError(t, err)
				require.Equal(t, uint64(math.MaxUint64), stored)
				c.none(minute)
				log.add(insert(rel, "d"))
				c.none(minute)
				cfg.Status = consumer.Active
				if restart {
					c.stop()
					c = start(t, log, state, cfg)
				} else {
					require.NoError(t, c.Update(t.Context(), cfg))
				}
				c.none(minute)
				log.add(insert(rel, "e"))
				got := c.take(10)
				require.Equal(t, []uint64{5}, seqs(got))
				if !restart {
					c.settle(consumer.Done, ds[1]) // too late; it is part of the gap
				}
				c.settle(consumer.Done, got...)
				c.stop()
				require.EqualValues(t, 6, c.Cursor())
				gaps, err := c.Gaps(t.Context())
				require.NoError(t, err)
				require.Len(t, gaps, 1)
				require.Equal(t, consumer.GapDisabled, gaps[0].Reason)
				require.Equal(t, []uint64{2, 4, 3}, []uint64{gaps[0].From, gaps[0].To, gaps[0].Count})
				require.Equal(t, []cdc.LSN{2 * 16, 4 * 16}, []cdc.LSN{gaps[0].FromLSN, gaps[0].ToLSN})
				require.Equal(t, 1, c.Stats().Gaps)
			})
		})
	}
}

func TestLogGapIsRecordedAndPassed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 30 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		log.lose(11, 20)
		c := start(t, log, state, pushConfig())
		synctest.Wait()
		ds := c.take(100)
		require.Len(t, ds, 20)
		c.settle(consumer.Done, ds...)
		c.stop()
		require.EqualValues(t, 31, c.Cursor())
		c = start(t, log, state, pushConfig())
		gaps, err := c.Gaps(t.Context())
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.Equal(t, []uint64{11, 20, 10}, []uint64{gaps[0].From, gaps[0].To, gaps[0].Count})
		require.Equal(t, consumer.GapLost, gaps[0].Reason)
		require.NotEmpty(t, gaps[0].Detail)
		require.Equal(t, gaps[0].From, c.Stats().LastGap.From)
	})
}

// A block that was readable when it was scanned is damaged when its messages are handed out.
func TestMessageLostBetweenScanAndDelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"), update(rel, "b", "b"), insert(rel, "c"))
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		log.lose(2, 3)
		ds := c.take(10)
		require.Equal(t, []uint64{1, 4}, seqs(ds))
		c.settle(consumer.Done, ds...)
		c.none(minute)
		c.stop()
		require.EqualValues(t, 5, c.Cursor())
		gaps, err := c.Gaps(t.Context())
		require.NoError(t, err)
		require.Len(t, gaps, 1, "they adjoin")
		require.Equal(t, []uint64{2, 3, 2}, []uint64{gaps[0].From, gaps[0].To, gaps[0].Count})
	})
}

func TestTrimmedLogIsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 30 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c := start(t, log, state, pushConfig())
		c.stop()
		log.trim(16)
		c = start(t, log, state, pushConfig())
		synctest.Wait()
		require.Len(t, c.take(100), 15)
		time.Sleep(20 * time.Millisecond)
		gaps, err := c.Gaps(t.Context())
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.Equal(t, consumer.GapTrimmed, gaps[0].Reason)
		require.Equal(t, []uint64{1, 15, 15}, []uint64{gaps[0].From, gaps[0].To, gaps[0].Count})
	})
}

func TestReleaseGivesUpTheOldest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 40 {
			log.add(insert(rel, strconv.Itoa(i%8)))
		}
		cfg := pullConfig()
		c := start(t, log, state, cfg)
		synctest.Wait()
		ds := c.receive(consumer.ReceiveOptions{Max: 4})
		require.Equal(t, []uint64{1, 2, 3, 4}, seqs(ds))
		c.ack(ds[1])
		require.NoError(t, c.Nack(t.Context(), []string{ds[2].AckID}, time.Hour))
		require.NoError(t, c.Release(t.Context(), 20, "max_disk reached"))
		require.EqualValues(t, 20, c.Cursor())
		c.ack(ds...) // late, and harmless
		synctest.Wait()
		rest := c.receive(consumer.ReceiveOptions{Max: 100, SameGroup: true})
		require.Len(t, rest, 21)
		require.EqualValues(t, 20, rest[0].Seq)
		c.ack(rest...)
		require.NoError(t, c.Release(t.Context(), 10, "again"), "what is done is done")
		c.stop()
		require.EqualValues(t, 41, c.Cursor())
		gaps, err := c.Gaps(t.Context())
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.Equal(t, []uint64{1, 19, 18}, []uint64{gaps[0].From, gaps[0].To, gaps[0].Count})
		require.Equal(t, consumer.GapReleased, gaps[0].Reason)
		require.Equal(t, "max_disk reached", gaps[0].Detail)
		require.Empty(t, state.keys("consumer/"+testID+"/lease/"))
		require.Empty(t, state.keys("consumer/"+testID+"/msg/"))
	})
}

func TestReleaseBeyondWhatWasRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		for i := range 40 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c, err := consumer.Open(t.Context(), deps(log, newState()), pushConfig())
		require.NoError(t, err)
		c.SetBounds(4, 4096, 4<<20, 1<<30)
		r := run(t, c)
		synctest.Wait()
		require.NoError(t, r.Release(t.Context(), 31, ""))
		synctest.Wait()
		require.Equal(t, []uint64{31, 32}, seqs(r.take(2)))
	})
}

func TestRewindDeliversAgainInANewGeneration(t *testing.T) {
	t.Parallel()
	for _, push := range []bool{true, false} {
		t.Run(fmt.Sprintf("push %v", push), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { rewind(t, push) })
		})
	}
}

func rewind(t *testing.T, push bool) {
	t.Helper()
	log, state := newLog(), newState()
	rel := table(1, "orders")
	for i := range 10 {
		log.add(insert(rel, strconv.Itoa(i)))
	}
	cfg := pullConfig()
	cfg.Push = push
	c := start(t, log, state, cfg)
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
	first := get()
	require.Len(t, first, 10)
	done(first[3], first[5])
	generation, err := c.Rewind(t.Context(), 4)
	require.NoError(t, err)
	require.EqualValues(t, 1, generation)
	require.EqualValues(t, 4, c.Cursor())
	done(first...) // of the old generation: success, and nothing happens
	again := get()
	require.Equal(t, []uint64{4, 5, 6, 7, 8, 9, 10}, seqs(again))
	require.NotEqual(t, first[3].AckID, again[0].AckID)
	require.Equal(t, first[3].ID+":g1", again[0].ID)
	require.Equal(t, 1, again[0].Attempt)
	done(again[2:]...)
	c.stop()
	c = start(t, log, state, cfg)
	if !push {
		time.Sleep(minute)
	}
	rest := get()
	require.Equal(t, []uint64{4, 5}, seqs(rest))
	require.Equal(t, again[0].AckID, rest[0].AckID)
	done(rest...)
	c.stop()
	require.EqualValues(t, 11, c.Cursor())
	require.EqualValues(t, 1, c.Stats().Generation)
}

// A rewind is one record: a crash leaves the old generation or the new one, whole.
func TestRewindIsAllOrNothing(t *testing.T) {
	t.Parallel()
	complete := 0
	for budget := range 30 {
		synctest.Test(t, func(t *testing.T) {
			log, state := newLog(), newState()
			rel := table(1, "orders")
			for i := range 10 {
				log.add(insert(rel, strconv.Itoa(i)))
			}
			c := start(t, log, state, pullConfig())
			synctest.Wait()
			ds := c.receive(consumer.ReceiveOptions{Max: 10})
			c.ack(ds[2], ds[3], ds[9])
			require.NoError(t, c.Nack(t.Context(), []string{ds[1].AckID}, 0))
			// While the rewind is being written, there is an acknowledgement of the new generation already.
			gate := make(chan struct{})
			state.mu.Lock()
			state.hook = func([]engine.Op) error { <-gate; return nil }
			state.mu.Unlock()
			id, err := consumer.ParseAckID(ds[8].AckID)
			require.NoError(t, err)
			id.Generation = 1
			errs := make(chan error, 2)
			go func() { _, err := c.Rewind(t.Context(), 3); errs <- err }()
			synctest.Wait()
			go func() { errs <- c.Ack(t.Context(), []string{id.String()}) }()
			synctest.Wait()
			state.mu.Lock()
			state.budget = budget
			state.mu.Unlock()
			close(gate)
			failed := 0
			for range 2 {
				if err := <-errs; err != nil {
					failed++
					require.True(t, errors.Is(err, errCrashed) || errors.Is(err, consumer.ErrStopped), "%v", err)
				}
			}
			if failed > 0 {
				require.Error(t, <-c.done)
				c.over = true
			} else {
				c.stop()
				complete++
			}
			c = start(t, log, state.survivor(), pullConfig())
			time.Sleep(minute)
			synctest.Wait()
			got := c.receive(consumer.ReceiveOptions{Max: 100})
			switch {
			case c.Stats().Generation == 0:
				require.Positive(t, failed)
				require.Equal(t, []uint64{1, 2, 5, 6, 7, 8, 9}, seqs(got), "as if nothing had happened")
			case failed > 0 && len(got) == 8:
				require.Equal(t, []uint64{3, 4, 5, 6, 7, 8, 9, 10}, seqs(got), "the acknowledgement was not answered")
			default:
				require.Equal(t, []uint64{3, 4, 5, 6, 7, 8, 10}, seqs(got))
			}
		})
	}
	require.Positive(t, complete, "the last rounds do not crash")
}

func TestFilterChangesInPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel, other := table(1, "orders"), table(2, "lines")
		log.add(insert(rel, "a"), insert(other, "b"), insert(rel, "c"), insert(other, "d"))
		cfg := pushConfig()
		cfg.Source.IncludeTables = []filter.TableRef{tableRef("orders")}
		c := start(t, log, state, cfg)
		synctest.Wait()
		ds := c.take(1)
		cfg.Source.IncludeTables = []filter.TableRef{tableRef("lines")}
		require.NoError(t, c.Update(t.Context(), cfg))
		log.add(insert(rel, "e"), insert(other, "f"))
		synctest.Wait()
		require.Equal(t, []uint64{3, 6}, seqs(c.take(10)), "what waited is still delivered, what was skipped stays skipped")
		require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: ds[0], Outcome: consumer.Release}}))
		c.stop()

		c = start(t, log, state, cfg)
		synctest.Wait()
		require.Equal(t, []uint64{6}, seqs(c.take(10)), "2 and 4 were skipped before, and stay so after a restart")
	})
}

func TestGroupingChangesInPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"), update(rel, "a", "a"), update(rel, "b", "b"))
		cfg := pushConfig()
		c := start(t, log, newState(), cfg)
		synctest.Wait()
		ds := c.take(10)
		require.Equal(t, []uint64{1, 2}, seqs(ds))
		cfg.Grouping.Mode = consumer.GroupByTable
		require.NoError(t, c.Update(t.Context(), cfg))
		synctest.Wait()
		c.none(minute)
		c.settle(consumer.Done, ds[0])
		c.none(minute)
		c.settle(consumer.Retry, ds[1])
		again := c.take(10)
		require.Equal(t, []uint64{2}, seqs(again))
		require.Equal(t, 2, again[0].Attempt)
		c.settle(consumer.Done, again...)
		ds = c.take(10)
		require.Equal(t, []uint64{3}, seqs(ds))
		cfg.Grouping.Mode = consumer.GroupOff
		require.NoError(t, c.Update(t.Context(), cfg))
		synctest.Wait()
		last := c.take(10)
		require.Equal(t, []uint64{4}, seqs(last))
		c.settle(consumer.Done, append(ds, last...)...)
		c.stop()
		require.EqualValues(t, 5, c.Cursor())
	})
}

func TestIdentityCannotChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := start(t, newLog(), newState(), pushConfig())
		require.Equal(t, "consumer_identity", problem.Code(c.Update(t.Context(), pullConfig())))
		bad := pushConfig()
		bad.Actions = []string{"upsert"}
		require.Equal(t, "invalid_filter", problem.Code(c.Update(t.Context(), bad)))
	})
}

func TestBoundsMakeItWaitAndSayWhy(t *testing.T) {
	t.Parallel()
	same := func(uint64) string { return "same" }
	tests := map[string]struct {
		ready, pages, backlog int
		distance              uint64
		key                   func(uint64) string
		want                  consumer.Bound
	}{
		"ready":    {100, 4096, 1 << 20, 1 << 30, distinct, consumer.BoundReady},
		"backlog":  {8192, 4096, 500, 1 << 30, same, consumer.BoundBacklog},
		"distance": {8192, 4096, 1 << 20, 5000, same, consumer.BoundDistance},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const n = 20_000
				log := newEndless(n, tt.key)
				opened, err := consumer.Open(t.Context(), deps(log, newState()), pushConfig())
				require.NoError(t, err)
				opened.SetBounds(tt.ready, tt.pages, tt.backlog, tt.distance)
				c := run(t, opened)
				synctest.Wait()
				st := c.Stats()
				require.Equal(t, tt.want, st.Bounded)
				require.Less(t, st.Frontier, uint64(6000))
				require.EqualValues(t, n, st.Lag, "what was not read yet counts")
				for left := n; left > 0; {
					ds, err := c.Take(t.Context(), consumer.TakeOptions{Max: 100, SameGroup: true})
					require.NoError(t, err)
					left -= len(ds)
					c.settle(consumer.Done, ds...)
				}
				c.stop()
				require.EqualValues(t, n+1, c.Cursor())
			})
		})
	}
}

// Pages of the done set that have one message each that is not done.
func TestTooManyStragglers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		log := newEndless(n, distinct)
		opened, err := consumer.Open(t.Context(), deps(log, newState()), pushConfig())
		require.NoError(t, err)
		opened.SetBounds(1000, 5, 1<<20, 1<<30)
		c := run(t, opened)
		var held []*consumer.Delivery
		for c.Stats().Bounded != consumer.BoundDistance {
			for _, d := range c.take(100) {
				if d.Seq%4096 == 1 {
					held = append(held, d)
				} else {
					c.settle(consumer.Done, d)
				}
			}
			synctest.Wait()
		}
		require.Less(t, c.Stats().Frontier, uint64(n/2))
		c.settle(consumer.Done, held...)
		for c.Cursor() <= n {
			synctest.Wait()
			if st := c.Stats(); st.Ready == 0 && st.Lag == 0 {
				break
			}
			c.settle(consumer.Done, c.take(100)...)
		}
		c.stop()
		require.EqualValues(t, n+1, c.Cursor())
	})
}

// Acceptances of a push consumer are durable within 10 ms, and never are more than a thousand of one worker outstanding.
func TestAckWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newEndless(5000, distinct), newState()
		c := start(t, log, state, pushConfig())
		synctest.Wait()
		c.settle(consumer.Done, c.take(10)...)
		require.EqualValues(t, 1, c.Cursor(), "Settle does not wait for the disk")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 11, c.Cursor())

		gate := make(chan struct{})
		state.mu.Lock()
		state.hook = func([]engine.Op) error { <-gate; return nil }
		state.mu.Unlock()
		settled := make(chan int, 10)
		go func() {
			for i := range 5 {
				ds, err := c.Take(t.Context(), consumer.TakeOptions{Max: 400})
				if err != nil {
					return
				}
				c.settle(consumer.Done, ds...)
				settled <- i
			}
		}()
		time.Sleep(minute)
		synctest.Wait()
		require.Len(t, settled, 2, "the third batch makes it 1,200: it waits")
		close(gate)
		time.Sleep(minute)
		require.Len(t, settled, 5)
		require.EqualValues(t, 2011, c.Cursor())
	})
}

func TestAckEachIsDurableWhenSettleReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newEndless(5000, distinct), newState()
		cfg := pushConfig()
		cfg.AckCommit = consumer.AckEach
		c := start(t, log, state, cfg)
		for range 5 {
			c.settle(consumer.Done, c.take(100)...)
			stored, err := consumer.StoredCursor(t.Context(), state, testID)
			require.NoError(t, err)
			require.Equal(t, c.Stats().Cursor, stored)
		}
	})
}

func TestDamagedStateIsRefused(t *testing.T) {
	t.Parallel()
	for key, value := range map[string][]byte{
		"cursor":                 {9},
		"done/0000000000000000":  {1, 0, 7},
		"lease/0000000000000001": {1, 0, 0, 200},
		"msg/0000000000000001":   {},
		"msg/x":                  {1},
		"deadstat":               {1},
		"gap/0000000000000001":   []byte("{"),
	} {
		state := newState()
		c := start(t, newLog(), state, pushConfig())
		c.stop()
		require.NoError(t, state.Apply(t.Context(), engine.Put("consumer/"+testID+"/"+key, value)))
		_, err := consumer.Open(t.Context(), deps(newLog(), state), pushConfig())
		require.Error(t, err, key)
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	t.Parallel()
	state := newState()
	c := start(t, newLog(), state, pushConfig())
	c.stop()
	require.NotEmpty(t, state.keys(""))
	require.NoError(t, consumer.Remove(t.Context(), state, testID))
	require.Empty(t, state.keys(""))
	cursor, err := consumer.StoredCursor(t.Context(), state, testID)
	require.NoError(t, err)
	require.Equal(t, uint64(math.MaxUint64), cursor)
}
