package consumer_test

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/filter"
)

// The model of TestPullNeverLosesRepeatsOrReorders, with an operator who looks at the messages, discards some and hurries others along, while the
// consumer works and crashes: what was discarded is never delivered, everything else is, in order, and every list tells the truth.

// someSeqs names a few messages, or entries that are none.
func (m *model) someSeqs() []uint64 {
	var seqs []uint64
	for range 1 + m.r.IntN(4) {
		seqs = append(seqs, m.r.Uint64N(m.log.End().Seq+3))
	}
	return seqs
}

// selection names a few messages, by seq or by ack id, or describes many.
func (m *model) selection(states ...consumer.MessageState) consumer.Selection {
	if m.r.IntN(4) == 0 {
		sel := consumer.Selection{All: true, State: states[m.r.IntN(len(states))]}
		if m.r.IntN(2) == 0 {
			sel.Table = []string{"orders", "public.lines"}[m.r.IntN(2)]
			sel.Key = strconv.Itoa(m.r.IntN(5))
		}
		return sel
	}
	var sel consumer.Selection
	for _, s := range m.someSeqs() {
		if id := m.ids[s]; id != "" && m.r.IntN(2) == 0 {
			sel.AckIDs = append(sel.AckIDs, id)
		} else {
			sel.Seqs = append(sel.Seqs, s)
		}
	}
	return sel
}

func (m *model) discardSome() {
	m.settleTime()
	sel := m.selection("", consumer.MessageAvailable, consumer.MessageBackingOff, consumer.MessageRedelivery, consumer.MessageDelivering)
	before := m.everything(consumer.MessageQuery{})
	did, err := m.c.DiscardMessages(m.t.Context(), sel)
	if m.crashed(err) {
		for s := range m.keys { // any of them
			m.maybe[s] = true
			if m.same {
				m.recalled[s] = true
			}
		}
		return
	}
	require.Zero(m.t, did.Next, "all in one go")
	m.settleTime()
	after := m.everything(consumer.MessageQuery{})
	missing := map[uint64]consumer.MissingReason{}
	for _, x := range did.Missing {
		missing[x.Seq] = x.Reason
	}
	gone := 0
	for s, was := range before {
		if _, still := after[s]; still {
			continue
		}
		gone++
		require.Empty(m.t, missing[s], "message %d is gone and missing", s)
		require.True(m.t, m.meant(&sel, &was), "message %d was not meant: %+v", s, sel)
		require.False(m.t, m.cfg.Push && was.State == consumer.MessageDelivering, "message %d is on its way", s)
		m.done[s] = true
		delete(m.held, s)
		delete(m.leased, s)
		if m.same {
			m.recallAfter(s)
		}
	}
	require.Equal(m.t, gone, did.Count, "%+v: %+v", sel, did)
	for s, reason := range missing {
		_, there := before[s]
		switch reason {
		case consumer.MissingInFlight:
			require.True(m.t, m.cfg.Push && before[s].State == consumer.MessageDelivering)
		case consumer.MissingDeadLetter:
			require.Equal(m.t, consumer.MessageDeadLetter, before[s].State)
		case consumer.MissingDone, consumer.MissingNotFound:
			require.False(m.t, there, "message %d is said to be %s", s, reason)
		case consumer.MissingAvailable, consumer.MissingTooFar:
			m.t.Fatalf("message %d is said to be %s", s, reason)
		}
	}
	m.complete(after)
	require.Empty(m.t, m.c.Books())
}

// meant tells whether a selection is about a message.
func (m *model) meant(sel *consumer.Selection, was *consumer.Message) bool {
	if !sel.All {
		return slices.Contains(sel.Seqs, was.Seq) || slices.Contains(sel.AckIDs, was.AckID)
	}
	return (sel.State == "" || sel.State == was.State) && (sel.Table == "" || m.inTable(was.Seq, sel.Table)) &&
		(sel.Key == "" || slices.Contains(m.keys[was.Seq], sel.Key))
}

func (m *model) inTable(s uint64, name string) bool {
	return m.table[s] == 1 && name == "orders" || m.table[s] == 2 && name == "public.lines"
}

