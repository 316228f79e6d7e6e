package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/test/harness"
)

// receipt is one time that a worker got a message.
type receipt struct {
	asked, got time.Time
	index      int       // in what came together
	lease      time.Time // it lasts at least so long, unless the worker ends it
	ended      time.Time // when the worker began to give the message back, if it did
	count      int       // deliver_count
}

// pulled is what workers did with one message.
type pulled struct {
	sighting
	ackID    string
	receipts []receipt
	tried    time.Time // when the first acknowledgement was sent
	acked    time.Time // when the first 200 to one came
	under    int       // the delivery whose lease surely lasted then, 0 for none: no later one can have been handed out
	history  []string  // for people
	muddled  bool      // a worker was late and may have ended or renewed somebody else's lease
}

// pull is a pull consumer with several workers.
type pull struct {
	spec   sinkSpec
	name   string
	court  *court
	stream *harness.Stream
	seen   map[string]*pulled // by idempotency key; under court.mu
	acks   map[string]*pulled // by ack id; under court.mu
	acked  int                // under court.mu
	calm   bool               // workers acknowledge everything at once; under court.mu
}

func newPull(c *court, spec sinkSpec, base func() string) *pull {
	return &pull{
		spec: spec, name: spec.name, court: c, seen: map[string]*pulled{}, acks: map[string]*pulled{}, stream: &harness.Stream{Base: base, Name: spec.name},
	}
}

// run works until ctx ends.
func (p *pull) run(ctx context.Context, seed uint64) {
	var wg sync.WaitGroup
	for i := range p.spec.workers {
		wg.Go(func() {
			r := newRand(seed, 1000+uint64(i)) //nolint:gosec // a small number
			for ctx.Err() == nil {
				p.round(ctx, r)
			}
		})
	}
	wg.Wait()
}

// round receives once and settles what came.
func (p *pull) round(ctx context.Context, r *rand.Rand) {
	visibility := time.Duration(100+r.IntN(1900)) * time.Millisecond
	asked := time.Now()
	var reply struct {
		Data []struct {
			AckID        string          `json:"ack_id"`
			DeliverCount int             `json:"deliver_count"`
			Data         json.RawMessage `json:"data"`
		} `json:"data"`
	}
	err := p.stream.Call(ctx, "receive", map[string]any{
		"batch_size": 1 + r.IntN(20), "wait_for": r.IntN(300), "visibility_timeout_ms": visibility.Milliseconds(),
		"same_group": p.spec.sameGroup,
	}, &reply)
	if err != nil {
		p.complain(err)
		wait(ctx, 10*time.Millisecond)
		return
	}
	got := time.Now()
	var ids []string
	for i, d := range reply.Data {
		p.received(d.AckID, d.Data, receipt{asked: asked, got: got, index: i, lease: asked.Add(visibility), count: d.DeliverCount})
		ids = append(ids, d.AckID)
	}
	if len(ids) > 0 {
		p.settle(ctx, r, ids, asked.Add(visibility), visibility)
	}
}

// complain records answers that no fault explains: all but 503, which a server gives that is going.
func (p *pull) complain(err error) {
	if status, ok := errors.AsType[*harness.StatusError](err); ok && status.Status != http.StatusServiceUnavailable {
		p.court.mu.Lock()
		defer p.court.mu.Unlock()
		p.court.wrong("%s: %v", p.name, err)
	}
}

// latest is the latest delivery, by what the server counted: answers may be read in another order than they were given.
func (m *pulled) latest() *receipt {
	last := &m.receipts[0]
	for i := range m.receipts {
		if m.receipts[i].count > last.count {
			last = &m.receipts[i]
		}
	}
	return last
}

func (m *pulled) note(format string, args ...any) {
	m.history = append(m.history, clock(time.Now())+" "+fmt.Sprintf(format, args...))
}

