package promises_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/eventtable"
)

// Sequin is killed, and so is the server that it writes to, over and over: the table of events holds each change once, in the order of the commits
// and, in a transaction, in that of its statements.
func TestP1P4ARetentionKeepsEveryChangeOnceWhateverIsKilled(t *testing.T) {
	t.Parallel()
	ddl := "create table t (id int primary key, v int); create table story (n bigserial primary key, what text);" +
		eventtable.DDL(eventtable.Name{Schema: "public", Table: "events"}, false)
	server := pgtest.Start(t, pgtest.Options{})
	in := install(t, server, ddl, "", "  - {name: pull, database: db, source: {include_tables: [public.story]}, destination: {type: sequin_stream}}\n"+
		"change_retentions:\n  - {name: audit, source_database: db, source_table_schema: public, source_table_name: t, destination_database: db, "+
		"destination_table_schema: public, destination_table_name: events}\n", nil)
	// The application writes down what it does in the transaction that does it.
	in.db.Exec(t, `create function tell() returns trigger language plpgsql as $$ begin
		insert into story (what) values (concat_ws(' ', lower(tg_op), case when tg_op = 'DELETE' then old.id else new.id end, case when tg_op <> 'DELETE' then new.v end)); return null; end $$;
		create trigger tell after insert or update or delete on t for each row execute procedure tell()`)
	in.Start()
	in.WaitHealthy(time.Minute)
	id := 0
	write := func() {
		for range 8 {
			in.db.Exec(t, fmt.Sprintf("begin; insert into t select i, 0 from generate_series(%d, %d) i; update t set v = v + 1 where id between %d and %d; delete from t where id = %d; commit",
				id, id+39, id+5, id+15, id+7))
			id += 40
		}
	}
	written := func() int64 { return pgtest.Value[int64](t, in.db, "select count(*) from events") }
	wait := func(what string, done func() bool) {
		t.Helper()
		require.Eventually(t, done, 2*time.Minute, 5*time.Millisecond, "%s: %s", what, in.Log())
	}
	for round := range 12 {
		before := written()
		write()
		wait("it has begun to write", func() bool { return written() > before })
		switch round % 4 {
		case 0, 1, 2:
			in.Kill()
			write()
			in.Start()
		case 3:
			server.Crash(t)
		}
	}
	write()
	want := pgtest.Value[string](t, in.db, `select string_agg(what, E'\n' order by n) from story`)
	wait("all is written", func() bool { return written() >= int64(strings.Count(want, "\n")+1) })
	require.Equal(t, want, pgtest.Value[string](t, in.db, `select string_agg(concat_ws(' ', action, record->>'id', case when action <> 'delete' then record->>'v' end), E'\n' order by id) from events`))
	in.WaitHealthy(time.Minute)
}
