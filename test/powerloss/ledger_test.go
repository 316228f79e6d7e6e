package powerloss_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/test/harness"
)

// element is one change of one key. A version is given once, to whatever becomes of its transaction; a delete carries the version that it ends.
type element struct {
	key     int
	action  string
	version int64
}

// elementOf reads a message.
func elementOf(m harness.Message) (element, error) {
	var row struct {
		ID int   `json:"id"`
		V  int64 `json:"v"`
	}
	if err := json.Unmarshal(m.Record, &row); err != nil {
		return element{}, fmt.Errorf("record of %s: %w", m.Metadata.IdempotencyKey, err)
	}
	return element{row.ID, m.Action, row.V}, nil
}

// ledger holds what was committed, key by key, and what became of it. Everything that contradicts a promise is written down in wrong.
type ledger struct {
	mu        sync.Mutex
	keys      map[int]*history
	pulls     []*pullBook
	pushes    []*pushBook
	committed int
	wrong     []string
	lost      int           // of wrong: what a power cut has cost
	changed   chan struct{} // closed at the next change
	progress  int           // acknowledgements and acceptances
}

// history is what is known of one key.
type history struct {
	elements []element
	index    map[element]int
	ids      []string // idempotency keys, once seen
}

func newLedger() *ledger { return &ledger{keys: map[int]*history{}, changed: make(chan struct{})} }

// Promises as the ledger names them.
const (
	p1 = "P1 nothing is missed"
	p3 = "P3 strict order per group"
	p4 = "P4 nothing acknowledged comes back"
	p5 = "P5 an identity is forever"
)

// violated writes down a broken promise. The caller holds mu.
func (l *ledger) violated(promise, format string, args ...any) {
	if promise == p1 || promise == p4 {
		l.lost++
	}
	if len(l.wrong) < 20 {
		l.wrong = append(l.wrong, promise+": "+fmt.Sprintf(format, args...))
	}
	l.wake()
}

func (l *ledger) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// complain is violated for whoever does not hold mu.
func (l *ledger) complain(promise, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violated(promise, format, args...)
}

// fine reports whether no promise was broken so far.
func (l *ledger) fine() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.wrong) == 0
}

func (l *ledger) violations() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.wrong)
}

// await waits until cond holds, a promise is broken, or patience ends. cond is called with mu held.
func (l *ledger) await(patience time.Duration, cond func() bool) bool {
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		l.mu.Lock()
		done, changed := cond() || len(l.wrong) > 0, l.changed
		l.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-over.C:
			return false
		}
	}
}

// announce adds changes that are about to be committed; they may be seen before the commit returns.
func (l *ledger) announce(es []element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range es {
		h := l.keys[e.key]
		if h == nil {
			h = &history{index: map[element]int{}}
			l.keys[e.key] = h
		}
		if _, twice := h.index[e]; twice {
			l.violated("the test", "%+v is announced twice, and nobody could tell the two apart", e)
		}
		h.index[e] = len(h.elements)
		h.elements = append(h.elements, e)
		h.ids = append(h.ids, "")
	}
	l.committed += len(es)
	l.wake()
}

// behind is how many messages the slowest consumer has not acknowledged. The caller holds mu.
func (l *ledger) behind() int {
	least := l.committed
	for _, b := range l.pulls {
		least = min(least, b.begun)
	}
	for _, b := range l.pushes {
		least = min(least, b.accepted)
	}
	return l.committed - least
}

// find looks a message up and checks its identity. The caller holds mu.
func (l *ledger) find(who string, m harness.Message) (h *history, at int, ok bool) {
	e, err := elementOf(m)
	if err != nil {
		l.violated(p5, "%s: %v", who, err)
		return nil, 0, false
	}
	if h = l.keys[e.key]; h != nil {
		at, ok = h.index[e]
	}
	if !ok {
		l.violated(p1, "%s got %+v, which was never committed", who, e)
		return nil, 0, false
	}
	id := m.Metadata.IdempotencyKey
	if h.ids[at] == "" {
		h.ids[at] = id
	}
	if h.ids[at] != id || id == "" {
		l.violated(p5, "%s got %+v as %q, it was %q before", who, e, id, h.ids[at])
	}
	return h, at, true
}

// require fails the test when a promise was broken.
func (l *ledger) require(t testing.TB) {
	t.Helper()
	require.Empty(t, l.violations())
}
