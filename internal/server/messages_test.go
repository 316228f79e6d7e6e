package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// call makes a request with the token and reads the answer into reply.
func (r *rig) call(method, path, body string, reply any) {
	r.t.Helper()
	status, answer := r.send(method, path, body)
	require.Equal(r.t, http.StatusOK, status, "%s", answer)
	require.NoError(r.t, json.Unmarshal([]byte(answer), reply), "%s", answer)
}

// listed is a message as the API lists it.
type listed struct {
	Seq             uint64
	AckID           string `json:"ack_id"`
	State           string
	Table           string
	Key             string
	Position        string
	Attempts        int
	LastError       *string    `json:"last_error"`
	NotVisibleUntil *time.Time `json:"not_visible_until"`
	BlockedBy       *uint64    `json:"blocked_by"`
	Data            json.RawMessage
}

// messages lists what a sink has yet to deliver.
func (r *rig) messages(sink, query string) []listed {
	r.t.Helper()
	var reply struct{ Data []listed }
	r.call(http.MethodGet, "/api/sinks/"+sink+"/messages"+query, "", &reply)
	return reply.Data
}

type place struct {
	Cursor   uint64
	LogEnd   uint64 `json:"log_end"`
	LSN      string
	Pending  uint64
	InFlight int                   `json:"in_flight"`
	BackOff  int                   `json:"backing_off"`
	Oldest   *struct{ Seq uint64 } `json:"oldest_unacked"`
	Lag      struct {
		Messages, Bytes uint64
		Estimated       bool
	}
}

func (r *rig) place(sink string) place {
	r.t.Helper()
	var p place
	r.call(http.MethodGet, "/api/sinks/"+sink+"/position", "", &p)
	return p
}

type changed struct {
	Count   int
	Missing []struct {
		Seq    uint64
		Reason string
	}
}

// A webhook that fails for one row: the operator sees what is stuck and what waits behind it, and gets either moving.
func TestWhatIsStuckCanBeSeenAndMoved(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	poison, bodies := "poison", []string(nil)
	url := hook(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(body))
		if poison != "" && strings.Contains(string(body), poison) {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	received := func(text string) (n int, last string) {
		mu.Lock()
		defer mu.Unlock()
		for _, b := range bodies {
			if strings.Contains(b, text) {
				n, last = n+1, b
			}
		}
		return n, last
	}
	const sink = "  - {name: push, database: db, destination: {type: webhook, http_endpoint: hook, batch: false}}\n"
	r := newRig(t, pgtest.Shared(t), table, sink)
	r.config.Endpoints = map[string]string{"hook": url}
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'poison')")
	r.db.Exec(t, "update t set v = 'behind' where id = 1")
	r.db.Exec(t, "insert into t values (2, 'other')")
	r.eventually("the third has passed, the first has failed", func() bool {
		n, _ := received("other")
		return n == 1 && r.place("push").Pending == 2 && len(r.messages("push", "?state=backing_off")) == 1
	})

	all := r.messages("push", "?table=public.t&key=1")
	require.Len(t, all, 2)
	stuck, behind := all[0], all[1]
	require.Contains(t, *stuck.LastError, "500")
	require.Positive(t, stuck.Attempts)
	require.Equal(t, "public.t", stuck.Table)
	require.Equal(t, "1", stuck.Key)
	require.Equal(t, stuck.Seq, *behind.BlockedBy)
	require.Empty(t, r.messages("push", "?key=2"))
	var one listed
	r.call(http.MethodGet, fmt.Sprintf("/api/sinks/push/messages/%d", stuck.Seq), "", &one)
	_, sent := received("poison")
	require.Equal(t, sent, string(one.Data), "byte for byte what goes out")
	r.call(http.MethodGet, "/api/sinks/push/messages/"+behind.AckID, "", &one)
	require.Equal(t, behind.Seq, one.Seq)
	p := r.place("push")
	require.Equal(t, stuck.Seq, p.Oldest.Seq)
	require.Equal(t, uint64(2), p.Lag.Messages)
	require.False(t, p.Lag.Estimated)

	// The receiver is mended: redelivered, it is delivered now and not after its wait.
	mu.Lock()
	poison = "venom"
	mu.Unlock()
	var did changed
	r.eventually("it is redelivered", func() bool {
		r.call(http.MethodPost, "/api/sinks/push/messages/redeliver", `{"all":true}`, &did)
		n, _ := received("behind")
		return n == 1
	})

	// Another cannot be delivered at all. Discarded, it lets the next go, and does not come back after a restart.
	r.db.Exec(t, "insert into t values (3, 'venom')")
	r.db.Exec(t, "update t set v = 'next' where id = 3")
	r.eventually("it fails", func() bool { return len(r.messages("push", "?state=backing_off")) == 1 })
	stuck = r.messages("push", "?key=3")[0]
	r.eventually("it is discarded", func() bool {
		r.call(http.MethodPost, "/api/sinks/push/messages/discard", fmt.Sprintf(`{"seqs":[%d]}`, stuck.Seq), &did)
		return did.Count == 1
	})
	r.eventually("the next goes", func() bool { n, _ := received("next"); return n == 1 })
	attempts, _ := received("venom")
	r.call(http.MethodPost, "/api/sinks/push/messages/discard", fmt.Sprintf(`{"seqs":[%d]}`, stuck.Seq), &did)
	require.Equal(t, "done", did.Missing[0].Reason)
	r.end()
	r.begin()
	r.db.Exec(t, "insert into t values (4, 'last')")
	r.eventually("all is delivered", func() bool { n, _ := received("last"); return n == 1 && r.place("push").Pending == 0 })
	again, _ := received("venom")
	require.Equal(t, attempts, again)
	require.Empty(t, r.messages("push", ""))
	p = r.place("push")
	require.Equal(t, p.LogEnd+1, p.Cursor)
}

