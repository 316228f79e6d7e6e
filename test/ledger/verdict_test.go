package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// ending says how a process of Sequin ended.
type ending int

const (
	running ending = iota
	stopped        // SIGTERM
	killed         // SIGKILL
)

// life is one process of Sequin.
type life struct {
	how    ending
	end    time.Time     // when the signal was sent
	window time.Duration // how long before it an acceptance may have come that was not committed
}

// court collects what consumers saw, and what of it breaks a promise. It is safe for concurrent use.
type court struct {
	pulse   *pulse
	mu      sync.Mutex
	changed *sync.Cond
	lives   []life
	wrongs  []string
	settled int // acknowledgements and acceptances, of any consumer
}

func newCourt(p *pulse) *court {
	c := &court{pulse: p}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// wrong records a broken promise. The caller holds mu.
func (c *court) wrong(format string, args ...any) {
	const enough = 40
	if len(c.wrongs) < enough {
		c.wrongs = append(c.wrongs, fmt.Sprintf(format, args...))
	}
	c.changed.Broadcast()
}

// born and died record the processes of Sequin.
func (c *court) born() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lives = append(c.lives, life{})
}

func (c *court) died(how ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lives[len(c.lives)-1] = life{how, time.Now(), window + 3*c.pulse.worst()}
}

// living is the number of the latest process.
func (c *court) living() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lives) - 1
}

// await waits until what is true, for at most so long. What runs with mu held.
func (c *court) await(ctx context.Context, patience time.Duration, what func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !what() {
		if ctx.Err() != nil {
			return false
		}
		c.changed.Wait()
	}
	return true
}

// progress waits until n more messages were settled.
func (c *court) progress(ctx context.Context, n int, patience time.Duration) {
	c.mu.Lock()
	goal := c.settled + n
	c.mu.Unlock()
	c.await(ctx, patience, func() bool { return c.settled >= goal })
}

// sighting is one message as a consumer knows it.
type sighting struct {
	message *message
	head    string // what all deliveries of it to anybody have in common
}

// parse reads a message and checks what every message must have.
func parse(raw json.RawMessage) (sighting, error) {
	m := &message{}
	if err := unmarshal(raw, m); err != nil {
		return sighting{}, fmt.Errorf("read message %.200s: %w", raw, err)
	}
	if m.Metadata.Key == "" {
		return sighting{}, fmt.Errorf("message %.200s has no idempotency key", raw)
	}
	var head struct {
		Record, Changes json.RawMessage
		Action          string
		Metadata        map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return sighting{}, err
	}
	delete(head.Metadata, "consumer")
	text, err := json.Marshal(head)
	return sighting{m, string(text)}, err
}

// compare is the verdict on what one consumer got, against the ledger: nothing lost, nothing else, nothing changed. The caller holds mu.
func (c *court) compare(spec sinkSpec, b *book, seen map[string]sighting, done func(id string) bool) {
	who := spec.name
	for _, change := range b.changes {
		s, ok := seen[change.id]
		switch {
		case !spec.wants(change):
			if ok {
				c.wrong("%s: was sent what it did not ask for: %v", who, change)
			}
		case !ok:
			c.wrong("%s: never got %v", who, change)
		case !done(change.id):
			c.wrong("%s: has not acknowledged %v", who, change)
		default:
			if text := change.differs(s.message); text != "" {
				c.wrong("%s: got %v with %s", who, change, text)
			}
		}
	}
	for id, s := range seen {
		if b.byID[id] == nil {
			c.wrong("%s: got a message that is not in the ledger: %s", who, s.head)
		}
	}
}
