package changelog_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/changelog"
)

func TestIndexesCountAsTheContractSays(t *testing.T) {
	t.Parallel()
	l, _ := open(t, &memory{}, changelog.Options{})
	w := l.Writer(0)
	a, b := table(1, "a", "id"), table(2, "b", "id")
	w.Relation(a)
	w.Relation(b)
	row := cdctest.Tuple("1")
	require.False(t, w.Begin(9, 100, 5))
	require.NoError(t, w.Change(cdc.OpInsert, 1, 0, nil, row))                                  // 0
	require.NoError(t, w.Message("sequin:transaction_annotations.set", []byte(`{"user":"x"}`))) // 1
	require.NoError(t, w.Change(cdc.OpUpdate, 1, 'K', row, row))                                // 2
	require.NoError(t, w.Truncate([]uint32{1, 2}, true, true))                                  // 3, both
	require.NoError(t, w.Message("sequin:transaction_annotations.unknown", []byte("x")))        // 4
	require.NoError(t, w.TooBig(cdc.OpUpdate, 2, 1<<30))                                        // 5
	require.NoError(t, w.Message("sequin:transaction_annotations.set", []byte(`{"user":`)))     // 6
	require.NoError(t, w.Change(cdc.OpDelete, 2, 'O', row, nil))                                // 7
	require.NoError(t, w.Message("sequin:transaction_annotations.set", []byte(`[1]`)))          // 8
	require.NoError(t, w.Change(cdc.OpInsert, 1, 0, nil, row))                                  // 9
	require.NoError(t, w.Message("sequin:transaction_annotations.clear", nil))                  // 10
	require.NoError(t, w.Change(cdc.OpInsert, 1, 0, nil, row))                                  // 11
	require.NoError(t, w.Commit(110))
	require.False(t, w.Begin(10, 200, 6))
	require.NoError(t, w.Change(cdc.OpInsert, 1, 0, nil, row))
	require.NoError(t, w.Commit(210))
	settle(t, l, w, 14)

	type line struct {
		op          string
		index       uint32
		annotations string
		key         string
	}
	var got []line
	seg, err := l.Segment(t.Context(), 1)
	require.NoError(t, err)
	for i := range seg.Changes {
		c := &seg.Changes[i]
		got = append(got, line{c.Op.Action(), c.Position.Index, string(c.Annotations), string(c.AppendKey(nil))})
	}
	require.Equal(t, []line{
		{"insert", 0, "", "100:0"},
		{"message", 1, "", "100:1"},
		{"update", 2, `{"user":"x"}`, "100:2"},
		{"truncate", 3, `{"user":"x"}`, "100:3:t1"},
		{"truncate", 3, `{"user":"x"}`, "100:3:t2"},
		{"message", 4, `{"user":"x"}`, "100:4"},
		{"update", 5, `{"user":"x"}`, "100:5"},
		{"message", 6, `{"user":"x"}`, "100:6"},
		{"delete", 7, "", "100:7"},
		{"message", 8, "", "100:8"},
		{"insert", 9, "[1]", "100:9"},
		{"message", 10, "[1]", "100:10"},
		{"insert", 11, "", "100:11"},
		{"insert", 0, "", "200:0"},
	}, got)
	require.Nil(t, seg.Changes[0].Annotations)
	require.Nil(t, seg.Changes[8].New, "a delete has no new row")
	require.Nil(t, seg.Changes[0].Old)
	require.Equal(t, uint64(1), l.Stats().InvalidAnnotations)
	require.Equal(t, uint64(1), l.Stats().TooBig)
	require.True(t, seg.Changes[6].TooBig)
	require.Equal(t, 1<<30, seg.Changes[6].Size)
}

func TestAnnotationsCrossBlocks(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{BlockBytes: 300, CacheBytes: 1})
	x := insertTxn(table(1, "orders", "id", "a", "b"), 100, 50, 60)
	set := step{op: cdc.OpMessage, prefix: "sequin:transaction_annotations.set", content: `{"batch":` + strings.Repeat("7", 500) + `}`}
	other := step{op: cdc.OpMessage, prefix: "sequin:transaction_annotations.set", content: `"` + strings.Repeat("n", 50) + `"`}
	steps := append([]step{}, x.steps[:10]...)
	steps = append(append(steps, set), x.steps[10:30]...)
	steps = append(append(steps, other), x.steps[30:]...)
	x.steps = steps
	w := l.Writer(0)
	write(t, w, x)
	settle(t, l, w, 52)
	require.Greater(t, m.len(), 5)
	requireSame(t, expect([]txn{x}), content(t, l))
}