// A backlog of a paused pull sink can be looked through from either end and discarded; looking delivers nothing.
func TestAPausedBacklogIsListedAndDiscarded(t *testing.T) {
	t.Parallel()
	const paused = "  - {name: pull, database: db, status: paused, destination: {type: sequin_stream}}\n"
	r := newRig(t, pgtest.Shared(t), table, paused)
	r.begin()
	const n = 20_000
	r.db.Exec(t, fmt.Sprintf("insert into t select i, 'v' from generate_series(1, %d) i", n))
	r.eventually("all is captured", func() bool { return r.place("pull").LogEnd >= n })
	p := r.place("pull")
	require.InEpsilon(t, n, p.Pending, 0.01)
	require.Equal(t, "1", r.messages("pull", "?limit=1")[0].Key)
	newest := r.messages("pull", "?limit=3&order=desc")
	require.Equal(t, []string{"20000", "19999", "19998"}, []string{newest[0].Key, newest[1].Key, newest[2].Key})
	require.Equal(t, "19997", r.messages("pull", fmt.Sprintf("?limit=1&before=%d", newest[2].Seq))[0].Key)
	require.Len(t, r.messages("pull", "?key=12345&limit=1000"), 1)
	require.Equal(t, "available", r.messages("pull", "?limit=1&state=available")[0].State)

	r.config.Sinks = strings.Replace(paused, "paused", "active", 1) // what a file leaves out keeps its value
	r.apply()
	r.receive("pull", 10)
	var sum int
	for after := uint64(0); ; {
		var did struct {
			Count int
			Next  uint64
		}
		r.call(http.MethodPost, "/api/sinks/pull/messages/discard", fmt.Sprintf(`{"all":true,"after":%d}`, after), &did)
		sum += did.Count
		if after = did.Next; after == 0 {
			break
		}
	}
	require.Equal(t, n-10, sum)
	r.nothing("pull")
	r.db.Exec(t, "insert into t values (0, 'later')")
	require.Equal(t, []string{"0"}, r.receive("pull", 1))
	require.Equal(t, uint64(0), r.place("pull").Pending)
}
