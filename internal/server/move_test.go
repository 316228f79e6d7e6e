package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// refused makes a request that fails, and returns the code and the body of the answer.
func (r *rig) refused(status int, path, body string) (code, answer string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.server.Addr()+path, strings.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+harness.Token)
	req.Header.Set("Content-Type", "application/json")
	got, answer := do(r.t, req)
	require.Equal(r.t, status, got, "%s", answer)
	var reply struct{ Code string }
	require.NoError(r.t, json.Unmarshal([]byte(answer), &reply))
	return reply.Code, answer
}

type moved struct {
	Moved      bool
	Generation uint32
	From, To   uint64
	Skipped    uint64
}

func (r *rig) move(sink, to string) (m moved) {
	r.t.Helper()
	r.call(http.MethodPost, "/api/sinks/"+sink+"/move", `{"to":`+to+`}`, &m)
	return m
}

// replayed receives what there is, acknowledges it, and returns the ids, those of replays with an r.
func (r *rig) replayed(sink string, n int) []string {
	r.t.Helper()
	var got []string
	for len(got) < n {
		batch, err := r.stream(sink).Receive(r.t.Context(), 1000, patience)
		require.NoError(r.t, err)
		require.NotEmpty(r.t, batch)
		for i, id := range idsOf(batch) {
			if batch[i].Data.Metadata.Replay {
				id += "r"
			}
			got = append(got, id)
		}
		require.NoError(r.t, r.stream(sink).Ack(r.t.Context(), harness.AckIDs(batch)...))
	}
	r.nothing(sink)
	return got
}

func TestASinkIsMovedAlongItsHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+"; create table plain (v text); alter table plain replica identity full", pull)
	r.begin()
	var lsns, times []string
	for i := 1; i <= 6; i++ {
		r.db.Exec(t, "insert into t values ($1, $2)", i, fmt.Sprintf("v%d", i))
		r.caughtUp()
		lsns = append(lsns, r.lsn("pg_current_wal_lsn()").String())
		times = append(times, pgtest.Value[string](t, r.db, "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"))
	}
	r.db.Exec(t, "insert into plain values ('keyless')")
	require.Len(t, r.receive("pull", 7), 7)

	for to, want := range map[string][]string{
		`{"time":"` + times[3] + `"}`:                 {"5r", "6r", "r"},
		`{"lsn":"` + lsns[4] + `"}`:                   {"6r", "r"},
		`{"table":"t","key":"4"}`:                     {"4r", "5r", "6r", "r"},
		`{"table":"public.t","where":"v like '%3'"}`:  {"3r", "4r", "5r", "6r", "r"},
		`{"table":"t","where":"id > 1 and id < 999"}`: {"2r", "3r", "4r", "5r", "6r", "r"},

		`"beginning"`: {"1r", "2r", "3r", "4r", "5r", "6r", "r"},
	} {
		var plan struct {
			Found   bool
			Deliver struct{ Messages, Bytes uint64 }
			Again   uint64
			To      struct{ Seq uint64 }
		}
		r.call(http.MethodPost, "/api/sinks/pull/move", `{"dry_run":true,"to":`+to+`}`, &plan)
		require.True(t, plan.Found)
		require.EqualValues(t, len(want), plan.Deliver.Messages, to)
		require.EqualValues(t, len(want), plan.Again, to)
		r.nothing("pull")
		m := r.move("pull", to)
		require.True(t, m.Moved)
		require.Equal(t, plan.To.Seq, m.To)
		require.ElementsMatch(t, want, r.replayed("pull", len(want)), to)
	}
	r.db.Exec(t, "insert into t values (7, 'new')")
	require.Equal(t, []string{"7"}, r.replayed("pull", 1), "no replay")

	code, answer := r.refused(http.StatusUnprocessableEntity, "/api/sinks/pull/move", `{"to":{"table":"t","where":"v > 7 and"}}`)
	require.Equal(t, "where_invalid", code)
	require.Contains(t, answer, "table public.t")
	code, _ = r.refused(http.StatusUnprocessableEntity, "/api/sinks/pull/move", `{"to":{"where":"nosuch = 1"}}`)
	require.Equal(t, "where_invalid", code)
	for to, want := range map[string]string{
		`{"time":"2100-01-01T00:00:00Z"}`: "beyond_log_end", `{"lsn":"FFFF/0"}`: "beyond_log_end", `{"seq":999999}`: "beyond_log_end",
		`{"time":"2001-01-01T00:00:00Z"}`: "history_trimmed", `{"lsn":"0/1"}`: "history_trimmed", `{"seq":0}`: "history_trimmed",
	} {
		code, _ := r.refused(http.StatusConflict, "/api/sinks/pull/move", `{"to":`+to+`}`)
		require.Equal(t, want, code, to)
	}
	for _, to := range []string{`{"table":"plain","key":"1"}`, `{"table":"t","key":"77"}`, `{"table":"nosuch","where":"id = 1"}`, `{"table":"t","where":"id = 77"}`} {
		code, _ := r.refused(http.StatusNotFound, "/api/sinks/pull/move", `{"to":`+to+`}`)
		require.Equal(t, "no_such_message", code, to)
	}
	require.False(t, r.move("pull", `"end"`).Moved, "it is there")
	r.nothing("pull")
	var undone moved
	r.move("pull", `{"table":"t","key":"6"}`)
	r.call(http.MethodPost, "/api/sinks/pull/move/undo", "", &undone)
	r.nothing("pull")
	code, _ = r.refused(http.StatusConflict, "/api/sinks/pull/move/undo", "")
	require.Equal(t, "nothing_to_undo", code)
	var log struct {
		Data []struct{ Action, Detail string }
	}
	r.call(http.MethodGet, "/api/audit?limit=2", "", &log)
	require.Equal(t, "sink.undo_move", log.Data[0].Action)
	require.Equal(t, "sink.move", log.Data[1].Action)
	require.Contains(t, log.Data[1].Detail, "the first message with table t, key 6")
}

