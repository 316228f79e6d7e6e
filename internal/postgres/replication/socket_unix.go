//go:build unix

package replication

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sequinstream/sequin/internal/postgres"
)

// descriptor is a socket that only we know of. Reads wait in poll(2) for the socket or for wake, the reading end of a pipe that interrupt
// closes: shutting the socket down instead would make a server on a unix socket fail its next send before it has read our last words.
type descriptor struct {
	fd     int
	tcp    bool
	narrow bool          // TCP with the small receive buffer that connections on the loopback get
	pause  time.Duration // the last nap behind a narrow window
	wake   *os.File

	mu    sync.Mutex
	waker *os.File // nil once interrupted
}

// bareSocket duplicates the descriptor of a plain connection and closes the original, which takes it out of the runtime's poller. It returns
// nil for connections that are not plain sockets (TLS).
func bareSocket(conn net.Conn) (socket, error) {
	var file *os.File
	var err error
	tcp, narrow := false, false
	switch c := conn.(type) {
	case *net.TCPConn:
		file, err = c.File()
		tcp = true
	case *net.UnixConn:
		file, err = c.File()
	default:
		return nil, nil //nolint:nilnil // no bare socket is an ordinary answer
	}
	if err != nil {
		return nil, fmt.Errorf("duplicate the socket: %w", err)
	}
	defer func() { _ = file.Close() }() // fd below is a duplicate of its own
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the socket: %w", err)
	}
	wake, waker, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), unix.Close(fd))
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		narrow = isNarrow(tcp, fd)
	}
	d := &descriptor{fd: fd, tcp: tcp, narrow: narrow, pause: shortestNap, wake: wake, waker: waker}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	if err := conn.Close(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *descriptor) prepare() error {
	if err := unix.SetNonblock(d.fd, false); err != nil {
		return fmt.Errorf("make the socket blocking: %w", err)
	}
	limit := unix.NsecToTimeval(writeTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(d.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return fmt.Errorf("limit the time of a send: %w", err)
	}
	if !d.tcp {
		return nil
	}
	// A server that vanished without a FIN (a failed host, a forgotten NAT entry) must be noticed: we only answer, so nothing else would.
	for _, o := range keepaliveOptions {
		if err := unix.SetsockoptInt(d.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("turn on TCP keepalive: %w", err)
		}
	}
	return nil
}

type socketOption struct{ level, name, value int }

func (d *descriptor) read(p []byte) (int, error) {
	//nolint:gosec // descriptors are small
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}, {Fd: int32(d.wake.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, os.NewSyscallError("poll", err)
		}
		if fds[1].Revents != 0 {
			return 0, errInterrupted
		}
		if n, err := d.tryRead(p); n > 0 || err != nil {
			return n, err
		}
	}
}

func (d *descriptor) tryRead(p []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(d.fd, p, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		case err == nil && n == 0:
			return 0, errEndOfStream
		}
		return max(n, 0), err
	}
}

// errEndOfStream is a lost connection like any other: a server that is stopped or killed ends it without a word.
var errEndOfStream = fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)

func (d *descriptor) write(p []byte) error {
	until := time.Now().Add(writeTimeout)
	for len(p) > 0 {
		n, err := unix.Write(d.fd, p)
		if n > 0 {
			p = p[n:]
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("write", err)
		}
		if len(p) > 0 && time.Now().After(until) {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

func (d *descriptor) interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waker != nil {
		_ = d.waker.Close() // a pipe's end; the reading end sees the hang-up whatever Close says
		d.waker = nil
	}
}

func (d *descriptor) close() error {
	d.interrupt()
	return errors.Join(d.wake.Close(), unix.Close(d.fd))
}

// Naps, once a read has found the socket empty. A sleep of so little takes about 60 µs longer.
const (
	// plainNap is for unix sockets and for servers on other machines. It saves both sides most wake-ups. Over a unix socket it must not be much
	// longer: the kernel charges at least 768 bytes for each send against the sender's 208 KiB, so after 200 to 280 sends, which is half a
	// millisecond's work, the server would wait for us.
	plainNap = 100 * time.Microsecond

	// A narrow window is full soon after a nap has begun, and what the server sends then costs it next to nothing: it is put into the segment
	// that waits. The longer the nap, the fewer segments travel alone; a full send buffer would stop the server.
	shortestNap = 50 * time.Microsecond
	longestNap  = 8 * time.Millisecond
	gathered    = 256 << 10 // bytes that a nap should bring
)

// nap sleeps for as long as it is good for both sides. got is what came since the nap before.
func (d *descriptor) nap(got int) {
	if !d.narrow {
		sleep(plainNap)
		return
	}
	d.pause = adapt(d.pause, got)
	sleep(d.pause)
}

// adapt makes the next nap so long that it brings what is wanted, in steps of at most two.
func adapt(pause time.Duration, got int) time.Duration {
	next := pause * gathered / time.Duration(max(got, 1))
	next = min(max(next, pause/2), pause*2)
	return min(max(next, shortestNap), longestNap)
}

// isNarrow tells whether the connection was made by postgres.Config, to a server on this machine.
func isNarrow(c *net.TCPConn, fd int) bool {
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || !remote.IP.IsLoopback() {
		return false
	}
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return err == nil && size <= 2*postgres.LoopbackBuffer // the kernel doubles it for its own needs
}
