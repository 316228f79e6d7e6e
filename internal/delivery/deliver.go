package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/sink"
)

// deliver carries one batch to the sink, in one part or several, and settles each part as soon as its outcome is known.
func (p *Push) deliver(delivering, settling context.Context, gen *generation, batch []*consumer.Delivery) error {
	if len(batch) == 0 {
		return nil
	}
	work := takeParcel(batch)
	defer work.giveBack()
	if n, err := work.build(delivering, gen.Shape); err != nil {
		p.record(Attempt{Unbuilt: n, Err: err}, time.Now())
	}
	for start := 0; start < len(work.messages); {
		end := work.part(start, gen)
		if !p.deliverPart(delivering, gen, work, start, end) {
			end = work.passOver(end)
		}
		start = end
		if start < len(work.messages) {
			if err := p.settle(settling, work.results); err != nil {
				return err
			}
			clear(work.results)
			work.results = work.results[:0]
		}
	}
	return p.settle(settling, work.results)
}

// part is the end of the part that begins at start: what goes to one place. A batch whose parts fail together is all one part, until it fails:
// a message that was tried before is tried again among a tenth as many, then a hundredth, so that the one at fault soon stands alone and the
// others get past.
func (p *parcel) part(start int, gen *generation) int {
	messages := p.messages
	if gen.Atomicity == sink.PerMessage {
		return len(messages)
	}
	if i := slices.IndexFunc(p.cuts, func(cut int) bool { return cut > start }); i >= 0 {
		messages = messages[:p.cuts[i]]
	}
	limit := gen.BatchSize
	for end := start; end < len(messages); end++ {
		mine := gen.BatchSize
		for range min(messages[end].Attempt-1, 10) {
			mine = max(1, mine/10)
		}
		limit = min(limit, mine)
		if end-start >= limit {
			return end
		}
	}
	return len(messages)
}

// deliverPart delivers messages[start:end], appends their results and reports whether all were accepted.
func (p *Push) deliverPart(delivering context.Context, gen *generation, work *parcel, start, end int) bool {
	messages := work.messages[start:end]
	a := Attempt{}
	begin := time.Now()
	a.Waited = waited(messages, begin)
	p.stats.inFlight.Add(int64(len(messages)))
	err := p.guardedDeliver(delivering, gen.Sink, messages)
	p.stats.inFlight.Add(-int64(len(messages)))
	now := time.Now()
	a.Latency = now.Sub(begin)

	errs := spread(err, len(messages), gen.Atomicity)
	for i := range messages {
		result := p.outcome(delivering, gen, errs.of(i), errs.all == nil || len(messages) == 1)
		result = work.ordered(start+i, result)
		switch result.Outcome {
		case consumer.Done:
			a.Accepted++
			a.Bytes += len(messages[i].Body)
		case consumer.Retry, consumer.Reject:
			a.Failed++
			a.Bytes += len(messages[i].Body)
			a.Err = result.Err
		case consumer.Release:
		}
		work.results = append(work.results, result)
	}
	switch {
	case a.Accepted > 0:
		gen.gate.open()
	case a.Failed > 0:
		gen.gate.tried()
	}
	p.record(a, now)
	return a.Accepted == len(messages)
}

func waited(messages []sink.Message, now time.Time) time.Duration {
	var oldest time.Duration
	for i := range messages {
		if c := messages[i].Change; c != nil && messages[i].Attempt <= 1 && c.CommitTime > 0 {
			oldest = max(oldest, time.Duration(now.UnixMicro()-int64(c.CommitTime))*time.Microsecond)
		}
	}
	return oldest
}

func (p *Push) guardedDeliver(ctx context.Context, s sink.Sink, messages []sink.Message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.logger.Error("the sink panicked", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("the sink panicked: %v", r)
		}
	}()
	return s.Deliver(ctx, messages)
}

// errBroken stands for outcomes that make no sense. The messages are tried again: better twice than not at all.
var errBroken = errors.New("the sink did not say which messages failed")

// verdicts are the errors of a part by message. After is the index from which messages were not tried.
type verdicts struct {
	all      error
	each     map[int]error
	notTried int
}

// errNotTried marks messages behind the first failure of a prefix.
var errNotTried = errors.New("not tried")

func (v verdicts) of(i int) error {
	switch {
	case v.all != nil:
		return v.all
	case i >= v.notTried:
		return errNotTried
	}
	return v.each[i]
}

// spread turns what Deliver returned into an error for each of n messages.
func spread(err error, n int, atomicity sink.Atomicity) verdicts {
	if err == nil {
		return verdicts{notTried: n}
	}
	batch, ok := errors.AsType[*sink.BatchError](err)
	if !ok {
		return verdicts{all: err}
	}
	first := n
	each := make(map[int]error, len(batch.Failed))
	for i, err := range batch.Failed {
		if i < 0 || i >= n {
			return verdicts{all: errBroken}
		}
		if err == nil {
			err = errBroken
		}
		each[i] = err
		first = min(first, i)
	}
	switch {
	case len(each) == 0:
		return verdicts{all: errBroken}
	case atomicity == sink.Atomic:
		return verdicts{all: each[first]}
	case atomicity == sink.Prefix:
		return verdicts{each: each, notTried: first + 1}
	}
	return verdicts{each: each, notTried: n}
}

// outcome is what err means for one message. Named says that the error is that message's own, and not that of several together.
func (p *Push) outcome(delivering context.Context, gen *generation, err error, named bool) consumer.Result {
	if err == nil {
		return consumer.Result{Outcome: consumer.Done}
	}
	if away, ok := sink.Unavailable(err); ok {
		gen.gate.shut(away)
		return consumer.Result{Outcome: consumer.Release}
	}
	if errors.Is(err, errNotTried) || delivering.Err() != nil && errors.Is(err, delivering.Err()) {
		return consumer.Result{Outcome: consumer.Release}
	}
	result := consumer.Result{Outcome: consumer.Retry, Err: err}
	if after, ok := sink.After(err); ok {
		result.After = after
	}
	// A refusal of several together says nothing about which of them: they are tried again in smaller parts.
	if sink.IsReject(err) && (named || gen.Atomicity == sink.PerMessage) {
		result.Outcome = consumer.Reject
	}
	return result
}
