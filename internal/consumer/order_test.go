package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/filter"
)

func TestChangeOfKeyBelongsToBothGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(
			insert(rel, "a"),      // 1
			insert(rel, "b"),      // 2
			update(rel, "a", "b"), // 3: after 1 and 2
			update(rel, "a", "a"), // 4: after 3
			update(rel, "b", "b"), // 5: after 3
			insert(rel, "c"),      // 6
		)
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		ds := c.take(10)
		require.Equal(t, []uint64{1, 2, 6}, seqs(ds))
		c.settle(consumer.Done, ds[0])
		c.none(minute)
		c.settle(consumer.Done, ds[1])
		ds = c.take(10)
		require.Equal(t, []uint64{3}, seqs(ds))
		require.Equal(t, "b", ds[0].Group, "it goes out under the new key")
		c.none(minute)
		c.settle(consumer.Retry, ds[0])
		c.settle(consumer.Done, c.take(1)...)
		require.Equal(t, []uint64{4, 5}, seqs(c.take(10)))
	})
}

// Two rows that swap their keys: each change waits for the other's group.
func TestSwappedKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(update(rel, "a", "x"), update(rel, "b", "a"), update(rel, "x", "b"), update(rel, "a", "b"), update(rel, "b", "a"))
		c := start(t, log, newState(), pushConfig())
		for want := range uint64(5) {
			ds := c.take(10)
			require.Equal(t, []uint64{want + 1}, seqs(ds))
			c.none(minute)
			c.settle(consumer.Done, ds...)
		}
	})
}

// A change of key that is acknowledged before its groups come to it blocks nobody.
func TestChangeOfKeyAckedEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), insert(rel, "b"), update(rel, "a", "b"), insert(rel, "a"), insert(rel, "b"))
		c := start(t, log, newState(), pullConfig())
		synctest.Wait()
		ds := c.receive(consumer.ReceiveOptions{Max: 10})
		require.Equal(t, []uint64{1, 2}, seqs(ds))
		id, err := consumer.ParseAckID(ds[0].AckID)
		require.NoError(t, err)
		id.Seq = 3
		require.NoError(t, c.Ack(t.Context(), []string{id.String()}))
		c.ack(ds[0])
		require.Equal(t, []uint64{4}, seqs(c.receive(consumer.ReceiveOptions{Max: 10})), "3 does not have to wait for b any more")
		require.Empty(t, c.Books())
		c.ack(ds[1])
		require.Equal(t, []uint64{5}, seqs(c.receive(consumer.ReceiveOptions{Max: 10})))
		require.Empty(t, c.Books())
		require.Zero(t, c.Stats().Waiting)
	})
}

func TestTruncateWaitsAndHoldsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel, other := table(1, "orders"), table(2, "lines")
		log.add(insert(rel, "a"), insert(rel, "b"), truncate(rel), insert(rel, "c"), insert(other, "z"), insert(rel, "d"), truncate(rel), insert(rel, "c"))
		cfg := pushConfig()
		cfg.Actions = filter.Actions()
		c := start(t, log, newState(), cfg)
		synctest.Wait()
		ds := c.take(10)
		require.Equal(t, []uint64{1, 2, 5}, seqs(ds))
		c.settle(consumer.Done, ds[0])
		c.none(minute)
		c.settle(consumer.Done, ds[1])
		ds = c.take(10)
		require.Equal(t, []uint64{3}, seqs(ds))
		require.Empty(t, ds[0].Group)
		log.add(insert(rel, "e")) // comes while the fence is out, and stays behind what came before it
		c.none(minute)
		require.Equal(t, 6-1, c.Stats().Waiting)
		c.settle(consumer.Retry, ds...)
		c.settle(consumer.Done, c.take(1)...)
		synctest.Wait()
		ds = c.take(10)
		require.Equal(t, []uint64{4, 6}, seqs(ds))
		c.settle(consumer.Done, ds...)
		ds = c.take(10)
		require.Equal(t, []uint64{7}, seqs(ds))
		c.settle(consumer.Done, ds...)
		synctest.Wait()
		require.Equal(t, []uint64{8, 9}, seqs(c.take(10)))
	})
}

func TestTruncateIsNoBarrierForThoseWhoDoNotAskForIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		rel := table(1, "orders")
		log.add(insert(rel, "a"), truncate(rel), insert(rel, "b"))
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		require.Equal(t, []uint64{1, 3}, seqs(c.take(10)))
	})
}

