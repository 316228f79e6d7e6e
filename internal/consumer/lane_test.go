package consumer_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/filter"
)

// rowsOf is a page of rows with the keys from low to high, read after everything that the log has.
func rowsOf(log *fakeLog, rel *cdc.Relation, backfill string, low, high int) consumer.ReadPage {
	p := consumer.ReadPage{Backfill: backfill, Relation: rel, Since: log.End().Seq, Sees: func(uint32) bool { return true }}
	for n := low; n < high; n++ {
		p.Rows = append(p.Rows, cdc.Change{
			Op: cdc.OpRead, Relation: rel, New: cdctest.Tuple(strconv.Itoa(n), "r", "e"), Size: 100,
			Position: cdc.Position{LSN: 4711, Index: uint32(n - low)}, CommitTime: 1, //nolint:gosec // a few
		})
	}
	return p
}

func startLane(t *testing.T, log *fakeLog, state *fakeState, blocks *fakeBlocks, cfg consumer.Config) *running {
	t.Helper()
	c, err := consumer.Open(t.Context(), laneDeps(log, state, blocks), cfg)
	require.NoError(t, err)
	return run(t, c)
}

func offer(t *testing.T, c *running, p consumer.ReadPage) consumer.Offered {
	t.Helper()
	o, err := c.Offer(t.Context(), p)
	require.NoError(t, err)
	return o
}

func keysOf(ds []*consumer.Delivery) []string {
	var out []string
	for _, d := range ds {
		id, _ := d.Change.New.Column(0)
		out = append(out, d.Change.Op.Action()+" "+string(id.Text))
	}
	return out
}

// Changes go before rows of a backfill, but for a change of a row that has to go out first: that row is not kept waiting.
func TestChangesGoBeforeRows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, rel := newLog(), table(7, "orders")
		c := startLane(t, log, newState(), newBlocks(), pushConfig())
		require.Equal(t, consumer.Offered{Rows: 4, Bytes: 400}, offer(t, c, rowsOf(log, rel, "b1", 1, 5)))
		synctest.Wait()
		log.add(insert(rel, "10"), insert(rel, "11"), update(rel, "3", "3"), insert(rel, "12"))
		synctest.Wait()
		ds := c.take(4)
		require.Equal(t, []string{"insert 10", "insert 11", "insert 12", "read 3"}, keysOf(ds))
		c.settle(consumer.Done, ds...)
		synctest.Wait()
		ds = c.take(4)
		require.Equal(t, []string{"update 3", "read 1", "read 2", "read 4"}, keysOf(ds))
		c.settle(consumer.Done, ds...)
		rows, _ := c.Outstanding("b1")
		require.Zero(t, rows)
		require.Empty(t, c.Books())
	})
}

// A TRUNCATE waits for the rows of its table, and has them go out among the changes.
func TestRowsGoBeforeTruncate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, rel := newLog(), table(7, "orders")
		cfg := pushConfig()
		cfg.Actions = filter.Actions()
		c := startLane(t, log, newState(), newBlocks(), cfg)
		offer(t, c, rowsOf(log, rel, "b1", 1, 3))
		synctest.Wait()
		log.add(truncate(rel), insert(rel, "1"), insert(table(8, "other"), "1"))
		synctest.Wait()
		ds := c.take(10)
		require.Equal(t, []string{"insert 1", "read 1", "read 2"}, keysOf(ds))
		c.settle(consumer.Done, ds...)
		synctest.Wait()
		ds = c.take(10)
		require.Len(t, ds, 1)
		require.Equal(t, cdc.OpTruncate, ds[0].Change.Op)
		c.settle(consumer.Done, ds...)
		synctest.Wait()
		c.settle(consumer.Done, c.take(10)...)
		require.Empty(t, c.Books())
	})
}

// A consumer that is behind gets a page when it has come to the page's place.
func TestRowsWaitForTheirPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, rel := newLog(), table(7, "orders")
		c := startLane(t, log, newState(), newBlocks(), pushConfig())
		c.SetBounds(2, 4096, 100, 1<<30)
		for n := range 100 {
			log.add(insert(rel, strconv.Itoa(100+n)))
		}
		offer(t, c, rowsOf(log, rel, "b1", 1, 2))
		log.add(insert(rel, "1000"))
		var order []string
		for len(order) < 102 {
			ds := c.take(3)
			order = append(order, keysOf(ds)...)
			c.settle(consumer.Done, ds...)
		}
		require.Contains(t, order[100:], "read 1")
		require.Contains(t, order[99:], "insert 1000")
	})
}

// Whoever reads waits while the lane is full, and a row that was acknowledged does not come back, whatever the end.
func TestTheLaneIsBoundedAndSurvives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, rel, state, blocks := newLog(), table(7, "orders"), newState(), newBlocks()
		c := startLane(t, log, state, blocks, pushConfig())
		for n := range 20 {
			offer(t, c, rowsOf(log, rel, "b1", n*1000, (n+1)*1000))
		}
		full, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := c.Offer(full, rowsOf(log, rel, "b1", 20_000, 20_001))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		seen := map[string]bool{}
		for len(seen) < 1500 {
			ds := c.take(100)
			for _, key := range keysOf(ds) {
				require.False(t, seen[key], key)
				seen[key] = true
			}
			c.settle(consumer.Done, ds...)
		}
		c.stop()
		c = startLane(t, log, state.survivor(), blocks, pushConfig())
		offer(t, c, rowsOf(log, rel, "b2", 20_000, 21_000))
		for len(seen) < 21_000 {
			ds := c.take(100)
			for _, key := range keysOf(ds) {
				require.False(t, seen[key], key)
				seen[key] = true
			}
			c.settle(consumer.Done, ds...)
		}
		time.Sleep(2 * time.Second) // until what is done has been written
		synctest.Wait()
		require.Zero(t, blocks.count(), "rows that are done take room")
	})
}

