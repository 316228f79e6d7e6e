package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/test/harness"
)

// refill is a backfill in a reply.
type refill struct {
	ID        string   `json:"id"`
	Sink      string   `json:"sink_consumer"`
	State     string   `json:"state"`
	Table     string   `json:"table"`
	Initial   *int64   `json:"rows_initial_count"`
	Processed int64    `json:"rows_processed_count"`
	Ingested  int64    `json:"rows_ingested_count"`
	Completed *string  `json:"completed_at"`
	Canceled  *string  `json:"canceled_at"`
	Waiting   *string  `json:"waiting"`
	Queued    bool     `json:"queued"`
	Left      *float64 `json:"seconds_left"`
	Error     *struct{ Code, Message string }
}

// backfill starts one.
func (r *rig) backfill(sink, body string) refill {
	r.t.Helper()
	var b refill
	r.call(http.MethodPost, "/api/sinks/"+sink+"/backfills", body, &b)
	return b
}

func (r *rig) refill(sink, id string) refill {
	r.t.Helper()
	var b refill
	r.call(http.MethodGet, "/api/sinks/"+sink+"/backfills/"+id, "", &b)
	return b
}

// becomes waits until a backfill has a state.
func (r *rig) becomes(sink, id, state string) refill {
	r.t.Helper()
	var b refill
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%+v", b)
		}
	}()
	r.eventually("the backfill is "+state, func() bool {
		b = r.refill(sink, id)
		require.False(r.t, b.State == "failed" && state != "failed", "%+v", b.Error)
		return b.State == state
	})
	return b
}

// pgRig is a rig on any version of Postgres: where pgoutput has no logical messages, a table stands in for them.
func pgRig(t *testing.T, pg *pgtest.Server, ddl, sinks string) *rig {
	t.Helper()
	r := newRig(t, pg, ddl, sinks)
	if pg.Major(t) < 14 {
		r.db.Exec(t, postgres.MessagesTableSQL)
		r.db.Exec(t, fmt.Sprintf("do $$ begin execute 'create publication %q for table %s, ' || (select string_agg(format('%%I.%%I', schemaname, tablename), ', ') from pg_tables where schemaname = 'public' and tablename <> 'sequin_logical_messages'); end $$",
			r.config.Publication, postgres.MessagesTable))
	}
	return r
}

// A whole table arrives as read messages, and live changes arrive beside it.
func TestABackfillReadsTheTable(t *testing.T) {
	t.Parallel()
	r := pgRig(t, pgtest.Shared(t), table+"; insert into t select i, 'v' || i from generate_series(1, 2500) i", pull)
	r.begin()
	b := r.backfill("pull", `{"table": "public.t"}`)
	require.Equal(t, "pull", b.Sink)
	require.Equal(t, "active", b.State)
	require.Equal(t, "public.t", b.Table)
	ids := map[string]int{}
	var one harness.Received
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(ids) < 2500 {
		batch, err := r.stream("pull").Receive(ctx, 1000, 5*time.Second)
		require.NoError(t, err, "after %d rows", len(ids))
		for i, id := range idsOf(batch) {
			require.Equal(t, "read", batch[i].Data.Action)
			ids[id]++
			one = batch[i]
		}
		require.NoError(t, r.stream("pull").Ack(ctx, harness.AckIDs(batch)...))
	}
	for id, n := range ids {
		require.Equal(t, 1, n, "row %s", id)
	}
	require.Equal(t, `null`, string(one.Data.Changes))
	done := r.becomes("pull", b.ID, "completed")
	require.EqualValues(t, 2500, done.Processed)
	require.EqualValues(t, 2500, done.Ingested)
	require.EqualValues(t, 2500, *done.Initial)
	require.NotNil(t, done.Completed)
	var list struct{ Data []refill }
	r.call(http.MethodGet, "/api/sinks/pull/backfills", "", &list)
	require.Len(t, list.Data, 1)
	r.nothing("pull")
	r.db.Exec(t, "insert into t values (9999, 'live')")
	require.Equal(t, []string{"9999"}, r.receive("pull", 1))
}

