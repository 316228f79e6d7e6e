package consumer_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/problem"
)

// ten is a log of ten rows.
func ten() *fakeLog {
	log, rel := newLog(), table(1, "orders")
	for i := range 10 {
		log.add(insert(rel, strconv.Itoa(i)))
	}
	return log
}

func (r *running) move(to uint64, skip bool) consumer.MoveRecord {
	r.t.Helper()
	m, err := r.Move(r.t.Context(), consumer.MoveRequest{To: to, Skip: skip, Why: "a test"})
	require.NoError(r.t, err)
	synctest.Wait()
	return m
}

func (r *running) undo() consumer.MoveRecord {
	r.t.Helper()
	m, err := r.UndoMove(r.t.Context(), "a test")
	require.NoError(r.t, err)
	synctest.Wait()
	return m
}

// all receives everything that there is and leaves it out.
func (r *running) all() []*consumer.Delivery {
	r.t.Helper()
	synctest.Wait()
	return r.receive(consumer.ReceiveOptions{Max: 1000})
}

func problemOf(t *testing.T, err error) *problem.Error {
	t.Helper()
	p, ok := errors.AsType[*problem.Error](err)
	require.True(t, ok, "%v", err)
	return p
}

func requireCode(t *testing.T, code string, err error) {
	t.Helper()
	p := problemOf(t, err)
	require.Equal(t, code, p.Code)
	require.NotEmpty(t, p.Hint)
}

func TestOnlyWhatMayHaveBeenDeliveredIsAReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := ten(), newState()
		c := start(t, log, state, pullConfig())
		synctest.Wait()
		first := c.receive(consumer.ReceiveOptions{Max: 6})
		c.ack(first[1:]...)
		m := c.move(3, true)
		require.Equal(t, uint64(1), m.Skipped, "message 1 was out")
		require.EqualValues(t, 7, m.ReplayBelow)
		c.stop()
		c = start(t, log, state, pullConfig())
		log.add(insert(table(1, "orders"), "new"))
		got := c.all()
		require.Equal(t, []uint64{3, 4, 5, 6, 7, 8, 9, 10, 11}, seqs(got))
		for _, d := range got {
			want := cdc.Position{LSN: cdc.LSN(d.Seq * 16)}.IdempotencyKey()
			if require.Equal(t, d.Seq < 7, d.Replay, "message %d", d.Seq); d.Replay {
				want += ":g1"
			}
			require.Equal(t, want, d.ID)
			listed, err := c.Message(t.Context(), d.AckID)
			require.NoError(t, err)
			require.Equal(t, d.ID, listed.ID)
		}
	})
}

func TestUndoBringsBackWhatWasDone(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log, state := ten(), newState()
			c := start(t, log, state, pullConfig())
			again := func() {
				if restart {
					c.stop()
					c = start(t, log, state, pullConfig())
				}
			}
			first := c.all()
			c.ack(first[0], first[1], first[3], first[5])
			require.Equal(t, uint64(3), c.Cursor())
			c.move(2, false)
			require.Equal(t, uint64(2), c.Cursor())
			again()
			rewound := c.all()
			require.Equal(t, []uint64{2, 3, 4, 5, 6, 7, 8, 9, 10}, seqs(rewound))
			c.ack(rewound[0], rewound[5]) // 2 and 7
			again()
			m := c.undo()
			require.EqualValues(t, 1, m.Undoes)
			require.EqualValues(t, 2, m.Generation)
			again()
			require.Equal(t, []uint64{3, 5, 8, 9, 10}, seqs(c.all()), "1, 2, 4 and 6 were acknowledged before, 7 since")
			_, err := c.UndoMove(t.Context(), "")
			requireCode(t, "nothing_to_undo", err)
			moves, err := c.Moves(t.Context())
			require.NoError(t, err)
			require.Len(t, moves, 2)
			require.EqualValues(t, 1, moves[0].Undoes)
			require.False(t, moves[0].Undoable || moves[1].Undoable)
			require.Empty(t, state.keys("consumer/"+testID+"/was/"))
			require.Empty(t, state.keys("consumer/"+testID+"/now/"))
		})
	}
}

func TestMoveForwardSkipsOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := ten(), newState()
		c := start(t, log, state, pullConfig())
		ds := c.all()
		c.ack(ds[0], ds[6])
		_, err := c.Move(t.Context(), consumer.MoveRequest{To: 9})
		requireCode(t, "move_skips_messages", err)
		require.ErrorContains(t, err, "not delivered yet")
		require.EqualValues(t, 0, c.Stats().Generation)
		c.ack(ds[1])

		require.Equal(t, uint64(5), c.move(9, true).Skipped, "3, 4, 5, 6 and 8")
		require.Equal(t, []uint64{9, 10}, seqs(c.all()))
		c.undo()
		require.Equal(t, []uint64{3, 4, 5, 6, 8, 9, 10}, seqs(c.all()))

		c.move(9, true)
		log.trim(6)
		_, err = c.UndoMove(t.Context(), "")
		requireCode(t, "history_trimmed", err)
		require.EqualValues(t, 3, c.Stats().Generation, "nothing was changed")
		require.EqualValues(t, 9, c.Cursor())
	})
}

func TestMovesThatCannotBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, cfg := ten(), pullConfig()
		log.trim(3)
		c := start(t, log, newState(), cfg)
		c.ack(c.all()...)
		_, err := c.Move(t.Context(), consumer.MoveRequest{To: 2})
		requireCode(t, "history_trimmed", err)
		_, err = c.Move(t.Context(), consumer.MoveRequest{To: 0})
		requireCode(t, "history_trimmed", err)
		_, err = c.Move(t.Context(), consumer.MoveRequest{To: 12})
		requireCode(t, "beyond_log_end", err)
		_, err = c.UndoMove(t.Context(), "")
		requireCode(t, "nothing_to_undo", err)
		require.EqualValues(t, 11, c.Cursor(), "nothing holds the log")

		require.False(t, c.move(11, false).Moved, "it is there")
		require.True(t, c.move(5, false).Moved)
		require.False(t, c.move(5, false).Moved, "it is there, and the first can still be taken back")
		c.undo()
		require.Empty(t, c.all())

		cfg.Status = consumer.Paused
		require.NoError(t, c.Update(t.Context(), cfg))
		c.move(5, false)
		require.Empty(t, c.all(), "it stays paused")
		cfg.Status = consumer.Disabled
		require.NoError(t, c.Update(t.Context(), cfg))
		_, err = c.Move(t.Context(), consumer.MoveRequest{To: 5})
		requireCode(t, "sink_disabled", err)
		_, err = c.UndoMove(t.Context(), "")
		requireCode(t, "sink_disabled", err)
		cfg.Status = consumer.Active
		require.NoError(t, c.Update(t.Context(), cfg))
		require.Empty(t, c.all(), "it missed all")
		c.move(5, false)
		require.Len(t, c.all(), 6, "and can be moved back to it")
	})
}

func TestTwoMovesAtOnceAreOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := ten()
		c := start(t, log, newState(), pullConfig())
		c.ack(c.all()...)
		var wg sync.WaitGroup
		for to := uint64(1); to <= 8; to++ {
			wg.Go(func() {
				_, err := c.Move(t.Context(), consumer.MoveRequest{To: to, Skip: true})
				require.NoError(t, err)
			})
		}
		wg.Wait()
		moves, err := c.Moves(t.Context())
		require.NoError(t, err)
		require.Len(t, moves, 8)
		require.EqualValues(t, 8, c.Stats().Generation)
		require.Equal(t, moves[0].To, c.Cursor())
		require.True(t, moves[0].Undoable)
	})
}

// What was on its way when the consumer was moved arrives before anything of the new generation goes out, and counts for nothing.
func TestMoveWaitsForPushesUnderWay(t *testing.T) {
	t.Parallel()
	for _, outcome := range []consumer.Outcome{consumer.Done, consumer.Retry, consumer.Reject, consumer.Release} {
		synctest.Test(t, func(t *testing.T) {
			log := newLog()
			rel := table(1, "orders")
			log.add(insert(rel, "a"), update(rel, "a", "a"), insert(rel, "b"))
			c := start(t, log, newState(), pushConfig())
			synctest.Wait()
			ds := c.take(10)
			require.Equal(t, []uint64{1, 3}, seqs(ds))
			c.settle(consumer.Done, ds[0])
			second := c.take(10)
			require.Equal(t, []uint64{2}, seqs(second))
			c.move(1, false)
			c.none(minute)
			c.settle(outcome, second[0])
			c.none(minute)
			c.settle(outcome, ds[1])
			c.settle(outcome, ds[1], second[0]) // told twice
			got := c.take(10)
			require.Equal(t, []uint64{1, 3}, seqs(got))
			require.Equal(t, 1, got[0].Attempt)
			require.Zero(t, c.Stats().DeadLetters)
			c.settle(consumer.Done, got...)
			require.Equal(t, []uint64{2}, seqs(c.take(10)))
		})
	}
}

