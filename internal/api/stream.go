package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/shape"
)

// Streams finds the sinks that are pulled: those with a destination of type sequin_stream. Others are not found.
type Streams interface {
	StreamByID(account, id string) (Stream, bool)
	StreamByName(account, name string) (Stream, bool)
}

// Stream is one of them: a *consumer.Consumer together with its name and the form of its messages. It is safe for concurrent use.
type Stream interface {
	// Name is the sink's name.
	Name() string
	// Shape makes the messages as JSON.
	Shape(ctx context.Context, b *shape.Batch)

	// Receive leases up to Max messages, durably, and waits for the first one as long as it is told. A paused or disabled sink has none.
	Receive(ctx context.Context, o consumer.ReceiveOptions) ([]*consumer.Delivery, error)
	// Ack, Nack and Extend are durable when they return. Unknown and settled ids are fine.
	Ack(ctx context.Context, ids []string) error
	Nack(ctx context.Context, ids []string, delay time.Duration) error
	// Extend makes leases end this long from now (0: the sink's own time) and returns the ids that are not leased any more.
	Extend(ctx context.Context, ids []string, lease time.Duration) (gone []string, err error)
	// Settle gives back what was received and never sent (Release), makes a dead letter of what can never be made a message (Reject), tries again
	// later what cannot be made one now (Retry), and is done with what is not wanted after all (Done).
	Settle(ctx context.Context, results []consumer.Result) error
}

// Bounds of the parameters.
const (
	maxBatch      = 1000
	maxWait       = 5 * time.Minute
	minVisibility = time.Millisecond
	maxVisibility = resource.MaxAckWait
	maxDelay      = resource.MaxAckWait
)

func (a *API) streamRoutes() []route {
	var all []route
	for _, family := range []string{"/api/sequin_streams/", "/api/http_pull_consumers/"} {
		all = append(all,
			route{http.MethodGet, family + "{id_or_name}/receive", a.receive},
			route{http.MethodPost, family + "{id_or_name}/receive", a.receive},
			route{http.MethodPost, family + "{id_or_name}/ack", a.ack},
			route{http.MethodPost, family + "{id_or_name}/nack", a.nack},
			route{http.MethodPost, family + "{id_or_name}/extend", a.extend},
		)
	}
	return all
}

// stream finds the stream in the path. What the token may not touch is refused only after it was found.
func (a *API) stream(r *request) (Stream, error) {
	name := r.PathValue("id_or_name")
	var s Stream
	var ok bool
	if isUUIDv4(name) {
		s, ok = a.streams.StreamByID(r.identity.Account, strings.ToLower(name))
	} else {
		s, ok = a.streams.StreamByName(r.identity.Account, name)
	}
	if !ok {
		return nil, &statusError{
			status: http.StatusNotFound,
			problem: problem.New("stream_not_found", "Not found: No `consumer` found matching the provided ID or name").
				WithHint("check the name, and that the sink's destination is of type sequin_stream"),
		}
	}
	return s, r.identity.MayConsume(s.Name())
}

func (a *API) receive(w http.ResponseWriter, r *request) error {
	s, err := a.stream(r)
	if err != nil {
		return err
	}
	o, err := receiveOptions(&r.params)
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	batch, _ := batches.Get().(*shape.Batch)
	defer batches.Put(batch)
	defer batch.End()
	for deadline := time.Now().Add(o.Wait); ; o.Wait = max(0, time.Until(deadline)) {
		deliveries, err := a.poll(r.Context(), s, o)
		if err != nil {
			return err
		}
		if r.Context().Err() != nil { // nobody is there to send them to
			a.giveBack(r.Context(), s, deliveries)
			return nil
		}
		sent, err := a.encode(r.Context(), s, buf, batch, deliveries)
		if err != nil {
			return err
		}
		if sent > 0 || len(deliveries) == 0 {
			a.write(w, http.StatusOK, *buf)
			return nil
		}
		// None of them could be sent: go on with those behind.
	}
}

// poll receives, and stops waiting when the server is about to stop.
func (a *API) poll(ctx context.Context, s Stream, o consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
	if o.Wait == 0 {
		return s.Receive(ctx, o)
	}
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-a.draining:
			stop()
		case <-waiting.Done():
		}
	}()
	deliveries, err := s.Receive(waiting, o)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return deliveries, nil
	}
	return deliveries, err
}

const settleTimeout = 5 * time.Second

// giveBack returns messages that were never sent. It does not depend on the client, who may be gone. If it fails their leases end by themselves.
func (a *API) giveBack(ctx context.Context, s Stream, deliveries []*consumer.Delivery) {
	if len(deliveries) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	results := make([]consumer.Result, len(deliveries))
	for i, d := range deliveries {
		results[i] = consumer.Result{Delivery: d, Outcome: consumer.Release}
	}
	if err := s.Settle(ctx, results); err != nil {
		a.logger.Warn("messages that were never sent could not be given back", "sink", s.Name(), "count", len(deliveries), "error", err)
	}
}

// settleUnsent records what became of messages that are not sent. It does not depend on the client, who may be gone.
func (a *API) settleUnsent(ctx context.Context, s Stream, results []consumer.Result) error {
	if len(results) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return s.Settle(ctx, results)
}

var batches = sync.Pool{New: func() any { return new(shape.Batch) }}