// What a row says is the same whether it comes as a change or is read.
func TestReadsSayWhatChangesSay(t *testing.T) {
	t.Parallel()
	r := pgRig(t, pgtest.Shared(t), `
		create type mood as enum ('sad', 'happy'); create domain positive as int check (value > 0); create type pair as (a int, b text);
		create table t (id int primary key, i2 int2, i8 int8, n numeric, n2 numeric(10, 2), f4 float4, f8 float8, b boolean, x bytea, c char(5), vc varchar(9), tx text, nm name,
			u uuid, d date, ti time, tz timetz, ts timestamp, tsz timestamptz, iv interval, j json, jb jsonb, ia int[], ta text[], na numeric[], jba jsonb[], m mood, ma mood[],
			p positive, pr pair, ip inet, ci cidr, mac macaddr, bi bit(3), vb varbit, r int4range, tr tstzrange, po point, bx box[], mo money, o oid, tv tsvector, xm xml, ls pg_lsn)`, pull)
	r.begin()
	r.db.Exec(t, `
		insert into t values (1, -32768, 9223372036854775807, 'NaN', 12.30, 1.1, 'infinity', true, '\x00ff', 'ab', 'vc', 'a"\u00e9' || chr(10), 'name',
			'7d444840-9dc0-11d1-b245-5ffdce74fad2', '0044-03-15 BC', '24:00', '12:00:00.5+05:30', 'infinity', '2000-01-01 00:00:00.123456+02', '1 year -2 days 00:00:00.5',
			'{"b": 1.10, "a": [1, 2]}', '{"b": 1.10, "a": null}', '{1,NULL,3}', '{"a,b",NULL,"NULL","\"q\""}', '{1.0,NaN}', array['{"k": 1}'::jsonb, null], 'happy', '{sad,happy}',
			5, '(1,"x y")', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', b'101', b'1', '[1,5)', '(,"2020-01-01 00:00:00+00"]', '(1,2)', '{(1,1),(0,0);(2,2),(1,1)}', 12.34, 4294967295,
			'a:1 b:2', '<a>1</a>', '16/B374D848'),
		(3, 32767, -9223372036854775808, 1e40, -0.01, '-0', 1e-300, false, '', '', '', '', '', '00000000-0000-0000-0000-000000000000', '-infinity', '00:00', '00:00-12',
			'0001-01-01 BC', '294276-12-31 23:59:59.999999+00', '-178000000 years', 'null', '"x"', '{}', '[0:1]={a,b}', '{{1,2},{3,4}}', '{}', 'sad', '{}', 1, '(,)', '1.2.3.4', '::/0',
			'00:00:00:00:00:00', b'000', b'', 'empty', 'empty', '(-0,1e10)', '{}', -0.01, 0, '', '<b/>', '0/0');
		insert into t (id) values (2)`)
	live := r.records(3)
	r.backfill("pull", `{"table": "t"}`)
	read := r.records(3)
	for id, want := range live {
		require.Equal(t, want, read[id], "row %s", id)
	}
}

// records receives n messages and returns their records as they are written, by id.
func (r *rig) records(n int) map[string]string {
	r.t.Helper()
	out := map[string]string{}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for len(out) < n {
		batch, err := r.stream("pull").Receive(ctx, n, 5*time.Second)
		require.NoError(r.t, err)
		for i, id := range idsOf(batch) {
			out[id] = string(batch[i].Data.Record)
		}
		require.NoError(r.t, r.stream("pull").Ack(ctx, harness.AckIDs(batch)...))
	}
	return out
}

// mirror is an application that keeps a copy of the table: it takes every message, and never lets a row go back.
type mirror struct {
	r      *rig
	stream *harness.Stream

	mu   sync.Mutex
	rows map[string]int // by id: the version; -1 when it was deleted
	last map[string]int // the highest version that was acknowledged
	from map[string]int // reads, and others
	err  error
}

func (m *mirror) run(ctx context.Context) {
	for ctx.Err() == nil {
		batch, err := m.stream.Receive(ctx, 1+rand.IntN(200), time.Second)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // the server is starting again
			continue
		}
		if m.stream.Ack(ctx, harness.AckIDs(batch)...) != nil {
			continue // what was not acknowledged comes again
		}
		m.take(batch)
	}
}

func (m *mirror) take(batch []harness.Received) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, id := range idsOf(batch) {
		var row struct{ Version int }
		_ = json.Unmarshal(batch[i].Data.Record, &row)
		m.from[batch[i].Data.Action]++
		if batch[i].Data.Action == "delete" {
			m.rows[id] = -1
			continue
		}
		if row.Version < m.last[id] && m.err == nil {
			m.err = fmt.Errorf("row %s went back from %d to %d by a %s", id, m.last[id], row.Version, batch[i].Data.Action)
		}
		m.rows[id], m.last[id] = row.Version, max(m.last[id], row.Version)
	}
}

