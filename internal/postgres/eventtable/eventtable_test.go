package eventtable_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/eventtable"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	database = "11111111-1111-4111-8111-111111111111"
	writer   = "22222222-2222-4222-8222-222222222222"
	life     = "33333333-3333-4333-8333-333333333333"
)

var events = eventtable.Name{Schema: "public", Table: "events"}

func column(name string, kind cdc.Kind) cdc.Column {
	return cdc.Column{Name: name, Type: cdc.Type{Kind: kind}}
}

func orders() *cdc.Relation {
	return &cdc.Relation{
		OID: 4_000_000_000, Schema: "public", Name: "orders", Identity: 'd', PrimaryKey: []int{0}, IdentityKey: []int{0},
		Columns: []cdc.Column{column("id", cdc.KindInt), column("total", cdc.KindNumeric), column("doc", cdc.KindJSON)},
	}
}

// inserted is the nth row of the transaction that committed at lsn.
func inserted(rel *cdc.Relation, lsn, n int, values ...any) eventtable.Row {
	c := &cdc.Change{
		Op: cdc.OpInsert, Relation: rel, New: cdctest.Tuple(values...), CommitTime: 1_700_000_000_123_456,
		Position: cdc.Position{LSN: cdc.LSN(lsn), Index: uint32(n)},
	}
	return eventtable.Row{Change: c, Record: record(c)}
}

func record(c *cdc.Change) []byte {
	body, err := message.AppendRecordOnly(nil, c, message.Format{})
	if err != nil {
		panic(err)
	}
	return body
}

func open(t *testing.T, db *pgtest.DB, change func(*eventtable.Options)) *eventtable.Writer {
	t.Helper()
	source, err := postgres.ParseURL(db.URL)
	require.NoError(t, err)
	o := eventtable.Options{Table: events, Database: database, Writer: writer, Life: life, Connect: source.Connect}
	if change != nil {
		change(&o)
	}
	w := eventtable.New(o)
	t.Cleanup(w.Close)
	return w
}

// table makes a database with an event table.
func table(t *testing.T) *pgtest.DB {
	t.Helper()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, eventtable.DDL(events, false))
	return db
}

func ids(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	return pgtest.Value[string](t, db, "select coalesce(string_agg(record->>'id', ' ' order by id), '') from events")
}

func TestRowsAreWrittenOnceAndInOrder(t *testing.T) {
	t.Parallel()
	db := table(t)
	rel := orders()
	var rows []eventtable.Row
	var want []string
	for i := range 1500 {
		rows = append(rows, inserted(rel, 1000, i, strconv.Itoa(i*7919%1500), "1.10", `{"a": 1.10}`))
		want = append(want, strconv.Itoa(i*7919%1500))
	}
	w := open(t, db, nil)
	require.NoError(t, w.Write(t.Context(), rows[:1000]))
	require.NoError(t, w.Write(t.Context(), rows[500:]), "the half of it again")
	require.Equal(t, strings.Join(want, " "), ids(t, db))
	require.NoError(t, open(t, db, nil).Write(t.Context(), rows), "by a writer that knows nothing")
	require.Equal(t, strings.Join(want, " "), ids(t, db))
	require.Equal(t, "1000|1499", pgtest.Value[string](t, db, "select (commit_lsn - '0/0')||'|'||commit_idx from sequin_retention_position"))
}

func TestTheColumnsOfAnEvent(t *testing.T) {
	t.Parallel()
	db := table(t)
	rel := orders()
	up := &cdc.Change{
		Op: cdc.OpUpdate, OldKind: 'O', Relation: rel, CommitTime: 1_700_000_000_123_456, Annotations: []byte(`{"user": "ann"}`), Position: cdc.Position{LSN: 2000, Index: 3},
		Old: cdctest.Tuple("1", "12345678901234567890.10", `{"a":1}`), New: cdctest.Tuple("1", "2", `{"a":1}`),
	}
	gone := &cdc.Change{
		Op: cdc.OpDelete, OldKind: 'O', Relation: rel, CommitTime: 1_700_000_000_123_456, Position: cdc.Position{LSN: 2000, Index: 4}, Old: cdctest.Tuple("1", "2", nil),
	}
	w := open(t, db, nil)
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{{Change: up, Record: record(up)}, {Change: gone, Record: record(gone)}}))
	line := func(action string) string {
		return pgtest.Value[string](t, db, `select concat_ws('|', seq, source_database_id, source_table_oid, source_table_schema, source_table_name, record_pk, record,
			coalesce(changes::text, '-'), coalesce(transaction_annotations::text, '-'), to_char(committed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), inserted_at > now() - interval '1 hour')
			from events where action = $1`, action)
	}
	require.Equal(t, `2003|`+database+`|4000000000|public|orders|1|{"id": 1, "doc": {"a": 1}, "total": "2"}|{"total": "12345678901234567890.10"}|{"user": "ann"}|2023-11-14 22:13:20.123456|t`, line("update"))
	require.Equal(t, `2004|`+database+`|4000000000|public|orders|1|{"id": 1, "doc": null, "total": "2"}|-|-|2023-11-14 22:13:20.123456|t`, line("delete"))
}

