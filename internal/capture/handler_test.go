package capture_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

// writer writes down what it is told.
type writer struct {
	calls []string
	skip  map[cdc.LSN]bool
	err   error
}

func (w *writer) note(format string, args ...any) {
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
}

func (w *writer) Relation(rel *cdc.Relation) { w.note("relation %s.%s", rel.Schema, rel.Name) }

func (w *writer) Begin(xid uint32, final cdc.LSN, _ cdc.Timestamp) bool {
	w.note("begin %d", xid)
	return w.skip[final]
}

func (w *writer) Change(op cdc.Op, id uint32, oldKind byte, old, row cdc.Tuple) error {
	w.note("%c %d old %d/%d new %d", op, id, oldKind, old.Len(), row.Len())
	return w.err
}

func (w *writer) TooBig(op cdc.Op, id uint32, size int) error {
	w.note("too big %c %d %d", op, id, size)
	return w.err
}

func (w *writer) Truncate(ids []uint32, cascade, restart bool) error {
	w.note("truncate %d %t %t", ids, cascade, restart)
	return w.err
}

func (w *writer) Message(prefix string, content []byte) error {
	w.note("message %q %d", prefix, len(content))
	return w.err
}

func (w *writer) Commit(end cdc.LSN) error { w.note("commit %d", end); return w.err }
func (w *writer) Mark(lsn cdc.LSN)         { w.note("mark %d", lsn) }
func (w *writer) Flush()                   { w.note("flush") }
func (w *writer) Abort()                   { w.note("abort") }
func (w *writer) Interrupt(error)          {}

// The messages of pgoutput, as much of them as the handler looks at.

func wireBytes(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case rune:
			b = append(b, byte(p))
		case byte:
			b = append(b, p)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		case string:
			b = append(append(b, p...), 0)
		case []byte:
			b = append(b, p...)
		case cdc.Tuple:
			b = append(b, p...)
		default:
			panic(fmt.Sprintf("unsupported part %T", p))
		}
	}
	return b
}

func beginMsg(xid uint32, final uint64) []byte { return wireBytes('B', final, uint64(0), xid) }
func commitMsg(final uint64) []byte            { return wireBytes('C', byte(0), final, final+1, uint64(0)) }

func relationMsg(id uint32, schema, name string, columns ...string) []byte {
	b := wireBytes('R', id, schema, name, 'd', uint16(len(columns))) //nolint:gosec // a few
	for i, c := range columns {
		key := byte(0)
		if i == 0 {
			key = 1
		}
		b = append(b, wireBytes(key, c, uint32(25), ^uint32(0))...)
	}
	return b
}

func insertMsg(id uint32, values ...any) []byte {
	return wireBytes('I', id, 'N', cdctest.Tuple(values...))
}

func logicalMsg(transactional bool, prefix, content string) []byte {
	flags := byte(0)
	if transactional {
		flags = 1
	}
	return wireBytes('M', flags, uint64(1), prefix, uint32(len(content)), []byte(content)) //nolint:gosec // short
}

func newHandler(t *testing.T, w capture.Writer, change func(*capture.HandlerOptions)) *capture.Handler {
	t.Helper()
	opts := capture.HandlerOptions{
		Writer: w, Logger: slog.New(slog.DiscardHandler),
		Relations: func(_ context.Context, m pgoutput.Relation) (*cdc.Relation, error) {
			return &cdc.Relation{SourceID: m.OID, Schema: m.Schema, Name: m.Name}, nil
		},
	}
	if change != nil {
		change(&opts)
	}
	return capture.NewHandler(t.Context(), opts)
}

// hear gives the handler messages that it must take.
func hear(t *testing.T, h *capture.Handler, messages ...[]byte) {
	t.Helper()
	for _, m := range messages {
		require.NoError(t, h.Data(m), "%q", m)
	}
}

