package powerloss_test

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sequinstream/sequin/test/harness"
)

// pushBook is the ledger's account of one push consumer, kept by its receiver.
type pushBook struct {
	l     *ledger
	name  string
	most  int  // messages that one cut may repeat
	timed bool // the window is one of time too
	// restarts says that the storage refuses writes for a time: of the two measures of the window only the number of messages holds then, and a
	// machine may open its consumers anew without a cut.
	restarts bool
	keys     map[int]*pushKey
	repeated map[int]int // by life: how many messages the cut before it made come again
	accepted int
	failures int // of 100 requests so many fail
}

type pushKey struct {
	next     int // the next element
	accepted []acceptance
}

// acceptance is when a message was accepted last, and by which machine's life.
type acceptance struct {
	at   time.Time
	life int
}

// outage is the end of one machine.
type outage struct {
	at     time.Time
	window time.Duration // what was accepted before may come again if it was not longer ago
}

func (l *ledger) push(name string, most int, timed bool) *pushBook {
	b := &pushBook{l: l, name: name, most: most, timed: timed, keys: map[int]*pushKey{}, repeated: map[int]int{}, failures: 3}
	l.pushes = append(l.pushes, b)
	return b
}

// attempted checks a delivery and, if it is accepted, notes that.
func (b *pushBook) attempted(m harness.Message, life int, accept bool, outages map[int]outage) {
	h, at, ok := b.l.find(b.name, m)
	if !ok {
		return
	}
	e := h.elements[at]
	k := b.keys[e.key]
	if k == nil {
		k = &pushKey{}
		b.keys[e.key] = k
	}
	switch {
	case at > k.next:
		b.l.violated(p3, "%s got %+v before %+v", b.name, e, h.elements[k.next])
		return
	case at < k.next:
		if !b.mayRepeat(e, k.accepted[at], life, outages) {
			return
		}
		b.accepted -= k.next - at
		k.next = at
	}
	if !accept {
		return
	}
	if at == len(k.accepted) {
		k.accepted = append(k.accepted, acceptance{})
	}
	k.accepted[at] = acceptance{time.Now(), life}
	k.next++
	b.accepted++
	b.l.progress++
}

// mayRepeat is the window of promise P4.
func (b *pushBook) mayRepeat(e element, a acceptance, life int, outages map[int]outage) bool {
	end, gone := outages[a.life]
	switch {
	case b.restarts && a.life == life:
		return b.repeats(life)
	case a.life == life:
		b.l.violated(p4, "%s got %+v again from the machine that it had accepted it from", b.name, e)
	case !gone:
		b.l.violated(p4, "%s got %+v again while the machine that had delivered it still runs", b.name, e)
	case b.timed && !b.restarts && end.at.Sub(a.at) > end.window:
		b.l.violated(p4, "%s got %+v again, which it had accepted %s before the cut; the window is %s", b.name, e, end.at.Sub(a.at), end.window)
	default:
		return b.repeats(life)
	}
	return false
}

func (b *pushBook) repeats(life int) bool {
	b.repeated[life]++
	if b.repeated[life] <= b.most {
		return true
	}
	b.l.violated(p4, "%s got more than %d messages again after one cut", b.name, b.most)
	return false
}

// missing counts what was committed and not accepted, or accepted and now repeated. The caller holds mu.
func (b *pushBook) missing() int { return b.l.committed - b.accepted }

// receiver is the webhook endpoint of all machines: /<life>/<book>.
type receiver struct {
	l        *ledger
	mu       sync.Mutex
	machines map[string]*machine // by life
	outages  map[int]outage      // under ledger.mu
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	m := r.machines[req.PathValue("life")]
	r.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	if err != nil || m == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	status := http.StatusServiceUnavailable
	m.power.during(func() { status = r.take(m, req.PathValue("book"), body) })
	w.WriteHeader(status)
}

func (r *receiver) take(m *machine, name string, body []byte) int {
	var batch struct {
		Data []harness.Message `json:"data"`
	}
	if json.Unmarshal(body, &batch) != nil || len(batch.Data) == 0 {
		batch.Data = make([]harness.Message, 1)
		if err := json.Unmarshal(body, &batch.Data[0]); err != nil {
			return http.StatusBadRequest
		}
	}
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	for _, b := range r.l.pushes {
		if b.name != name {
			continue
		}
		accept := m.hurry.Load() || rand.IntN(100) >= b.failures //nolint:gosec // chance
		for i := range batch.Data {
			b.attempted(batch.Data[i], m.life, accept, r.outages)
			if !accept {
				break
			}
		}
		r.l.wake()
		if accept {
			return http.StatusOK
		}
		return http.StatusInternalServerError
	}
	return http.StatusNotFound
}
