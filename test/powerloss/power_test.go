package powerloss_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// power is the mains of one machine. What the machine says to the world, it says under it; so there is one instant after which nothing is
// heard of it any more, and that is the instant of which the disk keeps what it keeps.
type power struct {
	mu  sync.RWMutex
	off bool
	out chan struct{} // closed when it is off
}

func newPower() *power { return &power{out: make(chan struct{})} }

// during runs f unless the power is off, and reports whether it did.
func (p *power) during(f func()) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.off {
		return false
	}
	f()
	return true
}

func (p *power) on() bool { return p.during(func() {}) }

// cut ends the power; f sees the machine at that instant.
func (p *power) cut(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	close(p.out)
	f()
}

// proxy carries one machine's connections to Postgres, as long as there is power.
type proxy struct {
	listener net.Listener
	power    *power
	target   string

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

func newProxy(t testing.TB, p *power, target string) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	x := &proxy{listener: l, power: p, target: target, conns: map[net.Conn]struct{}{}}
	x.wg.Go(x.accept)
	return x
}

func (x *proxy) accept() {
	for {
		client, err := x.listener.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", x.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !x.keep(client, server) {
			return
		}
		x.wg.Go(func() { x.carry(server, client, true) })
		x.wg.Go(func() { x.carry(client, server, false) })
	}
}

// keep notes a pair of connections; after the end they are closed at once.
func (x *proxy) keep(conns ...net.Conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range conns {
		if x.closed {
			_ = c.Close()
			continue
		}
		x.conns[c] = struct{}{}
	}
	return !x.closed
}

// carry copies one direction. What the machine says counts only if it said it while it had power.
func (x *proxy) carry(to, from net.Conn, fromMachine bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			var failed error
			write := func() { _, failed = to.Write(buf[:n]) }
			if !fromMachine {
				write()
			} else if !x.power.during(write) {
				return
			}
			if failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (x *proxy) close() {
	_ = x.listener.Close()
	x.mu.Lock()
	x.closed = true
	for c := range x.conns {
		_ = c.Close()
	}
	x.mu.Unlock()
	x.wg.Wait()
}

func (x *proxy) port() int {
	addr, _ := x.listener.Addr().(*net.TCPAddr)
	return addr.Port
}
