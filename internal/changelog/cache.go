package changelog

import (
	"container/list"
	"slices"
	"sort"
	"sync"
)

const (
	// smallestCharge is what a cached block costs at least, so that many tiny ones stay few enough to search.
	smallestCharge = 4 << 10
	// changeCharge is what a decoded change costs beside its bytes: the Change itself, and the part of its JSON that does not depend on them.
	changeCharge = 208 + 512
	// maxLinks bounds the checksums remembered for checking successors.
	maxLinks = 4096
)

// entry is a cached block: raw until its first reader decodes it, then shared.
type entry struct {
	header header
	first  uint64
	last   uint64
	fresh  bool // appended by this process, not read back
	memory int  // that raw takes, and the changes that alias it

	once sync.Once
	raw  []byte // until once is done
	seg  *Segment
	err  error

	charge int64         // guarded by the cache's mutex, as is elem
	elem   *list.Element // nil when it is not in the cache
}

func newEntry(h header, raw []byte, fresh bool) *entry {
	return &entry{
		header: h, first: h.first, last: h.last, fresh: fresh, raw: raw, memory: cap(raw), charge: max(int64(cap(raw)), smallestCharge),
	}
}

// decodedCharge estimates the memory of a decoded block, with the JSON that its readers will keep in Change.Encoded: the rows come back as
// JSON, about twice their size.
func (e *entry) decodedCharge() int64 {
	return max(int64(e.memory)+2*int64(e.header.rawSize)+int64(e.header.entries())*changeCharge, smallestCharge) //nolint:gosec // bounded by the block
}

// cache keeps blocks within a budget. Freshly appended ones and those read back for lagging readers have lists of their own, and the latter
// get at most half: a reader that races through the past does not drive out what the others are about to read.
type cache struct {
	limit int64

	mu      sync.Mutex
	index   []*entry   // by first; guarded by mu, as is all that follows
	fresh   *list.List // least recently used in front
	old     *list.List
	size    int64
	oldSize int64
	links   map[uint64]uint32 // last number of a block → its checksum
	linked  []uint64          // keys of links, a ring
	next    int               // in linked
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, fresh: list.New(), old: list.New(), links: make(map[uint64]uint32)}
}

// at is the position in index of the first entry that ends at or behind seq. The caller holds mu.
func (c *cache) at(seq uint64) int {
	return sort.Search(len(c.index), func(i int) bool { return c.index[i].last >= seq })
}

// find returns the entry that holds seq, or nil.
func (c *cache) find(seq uint64) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.holding(seq)
	if e != nil {
		c.list(e).MoveToBack(e.elem)
	}
	return e
}

// peek is find without counting as use.
func (c *cache) peek(seq uint64) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holding(seq)
}

func (c *cache) holding(seq uint64) *entry {
	i := c.at(seq)
	if i == len(c.index) || c.index[i].first > seq {
		return nil
	}
	return c.index[i]
}

func (c *cache) list(e *entry) *list.List {
	if e.fresh {
		return c.fresh
	}
	return c.old
}

// add puts e into the cache and returns it, or the entry that was there already.
func (c *cache) add(e *entry) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link(e.last, e.header.sum)
	i := c.at(e.first)
	if i < len(c.index) && c.index[i].first == e.first && c.index[i].header.sum == e.header.sum {
		return c.index[i]
	}
	// What is left of a transaction that was aborted must not stay beside its successor.
	for i < len(c.index) && c.index[i].first <= e.last {
		c.remove(c.index[i])
	}
	c.index = slices.Insert(c.index, i, e)
	e.elem = c.list(e).PushBack(e)
	c.account(e, e.charge)
	c.evict()
	return e
}

// decoded sets e's charge once it is decoded.
func (c *cache) decoded(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	charge := e.decodedCharge()
	if e.elem != nil {
		c.account(e, charge-e.charge)
	}
	e.charge = charge
	c.evict()
}

func (c *cache) account(e *entry, charge int64) {
	c.size += charge
	if !e.fresh {
		c.oldSize += charge
	}
}

// evict gets the cache back to its limits. The caller holds mu.
func (c *cache) evict() {
	for c.oldSize > c.limit/2 && c.old.Len() > 0 {
		c.remove(c.old.Front().Value.(*entry))
	}
	for c.size > c.limit && c.fresh.Len() > 0 {
		c.remove(c.fresh.Front().Value.(*entry))
	}
}

func (c *cache) remove(e *entry) {
	c.list(e).Remove(e.elem)
	e.elem = nil
	c.account(e, -e.charge)
	if i := c.at(e.first); i < len(c.index) && c.index[i] == e {
		c.index = slices.Delete(c.index, i, i+1)
	}
}

// dropAfter forgets everything behind seq.
func (c *cache) dropAfter(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.index) - 1; i >= 0 && c.index[i].last > seq; i-- {
		c.remove(c.index[i])
	}
	for last := range c.links {
		if last > seq {
			delete(c.links, last)
		}
	}
}

// dropBefore forgets the blocks that end before seq.
func (c *cache) dropBefore(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.index) > 0 && c.index[0].last < seq {
		c.remove(c.index[0])
	}
}

// link remembers the checksum of the block that ends at last. The caller holds mu.
func (c *cache) link(last uint64, sum uint32) {
	if _, ok := c.links[last]; ok {
		c.links[last] = sum
		return
	}
	if len(c.linked) < maxLinks {
		c.linked = append(c.linked, last)
	} else {
		delete(c.links, c.linked[c.next])
		c.linked[c.next] = last
		c.next = (c.next + 1) % maxLinks
	}
	c.links[last] = sum
}

// linkTo returns the checksum of the block that ends at last, if it is remembered.
func (c *cache) linkTo(last uint64) (uint32, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, ok := c.links[last]
	return sum, ok
}

// remember notes a checksum without a cached block.
func (c *cache) remember(last uint64, sum uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link(last, sum)
}

func (c *cache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}
