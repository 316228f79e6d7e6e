package server_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/eventtable"
)

var eventsTable = eventtable.Name{Schema: "public", Table: "events"}

// audit is a change retention of table t into the table events of a database.
func audit(to, more string) string {
	return "change_retentions:\n  - {name: audit, source_database: db, source_table_schema: public, source_table_name: t, destination_database: " + to +
		", destination_table_schema: public, destination_table_name: events" + more + "}\n"
}

// story writes to a table t (id, v) and remembers what that means.
type story struct {
	db   *pgtest.DB
	want []string
	next int
}

// write makes some transactions: of many rows, and of one.
func (s *story) write(t *testing.T) {
	t.Helper()
	first := s.next
	s.next += 7
	for i := first; i < s.next; i++ {
		s.want = append(s.want, fmt.Sprintf("insert %d a", i))
	}
	s.db.Exec(t, fmt.Sprintf("insert into t select i, 'a' from generate_series(%d, %d) i", first, s.next-1))
	s.db.Exec(t, fmt.Sprintf("begin; update t set v = 'b' where id = %d; update t set v = 'c' where id = %d; delete from t where id = %d; commit", first, first, first+1))
	s.want = append(s.want, fmt.Sprintf("update %d b", first), fmt.Sprintf("update %d c", first), fmt.Sprintf("delete %d", first+1))
	s.db.Exec(t, fmt.Sprintf("delete from t where id = %d", first))
	s.want = append(s.want, fmt.Sprintf("delete %d", first))
}

// kept is what a table of events holds, in the order of its ids.
func kept(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	return pgtest.Value[string](t, db, `select coalesce(string_agg(concat_ws(' ', action, record->>'id', record->>'v'), E'\n' order by id), '') from events`)
}

func (r *rig) keeps(db *pgtest.DB, s *story) {
	r.t.Helper()
	r.eventually("all is kept", func() bool {
		return pgtest.Value[int64](r.t, db, "select count(*) from events") >= int64(len(s.want))
	})
	require.Equal(r.t, strings.Join(s.want, "\n"), kept(r.t, db))
}

func TestARetentionKeepsEveryChangeOnceAndInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+";"+eventtable.DDL(eventsTable, false), "")
	r.config.Sinks = pull + audit("db", "")
	r.begin()
	s := &story{db: r.db}
	for range 5 {
		s.write(t)
	}
	r.keeps(r.db, s)
	for range 3 {
		r.end()
		s.write(t)
		r.begin()
		s.write(t)
	}
	r.keeps(r.db, s)
	require.Equal(t, "healthy", r.entity("audit").Status)
	require.Equal(t, "wal_pipeline", r.entity("audit").Kind)
	require.Len(t, r.receive("pull", len(s.want)), len(s.want), "sinks are not concerned")
	status, _ := r.get("/api/http_pull_consumers/audit/receive")
	require.NotEqual(t, 200, status)
}

// The server is stopped, and the connections are ended, over and over while rows are written.
func TestARetentionWhoseConnectionsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+";"+eventtable.DDL(eventsTable, false), audit("db", ""))
	r.begin()
	s := &story{db: r.db}
	for i := range 40 {
		s.write(t)
		if i%3 == 0 {
			r.db.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and query ~ 'events|sequin_retention' and backend_type = 'client backend'")
		}
		if i%10 == 9 {
			r.end()
			r.start()
		}
	}
	r.keeps(r.db, s)
	r.healthy()
}

// destination is another server with a table of events, declared as the database "other".
func (r *rig) destination(pg *pgtest.Server) (*pgtest.DB, string) {
	r.t.Helper()
	db := pg.Database(r.t)
	db.Exec(r.t, eventtable.DDL(eventsTable, false))
	u, err := url.Parse(db.URL)
	require.NoError(r.t, err)
	password, _ := u.User.Password()
	if password == "" {
		password = "unused"
	}
	return db, fmt.Sprintf("  - {name: other, hostname: %q, port: %s, database: %q, username: %q, password: %q, slot: {name: %s, create_if_not_exists: true}, publication: {name: %s, create_if_not_exists: true}}\n",
		u.Hostname(), u.Port(), strings.TrimPrefix(u.Path, "/"), u.User.Username(), password, db.Slot(r.t), db.Publication(r.t))
}