// equal tells how the mirror differs from the table; "" if it does not.
func (m *mirror) equal() string {
	rows := pgtest.Value[string](m.r.t, m.r.db, "select coalesce(json_object_agg(id, version), '{}')::text from hot")
	var want map[string]int
	require.NoError(m.r.t, json.Unmarshal([]byte(rows), &want))
	m.mu.Lock()
	defer m.mu.Unlock()
	require.NoError(m.r.t, m.err)
	for id, version := range want {
		if m.rows[id] != version {
			return fmt.Sprintf("row %s is %d, seen %d", id, version, m.rows[id])
		}
	}
	for id, version := range m.rows {
		if _, there := want[id]; !there && version >= 0 {
			return fmt.Sprintf("row %s is gone, seen %d", id, version)
		}
	}
	return ""
}

// hotWriters each change rows of their own, so that versions are committed in the order in which they are drawn.
const hotWriters = 3

// writeHot changes few rows without rest: versions only ever rise, and rows come and go.
func writeHot(ctx context.Context, t *testing.T, r *rig, writer, keys int) {
	t.Helper()
	conn, err := pgx.Connect(ctx, r.db.URL)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	pace := time.NewTicker(2 * time.Millisecond) // no faster than they are received
	defer pace.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		<-pace.C
		id := writer + hotWriters*rand.IntN(keys)
		sql := "insert into hot values ($1, nextval('versions')) on conflict (id) do update set version = excluded.version"
		if n%5 == 0 {
			sql = "delete from hot where id = $1"
		}
		if _, err := conn.Exec(ctx, sql, id); err != nil && ctx.Err() == nil {
			t.Errorf("write: %v", err)
			return
		}
	}
}

const hot = "create sequence versions; create table hot (id int primary key, version int not null, pad text default repeat('x', 100))"

