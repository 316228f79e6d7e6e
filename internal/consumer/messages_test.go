package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/filter"
	"github.com/sequinstream/sequin/internal/problem"
)

// list pages through what a query is about.
func (r *running) list(q consumer.MessageQuery) []consumer.Message {
	r.t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	var all []consumer.Message
	for {
		page, err := r.Messages(r.t.Context(), q)
		require.NoError(r.t, err)
		require.LessOrEqual(r.t, len(page.Messages), q.Limit)
		all = append(all, page.Messages...)
		switch {
		case page.Next == 0:
			return all
		case q.Descending:
			require.True(r.t, q.Before == 0 || page.Next < q.Before, "it gets on")
			q.Before = page.Next
		default:
			require.Greater(r.t, page.Next, q.After, "it gets on")
			q.After = page.Next
		}
	}
}

func seqsOf(ms []consumer.Message) []uint64 {
	out := []uint64{}
	for i := range ms {
		out = append(out, ms[i].Seq)
	}
	return out
}

// states tells seq, state and what is in the way.
func states(ms []consumer.Message) []string {
	out := []string{}
	for i := range ms {
		text := fmt.Sprintf("%d %s", ms[i].Seq, ms[i].State)
		if b := ms[i].BlockedBy; b != 0 {
			text += fmt.Sprintf(" behind %d", b)
		}
		out = append(out, text)
	}
	return out
}

func TestMessagesTellWhereTheyAre(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel, other := table(1, "orders"), table(2, "lines")
		log.add(
			insert(rel, "a"), insert(rel, "b"), insert(rel, "c"), insert(rel, "d"), // 1 to 4
			update(rel, "a", "a"), update(rel, "b", "e"), update(rel, "e", "e"), // 5 to 7
			insert(other, "a"), truncate(other), insert(other, "b"), // 8 to 10
		)
		cfg := pushConfig()
		cfg.Actions = filter.Actions()
		c := start(t, log, state, cfg)
		synctest.Wait()
		require.Equal(t, []string{
			"1 available", "2 available", "3 available", "4 available", "5 available behind 1", "6 available behind 2", "7 available behind 6",
			"8 available", "9 available behind 8", "10 available behind 9",
		}, states(c.list(consumer.MessageQuery{})))

		ds := c.take(4)
		c.settle(consumer.Done, ds[2])
		require.NoError(t, c.Settle(t.Context(), []consumer.Result{
			{Delivery: ds[0], Outcome: consumer.Retry, After: time.Minute, Err: errors.New("503")},
			{Delivery: ds[3], Outcome: consumer.Reject, Err: errors.New("410 gone")},
		}))
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		all := c.list(consumer.MessageQuery{})
		require.Equal(t, []string{
			"1 backing_off", "2 delivering", "4 dead_letter", "5 available behind 1", "6 available behind 2", "7 available behind 6", "8 available",
			"9 available behind 8", "10 available behind 9",
		}, states(all))
		first, second, dead := all[0], all[1], all[2]
		require.Equal(t, "503", first.LastError)
		require.Equal(t, 1, first.Attempts)
		require.WithinDuration(t, time.Now().Add(time.Minute), first.NotVisibleUntil, time.Second)
		require.Equal(t, ds[0].AckID, first.AckID)
		require.Equal(t, ds[0].ID, first.ID)
		require.Equal(t, "a", first.Key)
		require.Equal(t, ds[0].Group, first.Group)
		require.Equal(t, log.changes[0].Position, first.Position)
		require.Equal(t, log.changes[0].CommitTime.Time(), first.CommitTime)
		require.Equal(t, "public", first.Schema)
		require.Equal(t, "orders", first.Table)
		require.Equal(t, "insert", first.Action)
		require.Equal(t, 100, first.Bytes)
		require.Equal(t, 1, second.Attempts, "the first is under way")
		require.True(t, second.NotVisibleUntil.IsZero())
		require.Equal(t, consumer.ReasonRejected, dead.Reason)
		require.Equal(t, "410 gone", dead.LastError)
		require.Equal(t, "d", dead.Key)

		for s, want := range map[consumer.MessageState][]uint64{
			consumer.MessageAvailable: {5, 6, 7, 8, 9, 10}, consumer.MessageDelivering: {2}, consumer.MessageBackingOff: {1},
			consumer.MessageRedelivery: {}, consumer.MessageDeadLetter: {4},
		} {
			require.Equal(t, want, seqsOf(c.list(consumer.MessageQuery{State: s})), s)
			down := c.list(consumer.MessageQuery{State: s, Descending: true, Limit: 2})
			slices.Reverse(down)
			require.Equal(t, want, seqsOf(down), s)
		}
		paused := cfg
		paused.Status = consumer.Paused
		require.NoError(t, c.Update(t.Context(), paused))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"1 pending_redelivery"}, states(c.list(consumer.MessageQuery{State: consumer.MessageRedelivery})))
		require.Len(t, c.list(consumer.MessageQuery{}), 9, "a paused consumer shows what it has")

		// What was out when it stopped is available again; what failed is still known to have failed.
		c.settle(consumer.Release, ds[1])
		c.stop()
		c = start(t, log, state, paused)
		synctest.Wait()
		again := c.list(consumer.MessageQuery{})
		require.Equal(t, []string{"1 pending_redelivery", "2 available", "4 dead_letter"}, states(again)[:3])
		require.Equal(t, "503", again[0].LastError)
		require.Len(t, again, 9)

		disabled := cfg
		disabled.Status = consumer.Disabled
		require.NoError(t, c.Update(t.Context(), disabled))
		require.Equal(t, []string{"4 dead_letter"}, states(c.list(consumer.MessageQuery{})), "nothing else is kept")
	})
}

