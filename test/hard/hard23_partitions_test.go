package hard_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// tree is a partitioned table with sub-partitions, and partitions whose columns stand in another order, with a dropped one between them.
const tree = `
	create table tree (region text, id int, v text, primary key (region, id)) partition by list (region);
	create table eu partition of tree for values in ('eu') partition by range (id);
	create table eu1 partition of eu for values from (0) to (100);
	create table eu2 (v text, junk int, id int not null, region text not null); alter table eu2 drop column junk;
	alter table eu attach partition eu2 for values from (100) to (200);
	create table us (junk int, v text, region text not null, id int not null); alter table us drop column junk;
	alter table tree attach partition us for values in ('us');
	create table plain (id int primary key);
`

// publishing are the two ways of publishing partitions; before 13 there is only one.
func publishing(r *pgtest.Server, t *testing.T) map[string]string {
	t.Helper()
	if r.Version(t) < 130000 {
		return map[string]string{"by leaf": "for all tables"}
	}
	return map[string]string{"by leaf": "for all tables", "via root": "for table tree, plain, fence with (publish_via_partition_root = true)"}
}

// A row of a partition is a row of the topmost table, with that table's key, whichever way it is published and wherever its columns stand. A row
// that moves to another partition is deleted and inserted.
func TestHard23PartitionsAreOneTable(t *testing.T) {
	t.Parallel()
	for name, published := range publishing(pgtest.Shared(t), t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, setup{ddl: tree, published: published, sinks: pull + `
  - {name: chosen, database: db, source: {include_tables: [tree, fence]}, destination: {type: sequin_stream}}
  - {name: others, database: db, source: {exclude_tables: [public.tree]}, destination: {type: sequin_stream}}`})
			r.exec("insert into tree values ('eu', 1, 'a'), ('eu', 101, 'b'), ('us', 1, 'c')")
			r.exec("update tree set v = 'B' where id = 101")
			r.exec("update tree set id = 102 where id = 101") // within its partition
			r.exec("update tree set id = 2, region = 'us' where id = 102")
			r.exec("insert into eu2 (region, id, v) values ('eu', 150, 'direct')")
			r.exec("delete from tree where id = 1")
			r.exec("insert into plain values (1)")
			lines := []string{}
			keys := map[string]string{}
			for _, m := range inOrder(r.drain("chosen")) {
				require.Equal(t, "public.tree", m.Data.Metadata.TableSchema+"."+m.Data.Metadata.TableName)
				lines = append(lines, fmt.Sprintf("%s %s %s %s %s", m.Data.Action, field(t, m.Data.Record, "region"), field(t, m.Data.Record, "id"),
					field(t, m.Data.Record, "v"), m.Data.Changes))
				keys[strings.Join(slices.Sorted(slices.Values(m.Data.Metadata.RecordPKs)), ":")] = m.Data.Action
				require.Len(t, m.Data.Metadata.RecordPKs, 2)
			}
			want := []string{
				"insert eu 1 a null", "insert eu 101 b null", "insert us 1 c null", "update eu 101 B {}", "update eu 102 B {\"id\":101}",
				"delete eu 102 null null", "insert us 2 B null", "insert eu 150 direct null",
			}
			require.Equal(t, want, lines[:8])
			require.ElementsMatch(t, []string{"delete eu 1 null null", "delete us 1 null null"}, lines[8:])
			require.Equal(t, map[string]string{
				"1:eu": "delete", "101:eu": "update", "1:us": "delete", "102:eu": "delete", "2:us": "insert", "150:eu": "insert",
			}, keys)
			require.Equal(t, []string{`insert plain {"id":1}`}, r.drained("others"))
		})
	}
}