// Two transactions that commit in the same microsecond may come to the same seq, time and key. Both are kept.
func TestRowsThatMeetAnothersKeyAreKept(t *testing.T) {
	t.Parallel()
	db := table(t)
	rel := orders()
	rel.PrimaryKey = nil
	w := open(t, db, nil)
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{inserted(rel, 1000, 0, "1", "1", nil), inserted(rel, 1000, 1, "2", "1", nil), inserted(rel, 1000, 2, "3", "1", nil)}))
	second := []eventtable.Row{inserted(rel, 1001, 0, "2", "1", nil), inserted(rel, 1001, 1, "9", "1", nil), inserted(rel, 1001, 2, "8", "1", nil)}
	require.NoError(t, w.Write(t.Context(), second))
	require.Equal(t, "1 2 3 2 9 8", ids(t, db), "the second 2 is another change than the first, word for word the same")
	require.NoError(t, open(t, db, nil).Write(t.Context(), second))
	require.Equal(t, "1 2 3 2 9 8", ids(t, db))
	require.Equal(t, "1000 1001 1002 1003 1004 1005", pgtest.Value[string](t, db, "select string_agg(seq::text, ' ' order by id) from events"))
}

func TestWithoutPositionTheKeyRecognizesRows(t *testing.T) {
	t.Parallel()
	db := table(t)
	rel := orders()
	rows := []eventtable.Row{inserted(rel, 1000, 0, "1", "1", `{"a":1}`), inserted(rel, 1000, 1, "2", "1", nil), inserted(rel, 1000, 2, "3", "1", nil)}
	require.NoError(t, open(t, db, nil).Write(t.Context(), rows[:2]))
	again := open(t, db, func(o *eventtable.Options) { o.Life = writer }) // another life: what the position says is of no use
	require.NoError(t, again.Write(t.Context(), rows))
	require.Equal(t, "1 2 3", ids(t, db))
}

func TestAPositionTableThatCannotBeMade(t *testing.T) {
	t.Parallel()
	db := table(t)
	role := "r" + strings.ReplaceAll(db.Name, "-", "_")
	db.Exec(t, "create role "+role+" login; revoke create on schema public from public; grant select, insert on events to "+role+"; grant usage on sequence events_id_seq to "+role)
	t.Cleanup(func() {
		for _, sql := range []string{"drop owned by " + role, "drop role " + role} {
			_, err := db.Conn(t).Exec(context.Background(), sql)
			require.NoError(t, err)
		}
	})
	as := func(o *eventtable.Options) {
		connect := o.Connect
		o.Connect = func(ctx context.Context) (*pgx.Conn, error) {
			conn, err := connect(ctx)
			if err == nil {
				_, err = conn.Exec(ctx, "set role "+role)
			}
			return conn, err
		}
	}
	rel := orders()
	rows := []eventtable.Row{inserted(rel, 1000, 0, "1", "1", `{"a":1}`), inserted(rel, 1000, 1, "2", "1", nil)}
	w := open(t, db, as)
	require.NoError(t, w.Write(t.Context(), rows))
	require.Equal(t, "retention_position_unkept", w.Advice().Code)
	require.Contains(t, w.Advice().Hint, eventtable.PositionTable)
	require.NoError(t, w.Write(t.Context(), rows), "a repeated batch")
	require.NoError(t, open(t, db, as).Write(t.Context(), append(rows, inserted(rel, 1000, 2, "3", "1", nil))))
	require.Equal(t, "1 2 3", ids(t, db))
}