func TestGroupings(t *testing.T) {
	t.Parallel()
	rel := table(1, "orders")
	keyless := table(2, "events")
	keyless.PrimaryKey, keyless.IdentityKey, keyless.Identity = nil, nil, 'f'
	indexed := table(3, "indexed")
	indexed.PrimaryKey, indexed.IdentityKey, indexed.Identity = nil, []int{2}, 'i'
	row := func(rel *cdc.Relation, vals ...any) *cdc.Change {
		return &cdc.Change{Op: cdc.OpInsert, Relation: rel, New: cdctest.Tuple(vals...)}
	}
	byGroup := consumer.Grouping{Columns: map[filter.TableRef][]string{{Schema: "public", Name: "orders"}: {"grp", "val"}}}
	gone := consumer.Grouping{Columns: map[filter.TableRef][]string{{Schema: "public", Name: "orders"}: {"grp", "renamed"}}}
	tests := map[string]struct {
		grouping consumer.Grouping
		changes  []*cdc.Change
		first    []uint64 // what the first batch holds
		groups   []string
	}{
		"primary key": {
			changes: []*cdc.Change{row(rel, "1", "x", "g"), row(rel, "2", "x", "g"), row(rel, "1", "y", "g")},
			first:   []uint64{1, 2}, groups: []string{"1", "2"},
		},
		"chosen columns": {
			grouping: byGroup,
			changes:  []*cdc.Change{row(rel, "1", "x", "g"), row(rel, "2", "x", "g"), row(rel, "3", "y", "g"), row(rel, "4", nil, "g"), row(rel, "5", nil, "g")},
			first:    []uint64{1, 3, 4}, groups: []string{"g:x", "g:y", "g:"},
		},
		"chosen columns all null: by row": {
			grouping: byGroup,
			changes:  []*cdc.Change{row(rel, "1", nil, nil), row(rel, "2", nil, nil), row(rel, "1", nil, nil)},
			first:    []uint64{1, 2}, groups: []string{"", ""},
		},
		"a chosen column is gone: by row": {
			grouping: gone,
			changes:  []*cdc.Change{row(rel, "1", "x", "g"), row(rel, "2", "x", "g"), row(rel, "1", "y", "g")},
			first:    []uint64{1, 2}, groups: []string{"1", "2"},
		},
		"ambiguous text is not one group": {
			grouping: byGroup,
			changes:  []*cdc.Change{row(rel, "1", "b:c", "a"), row(rel, "2", "c", "a:b")},
			first:    []uint64{1, 2}, groups: []string{"a:b:c", "a:b:c"},
		},
		"replica identity index": {
			changes: []*cdc.Change{row(indexed, "1", "x", "g"), row(indexed, "1", "x", "h"), row(indexed, "2", "x", "g")},
			first:   []uint64{1, 2}, groups: []string{"g", "h"},
		},
		"no key: independent": {
			changes: []*cdc.Change{row(keyless, "1", "x", "g"), row(keyless, "1", "x", "g")},
			first:   []uint64{1, 2}, groups: []string{"", ""},
		},
		"table": {
			grouping: consumer.Grouping{Mode: consumer.GroupByTable},
			changes:  []*cdc.Change{row(rel, "1", "x", "g"), row(keyless, "1", "x", "g"), row(rel, "2", "x", "g")},
			first:    []uint64{1, 2}, groups: []string{"public.orders", "public.events"},
		},
		"off": {
			grouping: consumer.Grouping{Mode: consumer.GroupOff},
			changes:  []*cdc.Change{row(rel, "1", "x", "g"), row(rel, "1", "x", "g")},
			first:    []uint64{1, 2}, groups: []string{"", ""},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := newLog()
				log.add(tt.changes...)
				cfg := pushConfig()
				cfg.Grouping = tt.grouping
				c := start(t, log, newState(), cfg)
				synctest.Wait()
				ds := c.take(10)
				require.Equal(t, tt.first, seqs(ds))
				for i, d := range ds {
					require.Equal(t, tt.groups[i], d.Group)
				}
			})
		})
	}
}