func TestMessagesOfAPullConsumer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"))
		c := start(t, log, newState(), pullConfig())
		synctest.Wait()
		c.receive(consumer.ReceiveOptions{Max: 1, Visibility: minute})
		until := time.Now().Add(minute)
		all := c.list(consumer.MessageQuery{})
		require.Equal(t, []string{"1 delivering", "2 available"}, states(all))
		require.Equal(t, until.UnixMicro(), all[0].NotVisibleUntil.UnixMicro())
		time.Sleep(minute)
		synctest.Wait()
		all = c.list(consumer.MessageQuery{})
		require.Equal(t, []string{"1 pending_redelivery", "2 available"}, states(all))
		require.Contains(t, all[0].LastError, "lease expired")
	})
}

func TestMessagesAreFilteredByTableAndKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel, other := table(1, "orders"), table(2, "lines")
		pair := &cdc.Relation{
			OID: 3, SourceID: 3, Schema: "audit", Name: "orders", Identity: 'd', Columns: []cdc.Column{{Name: "x"}, {Name: "y"}},
			PrimaryKey: []int{0, 1}, IdentityKey: []int{0, 1},
		}
		log.add(
			insert(rel, "1"), insert(other, "1"), update(rel, "1", "2"), remove(rel, "2"), // 1 to 4
			&cdc.Change{Op: cdc.OpInsert, Relation: pair, New: cdctest.Tuple("1", "2")}, // 5
		)
		c := start(t, log, newState(), pushConfig())
		for _, d := range c.take(2) { // the second and fifth have company in the dead letters
			c.settle(consumer.Reject, d)
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		for name, test := range map[string]struct {
			filter consumer.MessageFilter
			want   []uint64
		}{
			"all":            {consumer.MessageFilter{}, []uint64{1, 2, 3, 4, 5}},
			"a table":        {consumer.MessageFilter{Table: "orders"}, []uint64{1, 3, 4, 5}},
			"with schema":    {consumer.MessageFilter{Table: "public.orders"}, []uint64{1, 3, 4}},
			"another schema": {consumer.MessageFilter{Table: "other.orders"}, []uint64{}},
			"half a name":    {consumer.MessageFilter{Table: "public"}, []uint64{}},
			"a key":          {consumer.MessageFilter{Key: "1"}, []uint64{1, 2, 3}},
			"a new key":      {consumer.MessageFilter{Key: "2", Table: "orders"}, []uint64{3, 4}},
			"two columns":    {consumer.MessageFilter{Key: "1:2"}, []uint64{5}},
		} {
			require.Equal(t, test.want, seqsOf(c.list(consumer.MessageQuery{MessageFilter: test.filter})), name)
		}
	})
}

// Pages fit together, either way, whatever has been read of the log, is done, lost or trimmed, and with a short breath.
func TestPagesFitTogether(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ready   int
		entries int
	}{
		"all read": {10_000, 50_000}, "hardly read": {3, 50_000}, "short of breath": {3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { pages(t, test.ready, test.entries) })
		})
	}
}

