//go:build !linux

package wasm

// memory is the linear memory of an instance. Here it is set back by copying all of it.
type memory struct {
	b       []byte
	most    uint64
	refused bool // it was asked for more than there may be
}

type image struct{ b []byte }

func (i *image) len() int { return len(i.b) }
func (i *image) free()    { i.b = nil }

func newMemory(most uint64) *memory { return &memory{most: most} }

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.most {
		m.refused = true
		return nil
	}
	m.b = append(m.b, make([]byte, size-uint64(len(m.b)))...)
	return m.b
}

// Free implements experimental.LinearMemory.
func (m *memory) Free() { m.b = nil }

func (m *memory) len() int { return len(m.b) }
func (m *memory) begin()   {}

func (m *memory) snapshot() (*image, error) { return &image{b: append([]byte{}, m.b...)}, nil }

func (m *memory) restore(i *image) error {
	copy(m.b, i.b)
	return nil
}
