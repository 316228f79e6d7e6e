package consumer_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/consumer"
)

type codec struct{}

func (codec) Encode(change *cdc.Change) []byte          { return changelog.AppendChange(nil, change) }
func (codec) Decode(b []byte, change *cdc.Change) error { return changelog.DecodeChange(b, change) }

// startCopying is start for a consumer that can copy messages out of the log.
func startCopying(t *testing.T, log consumer.Log, state *fakeState, cfg consumer.Config) *running {
	t.Helper()
	d := deps(log, state)
	d.Codec = codec{}
	c, err := consumer.Open(t.Context(), d, cfg)
	require.NoError(t, err)
	return run(t, c)
}

// A message that fails for long, and what waits behind it, pin nothing: the log goes, and they are delivered in order all the same, also after
// a restart.
func TestStragglersPinNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "bad"), update(rel, "bad", "bad"))
		for i := range 200 {
			log.add(insert(rel, fmt.Sprint("good", i)))
		}
		c := startCopying(t, log, state, pushConfig())
		for settled := 0; settled < 201; {
			ds := c.take(500)
			var rs []consumer.Result
			for _, d := range ds {
				r := consumer.Result{Delivery: d, Outcome: consumer.Done}
				if d.Seq == 1 {
					r.Outcome, r.Err, r.After = consumer.Retry, errors.New("503"), 24*time.Hour
				}
				rs = append(rs, r)
			}
			require.NoError(t, c.Settle(t.Context(), rs))
			settled += len(ds)
		}
		require.EqualValues(t, 1, c.Cursor())
		require.NoError(t, c.CopyOut(t.Context(), 150))
		require.EqualValues(t, 150, c.Cursor())
		require.EqualValues(t, 1, c.Stats().Cursor)
		require.NoError(t, c.CopyOut(t.Context(), 10_000))
		require.EqualValues(t, 203, c.Cursor(), "not beyond what was read")
		pin, err := consumer.StoredCursor(t.Context(), state, pushConfig().ID)
		require.NoError(t, err)
		require.EqualValues(t, 203, pin)
		log.trim(203)
		log.add(insert(rel, "later"))
		require.Equal(t, []uint64{203}, seqs(c.take(10)))
		c.stop()

		c = startCopying(t, log, state, pushConfig())
		require.EqualValues(t, 203, c.Cursor())
		require.Equal(t, []uint64{203}, seqs(c.take(10)), "what was not settled comes again")
		time.Sleep(25 * time.Hour)
		ds := c.take(10)
		require.Equal(t, []uint64{1}, seqs(ds), "the second one waits for it")
		require.Equal(t, 2, ds[0].Attempt)
		require.Equal(t, "orders", ds[0].Change.Relation.Name)
		require.Equal(t, log.changes[0].New, ds[0].Change.New)
		settle(t, c, ds)
		ds = c.take(10)
		require.Equal(t, []uint64{2}, seqs(ds))
		settle(t, c, ds)
		require.Zero(t, c.Stats().Gaps, "nothing was lost")
		time.Sleep(2 * time.Second)
		for entry, err := range state.List(t.Context(), "consumer/"+pushConfig().ID+"/stray/") {
			t.Fatalf("%s is still there (%v)", entry.Key, err)
		}
	})
}

func settle(t *testing.T, c *running, ds []*consumer.Delivery) {
	t.Helper()
	var rs []consumer.Result
	for _, d := range ds {
		rs = append(rs, consumer.Result{Delivery: d, Outcome: consumer.Done})
	}
	require.NoError(t, c.Settle(t.Context(), rs))
}

// A consumer that is simply late keeps the log; and the disk policy takes what is in the log, not what was copied.
func TestABacklogIsNotCopied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 2000 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c := startCopying(t, log, state, pushConfig())
		synctest.Wait()
		require.NoError(t, c.CopyOut(t.Context(), 900))
		require.EqualValues(t, 1, c.Cursor())

		var done []*consumer.Delivery
		var late []uint64
		for _, d := range c.take(900) {
			if d.Seq%10 == 1 {
				late = append(late, d.Seq)
				continue
			}
			done = append(done, d)
		}
		settle(t, c, done)
		require.NoError(t, c.CopyOut(t.Context(), 901))
		require.EqualValues(t, 901, c.Cursor())
		require.NoError(t, c.CopyOut(t.Context(), 1500))
		require.EqualValues(t, 901, c.Cursor())
		require.NoError(t, c.Release(t.Context(), 1500, "wal_budget"))
		gaps, err := c.Gaps(t.Context())
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.EqualValues(t, 901, gaps[0].From)
		require.EqualValues(t, 1499, gaps[0].To)
		require.EqualValues(t, 1500, c.Cursor(), "room was made")
		log.trim(1500)
		c.stop()

		c = startCopying(t, log, state, pushConfig())
		var got []uint64
		for len(got) < len(late)+501 {
			ds := c.take(100)
			got = append(got, seqs(ds)...)
			settle(t, c, ds)
		}
		require.Equal(t, late, got[:len(late)])
		require.EqualValues(t, 1500, got[len(late)])
		require.Equal(t, 1, c.Stats().Gaps, "the one that was recorded")
	})
}

// What is copied is bounded in bytes, all together.
func TestBigMessagesAreNotCopied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		for i := range 400 {
			change := insert(rel, strconv.Itoa(i))
			if i%10 == 0 {
				change.Annotations = make([]byte, 1<<20)
			}
			log.add(change)
		}
		c := startCopying(t, log, state, pushConfig())
		for range 4 {
			var done []*consumer.Delivery
			for _, d := range c.take(100) {
				if d.Seq%10 != 1 {
					done = append(done, d)
				}
			}
			settle(t, c, done)
		}
		for below := range uint64(400) {
			require.NoError(t, c.CopyOut(t.Context(), below))
		}
		require.EqualValues(t, 151, c.Cursor(), "15 of them, and what they take beside")
	})
}

// A straggler that becomes a dead letter, and one that is rewound over, leave nothing behind.
func TestStragglersThatEndOtherwise(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "a"))
		for i := range 20 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c := startCopying(t, log, state, pushConfig())
		synctest.Wait()
		ds := c.take(18)
		require.Len(t, ds, 18)
		settle(t, c, ds[1:])
		require.NoError(t, c.CopyOut(t.Context(), 19))
		require.EqualValues(t, 19, c.Cursor())
		log.trim(19)
		reject(t, c, "", ds[0])
		d, err := c.DeadLetter(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, "a", d.Group)
		_, err = c.Rewind(t.Context(), 20)
		require.NoError(t, err)
		require.EqualValues(t, 20, c.Cursor())
		require.Equal(t, []uint64{20, 21}, seqs(c.take(3)))
		for entry, err := range state.List(t.Context(), "consumer/"+pushConfig().ID+"/stray/") {
			t.Fatalf("%s is still there (%v)", entry.Key, err)
		}
	})
}