func TestARelationThatChangesInsideATransaction(t *testing.T) {
	t.Parallel()
	before, after := table(1, "orders", "id", "a"), table(1, "orders", "id", "a", "added")
	after.Columns[2].Type = cdc.Type{
		Kind: cdc.KindArray, Delim: ',', Name: "_numeric", Elem: &cdc.Type{Kind: cdc.KindNumeric, Name: "numeric"},
	}
	after.Columns[2].TypeMod = 655366
	after.OID = 77 // a partition
	x := txn{xid: 5, final: 100, end: 110, commit: 9}
	for i := range 40 {
		rel, row := before, cdctest.Tuple(strconv.Itoa(i), "x")
		if i%7 > 3 {
			rel, row = after, cdctest.Tuple(strconv.Itoa(i), "x", "{1.0,NULL}")
		}
		x.steps = append(x.steps, step{relation: rel}, step{op: cdc.OpInsert, id: 1, row: row})
	}
	for _, blockBytes := range []int{200, 1 << 20} {
		l, _ := open(t, &memory{}, changelog.Options{BlockBytes: blockBytes, CacheBytes: 1})
		w := l.Writer(0)
		write(t, w, x)
		settle(t, l, w, 40)
		requireSame(t, expect([]txn{x}), content(t, l))
	}
}

func TestChangesBiggerThanABlockAndOverTheLimit(t *testing.T) {
	t.Parallel()
	l, _ := open(t, &memory{}, changelog.Options{BlockBytes: 1000, MaxChangeBytes: 50_000})
	w := l.Writer(0)
	orders := table(1, "orders", "id", "a", "b")
	big, over := cdctest.Tuple("1", strings.Repeat("b", 40_000), nil), cdctest.Tuple("1", strings.Repeat("b", 60_000), nil)
	small := cdctest.Tuple("2", "s", nil)
	x := txn{xid: 5, final: 100, end: 110, steps: []step{
		{relation: orders},
		{op: cdc.OpInsert, id: 1, row: small},
		{op: cdc.OpInsert, id: 1, row: big},
		{op: cdc.OpInsert, id: 1, row: small},
		{op: cdc.OpUpdate, id: 1, oldKind: 'O', old: big, row: small},
		{op: cdc.OpInsert, id: 1, row: over},
		{op: cdc.OpMessage, prefix: "app", content: strings.Repeat("m", 60_000)},
		{op: cdc.OpInsert, id: 1, row: small},
	}}
	write(t, w, x)
	settle(t, l, w, 7)
	got := content(t, l)
	want := expect([]txn{x})
	want[4].New, want[4].TooBig = "", true
	want[5].Prefix, want[5].Content, want[5].TooBig = "", "", true
	requireSame(t, want, got)
	require.Equal(t, uint64(2), l.Stats().TooBig)
}

// Blocks that end in the middle of a transaction over many tables carry only the relations they use.
func TestManyTables(t *testing.T) {
	t.Parallel()
	m := &memory{}
	l, _ := open(t, m, changelog.Options{BlockBytes: 20_000, CacheBytes: 1})
	w := l.Writer(0)
	var txns []txn
	for i := range 3000 {
		r := table(uint32(i%700+1), fmt.Sprintf("table_%d", i%700), "id", "a", "b")
		x := insertTxn(r, cdc.LSN(1000+i*100), 2, 50)
		next := insertTxn(table(uint32((i+1)%700+1), fmt.Sprintf("table_%d", (i+1)%700), "id", "a", "b"), 1, 1, 50)
		x.steps = append(x.steps, next.steps...)
		txns = append(txns, x)
	}
	for i := range txns {
		write(t, w, txns[i])
		if i%11 == 0 {
			w.Flush()
		}
	}
	settle(t, l, w, 9000)
	requireSame(t, expect(txns), content(t, l))
	s := l.Stats()
	require.LessOrEqual(t, s.RawBytes/s.Blocks, uint64(21_000))
}

