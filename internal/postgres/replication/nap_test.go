//go:build unix

package replication

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/postgres"
)

// A nap grows until it brings what is wanted, shrinks when it brings more, and stays within its bounds.
func TestNapsAdapt(t *testing.T) {
	t.Parallel()
	settle := func(bytesPerMillisecond int) time.Duration {
		pause := shortestNap
		for range 50 {
			pause = adapt(pause, int(int64(bytesPerMillisecond)*pause.Microseconds()/1000))
		}
		return pause
	}
	require.Equal(t, longestNap, settle(0))
	require.Equal(t, longestNap, settle(1<<10))
	require.InDelta(t, 2*time.Millisecond, settle(gathered/2), float64(100*time.Microsecond))
	require.Equal(t, shortestNap, settle(1<<30))
}

// Only a connection on the loopback that was made with the small buffer has a narrow window.
func TestNarrowConnections(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	for _, size := range []int{0, postgres.LoopbackBuffer} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		tcp := conn.(*net.TCPConn)
		if size > 0 {
			require.NoError(t, tcp.SetReadBuffer(size))
		}
		raw, err := tcp.SyscallConn()
		require.NoError(t, err)
		var narrow bool
		require.NoError(t, raw.Control(func(fd uintptr) { narrow = isNarrow(tcp, int(fd)) }))
		require.Equal(t, size > 0, narrow)
	}
}
