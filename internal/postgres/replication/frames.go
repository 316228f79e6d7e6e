package replication

import (
	"errors"
	"fmt"
)

var errNeedMore = errors.New("need more bytes")

// kindDrained stands for a message that was longer than the limit: its body holds the first bytes only.
const kindDrained = 0

// drainHead is how much of a drained message is kept: the XLogData header, the pgoutput kind and the relation's OID.
const drainHead = xlogHeader + 5

// frames cuts the byte stream into messages: a kind byte, an int32 length that counts itself, and the body. Bodies alias the buffer and are
// valid until the next call.
type frames struct {
	src  *wire
	buf  []byte
	r, w int // unread bytes are buf[r:w]
	base int // size of the buffer when no long message needs a bigger one
	max  int // longest body that is kept

	drainedSize int // body length of the message that was last drained
	toSkip      int // bytes of it still to come
	head        [drainHead]byte
}

func newFrames(src *wire, size, maxMessage int) *frames {
	return &frames{src: src, buf: make([]byte, size), base: size, max: maxMessage + xlogHeader}
}

// next returns the next message, waiting for it.
func (f *frames) next() (kind byte, body []byte, err error) {
	for {
		kind, body, err = f.buffered()
		if !errors.Is(err, errNeedMore) {
			return kind, body, err
		}
		if err := f.fill(); err != nil {
			return 0, nil, err
		}
	}
}

// buffered returns the next message if it is whole in the buffer, else errNeedMore.
func (f *frames) buffered() (kind byte, body []byte, err error) {
	if f.toSkip > 0 {
		return f.skip()
	}
	have := f.w - f.r
	if have < 5 {
		return 0, nil, errNeedMore
	}
	length := int(int32(be32(f.buf[f.r+1:]))) - 4 //nolint:gosec // an Int32 on the wire; a negative one is refused below
	if length < 0 {
		return 0, nil, fmt.Errorf("message with length %d in the replication stream", length+4)
	}
	if length > f.max {
		return f.startDrain(length)
	}
	if have < 5+length {
		f.reserve(5 + length)
		return 0, nil, errNeedMore
	}
	kind = f.buf[f.r]
	body = f.buf[f.r+5 : f.r+5+length : f.r+5+length]
	f.r += 5 + length
	return kind, body, nil
}

// startDrain keeps the head of a message that is too long and arranges for the rest to be skipped.
func (f *frames) startDrain(length int) (byte, []byte, error) {
	if f.w-f.r < 5+drainHead {
		f.reserve(5 + drainHead)
		return 0, nil, errNeedMore
	}
	copy(f.head[:], f.buf[f.r+5:])
	f.r += 5
	f.drainedSize, f.toSkip = length, length
	return f.skip()
}

// skip drops what is buffered of the long message, and reports it once it is past.
func (f *frames) skip() (byte, []byte, error) {
	n := min(f.toSkip, f.w-f.r)
	f.r += n
	f.toSkip -= n
	if f.toSkip > 0 {
		return 0, nil, errNeedMore
	}
	return kindDrained, f.head[:], nil
}

// reserve makes room for n contiguous bytes from r on; a buffer that one long message made big shrinks again once it is empty.
func (f *frames) reserve(n int) {
	if n <= len(f.buf)-f.r {
		return
	}
	if n <= len(f.buf) {
		f.compact()
		return
	}
	grown := make([]byte, max(n, min(2*len(f.buf), f.max+5)))
	copy(grown, f.buf[f.r:f.w])
	f.w -= f.r
	f.r = 0
	f.buf = grown
}

func (f *frames) compact() {
	copy(f.buf, f.buf[f.r:f.w])
	f.w -= f.r
	f.r = 0
}

// room prepares the buffer for a read.
func (f *frames) room() []byte {
	if f.r == f.w {
		f.r, f.w = 0, 0
		if len(f.buf) > 4*f.base {
			f.buf = make([]byte, f.base)
		}
	}
	if f.w == len(f.buf) {
		f.reserve(f.w - f.r + 1)
		if f.w == len(f.buf) {
			f.compact()
		}
	}
	return f.buf[f.w:]
}

// fill waits for at least one byte.
func (f *frames) fill() error {
	n, err := f.src.read(f.room())
	f.w += n
	return err
}

// tryFill takes what is there without waiting; 0 and no error when there is nothing.
func (f *frames) tryFill() (int, error) {
	n, err := f.src.tryRead(f.room())
	f.w += n
	return n, err
}
