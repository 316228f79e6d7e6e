package changelog_test

import (
	"context"
	"slices"
	"sort"
	"sync"

	"github.com/sequinstream/sequin/internal/engine"
)

// memory is an engine.Log in memory, with the troubles that tests want of it.
type memory struct {
	mu      sync.Mutex
	blocks  []engine.Block               // ascending; guarded by mu
	appends int                          // calls
	before  func(b []engine.Block) error // runs before an append, outside the mutex
	cuts    int                          // calls of TrimBack
	reads   int
	corrupt map[uint64]bool // keys that the storage itself cannot read
}

func (m *memory) Append(ctx context.Context, blocks ...engine.Block) error {
	m.mu.Lock()
	before := m.before
	m.mu.Unlock()
	if before != nil {
		if err := before(blocks); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appends++
	for _, b := range blocks {
		b.Data = slices.Clone(b.Data)
		delete(m.corrupt, b.First)
		i := m.search(b.First)
		if i < len(m.blocks) && m.blocks[i].First == b.First {
			m.blocks[i] = b
		} else {
			m.blocks = slices.Insert(m.blocks, i, b)
		}
	}
	return nil
}

// search is the index of the first block at or behind first.
func (m *memory) search(first uint64) int {
	return sort.Search(len(m.blocks), func(i int) bool { return m.blocks[i].First >= first })
}

func (m *memory) at(i int) (engine.Block, error) {
	if i < 0 || i >= len(m.blocks) {
		return engine.Block{}, engine.ErrNotFound
	}
	if first := m.blocks[i].First; m.corrupt[first] {
		return engine.Block{}, &engine.DamageError{From: first, To: first, Cause: engine.ErrCorrupt}
	}
	b := m.blocks[i]
	b.Data = slices.Clone(b.Data)
	return b, nil
}

func (m *memory) Read(_ context.Context, seq uint64) (engine.Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	i := sort.Search(len(m.blocks), func(i int) bool { return m.blocks[i].First > seq })
	return m.at(i - 1)
}

func (m *memory) Next(_ context.Context, seq uint64) (engine.Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return m.at(sort.Search(len(m.blocks), func(i int) bool { return m.blocks[i].First > seq }))
}

func (m *memory) Last(context.Context) (engine.Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at(len(m.blocks) - 1)
}

func (m *memory) TrimFront(_ context.Context, seq uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocks = slices.Delete(m.blocks, 0, m.search(seq))
	return nil
}

func (m *memory) TrimBack(_ context.Context, seq uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cuts++
	i := sort.Search(len(m.blocks), func(i int) bool { return m.blocks[i].First > seq })
	m.blocks = m.blocks[:i:i]
	return nil
}

func (m *memory) Size(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, b := range m.blocks {
		n += len(b.Data)
	}
	return uint64(n), nil
}

// prefix is a copy of the first n blocks, as a crash may leave them.
func (m *memory) prefix(n int) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{blocks: slices.Clone(m.blocks[:n])}
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.blocks)
}

func (m *memory) setBefore(f func(b []engine.Block) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = f
}

// damage changes one byte of the i-th block.
func (m *memory) damage(i, at int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data := slices.Clone(m.blocks[i].Data)
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 0x40
	m.blocks[i].Data = data
}

// first is the key of the i-th block.
func (m *memory) first(i int) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocks[i].First
}

func (m *memory) remove(i int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocks = slices.Delete(slices.Clone(m.blocks), i, i+1)
}