// Partitions come and go while rows are written, without a restart, and no row is missed or seen under another name than its table's.
func TestHard23PartitionsComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	const rounds = 3
	for name, published := range publishing(pgtest.Shared(t), t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, setup{ddl: tree, published: published})
			load := r.background(func(conn *pgx.Conn, n int) {
				// The partition of 'us' is there all the time, the others sometimes; one may go between the look and the insert.
				_, _ = conn.Exec(context.Background(), `
					insert into tree select region, $1::int * 100 + i, 'load' from unnest('{us,ap,af}'::text[]) region, generate_series(1, 3) i
					where region = 'us' or exists (select from pg_inherits where inhparent = 'tree'::regclass and inhrelid = to_regclass(region))`, n)
			})
			others := r.db.Conn(t)
			do := func(sql string) {
				_, err := others.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
				require.NoError(t, err, sql)
			}
			for i := range rounds {
				do("create table ap (v text, region text not null, id int not null, primary key (region, id)); alter table tree attach partition ap for values in ('ap')")
				do("create table af partition of tree for values in ('af')")
				do("insert into tree values ('af', -1, 'sure'), ('ap', -1, 'sure')")
				do("alter table tree detach partition ap; insert into ap (region, id, v) values ('ap', -2, 'alone'); drop table ap")
				do(fmt.Sprintf("alter table tree detach partition af; alter table af rename to old%d", i))
			}
			require.Positive(t, load())
			got := inOrder(r.drain("pull"))
			count := map[string]int{}
			seen := map[string]bool{}
			for _, m := range got {
				meta := m.Data.Metadata
				v := field(t, m.Data.Record, "v")
				count[v]++
				seen[m.AckID] = true
				if v == "alone" { // written to what is no partition any more
					continue
				}
				if name == "via root" || field(t, m.Data.Record, "region") == "us" {
					require.Equal(t, "tree", meta.TableName, said(m.Data))
					require.Len(t, meta.RecordPKs, 2, said(m.Data))
				}
			}
			require.Len(t, seen, len(got), "none comes twice")
			require.Equal(t, 2*rounds, count["sure"])
			rows := pgtest.Value[int](t, r.db, "select count(*) from tree where v = 'load'")
			for i := range rounds {
				rows += pgtest.Value[int](t, r.db, "select count(*) from old"+strconv.Itoa(i)+" where v = 'load'")
			}
			require.GreaterOrEqual(t, count["load"], rows, "what is still there was delivered")
			want := rounds
			if name == "via root" {
				want = 0 // what is written to a table outside the tree is not published
			}
			require.Equal(t, want, count["alone"])
		})
	}
}

// A TRUNCATE of one partition never looks like one of the whole table, and each message has an identity of its own.
func TestHard23TruncateOfAPartition(t *testing.T) {
	t.Parallel()
	for name, published := range publishing(pgtest.Shared(t), t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, setup{ddl: tree, published: published, sinks: `
  - {name: pull, database: db, source: {include_tables: [tree, fence]}, actions: [insert, truncate], destination: {type: sequin_stream}}`})
			r.exec("insert into tree values ('eu', 1, 'a')")
			r.exec("truncate eu1")
			r.exec("truncate eu")
			r.exec("truncate tree")
			var got []string
			keys := map[string]bool{}
			for _, m := range inOrder(r.drain("pull")) {
				got = append(got, said(m.Data)+" "+m.Data.Metadata.PartitionName)
				require.False(t, keys[m.Data.Metadata.IdempotencyKey], "two messages with one key")
				keys[m.Data.Metadata.IdempotencyKey] = true
			}
			want := []string{`insert tree {"region":"eu","id":1,"v":"a"} `, "truncate tree {} "} // only the root is spoken of
			if name == "by leaf" {
				want = []string{
					`insert tree {"region":"eu","id":1,"v":"a"} `, "truncate tree {} eu1",
					"truncate tree {} eu1", "truncate tree {} eu2", "truncate tree {} eu1", "truncate tree {} eu2", "truncate tree {} us",
				}
			}
			require.Len(t, got, len(want))
			for from := 0; from < len(want); { // the order within one statement is the server's
				to := from + map[int]int{0: 1, 1: 1, 2: 2, 4: 3}[from]
				require.ElementsMatch(t, want[from:to], got[from:to])
				from = to
			}
		})
	}
}
