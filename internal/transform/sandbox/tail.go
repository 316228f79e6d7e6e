package sandbox

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// tail takes what a worker writes to its standard error. The beginning and the end of what it wrote since it was taken last are kept, to tell why
// it ended: a crash says so in its first lines, which pages of traces follow. A few lines are logged.
type tail struct {
	logger *slog.Logger

	mu     sync.Mutex
	head   []byte
	end    []byte
	logged int
}

const (
	maxTail   = 4 << 10 // of each end
	maxLogged = 10      // lines of one process
	maxLine   = 300     // bytes
)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range bytes.Lines(p) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || t.logged >= maxLogged {
			continue
		}
		t.logged++
		t.logger.Warn("function worker", "wrote", strings.ToValidUTF8(string(line[:min(len(line), maxLine)]), "�"))
	}
	n := min(len(p), maxTail-len(t.head))
	t.head = append(t.head, p[:n]...)
	t.end = append(t.end, p[max(len(p)-maxTail, n):]...)
	if n := len(t.end); n > maxTail {
		t.end = append(t.end[:0], t.end[n-maxTail:]...)
	}
	return len(p), nil
}

func (t *tail) reset() {
	t.mu.Lock()
	t.head, t.end = t.head[:0], t.end[:0]
	t.mu.Unlock()
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.head) + string(t.end)
}
