package hard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/test/harness"
)

// The requests of the original's clients, byte for byte: they take 200 and nothing else for success, and read data[].ack_id and
// data[].data.record.
func TestClientsOfTheOriginal(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key)"})
	r.exec("insert into t select generate_series(1, 20)")
	r.confirmedAll()
	records := map[string]bool{}
	take := func(path, body string, want int) []string {
		t.Helper()
		status, answer := r.post(path, body)
		require.Equal(t, http.StatusOK, status, answer)
		var reply struct {
			Data []struct {
				AckID string `json:"ack_id"`
				Data  struct {
					Record json.RawMessage `json:"record"`
				} `json:"data"`
			} `json:"data"`
		}
		require.NoError(t, json.Unmarshal([]byte(answer), &reply))
		require.Len(t, reply.Data, want, answer)
		var ids []string
		for _, m := range reply.Data {
			require.False(t, records[string(m.Data.Record)], "%s came twice", m.Data.Record)
			records[string(m.Data.Record)] = true
			ids = append(ids, m.AckID)
		}
		return ids
	}
	settle := func(path string, ids []string) {
		t.Helper()
		body, err := json.Marshal(map[string][]string{"ack_ids": ids})
		require.NoError(t, err)
		status, answer := r.post(path, string(body))
		require.Equal(t, http.StatusOK, status, answer)
		require.JSONEq(t, `{"success":true}`, answer)
	}
	const consumers = "/api/http_pull_consumers/pull/"
	ids := take(consumers+"receive", "", 1) // sequin-go v0.2.0 without parameters
	ids = append(ids, take(consumers+"receive", `{"batch_size":3}`, 3)...)
	ids = append(ids, take(consumers+"receive", `{"max_batch_size":4,"wait_for":120000}`, 4)...) // sequin-go main, off_broadway_sequin
	ids = append(ids, take("/api"+consumers+"receive", `{"batch_size":2}`, 2)...)                // a base URL that ends in /api
	ids = append(ids, take("/api/sequin_streams/pull/receive", `{"max_batch_size":10}`, 10)...)
	settle(consumers+"ack", ids[:10])
	settle("/api"+consumers+"ack", ids[10:19])
	settle(consumers+"ack", ids) // again, and one more
	settle(consumers+"nack", ids[:1])
	status, answer := r.post(consumers+"receive", `{"batch_size":10}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, `{"data":[]}`, strings.TrimSpace(answer), "an empty list and not null; a settled message does not come back")
	require.Len(t, records, 20)

	// a message given back comes at once
	r.exec("insert into t values (21)")
	ids = take(consumers+"receive", `{"wait_for":20000}`, 1)
	settle(consumers+"nack", ids)
	delete(records, `{"id":21}`)
	require.Equal(t, ids, take(consumers+"receive", `{"wait_for":20000}`, 1))
}

// A long poll of two minutes is held open, longer than any deadline of a body or a reply, and ends with the message.
func TestLongPollIsHeldUntilAMessageComes(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key)"})
	type result struct {
		status int
		answer string
		err    error
		at     time.Time
	}
	answered := make(chan result, 1)
	go func() {
		status, answer, err := r.call(context.Background(), "/api/http_pull_consumers/pull/receive", `{"max_batch_size":10,"wait_for":120000}`)
		answered <- result{status, answer, err, time.Now()}
	}()
	select {
	case got := <-answered:
		t.Fatalf("answered without a message: %+v", got)
	case <-time.After(4 * time.Second):
	}
	inserted := time.Now()
	r.exec("insert into t values (1)")
	got := <-answered
	require.NoError(t, got.err)
	require.Equal(t, http.StatusOK, got.status)
	require.Len(t, received(t, got.answer), 1)
	require.True(t, got.at.After(inserted))
}

// In an idle system a long poll answers as soon as the commit is durable here: measured against a request that finds a message waiting, with
// which it shares the HTTP, the lease and its sync.
func TestLongPollWakesAtOnce(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id serial primary key)"})
	const rounds = 40
	var waited, found []time.Duration
	for range rounds {
		r.exec("insert into t default values")
		r.confirmedAll()
		began := time.Now()
		batch := r.receive("pull", `{}`)
		found = append(found, time.Since(began))
		require.Len(t, batch, 1)
		r.ack("pull", batch)

		answered, sent := make(chan time.Time, 1), make(chan struct{})
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) },
		})
		go func() {
			_, answer, err := r.call(ctx, "/api/sequin_streams/pull/receive", `{"wait_for":60000}`)
			at := time.Now()
			if err == nil {
				var reply struct{ Data []harness.Received }
				if json.Unmarshal([]byte(answer), &reply) == nil && len(reply.Data) == 1 {
					_ = r.Stream("pull").Ack(context.Background(), reply.Data[0].AckID)
				}
			}
			answered <- at
		}()
		<-sent
		r.Get("/livez") // by now the poll has arrived too; if it has not, it finds the message there
		r.exec("insert into t default values")
		committed := time.Now()
		waited = append(waited, max((<-answered).Sub(committed), 0))
	}
	slices.Sort(waited)
	slices.Sort(found)
	t.Logf("commit to response p50 %s p90 %s; a waiting message p50 %s p90 %s", waited[rounds/2], waited[rounds*9/10], found[rounds/2], found[rounds*9/10])
	// The way from the commit adds the walsender, the decoding and the sync of the log: a few times the request alone, and never a polling interval.
	require.Less(t, waited[rounds/2], max(20*time.Millisecond, 6*found[rounds/2]))
}

// A hundred receivers at once: no message is leased twice, each is delivered once, and every answer is 200.
func TestAHundredReceiversShareNoLease(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key)", sinks: "  - {name: pull, database: db, max_waiting: 200, destination: {type: sequin_stream}}\n"})
	const receivers, rows = 100, 5000
	var (
		mu    sync.Mutex
		held  = map[string]bool{}
		seen  = map[string]int{}
		wrong []string
		done  atomic.Int64
		wg    sync.WaitGroup
	)
	ctx, stop := context.WithTimeout(t.Context(), 2*patience)
	defer stop()
	for i := range receivers {
		wg.Go(func() {
			for done.Load() < rows && ctx.Err() == nil {
				status, answer, err := r.call(ctx, "/api/http_pull_consumers/pull/receive", fmt.Sprintf(`{"batch_size":%d,"wait_for":1000}`, 1+i%20))
				var reply struct{ Data []harness.Received }
				if err == nil {
					err = json.NewDecoder(bytes.NewBufferString(answer)).Decode(&reply)
				}
				mu.Lock()
				if err != nil || status != http.StatusOK {
					wrong = append(wrong, fmt.Sprintf("%d %v %s", status, err, answer))
				}
				for j := range reply.Data {
					m := &reply.Data[j]
					if held[m.AckID] {
						wrong = append(wrong, "leased twice: "+m.AckID)
					}
					held[m.AckID] = true
					seen[m.Data.Metadata.RecordPKs[0]]++
				}
				mu.Unlock()
				if len(reply.Data) == 0 {
					continue
				}
				time.Sleep(time.Duration(i%5) * time.Millisecond) // the work
				mu.Lock()
				for j := range reply.Data {
					delete(held, reply.Data[j].AckID) // with the acknowledgement the lease ends
				}
				mu.Unlock()
				if err := r.Stream("pull").Ack(ctx, harness.AckIDs(reply.Data)...); err != nil {
					mu.Lock()
					wrong = append(wrong, err.Error())
					mu.Unlock()
				}
				done.Add(int64(len(reply.Data)))
			}
		})
	}
	for i := range 10 {
		r.exec("insert into t select generate_series($1::int, $2::int)", i*rows/10+1, (i+1)*rows/10)
	}
	wg.Wait()
	require.Empty(t, wrong)
	require.Len(t, seen, rows)
	for pk, n := range seen {
		require.Equal(t, 1, n, pk)
	}
	require.Empty(t, r.drain("pull"))
}
