// Package enginetest is the suite that every engine passes. It knows an engine by its contract alone.
package enginetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
)

// Open opens the engine on one storage. A second call, after the first engine was closed, finds what the first one stored.
type Open func(ctx context.Context) (engine.Engine, error)

// Run runs the suite. Each test calls fresh for a storage of its own.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	t.Helper()
	for _, group := range [][]test{logTests, stateTests, watchTests, wholeTests} {
		for _, tt := range group {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				tt.run(t, &fixture{open: fresh(t)})
			})
		}
	}
}

type test struct {
	name string
	run  func(t *testing.T, f *fixture)
}

// fixture is one storage and the engine that is open on it.
type fixture struct {
	open   Open
	engine engine.Engine
}

// start opens the engine, closing the one before; the test's end closes the last.
func (f *fixture) start(t *testing.T) engine.Engine {
	t.Helper()
	if f.engine == nil {
		t.Cleanup(func() { require.NoError(t, f.engine.Close()) })
	} else {
		require.NoError(t, f.engine.Close())
	}
	e, err := f.open(t.Context())
	require.NoError(t, err)
	f.engine = e
	return e
}

// log opens a log of a (re)started engine.
func (f *fixture) log(t *testing.T) engine.Log {
	t.Helper()
	l, err := f.start(t).Log(t.Context(), "orders")
	require.NoError(t, err)
	return l
}

func (f *fixture) state(t *testing.T) engine.State {
	t.Helper()
	return f.start(t).State()
}

// block makes one whose data cannot be mistaken for another's.
func block(first uint64, size int) engine.Block {
	data := make([]byte, size)
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], first*0x9e3779b97f4a7c15+uint64(size)) //nolint:gosec // any number will do
	for i := range data {
		data[i] = seed[i%8] + byte(i/8) + byte(i>>11)
	}
	return engine.Block{First: first, Data: data}
}

func appendBlocks(t *testing.T, l engine.Log, blocks ...engine.Block) {
	t.Helper()
	require.NoError(t, l.Append(t.Context(), blocks...))
}

// content reads the whole log by its contract: Next from before the first entry.
func content(t *testing.T, l engine.Log) []engine.Block {
	t.Helper()
	var out []engine.Block
	if b, err := l.Read(t.Context(), 0); err == nil {
		out = append(out, b)
	} else {
		require.ErrorIs(t, err, engine.ErrNotFound)
	}
	for seq := uint64(0); ; {
		b, err := l.Next(t.Context(), seq)
		if err != nil {
			require.ErrorIs(t, err, engine.ErrNotFound)
			return out
		}
		require.Greater(t, b.First, seq)
		out = append(out, b)
		seq = b.First
	}
}

// same compares blocks without printing megabytes.
func same(t *testing.T, want, got []engine.Block) {
	t.Helper()
	require.Equal(t, firsts(want), firsts(got))
	for i := range want {
		require.True(t, bytes.Equal(want[i].Data, got[i].Data), "data of block %d", want[i].First)
	}
}

func firsts(blocks []engine.Block) []uint64 {
	out := []uint64{}
	for _, b := range blocks {
		out = append(out, b.First)
	}
	return out
}

// get reads one value; ok is false when there is none.
func get(t *testing.T, s engine.State, key string) (e engine.Entry, ok bool) {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil {
		require.ErrorIs(t, err, engine.ErrNotFound)
		return e, false
	}
	require.Equal(t, key, e.Key)
	require.NotZero(t, e.Revision)
	require.False(t, e.Deleted)
	return e, true
}

func apply(t *testing.T, s engine.State, ops ...engine.Op) {
	t.Helper()
	require.NoError(t, s.Apply(t.Context(), ops...))
}

// list reads the keys and values under a prefix.
func list(t *testing.T, s engine.State, prefix string) (keys []string, values map[string]string) {
	t.Helper()
	values = map[string]string{}
	for e, err := range s.List(t.Context(), prefix) {
		require.NoError(t, err)
		keys = append(keys, e.Key)
		values[e.Key] = string(e.Value)
	}
	return keys, values
}