// slowLog holds a reader until it is told to go on.
type slowLog struct {
	*fakeLog
	gate chan struct{}
}

func (l *slowLog) Segment(ctx context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error) {
	if l.gate != nil {
		<-l.gate
	}
	return l.fakeLog.Segment(ctx, seq)
}

// A message that is being read while the consumer is moved is not of the new generation.
func TestWhatIsReadDuringAMoveIsNotOfTheNewGeneration(t *testing.T) {
	t.Parallel()
	for _, push := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			log := &slowLog{fakeLog: ten()}
			cfg := pullConfig()
			cfg.Push = push
			c := start(t, log, newState(), cfg)
			synctest.Wait()
			get := func() []*consumer.Delivery {
				if push {
					return c.take(3)
				}
				return c.receive(consumer.ReceiveOptions{Max: 3, Wait: minute})
			}
			log.gate = make(chan struct{})
			got := make(chan []*consumer.Delivery)
			go func() { got <- get() }()
			synctest.Wait() // picked, and waits for the log
			go func() { _, _ = c.Move(t.Context(), consumer.MoveRequest{To: 3, Skip: true}) }()
			synctest.Wait()
			close(log.gate)
			ds := <-got
			if push { // they go out, and count for nothing
				require.Equal(t, []uint64{1, 2, 3}, seqs(ds))
				c.settle(consumer.Done, ds...)
				ds = c.take(3)
			}
			require.Equal(t, []uint64{3, 4, 5}, seqs(ds))
		})
	}
}

// A batch that waits to become fuller holds messages that were picked: after a move they are not handed out in the new generation's name.
func TestALingeringBatchIsVoidAfterAMove(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), update(rel, "a", "a"))
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		c.settle(consumer.Done, c.take(1)...)
		synctest.Wait()
		got := make(chan []*consumer.Delivery)
		go func() {
			ds, _ := c.Take(t.Context(), consumer.TakeOptions{Max: 10, Linger: minute})
			got <- ds
		}()
		synctest.Wait() // it has 2
		c.move(1, true)
		ds := <-got
		require.Equal(t, []uint64{1}, seqs(ds), "2 waits for it")
		c.settle(consumer.Done, ds...)
		require.Equal(t, []uint64{2}, seqs(c.take(10)))
		require.Empty(t, c.Books())
	})
}

// What was copied out of the log after a move back is still there when the move is taken back.
func TestUndoKeepsWhatWasCopiedOutSince(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 100 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c := startCopying(t, log, state, pullConfig())
		synctest.Wait()
		c.ack(c.receive(consumer.ReceiveOptions{Max: 20})...)
		c.move(10, false)
		for _, d := range c.all() {
			if d.Seq != 30 {
				c.ack(d)
			}
		}
		require.NoError(t, c.CopyOut(t.Context(), 80))
		require.EqualValues(t, 80, c.Cursor())
		log.trim(80)
		c.undo()
		require.EqualValues(t, 80, c.Cursor())
		c.stop()
		c = startCopying(t, log, state, pullConfig())
		require.Equal(t, []uint64{30}, seqs(c.all()))
	})
}

// chanLock is a lock that a bubble can wait for.
type chanLock chan struct{}

func (l chanLock) Lock()   { l <- struct{}{} }
func (l chanLock) Unlock() { <-l }

// From the moment that the target is known to be retained, nothing behind it may be trimmed.
func TestTheLogIsHeldWhileAMoveIsWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := ten(), newState()
		d := deps(log, state)
		trimming := make(chanLock, 1)
		d.Trimming = trimming
		opened, err := consumer.Open(t.Context(), d, pullConfig())
		require.NoError(t, err)
		c := run(t, opened)
		c.ack(c.all()...)
		require.EqualValues(t, 11, c.Cursor())

		// A trim that has asked already goes first.
		trimming.Lock()
		moved := make(chan error, 1)
		go func() { _, err := c.Move(t.Context(), consumer.MoveRequest{To: 4}); moved <- err }()
		synctest.Wait()
		log.trim(5)
		trimming.Unlock()
		requireCode(t, "history_trimmed", <-moved)
		require.EqualValues(t, 11, c.Cursor())

		gate := make(chan struct{})
		state.mu.Lock()
		state.hook = func([]engine.Op) error { <-gate; return nil }
		state.mu.Unlock()
		go func() { _, err := c.Move(t.Context(), consumer.MoveRequest{To: 5}); moved <- err }()
		synctest.Wait()
		require.EqualValues(t, 5, c.Cursor(), "it is not written yet")
		close(gate)
		require.NoError(t, <-moved)
		require.EqualValues(t, 5, c.Cursor())
	})
}