// Rows that change without rest while they are read again and again, and a server that starts anew in between: no row goes back, none that was
// deleted stays, and none is missing in the end.
func TestBackfillsBesideAHotWriter(t *testing.T) {
	t.Parallel()
	r := pgRig(t, pgtest.Shared(t), hot+"; insert into hot select i, nextval('versions') from generate_series(1, 3000) i",
		"  - {name: pull, database: db, ack_wait_ms: 2000, destination: {type: sequin_stream}}\n")
	r.begin()
	r.opts.Listen = r.server.Addr() // again, after each start
	m := &mirror{r: r, stream: &harness.Stream{Base: func() string { return "http://" + r.opts.Listen }, Name: "pull"}, rows: map[string]int{}, last: map[string]int{}, from: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	quit := sync.OnceFunc(func() { cancel(); working.Wait() })
	defer quit()
	writing, stopWriting := context.WithCancel(ctx)
	for w := range hotWriters {
		working.Go(func() { writeHot(writing, t, r, 1+w, 14) })
	}
	working.Go(func() { m.run(ctx) })
	for n := range 6 {
		b := r.backfill("pull", `{"table": "public.hot"}`)
		if n%5 == 2 {
			r.end()
			r.begin()
		}
		r.becomes("pull", b.ID, "completed")
	}
	stopWriting()
	r.eventually("the copy equals the table", func() bool { return m.equal() == "" })
	m.mu.Lock()
	require.Positive(t, m.from["read"])
	require.Positive(t, m.from["delete"])
	m.mu.Unlock()
	quit()
}

// A commit that waits for a synchronous standby is in the WAL and not visible: what is read meanwhile must not be taken for newer.
func TestABackfillAndACommitThatWaits(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := newRig(t, server, hot+"; insert into hot select i, nextval('versions') from generate_series(1, 50) i", pull)
	r.begin()
	release := r.db.HoldCommit(t, "update hot set version = nextval('versions') where id = 7")
	newest := 0
	r.eventually("the update has come", func() bool {
		for id, record := range r.some() {
			var row struct{ Version int }
			require.NoError(t, json.Unmarshal([]byte(record), &row))
			require.Equal(t, "7", id)
			newest = row.Version
		}
		return newest > pgtest.Value[int](t, r.db, "select version from hot where id = 7")
	})
	b := r.backfill("pull", `{"table": "hot"}`)
	r.eventually("the backfill waits for the transaction", func() bool {
		now := r.refill("pull", b.ID)
		return now.Waiting != nil && strings.Contains(*now.Waiting, "no snapshot sees yet")
	})
	r.nothing("pull")
	release()
	var row struct{ Version int }
	require.NoError(t, json.Unmarshal([]byte(r.records(50)["7"]), &row))
	require.Equal(t, newest, row.Version)
	r.becomes("pull", b.ID, "completed")
}

// some are the records that are there.
func (r *rig) some() map[string]string {
	r.t.Helper()
	out := map[string]string{}
	batch, err := r.stream("pull").Receive(r.t.Context(), 100, 100*time.Millisecond)
	require.NoError(r.t, err)
	for i, id := range idsOf(batch) {
		out[id] = string(batch[i].Data.Record)
	}
	if len(batch) > 0 {
		require.NoError(r.t, r.stream("pull").Ack(r.t.Context(), harness.AckIDs(batch)...))
	}
	return out
}

// A backfill can be paused, goes on where it was, also after a restart, and can be cancelled.
func TestABackfillIsPausedAndGoesOn(t *testing.T) {
	t.Parallel()
	r := pgRig(t, pgtest.Shared(t), table+"; insert into t select i from generate_series(1, 40000) i", pull)
	r.begin()
	b := r.backfill("pull", `{"table": "t", "max_rows_per_second": 5000}`)
	seen := map[string]bool{}
	take := func(n int) {
		for _, id := range r.receive("pull", n) {
			require.False(t, seen[id], "row %s came twice", id)
			seen[id] = true
		}
	}
	take(3000)
	var now refill
	r.call(http.MethodPut, "/api/sinks/pull/backfills/"+b.ID, `{"state": "paused"}`, &now)
	require.Equal(t, "paused", now.State)
	rest := int(now.Ingested) - len(seen)
	take(rest)
	r.nothing("pull")
	r.end()
	r.begin()
	require.Equal(t, "paused", r.refill("pull", b.ID).State)
	r.nothing("pull")
	r.call(http.MethodPatch, "/api/sinks/pull/backfills/"+b.ID, `{"state": "active"}`, &now)
	take(4000)
	r.end()
	r.begin()
	take(1000)
	r.call(http.MethodPatch, "/api/sinks/pull/backfills/"+b.ID, `{"state": "cancelled"}`, &now)
	require.NotNil(t, now.Canceled)
	take(int(now.Ingested) - len(seen))
	r.nothing("pull")
	status, body := r.send(http.MethodPut, "/api/sinks/pull/backfills/"+b.ID, `{"state": "active"}`)
	require.Equal(t, http.StatusUnprocessableEntity, status, body)
	require.Contains(t, body, "backfill_state")
}

// Parts of a table, through the sink's own conditions too.
func TestPartialBackfills(t *testing.T) {
	t.Parallel()
	r := pgRig(t, pgtest.Shared(t), "create table t (id int primary key, v text, at timestamptz); create table other (id int primary key, t int); "+
		"insert into t select i, case when i % 2 = 0 then 'even' else 'odd' end, timestamptz '2025-01-01' + i * interval '1 hour' from generate_series(1, 100) i; insert into other values (1, 5), (2, 6)",
		"  - {name: pull, database: db, where: id < 90, destination: {type: sequin_stream}}\n")
	r.begin()
	for body, want := range map[string]int{
		`{"table": "t", "where": "v = 'even'"}`: 44,
		`{"table": "t", "sort_column": "at", "start_position": "2025-01-02T00:00:00Z", "end_position": "2025-01-03"}`: 24,
		`{"table": "t", "keys": [1, "2", [3], 95]}`:                       3,
		`{"table": "t", "key_query": "select t from other where id > 1"}`: 1,
		`{"table": "t", "start_position": "80"}`:                          10,
	} {
		b := r.backfill("pull", body)
		require.Len(t, r.receive("pull", want), want, body)
		r.becomes("pull", b.ID, "completed")
		r.nothing("pull")
	}
}

// What is wrong with a backfill is said when it is asked for.
func TestBackfillsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := pgRig(t, pgtest.Shared(t), table+"; create table out (id int primary key)",
		"  - {name: pull, database: db, source: {exclude_tables: [out]}, destination: {type: sequin_stream}}\n  - {name: off, database: db, status: disabled, destination: {type: sequin_stream}}\n")
	r.begin()
	for body, want := range map[string]string{
		`{}`: "table", `{"table": "nope"}`: "backfill_table_missing", `{"table": "out"}`: "backfill_table_not_wanted", `{"table": 5}`: "wrong type",
		`{"table": "t", "typo": 1}`: "unknown_key", `{"table": "t", "where": "id ="}`: "backfill_query", `{"table": "t", "sort_column": "zz"}`: "backfill_column_missing",
		`{"table": "t", "keys": [null]}`: "keys[0]", `{"table": "t", "keys": ["x"]}`: "backfill_query", `{"table": "t", "workers": 99}`: "workers",
		`{"table": "t", "state": "completed"}`: "state", `{"table": "t", "timeout_ms": -1}`: "timeout_ms",
		`{"table": "t", "keys": [1], "key_query": "select 1"}`: "key_query", `{"table": "t", "key_query": "select 1, 2"}`: "backfill_query",
	} {
		status, answer := r.send(http.MethodPost, "/api/sinks/pull/backfills", body)
		require.Equal(t, http.StatusUnprocessableEntity, status, "%s: %s", body, answer)
		require.Contains(t, answer, want, body)
	}
	status, answer := r.send(http.MethodPost, "/api/sinks/off/backfills", `{"table": "t"}`)
	require.Equal(t, http.StatusUnprocessableEntity, status, answer)
	require.Contains(t, answer, "backfill_sink_disabled")
	b := r.backfill("pull", `{"table": "t", "state": "paused"}`)
	status, answer = r.send(http.MethodPost, "/api/sinks/pull/backfills", `{"table": "t"}`)
	require.Equal(t, http.StatusUnprocessableEntity, status, answer)
	require.Contains(t, answer, "backfill_exists")
	status, _ = r.get("/api/sinks/pull/backfills/" + b.ID)
	require.Equal(t, http.StatusUnauthorized, status)
}