// A json column keeps documents that no jsonb can hold. Their rows are written all the same, with the document as text, and no other row is
// touched.
func TestDocumentsThatNoJSONBHolds(t *testing.T) {
	t.Parallel()
	db := table(t)
	rel := orders()
	rows := make([]eventtable.Row, 0, 100)
	for i := range 100 {
		doc := `{"n": ` + strconv.Itoa(i) + `}`
		switch i {
		case 37:
			doc = `{"a": "\u0000", "b": "ü"}`
		case 38:
			doc = `["\ud800"]`
		case 80:
			doc = `{"big": 1e1000000}`
		}
		rows = append(rows, inserted(rel, 1000, i, strconv.Itoa(i), "1", doc))
	}
	rows[38].Change.Annotations = []byte(`{"note": "\u0000"}`)
	require.NoError(t, open(t, db, nil).Write(t.Context(), rows))
	require.Equal(t, int64(100), pgtest.Value[int64](t, db, "select count(*) from events"))
	require.Equal(t, "0 1 2", ids(t, db)[:5])
	doc := func(id string) string {
		return pgtest.Value[string](t, db, "select record->>'doc' from events where record->>'id' = $1", id)
	}
	require.Equal(t, `{"a": "\u0000", "b": "ü"}`, doc("37"))
	require.Equal(t, `["\ud800"]`, doc("38"))
	require.Equal(t, `{"big": 1e1000000}`, doc("80"))
	require.Equal(t, `string`, pgtest.Value[string](t, db, "select jsonb_typeof(record->'doc') from events where record->>'id' = '37'"))
	require.Equal(t, int64(97), pgtest.Value[int64](t, db, "select count(*) from events where jsonb_typeof(record->'doc') = 'object'"))
}

// What is passed over once, such as a dead letter that is sent again, has a position that says nothing.
func TestARowAgain(t *testing.T) {
	t.Parallel()
	db := table(t)
	rel := orders()
	w := open(t, db, nil)
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{inserted(rel, 1000, 5, "5", "1", nil)}))
	late := inserted(rel, 1000, 2, "2", "1", nil)
	late.Again = true
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{late}))
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{late}), "and once more, for nobody heard that it was written")
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{inserted(rel, 1000, 5, "5", "1", nil), inserted(rel, 1000, 6, "6", "1", nil)}))
	require.Equal(t, "5 2 6", ids(t, db))
}

func TestATableThatDoesNotFit(t *testing.T) {
	t.Parallel()
	whole := eventtable.DDL(events, false)
	for name, c := range map[string]struct{ ddl, code, hint, says string }{
		"none":          {"select 1", "retention_table_missing", "create table", "events"},
		"columns":       {"create table events (id int, seq bigint)", "retention_columns_missing", `create table "public"."events"`, "source_database_id, source_table_oid, source_table_schema"},
		"type":          {whole + "; alter table events alter record_pk type int using null", "retention_column_type", "create table", "record_pk is integer, and should be text"},
		"key":           {whole + "; alter table events drop constraint events_source_database_id_committed_at_seq_record_pk_key", "retention_key_missing", "create unique index on", "source_database_id, committed_at, seq, record_pk"},
		"partial key":   {whole + "; alter table events drop constraint events_source_database_id_committed_at_seq_record_pk_key; create unique index on events (source_database_id, committed_at, seq, record_pk) where seq > 5", "retention_key_missing", "create unique index on", ""},
		"unlogged":      {strings.Replace(whole, "create table", "create unlogged table", 1), "retention_table_unlogged", "set logged", ""},
		"view":          {strings.ReplaceAll(whole, `"events"`, `"base"`) + "; create view events as select * from base", "retention_not_a_table", "create table", ""},
		"partition":     {eventtable.DDL(events, true), "retention_no_partition", "partition of", ""},
		"trigger":       {whole + "; create function nothing() returns trigger language plpgsql as 'begin return null; end'; create trigger n before insert on events for each row execute procedure nothing()", "retention_write_failed", "", "a trigger or a rule"},
		"another key":   {whole + "; create unique index on events (action); insert into events (seq, source_database_id, source_table_oid, source_table_schema, source_table_name, record_pk, record, action, committed_at) values (1, '" + database + "', 1, 'a', 'b', 'c', '{}', 'insert', now())", "retention_write_failed", "", "23505"},
		"a column more": {whole + "; alter table events add must int not null", "retention_write_failed", "", "23502"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t).Database(t)
			db.Exec(t, c.ddl)
			w := open(t, db, nil)
			err := w.Write(t.Context(), []eventtable.Row{inserted(orders(), 1000, 0, "1", "1", nil)})
			p, ok := problem.As(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, c.code, p.Code, p.Text())
			require.Contains(t, p.Hint, c.hint)
			require.Contains(t, p.Text(), c.says)
			drop := "drop table if exists events"
			if name == "view" {
				drop = "drop view events"
			}
			db.Exec(t, drop+"; "+whole)
			require.NoError(t, w.Write(t.Context(), []eventtable.Row{inserted(orders(), 1000, 0, "1", "1", nil)}), "when it is mended")
			require.Equal(t, "1", ids(t, db))
		})
	}
}

