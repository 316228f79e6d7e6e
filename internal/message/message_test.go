package message_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/problem"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var tail = message.NewTail(
	message.Database{ID: "b7f2…d1", Name: "myapp-prod", Annotations: json.RawMessage(`{"team": "core"}`), Database: "app", Hostname: "db.internal"},
	message.Consumer{ID: "0a1b…9f", Name: "orders_kafka"},
)

// orders is a table with a key, a number, a document, a time and a note that may be stored out of line.
func orders() *cdc.Relation {
	return &cdc.Relation{
		OID: 16390, SourceID: 16390, Schema: "public", Name: "orders", Identity: 'd',
		Columns: []cdc.Column{
			{Name: "id", AttNum: 1, TypeOID: 20, Type: cdc.Type{Kind: cdc.KindInt, Name: "int8"}},
			{Name: "total", AttNum: 2, TypeOID: 1700, Type: cdc.Type{Kind: cdc.KindNumeric, Name: "numeric"}},
			{Name: "doc", AttNum: 3, TypeOID: 3802, Type: cdc.Type{Kind: cdc.KindJSON, Name: "jsonb"}},
			{Name: "at", AttNum: 4, TypeOID: 1184, Type: cdc.Type{Kind: cdc.KindTimestampTZ, Name: "timestamptz"}},
			{Name: "a \"note\"", AttNum: 5, TypeOID: 25, Type: cdc.Type{Name: "text"}},
		},
		PrimaryKey: []int{0}, IdentityKey: []int{0},
	}
}

func change(op cdc.Op, oldKind byte, old, row cdc.Tuple) *cdc.Change {
	return &cdc.Change{
		Seq: 7, Position: cdc.Position{LSN: 25169288, Index: 3}, Op: op, OldKind: oldKind, Old: old, New: row, XID: 731,
		CommitTime: 1751364672345678, Relation: orders(),
	}
}

// readBy makes a row one that a backfill read.
func readBy(backfill string, c *cdc.Change) *cdc.Change {
	c.Prefix = backfill
	return c
}

var (
	rowBefore = cdctest.Tuple("1", "199.90", `{"b": 1.10, "a": [1]}`, "2025-01-02 03:04:05.5+00", "first")
	rowAfter  = cdctest.Tuple("1", "200.00", `{"b": 1.10, "a": [1]}`, nil, "sec\nond")
	rowToast  = cdctest.Tuple("1", "200.00", cdctest.Unchanged, "2025-01-02 03:04:05.5+00", cdctest.Unchanged)
	keyBefore = cdctest.Tuple("1", nil, nil, nil, nil)
)

type messageCase struct {
	change *cdc.Change
	format message.Format
	flags  message.Flags
}

func with(c *cdc.Change, edit func(*cdc.Change)) *cdc.Change {
	edit(c)
	return c
}

