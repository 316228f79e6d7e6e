package consumer_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/filter"
)

// history is a log of a row and its neighbours, a minute apart: seq n was committed n minutes after the returned time, at LSN 16 n.
func history() (*fakeLog, time.Time) {
	log, rel, other := newLog(), table(1, "orders"), table(2, "lines")
	began := time.Now().UTC()
	for i, c := range []*cdc.Change{
		insert(rel, "a"), insert(other, "a"), insert(rel, "b"), update(rel, "b", "c"), update(rel, "a", "a"), remove(rel, "c"),
		insert(rel, "d"), insert(other, "b"), update(rel, "d", "d"), insert(rel, "e"),
	} {
		c.CommitTime = cdc.Timestamp(began.Add(time.Duration(i+1) * time.Minute).UnixMicro())
		log.add(c)
	}
	return log, began
}

func only(tables ...string) consumer.Config {
	cfg := pullConfig()
	for _, name := range tables {
		cfg.Source.IncludeTables = append(cfg.Source.IncludeTables, tableRef(name))
	}
	cfg.Actions = filter.Actions()
	return cfg
}

func TestFindTargets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, began := history()
		log.trim(2)
		c := start(t, log, newState(), only("orders"))
		at := func(d time.Duration) consumer.Target { return consumer.Target{Time: began.Add(d)} }
		lsn := func(l cdc.LSN, index uint32) consumer.Target {
			return consumer.Target{Position: cdc.Position{LSN: l, Index: index}}
		}
		find := func(s consumer.Search) consumer.Target { return consumer.Target{Search: &s} }
		key := func(table, key string, after uint64) consumer.Target {
			return find(consumer.Search{MessageFilter: consumer.MessageFilter{Table: table, Key: key}, After: after})
		}
		for name, tt := range map[string]struct {
			target consumer.Target
			seq    uint64
			code   string
		}{
			"beginning":                    {consumer.Target{Beginning: true}, 2, ""},
			"end":                          {consumer.Target{End: true}, 11, ""},
			"seq":                          {consumer.Target{Seq: 5}, 5, ""},
			"seq at the end":               {consumer.Target{Seq: 11}, 11, ""},
			"seq beyond":                   {consumer.Target{Seq: 12}, 0, "beyond_log_end"},
			"seq that is trimmed":          {consumer.Target{Seq: 1}, 0, "history_trimmed"},
			"no seq":                       {consumer.Target{}, 0, "history_trimmed"},
			"time":                         {at(4 * time.Minute), 4, ""},
			"time between":                 {at(4*time.Minute + 1), 4, ""}, // the log knows microseconds
			"time a little later":          {at(4*time.Minute + time.Microsecond), 5, ""},
			"first time":                   {at(2 * time.Minute), 2, ""},
			"time that is trimmed":         {at(2*time.Minute - time.Microsecond), 0, "history_trimmed"},
			"time long ago":                {consumer.Target{Time: time.Unix(1, 0)}, 0, "history_trimmed"},
			"time in the future":           {at(time.Hour), 0, "beyond_log_end"},
			"lsn":                          {lsn(80, 0), 5, ""},
			"lsn between":                  {lsn(81, 0), 6, ""},
			"lsn behind an index":          {lsn(80, 1), 6, ""},
			"first lsn":                    {lsn(32, 0), 2, ""},
			"lsn that is trimmed":          {lsn(31, 0), 0, "history_trimmed"},
			"lsn behind the last":          {lsn(168, 0), 11, ""},
			"lsn beyond":                   {lsn(169, 0), 0, "beyond_log_end"},
			"key":                          {key("orders", "d", 0), 7, ""},
			"key with schema":              {key("public.orders", "a", 0), 5, ""},
			"key that was changed":         {key("orders", "c", 0), 4, ""},
			"key, further on":              {key("orders", "c", 4), 6, ""},
			"key of a table of others":     {key("lines", "b", 0), 0, "no_such_message"},
			"key that is not there":        {key("orders", "z", 0), 0, "no_such_message"},
			"table":                        {key("orders", "", 0), 3, ""},
			"where":                        {find(consumer.Search{Where: idIs("d")}), 7, ""},
			"where, further on":            {find(consumer.Search{Where: idIs("d"), After: 7}), 9, ""},
			"where that fails":             {find(consumer.Search{Where: idIs("fails")}), 0, "no_such_message"},
			"where and key":                {find(consumer.Search{Where: idIs("d"), MessageFilter: consumer.MessageFilter{Key: "e"}}), 0, "no_such_message"},
			"search from behind the end":   {key("orders", "d", 99), 0, "no_such_message"},
			"search of all that is wanted": {find(consumer.Search{}), 3, ""},
		} {
			spot, next, err := c.Find(t.Context(), tt.target)
			if tt.code != "" {
				requireCode(t, tt.code, err)
				continue
			}
			require.NoError(t, err, name)
			require.Zero(t, next, name)
			require.Equal(t, tt.seq, spot.Seq, name)
			require.Equal(t, tt.seq == 11, spot.End, name)
			require.Equal(t, cdc.LSN(min(tt.seq, 10)*16), spot.LSN, name)
			require.Equal(t, began.Add(time.Duration(min(tt.seq, 10))*time.Minute), spot.CommitTime, name)
		}
	})
}

func TestFindTellsSinceWhenThereIsHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, began := history()
		log.trim(3)
		c := start(t, log, newState(), only("orders"))
		_, _, err := c.Find(t.Context(), consumer.Target{Time: began})
		p := problemOf(t, err)
		require.Equal(t, "what was committed at "+began.Format("2006-01-02T15:04:05Z")+" is not in the change log any more", p.Message)
		require.Equal(t, "the change log begins with entry 3, LSN 0/30, committed at "+began.Add(3*time.Minute).Format("2006-01-02T15:04:05Z"), p.Detail)
		require.Contains(t, p.Hint, "POST /api/sinks/orders/backfills")
		empty := start(t, newLog(), newState(), pullConfig())
		for _, target := range []consumer.Target{{Time: began}, {Seq: 2}, {Position: cdc.Position{LSN: 1}}} {
			_, _, err = empty.Find(t.Context(), target)
			requireCode(t, "beyond_log_end", err)
		}
		spot, _, err := empty.Find(t.Context(), consumer.Target{Beginning: true})
		require.NoError(t, err)
		require.Equal(t, consumer.Spot{Seq: 1, End: true}, spot)
	})
}

func TestFindInALogWithHoles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, _ := history()
		log.lose(5, 7)
		c := start(t, log, newState(), only("orders"))
		for lsn, seq := range map[cdc.LSN]uint64{64: 4, 80: 5, 96: 5, 112: 5, 128: 5, 129: 9, 160: 10} {
			spot, _, err := c.Find(t.Context(), consumer.Target{Position: cdc.Position{LSN: lsn}})
			require.NoError(t, err)
			require.Equal(t, seq, spot.Seq, "LSN %s: rather too early", lsn)
		}
		spot, _, err := c.Find(t.Context(), consumer.Target{Search: &consumer.Search{Where: idIs("d")}})
		require.NoError(t, err)
		require.Equal(t, uint64(9), spot.Seq)
		log.lose(8, 10)
		spot, _, err = c.Find(t.Context(), consumer.Target{Position: cdc.Position{LSN: 100}})
		require.NoError(t, err)
		require.Equal(t, uint64(5), spot.Seq, "nothing can be read from there on")
	})
}

// A search through a long log ends, and tells where to go on.
func TestALongSearchGoesOnWhereItEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newEndless(100_000, distinct)
		opened, err := consumer.Open(t.Context(), deps(log, newState()), pullConfig())
		require.NoError(t, err)
		opened.SetEffort(100, time.Second) // forty times as much for a search
		s := consumer.Search{Where: idIs("50000")}
		for n := 0; ; n++ {
			require.Less(t, n, 20)
			spot, next, err := opened.Find(t.Context(), consumer.Target{Search: &s})
			require.NoError(t, err)
			if next == 0 {
				require.Equal(t, uint64(50_000), spot.Seq)
				require.Greater(t, n, 5)
				break
			}
			s.After = next
		}
		stopped, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err = opened.Find(stopped, consumer.Target{Search: &consumer.Search{Where: idIs("none")}})
		require.ErrorIs(t, err, context.Canceled)
		p, err := opened.PlanMove(t.Context(), consumer.Spot{Seq: 1})
		require.NoError(t, err)
		require.True(t, p.Deliver.AtLeast)
		require.EqualValues(t, 4000, p.Deliver.Messages)
	})
}

func TestAPlanTellsWhatAMoveWouldDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, began := history()
		c := start(t, log, newState(), only("orders"))
		synctest.Wait()
		ds := c.receive(consumer.ReceiveOptions{Max: 3})
		require.Equal(t, []uint64{1, 3, 7}, seqs(ds))
		c.ack(ds[0], ds[2])
		synctest.Wait()
		p, err := c.PlanMove(t.Context(), consumer.Spot{Seq: 5})
		require.NoError(t, err)
		minutes := func(n int) time.Time { return began.Add(time.Duration(n) * time.Minute) }
		require.Equal(t, consumer.MovePlan{
			From: consumer.Spot{Seq: 3, LSN: 48, CommitTime: minutes(3)}, To: consumer.Spot{Seq: 5}, Generation: 1, InFlight: 1, Status: consumer.Active,
			Deliver: consumer.Tally{Messages: 5, Bytes: 500, First: minutes(5), Last: minutes(10)}, Again: 1,
			Skip: consumer.Tally{Messages: 2, Bytes: 200, First: minutes(3), Last: minutes(4)},
		}, p)
		m := c.move(5, true)
		require.EqualValues(t, 2, m.Skipped)
		require.Len(t, c.all(), 4, "and one behind its group")
	})
}

// idIs is the condition that the id is a text; "fails" fails for every change.
type idIs string

func (w idIs) Of(*cdc.Relation) (consumer.Condition, error) { return w, nil }
func (w idIs) Changed() <-chan struct{}                     { return nil }
func (w idIs) String() string                               { return string(w) }

func (w idIs) Matches(c *cdc.Change) (bool, error) {
	if w == "fails" {
		return false, errors.New("division by zero at row " + strconv.FormatUint(c.Seq, 10))
	}
	d, ok := c.New.Column(0)
	return ok && string(d.Text) == string(w), nil
}
