package embedded_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens an engine in dir and closes it at the end of the test.
func open(t *testing.T, dir string) *embedded.Engine {
	t.Helper()
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)
	big := make([]byte, 5<<20)
	for i := range big {
		big[i] = byte(i * 7)
	}
	require.NoError(t, l.Append(t.Context(), engine.Block{First: 1, Data: []byte("x")}, engine.Block{First: 5, Data: big}))
	b, err := l.Read(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, uint64(5), b.First)
	require.Equal(t, big, b.Data)
	require.NoError(t, e.State().Apply(t.Context(), engine.Put("k", []byte("v"))))
	require.NoError(t, e.Close())
	e = open(t, dir)
	l, err = e.Log(t.Context(), "a")
	require.NoError(t, err)
	b, err = l.Last(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint64(5), b.First)
	require.Equal(t, big, b.Data)
}
