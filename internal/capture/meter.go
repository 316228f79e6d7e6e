package capture

import (
	"sync"
	"time"
)

// meter tells how long the reader has worked. A wait that lasts counts as it passes, not when it ends.
type meter struct {
	mu    sync.Mutex
	past  time.Duration // of what is over
	since time.Time     // when the work under way began; zero while the reader waits, or does not run
}

// work begins or ends a stretch of work.
func (m *meter) work(busy bool) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.since.IsZero() {
		m.past += now.Sub(m.since)
		m.since = time.Time{}
	}
	if busy {
		m.since = now
	}
}

// idle is work for whoever tells waits.
func (m *meter) idle(waits bool) { m.work(!waits) }

func (m *meter) worked() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since.IsZero() {
		return m.past
	}
	return m.past + time.Since(m.since)
}
