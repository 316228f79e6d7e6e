package powerloss_test

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sequinstream/sequin/test/harness"
)

// pullBook is the ledger's account of one pull consumer.
type pullBook struct {
	l     *ledger
	name  string
	lease time.Duration
	marks map[element]*pullMark
	begun int // elements that somebody has set out to acknowledge
}

// pullMark is what one message went through.
type pullMark struct {
	attempts  int       // deliver_count of the last delivery
	leased    time.Time // the request that delivered it was sent then
	first     time.Time // the first delivery arrived
	givenBack bool      // a nack may have ended that lease
	begun     bool      // an ack was sent
	acked     time.Time // zero, or when it was known to be durable
}

func (l *ledger) pull(name string, lease time.Duration) *pullBook {
	b := &pullBook{l: l, name: name, lease: lease, marks: map[element]*pullMark{}}
	l.pulls = append(l.pulls, b)
	return b
}

// received notes a delivery that was asked for at asked.
func (b *pullBook) received(batch []harness.Received, asked time.Time) {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	for _, r := range batch {
		if h, at, ok := b.l.find(b.name, r.Data); ok {
			b.delivered(h, at, r, asked)
		}
	}
}

func (b *pullBook) delivered(h *history, at int, r harness.Received, asked time.Time) {
	e := h.elements[at]
	m := b.mark(e)
	now := time.Now()
	switch {
	case !m.acked.IsZero() && asked.After(m.acked):
		b.l.violated(p4, "%s got %+v %s after its acknowledgement was answered", b.name, e, now.Sub(m.acked))
	case m.attempts > 0 && !m.givenBack && now.Before(m.leased.Add(b.lease)):
		b.l.violated(p4, "%s got %+v again %s after it was leased for %s", b.name, e, now.Sub(m.leased), b.lease)
	case r.DeliverCount <= m.attempts:
		b.l.violated(p4, "%s got %+v as attempt %d after attempt %d", b.name, e, r.DeliverCount, m.attempts)
	}
	if m.first.IsZero() {
		m.first = now
	}
	m.attempts, m.leased, m.givenBack = r.DeliverCount, asked, false
	// That it is handed out at all says that everything before it is done, durably: it must not come again.
	for i := at - 1; i >= 0; i-- {
		before := b.mark(h.elements[i])
		if !before.begun {
			b.l.violated(p3, "%s got %+v before %+v was acknowledged", b.name, e, h.elements[i])
			break
		}
		if !before.acked.IsZero() {
			break
		}
		before.acked = now
	}
}

func (b *pullBook) mark(e element) *pullMark {
	m := b.marks[e]
	if m == nil {
		m = &pullMark{}
		b.marks[e] = m
	}
	return m
}

func (b *pullBook) elements(batch []harness.Received) []*pullMark {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	var out []*pullMark
	for _, r := range batch {
		if h, at, ok := b.l.find(b.name, r.Data); ok {
			out = append(out, b.mark(h.elements[at]))
		}
	}
	return out
}

func (b *pullBook) acking(marks []*pullMark) {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	for _, m := range marks {
		if !m.begun {
			m.begun = true
			b.begun++
		}
	}
}

func (b *pullBook) acked(marks []*pullMark) {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	for _, m := range marks {
		if m.acked.IsZero() {
			m.acked = time.Now()
			b.l.progress++
		}
	}
	b.l.wake()
}

func (b *pullBook) givingBack(marks []*pullMark) {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	for _, m := range marks {
		m.givenBack = true
	}
}

// work pulls from one machine until its power is cut. In a hurry nothing is forgotten or given back.
func (b *pullBook) work(ctx context.Context, m *machine, rng *rand.Rand) {
	stream := &harness.Stream{Base: m.url, Name: b.name, Client: m.client}
	for m.power.on() && ctx.Err() == nil {
		asked := time.Now()
		batch, err := stream.Receive(ctx, 1+rng.IntN(20), 100*time.Millisecond)
		if err != nil || !m.power.during(func() { b.received(batch, asked) }) {
			pause(ctx, 20*time.Millisecond) // it is starting, or gone
			continue
		}
		if len(batch) > 0 {
			b.answer(ctx, m, stream, batch, rng)
		}
	}
}

// answer acknowledges, mostly.
func (b *pullBook) answer(ctx context.Context, m *machine, stream *harness.Stream, batch []harness.Received, rng *rand.Rand) {
	if !m.hurry.Load() {
		switch rng.IntN(20) {
		case 0: // forgets them
			return
		case 1:
			b.givingBack(b.elements(batch))
			_ = stream.Nack(ctx, harness.AckIDs(batch)...) // if it fails their leases end
			return
		case 2, 3, 4: // forgets some
			batch = batch[:1+rng.IntN(len(batch))]
		}
	}
	marks := b.elements(batch)
	b.acking(marks)
	if stream.Ack(ctx, harness.AckIDs(batch)...) == nil {
		m.power.during(func() { b.acked(marks) })
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// missing counts what was committed and never acknowledged. The caller holds mu.
func (b *pullBook) missing() int {
	return b.l.committed - b.begun
}
