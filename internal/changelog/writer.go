package changelog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Errors of a Writer that is used in a way the replication protocol does not allow.
var (
	errNoTransaction = errors.New("change log: an entry outside a transaction")
	errOpen          = errors.New("change log: a transaction begins inside another one")
	errReplaced      = errors.New("change log: another writer has taken over")
)

const (
	frameOverhead     = 64      // bytes that a frame takes at most beside its rows, a begin frame included
	maxRelations      = 0xfffe  // in one block
	truncateChunk     = 1024    // relations in one truncate frame
	maxAnnotation     = 1 << 20 // bytes; they are repeated in each block of a transaction
	annotationsPrefix = "sequin:transaction_annotations."
)

// Writer turns what the walsender sends into blocks. It belongs to one goroutine, which it delays only while the hand-over queue is full; but
// Interrupt may be called from any. After an error every later call returns it.
type Writer struct {
	l         *Log
	q         *queue
	epoch     uint32
	limit     int // raw bytes of a block
	maxChange int

	relations map[uint32]*relation // by source OID
	recent    *relation            // of recentID
	recentID  uint32

	cur       *block // being filled; nil when there is nothing to fill
	lent      *block // on offer when last seen
	seq       uint64 // last number given
	committed uint64 // last number of a whole transaction
	lastPos   cdc.Position
	lastFinal cdc.LSN // of the last transaction in the log or on its way
	txn       transaction
	err       error

	once      sync.Once
	interrupt chan struct{}
	cause     error // set before interrupt is closed
}

// transaction is the one between Begin and Commit.
type transaction struct {
	beginning
	open        bool
	begun       bool   // has an entry
	at          int    // where its frames begin in the current block, behind its begin frame
	index       uint32 // of the next entry
	last        uint32 // index of the newest entry
	parts       uint32 // blocks that hold nothing else and are handed over already
	annotations []byte
}

// Writer returns the writer for a history; its transactions go behind everything that was written before. An earlier writer must not be in
// use any more: its open transaction is aborted. An epoch lower than the log's is refused by the first write.
func (l *Log) Writer(epoch uint32) *Writer {
	l.writerMu.Lock()
	defer l.writerMu.Unlock()
	w := &Writer{
		l: l, q: l.queue, epoch: epoch, limit: l.blockBytes, maxChange: l.maxChange,
		relations: make(map[uint32]*relation), interrupt: make(chan struct{}),
	}
	tail := l.written
	if old := l.writer; old != nil {
		old.Abort()
		old.err = errReplaced
		tail = written{seq: old.committed, final: old.lastFinal, epoch: old.epoch}
	}
	w.seq, w.committed = tail.seq, tail.seq
	switch {
	case epoch < tail.epoch:
		w.err = fmt.Errorf("change log: a writer for epoch %d behind epoch %d", epoch, tail.epoch)
		w.epoch = tail.epoch
		w.lastFinal = tail.final
	case epoch == tail.epoch:
		w.lastFinal = tail.final
	default:
		l.newEpoch(epoch)
	}
	l.writer = w
	return w
}

// Interrupt makes a call that waits for room return cause, and every call after it.
func (w *Writer) Interrupt(cause error) {
	w.once.Do(func() {
		w.cause = cause
		close(w.interrupt)
	})
}

// Relation puts a description in force for the changes that name its SourceID from here on. The Relation is not kept. One that could not be
// read back, with a key column that it does not have, fails the next write.
func (w *Writer) Relation(r *cdc.Relation) {
	text := relationText(r)
	if old, ok := w.relations[r.SourceID]; ok && bytes.Equal(old.text, text) {
		return
	}
	if _, err := decodeRelation(text); err != nil {
		_ = w.fail(fmt.Errorf("change log: the description of relation %d (%s.%s) contradicts itself", r.SourceID, r.Schema, r.Name)) // the next write returns it
		return
	}
	w.relations[r.SourceID] = &relation{text: text}
	w.recent = nil
}

func (w *Writer) relation(sourceID uint32) (*relation, error) {
	if w.recent != nil && w.recentID == sourceID {
		return w.recent, nil
	}
	r, ok := w.relations[sourceID]
	if !ok {
		return nil, fmt.Errorf("change log: a change of relation %d, which was not described", sourceID)
	}
	w.recent, w.recentID = r, sourceID
	return r, nil
}

// Begin opens a transaction. It reports true for one that the log has already: the caller then drops all of it, marks nothing while it comes
// in, and does not commit it.
func (w *Writer) Begin(xid uint32, final cdc.LSN, commit cdc.Timestamp) (skip bool) {
	if w.txn.open && w.err == nil {
		w.err = errOpen
	}
	if final <= w.lastFinal {
		return true
	}
	w.txn = transaction{beginning: beginning{xid: xid, final: final, commit: commit}, open: true}
	return false
}

// Change writes an insert, update or delete. The rows are copied. One over the size limit becomes a stub.
func (w *Writer) Change(op cdc.Op, sourceID uint32, oldKind byte, old, row cdc.Tuple) error {
	kind, ok := changeKind(op, oldKind)
	if !ok {
		return w.fail(fmt.Errorf("change log: operation %q with an old row of kind %q", op, oldKind))
	}
	if len(old)+len(row) > w.maxChange {
		return w.TooBig(op, sourceID, len(old)+len(row))
	}
	r, err := w.relation(sourceID)
	if err != nil {
		return w.fail(err)
	}
	if err := w.prepare(len(old)+len(row)+frameOverhead+w.needs(r), 1); err != nil {
		return err
	}
	w.cur.frames = appendChange(w.cur.frames, kind, w.cur.ref(r), old, row)
	w.entered(1, false)
	return nil
}

