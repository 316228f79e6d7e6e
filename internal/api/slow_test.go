package api_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
)

// pipes is a listener whose connections are pipes, so that time can be virtual.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// A client that sends its request drop by drop, or not to the end, loses the connection in time, whatever the handler does with the body.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	const start = "POST /read HTTP/1.1\r\nHost: x\r\n"
	for _, tt := range []struct {
		name   string
		send   string
		drop   string // sent every second from then on; "" for nothing more
		within time.Duration
	}{
		{"nothing comes", "", "", 10 * time.Second},
		{"headers trickle", start + "X-A: ", "a", 10 * time.Second},
		{"more and more headers", start, "X: y\r\n", 10 * time.Second},
		{"headers have no end", start + "X-A: a\r\n", "", 10 * time.Second},
		{"the second request trickles", "GET /unread HTTP/1.1\r\nHost: x\r\n\r\nGET", " ", 10 * time.Second},
		{"nothing more comes", "GET /unread HTTP/1.1\r\nHost: x\r\n\r\n", "", 2 * time.Minute},
		{"a body trickles", start + "Content-Length: 1000000\r\n\r\n", "a", 30 * time.Second},
		{"a body trickles in chunks", start + "Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 30 * time.Second},
		{"a body does not come", start + "Content-Length: 10\r\n\r\n", "", 30 * time.Second},
		{"a body that nobody reads does not come", "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", "", 30 * time.Second},
		{"a body of a GET does not come", "GET /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", "", 30 * time.Second},
		{"a body that nobody reads trickles", "GET /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := api.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/read" {
						_, _ = io.Copy(io.Discard, r.Body)
					}
				}), slog.New(slog.DiscardHandler))
				l := pipes{make(chan net.Conn), make(chan struct{})}
				served := make(chan error, 1)
				go func() { served <- server.Serve(l) }()
				client, conn := net.Pipe()
				l.conns <- conn
				began := time.Now()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for text := tt.send; ; text = tt.drop {
						if text != "" {
							if _, err := client.Write([]byte(text)); err != nil {
								return
							}
						}
						if tt.drop == "" {
							return
						}
						<-time.After(time.Second)
					}
				}()
				_, _ = io.Copy(io.Discard, client) // until the server ends it
				require.LessOrEqual(t, time.Since(began), tt.within+time.Second)
				require.NoError(t, client.Close())
				<-sent
				require.NoError(t, server.Close())
				require.ErrorIs(t, <-served, http.ErrServerClosed)
			})
		})
	}
}
