package message_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/message"
)

// long is a text that Postgres stores out of line: too long for a page and, in the storage mode used here, not compressed.
var long = strings.Repeat("0123456789", 1000)

// brief is a message reduced to what a test compares, with the long text written "LONG".
type brief struct {
	action, record, changes string
	pks, unchanged          []string
}

func briefly(t *testing.T, w *wal, f message.Format) []brief {
	t.Helper()
	object := func(m map[string]json.RawMessage) string {
		b, err := json.Marshal(m) // sorts the keys
		require.NoError(t, err)
		return strings.ReplaceAll(string(b), long, "LONG")
	}
	var all []brief
	for _, c := range w.read(t) {
		m := decodeMessage(t, c, f)
		b := brief{action: m.Action, record: object(m.Record), changes: object(m.Changes), pks: m.Metadata.RecordPKs, unchanged: m.Metadata.UnchangedColumns}
		for i := range b.pks {
			b.pks[i] = strings.ReplaceAll(b.pks[i], long[:2000], "KEY")
		}
		all = append(all, b)
	}
	return all
}

// TestReplicaIdentities runs the same statements under every replica identity that allows them.
func TestReplicaIdentities(t *testing.T) {
	t.Parallel()
	inserted := brief{action: "insert", record: `{"big":"LONG","id":1,"n":1,"u":10}`, changes: "null", pks: []string{"1"}}
	for name, tc := range map[string]struct {
		identity string
		want     []brief
	}{
		"default": {"default", []brief{
			inserted,
			{"update", `{"id":1,"n":2,"u":10}`, `{}`, []string{"1"}, []string{"big"}},
			{"update", `{"id":2,"n":2,"u":10}`, `{"id":1}`, []string{"2"}, []string{"big"}},
			{"update", `{"big":null,"id":2,"n":2,"u":11}`, `{}`, []string{"2"}, nil},
			{"delete", `{"big":null,"id":2,"n":null,"u":null}`, `null`, []string{"2"}, nil},
		}},
		"index": {"using index t_u_idx", []brief{
			inserted,
			{"update", `{"id":1,"n":2,"u":10}`, `{}`, []string{"1"}, []string{"big"}},
			{"update", `{"id":2,"n":2,"u":10}`, `{}`, []string{"2"}, []string{"big"}},
			{"update", `{"big":null,"id":2,"n":2,"u":11}`, `{"u":10}`, []string{"2"}, nil},
			{"delete", `{"big":null,"id":null,"n":null,"u":11}`, `null`, []string{""}, nil},
		}},
		"full": {"full", []brief{
			inserted,
			{"update", `{"big":"LONG","id":1,"n":2,"u":10}`, `{"n":1}`, []string{"1"}, nil},
			{"update", `{"big":"LONG","id":2,"n":2,"u":10}`, `{"id":1}`, []string{"2"}, nil},
			{"update", `{"big":null,"id":2,"n":2,"u":11}`, `{"big":"LONG","u":10}`, []string{"2"}, nil},
			{"delete", `{"big":null,"id":2,"n":2,"u":11}`, `null`, []string{"2"}, nil},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWAL(t)
			w.exec(t, `create table t (id int primary key, n int, big text, u int not null)`)
			w.exec(t, `create unique index t_u_idx on t (u); alter table t alter big set storage external`)
			w.exec(t, `alter table t replica identity `+tc.identity)
			w.exec(t, fmt.Sprintf(`insert into t values (1, 1, '%s', 10)`, long))
			w.exec(t, `update t set n = 2`)
			w.exec(t, `update t set id = 2`)
			w.exec(t, `update t set big = null, u = 11`)
			w.exec(t, `delete from t`)
			require.Empty(t, cmp.Diff(tc.want, briefly(t, w, message.Format{}), cmp.AllowUnexported(brief{})))
		})
	}
}

// TestReplicaIdentityNothing has no old rows: Postgres refuses to publish updates and deletes.
func TestReplicaIdentityNothing(t *testing.T) {
	t.Parallel()
	w := newWAL(t)
	w.exec(t, `create table t (id int primary key); alter table t replica identity nothing`)
	w.exec(t, `insert into t values (1)`)
	_, err := w.conn.Exec(t.Context(), `delete from t`)
	require.ErrorContains(t, err, "replica identity")
	want := []brief{{action: "insert", record: `{"id":1}`, changes: "null", pks: []string{"1"}}}
	require.Empty(t, cmp.Diff(want, briefly(t, w, message.Format{}), cmp.AllowUnexported(brief{})))
}

