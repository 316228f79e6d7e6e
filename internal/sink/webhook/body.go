package webhook

import (
	"bytes"
	"io"
	"net/http/httptrace"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"

	"github.com/sequinstream/sequin/internal/sink"
)

// bodyOf copies the batch: the messages are the caller's again when Deliver returns, and the transport may still be reading then.
func (s *Sink) bodyOf(batch []sink.Message) (*buffer, error) {
	b := takeBuffer()
	if s.batch {
		b.bytes = appendEnvelope(b.bytes, batch)
	} else {
		b.bytes = append(b.bytes, batch[0].Body...)
	}
	if s.gzip {
		return b.compressed()
	}
	return b, nil
}

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

// buffer is reused between requests.
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

// compressed gives b back and returns its gzip form.
func (b *buffer) compressed() (*buffer, error) {
	defer b.giveBack()
	w, _ := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	packed := takeBuffer()
	w.Reset(packed)
	if _, err := w.Write(b.bytes); err != nil {
		return nil, err
	}
	return packed, w.Close()
}

// payload lends a buffer to the HTTP transport, which may go on reading a body on its own goroutine after RoundTrip has returned (an early
// answer, a timeout, a cancelled request). The buffer is used again only when the transport has said that it wrote the request, once; else
// it is left to the garbage collector. The body must be a plain bytes.Reader: for any other kind the transport sends the headers in a
// packet of their own, and a connection that the endpoint closed while it was idle is then noticed too late to send the request again.
type payload struct {
	buffer *buffer
	reader bytes.Reader
	wrote  atomic.Bool
	resent atomic.Bool
}

func newPayload(b *buffer) *payload {
	p := &payload{buffer: b}
	p.reader.Reset(b.bytes)
	return p
}

// again returns the body from the start, for a request that has to be sent on another connection.
func (p *payload) again() (io.ReadCloser, error) {
	p.resent.Store(true)
	return io.NopCloser(bytes.NewReader(p.buffer.bytes)), nil
}

// trace listens for the transport's word that it needs the body no more.
func (p *payload) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			p.wrote.Store(true)
		}
	}}
}

func (p *payload) end() {
	if p.wrote.Load() && !p.resent.Load() {
		p.buffer.giveBack()
	}
}

// excerpt is the beginning of an answer as one line of valid text.
func excerpt(body []byte, limit int) string {
	cut := len(body) > limit
	body = bytes.ToValidUTF8(bytes.Join(bytes.Fields(body[:min(len(body), limit)]), []byte(" ")), []byte("?"))
	if cut {
		return string(body) + " …"
	}
	return string(body)
}
