package changelog

import (
	"github.com/sequinstream/sequin/internal/cdc"
)

// needs is the room that relations would take in the current block's table.
func (w *Writer) needs(relations ...*relation) int {
	n := 0
	for _, r := range relations {
		if w.cur == nil {
			n += len(r.text)
		} else {
			n += w.cur.need(r)
		}
	}
	return n
}

// prepare makes the current block ready for an entry of need bytes in the open transaction, with up to so many new relations.
func (w *Writer) prepare(need, relations int) error {
	if w.err != nil {
		return w.err
	}
	if !w.txn.open {
		return w.fail(errNoTransaction)
	}
	if !w.txn.begun {
		w.resume()
	}
	// Annotations are repeated in every block of the transaction: big ones get bigger blocks.
	limit := w.limit + 4*len(w.txn.annotations)
	for w.cur.first <= w.seq && (w.cur.size()+need > limit || len(w.cur.relations)+relations > maxRelations) {
		if err := w.cut(); err != nil {
			return w.fail(err)
		}
	}
	if !w.txn.begun {
		w.begin()
	}
	return nil
}

// begin writes the begin frame, just before the first entry.
func (w *Writer) begin() {
	b := w.cur
	if b.first > w.seq {
		b.firstPos = cdc.Position{LSN: w.txn.final, Epoch: w.epoch}
	}
	b.frames = appendBegin(b.frames, w.txn.beginning, b.base)
	b.base = w.txn.beginning
	w.txn.begun, w.txn.at = true, len(b.frames)
}

// resume finds the block to fill between transactions: the one on offer if it is still there, or a new one.
func (w *Writer) resume() {
	if w.cur == nil && w.lent != nil && w.q.reclaim(w.lent) {
		w.cur = w.lent
		w.cur.complete.end = max(w.cur.complete.end, w.cur.out.end)
	}
	w.lent = nil
	if w.cur == nil {
		w.cur = w.newBlock(w.seq + 1)
	}
}

func (w *Writer) newBlock(first uint64) *block {
	return &block{epoch: w.epoch, first: first, frames: w.q.buffer()}
}

// cut hands over the current block's whole transactions, and carries the open one over to the next block; or, when the block holds nothing
// but the open one, hands that over as a part.
func (w *Writer) cut() error {
	b := w.cur
	if b.complete.frames > 0 {
		w.cur = w.split(b)
		return w.hand(b, b.complete, true)
	}
	out := extent{
		frames: len(b.frames), relations: len(b.relations), relBytes: b.relBytes, last: w.seq,
		pos: cdc.Position{LSN: w.txn.final, Index: w.txn.last, Epoch: w.epoch},
	}
	b.part, b.committed = w.txn.parts, w.committed
	w.txn.parts++
	next := w.newBlock(w.seq + 1)
	next.continued = true
	next.firstPos = cdc.Position{LSN: w.txn.final, Index: w.txn.index, Epoch: w.epoch}
	next.frames = appendContinue(next.frames, w.txn.beginning, w.txn.index, w.txn.annotations)
	next.base = w.txn.beginning
	w.txn.at = len(next.frames)
	w.cur = next
	return w.hand(b, out, false)
}

// split moves the open transaction, if it has begun, from behind b's last commit to a new block.
func (w *Writer) split(b *block) *block {
	next := w.newBlock(b.complete.last + 1)
	if w.txn.begun {
		next.firstPos = cdc.Position{LSN: w.txn.final, Epoch: w.epoch}
		w.txn.at = carry(next, b, w.txn.beginning, b.frames[w.txn.at:])
	}
	return next
}

// hand queues what out says of the block, and waits while the queue is full.
func (w *Writer) hand(b *block, out extent, commits bool) error {
	b.out, b.commits = out, commits
	b.frames = b.frames[:out.frames]
	for {
		ok, err := w.q.tryPush(b, false)
		if ok || err != nil {
			return err
		}
		select {
		case <-w.q.room:
		case <-w.interrupt:
			// The block holds transactions that the writer's state counts as written: it must not be lost on the way.
			if _, err := w.q.tryPush(b, true); err != nil {
				return err
			}
			return w.cause
		}
	}
}

// entered counts n new entries of one index, and goes on to the next one unless the same index has more to come.
func (w *Writer) entered(n int, more bool) {
	w.seq += uint64(n) //nolint:gosec // a count
	w.txn.last = w.txn.index
	if !more {
		w.txn.index++
	}
}

// Flush hands over what is complete; called when the input has run dry. While a sync runs the block stays on offer and keeps filling.
func (w *Writer) Flush() {
	if w.err == nil {
		w.offer()
	}
}

func (w *Writer) offer() {
	b := w.cur
	if b == nil || b.complete.frames == 0 {
		return
	}
	w.cur = nil
	if w.txn.begun {
		w.cur = w.split(b)
	}
	b.truncate()
	b.out, b.commits = b.complete, true
	w.lent = b
	w.q.offer(b)
}

// rejoin puts the open transaction back behind the transactions that were offered while it was coming in, if they have not been taken: a
// transaction that arrives in several pieces while a sync runs would otherwise end up in a block of its own.
func (w *Writer) rejoin() {
	b := w.lent
	w.lent = nil
	if b == nil || w.cur == b || w.txn.parts > 0 || w.cur.complete.frames > 0 || b.size()+w.cur.size() > w.limit || !w.q.reclaim(b) {
		return
	}
	b.complete.end = max(b.complete.end, b.out.end)
	w.txn.at = carry(b, w.cur, w.txn.beginning, w.cur.frames[w.txn.at:])
	w.q.recycle(w.cur.frames)
	w.cur = b
}

// Abort forgets the open transaction, also what of it is in the log already, and all relations: the connection is gone, and the next one sends
// them again.
func (w *Writer) Abort() {
	if w.txn.begun {
		if w.cur.complete.frames > 0 {
			w.cur.truncate()
		} else {
			w.q.recycle(w.cur.frames)
			w.cur = nil
		}
		if w.txn.parts > 0 {
			w.q.abort(w.txn.parts)
		}
	}
	w.seq = w.committed
	w.txn = transaction{}
	w.relations = make(map[uint32]*relation)
	w.recent = nil
	w.offer()
}