func TestARetentionWhoseServerCrashes(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.Options{})
	r := newRig(t, pgtest.Shared(t), table, "")
	to, other := r.destination(pg)
	r.config.Database = other
	r.config.Sinks = pull + audit("other", "")
	r.begin()
	s := &story{db: r.db}
	s.write(t)
	r.keeps(to, s)
	pg.Kill(t)
	s.write(t)
	problem := r.troubled("audit", "connection_refused").Problems[0]
	require.Contains(t, problem.Message, `change retention "audit" is not written`)
	require.Len(t, r.receive("pull", len(s.want)), len(s.want), "the sinks of the source go on")
	pg.StartAgain(t)
	r.keeps(to, s)
	for range 4 {
		s.write(t)
		pg.Crash(t)
		s.write(t)
	}
	r.keeps(to, s)
	r.healthy()
}

func TestARetentionWhoseTableIsInTheWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, audit("db", ""))
	r.start()
	r.eventually("it captures", func() bool { return r.entity("db").Status == "healthy" })
	s := &story{db: r.db}
	r.troubled("audit", "retention_table_missing") // before there is anything to write
	s.write(t)
	r.eventually("it is tried", func() bool {
		return strings.Contains(fmt.Sprint(r.troubled("audit", "retention_table_missing")), "is not written")
	})
	problem := r.troubled("audit", "retention_table_missing").Problems[0]
	require.Contains(t, problem.Hint, `create table "public"."events"`)
	r.db.Exec(t, eventtable.DDL(eventsTable, false))
	r.keeps(r.db, s)
	for _, c := range []struct{ breaks, code, mends string }{
		{"alter table events drop constraint events_source_database_id_committed_at_seq_record_pk_key", "retention_key_missing", "create unique index on events (source_database_id, committed_at, seq, record_pk)"},
		{"alter table events rename column record_pk to other", "retention_columns_missing", "alter table events rename column other to record_pk"},
		{"alter table events rename to elsewhere", "retention_table_missing", "alter table elsewhere rename to events"},
	} {
		r.db.Exec(t, c.breaks)
		s.write(t)
		r.troubled("audit", c.code)
		r.db.Exec(t, c.mends)
		r.keeps(r.db, s)
	}
	r.healthy()
}

func TestTheFiltersOfARetention(t *testing.T) {
	t.Parallel()
	ddl := "create table t (id int primary key, v text, n numeric, at timestamptz, meta jsonb); alter table t replica identity full;" + eventtable.DDL(eventsTable, false)
	r := newRig(t, pgtest.Shared(t), ddl, audit("db", `, actions: [insert, delete], filters: [
    {column_name: n, operator: ">", comparison_value: 5}, {column_name: at, operator: ">=", comparison_value: "2024-01-01T00:00:00Z"},
    {column_name: meta, field_path: type.name, field_type: cistring, operator: in, comparison_value: [a, B]}]`))
	r.begin()
	r.db.Exec(t, `insert into t values (1, 'no', 5, '2025-01-01', '{"type": {"name": "a"}}'), (2, 'yes', 10.5, '2025-01-01', '{"type": {"name": "A"}}'), (3, 'null', null, '2025-01-01', '{"type": {"name": "a"}}'),
		(4, 'old', 10, '2023-01-01', '{"type": {"name": "a"}}'), (5, 'no time', 10, null, '{"type": {"name": "a"}}'), (6, 'no type', 10, '2025-01-01', '{}'), (7, 'yes', 100, '2025-01-01', '{"type": {"name": "b"}}')`)
	r.db.Exec(t, "update t set v = 'changed' where id = 2; delete from t")
	r.db.Exec(t, `insert into t values (8, 'yes', 6, '2025-01-01', '{"type": {"name": "a"}}')`)
	s := &story{want: []string{"insert 2 yes", "insert 7 yes", "delete 7 yes", "delete 2 changed", "insert 8 yes"}}
	r.eventually("all is kept", func() bool { return strings.HasSuffix(kept(t, r.db), "insert 8 yes") })
	require.ElementsMatch(t, s.want, strings.Split(kept(t, r.db), "\n"))
}

