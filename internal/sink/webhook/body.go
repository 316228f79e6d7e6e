package webhook

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/sequinstream/sequin/internal/sink"
)

// appendEnvelope appends {"data":[…]} around the batch.
func appendEnvelope(dst []byte, batch []sink.Message) []byte {
	dst = append(dst, `{"data":[`...)
	for i := range batch {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, batch[i].Body...)
	}
	return append(dst, `]}`...)
}

// A buffer above this size is left to the garbage collector, so that one huge batch does not stay in memory.
const maxKeptBuffer = 1 << 20

// buffer is reused between requests. It may be given back as soon as the payload that shows it was released.
type buffer struct{ bytes []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func takeBuffer() *buffer {
	b, _ := buffers.Get().(*buffer)
	b.bytes = b.bytes[:0]
	return b
}

func (b *buffer) giveBack() {
	if cap(b.bytes) <= maxKeptBuffer {
		buffers.Put(b)
	}
}

// Write makes the buffer a target for compression.
func (b *buffer) Write(p []byte) (int, error) {
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

var compressors = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}

// compress appends the gzip form of body to b.
func (b *buffer) compress(body []byte) error {
	w, _ := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(b)
	if _, err := w.Write(body); err != nil {
		return err
	}
	return w.Close()
}

var errReleased = errors.New("the request has ended")

// payload lends bytes to the HTTP transport, which may go on reading a body on its own goroutine after RoundTrip has returned (an early
// answer, a timeout, a cancelled request). After release such a reader gets an error instead of memory that belongs to the next request.
type payload struct {
	mu    sync.Mutex
	bytes []byte
	ended bool
}

func (p *payload) release() {
	p.mu.Lock()
	p.bytes, p.ended = nil, true
	p.mu.Unlock()
}

// reader returns a body from the start; the transport asks for another when it has to send the request again on a new connection.
func (p *payload) reader() (io.ReadCloser, error) { return &payloadReader{payload: p}, nil }

type payloadReader struct {
	payload *payload
	offset  int
}

func (r *payloadReader) Read(dst []byte) (int, error) {
	p := r.payload
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended:
		return 0, errReleased
	case r.offset >= len(p.bytes):
		return 0, io.EOF
	}
	n := copy(dst, p.bytes[r.offset:])
	r.offset += n
	return n, nil
}

func (r *payloadReader) Close() error { return nil }

// excerpt is the beginning of an answer as one line of valid text.
func excerpt(body []byte, limit int) string {
	cut := len(body) > limit
	body = bytes.ToValidUTF8(bytes.Join(bytes.Fields(body[:min(len(body), limit)]), []byte(" ")), []byte("?"))
	if cut {
		return string(body) + " …"
	}
	return string(body)
}
