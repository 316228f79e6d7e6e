package changelog

import (
	"sync"
	"sync/atomic"
	"time"
)

// Stats are counters since the log was opened, and its present state.
type Stats struct {
	Entries     uint64 // appended
	Blocks      uint64 // appended
	Syncs       uint64 // groups of blocks that shared one
	RawBytes    uint64 // appended, before compression
	StoredBytes uint64 // appended, as stored
	TooBig      uint64 // changes over the size limit

	// InvalidAnnotations counts transaction annotations that are not JSON, or too long; what they were meant for is not annotated.
	InvalidAnnotations uint64

	QueuedBytes uint64 // handed over and not yet synced
	CacheBytes  uint64 // of blocks kept for readers, estimated
	CacheHits   uint64
	CacheMisses uint64
	Gaps        uint64 // reads that met lost entries

	Size uint64 // bytes of the retained blocks, as stored

	Blocked error     // why nothing can be stored at present; nil when it can
	Since   time.Time // when that began
}

// counters is the live form of Stats.
type counters struct {
	entries, blocks, syncs, raw, bytes atomic.Uint64
	tooBig, invalidAnnotations         atomic.Uint64
	hits, misses, gaps                 atomic.Uint64
	size                               atomic.Int64
	mu                                 sync.Mutex
	blocked                            error     // guarded by mu
	since                              time.Time // guarded by mu
}

// Stats returns the present state.
func (l *Log) Stats() Stats {
	c := &l.stats
	c.mu.Lock()
	blocked, since := c.blocked, c.since
	c.mu.Unlock()
	return Stats{
		Entries: c.entries.Load(), Blocks: c.blocks.Load(), Syncs: c.syncs.Load(), RawBytes: c.raw.Load(), StoredBytes: c.bytes.Load(),
		TooBig: c.tooBig.Load(), InvalidAnnotations: c.invalidAnnotations.Load(),
		QueuedBytes: uint64(max(l.queue.queued(), 0)), CacheBytes: uint64(max(l.cache.bytes(), 0)),
		CacheHits: c.hits.Load(), CacheMisses: c.misses.Load(), Gaps: c.gaps.Load(),
		Size:    uint64(max(c.size.Load(), 0)),
		Blocked: blocked, Since: since,
	}
}

func (c *counters) stored(h *header) {
	c.entries.Add(h.entries())
	c.blocks.Add(1)
	c.raw.Add(uint64(h.rawSize))
	c.bytes.Add(h.size())
	c.size.Add(int64(h.size())) //nolint:gosec // a block
}

func (c *counters) cut(bytes uint64) { c.size.Add(-int64(bytes)) } //nolint:gosec // bytes on a storage

// block notes that the storage is full and reports whether that is new.
func (c *counters) block(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.blocked == nil
	if first {
		c.since = time.Now()
	}
	c.blocked = err
	return first
}

// unblock notes that there is room and reports whether that is new.
func (c *counters) unblock() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.blocked != nil
	c.blocked, c.since = nil, time.Time{}
	return was
}
