package hard_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// TRUNCATE of several tables with CASCADE is a message for each table that asked for it, after everything before it in that table and before
// everything after it, however much is delivered at once. Who does not ask never hears of it.
func TestHard22TruncateIsInOrder(t *testing.T) {
	t.Parallel()
	hook := receiver(t, func(m harness.Message) int {
		if m.Action == "insert" {
			time.Sleep(2 * time.Millisecond) // so that a truncate that does not wait overtakes
		}
		return 0
	})
	r := begin(t, setup{
		ddl: "create table a (id int primary key); create table b (id int primary key, a int references a); create table c (id int primary key)",
		sinks: pull + `
  - {name: asked, database: db, actions: [insert, truncate], destination: {type: sequin_stream}}
  - {name: push, database: db, actions: [insert, truncate], concurrency: 16, destination: {type: webhook, http_endpoint: hook, batch: false}}`,
		endpoints: map[string]string{"hook": hook.URL},
	})
	r.exec(`begin;
		insert into a select generate_series(1, 30); insert into b select i, i from generate_series(1, 30) i; insert into c values (1);
		truncate a, c cascade;
		insert into a select generate_series(31, 60); insert into b select i, i from generate_series(31, 60) i;
		commit`)
	r.exec("truncate c")
	asked := inOrder(r.drain("asked"))
	require.Len(t, asked, 30+30+1+3+30+30+1)
	require.Equal(t, []string{"truncate a {}", "truncate b {}", "truncate c {}"}, sorted(counted(saidAll(asked[61:64]))))
	for _, m := range asked[61:64] {
		meta := m.Data.Metadata
		require.Equal(t, uint32(61), meta.CommitIdx, "one statement, one place")
		require.Empty(t, meta.RecordPKs)
		oid := pgtest.Value[int64](t, r.db, "select $1::regclass::oid::int8", meta.TableName)
		require.Equal(t, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d:61:t%d", meta.CommitLSN, oid)), meta.IdempotencyKey)
	}
	alone := asked[124].Data.Metadata
	require.Equal(t, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d:0", alone.CommitLSN)), alone.IdempotencyKey, "alone it needs no more than its place")
	require.Equal(t, uint32(62), asked[64].Data.Metadata.CommitIdx, "the statement took one number")
	for _, line := range r.drained("pull") {
		require.False(t, strings.HasPrefix(line, "truncate"), line)
	}
	last := map[string]harness.Message{}
	for _, m := range hook.wait(r, len(asked)+2) { // and the marks of drain
		table := m.Metadata.TableName
		before, seen := last[table]
		if m.Action == "truncate" {
			require.False(t, seen && !earlier(before, m), "the truncate of %s came before %s", table, said(before))
		}
		require.False(t, seen && before.Action == "truncate" && earlier(m, before), "%s came after the truncate", said(m))
		if !seen || before.Action != "truncate" && earlier(before, m) || m.Action == "truncate" {
			last[table] = m
		}
	}
}