func (m *model) redeliverSome() {
	m.settleTime()
	sel := m.selection("", consumer.MessageBackingOff)
	before := m.everything(consumer.MessageQuery{State: consumer.MessageBackingOff})
	did, err := m.c.Redeliver(m.t.Context(), sel)
	if m.crashed(err) {
		return
	}
	require.Zero(m.t, did.Next)
	m.settleTime()
	after := m.everything(consumer.MessageQuery{})
	hurried := 0
	for s, was := range before {
		if !m.meant(&sel, &was) {
			continue
		}
		hurried++
		now, there := after[s]
		require.True(m.t, there, "message %d has vanished", s)
		require.NotEqual(m.t, consumer.MessageBackingOff, now.State, "message %d still waits", s)
		require.Equal(m.t, was.Attempts, now.Attempts)
		require.Equal(m.t, was.LastError, now.LastError)
	}
	require.Equal(m.t, hurried, did.Count, "%+v: %+v", sel, did)
	if !sel.All {
		names := map[uint64]bool{}
		for _, s := range sel.Seqs {
			names[s] = true
		}
		for s, id := range m.ids {
			names[s] = names[s] || slices.Contains(sel.AckIDs, id)
		}
		maps.DeleteFunc(names, func(_ uint64, named bool) bool { return !named })
		require.Len(m.t, names, did.Count+len(did.Missing))
	}
	require.Empty(m.t, m.c.Books())
}

// settleTime lets everything happen that is due.
func (m *model) settleTime() {
	synctest.Wait()
	time.Sleep(20 * time.Millisecond)
	synctest.Wait()
	for _, s := range slices.Sorted(maps.Keys(m.held)) {
		if !time.Now().Before(m.leased[s]) {
			m.fail(s)
		}
	}
}

// everything pages through the messages, either way, and compares what comes with what the model knows.
func (m *model) everything(q consumer.MessageQuery) map[uint64]consumer.Message {
	q.Limit = 1 + m.r.IntN(7)
	q.Descending = m.r.IntN(2) == 0
	if m.r.IntN(3) == 0 {
		q.Limit = 1000
	}
	found := map[uint64]consumer.Message{}
	var last uint64
	for {
		page, err := m.c.Messages(m.t.Context(), q)
		require.NoError(m.t, err)
		require.LessOrEqual(m.t, len(page.Messages), q.Limit)
		for _, x := range page.Messages {
			require.NotContains(m.t, found, x.Seq)
			if last != 0 {
				require.Equal(m.t, q.Descending, x.Seq < last, "%d after %d", x.Seq, last)
			}
			last = x.Seq
			found[x.Seq] = x
			m.judgeListed(&x)
		}
		if page.Next == 0 {
			break
		}
		if q.Descending {
			q.Before = page.Next
		} else {
			q.After = page.Next
		}
	}
	return found
}

// complete checks that everything that is to be delivered is in the list of everything.
func (m *model) complete(found map[uint64]consumer.Message) {
	for s := range m.keys {
		_, listed := found[s]
		require.True(m.t, listed || m.done[s] || m.maybe[s], "message %d is not listed", s)
	}
}

func (m *model) judgeListed(x *consumer.Message) {
	s := x.Seq
	require.NotNil(m.t, m.keys[s], "message %d is not wanted", s)
	require.False(m.t, m.done[s], "message %d is done", s)
	if id := m.ids[s]; id != "" {
		require.Equal(m.t, id, x.AckID)
	}
	if m.table[s] == 1 {
		require.Equal(m.t, "orders", x.Table)
	}
	_, out := m.held[s]
	switch {
	case x.State == consumer.MessageDeadLetter || m.maybe[s] || m.recalled[s]:
	case out && time.Now().Before(m.leased[s]):
		require.Equal(m.t, consumer.MessageDelivering, x.State, "message %d", s)
		if !m.cfg.Push {
			require.Equal(m.t, m.leased[s].UnixMicro(), x.NotVisibleUntil.UnixMicro())
		}
	case !m.cfg.Push:
		require.NotEqual(m.t, consumer.MessageDelivering, x.State, "message %d", s)
	}
	if x.State == consumer.MessageBackingOff {
		require.NotEmpty(m.t, x.LastError)
		require.True(m.t, x.NotVisibleUntil.After(time.Now()))
	}
	if b := x.BlockedBy; b != 0 {
		require.Less(m.t, b, s)
		require.True(m.t, m.conflict(b, s), "message %d is not in the way of %d", b, s)
		require.False(m.t, m.done[b])
	}
}