// A new sink reads the tables that it is told to read first, once.
func TestANewSinkReadsFirst(t *testing.T) {
	t.Parallel()
	r := pgRig(t, pgtest.Shared(t), table+"; insert into t select i from generate_series(1, 20) i; create table u (id int primary key, at int); insert into u select i, -i from generate_series(21, 40) i",
		"  - {name: pull, database: db, initial_backfill: true, destination: {type: sequin_stream}}\n"+
			"  - {name: some, database: db, initial_backfill: [{table: u, type: partial, sort_column: at, start_position: -30}], destination: {type: sequin_stream}}\n"+
			"  - {name: none, database: db, destination: {type: sequin_stream}}\n")
	r.begin()
	require.Len(t, r.receive("pull", 40), 40)
	require.ElementsMatch(t, []string{"21", "22", "23", "24", "25", "26", "27", "28", "29", "30"}, r.receive("some", 10))
	for _, sink := range []string{"pull", "some", "none"} {
		r.nothing(sink)
	}
	r.config.Sinks = strings.Replace(r.config.Sinks, "name: none, database: db,", "name: none, database: db, initial_backfill: true,", 1)
	r.apply()
	r.end()
	r.begin()
	for _, sink := range []string{"pull", "some", "none"} {
		r.nothing(sink)
	}
}

// A backfill that fails says why in the sink's health, until another one of the table goes well; one whose table is not published goes on when it is.
func TestABackfillThatFailsIsNotGreen(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+"; insert into t select generate_series(1, 30000)", pull)
	r.begin()
	b := r.backfill("pull", `{"table": "t", "max_rows_per_second": 3000}`)
	r.receive("pull", 2000)
	r.db.Exec(t, "alter publication "+pgx.Identifier{r.config.Publication}.Sanitize()+" drop table t")
	r.eventually("it is said", func() bool { return r.entity("pull").has("backfill_table_not_published") })
	r.db.Exec(t, "alter publication "+pgx.Identifier{r.config.Publication}.Sanitize()+" add table t")
	r.eventually("it goes on", func() bool { return !r.entity("pull").has("backfill_table_not_published") })
	r.db.Exec(t, "drop table t; create table t (id int primary key)")
	r.eventually("it fails", func() bool { r.some(); return r.refill("pull", b.ID).State == "failed" })
	require.NotNil(t, r.refill("pull", b.ID).Error)
	r.troubled("pull", "backfill_table_changed")
	r.db.Exec(t, "alter publication "+pgx.Identifier{r.config.Publication}.Sanitize()+" add table t; insert into t values (1)")
	again := r.backfill("pull", `{"table": "t"}`)
	r.eventually("it completes", func() bool { r.some(); return r.refill("pull", again.ID).State == "completed" })
	require.False(t, r.entity("pull").has("backfill_table_changed"))
}
