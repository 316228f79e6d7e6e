package ledger_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between Sequin and Postgres. It lets everything pass, until it was told to hold the replication stream back: then so many more
// messages of it go through, and nothing after them.
type proxy struct {
	target   string
	listener net.Listener

	mu    sync.Mutex
	left  int           // messages of the stream that may pass; negative for all
	held  chan struct{} // closed when the last of them has passed
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{target: target, listener: listener, left: -1, conns: map[net.Conn]bool{}}
	var working sync.WaitGroup
	working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			working.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		working.Wait()
	})
	return p
}

// hold lets n more messages of the replication stream through. The channel is closed once they have been sent.
func (p *proxy) hold(n int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.held = n, make(chan struct{})
	return p.held
}

// release lets everything through again, on new connections: those of now are cut.
func (p *proxy) release() {
	p.mu.Lock()
	p.left = -1
	p.mu.Unlock()
	p.cut()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
}

// keep remembers a connection so that it can be cut.
func (p *proxy) keep(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target) //nolint:noctx // on loopback
	if err != nil {
		_ = client.Close()
		return
	}
	p.keep(client)
	p.keep(server)
	replication := make(chan bool, 1)
	var both sync.WaitGroup
	both.Go(func() {
		defer server.Close()
		p.upward(client, server, replication)
	})
	both.Go(func() {
		defer client.Close()
		if <-replication {
			_ = p.downward(server, client)
			return
		}
		_, _ = io.Copy(client, server)
	})
	both.Wait()
}

// upward copies what the client sends, and tells from its first message whether this is a replication connection.
func (p *proxy) upward(client, server net.Conn, replication chan<- bool) {
	var head [4]byte
	if _, err := io.ReadFull(client, head[:]); err != nil {
		replication <- false
		return
	}
	rest := make([]byte, min(max(binary.BigEndian.Uint32(head[:]), 4)-4, 1<<16))
	_, err := io.ReadFull(client, rest)
	replication <- strings.Contains(string(rest), "replication\x00")
	if err != nil {
		return
	}
	if _, err := server.Write(append(head[:], rest...)); err != nil {
		return
	}
	_, _ = io.Copy(server, client)
}

var errHeld = errors.New("the stream is held back")

// downward copies the server's messages one by one. Those that carry changes ('w' in CopyData) are counted.
func (p *proxy) downward(server, client net.Conn) error {
	head := make([]byte, 5)
	var body []byte
	for {
		if _, err := io.ReadFull(server, head); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(head[1:])) - 4
		if n > cap(body) {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(server, body); err != nil {
			return err
		}
		change := head[0] == 'd' && n > 0 && body[0] == 'w'
		if change && !p.admit() {
			_, err := io.Copy(io.Discard, server) // until somebody cuts
			return errors.Join(errHeld, err)
		}
		if _, err := client.Write(append(head[:5:5], body...)); err != nil {
			return err
		}
		if change {
			p.admitted()
		}
	}
}

func (p *proxy) admit() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left != 0
}

// admitted counts a message that has been sent on.
func (p *proxy) admitted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left <= 0 {
		return
	}
	if p.left--; p.left == 0 {
		close(p.held)
	}
}
