package consumer_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/filter"
)

// Everything that an operator can do, at random, to a consumer that works and crashes: what was acknowledged in a generation does not come
// back in it, everything gets done in the end, and the window's books are balanced.
func TestOperatorsDoNoHarm(t *testing.T) {
	t.Parallel()
	for seed := range uint64(iterations(300)) {
		synctest.Test(t, func(t *testing.T) {
			o := &operator{t: t, r: rand.New(rand.NewPCG(seed, 3)), log: newLog(), state: newState(), cfg: pullConfig()}
			o.cfg.Actions = filter.Actions()
			o.acked = map[string]bool{}
			o.open()
			for range 80 {
				did := o.act()
				require.Empty(t, o.c.Books(), "after act %d", did)
				if o.r.IntN(3) == 0 {
					synctest.Wait()
				}
				o.crashIf()
			}
			o.finish()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

type operator struct {
	t     *testing.T
	r     *rand.Rand
	log   *fakeLog
	state *fakeState
	cfg   consumer.Config
	c     *running
	held  []*consumer.Delivery
	acked map[string]bool // by ack id: the generation is in it
}

func (o *operator) open() {
	c, err := consumer.Open(o.t.Context(), deps(o.log, o.state), o.cfg)
	require.NoError(o.t, err)
	c.SetBounds(1+o.r.IntN(20), 4096, 1+o.r.IntN(40), 1<<30)
	o.c = run(o.t, c)
}

func (o *operator) crashIf() {
	select {
	case <-o.state.crashed:
	default:
		return
	}
	require.Error(o.t, <-o.c.done)
	o.c.over = true
	o.state = o.state.survivor()
	o.open()
}

func (o *operator) fine(err error) bool {
	if err != nil {
		require.True(o.t, errors.Is(err, errCrashed) || errors.Is(err, consumer.ErrStopped), "%v", err)
	}
	return err == nil
}

func (o *operator) act() int {
	ctx, what := o.t.Context(), o.r.IntN(18)
	switch what {
	case 0, 1, 2:
		o.write()
	case 3, 4, 5, 6:
		o.receive(consumer.ReceiveOptions{Max: 1 + o.r.IntN(8), SameGroup: o.r.IntN(2) == 0, Visibility: time.Duration(1+o.r.IntN(60)) * time.Second})
	case 7, 8, 9:
		o.ack(o.r.IntN(len(o.held) + 1))
	case 10:
		if n := len(o.held); n > 0 {
			o.fine(o.c.Nack(ctx, []string{o.held[o.r.IntN(n)].AckID}, 0))
		}
	case 11:
		o.cfg.Grouping.Mode = []consumer.GroupMode{consumer.GroupByKey, consumer.GroupByTable, consumer.GroupOff}[o.r.IntN(3)]
		o.fine(o.c.Update(ctx, o.cfg))
	case 12:
		o.cfg.Status = []consumer.Status{consumer.Active, consumer.Paused, consumer.Disabled}[o.r.IntN(3)]
		o.fine(o.c.Update(ctx, o.cfg))
	case 13:
		if o.r.IntN(3) == 0 {
			_, err := o.c.Rewind(ctx, o.r.Uint64N(o.log.End().Seq+2))
			if o.cfg.Status == consumer.Disabled && !errors.Is(err, errCrashed) && !errors.Is(err, consumer.ErrStopped) {
				require.ErrorContains(o.t, err, "disabled")
				return what
			}
			o.fine(err)
		} else {
			o.fine(o.c.Release(ctx, o.r.Uint64N(o.log.End().Seq+2), "chaos"))
		}
	case 16:
		o.discard()
	case 17:
		_, err := o.c.Redeliver(ctx, consumer.Selection{All: true})
		o.fine(err)
	case 14:
		time.Sleep(time.Duration(o.r.IntN(40)) * time.Second)
	default:
		o.state.mu.Lock()
		o.state.budget = o.r.IntN(40)
		o.state.mu.Unlock()
	}
	return what
}

// discard discards one of the messages that the consumer lists.
func (o *operator) discard() {
	page, err := o.c.Messages(o.t.Context(), consumer.MessageQuery{Limit: 20, Descending: o.r.IntN(2) == 0})
	if !o.fine(err) || len(page.Messages) == 0 {
		return
	}
	m := page.Messages[o.r.IntN(len(page.Messages))]
	require.False(o.t, o.acked[m.AckID], "message %d was acknowledged in this generation", m.Seq)
	did, err := o.c.DiscardMessages(o.t.Context(), consumer.Selection{Seqs: []uint64{m.Seq}})
	if o.fine(err) && did.Count > 0 {
		o.acked[m.AckID] = true
	}
}

func (o *operator) write() {
	rel := table(uint32(1+o.r.IntN(2)), "orders")
	for range 1 + o.r.IntN(10) {
		a, b := strconv.Itoa(o.r.IntN(4)), strconv.Itoa(o.r.IntN(4))
		if o.r.IntN(8) == 0 {
			o.log.add(truncate(rel))
		} else {
			o.log.add(update(rel, a, b))
		}
	}
}

func (o *operator) receive(opts consumer.ReceiveOptions) int {
	ds, err := o.c.Receive(o.t.Context(), opts)
	o.fine(err)
	for _, d := range ds {
		require.False(o.t, o.acked[d.AckID], "message %d was acknowledged in this generation", d.Seq)
	}
	o.held = append(o.held, ds...)
	return len(ds)
}

func (o *operator) ack(n int) {
	o.r.Shuffle(len(o.held), func(i, j int) { o.held[i], o.held[j] = o.held[j], o.held[i] })
	if ds := o.held[:n]; o.fine(o.c.Ack(o.t.Context(), ackIDs(ds))) {
		for _, d := range ds {
			o.acked[d.AckID] = true
		}
	}
	o.held = o.held[n:]
}

func (o *operator) finish() {
	o.state.mu.Lock()
	o.state.budget = -1
	o.state.mu.Unlock()
	o.crashIf()
	o.cfg.Status = consumer.Active
	require.NoError(o.t, o.c.Update(o.t.Context(), o.cfg))
	for range 10_000 {
		synctest.Wait()
		if o.c.Cursor() > o.log.End().Seq {
			break
		}
		if o.receive(consumer.ReceiveOptions{Max: 100}) == 0 {
			time.Sleep(10 * time.Second)
		}
		o.ack(len(o.held))
	}
	st := o.c.Stats()
	require.Equal(o.t, o.log.End().Seq+1, st.Cursor)
	require.Equal(o.t, [6]int{}, [6]int{st.Ready, st.InFlight, st.WaitingRetry, st.Waiting, st.BlockedGroups, int(st.Lag)})
	require.Zero(o.t, o.c.BacklogBytes())
	o.c.stop()
	for _, dir := range []string{"lease/", "msg/", "dead/", "bury/"} {
		require.Empty(o.t, o.state.keys("consumer/"+testID+"/"+dir))
	}
}
