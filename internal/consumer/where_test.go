package consumer_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
)

// idConditions judge by the id of the new row, once they can be told.
type idConditions struct {
	text string
	want func(id string) (bool, error)

	mu      sync.Mutex
	unknown error
	changed chan struct{}
}

func conditions(text string, want func(id string) (bool, error)) *idConditions {
	return &idConditions{text: text, want: want, changed: make(chan struct{})}
}

func (c *idConditions) Of(*cdc.Relation) (consumer.Condition, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c, c.unknown
}

func (c *idConditions) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *idConditions) tell(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unknown = err
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *idConditions) String() string { return c.text }

func (c *idConditions) Matches(change *cdc.Change) (bool, error) {
	d, _ := change.New.Column(0)
	return c.want(string(d.Text))
}

func not(id string) func(string) (bool, error) {
	return func(got string) (bool, error) { return got != id, nil }
}

func received(t *testing.T, c *running, n int) []uint64 {
	t.Helper()
	var seqs []uint64
	for len(seqs) < n {
		ds, err := c.Receive(t.Context(), consumer.ReceiveOptions{Max: n - len(seqs), Wait: 5 * time.Second})
		require.NoError(t, err)
		require.NotEmpty(t, ds)
		for _, d := range ds {
			require.NoError(t, c.Ack(t.Context(), []string{d.AckID}))
			seqs = append(seqs, d.Seq)
		}
	}
	return seqs
}

func TestWhereSkipsWhatDoesNotMatch(t *testing.T) {
	t.Parallel()
	log, state, rel := newLog(), newState(), table(1, "t")
	log.add(insert(rel, "1"), insert(rel, "2"), insert(rel, "3"))
	cfg := pullConfig()
	cfg.Where = conditions("not 2", not("2"))
	c := start(t, log, state, cfg)
	require.Equal(t, []uint64{1, 3}, received(t, c, 2))
	require.Equal(t, uint64(1), c.Stats().Filtered)
	require.Equal(t, uint64(4), c.Cursor())
}

// While the condition on a table cannot be told, nothing is read beyond its change, and nothing is skipped.
func TestWhereWaitsUntilItCanBeTold(t *testing.T) {
	t.Parallel()
	log, state, rel := newLog(), newState(), table(1, "t")
	where := conditions("not 2", not("2"))
	where.unknown = errors.New("the table is not known yet")
	cfg := pullConfig()
	cfg.Where = where
	c := start(t, log, state, cfg)
	log.add(insert(rel, "1"), insert(rel, "2"))
	require.Eventually(t, func() bool { return c.Stats().WhereError != nil }, 5*time.Second, time.Millisecond)
	ds, err := c.Receive(t.Context(), consumer.ReceiveOptions{Max: 10})
	require.NoError(t, err)
	require.Empty(t, ds)
	require.Equal(t, uint64(1), c.Cursor())
	where.tell(nil)
	require.Equal(t, []uint64{1}, received(t, c, 1))
	require.Eventually(t, func() bool { return c.Cursor() == 3 && c.Stats().WhereError == nil }, 5*time.Second, time.Millisecond)
}

// A change for which the condition fails is handed out as refused, in its place, and again when it was tried again.
func TestWhereThatFailsIsTheFailureOfTheMessage(t *testing.T) {
	t.Parallel()
	log, state, rel := newLog(), newState(), table(1, "t")
	bad := errors.New("division by zero")
	cfg := pushConfig()
	cfg.Where = conditions("fails for 1", func(id string) (bool, error) {
		if id == "1" {
			return false, bad
		}
		return true, nil
	})
	c := start(t, log, state, cfg)
	log.add(insert(rel, "1"), insert(rel, "2"), update(rel, "1", "1"))
	ds, err := c.Take(t.Context(), consumer.TakeOptions{Max: 10})
	require.NoError(t, err)
	require.Len(t, ds, 2)
	require.ErrorIs(t, ds[0].Refused, bad)
	require.NoError(t, ds[1].Refused)
	require.NoError(t, c.Settle(t.Context(), []consumer.Result{
		{Delivery: ds[0], Outcome: consumer.Retry, Err: ds[0].Refused, After: time.Millisecond}, {Delivery: ds[1], Outcome: consumer.Done},
	}))
	ds, err = c.Take(t.Context(), consumer.TakeOptions{Max: 10})
	require.NoError(t, err)
	require.Len(t, ds, 1)
	require.Equal(t, uint64(1), ds[0].Seq, "what is behind it in its group waits")
	require.ErrorIs(t, ds[0].Refused, bad)

	// Another condition that does not want it: it is done, and its group goes on.
	require.NoError(t, c.Settle(t.Context(), []consumer.Result{{Delivery: ds[0], Outcome: consumer.Retry, Err: bad, After: time.Millisecond}}))
	cfg.Where = conditions("only updates", func(id string) (bool, error) { return id != "1", nil })
	require.NoError(t, c.Update(t.Context(), cfg))
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := c.Take(ctx, consumer.TakeOptions{Max: 10})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return c.Cursor() == 4
	}, 5*time.Second, time.Millisecond)
	require.Equal(t, uint64(2), c.Stats().Filtered)
}

// What waits when the condition changes is judged by the new one; what the old one skipped stays skipped, over a restart too.
func TestWhereThatChanges(t *testing.T) {
	t.Parallel()
	log, state, rel := newLog(), newState(), table(1, "t")
	cfg := pullConfig()
	cfg.Where = conditions("not 2", not("2"))
	c := start(t, log, state, cfg)
	log.add(insert(rel, "1"), insert(rel, "2"), insert(rel, "3"))
	require.Eventually(t, func() bool { return c.Stats().Ready == 2 }, 5*time.Second, time.Millisecond)
	cfg.Where = conditions("not 3", not("3"))
	require.NoError(t, c.Update(t.Context(), cfg))
	c.stop()
	c = start(t, log, state, cfg)
	require.Equal(t, []uint64{1}, received(t, c, 1))
	require.Eventually(t, func() bool {
		ds, err := c.Receive(t.Context(), consumer.ReceiveOptions{Max: 10})
		require.NoError(t, err)
		require.Empty(t, ds)
		return c.Cursor() == 4
	}, 5*time.Second, time.Millisecond)
}