// received judges one delivery by what is known so far.
func (p *pull) received(ackID string, raw json.RawMessage, rc receipt) {
	s, err := parse(raw)
	c := p.court
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.wrong("%s: %v", p.name, err)
		return
	}
	key := s.message.Metadata.Key
	m := p.seen[key]
	if m == nil {
		m = &pulled{sighting: s, ackID: ackID}
		p.seen[key], p.acks[ackID] = m, m
	}
	switch {
	case m.head != s.head:
		c.wrong("%s: a redelivery differs:\n%s\n%s", p.name, m.head, s.head)
	case m.ackID != ackID:
		c.wrong("%s: the ack_id of %s was %s, is %s", p.name, key, m.ackID, ackID)
	case !m.acked.IsZero() && rc.asked.After(m.acked):
		c.wrong("%s: %s of %s %v was acknowledged and came back %v later", p.name, s.message.Action, s.message.Metadata.Table, s.message.Metadata.PKs, rc.got.Sub(m.acked))
	}
	m.receipts = append(m.receipts, rc)
	m.note("got as delivery %d, asked at %s, leased until %s", rc.count, clock(rc.asked), clock(rc.lease))
}

// settle does one of the things that workers do.
func (p *pull) settle(ctx context.Context, r *rand.Rand, ids []string, lease time.Time, visibility time.Duration) {
	switch n := r.IntN(100); {
	case n < 60 || p.isCalm():
		p.ack(ctx, r, ids)
	case n < 75: // one by one, in any order
		r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		for _, id := range ids {
			p.ack(ctx, r, []string{id})
		}
	case n < 85: // some are given back
		k := r.IntN(len(ids) + 1)
		p.nack(ctx, ids[:k], lease)
		p.ack(ctx, r, ids[k:])
	case n < 90: // some are forgotten
		p.ack(ctx, r, ids[r.IntN(len(ids)+1):])
	case n < 94: // the lease is renewed
		p.extend(ctx, ids, lease, visibility)
		wait(ctx, visibility/2)
		p.ack(ctx, r, ids)
	case n < 97: // too late, perhaps
		wait(ctx, visibility+time.Duration(r.IntN(100)-50)*time.Millisecond)
		p.ack(ctx, r, ids)
	default: // twice
		p.ack(ctx, r, ids)
		p.ack(ctx, r, ids)
	}
}

func (p *pull) isCalm() bool {
	p.court.mu.Lock()
	defer p.court.mu.Unlock()
	return p.calm
}

// again acknowledges once more what was not answered: either that counted, or the message comes back, or this counts.
func (p *pull) again(ctx context.Context, r *rand.Rand) {
	var ids []string
	p.court.mu.Lock()
	for id, m := range p.acks {
		if !m.tried.IsZero() && m.acked.IsZero() {
			ids = append(ids, id)
		}
	}
	p.court.mu.Unlock()
	p.ack(ctx, r, ids)
}

// each calls f with mu held for the messages behind ack ids.
func (p *pull) each(ids []string, f func(*pulled)) {
	p.court.mu.Lock()
	defer p.court.mu.Unlock()
	for _, id := range ids {
		if m := p.acks[id]; m != nil {
			f(m)
		}
	}
}

// ack acknowledges; when the answer does not come it mostly tries again, as a careful worker does.
func (p *pull) ack(ctx context.Context, r *rand.Rand, ids []string) {
	if len(ids) == 0 {
		return
	}
	for {
		p.each(ids, func(m *pulled) {
			if m.tried.IsZero() {
				m.tried = time.Now()
			}
			m.note("acknowledging")
		})
		err := p.stream.Ack(ctx, ids...)
		if err == nil {
			break
		}
		p.complain(err)
		if ctx.Err() != nil || r.IntN(4) == 0 && !p.isCalm() {
			return // whether it counted shows later
		}
		wait(ctx, 20*time.Millisecond)
	}
	now := time.Now()
	p.each(ids, func(m *pulled) {
		if !m.acked.IsZero() {
			return
		}
		m.acked = now
		m.note("acknowledged")
		if last := m.latest(); last.ended.IsZero() && now.Before(last.lease) {
			m.under = last.count
		}
		p.acked++
		p.court.settled++
		p.court.changed.Broadcast()
	})
}