func pages(t *testing.T, ready, entries int) {
	t.Helper()
	log := newLog()
	rel, other := table(1, "orders"), table(2, "lines")
	want := map[uint64]bool{}
	for i := range uint64(900) {
		if i%7 == 0 {
			log.add(insert(other, distinct(i)))
			continue
		}
		log.add(insert(rel, distinct(i)))
		want[i+1] = true
	}
	log.lose(400, 450)
	for seq := uint64(400); seq <= 450; seq++ {
		delete(want, seq)
	}
	cfg := pushConfig()
	cfg.Source.ExcludeTables = []filter.TableRef{tableRef("lines")}
	opened, err := consumer.Open(t.Context(), deps(log, newState()), cfg)
	require.NoError(t, err)
	opened.SetBounds(ready, 4096, 4<<20, 1<<30)
	opened.SetEffort(entries, time.Hour)
	c := run(t, opened)
	synctest.Wait()
	for _, d := range c.take(5000) {
		switch {
		case d.Seq%9 == 0:
			c.settle(consumer.Reject, d)
		case d.Seq%50 != 3:
			c.settle(consumer.Done, d)
			delete(want, d.Seq)
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
	for _, limit := range []int{7, 1000} {
		up := c.list(consumer.MessageQuery{Limit: limit})
		require.Len(t, up, len(want))
		require.True(t, slices.IsSortedFunc(up, func(a, b consumer.Message) int { return int(a.Seq) - int(b.Seq) })) //nolint:gosec // small
		for i := range up {
			require.True(t, want[up[i].Seq], "message %d", up[i].Seq)
		}
		down := c.list(consumer.MessageQuery{Limit: limit, Descending: true})
		slices.Reverse(down)
		require.Equal(t, seqsOf(up), seqsOf(down))
		part := c.list(consumer.MessageQuery{Limit: limit, After: 20, Before: 420})
		require.Equal(t, seqsOf(slices.DeleteFunc(slices.Clone(up), func(m consumer.Message) bool { return m.Seq <= 20 || m.Seq >= 420 })), seqsOf(part))
	}
	require.Empty(t, c.list(consumer.MessageQuery{After: 900}))
	require.Empty(t, c.list(consumer.MessageQuery{Before: 1}))
}

// A list of a backlog of millions costs a page, also when hardly anything in it is wanted.
func TestAListCostsAPage(t *testing.T) {
	t.Parallel()
	log := newEndless(5_000_000, distinct)
	cfg := pushConfig()
	cfg.Status = consumer.Paused
	c := start(t, log, newState(), cfg)
	require.Eventually(t, func() bool { return c.Stats().Frontier > 8000 }, time.Minute, time.Millisecond)
	segments := func(q consumer.MessageQuery) (consumer.MessagePage, int) {
		log.mu.Lock()
		before := log.decoded
		log.mu.Unlock()
		page, err := c.Messages(t.Context(), q)
		require.NoError(t, err)
		log.mu.Lock()
		defer log.mu.Unlock()
		return page, log.decoded - before
	}
	page, cost := segments(consumer.MessageQuery{Limit: 100})
	require.Len(t, page.Messages, 100)
	require.EqualValues(t, 100, page.Next)
	require.LessOrEqual(t, cost, 2)
	page, cost = segments(consumer.MessageQuery{Limit: 100, Descending: true})
	require.EqualValues(t, 5_000_000, page.Messages[0].Seq)
	require.EqualValues(t, 4_999_901, page.Messages[99].Seq)
	require.LessOrEqual(t, cost, 2)
	page, cost = segments(consumer.MessageQuery{Limit: 100, After: 3_000_000, MessageFilter: consumer.MessageFilter{Key: "3000700"}})
	require.Len(t, page.Messages, 1)
	require.EqualValues(t, 3_000_700, page.Messages[0].Seq)
	require.LessOrEqual(t, page.Next, uint64(3_051_000), "it stops, and tells where to go on")
	require.NotZero(t, page.Next)
	require.LessOrEqual(t, cost, 52)
	page, cost = segments(consumer.MessageQuery{Limit: 100, Before: 3_000_000, Descending: true, MessageFilter: consumer.MessageFilter{Key: "none"}})
	require.Empty(t, page.Messages)
	require.Greater(t, page.Next, uint64(2_940_000))
	require.LessOrEqual(t, cost, 60)
	require.Zero(t, c.Stats().Delivered, "looking changes nothing")
}

func TestOneMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"), insert(rel, "c"), insert(table(2, "lines"), "a"))
		log.add(&cdc.Change{Op: cdc.OpInsert, Relation: rel, TooBig: true, Size: 99_000_000})
		cfg := pullConfig()
		cfg.Source.ExcludeTables = []filter.TableRef{tableRef("lines")}
		cfg.DeadLetters.MaxBytes = 600 // the second dead letter has to wait
		d := deps(log, state)
		d.Encode = func(c *cdc.Change) ([]byte, error) {
			if c.Seq == 3 {
				return nil, errors.New("cannot be built")
			}
			return fmt.Appendf(nil, `{"seq":%d}`, c.Seq), nil
		}
		opened, err := consumer.Open(t.Context(), d, cfg)
		require.NoError(t, err)
		c := run(t, opened)
		ds := c.receive(consumer.ReceiveOptions{Max: 2, Wait: minute, Visibility: minute})
		c.ack(ds[1])
		m, err := c.Message(t.Context(), "1")
		require.NoError(t, err)
		require.Equal(t, consumer.MessageDelivering, m.State)
		require.JSONEq(t, `{"seq":1}`, string(m.Payload))
		require.Equal(t, ds[0].AckID, m.AckID)
		same, err := c.Message(t.Context(), ds[0].AckID)
		require.NoError(t, err)
		require.Equal(t, m, same)
		m, err = c.Message(t.Context(), "3")
		require.NoError(t, err)
		require.Nil(t, m.Payload)
		require.ErrorContains(t, m.PayloadError, "cannot be built")

		for name, why := range map[string]string{
			"0": "up to 5", "2": "is done", ds[1].AckID: "is done", "4": "is done: delivered, discarded or filtered", "6": "up to 5",
			consumer.AckID{Consumer: 5, Seq: 1}.String(): "not of a message of this sink", "18446744073709551615": "up to 5",
		} {
			_, err := c.Message(t.Context(), name)
			require.Equal(t, "message_not_found", problem.Code(err), name)
			require.ErrorContains(t, err, why)
		}
		_, err = c.Message(t.Context(), "one")
		require.Equal(t, "invalid_ack_id", problem.Code(err))

		// A dead letter is found as well, and one that waits to become one.
		time.Sleep(time.Second)
		synctest.Wait()
		m, err = c.Message(t.Context(), "5")
		require.NoError(t, err)
		require.Equal(t, consumer.MessageDeadLetter, m.State)
		require.Equal(t, consumer.ReasonTooBig, m.Reason)
		require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: ds[0], Outcome: consumer.Reject, Err: errors.New("410 gone")}}))
		synctest.Wait()
		require.Equal(t, consumer.StopDeadLettersFull, c.Stats().Stopped)
		m, err = c.Message(t.Context(), "1")
		require.NoError(t, err)
		require.Equal(t, consumer.MessageDeadLetter, m.State)
		require.Equal(t, consumer.ReasonRejected, m.Reason)
		require.Equal(t, "410 gone", m.LastError)
		require.Equal(t, []uint64{1, 5}, seqsOf(c.list(consumer.MessageQuery{State: consumer.MessageDeadLetter})))

		_, err = c.Rewind(t.Context(), 1)
		require.NoError(t, err)
		synctest.Wait()
		_, err = c.Message(t.Context(), ds[0].AckID)
		require.ErrorContains(t, err, "earlier generation")
		require.Equal(t, []string{"1 available", "2 available", "3 available", "5 dead_letter"}, states(c.list(consumer.MessageQuery{})),
			"the fifth is both, and shown once")
	})
}

