//go:build unix

package postgres

import (
	"net/netip"
	"strings"
	"syscall"
)

// narrowLoopback gives a TCP connection to a server on this machine a small receive buffer, before the server learns of its size. A walsender
// sends each message as a packet of its own, and on the loopback it is the sender who carries a packet all the way to the receiver. Once the
// window is full, though, what it sends is put into the segment that waits, which takes a fifth of the time. It must be small from the first
// packet on: no segment is bigger than half the biggest window ever announced, and one that exceeds the window waits for a timer of 200 ms.
func narrowLoopback(network, address string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	if peer, err := netip.ParseAddrPort(address); err != nil || !peer.Addr().Unmap().IsLoopback() {
		return nil //nolint:nilerr // what is no address is not on the loopback
	}
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, LoopbackBuffer) // it only makes things faster
	})
}
