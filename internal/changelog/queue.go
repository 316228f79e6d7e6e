package changelog

import (
	"errors"
	"sync"

	"github.com/sequinstream/sequin/internal/cdc"
)

// ErrStopped reports a write to a log whose Run has returned.
var ErrStopped = errors.New("the change log has stopped")

// item is one thing for the appender: a block, a mark or an abort.
type item struct {
	block *block
	mark  cdc.LSN
	epoch uint32 // of the mark
	abort bool   // take back the parts of the open transaction that are in the log
}

// queue hands blocks from the writer to the appender, in order and bounded by bytes.
//
// A block on offer is one that the writer still fills: Flush offers what is complete, the appender takes it when it has nothing else to do, and
// a writer that comes back before that reclaims it. So while a sync runs, transactions gather in one block.
type queue struct {
	limit   int
	bufSize int
	work    chan struct{} // wakes the appender
	room    chan struct{} // wakes the writer

	mu      sync.Mutex
	items   []item // guarded by mu, as is all that follows
	offered *block
	bytes   int // of blocks queued and being synced
	busy    bool
	err     error // set once the appender is gone
	spare   [][]byte
}

func newQueue(limit, bufSize int) *queue {
	return &queue{limit: limit, bufSize: bufSize, work: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tryPush queues the block unless the queue is full and force is not set. What is on offer goes before it.
func (q *queue) tryPush(b *block, force bool) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return false, q.err
	}
	q.promote()
	if q.bytes >= q.limit && !force {
		return false, nil
	}
	q.bytes += len(b.frames)
	q.items = append(q.items, item{block: b})
	wake(q.work)
	return true, nil
}

// promote moves the block on offer to the end of the queue. The caller holds mu.
func (q *queue) promote() {
	if q.offered == nil {
		return
	}
	q.bytes += len(q.offered.frames)
	q.items = append(q.items, item{block: q.offered})
	q.offered = nil
	wake(q.work)
}

// offer lends a block to the appender.
func (q *queue) offer(b *block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.promote()
	q.offered = b
	if !q.busy {
		wake(q.work)
	}
}

// reclaim gets b back, unless it was taken or must not grow any more.
func (q *queue) reclaim(b *block) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.offered != b {
		return false
	}
	q.offered = nil
	return true
}

// mark queues lsn behind everything that was handed over, and reports true when there is nothing of that kind.
func (q *queue) mark(epoch uint32, lsn cdc.LSN) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.offered != nil && q.offered.epoch == epoch {
		q.offered.out.end = max(q.offered.out.end, lsn)
		return false
	}
	q.promote()
	if n := len(q.items); n > 0 {
		last := &q.items[n-1]
		switch {
		case last.block != nil && last.block.commits && last.block.epoch == epoch:
			last.block.out.end = max(last.block.out.end, lsn)
			return false
		case last.block == nil && !last.abort && last.epoch == epoch:
			last.mark = max(last.mark, lsn)
			return false
		}
	} else if !q.busy {
		return true
	}
	q.items = append(q.items, item{mark: lsn, epoch: epoch})
	wake(q.work)
	return false
}

// abort takes back parts blocks of the open transaction: those that still wait at once, the others by way of the appender.
func (q *queue) abort(parts uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.items)
	for ; parts > 0 && n > 0 && q.items[n-1].block != nil && !q.items[n-1].block.commits; n-- {
		q.bytes -= len(q.items[n-1].block.frames)
		q.items[n-1] = item{}
		parts--
	}
	q.items = q.items[:n]
	if parts > 0 {
		q.items = append(q.items, item{abort: true})
		wake(q.work)
	}
	wake(q.room)
}

// take empties the queue into the appender's hands; an empty one means that there is nothing to do, and that the appender is idle.
func (q *queue) take(into []item) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.promote()
	into = append(into[:0], q.items...)
	clear(q.items)
	q.items = q.items[:0]
	q.busy = len(into) > 0
	return into
}

// full reports whether there is a block's worth of work, so that lingering for more would gain nothing.
func (q *queue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) > 0
}

// done gives back the room that a group took.
func (q *queue) done(bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= bytes
	wake(q.room)
}

// close refuses everything from now on.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	wake(q.room)
}

func (q *queue) queued() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// maxSpare is how many buffers wait for their next block.
const maxSpare = 3

// recycle keeps a buffer that nothing refers to any more.
func (q *queue) recycle(buf []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.spare) < maxSpare && cap(buf) <= 2*q.bufSize {
		q.spare = append(q.spare, buf[:0])
	}
}

// buffer is an empty buffer with room for a block.
func (q *queue) buffer() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if k := len(q.spare); k > 0 {
		buf := q.spare[k-1]
		q.spare[k-1] = nil
		q.spare = q.spare[:k-1]
		return buf
	}
	return make([]byte, 0, q.bufSize)
}
