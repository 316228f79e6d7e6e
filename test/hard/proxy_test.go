package hard_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between Sequin and Postgres. It hands every message of the server to edit, which returns what to send instead.
type proxy struct {
	listener net.Listener
	target   string
	edit     func(kind byte, body []byte) []byte

	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// plainly is what a database needs for a proxy to understand the conversation.
const plainly = "    sslmode: disable"

// between puts a proxy between Sequin and its database, which is declared plainly.
func between(t *testing.T, r *rig, edit func(kind byte, body []byte) []byte) *proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, edit: edit, conns: map[net.Conn]bool{}}
	r.at(func(u *url.URL) {
		p.target = u.Host
		u.Host = listener.Addr().String()
	})
	p.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close() // ends the accepting
		p.cut()
		p.wg.Wait()
	})
	return p
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close() // that is the point
	}
}

func (p *proxy) keep(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	p.keep(client)
	p.keep(server)
	p.wg.Go(func() {
		_, _ = io.Copy(server, client) // until either end closes
		_ = server.Close()
	})
	for {
		var head [5]byte
		if _, err := io.ReadFull(server, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		out := head[:]
		if edited := p.edit(head[0], body); edited != nil {
			out = edited
		} else {
			out = append(out, body...)
		}
		if _, err := client.Write(out); err != nil {
			return
		}
	}
}

// frame is a message of the protocol.
func frame(kind byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...) //nolint:gosec // short
}

// walData is a message of the stream with a pgoutput message in it, in the place of another one.
func walData(like, pgoutput []byte) []byte {
	return frame('d', append(bytes.Clone(like[:25]), pgoutput...))
}

// streamed is the pgoutput message in a message of the server, nil if it has none.
func streamed(kind byte, body []byte) []byte {
	if kind != 'd' || len(body) < 26 || body[0] != 'w' {
		return nil
	}
	return body[25:]
}