func TestMoveAndUndoKeepWhatWasCopiedOut(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log, state := newLog(), newState()
			rel := table(1, "orders")
			for i := range 100 {
				log.add(insert(rel, strconv.Itoa(i)))
			}
			begin := func() *running { return startCopying(t, log, state, pullConfig()) }
			c := begin()
			again := func() {
				if restart {
					c.stop()
					c = begin()
				}
			}
			ds := c.all()
			c.ack(append(ds[1:5:5], ds[6:70]...)...) // but 1, 6 and 71 to 100
			require.NoError(t, c.CopyOut(t.Context(), 50))
			require.EqualValues(t, 50, c.Cursor())
			log.trim(50)
			_, err := c.Move(t.Context(), consumer.MoveRequest{To: 60})
			requireCode(t, "move_skips_messages", err)
			m := c.move(60, true)
			require.EqualValues(t, 2, m.Skipped)
			again()
			got := c.all()
			require.Len(t, got, 41)
			c.ack(got[1:]...) // 60 stays
			require.NoError(t, c.CopyOut(t.Context(), 90))
			require.EqualValues(t, 90, c.Cursor())
			again()
			c.undo()
			again()
			time.Sleep(minute)
			require.Equal(t, []uint64{1, 6}, seqs(c.all()), "60 was acknowledged before the move, the others since")
			again()
			time.Sleep(minute)
			rest := c.all()
			require.Equal(t, []uint64{1, 6}, seqs(rest))
			c.ack(rest...)
			require.EqualValues(t, 101, c.Cursor())
			require.Empty(t, state.keys("consumer/"+testID+"/stray/"))
		})
	}
}

func TestMoveEndsRedrivesThatItDelivers(t *testing.T) {
	t.Parallel()
	for _, push := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			log, state := ten(), newState()
			cfg := pushConfig()
			c := start(t, log, state, cfg)
			synctest.Wait()
			ds := c.take(10)
			c.settle(consumer.Reject, ds[1], ds[6])
			c.settle(consumer.Done, append([]*consumer.Delivery{ds[0]}, append(ds[2:6:6], ds[7:]...)...)...)
			time.Sleep(time.Second)
			if !push {
				c.stop()
				cfg = pullConfig()
				c = start(t, log, state, cfg)
			}
			get := func(n int) []*consumer.Delivery {
				synctest.Wait()
				if push {
					return c.take(n)
				}
				return c.receive(consumer.ReceiveOptions{Max: n})
			}
			did, err := c.Redrive(t.Context(), consumer.DeadSelection{Seqs: []uint64{2, 7}})
			require.NoError(t, err)
			require.Equal(t, 2, did.Count)
			redriven := get(10)
			require.Equal(t, []uint64{2, 7}, seqs(redriven))
			c.move(5, false)
			if push {
				c.settle(consumer.Done, redriven...) // 2 counts; 7 is delivered by the move
			}
			did, err = c.Redrive(t.Context(), consumer.DeadSelection{Seqs: []uint64{7}})
			require.NoError(t, err)
			require.Zero(t, did.Count, "it is delivered anyway")
			got := get(10)
			want := []uint64{5, 6, 7, 8, 9, 10}
			if !push {
				want = append([]uint64{2}, want...)
			}
			require.Equal(t, want, seqs(got))
			for _, d := range got {
				require.Equal(t, d.Seq == 2, d.Redriven)
			}
			if push {
				c.settle(consumer.Done, got...)
			} else {
				c.ack(got...)
			}
			time.Sleep(2 * time.Second)
			require.EqualValues(t, 11, c.Cursor())
			require.Empty(t, c.Books())
			letters, err := c.deadLetters(0, 10)
			require.NoError(t, err)
			require.Len(t, letters, 1, "7 stays one")
			require.EqualValues(t, 7, letters[0].Seq)
		})
	}
}
