package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// window is how long before a SIGKILL an acceptance may have come to be repeated, on a machine that does nothing else. The product says 10 ms; the
// rest is a floor. maxRepeats is the other bound, which does not depend on the machine. prompt is how long after it was sent a request is
// accepted at most: the sender is to read the answer long before it gives up.
const (
	window     = time.Second
	maxRepeats = 1000
	prompt     = 2 * time.Second
)

// arrival is one time that a message came.
type arrival struct {
	at      time.Time
	request int
	index   int // in the request
}

// hooked is what the receiver knows of one message.
type hooked struct {
	sighting
	arrivals []arrival
	accepted []arrival // the time is when it was written down, just before the 2xx
	life     int       // of the process that was answered last
}

// hook is a receiver of webhooks that writes down everything that it accepts, and fails in all the ways that receivers do.
type hook struct {
	spec     sinkSpec
	name     string
	court    *court
	server   *httptest.Server
	r        *rand.Rand
	seen     map[string]*hooked // this and what follows under court.mu
	ids      map[string]string  // webhook-id by the messages of a request
	accepted int                // messages
	requests int
	latest   map[int]int         // by process: the request that it had accepted last
	repeated map[int]map[int]int // by process: by request that it had been told was accepted: messages that came again
	calm     bool                // accepts everything
	outage   bool                // accepts nothing
}

type lifeKey struct{}

func newHook(t *testing.T, c *court, seed, n uint64, spec sinkSpec) *hook {
	t.Helper()
	h := &hook{
		spec: spec, name: spec.name, court: c, r: newRand(seed, 2000+n),
		seen: map[string]*hooked{}, ids: map[string]string{}, repeated: map[int]map[int]int{}, latest: map[int]int{},
	}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(h.serve))
	// A connection belongs to the process that opened it.
	h.server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, lifeKey{}, c.living())
	}
	h.server.Start()
	t.Cleanup(h.server.Close)
	return h
}

func (h *hook) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the sender is gone
	}
	life, _ := r.Context().Value(lifeKey{}).(int)
	ms, request := h.arrive(r, body, life)
	verdict, pause := h.verdict()
	if pause > 0 {
		wait(r.Context(), pause)
	}
	if sent, err := strconv.ParseInt(r.Header.Get("Webhook-Timestamp"), 10, 64); err != nil || time.Since(time.Unix(sent, 0)) > prompt+time.Second {
		verdict = http.StatusServiceUnavailable
	}
	if verdict == http.StatusOK {
		if !h.accept(r, ms, request, life) {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader([]int{http.StatusOK, http.StatusCreated, http.StatusNoContent}[request%3])
		return
	}
	h.fail(w, r, verdict)
}

// Ways to fail beside the statuses.
const (
	hang  = -1
	reset = -2
)

// verdict draws what becomes of a request, and after which pause.
func (h *hook) verdict() (status int, pause time.Duration) {
	h.court.mu.Lock()
	defer h.court.mu.Unlock()
	n, d := h.r.IntN(1000), h.r.IntN(100)
	if d < 10 {
		pause = time.Duration(d*d) * time.Millisecond / 2
	}
	switch {
	case h.outage:
		return http.StatusServiceUnavailable, 0
	case h.calm:
		return http.StatusOK, 0
	case n < 1:
		return hang, 0
	case n < 7:
		return reset, pause
	case n < 12:
		return http.StatusInternalServerError, pause
	case n < 16:
		return http.StatusBadGateway, 0
	case n < 20:
		return http.StatusTooManyRequests, 0
	case n < 22:
		return http.StatusFound, 0
	}
	return http.StatusOK, pause
}

// hang holds a request until its sender gives up, or everybody is to be calm.
func (h *hook) hang(ctx context.Context) {
	for ctx.Err() == nil && !h.court.await(ctx, time.Minute, func() bool { return h.calm }) {
		continue
	}
}

func (h *hook) fail(w http.ResponseWriter, r *http.Request, verdict int) {
	switch verdict {
	case hang:
		h.hang(r.Context())
		panic(http.ErrAbortHandler)
	case reset:
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // then the close is a reset
		}
		_ = conn.Close()
	case http.StatusFound:
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(verdict)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(verdict)
	default:
		http.Error(w, "not now", verdict)
	}
}

// arrive writes down what came and judges it by what was accepted before.
func (h *hook) arrive(r *http.Request, body []byte, life int) (ms []*hooked, request int) {
	raw := []json.RawMessage{body}
	if h.spec.batch > 1 {
		var envelope struct {
			Data []json.RawMessage `json:"data"`
		}
		_ = json.Unmarshal(body, &envelope) // a body that is no envelope has no messages, and is found missing
		raw = envelope.Data
	}
	now := time.Now()
	sightings, err := parseAll(raw)
	c := h.court
	c.mu.Lock()
	defer c.mu.Unlock()
	h.requests++
	request = h.requests
	if err != nil || len(raw) == 0 || len(raw) > h.spec.batch || r.URL.Path != "/" {
		c.wrong("%s: bad request to %s with %d messages: %v: %.300s", h.name, r.URL.Path, len(raw), err, body)
		return nil, request
	}
	keys := ""
	var keysSb179 strings.Builder
	for i, s := range sightings {
		key := s.message.Metadata.Key
		keysSb179.WriteString(key + " ")
		m := h.seen[key]
		if m == nil {
			m = &hooked{sighting: s}
			h.seen[key] = m
		}
		if m.head != s.head {
			c.wrong("%s: a redelivery differs:\n%s\n%s", h.name, m.head, s.head)
		}
		if len(m.accepted) > 0 {
			h.again(m, life, now)
		}
		m.arrivals = append(m.arrivals, arrival{now, request, i})
		ms = append(ms, m)
	}
	keys += keysSb179.String()
	id := r.Header.Get("Webhook-Id")
	if known, ok := h.ids[keys]; ok && known != id || id == "" || len(ms) == 1 && id+" " != keys {
		c.wrong("%s: webhook-id %q for messages %s, before %q", h.name, id, keys, known)
	}
	h.ids[keys] = id
	return ms, request
}