func TestMessagesAreDeliveredOnceMore(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.begin()
	for i := 1; i <= 5; i++ {
		r.db.Exec(t, "insert into t values ($1, $2)", i, fmt.Sprintf("v%d", i))
	}
	require.Len(t, r.receive("pull", 5), 5)
	var did changed
	r.call(http.MethodPost, "/api/sinks/pull/replays", `{"where":"id >= 4","table":"t"}`, &did)
	require.Equal(t, 2, did.Count)
	var count struct{ Messages int }
	r.call(http.MethodPost, "/api/sinks/pull/replays", `{"until":"2100-01-01T00:00:00+01:00","key":"2","dry_run":true}`, &count)
	require.Equal(t, 1, count.Messages)
	code, _ := r.refused(http.StatusConflict, "/api/sinks/pull/replays", `{"from":"2001-01-01T00:00:00Z"}`)
	require.Equal(t, "history_trimmed", code)
	r.end()
	r.begin()
	var list struct{ Data []struct{ Seq uint64 } }
	r.call(http.MethodGet, "/api/sinks/pull/replays", "", &list)
	require.Len(t, list.Data, 2)
	require.Equal(t, []string{"4r", "5r"}, r.replayed("pull", 2))
	code, _ = r.refused(http.StatusUnprocessableEntity, "/api/sinks/pull/replays", `{"where":"nosuch = 1"}`)
	require.Equal(t, "where_invalid", code)
}

// ledger keeps what a webhook got: for each row the versions in the order of their arrival.
type ledger struct {
	mu       sync.Mutex
	versions map[int][]int
	seen     map[int]map[int]bool
}

func (l *ledger) note(body []byte) error {
	var m struct{ Record struct{ ID, N int } }
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[m.Record.ID] == nil {
		l.seen[m.Record.ID] = map[int]bool{}
	}
	l.seen[m.Record.ID][m.Record.N] = true
	l.versions[m.Record.ID] = append(l.versions[m.Record.ID], m.Record.N)
	return nil
}

func (l *ledger) complete(rows, versions int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range rows {
		if len(l.seen[id]) != versions {
			return false
		}
	}
	return true
}

// A webhook is moved back and forth while rows change and deliveries fail, and the server is restarted in between: every version of every row
// arrives, and the versions of a row arrive in order, but for one step back at each move.
func TestMovesUnderLoadKeepOrderAndLoseNothing(t *testing.T) {
	t.Parallel()
	const rows, versions, rounds = 12, 120, 12
	l := &ledger{versions: map[int][]int{}, seen: map[int]map[int]bool{}}
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2))
	url := hook(t, func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		mu.Lock()
		fails := random.IntN(40) == 0
		mu.Unlock()
		if err != nil || fails || l.note(body) != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	const sink = "  - {name: push, database: db, destination: {type: webhook, http_endpoint: hook, batch: false}}\n"
	r := newRig(t, pgtest.Shared(t), "create table t (id int primary key, n int)", sink)
	r.config.Endpoints = map[string]string{"hook": url}
	r.begin()
	moves := 0
	for i := range rounds {
		for n := range versions / rounds {
			r.db.Exec(t, "insert into t select i, $1 from generate_series(0, $2 - 1) i on conflict (id) do update set n = $1", i*versions/rounds+n, rows)
		}
		at := r.place("push")
		r.eventually("something was delivered", func() bool { at = r.place("push"); return at.Cursor > 40 })
		var m moved
		switch {
		case i%4 == 3:
			r.call(http.MethodPost, "/api/sinks/push/move/undo", "", &m)
		case i == 6:
			r.end()
			r.begin()
			continue
		default:
			r.call(http.MethodPost, "/api/sinks/push/move", fmt.Sprintf(`{"to":{"seq":%d}}`, at.Cursor-39), &m)
		}
		if m.Moved {
			moves++
		}
	}
	r.eventually("everything arrives", func() bool { return l.complete(rows, versions) && r.place("push").Pending == 0 })
	require.Greater(t, moves, 5)
	l.mu.Lock()
	defer l.mu.Unlock()
	again := 0
	for id, got := range l.versions {
		back := 0
		for i := 1; i < len(got); i++ {
			switch {
			case got[i] < got[i-1]:
				back++
			case got[i] > got[i-1]+1:
				require.True(t, i > 0 && slices.Contains(got[:i], got[i-1]+1), "row %d: version %d comes before %d", id, got[i], got[i-1]+1)
			}
		}
		require.LessOrEqual(t, back, moves, "row %d", id)
		again += len(got) - versions
	}
	require.Positive(t, again, "something was replayed")
	t.Logf("%d moves, %d deliveries again", moves, again)
}