func TestValuesOfARetention(t *testing.T) {
	t.Parallel()
	ddl := "create table t (id int primary key, v text, n numeric, big bigint, doc jsonb, raw json, list int[], at timestamptz);" + eventtable.DDL(eventsTable, false)
	r := newRig(t, pgtest.Shared(t), ddl, audit("db", ""))
	r.begin()
	r.db.Exec(t, `alter table t alter v set storage external;
		insert into t values (1, repeat('x', 10000), 12345678901234567890.12345, 9007199254740993, '{"a": 1.10, "b": [1, null]}', '{"a":  "\u0000"}', '{1,null,3}', '2024-05-06 07:08:09.123456+02');
		update t set n = 1 where id = 1; alter table t replica identity full; update t set n = 2 where id = 1; update t set id = 2; delete from t`)
	r.eventually("all is kept", func() bool { return pgtest.Value[int64](t, r.db, "select count(*) from events") == 5 })
	line := func(n int) string {
		return pgtest.Value[string](t, r.db, fmt.Sprintf("select concat_ws(' ', action, record_pk, record - 'v', length(record->>'v'), changes) from events order by id offset %d limit 1", n))
	}
	const rest = `"at": "2024-05-06T05:08:09.123456Z", "big": 9007199254740993, "doc": {"a": 1.10, "b": [1, null]}, "raw": "{\"a\":  \"\\u0000\"}", "list": [1, null, 3]}`
	require.Equal(t, `insert 1 {"n": "12345678901234567890.12345", "at": "2024-05-06T05:08:09.123456Z", "id": 1, `+strings.SplitN(rest, ", ", 2)[1]+` 10000`, line(0))
	require.Equal(t, `update 1 {"n": "1", "at": "2024-05-06T05:08:09.123456Z", "id": 1, `+strings.SplitN(rest, ", ", 2)[1]+` {}`, line(1), "the value that was not sent is left out")
	require.Equal(t, `update 1 {"n": "2", "at": "2024-05-06T05:08:09.123456Z", "id": 1, `+strings.SplitN(rest, ", ", 2)[1]+` 10000 {"n": "1"}`, line(2))
	require.Contains(t, line(3), `10000 {"id": 1}`)
	require.Contains(t, line(4), "delete 2 ")
}

// A retention that is disabled holds nothing; its way back is a recorded gap.
func TestADisabledRetentionHoldsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+";"+eventtable.DDL(eventsTable, false), audit("db", ""))
	r.begin()
	s := &story{db: r.db}
	s.write(t)
	r.keeps(r.db, s)
	r.config.Sinks = audit("db", ", status: disabled")
	r.apply()
	require.Equal(t, "paused", r.entity("audit").Status)
	before := len(s.want)
	s.write(t)
	r.caughtUp()
	s.want = s.want[:before]
	r.config.Sinks = audit("db", ", status: active")
	r.apply()
	s.write(t)
	r.keeps(r.db, s)
}

// A sink on the table of events replays them.
func TestASinkOverEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+";"+eventtable.DDL(eventsTable, false), "")
	r.config.Sinks = "  - {name: replay, database: db, source: {include_tables: [public.events]}, destination: {type: sequin_stream}}\n" +
		"  - {name: all, database: db, destination: {type: sequin_stream}}\n" + audit("db", "")
	r.begin()
	s := &story{db: r.db}
	s.write(t)
	r.keeps(r.db, s)
	require.Len(t, r.receive("replay", len(s.want)), len(s.want))
	r.nothing("replay")
	r.receive("all", 2*len(s.want)) // the table's rows and the events; nothing of our own
	r.nothing("all")
}
