package consumer

import (
	"time"
)

// state is where a message is.
type state uint8

const (
	held     state = iota // behind another of its group, or not scanned yet since the start
	ready                 // may be handed out
	inFlight              // handed out
	retrying              // waits for its next attempt
	dying                 // is becoming a dead letter
)

// entry is a message that is at the head of its group, or that has a history: attempts, a lease. All others are numbers in a backlog.
type entry struct {
	seq      uint64
	g, g2    *group    // g2: the old group of a change of key
	t        *table    // nil until it is at the head of its group
	lease    *lease    // pull only
	next     time.Time // not before
	timer    *timer    // while retrying
	redrive  *redrive  // handed out again from the dead letters
	attempts int       // that are over
	state    state
	arrived  uint8 // of a change of key: how many of its groups it heads
	fence    bool
	stored   bool // has a msg record
	slow     bool // ready in the lane's queue
	stale    bool // the ready queue may still point here although it left that state: not to be reused
}

type groupKey struct {
	oid  uint32
	hash uint64
}

// group is a set of messages that keep their order. It exists while there is one at its head.
type group struct {
	key   groupKey
	t     *table
	head  *entry   // ready, in flight, retrying or dying; or a change of key that waits for its other group
	extra []*entry // handed out together with the head, in order; held again once one before them failed
	tail  backlog  // waits behind them
}

// table counts what is in the window for the sake of fences, which wait for everything before them and hold back everything after.
type table struct {
	oid     uint32
	live    int     // scanned and not done, fence included, wait excluded
	fence   *entry  // waits or is being delivered
	blocked bool    // what is scanned goes to wait
	wait    backlog // behind the fence; scanned again when it is done
}

// timer is a deadline of an entry or a lease; kept in a heap.
type timer struct {
	at    time.Time
	index int
	e     *entry
	l     *lease
}

// timers is a heap by time (container/heap).
type timers []*timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}

func (t *timers) Push(x any) {
	tm, ok := x.(*timer)
	if !ok {
		return
	}
	tm.index = len(*t)
	*t = append(*t, tm)
}

func (t *timers) Pop() any {
	old := *t
	tm := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	tm.index = -1
	return tm
}

// readyQueue holds what may be handed out, lowest seq first: a ring for what the scan brings in ascending order, a heap for what comes back
// or moves up behind another. Entries that left the ready state meanwhile are dropped when they surface.
type readyQueue struct {
	ring []*entry // from off on
	off  int
	heap []*entry
}

func (q *readyQueue) push(e *entry) {
	if q.off == len(q.ring) {
		q.ring, q.off = q.ring[:0], 0
	}
	if len(q.ring) == 0 || e.seq > q.ring[len(q.ring)-1].seq {
		if len(q.ring) == cap(q.ring) && q.off > len(q.ring)/2 {
			n := copy(q.ring, q.ring[q.off:])
			clear(q.ring[n:])
			q.ring, q.off = q.ring[:n], 0
		}
		q.ring = append(q.ring, e)
		return
	}
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if q.heap[up].seq <= q.heap[i].seq {
			break
		}
		q.heap[up], q.heap[i] = q.heap[i], q.heap[up]
		i = up
	}
}

// pop removes the lowest entry that is ready, or returns nil.
func (q *readyQueue) pop() *entry {
	for {
		var e *entry
		switch {
		case q.off < len(q.ring) && (len(q.heap) == 0 || q.ring[q.off].seq < q.heap[0].seq):
			e = q.ring[q.off]
			q.ring[q.off] = nil
			q.off++
		case len(q.heap) > 0:
			e = q.popHeap()
		default:
			return nil
		}
		if e.state == ready {
			return e
		}
	}
}

func (q *readyQueue) popHeap() *entry {
	h := q.heap
	e := h[0]
	n := len(h) - 1
	h[0], h[n] = h[n], nil
	h = h[:n]
	q.heap = h
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < n && h[child].seq < h[least].seq {
				least = child
			}
		}
		if least == i {
			return e
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