func TestToastMarker(t *testing.T) {
	t.Parallel()
	w := newWAL(t)
	w.exec(t, `create table t (id int primary key, n int, big text); alter table t alter big set storage external`)
	w.exec(t, fmt.Sprintf(`insert into t values (1, 1, '%s')`, long))
	w.exec(t, `update t set n = 2`)
	want := []brief{
		{action: "insert", record: `{"big":"LONG","id":1,"n":1}`, changes: "null", pks: []string{"1"}},
		{action: "update", record: `{"big":"unchanged_toast","id":1,"n":2}`, changes: "{}", pks: []string{"1"}},
	}
	require.Empty(t, cmp.Diff(want, briefly(t, w, message.Format{ToastMarker: true}), cmp.AllowUnexported(brief{})))
}

// TestToastedKey has a primary key stored out of line. An update that leaves it alone does not send it with the new row, but with the old one.
func TestToastedKey(t *testing.T) {
	t.Parallel()
	w := newWAL(t)
	w.exec(t, `create table t (k text primary key, n int, pad text); alter table t alter k set storage external, alter pad set storage main`)
	w.exec(t, fmt.Sprintf(`insert into t values ('%s', 1, repeat('x', 100))`, long[:2000]))
	w.exec(t, `update t set n = 2`)
	changes := w.read(t)
	require.Len(t, changes, 2)
	require.Equal(t, byte('K'), changes[1].OldKind)
	key, ok := changes[1].New.Column(0)
	require.True(t, ok)
	require.True(t, key.Unchanged(), "the key must be out of line for this test to mean something")

	m := decodeMessage(t, changes[1], message.Format{})
	require.Equal(t, []string{long[:2000]}, m.Metadata.RecordPKs)
	require.JSONEq(t, `"`+long[:2000]+`"`, string(m.Record["k"]))
	require.Empty(t, m.Changes)
	require.Empty(t, m.Metadata.UnchangedColumns)
}

// TestTransaction mixes rows of two tables, DDL and TRUNCATE: each row is read with the columns that were in force when it was written.
func TestTransaction(t *testing.T) {
	t.Parallel()
	w := newWAL(t)
	w.exec(t, `create table a (id int primary key, x int); create table b (id int primary key references a, y text)`)
	w.exec(t, `
		begin;
		insert into a values (1, 1);
		alter table a add z bool default true;
		insert into a values (2, 2);
		alter table a drop x;
		alter table a rename z to "Z z";
		insert into a values (3, false);
		insert into b values (3, 'x');
		truncate a cascade;
		insert into a values (4);
		commit`)
	pk := func(s string) []string { return []string{s} }
	want := []brief{
		{"insert", `{"id":1,"x":1}`, "null", pk("1"), nil},
		{"insert", `{"id":2,"x":2,"z":true}`, "null", pk("2"), nil},
		{"insert", `{"Z z":false,"id":3}`, "null", pk("3"), nil},
		{"insert", `{"id":3,"y":"x"}`, "null", pk("3"), nil},
		{"truncate", `{}`, "null", []string{}, nil},
		{"truncate", `{}`, "null", []string{}, nil},
		{"insert", `{"Z z":true,"id":4}`, "null", pk("4"), nil},
	}
	require.Empty(t, cmp.Diff(want, briefly(t, w, message.Format{}), cmp.AllowUnexported(brief{})))
}

func TestLogicalMessagesAreNotRows(t *testing.T) {
	t.Parallel()
	w := newWAL(t)
	w.exec(t, `create table t (id int primary key)`)
	w.exec(t, `begin; insert into t values (1); select pg_logical_emit_message(true, 'p', 'content'); insert into t values (2); commit`)
	changes := w.read(t)
	if w.db.Server.Version(t) < 140000 {
		require.Len(t, changes, 2, "pgoutput does not carry them before PostgreSQL 14")
		return
	}
	require.Len(t, changes, 3)
	require.Equal(t, "p", changes[1].Prefix)
	require.Equal(t, "content", string(changes[1].Content))
	_, err := message.Append(nil, changes[1], message.Format{}, tail, message.Flags{})
	require.ErrorIs(t, err, message.ErrNotARow)
	require.Equal(t, 2, decodeMessage(t, changes[2], message.Format{}).Metadata.CommitIdx)
}