// encode writes the reply into buf and tells how many messages it has. Those that cannot be made are settled as failures, those that are not wanted
// after all as done, and those that do not fit are given back.
func (a *API) encode(ctx context.Context, s Stream, buf *[]byte, batch *shape.Batch, deliveries []*consumer.Delivery) (sent int, err error) {
	batch.Begin(deliveries)
	s.Shape(ctx, batch)
	if ctx.Err() != nil {
		a.giveBack(ctx, s, deliveries)
		return 0, nil //nolint:nilerr // nobody is there to tell
	}
	var unsent []consumer.Result
	blocked := map[string]bool{} // groups with a message that has to be tried again
	b := (*buf)[:0]
	b = append(b, `{"data":[`...)
	for i, d := range deliveries {
		if r, out := unsentResult(&batch.Items[i], d, blocked); out {
			unsent = append(unsent, r)
			continue
		}
		start := len(b)
		b = appendReceived(b, d, batch.Body(i), sent > 0)
		if sent > 0 && len(b) > a.limits.ResponseBytes {
			b = b[:start]
			a.giveBack(ctx, s, deliveries[i:])
			break
		}
		sent++
	}
	b = append(b, "]}"...)
	*buf = b
	if err := a.settleUnsent(ctx, s, unsent); err != nil {
		a.giveBack(ctx, s, deliveries)
		return 0, err
	}
	return sent, nil
}

// unsentResult is the outcome of a message that is not sent; false for one that is.
func unsentResult(it *shape.Item, d *consumer.Delivery, blocked map[string]bool) (consumer.Result, bool) {
	r := consumer.Result{Delivery: d, Err: it.Err}
	switch {
	case d.Group != "" && blocked[d.Group]:
		r.Outcome, r.Err = consumer.Release, nil
	case it.Err != nil && it.Final:
		r.Outcome = consumer.Reject
	case it.Err != nil:
		r.Outcome = consumer.Retry
		if d.Group != "" {
			blocked[d.Group] = true
		}
	case it.Skip:
		r.Outcome = consumer.Done
	default:
		return r, false
	}
	return r, true
}

func appendReceived(b []byte, d *consumer.Delivery, body []byte, behind bool) []byte {
	if behind {
		b = append(b, ',')
	}
	b = append(b, `{"ack_id":"`...)
	b = append(b, d.AckID...)
	b = append(b, `","deliver_count":`...)
	b = strconv.AppendInt(b, int64(d.Attempt), 10)
	b = append(b, `,"data":`...)
	b = append(b, body...)
	return append(b, '}')
}

// receiveOptions reads the parameters. batch_size is the older name and wins.
func receiveOptions(p *params) (consumer.ReceiveOptions, error) {
	o := consumer.ReceiveOptions{Max: 1}
	n, found, err := p.integer("batch_size", 1, maxBatch)
	if !found {
		n, found, err = p.integer("max_batch_size", 1, maxBatch)
	}
	if err != nil {
		return o, err
	}
	if found {
		o.Max = n
	}
	if o.Wait, err = p.duration("wait_for", 0, maxWait); err != nil {
		return o, err
	}
	if o.Visibility, err = p.duration("visibility_timeout_ms", minVisibility, maxVisibility); err != nil {
		return o, err
	}
	o.SameGroup, err = p.boolean("same_group")
	return o, err
}

func (a *API) ack(w http.ResponseWriter, r *request) error {
	s, ids, err := a.settle(r)
	if err != nil {
		return err
	}
	return a.done(w, s.Ack(r.Context(), ids))
}

func (a *API) nack(w http.ResponseWriter, r *request) error {
	s, ids, err := a.settle(r)
	if err != nil {
		return err
	}
	delay, err := r.params.duration("delay_ms", 0, maxDelay)
	if err != nil {
		return err
	}
	return a.done(w, s.Nack(r.Context(), ids, delay))
}

func (a *API) extend(w http.ResponseWriter, r *request) error {
	s, ids, err := a.settle(r)
	if err != nil {
		return err
	}
	lease, err := r.params.duration("visibility_timeout_ms", minVisibility, maxVisibility)
	if err != nil {
		return err
	}
	gone, err := s.Extend(r.Context(), ids, lease)
	if err != nil || len(gone) == 0 {
		return a.done(w, err)
	}
	body, err := json.Marshal(extended{Success: true, Gone: gone})
	if err != nil {
		return err
	}
	a.write(w, http.StatusOK, body)
	return nil
}

// extended is the reply for leases that have ended already: others may hold those messages by now.
type extended struct {
	Success bool     `json:"success"`
	Gone    []string `json:"gone"`
}

func (a *API) done(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	a.write(w, http.StatusOK, success)
	return nil
}

// settle reads what ack, nack and extend have in common.
func (a *API) settle(r *request) (Stream, []string, error) {
	s, err := a.stream(r)
	if err != nil {
		return nil, nil, err
	}
	ids, err := ackIDs(&r.params)
	return s, ids, err
}

func ackIDs(p *params) ([]string, error) {
	name := "ack_ids"
	ids, found, err := p.texts(name)
	if !found {
		name = "ack_tokens"
		ids, found, err = p.texts(name)
	}
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, badParameter("ack_ids", "is missing: a list with the ack_id of each message")
	case len(ids) == 0:
		return nil, badParameter(name, "is empty")
	}
	for i, id := range ids {
		if !isUUIDv4(id) {
			return nil, badParameter(name, "has %q, which is not the ack_id of a message", clip(id))
		}
		ids[i] = strings.ToLower(id)
	}
	return ids, nil
}

// isUUIDv4 reports whether text has the plain form of a version 4 UUID.
func isUUIDv4(text string) bool {
	if len(text) != 36 || text[14] != '4' || !strings.ContainsRune("89abAB", rune(text[19])) {
		return false
	}
	for i := range len(text) {
		c := text[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}