func TestTransactionOfRows(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	hear(
		t, h, beginMsg(7, 100), relationMsg(1, "public", "t", "id", "v"), insertMsg(1, "1", "a"),
		wireBytes('U', uint32(1), 'K', cdctest.Tuple("1", nil), 'N', cdctest.Tuple("2", "b")),
		wireBytes('U', uint32(1), 'O', cdctest.Tuple("2", "b"), 'N', cdctest.Tuple("2", "c")),
		wireBytes('D', uint32(1), 'O', cdctest.Tuple("2", "c")),
		wireBytes('T', uint32(2), byte(3), uint32(1), uint32(2)),
		wireBytes('Y', uint32(9), "public", "mood"), wireBytes('O', uint64(5), "elsewhere"), nil, []byte{},
		commitMsg(100),
	)
	h.Drained()
	require.Equal(t, []string{
		"begin 7", "relation public.t", "I 1 old 0/0 new 2", "U 1 old 75/2 new 2", "U 1 old 79/2 new 2", "D 1 old 79/2 new 0",
		"truncate [1 2] true true", "commit 101", "flush",
	}, w.calls)
	require.Equal(t, cdc.LSN(101), h.Complete())
}

// A transaction of nothing but logical messages never reaches the log, whoever sent them; but it moves the position.
func TestTransactionOfMessagesAlone(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	hear(
		t, h, beginMsg(1, 100), logicalMsg(true, postgres.HeartbeatPrefix, `{}`), logicalMsg(true, "sequin:transaction_annotations.set", `{"a":1}`),
		logicalMsg(true, "debezium", "signal"), logicalMsg(false, "other", "outside"), commitMsg(100), logicalMsg(false, "other", "between"), beginMsg(2, 200), commitMsg(200),
	)
	require.Equal(t, []string{"begin 1", "commit 101", "begin 2", "commit 201"}, w.calls)
}

// Messages before the first row wait for it, those behind come at once; of other tools' messages only the place counts.
func TestMessagesTakeTheirPlace(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	big := strings.Repeat("x", 1<<20+1)
	hear(
		t, h, beginMsg(1, 100), relationMsg(1, "public", "t", "id"), logicalMsg(true, "sequin:transaction_annotations.set", `{"a":1}`), logicalMsg(true, "other", "abc"),
		logicalMsg(false, "other", "outside the order"), insertMsg(1, "1"), logicalMsg(true, "sequin:transaction_annotations.clear", ""), logicalMsg(true, "other", "abc"),
		logicalMsg(true, "sequin:transaction_annotations.set", big), insertMsg(1, "2"), commitMsg(100),
	)
	require.Equal(t, []string{
		"begin 1", "relation public.t", `message "sequin:transaction_annotations.set" 7`, `message "other" 0`, "I 1 old 0/0 new 1",
		`message "sequin:transaction_annotations.clear" 0`, `message "other" 0`, `message "sequin:transaction_annotations.set" 0`, "I 1 old 0/0 new 1", "commit 101",
	}, w.calls)
}

// What waits for a first row is bounded; a transaction with more of it is logged.
func TestWaitingMessagesAreBounded(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	hear(t, h, beginMsg(1, 100))
	half := strings.Repeat("x", 1<<19)
	hear(t, h, logicalMsg(true, "sequin:a", half))
	require.Equal(t, []string{"begin 1"}, w.calls)
	hear(t, h, logicalMsg(true, "sequin:b", half), logicalMsg(true, "sequin:c", "c"), commitMsg(100))
	require.Equal(t, []string{"begin 1", `message "sequin:a" 524288`, `message "sequin:b" 524288`, `message "sequin:c" 1`, "commit 101"}, w.calls)

	w.calls = nil
	hear(t, h, beginMsg(2, 200))
	for range 20000 { // contents that are not kept count, too
		hear(t, h, logicalMsg(true, "other", "abc"))
	}
	hear(t, h, commitMsg(200))
	require.Len(t, w.calls, 20002)
}

// What waited in an aborted connection's transaction does not slip into the next one.
func TestWaitingMessagesEndWithTheirTransaction(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	hear(
		t, h, beginMsg(1, 100), logicalMsg(true, "sequin:lost", "x"), commitMsg(100),
		beginMsg(2, 200), relationMsg(1, "public", "t", "id"), insertMsg(1, "1"), commitMsg(200),
	)
	require.NotContains(t, strings.Join(w.calls, " "), "lost")
}