// TooBig writes a stub for a change of size bytes that is not kept. For cdc.OpMessage the relation means nothing.
func (w *Writer) TooBig(op cdc.Op, sourceID uint32, size int) error {
	var r *relation
	if op != cdc.OpMessage {
		var err error
		if r, err = w.relation(sourceID); err != nil {
			return w.fail(err)
		}
	}
	if err := w.prepare(frameOverhead+w.needs(r), 1); err != nil {
		return err
	}
	ref := uint16(noRelation)
	if r != nil {
		ref = w.cur.ref(r)
	}
	w.cur.frames = appendTooBig(w.cur.frames, op, ref, size)
	w.entered(1, false)
	w.l.stats.tooBig.Add(1)
	return nil
}

// Truncate writes one entry for each relation of a TRUNCATE; together they take one index.
func (w *Writer) Truncate(sourceIDs []uint32, cascade, restart bool) error {
	var flags byte
	if cascade {
		flags |= truncateCascade
	}
	if restart {
		flags |= truncateRestart
	}
	total := len(sourceIDs)
	for len(sourceIDs) > 0 {
		n := min(len(sourceIDs), truncateChunk)
		f := flags
		if n < len(sourceIDs) {
			f |= truncateMore
		}
		if err := w.truncate(f, total, sourceIDs[:n]); err != nil {
			return err
		}
		sourceIDs = sourceIDs[n:]
	}
	return nil
}

func (w *Writer) truncate(flags byte, total int, sourceIDs []uint32) error {
	relations := make([]*relation, len(sourceIDs))
	for i, id := range sourceIDs {
		r, err := w.relation(id)
		if err != nil {
			return w.fail(err)
		}
		relations[i] = r
	}
	if err := w.prepare(2*len(relations)+frameOverhead+w.needs(relations...), len(relations)); err != nil {
		return err
	}
	b := w.cur
	b.frames = append(b.frames, frameTruncate, flags)
	b.frames = binary.AppendUvarint(b.frames, uint64(total)) //nolint:gosec // a length
	b.frames = binary.AppendUvarint(b.frames, uint64(len(relations)))
	for _, r := range relations {
		b.frames = binary.LittleEndian.AppendUint16(b.frames, b.ref(r))
	}
	w.entered(len(relations), flags&truncateMore != 0)
	return nil
}

// Message writes a transactional logical message. One that annotates the transaction takes effect on what follows it.
func (w *Writer) Message(prefix string, content []byte) error {
	if len(prefix)+len(content) > w.maxChange {
		return w.TooBig(cdc.OpMessage, 0, len(prefix)+len(content))
	}
	kind := w.messageKind(prefix, content)
	if err := w.prepare(len(prefix)+len(content)+frameOverhead, 0); err != nil {
		return err
	}
	w.cur.frames = appendMessage(w.cur.frames, kind, prefix, content)
	switch kind {
	case frameAnnotate:
		w.txn.annotations = bytes.Clone(content)
	case frameClear:
		w.txn.annotations = nil
	}
	w.entered(1, false)
	return nil
}

func (w *Writer) messageKind(prefix string, content []byte) byte {
	verb, ok := strings.CutPrefix(prefix, annotationsPrefix)
	switch {
	case ok && verb == "set":
		if len(content) <= maxAnnotation && utf8.Valid(content) && json.Valid(content) {
			return frameAnnotate
		}
		w.l.stats.invalidAnnotations.Add(1)
		return frameClear
	case ok && verb == "clear":
		return frameClear
	}
	return frameMessage
}

// Commit completes the transaction. One without entries only marks its end.
func (w *Writer) Commit(end cdc.LSN) error {
	if w.err != nil {
		return w.err
	}
	if !w.txn.open {
		return w.fail(errNoTransaction)
	}
	w.txn.open = false
	if !w.txn.begun {
		w.Mark(end)
		return w.err
	}
	w.rejoin()
	b := w.cur
	b.frames = appendCommit(b.frames, end, w.txn.final)
	w.lastPos = cdc.Position{LSN: w.txn.final, Index: w.txn.last, Epoch: w.epoch}
	b.complete = extent{
		frames: len(b.frames), relations: len(b.relations), relBytes: b.relBytes, last: w.seq, pos: w.lastPos,
		commitEnd: end, end: max(end, b.complete.end), commitTime: w.txn.commit, maxCommit: max(w.txn.commit, b.complete.maxCommit),
		base: w.txn.beginning,
	}
	w.lastFinal, w.committed = w.txn.final, w.seq
	w.txn = transaction{}
	return nil
}

// Mark says that everything before lsn was received. It counts once all of that is synced; inside a transaction it is ignored, because the
// transaction itself is not complete.
func (w *Writer) Mark(lsn cdc.LSN) {
	if w.err != nil || w.txn.open {
		return
	}
	if b := w.cur; b != nil && b.complete.frames > 0 {
		b.complete.end = max(b.complete.end, lsn)
		return
	}
	if w.q.mark(w.epoch, lsn) {
		w.l.advanceDurable(w.epoch, lsn)
	}
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}
