package hard_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// place is where a change stands in the history, as another reader of the same WAL counts.
type place struct {
	lsn    uint64
	index  uint32
	kind   byte
	tables []uint32 // of a truncate
}

// key is the idempotency key of a row there.
func (p place) key() string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d:%d", p.lsn, p.index))
}

// otherReader is a slot of its own on the same publication.
type otherReader struct{ slot string }

func (r *rig) otherReader() otherReader {
	r.t.Helper()
	o := otherReader{r.db.Slot(r.t)}
	r.exec("select pg_create_logical_replication_slot($1, 'pgoutput')", o.slot)
	return o
}

// places reads the WAL without any code of the product: the LSN of a transaction is in its BEGIN, and every row, truncate and transactional
// message takes a number.
func (o otherReader) places(r *rig) []place {
	r.t.Helper()
	options := fmt.Sprintf(`'proto_version', '1', 'publication_names', '%s'`, r.pub)
	if r.major() >= 14 {
		options += `, 'messages', 'true'`
	}
	rows, err := r.db.Conn(r.t).Query(r.t.Context(),
		fmt.Sprintf(`select data from pg_logical_slot_get_binary_changes('%s', null, null, %s)`, o.slot, options), pgx.QueryResultFormats{pgx.BinaryFormatCode})
	require.NoError(r.t, err)
	packets, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(r.t, err)
	var all []place
	var now place
	for _, b := range packets {
		switch b[0] {
		case 'B':
			now = place{lsn: binary.BigEndian.Uint64(b[1:])}
			continue
		case 'I', 'U', 'D', 'T':
		case 'M':
			if b[1]&1 == 0 {
				continue
			}
		default:
			continue
		}
		now.kind, now.tables = b[0], nil
		if b[0] == 'T' {
			for i := range binary.BigEndian.Uint32(b[1:]) {
				now.tables = append(now.tables, binary.BigEndian.Uint32(b[6+4*i:]))
			}
		}
		all = append(all, now)
		now.index++
	}
	return all
}

// Every consumer, whatever it filters, sees a change under one position and one key, and these are what the WAL says.
func TestPositionsAreThoseOfTheWAL(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{
		ddl:       "create table a (id int primary key, v int); create table b (id int primary key, a int references a); create table hidden (id int primary key)",
		published: "for table a, b, fence", sinks: pull + `
  - {name: only_b, database: db, source: {include_tables: [b, fence]}, actions: [update, insert, truncate], destination: {type: sequin_stream}}
  - {name: deletes, database: db, source: {exclude_tables: [b]}, actions: [delete, truncate, insert], destination: {type: sequin_stream}}`,
	})
	other := r.otherReader()
	message := "select 1;"
	if r.major() >= 14 {
		message = "select pg_logical_emit_message(true, 'any tool', 'x');"
	}
	r.exec("insert into a values (1, 1), (2, 2)")
	r.exec("begin;" + message + "insert into hidden values (1); insert into b values (1, 1);" + message + "update a set v = 3; savepoint s; delete from b;" +
		"rollback to s; insert into b values (2, 2); delete from b where id = 1; update b set a = 1 where id = 2; truncate a, b; insert into a values (1, 1);" +
		"insert into b values (3, 1); truncate b; insert into b values (4, 1); update a set id = 5 where id = 6; delete from b where id = 4; commit")
	r.exec(message)
	r.exec("insert into hidden values (2)")
	r.exec("begin; insert into a values (9, 9); delete from a where id = 9; commit")

	byKey := map[string]place{}
	var keys []string
	for _, p := range other.places(r) {
		if len(p.tables) < 2 {
			byKey[p.key()] = p
		}
		for _, table := range p.tables {
			byKey[base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d:%d:t%d", p.lsn, p.index, table))] = p
		}
		if p.kind != 'M' && p.kind != 'T' {
			keys = append(keys, p.key())
		}
	}
	texts := map[string]string{}
	for _, sink := range []string{"pull", "only_b", "deletes"} {
		var got []string
		for _, m := range inOrder(r.drain(sink)) {
			meta := m.Data.Metadata
			want, known := byKey[meta.IdempotencyKey]
			require.True(t, known, "%s: the WAL knows no %s", said(m.Data), meta.IdempotencyKey)
			require.Equal(t, want.lsn, meta.CommitLSN)
			require.Equal(t, want.index, meta.CommitIdx)
			require.Equal(t, string(want.kind), map[string]string{"insert": "I", "update": "U", "delete": "D", "truncate": "T"}[m.Data.Action])
			before, seen := texts[meta.IdempotencyKey]
			require.True(t, !seen || before == said(m.Data), "one key, two changes: %s, %s", before, said(m.Data))
			texts[meta.IdempotencyKey] = said(m.Data)
			got = append(got, meta.IdempotencyKey)
		}
		switch sink {
		case "pull":
			require.Equal(t, keys, got, "nothing is missing and nothing is counted twice")
		case "only_b":
			require.Len(t, got, 4+1+2)
		case "deletes":
			require.Len(t, got, 4+1+1)
		}
	}
}