func parseAll(raw []json.RawMessage) ([]sighting, error) {
	out := make([]sighting, 0, len(raw))
	for _, text := range raw {
		s, err := parse(text)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// again judges a message that came again after it had been accepted: only a SIGKILL within the window explains that. The caller holds mu.
func (h *hook) again(m *hooked, life int, now time.Time) {
	c, last := h.court, m.accepted[len(m.accepted)-1]
	told := fmt.Sprintf("%s of %s %v %s: %s; came again at %s from process %d", m.message.Action, m.message.Metadata.Table,
		m.message.Metadata.PKs, m.message.Metadata.Key, m.history(), clock(now), life)
	end := c.lives[m.life]
	switch {
	case life == m.life:
		c.wrong("%s: the same process repeated: %s", h.name, told)
	case end.how != killed:
		c.wrong("%s: repeated after an orderly stop: %s", h.name, told)
	case end.end.Sub(last.at) > end.window:
		c.wrong("%s: repeated what was accepted %v before the kill: %s", h.name, end.end.Sub(last.at), told)
	case h.spec.each && h.spec.workers == 1 && last.request != h.latest[m.life]:
		c.wrong("%s: repeated another request than the last one before the kill, %d: %s", h.name, h.latest[m.life], told)
	}
	if h.repeated[m.life] == nil {
		h.repeated[m.life] = map[int]int{}
	}
	h.repeated[m.life][last.request]++
}

// clock is a time as logs have it.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// history tells how a message came and was accepted.
func (m *hooked) history() string {
	var b strings.Builder
	for _, a := range m.arrivals {
		fmt.Fprintf(&b, "came at %s as request %d, ", clock(a.at), a.request)
	}
	for _, a := range m.accepted {
		fmt.Fprintf(&b, "accepted request %d at %s, ", a.request, clock(a.at))
	}
	return b.String() + fmt.Sprintf("last from process %d", m.life)
}

// accept writes down that a request is accepted, unless its sender is gone.
func (h *hook) accept(r *http.Request, ms []*hooked, request, life int) bool {
	c := h.court
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Context().Err() != nil {
		return false
	}
	for i, m := range ms {
		if len(m.accepted) == 0 {
			h.accepted++
		}
		m.accepted = append(m.accepted, arrival{time.Now(), request, i})
		m.life = life
	}
	h.latest[life] = request
	c.settled += len(ms)
	c.changed.Broadcast()
	return true
}

// before reports whether a came before b.
func (a arrival) before(b arrival) bool {
	return a.at.Before(b.at) || a.request == b.request && a.index < b.index
}

// judge is the verdict in the end.
func (h *hook) judge(b *book) {
	c := h.court
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]sighting{}
	for key, m := range h.seen {
		seen[key] = m.sighting
	}
	c.compare(h.spec, b, seen, func(id string) bool { return len(h.seen[id].accepted) > 0 })
	for change, priors := range h.spec.predecessors(b) {
		for _, prior := range priors {
			m, o := h.seen[change.id], h.seen[prior.id]
			if m == nil || o == nil || len(m.accepted) == 0 || len(o.accepted) == 0 {
				continue // said already
			}
			h.judgeOrder(change, prior, m, o)
		}
	}
	h.judgeRepeats()
}

// judgeOrder checks that m, of a change that comes after o's, did not come before o was accepted.
func (h *hook) judgeOrder(change, prior *change, m, o *hooked) {
	for _, a := range m.arrivals {
		if !o.accepted[0].before(a) && !o.in(a) {
			h.court.wrong("%s: got %v before it accepted %v", h.name, change, prior)
		}
	}
	if last := o.accepted[len(o.accepted)-1]; !last.before(m.accepted[len(m.accepted)-1]) {
		h.court.wrong("%s: got %v again, and then not %v, which comes after it", h.name, prior, change)
	}
}

// judgeRepeats counts what came again after each kill.
func (h *hook) judgeRepeats() {
	c := h.court
	for life, requests := range h.repeated {
		total := 0
		for _, n := range requests {
			total += n
		}
		if total > maxRepeats+h.spec.workers*h.spec.batch {
			c.wrong("%s: %d messages came again after process %d was killed", h.name, total, life)
		}
		if h.spec.each && len(requests) > h.spec.workers {
			c.wrong("%s: %d requests came again after process %d was killed; only the %d workers' last ones may", h.name, len(requests), life, h.spec.workers)
		}
	}
}

// in reports whether the message came in the same request as a, before it.
func (m *hooked) in(a arrival) bool {
	for _, mine := range m.arrivals {
		if mine.request == a.request && mine.index < a.index {
			return true
		}
	}
	return false
}

// line is one line about it.
func (h *hook) line() string {
	return fmt.Sprintf("%s: %d requests, %d repeats", h.name, h.requests, h.repeats())
}

// repeats is how many messages came again.
func (h *hook) repeats() int {
	n := 0
	for _, requests := range h.repeated {
		for _, k := range requests {
			n += k
		}
	}
	return n
}
