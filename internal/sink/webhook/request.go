package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/circuit"
)

// post sends one request with all the messages and tells the breaker what the outcome says about the endpoint.
func (s *Sink) post(ctx context.Context, batch []sink.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	call, err := s.circuit.Begin()
	if err != nil {
		return unavailable(err)
	}
	told := false
	defer func() {
		if !told { // a panic; without a word the breaker would wait for this probe for ever
			call.Abandon()
		}
	}()
	body, err := s.bodyOf(batch)
	if err != nil {
		return fmt.Errorf("compress the body: %w", err)
	}
	to, _ := batch[0].Route.To.(*destination)
	err = s.exchange(ctx, requestID(batch), to, body)
	told = true
	answer, answered := errors.AsType[*StatusError](err)
	switch {
	case err == nil:
		call.Succeed()
	case ctx.Err() != nil: // the engine gave up, not the endpoint
		call.Abandon()
	case answered && !answer.failing():
		call.Succeed()
	default:
		after, _ := sink.After(err)
		call.Fail(err, after)
	}
	return err
}

func unavailable(err error) error {
	if open, ok := errors.AsType[*circuit.OpenError](err); ok {
		return &sink.UnavailableError{Cause: err, After: open.After, Ready: open.Changed}
	}
	return err
}

func (s *Sink) exchange(parent context.Context, id string, to *destination, body *buffer) error {
	ctx, cancel := context.WithTimeout(parent, s.timeout)
	defer cancel()
	lent := newPayload(body)
	defer lent.end()
	// RoundTrip and not Client.Do: no redirects, no cookies, one attempt. It does resend when an idle connection turns out to be closed
	// before anything was written.
	resp, err := s.transport.RoundTrip(s.request(ctx, id, to, lent))
	if err != nil {
		return s.transportError(parent, ctx, err)
	}
	return s.settle(resp, cancel)
}

func (s *Sink) request(ctx context.Context, id string, to *destination, body *payload) *http.Request {
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	headers := maps.Clone(s.headers) // the values are shared and never written to
	method, target := http.MethodPost, s.url
	if to != nil {
		method, target = to.method, to.url
		maps.Copy(headers, to.headers)
	}
	if s.signer.active() {
		headers["Webhook-Id"] = []string{id}
		headers["Webhook-Timestamp"] = []string{timestamp}
		headers["Webhook-Signature"] = []string{s.signer.header(id, timestamp, body.buffer.bytes)}
	} else {
		setDefault(headers, "Webhook-Id", id)
		setDefault(headers, "Webhook-Timestamp", timestamp)
	}
	req := &http.Request{
		Method: method, URL: target, Host: s.host, Header: headers,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(&body.reader), GetBody: body.again, ContentLength: int64(len(body.buffer.bytes)),
	}
	return req.WithContext(httptrace.WithClientTrace(ctx, body.trace()))
}

// setDefault leaves a header alone that the configuration sets.
func setDefault(headers http.Header, name, value string) {
	if _, ok := headers[name]; !ok {
		headers[name] = []string{value}
	}
}

func (s *Sink) transportError(parent, ctx context.Context, err error) error {
	if parent.Err() != nil {
		return fmt.Errorf("the request was given up: %w", parent.Err())
	}
	if ctx.Err() != nil {
		return problem.New("webhook_timeout", "the webhook endpoint at %s did not answer within %s", s.url.Host, s.timeout).
			WithHint("answer before the work is done, or raise ack_wait_ms").Because(context.DeadlineExceeded)
	}
	return s.unreachable(err)
}
