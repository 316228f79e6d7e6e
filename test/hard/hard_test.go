// Package hard_test holds a test for each of the problems that have bitten change capture projects, named for the problem, with the real binary on
// real Postgres. What one package can prove alone is proved beside its code; here is what only the whole shows.
package hard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	harness.CleanUp()
	os.Exit(code)
}

// patience bounds each wait for something that takes milliseconds on a quiet machine.
const patience = 45 * time.Second

// pull is a sink that is pulled.
const pull = "  - {name: pull, database: db, destination: {type: sequin_stream}}\n"

// setup is what a test declares.
type setup struct {
	server    *pgtest.Server // nil for the shared one
	ddl       string         // run before Sequin starts
	published string         // what the publication is for: "for table …"; "" for all tables, so that new ones join by themselves
	database  string         // more keys of the database, indented by four spaces
	sinks     string         // "" for one sink "pull"
	endpoints map[string]string
}

// rig is a database, a slot, a publication, and Sequin on them.
type rig struct {
	*harness.Sequin
	t         testing.TB
	db        *pgtest.DB
	slot, pub string
	config    harness.Config
	client    *http.Client
}

// prepare makes everything and starts nothing.
func prepare(t *testing.T, s setup) *rig {
	t.Helper()
	if s.server == nil {
		s.server = pgtest.Shared(t)
	}
	if s.published == "" {
		s.published = "for all tables"
	}
	if s.sinks == "" {
		s.sinks = pull
	}
	r := &rig{t: t, db: s.server.Database(t), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	t.Cleanup(r.client.CloseIdleConnections)
	r.slot, r.pub = r.db.Slot(t), r.db.Publication(t)
	r.db.Exec(t, "create table fence (id serial primary key)")
	if s.ddl != "" {
		r.db.Exec(t, s.ddl)
	}
	if s.published != "ours" {
		r.db.Exec(t, "create publication "+r.pub+" "+s.published)
	}
	r.config = harness.Config{DB: r.db, Slot: r.slot, Publication: r.pub, Database: s.database, Sinks: s.sinks, Endpoints: s.endpoints}
	r.Sequin = harness.New(t, r.config.YAML(t))
	return r
}

// begin also starts Sequin and waits until it streams.
func begin(t *testing.T, s setup) *rig {
	t.Helper()
	r := prepare(t, s)
	r.start()
	return r
}

// start starts Sequin and waits until it streams.
func (r *rig) start() {
	r.t.Helper()
	r.Start()
	r.eventually(r.streaming, "the slot is read")
	r.WaitHealthy(patience)
}

// major is the server's major version.
func (r *rig) major() int { return r.db.Server.Major(r.t) }

// at makes Sequin reach the database in another way from its next start or reload on; the test itself goes on as before.
func (r *rig) at(change func(u *url.URL)) {
	r.t.Helper()
	u, err := url.Parse(r.config.DB.URL)
	require.NoError(r.t, err)
	change(u)
	r.config.DB = &pgtest.DB{URL: u.String()}
	r.Configure(r.config.YAML(r.t))
}

// declare replaces the sinks while Sequin runs.
func (r *rig) declare(sinks string) {
	r.t.Helper()
	r.config.Sinks = sinks
	r.reload()
}

// reload applies the configuration as it is now, and returns when Sequin has read it.
func (r *rig) reload() {
	r.t.Helper()
	const read = "the configuration was read again"
	before := strings.Count(r.Log(), read)
	r.Configure(r.config.YAML(r.t))
	r.Reload()
	r.eventually(func() bool { return strings.Count(r.Log(), read) > before }, "the configuration is read again")
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	r.db.Exec(r.t, sql, args...)
}

// eventually waits for a condition.
func (r *rig) eventually(ok func() bool, what string, args ...any) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			_, health := r.Get("/healthz")
			r.t.Fatalf("within %s it did not happen that %s; health: %s", patience, fmt.Sprintf(what, args...), health)
		}
	}
}