// After a reconnect the server repeats what is in the log; it is dropped but for the relations, which come once for each connection.
func TestSkippedTransactionKeepsRelations(t *testing.T) {
	t.Parallel()
	w := &writer{skip: map[cdc.LSN]bool{100: true}}
	h := newHandler(t, w, nil)
	hear(
		t, h, beginMsg(1, 100), relationMsg(1, "public", "t", "id"), logicalMsg(true, "sequin:x", "x"), insertMsg(1, "1"),
		wireBytes('U', uint32(1), 'N', cdctest.Tuple("1")), wireBytes('D', uint32(1), 'K', cdctest.Tuple("1")), wireBytes('T', uint32(1), byte(0), uint32(1)),
	)
	require.NoError(t, h.TooBig('I', 1, 1<<30))
	h.Keepalive(150, false)
	hear(t, h, commitMsg(100), beginMsg(2, 200), insertMsg(1, "2"), commitMsg(200))
	require.Equal(t, []string{"begin 1", "relation public.t", "mark 101", "begin 2", "I 1 old 0/0 new 1", "commit 201"}, w.calls)
}

// A keepalive's WAL end queues behind what was received before it, and says nothing about a transaction that is still coming in.
func TestKeepaliveInsideATransaction(t *testing.T) {
	t.Parallel()
	w := &writer{}
	var asked []bool
	h := newHandler(t, w, func(o *capture.HandlerOptions) {
		o.Keepalive = func(_ cdc.LSN, reply bool) { asked = append(asked, reply) }
	})
	h.Keepalive(50, false)
	hear(t, h, beginMsg(1, 100), relationMsg(1, "public", "t", "id"), insertMsg(1, "1"))
	h.Keepalive(60, true)
	h.Drained()
	require.Zero(t, h.Complete())
	hear(t, h, commitMsg(100))
	h.Keepalive(300, false)
	require.Equal(t, []string{"mark 50", "begin 1", "relation public.t", "I 1 old 0/0 new 1", "flush", "commit 101", "mark 300"}, w.calls)
	require.Equal(t, []bool{false, true, false}, asked)
}

// On 12 and 13 a table carries our messages: its rows take their place in the transaction, and no consumer sees them.
func TestOwnTableCarriesMessages(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	own := relationMsg(5, "public", "sequin_logical_messages", "id", "slot_id", "subject", "content")
	row := func(subject, content string) []byte { return insertMsg(5, "1", "slot", subject, content) }
	hear(t, h, beginMsg(1, 100), own, row(postgres.HeartbeatPrefix, `{}`), wireBytes('D', uint32(5), 'K', cdctest.Tuple("1", nil, nil, nil)), commitMsg(100))
	require.Equal(t, []string{"begin 1", "relation public.sequin_logical_messages", "commit 101"}, w.calls)
	w.calls = nil
	hear(
		t, h, beginMsg(2, 200), relationMsg(1, "public", "t", "id"), row("sequin:transaction_annotations.set", `{"a":1}`), insertMsg(1, "1"),
		wireBytes('U', uint32(5), 'N', cdctest.Tuple("1", "slot", "other", "abc")), wireBytes('T', uint32(2), byte(0), uint32(5), uint32(1)),
		wireBytes('T', uint32(1), byte(0), uint32(5)),
	)
	require.NoError(t, h.TooBig('I', 5, 1<<30))
	hear(t, h, commitMsg(200))
	require.Equal(t, []string{
		"begin 2", "relation public.t", `message "sequin:transaction_annotations.set" 7`, "I 1 old 0/0 new 1", `message "other" 0`, "truncate [1] false false",
		`message "" 0`, `message "" 0`, "commit 201",
	}, w.calls)
	w.calls = nil
	hear(t, h, beginMsg(3, 300), row("sequin:x", "x"))
	require.NoError(t, h.TooBig('U', 5, 1<<30))
	hear(t, h, wireBytes('T', uint32(1), byte(0), uint32(5)), commitMsg(300))
	require.Equal(t, []string{"begin 3", "commit 301"}, w.calls, "they alone are no rows")
	// A table of that name elsewhere is the application's, and so is one whose columns are others.
	w.calls = nil
	hear(
		t, h, beginMsg(4, 400), relationMsg(6, "app", "sequin_logical_messages", "id"), insertMsg(6, "1"), commitMsg(400),
		beginMsg(5, 500), relationMsg(7, "public", "sequin_logical_messages", "id"), insertMsg(7, "1"), commitMsg(500),
	)
	require.Contains(t, w.calls, "I 6 old 0/0 new 1")
	require.NotContains(t, strings.Join(w.calls, "\n"), "I 7")
}