// lookAround lists by table, key and state.
func (m *model) lookAround() {
	m.settleTime()
	all := m.everything(consumer.MessageQuery{})
	m.complete(all)
	filtered := consumer.MessageFilter{Table: []string{"", "orders", "public.lines"}[m.r.IntN(3)], Key: []string{"", "1", "3"}[m.r.IntN(3)]}
	states := append(consumer.MessageStates(), "")
	q := consumer.MessageQuery{MessageFilter: filtered, State: states[m.r.IntN(len(states))]}
	some := m.everything(q)
	for s := range all {
		x := all[s]
		want := (q.State == "" || q.State == x.State) && (q.Table == "" || m.inTable(s, q.Table)) && (q.Key == "" || slices.Contains(m.keys[s], q.Key))
		_, got := some[s]
		require.Equal(m.t, want, got, "message %d, %s, in the list of %+v", s, x.State, q)
	}
	require.LessOrEqual(m.t, len(some), len(all))
	p, err := m.c.Place(m.t.Context())
	require.NoError(m.t, err)
	require.False(m.t, p.Estimated)
	var undone []uint64
	for s := range all {
		if x := all[s]; x.State != consumer.MessageDeadLetter {
			undone = append(undone, s)
		}
	}
	dying := p.Messages - uint64(len(undone))
	require.LessOrEqual(m.t, dying, uint64(len(all)-len(undone)))
	if dying == 0 && len(undone) > 0 {
		require.Equal(m.t, slices.Min(undone), p.Oldest.Seq)
	}
}

func interventions(t *testing.T, seed uint64, cfg consumer.Config, deliver, settle, end func(m *model)) (crashes, looks int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Actions = filter.Actions()
		cfg.Source.ExcludeTables = []filter.TableRef{{Schema: "public", Name: "unwanted"}}
		m := newModel(t, seed, cfg)
		defer func() {
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		}()
		for range 60 {
			switch m.r.IntN(14) {
			case 0, 1:
				m.write()
			case 2, 3, 4:
				deliver(m)
			case 5, 6, 7, 8:
				settle(m)
			case 9:
				m.discardSome()
			case 10:
				m.redeliverSome()
			case 11:
				m.lookAround()
				looks++
			case 12:
				time.Sleep(time.Duration(m.r.IntN(3000)) * time.Millisecond)
				m.settleTime()
			default:
				m.arm()
			}
			if m.crashIf() && cfg.Push {
				m.forgetHeld()
			}
		}
		end(m)
		crashes = m.crashes
	})
	return crashes, looks
}

func TestInterventionsLoseNothingPull(t *testing.T) {
	t.Parallel()
	crashes, looks := 0, 0
	for seed := range uint64(iterations(200)) {
		settle := func(m *model) {
			if m.r.IntN(2) == 0 {
				m.ackSome()
			} else {
				m.nackSome()
			}
		}
		c, l := interventions(t, seed, pullConfig(), (*model).receive, settle, (*model).drain)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		crashes, looks = crashes+c, looks+l
	}
	require.Greater(t, crashes, iterations(200)/4)
	require.Greater(t, looks, iterations(200)*2)
}

func TestInterventionsLoseNothingPush(t *testing.T) {
	t.Parallel()
	crashes, looks := 0, 0
	for seed := range uint64(iterations(200)) {
		cfg := pushConfig()
		cfg.AckCommit = consumer.AckEach
		if seed%3 == 0 {
			cfg.MaxRetryCount = 3
		}
		c, l := interventions(t, seed, cfg, (*model).take, (*model).settleSome, (*model).drainPush)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		crashes, looks = crashes+c, looks+l
	}
	require.Greater(t, crashes, iterations(200)/4)
	require.Greater(t, looks, iterations(200)*2)
}
