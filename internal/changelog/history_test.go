package changelog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
)

// step is one call on a Writer inside a transaction.
type step struct {
	relation *cdc.Relation // describes, when no other field is set
	op       cdc.Op
	id       uint32 // source OID
	oldKind  byte
	old, row cdc.Tuple
	tooBig   int
	truncate []uint32
	prefix   string
	content  string
}

// txn is a transaction as the walsender sends it.
type txn struct {
	xid    uint32
	final  cdc.LSN
	end    cdc.LSN
	commit cdc.Timestamp
	steps  []step
}

func (s *step) apply(w *changelog.Writer) error {
	switch {
	case s.relation != nil:
		w.Relation(s.relation)
		return nil
	case s.truncate != nil:
		return w.Truncate(s.truncate, true, false)
	case s.op == cdc.OpMessage:
		return w.Message(s.prefix, []byte(s.content))
	case s.tooBig > 0:
		return w.TooBig(s.op, s.id, s.tooBig)
	}
	return w.Change(s.op, s.id, s.oldKind, s.old, s.row)
}

// write sends whole transactions.
func write(t *testing.T, w *changelog.Writer, txns ...txn) {
	t.Helper()
	for i := range txns {
		x := &txns[i]
		skip := w.Begin(x.xid, x.final, x.commit)
		for j := range x.steps {
			if !skip || x.steps[j].relation != nil { // descriptions count in a skipped transaction too
				require.NoError(t, x.steps[j].apply(w))
			}
		}
		if !skip {
			require.NoError(t, w.Commit(x.end))
		}
	}
}

// seen is an entry in a form that tests compare.
type seen struct {
	Seq         uint64
	Position    cdc.Position
	Op          string
	OldKind     byte
	TooBig      bool
	XID         uint32
	CommitTime  cdc.Timestamp
	Relation    *cdc.Relation
	Old, New    string
	Annotations string
	Prefix      string
	Content     string
	Size        int
	TruncateN   int
}

func see(c *cdc.Change) seen {
	return seen{
		Seq: c.Seq, Position: c.Position, Op: c.Op.Action(), OldKind: c.OldKind, TooBig: c.TooBig, XID: c.XID, CommitTime: c.CommitTime,
		Relation: c.Relation, Old: string(c.Old), New: string(c.New), Annotations: string(c.Annotations), Prefix: c.Prefix,
		Content: string(c.Content), Size: c.Size, TruncateN: c.TruncateN,
	}
}

// expect is what the log should hold after txns, by the rules and not by the code.
func expect(txns []txn) []seen {
	var out []seen
	relations := map[uint32]*cdc.Relation{}
	for i := range txns {
		x := &txns[i]
		index, annotations := uint32(0), ""
		add := func(s seen) {
			s.Seq = uint64(len(out) + 1)
			s.Position = cdc.Position{LSN: x.final, Index: index}
			s.XID, s.CommitTime, s.Annotations = x.xid, x.commit, annotations
			out = append(out, s)
		}
		for j := range x.steps {
			s := &x.steps[j]
			switch {
			case s.relation != nil:
				relations[s.relation.SourceID] = s.relation
				continue
			case s.truncate != nil:
				for _, id := range s.truncate {
					add(seen{Op: "truncate", Relation: relations[id], TruncateN: len(s.truncate)})
				}
			case s.op == cdc.OpMessage:
				add(seen{Op: "message", Prefix: s.prefix, Content: s.content, Size: len(s.prefix) + len(s.content)})
				switch s.prefix {
				case "sequin:transaction_annotations.set":
					annotations = s.content
					if strings.Contains(s.content, "broken") {
						annotations = ""
					}
				case "sequin:transaction_annotations.clear":
					annotations = ""
				}
			case s.tooBig > 0:
				add(seen{Op: s.op.Action(), TooBig: true, Relation: relations[s.id], Size: s.tooBig})
			default:
				add(seen{
					Op: s.op.Action(), OldKind: s.oldKind, Relation: relations[s.id], Old: string(s.old), New: string(s.row),
					Size: len(s.old) + len(s.row),
				})
			}
			index++
		}
	}
	return out
}

// content reads everything that is visible.
func content(t *testing.T, l *changelog.Log) []seen {
	t.Helper()
	var out []seen
	for seq := l.FirstSeq(); ; {
		seg, err := l.Segment(t.Context(), seq)
		if errors.Is(err, changelog.ErrEnd) {
			return out
		}
		require.NoError(t, err)
		require.LessOrEqual(t, seg.First, seq)
		require.GreaterOrEqual(t, seg.Last, seq)
		require.Len(t, seg.Changes, int(seg.Last-seg.First+1))
		for i := range seg.Changes {
			require.Equal(t, seg.First+uint64(i), seg.Changes[i].Seq)
			if seg.Changes[i].Seq >= seq {
				out = append(out, see(&seg.Changes[i]))
			}
		}
		seq = seg.Last + 1
	}
}

func requireSame(t *testing.T, want, got []seen) {
	t.Helper()
	if reflect.DeepEqual(want, got) {
		return // much faster than cmp, which is for telling the difference
	}
	if diff := cmp.Diff(want, got); diff != "" {
		if len(diff) > 4000 {
			diff = diff[:4000]
		}
		t.Fatalf("the log differs (-want +got), %d entries wanted, %d there:\n%s", len(want), len(got), diff)
	}
}

