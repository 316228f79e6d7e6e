package delivery

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
)

// parcel is a batch on its way: the messages that could be made, in the order in which they are delivered, and the outcomes so far.
type parcel struct {
	batch    []*consumer.Delivery
	shaped   shape.Batch
	messages []sink.Message
	of       []int // messages[i] is batch[of[i]]
	cuts     []int // where in messages another request must begin, ascending
	results  []consumer.Result
	failed   map[string]bool // groups with a message that waits for another attempt
}

var parcels = sync.Pool{New: func() any { return &parcel{failed: make(map[string]bool)} }}

func takeParcel(batch []*consumer.Delivery) *parcel {
	p, _ := parcels.Get().(*parcel)
	p.batch = batch
	return p
}

// giveBack forgets the batch, so that the pool holds no changes.
func (p *parcel) giveBack() {
	p.shaped.End()
	clear(p.messages)
	clear(p.results)
	clear(p.failed)
	p.batch, p.messages, p.of, p.cuts, p.results = nil, p.messages[:0], p.of[:0], p.cuts[:0], p.results[:0]
	parcels.Put(p)
}

// build makes the messages. One that can never be made is rejected, without a body; one that cannot be made now is tried again, and what is
// behind it in its group waits; one that is not wanted after all is done.
func (p *parcel) build(ctx context.Context, shaper shape.Shaper) (unmade int, why error) {
	p.shaped.Begin(p.batch)
	shaper(ctx, &p.shaped)
	for i, d := range p.batch {
		it := &p.shaped.Items[i]
		r := consumer.Result{Delivery: d, Err: it.Err}
		switch {
		case p.failed[d.Group]:
			r.Outcome, r.Err = consumer.Release, nil
		case it.Err != nil && ctx.Err() != nil:
			r.Outcome, r.Err = consumer.Release, nil // given up, which is no fault of the message
			p.block(d)
		case it.Err != nil && it.Final:
			r.Outcome, why = consumer.Reject, it.Err
			unmade++
		case it.Err != nil:
			r.Outcome, why = consumer.Retry, it.Err
			unmade++
			p.block(d)
		case it.Skip:
			r.Outcome = consumer.Done
		default:
			p.of = append(p.of, i)
			continue
		}
		p.results = append(p.results, r)
	}
	p.sort()
	return unmade, why
}

// block has what is behind d in its group wait.
func (p *parcel) block(d *consumer.Delivery) {
	if d.Group != "" {
		p.failed[d.Group] = true
	}
}

// sort puts messages with the same route together, as far as the order in their groups allows, and notes where the route changes.
func (p *parcel) sort() {
	p.messages = slices.Grow(p.messages, len(p.of))
	routed := slices.ContainsFunc(p.of, func(i int) bool { return p.shaped.Items[i].Route.Key != "" })
	if routed {
		p.of = p.byRoute()
	}
	for n, i := range p.of {
		d := p.batch[i]
		m := sink.Message{ID: d.ID, Group: d.Group, Body: p.shaped.Body(i), Attempt: d.Attempt, Change: d.Change, Route: p.shaped.Items[i].Route}
		if n > 0 && p.messages[n-1].Route.Key != m.Route.Key {
			p.cuts = append(p.cuts, n)
		}
		p.messages = append(p.messages, m)
	}
}

// byRoute returns p.of in runs of the same route. A message joins the last run of its route unless one of its group is in a later run.
func (p *parcel) byRoute() []int {
	type runOf struct {
		key     string
		members []int
	}
	var runs []runOf
	last := map[string]int{}  // the last run of a route
	group := map[string]int{} // the last run with a message of a group
	for _, i := range p.of {
		key, g := p.shaped.Items[i].Route.Key, p.batch[i].Group
		at, there := last[key]
		if before, ordered := group[g]; !there || g != "" && ordered && before > at {
			at = len(runs)
			runs = append(runs, runOf{key: key})
			last[key] = at
		}
		runs[at].members = append(runs[at].members, i)
		if g != "" {
			group[g] = at
		}
	}
	out := make([]int, 0, len(p.of))
	for _, r := range runs {
		out = append(out, r.members...)
	}
	return out
}

// ordered completes the result of messages[i] by the rule of its group: what comes behind a message that has to be tried again was not
// delivered, whatever the sink tried.
func (p *parcel) ordered(i int, r consumer.Result) consumer.Result {
	m := &p.messages[i]
	r.Delivery = p.batch[p.of[i]]
	if m.Group != "" && r.Outcome != consumer.Done {
		if p.failed[m.Group] {
			return consumer.Result{Delivery: r.Delivery, Outcome: consumer.Release}
		}
		if r.Outcome == consumer.Retry || r.Outcome == consumer.Release {
			p.failed[m.Group] = true
		}
	}
	if r.Outcome == consumer.Reject {
		r.Payload = bytes.Clone(m.Body) // the body's memory goes to the next batch
	}
	return r
}

// passOver gives back, in their order again, what is behind a part that failed and goes to the same place, and what is behind its messages in their
// groups, wherever it goes. It returns where to go on.
func (p *parcel) passOver(from int) int {
	next := len(p.messages)
	if i := slices.IndexFunc(p.cuts, func(cut int) bool { return cut >= from }); i >= 0 {
		next = p.cuts[i]
	}
	for i := from; i < next; i++ {
		p.release(i)
	}
	kept := next
	cuts := p.cuts[:0]
	for i := next; i < len(p.messages); i++ {
		if g := p.messages[i].Group; g != "" && p.failed[g] {
			p.release(i)
			continue
		}
		if kept > next && p.messages[kept-1].Route.Key != p.messages[i].Route.Key {
			cuts = append(cuts, kept)
		}
		p.messages[kept], p.of[kept] = p.messages[i], p.of[i]
		kept++
	}
	p.messages, p.of, p.cuts = p.messages[:kept], p.of[:kept], cuts
	return next
}

// release gives back messages[i], and has what is behind it in its group wait.
func (p *parcel) release(i int) {
	d := p.batch[p.of[i]]
	p.block(d)
	p.results = append(p.results, consumer.Result{Delivery: d, Outcome: consumer.Release})
}