func TestTooBigOfEachKind(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	hear(t, h, beginMsg(1, 100), relationMsg(1, "public", "t", "id"), logicalMsg(true, "sequin:x", "x"))
	for _, kind := range []byte{'I', 'U', 'D'} {
		require.NoError(t, h.TooBig(kind, 1, 1000))
	}
	require.NoError(t, h.TooBig('M', 1<<24, 2000), "transactional")
	require.NoError(t, h.TooBig('M', 0, 2000), "not transactional: it has no place")
	hear(t, h, commitMsg(100))
	require.Equal(t, []string{
		"begin 1", "relation public.t", `message "sequin:x" 1`, "too big I 1 1000", "too big U 1 1000", "too big D 1 1000", `message "" 0`, "commit 101",
	}, w.calls)

	w.calls = nil
	require.NoError(t, h.TooBig('M', 0, 2000), "between transactions")
	hear(t, h, beginMsg(2, 200), logicalMsg(true, "sequin:x", "x"))
	require.NoError(t, h.TooBig('M', 1<<24, 2000), "a message alone")
	hear(t, h, commitMsg(200))
	require.Equal(t, []string{"begin 2", `message "sequin:x" 1`, `message "" 0`, "commit 201"}, w.calls)
	for _, kind := range []byte{'R', 'B', 'T', 'Y'} {
		require.ErrorContains(t, h.TooBig(kind, 1, 1000), "exceeds the size limit", "%c: nothing can stand for it", kind)
	}
}

// Messages of streaming and two-phase commit come unasked from some servers, and a later version may send what we do not know.
func TestStrayMessagesAreIgnored(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	hear(t, h, wireBytes('A', uint32(7), uint32(7)), beginMsg(1, 100), relationMsg(1, "public", "t", "id"))
	for _, stray := range []string{"A\x00\x00", "S", "E", "c", "b", "P", "K", "r", "p", "?", "\x00", "\xff???"} {
		hear(t, h, []byte(stray), []byte(stray))
	}
	hear(t, h, insertMsg(1, "1"), commitMsg(100))
	require.Equal(t, []string{"begin 1", "relation public.t", "I 1 old 0/0 new 1", "commit 101"}, w.calls)
}

// Where change retentions keep their positions is no consumer's business, in whatever schema it is.
func TestPositionsOfRetentionsAreNoRows(t *testing.T) {
	t.Parallel()
	w := &writer{}
	h := newHandler(t, w, nil)
	hear(
		t, h, beginMsg(1, 100), relationMsg(1, "public", "t", "id"), relationMsg(5, "audit", "sequin_retention_position", "retention_id"),
		relationMsg(6, "public", "sequin_retention_position", "retention_id"), insertMsg(1, "1"), insertMsg(5, "x"), insertMsg(6, "x"), insertMsg(1, "2"), commitMsg(100),
	)
	require.Equal(t, []string{
		"begin 1", "relation public.t", "relation audit.sequin_retention_position", "relation public.sequin_retention_position", "I 1 old 0/0 new 1",
		`message "" 0`, `message "" 0`, "I 1 old 0/0 new 1", "commit 101",
	}, w.calls)
}

// What is said about the stream's own messages must be true: a malformed one ends the stream rather than the process, or nothing at all.
func TestMalformedMessagesAreErrors(t *testing.T) {
	t.Parallel()
	h := newHandler(t, &writer{}, nil)
	for _, kind := range "BCIUDRTM" {
		require.Error(t, h.Data([]byte{byte(kind)}), "%c", kind)
		require.Error(t, h.Data([]byte{byte(kind), 0, 0}), "%c", kind)
	}
}

func TestErrorsEndTheStream(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	h := newHandler(t, &writer{}, func(o *capture.HandlerOptions) { o.Pass = func(context.Context) error { return boom } })
	require.ErrorIs(t, h.Data(beginMsg(1, 100)), boom)

	h = newHandler(t, &writer{}, func(o *capture.HandlerOptions) {
		o.Relations = func(context.Context, pgoutput.Relation) (*cdc.Relation, error) { return nil, boom }
	})
	err := h.Data(relationMsg(1, "public", "orders", "id"))
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "public.orders")

	w := &writer{}
	h = newHandler(t, w, nil)
	hear(t, h, beginMsg(1, 100), relationMsg(1, "public", "t", "id"), logicalMsg(true, "sequin:x", "x"))
	w.err = boom
	require.ErrorIs(t, h.Data(insertMsg(1, "1")), boom)
	require.ErrorIs(t, h.Data(commitMsg(100)), boom)
	require.Zero(t, h.Complete(), "what the writer refused is not complete")
}