// The key of a row as it was before comes from what the server sent of the old row; where it sent nothing, order is kept by waiting.
func TestOldKeys(t *testing.T) {
	t.Parallel()
	rel, full := table(1, "orders"), table(1, "orders")
	full.Identity, full.IdentityKey = 'f', []int{0, 1, 2}
	byGroup := consumer.Grouping{Columns: map[filter.TableRef][]string{{Schema: "public", Name: "orders"}: {"grp"}}}
	ins := func(rel *cdc.Relation, id, grp string) *cdc.Change {
		return &cdc.Change{Op: cdc.OpInsert, Relation: rel, New: cdctest.Tuple(id, "v", grp)}
	}
	tests := map[string]struct {
		grouping consumer.Grouping
		changes  []*cdc.Change
		batches  [][]uint64
	}{
		"identity full: a group that changes": {
			byGroup,
			[]*cdc.Change{
				ins(full, "1", "g"), ins(full, "2", "h"),
				{Op: cdc.OpUpdate, Relation: full, OldKind: 'O', Old: cdctest.Tuple("1", "v", "g"), New: cdctest.Tuple("1", "v", "h")},
				ins(full, "3", "g"),
			},
			[][]uint64{{1, 2}, {3}, {4}},
		},
		"identity full: the same group": {
			byGroup,
			[]*cdc.Change{
				ins(full, "1", "g"),
				{Op: cdc.OpUpdate, Relation: full, OldKind: 'O', Old: cdctest.Tuple("2", "v", "h"), New: cdctest.Tuple("2", "w", "h")},
			},
			[][]uint64{{1, 2}},
		},
		"a key that is an unchanged TOAST value comes from the old row": {
			consumer.Grouping{},
			[]*cdc.Change{
				ins(rel, "1", "g"),
				{Op: cdc.OpUpdate, Relation: rel, OldKind: 'K', Old: cdctest.Tuple("1", nil, nil), New: cdctest.Tuple(cdctest.Unchanged, "v", "g")},
				ins(rel, "2", "g"),
			},
			[][]uint64{{1, 3}, {2}},
		},
		"a key that was not sent at all": {
			consumer.Grouping{},
			[]*cdc.Change{
				ins(rel, "1", "g"),
				{Op: cdc.OpUpdate, Relation: rel, New: cdctest.Tuple(cdctest.Unchanged, "v", "g")},
				ins(rel, "2", "g"),
			},
			[][]uint64{{1}, {2}, {3}},
		},
		"a delete without its group": {
			byGroup,
			[]*cdc.Change{ins(rel, "1", "g"), remove(rel, "1"), ins(rel, "2", "h")},
			[][]uint64{{1}, {2}, {3}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := newLog()
				log.add(tt.changes...)
				cfg := pushConfig()
				cfg.Grouping = tt.grouping
				c := start(t, log, newState(), cfg)
				for _, want := range tt.batches {
					synctest.Wait()
					ds := c.take(10)
					require.Equal(t, want, seqs(ds))
					c.settle(consumer.Done, ds...)
				}
			})
		})
	}
}

// A key with a million messages behind a failing one: they cost a byte or two each, everybody else goes on, and once the first is through
// the rest follows in order and in linear time.
// It measures the heap, so nothing runs beside it.
func TestHotKey(t *testing.T) {
	const n = 1_000_000
	log := newEndless(n, func(seq uint64) string {
		if seq%10 == 0 {
			return distinct(seq)
		}
		return "hot"
	})
	c := start(t, log, newState(), pushConfig())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	hot := c.take(1)
	require.Equal(t, []uint64{1}, seqs(hot))
	for cold := 0; cold < n/10; {
		ds := c.take(1000)
		for _, d := range ds {
			require.Zero(t, d.Seq%10)
		}
		cold += len(ds)
		c.settle(consumer.Done, ds...)
	}
	require.Eventually(t, func() bool { return c.Stats().Frontier == n+1 }, time.Minute, time.Millisecond)
	require.Equal(t, n/10*9-1, c.Stats().Waiting)
	require.Equal(t, 1, c.Stats().BlockedGroups)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(30<<20), "40 segments of the log's cache, and not a million messages")

	c.settle(consumer.Done, hot...)
	begin, decoded := time.Now(), log.decoded
	last := uint64(1)
	for last < n-1 {
		ds, err := c.Take(t.Context(), consumer.TakeOptions{Max: 500, SameGroup: true})
		require.NoError(t, err)
		for _, d := range ds {
			require.Greater(t, d.Seq, last)
			last = d.Seq
		}
		c.settle(consumer.Done, ds...)
	}
	require.LessOrEqual(t, log.decoded-decoded, n/1000+10, "the log is read once more, not once for each message")
	t.Logf("900,000 messages of one key in %v", time.Since(begin))
	c.stop()
	require.EqualValues(t, n+1, c.Cursor())
}