// A consumer that is disabled holds no rows, and takes none.
func TestADisabledConsumerTakesNoRows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, rel := newLog(), table(7, "orders")
		cfg := pushConfig()
		c := startLane(t, log, newState(), newBlocks(), cfg)
		offer(t, c, rowsOf(log, rel, "b1", 1, 50))
		synctest.Wait()
		ds := c.take(5)
		cfg.Status = consumer.Disabled
		require.NoError(t, c.Update(t.Context(), cfg))
		_, err := c.Offer(t.Context(), rowsOf(log, rel, "b1", 50, 60))
		require.ErrorIs(t, err, consumer.ErrDisabled)
		c.settle(consumer.Done, ds...)
		rows, _ := c.Outstanding("b1")
		require.Zero(t, rows)
		cfg.Status = consumer.Active
		require.NoError(t, c.Update(t.Context(), cfg))
		c.none(time.Minute)
		require.Empty(t, c.Books())
	})
}

// Rows of a table without a key that sends whole old rows are matched by all their values.
func TestRowsWithoutAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, rel := newLog(), table(7, "notes")
		rel.PrimaryKey, rel.IdentityKey, rel.Identity = nil, []int{0, 1, 2}, 'f'
		c := startLane(t, log, newState(), newBlocks(), pushConfig())
		p := rowsOf(log, rel, "b1", 1, 3)
		p.Rows = append(p.Rows, cdc.Change{Op: cdc.OpRead, Relation: rel, New: p.Rows[0].New, Size: 100, Position: cdc.Position{LSN: 4711, Index: 2}})
		p.Sees = func(uint32) bool { return false }
		log.add(&cdc.Change{Op: cdc.OpDelete, Relation: rel, OldKind: 'O', Old: cdctest.Tuple("1", "r", "e"), XID: 9})
		require.Equal(t, 1, offer(t, c, p).Superseded, "of two that are alike one is gone")
	})
}

// How far a backfill has read is known together with its page, or not at all, wherever a crash cuts the writes.
func TestProgressIsKeptWithItsPage(t *testing.T) {
	t.Parallel()
	for budget := range 8 {
		synctest.Test(t, func(t *testing.T) {
			log, rel, state, blocks := newLog(), table(7, "orders"), newState(), newBlocks()
			c := startLane(t, log, state, blocks, pushConfig())
			page := func(text string, low, high int) consumer.ReadPage {
				p := rowsOf(log, rel, "b1", low, high)
				p.Progress = func(consumer.Offered) []byte { return []byte(text) }
				return p
			}
			offer(t, c, page("one", 0, 10))
			state.mu.Lock()
			state.budget = budget
			state.mu.Unlock()
			_, err := c.Offer(t.Context(), page("two", 10, 20))
			if err == nil {
				_, err = c.Offer(t.Context(), page("three", 20, 20))
			}
			for err == nil {
				var ds []*consumer.Delivery
				if ds, err = c.Take(t.Context(), consumer.TakeOptions{Max: 1}); err == nil {
					err = c.Settle(t.Context(), []consumer.Result{{Delivery: ds[0], Outcome: consumer.Done}})
				}
				time.Sleep(time.Second)
			}
			require.Error(t, <-c.done)
			c.over = true
			c = startLane(t, log, state.survivor(), blocks, pushConfig())
			require.Empty(t, c.Books())
			rows, _ := c.Outstanding("b1")
			switch string(c.Progress("b1")) {
			case "one":
				require.EqualValues(t, 10, rows)
			case "two", "three":
				require.EqualValues(t, 20, rows)
			default:
				t.Fatalf("progress is %q", c.Progress("b1"))
			}
			require.NoError(t, c.Forget(t.Context(), "b1"))
			require.Empty(t, c.Progress("b1"))
			require.Empty(t, state.keys("laneprogress/"))
		})
	}
}

// Rows get a small share while a consumer does not keep up with its changes.
func TestRowsAreNotKeptWaitingForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, rel := newLog(), table(7, "orders")
		c := startLane(t, log, newState(), newBlocks(), pushConfig())
		offer(t, c, rowsOf(log, rel, "b1", 0, 10))
		for n := range 200 {
			log.add(insert(rel, strconv.Itoa(100+n)))
		}
		synctest.Wait()
		rows := 0
		for range 10 {
			ds := c.take(8)
			for _, d := range ds {
				if d.Change.Op == cdc.OpRead {
					rows++
				}
			}
			c.settle(consumer.Done, ds...)
			synctest.Wait()
		}
		require.Equal(t, 10, rows)
	})
}

// A row that is too big becomes a dead letter, as a change does, and the others go on.
func TestARowThatIsTooBig(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, rel := newLog(), table(7, "orders")
		c := startLane(t, log, newState(), newBlocks(), pushConfig())
		p := rowsOf(log, rel, "b1", 1, 4)
		p.Rows[1].TooBig, p.Rows[1].Size = true, 100<<20
		offer(t, c, p)
		synctest.Wait()
		ds := c.take(5)
		require.Equal(t, []string{"read 1", "read 3"}, keysOf(ds))
		c.settle(consumer.Done, ds...)
		time.Sleep(2 * time.Second)
		letters, err := c.deadLetters(0, 10)
		require.NoError(t, err)
		require.Len(t, letters, 1)
		require.Equal(t, consumer.ReasonTooBig, letters[0].Reason)
		rows, _ := c.Outstanding("b1")
		require.Zero(t, rows)
		require.Empty(t, c.Books())
	})
}
