package consumer_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/filter"
)

func (r *running) place() consumer.Place {
	r.t.Helper()
	p, err := r.Place(r.t.Context())
	require.NoError(r.t, err)
	return p
}

func TestPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel, other := table(1, "orders"), table(2, "lines")
		cfg := pushConfig()
		cfg.Source.ExcludeTables = []filter.TableRef{tableRef("lines")}
		c := start(t, log, state, cfg)
		require.Equal(t, consumer.Place{Status: consumer.Active, Cursor: 1, Frontier: 1}, c.place(), "an empty log")

		for i := range 10 {
			log.add(insert(other, strconv.Itoa(i)), insert(rel, strconv.Itoa(i)))
		}
		synctest.Wait()
		oldest := &consumer.Oldest{Seq: 2, LSN: 32, CommitTime: log.changes[1].CommitTime.Time()}
		require.Equal(t, consumer.Place{
			Status: consumer.Active, Cursor: 2, Frontier: 21, LogEnd: 20, LSN: 32, Messages: 10, Bytes: 1000, Oldest: oldest,
		}, c.place())

		ds := c.take(4)
		c.settle(consumer.Done, ds[1])
		c.retry(time.Hour, ds[2])
		c.settle(consumer.Reject, ds[3])
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, consumer.Place{
			Status: consumer.Active, Cursor: 2, Frontier: 21, LogEnd: 20, LSN: 32, Messages: 8, Bytes: 800, InFlight: 1, BackingOff: 1, DeadLetters: 1,
			Oldest: oldest,
		}, c.place())

		c.settle(consumer.Done, ds[0])
		c.discardMessages(consumer.Selection{All: true})
		synctest.Wait()
		require.Equal(t, consumer.Place{
			Status: consumer.Active, Cursor: 21, Frontier: 21, LogEnd: 20, LSN: 328, DeadLetters: 1,
		}, c.place(), "all is done: the place is the log's end")

		log.add(insert(other, "x"), insert(rel, "x"))
		cfg.Status = consumer.Disabled
		require.NoError(t, c.Update(t.Context(), cfg))
		p := c.place()
		require.Equal(t, consumer.Disabled, p.Status)
		require.Zero(t, p.Messages, "it keeps nothing")
		require.Nil(t, p.Oldest)
	})
}

// A backlog is counted as far as it was read, and estimated from there on; both are told apart.
func TestPlaceEstimatesABacklog(t *testing.T) {
	t.Parallel()
	const n = 200_000
	rel, other := table(1, "orders"), table(2, "lines")
	log := &mixedLog{endlessLog: newEndless(n, distinct), of: func(seq uint64) *cdc.Relation {
		if seq%4 == 0 {
			return other
		}
		return rel
	}}
	cfg := pushConfig()
	cfg.Status = consumer.Paused
	cfg.Source.ExcludeTables = []filter.TableRef{tableRef("lines")}
	c := start(t, log, newState(), cfg)
	require.Eventually(t, func() bool { return c.Stats().Ready >= 8192 }, time.Minute, time.Millisecond)
	began := time.Now()
	p := c.place()
	require.Less(t, time.Since(began), 10*time.Second)
	require.True(t, p.Estimated)
	require.InEpsilon(t, n/4*3, p.Messages, 0.01)
	require.InEpsilon(t, n/4*3*100, p.Bytes, 0.01)
	require.EqualValues(t, 1, p.Oldest.Seq)

	// Nothing but what others want, further than it looks: there may be something, and it does not say that there is not.
	log.of = func(uint64) *cdc.Relation { return other }
	log.segments = map[uint64][]cdc.Change{}
	c.stop()
	idle, err := consumer.Open(t.Context(), deps(log, newState()), cfg)
	require.NoError(t, err)
	p, err = idle.Place(t.Context())
	require.NoError(t, err)
	require.True(t, p.Estimated)
	require.Nil(t, p.Oldest)
	require.Greater(t, p.LSN, cdc.LSN(1000), "what was looked at is behind it")
	require.NotZero(t, p.Messages)
}

// mixedLog is an endless log of several tables.
type mixedLog struct {
	*endlessLog
	of func(seq uint64) *cdc.Relation
}

func (l *mixedLog) Segment(ctx context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error) {
	first, last, changes, err = l.endlessLog.Segment(ctx, seq)
	for i := range changes {
		if want := l.of(changes[i].Seq); changes[i].Relation != want {
			changes[i].Relation = want
		}
	}
	return first, last, changes, err
}