var messages = map[string]messageCase{
	"insert":                {change: change(cdc.OpInsert, 0, nil, rowBefore)},
	"insert_micros":         {change: change(cdc.OpInsert, 0, nil, rowBefore), format: micros},
	"insert_replay":         {change: change(cdc.OpInsert, 0, nil, rowBefore), flags: message.Flags{Replay: true}},
	"insert_redriven":       {change: change(cdc.OpInsert, 0, nil, rowBefore), flags: message.Flags{Redriven: true}},
	"insert_shorter_row":    {change: change(cdc.OpInsert, 0, nil, cdctest.Tuple("1", "2"))},
	"insert_binary":         {change: change(cdc.OpInsert, 0, nil, cdctest.Tuple(cdctest.Binary{0, 0xab}, nil, nil, nil, nil))},
	"insert_without_column": {change: change(cdc.OpInsert, 0, nil, cdctest.Tuple())},
	"insert_annotated": {change: with(change(cdc.OpInsert, 0, nil, rowBefore), func(c *cdc.Change) {
		c.Annotations = []byte(`{"user": "ann", "n": 1.0}`)
	})},
	"insert_later_epoch": {change: with(change(cdc.OpInsert, 0, nil, rowBefore), func(c *cdc.Change) { c.Position.Epoch = 2 })},
	"insert_without_key": {change: with(change(cdc.OpInsert, 0, nil, rowBefore), func(c *cdc.Change) { c.Relation.PrimaryKey = nil })},
	"insert_compound_key": {change: with(change(cdc.OpInsert, 0, nil, rowAfter), func(c *cdc.Change) {
		c.Relation.PrimaryKey = []int{0, 4}
	})},
	"read":                     {change: readBy("0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11", change(cdc.OpRead, 0, nil, rowBefore))},
	"update":                   {change: change(cdc.OpUpdate, 0, nil, rowAfter)},
	"update_key":               {change: change(cdc.OpUpdate, 'K', cdctest.Tuple("0", nil, nil, nil, nil), rowAfter)},
	"update_key_unchanged":     {change: change(cdc.OpUpdate, 'K', keyBefore, rowAfter)},
	"update_full":              {change: change(cdc.OpUpdate, 'O', rowBefore, rowAfter)},
	"update_full_from_null":    {change: change(cdc.OpUpdate, 'O', rowAfter, rowBefore)},
	"update_full_nothing":      {change: change(cdc.OpUpdate, 'O', rowBefore, rowBefore)},
	"update_full_micros":       {change: change(cdc.OpUpdate, 'O', rowBefore, rowAfter), format: micros},
	"update_full_toast":        {change: change(cdc.OpUpdate, 'O', rowBefore, rowToast)},
	"update_full_toast_marker": {change: change(cdc.OpUpdate, 'O', rowBefore, rowToast), format: message.Format{ToastMarker: true}},
	"update_toast":             {change: change(cdc.OpUpdate, 0, nil, rowToast)},
	"update_toast_marker":      {change: change(cdc.OpUpdate, 0, nil, rowToast), format: message.Format{ToastMarker: true}},
	"update_toast_key": {change: with(change(cdc.OpUpdate, 'K', cdctest.Tuple(nil, nil, nil, nil, "long key"), rowToast), func(c *cdc.Change) {
		c.Relation.PrimaryKey = []int{4}
	})},
	"update_toast_first_column": {change: change(cdc.OpUpdate, 0, nil, cdctest.Tuple(cdctest.Unchanged, "1", nil, nil, nil))},
	"delete_key":                {change: change(cdc.OpDelete, 'K', keyBefore, nil)},
	"delete_full":               {change: change(cdc.OpDelete, 'O', rowBefore, nil)},
	"delete_other_index": {change: with(change(cdc.OpDelete, 'K', cdctest.Tuple(nil, nil, nil, nil, "unique"), nil), func(c *cdc.Change) {
		c.Relation.Identity, c.Relation.IdentityKey = 'i', []int{4}
	})},
	"truncate": {change: with(change(cdc.OpTruncate, 0, nil, nil), func(c *cdc.Change) { c.TruncateN = 1 })},
	"truncate_of_several": {change: with(change(cdc.OpTruncate, 0, nil, nil), func(c *cdc.Change) {
		c.TruncateN = 2
	})},
	"truncate_of_a_partition": {change: with(change(cdc.OpTruncate, 0, nil, nil), func(c *cdc.Change) {
		c.TruncateN = 2
		c.Relation.SourceID, c.Relation.PartitionSchema, c.Relation.PartitionName = 16395, "parts", "orders_2025"
	})},
}

// TestAppend compares every message with its golden file, byte for byte but for the file's last line break. The second call reads the cache.
func TestAppend(t *testing.T) {
	t.Parallel()
	for name, tc := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := message.Append([]byte("x"), tc.change, tc.format, tail, tc.flags)
			require.NoError(t, err)
			require.Equal(t, byte('x'), got[0])
			got = got[1:]
			require.True(t, json.Valid(got), "%s", got)
			again, err := message.Append(nil, tc.change, tc.format, tail, tc.flags)
			require.NoError(t, err)
			require.Equal(t, string(got), string(again), "from the cache")

			golden := filepath.Join("testdata", name+".json")
			if *update {
				require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), string(append(got, '\n'))))
		})
	}
}

