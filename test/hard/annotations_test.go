package hard_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Annotations concern the changes after them in their transaction, and nothing else.
func TestHard25TransactionAnnotations(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: "create table t (id int primary key)"})
	if r.major() < 14 {
		r.exec("begin; insert into t values (1); select pg_logical_emit_message(true, 'sequin:transaction_annotations.set', '{}'); insert into t values (2); commit")
		got := inOrder(r.drain("pull"))
		require.Len(t, got, 2)
		require.Equal(t, uint32(1), got[1].Data.Metadata.CommitIdx, "pgoutput has no such messages before 14")
		require.Equal(t, "null", string(got[1].Data.Metadata.TransactionAnnotations))
		return
	}
	set := func(json string) string {
		return "select pg_logical_emit_message(true, 'sequin:transaction_annotations.set', '" + json + "');"
	}
	r.exec("begin; insert into t values (1);" + set(`{"user": "ann", "n": 1.50}`) + "insert into t values (2); insert into t values (3); commit")
	r.exec("insert into t values (4)")
	r.exec("begin;" + set(`{"a": 1}`) + "insert into t values (5);" + set(`["another"]`) + `insert into t values (6);
		select pg_logical_emit_message(true, 'sequin:transaction_annotations.clear', ''); insert into t values (7); commit`)
	r.exec("begin;" + set(`{"a": 1}`) + "insert into t values (8);" + set(`{not json`) + "insert into t values (9); commit")
	r.exec("select pg_logical_emit_message(false, 'sequin:transaction_annotations.set', '{\"leaks\": true}'); insert into t values (10)")
	r.exec(`begin; insert into t values (11); select pg_logical_emit_message(false, 'sequin:transaction_annotations.set', '{"leaks": true}');
		insert into t values (12); commit; insert into t values (13)`)
	r.exec(set(`{"autocommit": true}`))
	r.exec("insert into t values (14)")
	r.exec(`begin; savepoint s;` + set(`{"undone": true}`) + `rollback to s; insert into t values (15); commit`)
	r.exec(`begin; select pg_logical_emit_message(true, 'sequin:transaction_annotations.other', '{}');
		select pg_logical_emit_message(true, 'another tool', 'x'); insert into t values (16); commit`)
	want := map[string]struct {
		annotations string
		index       uint32
	}{
		"1": {"null", 0}, "2": {`{"user": "ann", "n": 1.50}`, 2}, "3": {`{"user": "ann", "n": 1.50}`, 3},
		"4": {"null", 0}, "5": {`{"a": 1}`, 1}, "6": {`["another"]`, 3}, "7": {"null", 5}, "8": {`{"a": 1}`, 1}, "9": {"null", 3},
		"10": {"null", 0}, "11": {"null", 0}, "12": {"null", 1}, "13": {"null", 0}, "14": {"null", 0}, "15": {"null", 0}, "16": {"null", 2},
	}
	got := r.drain("pull")
	require.Len(t, got, len(want))
	for _, m := range got {
		w := want[m.Data.Metadata.RecordPKs[0]]
		require.Equal(t, w.annotations, string(m.Data.Metadata.TransactionAnnotations), said(m.Data))
		require.Equal(t, w.index, m.Data.Metadata.CommitIdx, said(m.Data))
	}
	require.GreaterOrEqual(t, r.metric("sequin_slot_bad_annotations_total"), 1.0, "the one that is not JSON was noted")
}