// confirmedAll waits until Postgres was told that everything written up to now is safe.
func (r *rig) confirmedAll() {
	r.t.Helper()
	end := pgtest.Value[string](r.t, r.db, "select pg_current_wal_lsn()::text")
	r.eventually(func() bool { return r.confirmed(end) }, "%s is confirmed", end)
}

// confirmed reports whether Postgres was told that an LSN is safe.
func (r *rig) confirmed(lsn string) bool {
	r.t.Helper()
	return pgtest.Value[bool](r.t, r.db, "select confirmed_flush_lsn >= $2::text::pg_lsn from pg_replication_slots where slot_name = $1", r.slot, lsn)
}

// streaming reports whether the slot is being read; while it is created it is active too.
func (r *rig) streaming() bool {
	r.t.Helper()
	return pgtest.Value[bool](r.t, r.db, `
		select exists (select from pg_replication_slots join pg_stat_replication on pid = active_pid where slot_name = $1 and state <> 'startup')`, r.slot)
}

// metric is the sum of a metric's samples whose labels contain all of the texts.
func (r *rig) metric(name string, labels ...string) float64 {
	r.t.Helper()
	_, body := r.Get(r.Metrics)
	var sum float64
	found := false
	for line := range strings.Lines(body) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok {
			series, value, ok = strings.Cut(strings.TrimSpace(line), " ")
		}
		if !ok || (series != name && !strings.HasPrefix(series, name+"{")) {
			continue
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(series, l) }) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		require.NoError(r.t, err, line)
		sum += v
		found = true
	}
	require.True(r.t, found, "no metric %s with %v", name, labels)
	return sum
}

// post calls the API with a token and returns status and body.
func (r *rig) post(path, body string) (int, string) {
	r.t.Helper()
	status, answer, err := r.call(r.t.Context(), path, body)
	require.NoError(r.t, err)
	return status, answer
}