func table(id uint32, name string, columns ...string) *cdc.Relation {
	r := &cdc.Relation{OID: id, SourceID: id, Schema: "public", Name: name, Identity: 'd', PrimaryKey: []int{0}, IdentityKey: []int{0}}
	for i, c := range columns {
		r.Columns = append(r.Columns, cdc.Column{
			Name: c, AttNum: int16(i + 1), TypeOID: 25, TypeMod: -1, Type: cdc.Type{Kind: cdc.KindText, Name: "text"},
		})
	}
	return r
}

// random makes n transactions of all kinds, small and big, with some relation changes among them.
func random(r *rand.Rand, n int) []txn {
	var txns []txn
	lsn, now := cdc.LSN(0x16_0000_0000), cdc.Timestamp(1_700_000_000_000_000)
	known := map[uint32]*cdc.Relation{}
	for i := range n {
		x := txn{xid: uint32(700 + i), final: lsn + 100, commit: now + cdc.Timestamp(r.IntN(2000)-500)}
		size := r.IntN(4)
		if r.IntN(8) == 0 {
			size = r.IntN(120)
		}
		for range size {
			x.steps = append(x.steps, randomSteps(r, known)...)
		}
		lsn = x.final + 500
		x.end = x.final + 48
		now += 1000
		txns = append(txns, x)
	}
	return txns
}

func randomSteps(r *rand.Rand, known map[uint32]*cdc.Relation) []step {
	id := uint32(16384 + r.IntN(5))
	var steps []step
	if known[id] == nil || r.IntN(20) == 0 {
		known[id] = table(id, fmt.Sprintf("t%d", id), "id", "a", fmt.Sprintf("c%d", r.IntN(4)))
		steps = append(steps, step{relation: known[id]})
	}
	row := func() cdc.Tuple {
		return cdctest.Tuple(strconv.Itoa(r.IntN(1000)), strings.Repeat("x", r.IntN(300)), nil)
	}
	key := func() cdc.Tuple { return cdctest.Tuple(strconv.Itoa(r.IntN(1000)), nil, nil) }
	switch r.IntN(14) {
	case 0:
		return append(steps, step{op: cdc.OpUpdate, id: id, oldKind: 'K', old: key(), row: row()})
	case 1:
		return append(steps, step{op: cdc.OpUpdate, id: id, oldKind: 'O', old: row(), row: row()})
	case 2:
		return append(steps, step{op: cdc.OpUpdate, id: id, row: row()})
	case 3:
		return append(steps, step{op: cdc.OpDelete, id: id, oldKind: 'K', old: key()})
	case 4:
		return append(steps, step{op: cdc.OpDelete, id: id, oldKind: 'O', old: row()})
	case 5:
		var ids []uint32
		for k := range known {
			ids = append(ids, k)
		}
		return append(steps, step{truncate: ids})
	case 6:
		return append(steps, step{op: cdc.OpMessage, prefix: "app", content: "hello"})
	case 7:
		return append(steps, step{op: cdc.OpMessage, prefix: "sequin:transaction_annotations.set", content: `{"user":"ann"}`})
	case 8:
		return append(steps, step{op: cdc.OpMessage, prefix: "sequin:transaction_annotations.set", content: `{broken`})
	case 9:
		return append(steps, step{op: cdc.OpMessage, prefix: "sequin:transaction_annotations.clear"})
	case 10:
		return append(steps, step{op: cdc.OpInsert, id: id, tooBig: 1 << 30})
	}
	return append(steps, step{op: cdc.OpInsert, id: id, row: row()})
}

// open opens a log and runs its appender until the test ends or stop is called.
func open(t *testing.T, m *memory, o changelog.Options) (l *changelog.Log, stop func()) {
	t.Helper()
	o.Blocks = m
	o.Name = "test"
	l, err := changelog.Open(t.Context(), o)
	require.NoError(t, err)
	return l, start(t, l)
}

func start(t *testing.T, l *changelog.Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(stop)
	return stop
}

// settle waits until everything that was written is visible.
func settle(t *testing.T, l *changelog.Log, w *changelog.Writer, seq uint64) {
	t.Helper()
	w.Flush()
	if seq > 0 {
		require.NoError(t, l.Wait(t.Context(), seq-1))
	}
}

const (
	waitFor = 10 * time.Second
	tick    = time.Millisecond
)

// insertTxn is a transaction of n inserts into r whose rows have about size bytes. It describes r first.
func insertTxn(r *cdc.Relation, final cdc.LSN, n, size int) txn {
	x := txn{xid: uint32(final), final: final, end: final + 10, commit: cdc.Timestamp(final) * 1000, steps: []step{{relation: r}}}
	for i := range n {
		row := cdctest.Tuple(strconv.Itoa(i), strings.Repeat("v", size), nil)
		x.steps = append(x.steps, step{op: cdc.OpInsert, id: r.SourceID, row: row})
	}
	return x
}

// gate holds appends back until release is closed.
func gate(release <-chan struct{}) func([]engine.Block) error {
	return func([]engine.Block) error {
		<-release
		return nil
	}
}
