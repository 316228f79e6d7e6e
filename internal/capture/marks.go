package capture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Mark is where a watermark stands: everything that committed before it was written is in the change log, durably.
type Mark struct {
	Commit cdc.LSN // of its transaction
	End    cdc.LSN
}

// marks knows who waits for which watermark, and which transactions have come through the slot lately.
type marks struct {
	mu       sync.Mutex
	waiting  map[string]chan Mark // guarded by mu
	moved    chan struct{}        // guarded by mu; closed when the log has become durable further on; nil when nobody waits
	received xidSet               // guarded by mu
}

// committed notes a transaction whose changes have come.
func (m *marks) committed(xid uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.received.add(xid)
}

// passed tells whoever waits for a watermark where it was.
func (m *marks) passed(id string, mark Mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ch := m.waiting[id]; ch != nil {
		delete(m.waiting, id)
		ch <- mark
	}
}

func (m *marks) expect(id string) chan Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting == nil {
		m.waiting = map[string]chan Mark{}
	}
	ch := make(chan Mark, 1)
	m.waiting[id] = ch
	return ch
}

func (m *marks) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiting, id)
}

// durable wakes those who wait for the log.
func (m *marks) durable() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

func (m *marks) change() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moved == nil {
		m.moved = make(chan struct{})
	}
	return m.moved
}

// ErrEnded reports a capture whose Run has ended.
var ErrEnded = errors.New("the capture has ended")

// remark is how long a watermark may take before another is written: the connection that would have brought it back may be gone.
const remark = 15 * time.Second

// Watermark has a watermark written by emit (postgres.EmitWatermark) and waits until it has come back through the slot and what came before it is
// durable in the log. While changes do not flow it waits; ErrEnded says that they will not flow through this capture any more.
func (c *Capture) Watermark(ctx context.Context, emit func(ctx context.Context, slot, publication, id string) error) (Mark, error) {
	id := uuid.NewString()
	passed := c.marks.expect(id)
	defer c.marks.forget(id)
	var mark Mark
	for mark.End == 0 {
		cfg := c.config()
		if err := emit(ctx, cfg.Slot, cfg.Publication, id); err != nil {
			return Mark{}, err
		}
		select {
		case mark = <-passed:
		case <-time.After(remark):
		case <-c.ended:
			return Mark{}, ErrEnded
		case <-ctx.Done():
			return Mark{}, fmt.Errorf("wait for a watermark: %w", ctx.Err())
		}
	}
	for {
		moved := c.marks.change()
		if c.deps.Log.Durable() >= mark.End {
			return mark, nil
		}
		select {
		case <-moved:
		case <-c.ended:
			return Mark{}, ErrEnded
		case <-ctx.Done():
			return Mark{}, fmt.Errorf("wait for a watermark: %w", ctx.Err())
		}
	}
}

// Received lists those of the transactions that a snapshot cannot see, because it holds them for in progress or not begun, whose changes have
// come through the slot already. A commit is sent before it is visible, by as long as a synchronous standby takes to confirm it.
func (c *Capture) Received(inProgress []uint64, xmax uint64) []uint32 {
	c.marks.mu.Lock()
	defer c.marks.mu.Unlock()
	var all []uint32
	for _, xid := range inProgress {
		if low := uint32(xid); c.marks.received.has(low) { //nolint:gosec // the WAL has the lower half
			all = append(all, low)
		}
	}
	return c.marks.received.since(uint32(xmax), all) //nolint:gosec // the WAL has the lower half
}

// Remember notes transactions that came before this process began.
func (c *Capture) Remember(xids []uint32) {
	c.marks.mu.Lock()
	defer c.marks.mu.Unlock()
	for _, xid := range xids {
		c.marks.received.add(xid)
	}
}

// xidSet remembers the transaction ids that were added last, some two million around the newest, as bits.
type xidSet struct {
	pages  map[uint32]*[xidWords]uint64
	order  []uint32 // pages, oldest first
	newest uint32
	any    bool
}

const (
	xidShift = 15
	xidWords = 1 << xidShift / 64
	xidPages = 64
)

func (s *xidSet) add(xid uint32) {
	if !s.any || int32(xid-s.newest) > 0 { //nolint:gosec // ids go in a circle (PostgreSQL manual, "Preventing Transaction ID Wraparound Failures")
		s.newest, s.any = xid, true
	}
	n := xid >> xidShift
	p := s.pages[n]
	if p == nil {
		if s.pages == nil {
			s.pages = map[uint32]*[xidWords]uint64{}
		}
		if len(s.order) == xidPages {
			delete(s.pages, s.order[0])
			s.order = append(s.order[:0], s.order[1:]...)
		}
		p = new([xidWords]uint64)
		s.pages[n] = p
		s.order = append(s.order, n)
	}
	i := xid & (1<<xidShift - 1)
	p[i>>6] |= 1 << (i & 63)
}

func (s *xidSet) has(xid uint32) bool {
	p := s.pages[xid>>xidShift]
	i := xid & (1<<xidShift - 1)
	return p != nil && p[i>>6]&(1<<(i&63)) != 0
}

// since appends those from an id up to the newest.
func (s *xidSet) since(from uint32, dst []uint32) []uint32 {
	if !s.any {
		return dst
	}
	for ahead := int32(s.newest - from); ahead >= 0 && ahead < xidPages<<xidShift; ahead-- { //nolint:gosec // in a circle, as above
		if xid := s.newest - uint32(ahead); s.has(xid) {
			dst = append(dst, xid)
		}
	}
	return dst
}