// Many groups, each with more waiting than is good: all of them drain, in order, at the bound.
func TestManyBlockedGroupsReachTheBoundAndDrain(t *testing.T) {
	t.Parallel()
	const n, groups = 300_000, 5000
	log := newEndless(n, func(seq uint64) string { return distinct(seq * 7919 % groups) })
	c := start(t, log, newState(), pushConfig())
	last := make(map[string]uint64, groups)
	total := 0
	for total < n {
		ds, err := c.Take(t.Context(), consumer.TakeOptions{Max: 1000})
		require.NoError(t, err)
		for _, d := range ds {
			require.Greater(t, d.Seq, last[d.Group])
			last[d.Group] = d.Seq
		}
		total += len(ds)
		c.settle(consumer.Done, ds...)
	}
	c.stop()
	require.EqualValues(t, n+1, c.Cursor())
}

// One message fails for ever, and six hundred thousand others go by: its pages stay few, and after a restart the others are not read again.
func TestStragglerCostsLittle(t *testing.T) {
	t.Parallel()
	const n = 600_000
	log, state := newEndless(n, distinct), newState()
	cfg := pushConfig()
	c := start(t, log, state, cfg)
	straggler := c.take(1)
	drain(t, c, n-1)
	c.settle(consumer.Retry, straggler...)
	c.stop()
	require.EqualValues(t, 1, c.Cursor())
	require.LessOrEqual(t, len(state.keys("consumer/"+testID+"/")), 10)
	require.LessOrEqual(t, state.biggest, 4096)

	log = newEndless(n, distinct)
	c = start(t, log, state, cfg)
	again := c.take(1)
	require.Equal(t, []uint64{1}, seqs(again))
	require.Equal(t, 2, again[0].Attempt)
	require.Eventually(t, func() bool { return c.Stats().Frontier == n+1 }, time.Minute, time.Millisecond)
	require.Less(t, log.decoded, 20)
	c.settle(consumer.Done, again...)
	c.stop()
	require.EqualValues(t, n+1, c.Cursor())
}

func drain(t *testing.T, c *running, n int) {
	t.Helper()
	for n > 0 {
		ds := c.take(1000)
		n -= len(ds)
		c.settle(consumer.Done, ds...)
	}
}

func TestHundredReceiversNeverShareAMessage(t *testing.T) {
	t.Parallel()
	const n, workers = 20_000, 100
	log := newEndless(n, func(seq uint64) string { return distinct(seq % 3000) })
	cfg := pullConfig()
	cfg.MaxWaiting = workers
	c := start(t, log, newState(), cfg)
	var (
		holder [n + 1]atomic.Int32
		count  atomic.Int64
		wg     sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := make(chan error, workers)
	for w := range int32(workers) {
		wg.Go(func() { errs <- work(ctx, c, w+1, &holder, &count, n, cancel) })
	}
	wg.Wait()
	for range workers {
		require.NoError(t, <-errs)
	}
	require.EqualValues(t, n, count.Load())
	require.EqualValues(t, n+1, c.Cursor())
}

func work(ctx context.Context, c *running, me int32, holder *[20_001]atomic.Int32, count *atomic.Int64, n int64, finished func()) error {
	for i := 0; ; i++ {
		ds, err := c.Receive(ctx, consumer.ReceiveOptions{Max: 1 + i%7, Wait: time.Minute})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, d := range ds {
			if !holder[d.Seq].CompareAndSwap(0, me) {
				return fmt.Errorf("message %d is with %d and %d", d.Seq, holder[d.Seq].Load(), me)
			}
		}
		for j, d := range ds {
			// Every now and then a message goes back, as the holder knows it may.
			if (i+j)%10 == 9 && d.Attempt == 1 {
				holder[d.Seq].Store(0)
				err = c.Nack(ctx, []string{d.AckID}, 0)
			} else {
				err = c.Ack(ctx, []string{d.AckID})
				if count.Add(1) == n {
					finished()
					return nil
				}
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
		}
	}
}