func TestAPartitionedTable(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, eventtable.DDL(events, true)+"; create table events_all partition of events default; alter table events drop column transaction_annotations")
	w := open(t, db, nil)
	require.NoError(t, w.Check(t.Context()))
	r := inserted(orders(), 1000, 0, "1", "1", nil)
	r.Change.Annotations = []byte(`{}`)
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{r}))
	require.Equal(t, "1", ids(t, db))
}

func TestAReadOnlyServer(t *testing.T) {
	t.Parallel()
	db := table(t)
	db.Exec(t, "alter database "+db.Name+" set default_transaction_read_only = on")
	err := open(t, db, nil).Write(t.Context(), []eventtable.Row{inserted(orders(), 1000, 0, "1", "1", nil)})
	require.Equal(t, "retention_read_only", problem.Code(err), "%v", err)
}

// cutting is a connection that is cut after so many more writes to it.
type cutting struct {
	net.Conn
	left *atomic.Int64
}

func (c cutting) Write(b []byte) (int, error) {
	if c.left.Add(-1) == 0 {
		_, _ = c.Conn.Write(b) // the server gets it, and its answer is lost
		_ = c.Close()
		return 0, errors.New("cut")
	}
	return c.Conn.Write(b)
}

// Wherever the connection is cut, behind a commit that was not answered too, every row is there once.
func TestConnectionsThatAreCut(t *testing.T) {
	t.Parallel()
	db := table(t)
	cfg, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	var left atomic.Int64
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return cutting{conn, &left}, err
	}
	w := open(t, db, func(o *eventtable.Options) {
		o.Connect = func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, cfg) }
	})
	rel := orders()
	want, failed := []string{}, 0
	for i := range 120 {
		left.Store(int64(i%17) + 1)
		rows := []eventtable.Row{inserted(rel, 1000+i*10, 0, strconv.Itoa(2*i), "1", nil), inserted(rel, 1000+i*10, 1, strconv.Itoa(2*i+1), "1", nil)}
		for w.Write(t.Context(), rows) != nil {
			failed++
		}
		want = append(want, strconv.Itoa(2*i), strconv.Itoa(2*i+1))
	}
	require.Positive(t, failed)
	require.Equal(t, strings.Join(want, " "), ids(t, db))
}

// A destination that was restored has lost what was acknowledged. It is said, and writing goes on.
func TestATableThatWasSetBack(t *testing.T) {
	t.Parallel()
	db := table(t)
	rel := orders()
	w := open(t, db, nil)
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{inserted(rel, 1000, 0, "1", "1", nil)}))
	db.Exec(t, "create table backup as select * from events; create table backup_position as select * from sequin_retention_position")
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{inserted(rel, 2000, 0, "2", "1", nil)}))
	require.Nil(t, w.SetBack())
	db.Exec(t, "delete from events where record->>'id' = '2'; update sequin_retention_position set commit_lsn = (select commit_lsn from backup_position)")
	db.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	require.NoError(t, w.Write(t.Context(), []eventtable.Row{inserted(rel, 3000, 0, "3", "1", nil)}))
	require.Equal(t, "1 3", ids(t, db))
	require.Equal(t, "retention_set_back", w.SetBack().Code)
	require.Contains(t, w.SetBack().Hint, "--from-lsn 0/3E8 --to-lsn 0/7D0")
}

func BenchmarkWrite(b *testing.B) {
	db := pgtest.Shared(b).Database(b)
	db.Exec(b, eventtable.DDL(events, false))
	source, err := postgres.ParseURL(db.SocketURL)
	require.NoError(b, err)
	w := eventtable.New(eventtable.Options{Table: events, Database: database, Writer: writer, Life: life, Connect: source.Connect})
	defer w.Close()
	rel, lsn := orders(), 0
	rows := make([]eventtable.Row, 1000)
	b.ResetTimer()
	for range b.N {
		lsn += 5000
		for i := range rows {
			rows[i] = inserted(rel, lsn, i, strconv.Itoa(i), "12.50", `{"name": "some text of a usual length", "n": 17}`)
			rows[i].Change.CommitTime = cdc.Timestamp(time.Now().UnixMicro())
		}
		require.NoError(b, w.Write(b.Context(), rows))
	}
	b.ReportMetric(float64(1000*b.N)/b.Elapsed().Seconds(), "rows/s")
}
