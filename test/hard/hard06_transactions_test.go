package hard_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// smallMemory makes the server spill what it decodes to disk; 12 does so after 4096 changes anyhow.
func smallMemory(r *rig) {
	if r.major() >= 13 {
		r.exec(`alter database "` + r.db.Name + `" set logical_decoding_work_mem = '64kB'`)
	}
}

const byTable = "  - {name: pull, database: db, message_grouping: table, destination: {type: sequin_stream}}\n"

// A transaction that the server must spill, open while small ones commit: all of it arrives at its commit, in one piece, and everything in
// commit order.
func TestHard06HugeTransactionAmongSmallOnes(t *testing.T) {
	t.Parallel()
	const rows = 10_000
	r := prepare(t, setup{ddl: "create table t (id int primary key, v text)", sinks: byTable})
	smallMemory(r)
	r.start()
	huge, err := r.db.Conn(t).Begin(t.Context())
	require.NoError(t, err)
	_, err = huge.Exec(t.Context(), "insert into t select i, repeat('x', 50) from generate_series(1, $1::int) i", rows/2)
	require.NoError(t, err)
	for i := range 5 {
		r.exec("insert into t values ($1, 'before')", -1-i)
	}
	require.Equal(t, []string{"before"}, distinct(t, r, 5), "the small ones do not wait")
	_, err = huge.Exec(t.Context(), "insert into t select i, repeat('x', 50) from generate_series($1::int, $2::int) i", rows/2+1, rows)
	require.NoError(t, err)
	r.exec("insert into t values (-6, 'meanwhile')")
	require.NoError(t, huge.Commit(t.Context()))
	r.exec("insert into t values (-7, 'after')")

	all := r.drain("pull")
	require.Len(t, all, rows+2)
	require.Equal(t, "meanwhile", field(t, all[0].Data.Record, "v"))
	require.Equal(t, "after", field(t, all[rows+1].Data.Record, "v"))
	for i, m := range all[1 : rows+1] {
		require.Equal(t, uint32(i), m.Data.Metadata.CommitIdx) //nolint:gosec // small
		require.Equal(t, all[1].Data.Metadata.CommitLSN, m.Data.Metadata.CommitLSN)
		require.Equal(t, strconv.Itoa(i+1), m.Data.Metadata.RecordPKs[0])
	}
}

// distinct receives n messages and returns the different values of column v.
func distinct(t *testing.T, r *rig, n int) []string {
	t.Helper()
	values := map[string]bool{}
	for n > 0 {
		batch := r.receive("pull", `{"batch_size":1000,"wait_for":20000,"same_group":true}`)
		require.NotEmpty(t, batch)
		for i := range batch {
			values[field(t, batch[i].Data.Record, "v")] = true
		}
		r.ack("pull", batch)
		n -= len(batch)
	}
	require.Zero(t, n)
	return sorted(values)
}

// Savepoints, exception blocks and rollbacks of parts, nested and bigger than the server's decoding memory: what was rolled back never shows,
// and everything else does, in order.
func TestHard07SubtransactionsDropAndLeakNothing(t *testing.T) {
	t.Parallel()
	r := prepare(t, setup{ddl: "create table t (id serial primary key, v text, n int)", sinks: byTable})
	smallMemory(r)
	r.start()
	r.exec(`create function nest(depth int, seed int) returns void language plpgsql as $$
		begin
			insert into t (v, n) select repeat('x', 20), seed * 1000 + depth from generate_series(1, (seed * 7 + depth * 13) % 40);
			begin
				if depth > 0 then perform nest(depth - 1, seed); end if;
				insert into t (v, n) select 'inner', -seed from generate_series(1, 30);
				if (seed + depth) % 3 = 0 then raise exception 'undo'; end if;
			exception when raise_exception then
				insert into t (v, n) values ('caught', seed);
			end;
			update t set v = v || '.' where n = seed * 1000 + depth;
		end $$`)
	random := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // the same each time
	conn := r.db.Conn(t)
	for round := range 25 {
		script := []string{"begin", fmt.Sprintf("select nest(%d, %d)", 1+random.IntN(6), round)}
		for depth, step := 0, 0; step < 12; step++ {
			switch pick := random.IntN(5); {
			case pick == 0:
				depth++
				script = append(script, fmt.Sprintf("savepoint s%d", depth))
			case pick == 1 && depth > 0:
				back := 1 + random.IntN(depth)
				script = append(script, fmt.Sprintf("rollback to s%d", back))
				depth = back
			case pick == 2 && depth > 0:
				script = append(script, fmt.Sprintf("release s%d", depth))
				depth--
			default:
				script = append(script, fmt.Sprintf("insert into t (v, n) select 'row %d', i from generate_series(1, %d) i", step, random.IntN(60)))
			}
		}
		end := "commit"
		if round%6 == 5 {
			end = "rollback"
		}
		_, err := conn.Exec(t.Context(), strings.Join(append(script, end), ";"), pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	}
	// one subtransaction alone is larger than the memory, inside one that is rolled back, inside one that is not
	r.exec(`begin; insert into t (v) values ('kept'); savepoint a; insert into t (v) select 'gone' from generate_series(1, 5000);
		savepoint b; insert into t (v) select 'gone too' from generate_series(1, 5000); rollback to a; savepoint c;
		insert into t (v) select 'kept too' from generate_series(1, 5000); release c; insert into t (v) values ('last'); commit`)

	// replay what was delivered, and compare with the table
	state := map[string]string{}
	var last string
	for _, m := range r.drain("pull") {
		pk := m.Data.Metadata.RecordPKs[0]
		_, there := state[pk]
		require.Equal(t, m.Data.Action == "update", there, said(m.Data))
		require.NotContains(t, string(m.Data.Record), "gone")
		state[pk] = string(m.Data.Record)
		position := fmt.Sprintf("%016x %08x", m.Data.Metadata.CommitLSN, m.Data.Metadata.CommitIdx)
		require.Less(t, last, position, "in the order of the history")
		last = position
	}
	got := slices.Collect(func(yield func(string) bool) {
		for _, record := range state {
			if !yield(record) {
				return
			}
		}
	})
	slices.Sort(got)
	want := pgtest.Value[[]string](t, r.db, `select array_agg('{"id":' || id || ',"v":' || to_json(v) || ',"n":' || coalesce(n::text, 'null') || '}') from t`)
	slices.Sort(want)
	require.Len(t, got, len(want))
	require.Equal(t, want, got)
}

// Transactions that change nothing of what is published leave no trace but the progress of the slot.
func TestHard01EmptyTransactionsMoveTheSlotAlone(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key); create table hidden (id int)", published: "for table t, fence", database: "    heartbeat_interval: 0s"})
	for range 20 {
		r.exec("insert into hidden values (1)")
		r.exec("begin; savepoint a; insert into t values (1); rollback to a; commit")
		r.exec("create table x (id int); drop table x")
	}
	r.confirmedAll()
	require.Zero(t, r.metric("sequin_messages_ingested_count"))
	require.Empty(t, r.drain("pull"))
	r.Kill()
	r.Start()
	require.Empty(t, r.drain("pull"), "nothing of it comes after a crash either")
}