// Messages that were copied out of the log are shown like others.
func TestStragglersAreListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, state := newLog(), newState()
		rel := table(1, "orders")
		log.add(insert(rel, "bad"), update(rel, "bad", "bad"))
		for i := range 200 {
			log.add(insert(rel, strconv.Itoa(i)))
		}
		c := startCopying(t, log, state, pushConfig())
		synctest.Wait()
		for _, d := range c.take(500) {
			o := consumer.Done
			if d.Seq == 1 {
				o = consumer.Retry
			}
			require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: d, Outcome: o, After: 24 * time.Hour, Err: errors.New("503")}}))
		}
		require.NoError(t, c.CopyOut(t.Context(), 10_000))
		log.trim(203)
		log.add(insert(rel, "later"))
		synctest.Wait()
		want := []string{"1 backing_off", "2 available behind 1", "203 available"}
		require.Equal(t, want, states(c.list(consumer.MessageQuery{})))
		m, err := c.Message(t.Context(), "1")
		require.NoError(t, err)
		require.JSONEq(t, `{"seq":1}`, string(m.Payload))
		down := c.list(consumer.MessageQuery{Descending: true, Limit: 1})
		slices.Reverse(down)
		require.Equal(t, want, states(down))
	})
}

func TestListsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	log := newEndless(1000, distinct)
	c := start(t, log, newState(), pushConfig())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Messages(ctx, consumer.MessageQuery{Limit: 10})
	require.ErrorIs(t, err, context.Canceled)
}