func TestATruncateOfMoreTablesThanABlockCanName(t *testing.T) {
	t.Parallel()
	l, _ := open(t, &memory{}, changelog.Options{})
	w := l.Writer(0)
	const n = 70_000
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(i + 1)
		w.Relation(table(ids[i], "t", "id"))
	}
	require.False(t, w.Begin(1, 100, 0))
	require.NoError(t, w.Truncate(ids, false, false))
	require.NoError(t, w.Message("app", nil))
	require.NoError(t, w.Commit(110))
	settle(t, l, w, n+1)
	got := content(t, l)
	require.Len(t, got, n+1)
	for i := range n {
		require.Equal(t, ids[i], got[i].Relation.OID)
		require.Equal(t, uint32(0), got[i].Position.Index)
		require.Equal(t, n, got[i].TruncateN)
	}
	require.Equal(t, uint32(1), got[n].Position.Index)
}

func TestWhatPgoutputNeverSendsIsRefused(t *testing.T) {
	t.Parallel()
	row := cdctest.Tuple("1")
	tests := map[string]func(w *changelog.Writer) error{
		"an entry outside a transaction": func(w *changelog.Writer) error { return w.Change(cdc.OpInsert, 1, 0, nil, row) },
		"a commit outside a transaction": func(w *changelog.Writer) error { return w.Commit(5) },
		"a transaction inside another": func(w *changelog.Writer) error {
			w.Begin(1, 10, 0)
			w.Begin(2, 20, 0)
			return w.Change(cdc.OpInsert, 1, 0, nil, row)
		},
		"an unknown relation": func(w *changelog.Writer) error {
			w.Begin(1, 10, 0)
			return w.Change(cdc.OpInsert, 2, 0, nil, row)
		},
		"a truncate of an unknown relation": func(w *changelog.Writer) error {
			w.Begin(1, 10, 0)
			return w.Truncate([]uint32{1, 2}, false, false)
		},
		"a relation whose key it does not have": func(w *changelog.Writer) error {
			w.Relation(table(3, "t"))
			w.Begin(1, 10, 0)
			return w.Change(cdc.OpInsert, 1, 0, nil, row)
		},
		"an insert with an old row": func(w *changelog.Writer) error {
			w.Begin(1, 10, 0)
			return w.Change(cdc.OpInsert, 1, 'K', row, row)
		},
		"a delete without one": func(w *changelog.Writer) error {
			w.Begin(1, 10, 0)
			return w.Change(cdc.OpDelete, 1, 0, nil, nil)
		},
	}
	for name, call := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := open(t, &memory{}, changelog.Options{})
			w := l.Writer(0)
			w.Relation(table(1, "orders", "id"))
			require.Error(t, call(w))
			w.Abort()
			w = l.Writer(0)
			write(t, w, insertTxn(table(1, "orders", "id", "a", "b"), 100, 1, 1))
			settle(t, l, w, 1)
			require.Len(t, content(t, l), 1, "the next connection goes on")
		})
	}
}

func TestRowsAreCopied(t *testing.T) {
	t.Parallel()
	l, _ := open(t, &memory{}, changelog.Options{})
	w := l.Writer(0)
	w.Relation(table(1, "orders", "id"))
	row := cdctest.Tuple("before")
	annotations := []byte(`"before"`)
	require.False(t, w.Begin(1, 10, 0))
	require.NoError(t, w.Message("sequin:transaction_annotations.set", annotations))
	require.NoError(t, w.Change(cdc.OpInsert, 1, 0, nil, row))
	copy(row, bytes.Repeat([]byte("#"), len(row)))
	copy(annotations, bytes.Repeat([]byte("#"), len(annotations)))
	require.NoError(t, w.Commit(20))
	settle(t, l, w, 2)
	got := content(t, l)
	require.Equal(t, string(cdctest.Tuple("before")), got[1].New)
	require.Equal(t, `"before"`, got[1].Annotations)
}