func (p *pull) nack(ctx context.Context, ids []string, lease time.Time) {
	if len(ids) == 0 {
		return
	}
	p.each(ids, func(m *pulled) {
		m.latest().ended = time.Now()
		m.note("giving back")
	})
	if err := p.stream.Nack(ctx, ids...); err != nil {
		p.complain(err)
	}
	p.late(ids, lease)
}

// late marks messages whose lease may have ended before the worker's word about it arrived: it may have concerned somebody else's.
func (p *pull) late(ids []string, lease time.Time) {
	if now := time.Now(); !now.Before(lease) {
		p.each(ids, func(m *pulled) { m.muddled = true })
	}
}

func (p *pull) extend(ctx context.Context, ids []string, lease time.Time, visibility time.Duration) {
	asked := time.Now()
	var reply struct {
		Gone []string `json:"gone"`
	}
	err := p.stream.Call(ctx, "extend", map[string]any{"ack_ids": ids, "visibility_timeout_ms": visibility.Milliseconds()}, &reply)
	p.late(ids, lease)
	if err != nil {
		p.complain(err)
		return
	}
	gone := map[string]bool{}
	for _, id := range reply.Gone {
		gone[id] = true
	}
	p.each(ids, func(m *pulled) {
		m.note("asked for %v more at %s; gone: %t", visibility, clock(asked), gone[m.ackID])
		if last := m.latest(); !gone[m.ackID] && asked.Before(last.lease) {
			last.lease = asked.Add(visibility)
		}
	})
}

// judge is the verdict in the end.
func (p *pull) judge(b *book) {
	c := p.court
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]sighting{}
	for key, m := range p.seen {
		seen[key] = m.sighting
	}
	c.compare(p.spec, b, seen, func(id string) bool { return !p.seen[id].acked.IsZero() })
	for key, m := range p.seen {
		p.judgeLeases(key, m)
	}
	for change, before := range p.spec.predecessors(b) {
		for _, prior := range before {
			m, o := p.seen[change.id], p.seen[prior.id]
			if m == nil || o == nil {
				continue // said already
			}
			p.judgeOrder(change, prior, m, o)
		}
	}
}

// judgeLeases checks that nobody got a message while somebody had it, and nobody at all after it was acknowledged. With several of a group at once
// one that fails takes back those behind it, leased or not, without counting that.
func (p *pull) judgeLeases(key string, m *pulled) {
	if m.muddled || p.spec.sameGroup {
		return
	}
	inOrder := slices.SortedFunc(slices.Values(m.receipts), func(a, b receipt) int { return a.count - b.count })
	for i, rc := range inOrder {
		if m.under > 0 && rc.count > m.under {
			p.court.wrong("%s: %s was acknowledged while it was leased and was handed out again: %s", p.name, key, strings.Join(m.history, "; "))
		}
		for _, before := range inOrder[:i] {
			if before.count == rc.count {
				p.court.wrong("%s: deliver_count %d of %s came twice", p.name, rc.count, key)
			}
			if before.ended.IsZero() && rc.got.Before(before.lease) {
				p.court.wrong("%s: %s was leased for %v more and was handed out again: %s", p.name, key, before.lease.Sub(rc.got), strings.Join(m.history, "; "))
			}
		}
	}
}

// judgeOrder checks that m, of a change that comes after o's, was not handed out before o was done.
func (p *pull) judgeOrder(change, prior *change, m, o *pulled) {
	first := m.receipts[0]
	if p.spec.sameGroup {
		for _, with := range o.receipts {
			if with.got.Equal(first.got) && with.index < first.index {
				return
			}
		}
	}
	if o.tried.IsZero() || first.got.Before(o.tried) {
		p.court.wrong("%s: got %v before it acknowledged %v", p.name, change, prior)
	}
	for _, late := range o.receipts {
		if late.asked.After(first.got) && !p.spec.sameGroup {
			p.court.wrong("%s: got %v again after %v", p.name, prior, change)
		}
	}
}

// line is one line about it.
func (p *pull) line() string { return fmt.Sprintf("%s: %d", p.name, p.acked) }