// call is post for calls that may fail.
func (r *rig) call(ctx context.Context, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+harness.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// receive pulls with any parameters and expects 200.
func (r *rig) receive(sink, body string) []harness.Received {
	r.t.Helper()
	status, answer := r.post("/api/sequin_streams/"+sink+"/receive", body)
	require.Equal(r.t, http.StatusOK, status, answer)
	return received(r.t, answer)
}

func received(t testing.TB, answer string) []harness.Received {
	t.Helper()
	var reply struct {
		Data []harness.Received `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &reply), answer)
	require.NotNil(t, reply.Data, "data must be a list, also when it is empty: %s", answer)
	return reply.Data
}

func (r *rig) ack(sink string, batch []harness.Received) {
	r.t.Helper()
	if len(batch) > 0 {
		require.NoError(r.t, r.Stream(sink).Ack(r.t.Context(), harness.AckIDs(batch)...))
	}
}

// drain pulls and acknowledges everything that a sink has, in the order in which it comes, up to a mark that it writes itself, and what the
// order within groups held back until then.
func (r *rig) drain(sink string) []harness.Received {
	r.t.Helper()
	fence := strconv.FormatInt(pgtest.Value[int64](r.t, r.db, "insert into fence default values returning id"), 10)
	var all []harness.Received
	for deadline := time.Now().Add(patience); ; {
		batch := r.receive(sink, `{"batch_size":1000,"wait_for":1000,"same_group":true}`)
		r.ack(sink, batch)
		reached := false
		for i := range batch {
			meta := &batch[i].Data.Metadata
			if meta.TableName != "fence" {
				all = append(all, batch[i])
				continue
			}
			reached = reached || slices.Equal(meta.RecordPKs, []string{fence})
		}
		if reached {
			break
		}
		if time.Now().After(deadline) {
			_, health := r.Get("/healthz")
			r.t.Fatalf("the mark did not come within %s after %d messages; health: %s", patience, len(all), health)
		}
	}
	for {
		late := r.receive(sink, `{"batch_size":1000}`)
		if len(late) == 0 {
			require.Zero(r.t, r.metric("sequin_sink_dead_letters", `consumer_name="`+sink+`"`), "dead letters: %s", r.Log())
			return all
		}
		r.ack(sink, late)
		all = append(all, late...) // held back by their group until now
	}
}

// inOrder sorts messages by their position in the database's history.
func inOrder(all []harness.Received) []harness.Received {
	slices.SortStableFunc(all, func(a, b harness.Received) int {
		x, y := a.Data.Metadata, b.Data.Metadata
		if x.CommitLSN != y.CommitLSN {
			return int(min(max(int64(x.CommitLSN)-int64(y.CommitLSN), -1), 1)) //nolint:gosec // far below 2^63
		}
		return int(x.CommitIdx) - int(y.CommitIdx)
	})
	return all
}

// said is a message in one line: action, table, record and, for updates, changes.
func said(m harness.Message) string {
	text := m.Action + " " + m.Metadata.TableName + " " + string(m.Record)
	if m.Action == "update" {
		text += " was " + string(m.Changes)
	}
	if len(m.Metadata.UnchangedColumns) > 0 {
		text += " unchanged " + strings.Join(m.Metadata.UnchangedColumns, ",")
	}
	return text
}

func saidAll(all []harness.Received) []string {
	lines := make([]string, len(all))
	for i := range all {
		lines[i] = said(all[i].Data)
	}
	return lines
}

// drained is what a sink has, in the order of the history, one line each.
func (r *rig) drained(sink string) []string {
	r.t.Helper()
	return saidAll(inOrder(r.drain(sink)))
}

// hook is a webhook receiver that writes down what it accepts.
type hook struct {
	*httptest.Server
	mu       sync.Mutex
	accepted []harness.Message
	refuse   func(harness.Message) int // status for a message; 0 accepts
}

// receiver starts a webhook receiver.
func receiver(t *testing.T, refuse func(harness.Message) int) *hook {
	t.Helper()
	h := &hook{refuse: refuse}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

// ServeHTTP takes batched and unbatched bodies.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var one harness.Message
	var many struct{ Data []harness.Message }
	if bytes.HasPrefix(body, []byte(`{"data":`)) {
		err = json.Unmarshal(body, &many)
	} else if err = json.Unmarshal(body, &one); err == nil {
		many.Data = []harness.Message{one}
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for i := 0; h.refuse != nil && i < len(many.Data); i++ {
		if status := h.refuse(many.Data[i]); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accepted = append(h.accepted, many.Data...)
}

// messages are those accepted so far, in order.
func (h *hook) messages() []harness.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.accepted)
}

// wait waits for n messages and returns them.
func (h *hook) wait(r *rig, n int) []harness.Message {
	r.t.Helper()
	r.eventually(func() bool { return len(h.messages()) >= n }, "the webhook gets %d messages", n)
	all := h.messages()
	require.Len(r.t, all, n)
	return all
}

// counted is how often each line comes.
func counted(lines []string) map[string]int {
	n := map[string]int{}
	for _, l := range lines {
		n[l]++
	}
	return n
}

// sorted are the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// field is a member of a JSON object as text, "" when it is not there.
func field(t testing.TB, object json.RawMessage, name string) string {
	t.Helper()
	if len(object) == 0 || string(object) == "null" {
		return ""
	}
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(object, &members))
	return strings.Trim(string(members[name]), `"`)
}

// background repeats work on a connection of its own, with a running number, until the returned function is called, which tells how often it was
// done.
func (r *rig) background(work func(conn *pgx.Conn, n int)) (stop func() int) {
	r.t.Helper()
	conn := r.db.Conn(r.t)
	ending, ended := make(chan struct{}), make(chan struct{})
	done := 0
	go func() {
		defer close(ended)
		for {
			select {
			case <-ending:
				return
			default:
				work(conn, done)
				done++
			}
		}
	}()
	stop = sync.OnceValue(func() int {
		close(ending)
		<-ended
		return done
	})
	r.t.Cleanup(func() { stop() })
	return stop
}
