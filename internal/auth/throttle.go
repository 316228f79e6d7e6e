package auth

import (
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// CodeThrottled is the code of an attempt that came too soon after too many failed ones.
const CodeThrottled = "too_many_attempts"

// Throttle slows down guessing: after a number of failures from one address, or for one subject, further attempts are refused until the window
// since the first of them has passed. What it remembers is bounded. It is safe for concurrent use.
type Throttle struct {
	most   int
	window time.Duration

	mu   sync.Mutex
	seen map[string]failures
}

// failures are the failed attempts of one address or for one subject.
type failures struct {
	count int
	since time.Time
}

// remembered is how many addresses and subjects are remembered; beyond it those that began first are forgotten.
const remembered = 10_000

// NewThrottle lets most attempts fail within a window.
func NewThrottle(most int, window time.Duration) *Throttle {
	return &Throttle{most: most, window: window, seen: map[string]failures{}}
}

// ThrottledError tells when to come back.
type ThrottledError struct {
	After   time.Duration
	problem *problem.Error
}

func (e *ThrottledError) Error() string { return e.problem.Error() }

// Unwrap gives the problem.
func (e *ThrottledError) Unwrap() error { return e.problem }

// Allow returns a *ThrottledError when this address, or whoever tries this subject, has failed too often.
func (t *Throttle) Allow(address, subject string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, key := range keys(address, subject) {
		f, there := t.seen[key]
		left := f.since.Add(t.window).Sub(now)
		if there && f.count >= t.most && left > 0 {
			p := problem.New(CodeThrottled, "too many failed attempts").WithHint("wait %s, then try again", left.Round(time.Second))
			return &ThrottledError{After: left, problem: p}
		}
	}
	return nil
}

// Failed counts a failed attempt.
func (t *Throttle) Failed(address, subject string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, key := range keys(address, subject) {
		f := t.seen[key]
		if now.Sub(f.since) > t.window {
			t.makeRoom(now)
			f = failures{since: now}
		}
		f.count++
		t.seen[key] = f
	}
}

// Succeeded forgets the failures for a subject. Those of the address stay: one good password must not pay for guessing others.
func (t *Throttle) Succeeded(subject string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if subject != "" {
		delete(t.seen, "subject "+strings.ToLower(subject))
	}
}

// makeRoom drops what has passed, and if that is not enough, the half that began first: so that it is seldom needed.
func (t *Throttle) makeRoom(now time.Time) {
	if len(t.seen) < remembered {
		return
	}
	maps.DeleteFunc(t.seen, func(_ string, f failures) bool { return now.Sub(f.since) > t.window })
	if len(t.seen) < remembered {
		return
	}
	begun := make([]time.Time, 0, len(t.seen))
	for _, f := range t.seen {
		begun = append(begun, f.since)
	}
	slices.SortFunc(begun, time.Time.Compare)
	middle := begun[len(begun)/2]
	maps.DeleteFunc(t.seen, func(_ string, f failures) bool { return !f.since.After(middle) })
}

// keys are what an attempt is counted under: the address without its port, an IPv6 address by its network, and the subject.
func keys(address, subject string) []string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = ip.Mask(net.CIDRMask(64, 128)).String()
	}
	all := []string{"address " + host}
	if subject != "" {
		all = append(all, "subject "+strings.ToLower(subject))
	}
	return all
}