// TestKeys holds every message to the keys that clients depend on.
func TestKeys(t *testing.T) {
	t.Parallel()
	want := []string{
		"table_schema", "table_name", "commit_timestamp", "commit_lsn", "commit_idx", "database_name", "transaction_annotations",
		"idempotency_key", "record_pks", "enrichment", "consumer", "database",
	}
	for name, tc := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := message.Append(nil, tc.change, tc.format, tail, message.Flags{})
			require.NoError(t, err)
			var m struct {
				Record, Changes, Action json.RawMessage
				Metadata                map[string]json.RawMessage
			}
			d := json.NewDecoder(bytes.NewReader(got))
			d.DisallowUnknownFields()
			require.NoError(t, d.Decode(&m))
			require.NotEmpty(t, m.Record)
			require.NotEmpty(t, m.Changes)
			require.NotEmpty(t, m.Action)
			for _, key := range want {
				require.Contains(t, m.Metadata, key)
			}
			for _, extra := range []string{"unchanged_columns", "partition_schema", "partition_name"} {
				delete(m.Metadata, extra)
			}
			require.Len(t, m.Metadata, len(want))
		})
	}
}

func TestAppendRecordOnly(t *testing.T) {
	t.Parallel()
	for name, tc := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := tc.change
			fresh := &cdc.Change{
				Position: c.Position, Op: c.Op, OldKind: c.OldKind, Relation: c.Relation, Old: c.Old, New: c.New, CommitTime: c.CommitTime,
			}
			whole, err := message.Append(nil, c, tc.format, tail, message.Flags{})
			require.NoError(t, err)
			var m struct{ Record json.RawMessage }
			require.NoError(t, json.Unmarshal(whole, &m))
			for range 2 { // built, then from the cache
				got, err := message.AppendRecordOnly([]byte("x"), fresh, tc.format)
				require.NoError(t, err)
				require.Equal(t, "x"+string(m.Record), string(got))
			}
		})
	}
}

func TestFormatsDoNotShareTheCache(t *testing.T) {
	t.Parallel()
	c := change(cdc.OpUpdate, 0, nil, rowToast)
	seen := map[string]bool{}
	for _, f := range []message.Format{{}, {UnixMicros: true}, {ToastMarker: true}, {UnixMicros: true, ToastMarker: true}} {
		got, err := message.Append(nil, c, f, tail, message.Flags{})
		require.NoError(t, err)
		seen[string(got)] = true
	}
	require.Len(t, seen, cdc.Variants)
}

func TestAppendConcurrently(t *testing.T) {
	t.Parallel()
	c := change(cdc.OpUpdate, 'O', rowBefore, rowAfter)
	want, err := message.Append(nil, change(cdc.OpUpdate, 'O', rowBefore, rowAfter), micros, tail, message.Flags{})
	require.NoError(t, err)
	var wg sync.WaitGroup
	results := make([][]byte, 8)
	for i := range results {
		wg.Go(func() {
			results[i], _ = message.Append(nil, c, micros, tail, message.Flags{})
		})
	}
	wg.Wait()
	for _, got := range results {
		require.Equal(t, string(want), string(got))
	}
}

func TestAppendErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change *cdc.Change
		want   error
		code   string
	}{
		"too big":               {&cdc.Change{Op: cdc.OpInsert, TooBig: true, Size: 99, Relation: orders()}, message.ErrTooBig, "too_big"},
		"too big and no table":  {&cdc.Change{Op: cdc.OpInsert, TooBig: true}, message.ErrNoRelation, "relation_unknown"},
		"no table":              {&cdc.Change{Op: cdc.OpInsert, New: rowBefore}, message.ErrNoRelation, "relation_unknown"},
		"truncate of no table":  {&cdc.Change{Op: cdc.OpTruncate}, message.ErrNoRelation, "relation_unknown"},
		"logical message":       {&cdc.Change{Op: cdc.OpMessage, Prefix: "p"}, message.ErrNotARow, "not_a_row"},
		"unknown operation":     {&cdc.Change{Op: '?', Relation: orders()}, message.ErrNotARow, "not_a_row"},
		"insert without row":    {change(cdc.OpInsert, 0, nil, nil), message.ErrDamaged, "row_damaged"},
		"delete without row":    {change(cdc.OpDelete, 0, nil, nil), message.ErrDamaged, "row_damaged"},
		"row longer than table": {change(cdc.OpInsert, 0, nil, cdctest.Tuple("1", "1", "1", nil, nil, nil)), message.ErrDamaged, "row_damaged"},
		"old row longer than table": {
			change(cdc.OpUpdate, 'O', cdctest.Tuple(nil, nil, nil, nil, nil, nil), rowAfter), message.ErrDamaged, "row_damaged",
		},
		"row cut": {change(cdc.OpInsert, 0, nil, rowBefore[:len(rowBefore)-1]), message.ErrDamaged, "row_damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 {
				got, err := message.Append([]byte("kept"), tc.change, message.Format{}, tail, message.Flags{})
				require.ErrorIs(t, err, tc.want)
				require.Equal(t, tc.code, problem.Code(err))
				require.Equal(t, "kept", string(got))

				got, err = message.AppendRecordOnly([]byte("kept"), tc.change, message.Format{})
				require.ErrorIs(t, err, tc.want)
				require.Equal(t, "kept", string(got))
			}
		})
	}
}

func TestTooBigNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	c := with(change(cdc.OpUpdate, 0, nil, nil), func(c *cdc.Change) { c.TooBig, c.Size = true, 99 })
	_, err := message.Append(nil, c, message.Format{}, tail, message.Flags{})
	var p *problem.Error
	require.ErrorAs(t, err, &p)
	require.Equal(t, `the update in table public.orders is too big: 99 bytes  [too_big]
detail: its row was not kept; the change is at 0/1800D88, index 3
hint:   read the row from the table by its key; raise max_change_bytes to keep such rows from now on`, p.Text())
}

func TestTail(t *testing.T) {
	t.Parallel()
	c := change(cdc.OpTruncate, 0, nil, nil)
	for name, tc := range map[string]struct {
		tail *message.Tail
		want string
	}{
		"nil": {nil, `{"database_name":null,"consumer":null,"database":null}`},
		"empty": {message.NewTail(message.Database{}, message.Consumer{}), `{"database_name":"","consumer":{"id":"","name":"","annotations":{}},
			"database":{"id":"","name":"","annotations":{},"database":"","hostname":""}}`},
		"annotations that are not JSON": {
			message.NewTail(message.Database{Annotations: json.RawMessage("{")}, message.Consumer{Annotations: json.RawMessage("null")}),
			`{"database_name":"","consumer":{"id":"","name":"","annotations":null},
			"database":{"id":"","name":"","annotations":{},"database":"","hostname":""}}`,
		},
		"names that need escapes": {
			message.NewTail(message.Database{Name: "a\"b\n"}, message.Consumer{Name: "é\xff"}),
			`{"database_name":"a\"b\n","consumer":{"id":"","name":"é\ufffd","annotations":{}},
			"database":{"id":"","name":"a\"b\n","annotations":{},"database":"","hostname":""}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := message.Append(nil, c, message.Format{}, tc.tail, message.Flags{})
			require.NoError(t, err)
			var m struct{ Metadata map[string]json.RawMessage }
			require.NoError(t, json.Unmarshal(got, &m))
			part, err := json.Marshal(map[string]json.RawMessage{
				"database_name": m.Metadata["database_name"], "consumer": m.Metadata["consumer"], "database": m.Metadata["database"],
			})
			require.NoError(t, err)
			require.JSONEq(t, tc.want, string(part))
		})
	}
}

func TestAnnotationsThatAreNotJSONAreNull(t *testing.T) {
	t.Parallel()
	c := with(change(cdc.OpInsert, 0, nil, rowBefore), func(c *cdc.Change) { c.Annotations = []byte("{oops") })
	got, err := message.Append(nil, c, message.Format{}, tail, message.Flags{})
	require.NoError(t, err)
	require.Contains(t, string(got), `"transaction_annotations":null`)
}

func TestRecordPKs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change *cdc.Change
		want   []string
	}{
		"insert":      {change(cdc.OpInsert, 0, nil, rowBefore), []string{"1"}},
		"key changed": {change(cdc.OpUpdate, 'K', cdctest.Tuple("0", nil, nil, nil, nil), rowAfter), []string{"1"}},
		"delete":      {change(cdc.OpDelete, 'K', cdctest.Tuple("0", nil, nil, nil, nil), nil), []string{"0"}},
		"truncate":    {change(cdc.OpTruncate, 0, nil, nil), []string{}},
		"no table":    {&cdc.Change{Op: cdc.OpInsert, New: rowBefore}, []string{}},
		"no key":      {with(change(cdc.OpInsert, 0, nil, rowBefore), func(c *cdc.Change) { c.Relation.PrimaryKey = nil }), []string{}},
		"attnum order": {with(change(cdc.OpInsert, 0, nil, rowBefore), func(c *cdc.Change) {
			c.Relation.PrimaryKey = []int{1, 4}
		}), []string{"199.90", "first"}},
		"key not in the row": {with(change(cdc.OpInsert, 0, nil, cdctest.Tuple("1")), func(c *cdc.Change) {
			c.Relation.PrimaryKey = []int{0, 1}
		}), []string{"1", ""}},
		"key out of line": {with(change(cdc.OpUpdate, 'K', cdctest.Tuple(nil, nil, nil, nil, "long"), rowToast), func(c *cdc.Change) {
			c.Relation.PrimaryKey = []int{4}
		}), []string{"long"}},
		"key out of line and unknown": {with(change(cdc.OpUpdate, 0, nil, rowToast), func(c *cdc.Change) {
			c.Relation.PrimaryKey = []int{4}
		}), []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, message.RecordPKs(tc.change))
		})
	}
}

func TestCommitTimestamps(t *testing.T) {
	t.Parallel()
	for want, at := range map[string]cdc.Timestamp{
		"1970-01-01T00:00:00.000000Z":  0,
		"1969-12-31T23:59:59.999999Z":  -1,
		"2025-07-01T10:11:12.345678Z":  1751364672345678,
		"2000-02-29T23:59:59.000001Z":  951868799000001,
		"0001-01-01T00:00:00.000000Z":  -62135596800000000,
		"9999-12-31T23:59:59.999999Z":  253402300799999999,
		"10000-01-01T00:00:00.000000Z": 253402300800000000,
	} {
		c := with(change(cdc.OpTruncate, 0, nil, nil), func(c *cdc.Change) { c.CommitTime = at })
		got, err := message.Append(nil, c, message.Format{}, tail, message.Flags{})
		require.NoError(t, err)
		require.Contains(t, string(got), `"commit_timestamp":"`+want+`"`)
	}
}

// TestEveryDay compares the calendar with the standard library's, both ways, on every day of four centuries and at the ends.
func TestEveryDay(t *testing.T) {
	t.Parallel()
	const day = 86400 * 1000000
	check := func(at cdc.Timestamp) {
		iso := at.Time().Format("2006-01-02T15:04:05.000000Z")
		c := with(change(cdc.OpTruncate, 0, nil, nil), func(c *cdc.Change) { c.CommitTime = at })
		got, err := message.Append(nil, c, message.Format{}, nil, message.Flags{})
		require.NoError(t, err)
		require.Contains(t, string(got), iso)
		text := at.Time().Format("2006-01-02 15:04:05.000000-07")
		got = message.AppendValue(nil, &cdc.Type{Kind: cdc.KindTimestampTZ}, []byte(text), micros)
		var back int64
		require.NoError(t, json.Unmarshal(got, &back))
		require.Equal(t, int64(at), back)
	}
	for d := range cdc.Timestamp(400 * 366) {
		check(-5364662400000000 + d*day + 12345) // from 1800-01-01
	}
	check(-62135596800000000)
	check(253402300799999999)
}

func TestSecondAppendDoesNotAllocate(t *testing.T) {
	c := change(cdc.OpUpdate, 'O', rowBefore, rowAfter)
	dst := make([]byte, 0, 4096)
	var err error
	allocs := testing.AllocsPerRun(100, func() { // its first run, which is not counted, fills the cache
		dst, err = message.Append(dst[:0], c, message.Format{}, tail, message.Flags{Redriven: true})
	})
	require.NoError(t, err)
	require.Zero(t, allocs)
}

func TestFirstAppendAllocatesTheCacheAlone(t *testing.T) {
	c := change(cdc.OpUpdate, 'O', cdctest.Tuple("1", "1.0", `{"a": 1}`, "2025-01-02 03:04:05+05:30", "x"), rowToast)
	c.Annotations = []byte(`{"user": "ann"}`)
	c.Relation.Columns[4].Name = "note"
	dst := make([]byte, 0, 4096)
	var err error
	allocs := testing.AllocsPerRun(100, func() {
		c.Encoded[0].Store(nil)
		dst, err = message.Append(dst[:0], c, message.Format{}, tail, message.Flags{})
	})
	require.NoError(t, err)
	require.LessOrEqual(t, allocs, 2.0, "the text and its header")
}
