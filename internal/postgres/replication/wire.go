package replication

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errInterrupted ends a read that interrupt broke off.
var errInterrupted = errors.New("interrupted")

// writeTimeout bounds a status update: a server that takes none of our 40 bytes for so long is gone.
const writeTimeout = 30 * time.Second

// socket is a bare descriptor outside Go's poller. A blocking read there wakes one thread and nothing else, which matters when the server
// sends each change as a packet of its own; a TLS connection has none and reads through net.Conn.
type socket interface {
	read(p []byte) (int, error)    // waits
	tryRead(p []byte) (int, error) // 0, nil when nothing is there
	write(p []byte) error
	interrupt() // ends reads, now and later; writes go on
	close() error
	// nap pauses reading for the kernel to gather small sends without making the sender wait; got bytes came since the nap before.
	nap(got int)
}

// wire reads for one goroutine and writes for another.
type wire struct {
	conn        net.Conn // nil when sock is set
	sock        socket
	interrupted atomic.Bool
	last        time.Time // reads after the farewell may wait until then; only the reader sets it

	writing sync.Mutex // one message at a time
}

// newWire takes the connection over; plain TCP and unix sockets lose their net.Conn.
func newWire(conn net.Conn) (*wire, error) {
	sock, err := bareSocket(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if sock != nil {
		return &wire{sock: sock}, nil
	}
	return &wire{conn: conn}, nil
}

func (w *wire) read(p []byte) (int, error) {
	if w.sock != nil {
		n, err := w.sock.read(p)
		return w.result(n, err)
	}
	n, err := w.conn.Read(p)
	if n > 0 {
		return n, nil
	}
	return w.result(n, err)
}

func (w *wire) result(n int, err error) (int, error) {
	switch {
	case n > 0:
		return n, nil
	case w.interrupted.Load():
		return 0, errInterrupted
	case err == nil || errors.Is(err, io.EOF):
		return 0, fmt.Errorf("read from the server: %w", io.ErrUnexpectedEOF)
	default:
		return 0, fmt.Errorf("read from the server: %w", err)
	}
}

// tryRead is nothing on a net.Conn, where every read may wait, until the farewell allows that.
func (w *wire) tryRead(p []byte) (int, error) {
	if w.sock == nil {
		if w.last.IsZero() {
			return 0, nil
		}
		if err := w.conn.SetReadDeadline(w.last); err != nil {
			return 0, err
		}
		return w.conn.Read(p)
	}
	n, err := w.sock.tryRead(p)
	if n == 0 && err == nil {
		return 0, nil
	}
	return w.result(n, err)
}

func (w *wire) write(p []byte) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if w.sock != nil {
		return w.sock.write(p)
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := w.conn.Write(p)
	return err
}

// interrupt ends the current and every later read; it is safe from any goroutine.
func (w *wire) interrupt() {
	w.interrupted.Store(true)
	if w.sock != nil {
		w.sock.interrupt()
		return
	}
	_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, whose reads end anyway
}

func (w *wire) close() {
	if w.sock != nil {
		_ = w.sock.close()
		return
	}
	_ = w.conn.Close() // everything that matters was written and answered before
}

// nap lets more gather in the kernel, where that can be done.
func (w *wire) nap(got int) bool {
	if w.sock == nil {
		return false
	}
	w.sock.nap(got)
	return true
}

func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded)
}
