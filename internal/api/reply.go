package api

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// buffers are reused from reply to reply, unless a reply made one large.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const maxPooled = 1 << 20

func getBuffer() *[]byte {
	b, ok := buffers.Get().(*[]byte)
	if !ok {
		return new([]byte)
	}
	*b = (*b)[:0]
	return b
}

func putBuffer(b *[]byte) {
	if cap(*b) <= maxPooled {
		buffers.Put(b)
	}
}

// write sends a whole reply at once. The deadline is for this reply alone: a connection has no other, or long polls would be cut.
func (a *API) write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	c := http.NewResponseController(w)
	// Without a connection (in tests) there is no deadline. When the client has gone, nobody is left to tell of a failed write.
	_ = c.SetWriteDeadline(time.Now().Add(a.limits.WriteTimeout))
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON, and said to be
	_ = c.Flush()
	_ = c.SetWriteDeadline(time.Time{})
}

var success = []byte(`{"success":true}`)
