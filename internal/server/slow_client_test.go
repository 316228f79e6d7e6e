package server_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/server"
)

// Whoever sends the headers of a request drop by drop loses the connection, at every door of the real server, and nobody else notices.
func TestSlowHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	const limit, tolerance = 10 * time.Second, 10 * time.Second // a busy machine may be late
	r := newRig(t, pgtest.Shared(t), table, pull)
	short, err := os.MkdirTemp("", "sequin") //nolint:usetesting // t.TempDir is too long a name for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(short)) })
	r.opts.DataDir = filepath.Join(short, "data")
	r.begin()
	t.Cleanup(func() { r.end() }) // before its directory goes
	doors := map[string]net.Conn{}
	var dialer net.Dialer
	for name, address := range map[string][2]string{
		"API": {"tcp", r.server.Addr()}, "metrics": {"tcp", r.server.MetricsAddr()}, "operator": {"unix", filepath.Join(r.opts.DataDir, server.SocketName)},
	} {
		conn, err := dialer.DialContext(t.Context(), address[0], address[1])
		require.NoError(t, err, name)
		doors[name] = conn
	}
	began := time.Now()
	cut := make(chan string, len(doors))
	for name, conn := range doors {
		t.Cleanup(func() { _ = conn.Close() }) // the server has
		require.NoError(t, conn.SetDeadline(began.Add(limit+tolerance)))
		_, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "))
		require.NoError(t, err)
		go func() {
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := conn.Write([]byte("a")); err != nil {
					return
				}
			}
		}()
		go func() {
			_, err := io.Copy(io.Discard, conn)
			if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // of this very connection
				name += " holds on"
			}
			cut <- name
		}()
	}
	r.db.Exec(t, "insert into t values (1)")
	require.Equal(t, []string{"1"}, r.receive("pull", 1))
	for range doors {
		require.Contains(t, doors, <-cut)
	}
	require.Greater(t, time.Since(began), limit/2, "it was the time that ended them")
}
