// Package webhook delivers messages by HTTP POST. A batch is one request, {"data":[…]}, and any 2xx accepts all of it; without batching
// every message is a request of its own. Redirects are not followed. A request carries an id that is the same on every attempt and, when
// the endpoint has signing secrets, signatures of the Standard Webhooks form. Endpoints that keep failing are left alone for a while by a
// circuit breaker that all sinks of the endpoint share. Retries, order and dead letters are left to the engine. A Sink is safe for
// concurrent use and keeps connections open between requests.
package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/circuit"
	"github.com/sequinstream/sequin/internal/sink/egress"
)

// Definition describes the webhook sink.
var Definition = sink.Definition{
	Type:      "webhook",
	Config:    Config{},
	Routes:    routeKeys,
	Route:     routeOf,
	Atomicity: atomicity,
	Open:      open,
}

// DefaultTimeout bounds a request when the engine does not say otherwise.
const DefaultTimeout = 30 * time.Second

// ErrClosed is returned by a sink that was closed.
var ErrClosed = errors.New("the webhook sink is closed")

// Sink posts to one URL.
type Sink struct {
	url       *url.URL
	host      string // overrides the URL's, "" if not
	headers   http.Header
	batch     bool
	gzip      bool
	signer    signer
	reject    map[int]bool
	timeout   time.Duration
	transport *http.Transport
	tls       *tls.Config // for Check; the transport adds to its own
	dialer    *net.Dialer
	circuit   *circuit.Breaker
	leave     func()
	redact    redactor
	closed    atomic.Bool
}

func atomicity(config any) sink.Atomicity {
	if c, ok := config.(Config); ok && c.Batch {
		return sink.Atomic
	}
	return sink.PerMessage
}

func open(_ context.Context, env sink.Env, config any) (sink.Sink, error) {
	c, ok := config.(Config)
	if !ok {
		return nil, fmt.Errorf("open webhook sink: configuration is %T, want webhook.Config", config)
	}
	return New(env, c)
}

// New makes a sink. It connects to nothing yet.
func New(env sink.Env, c Config) (*Sink, error) {
	p, err := c.parse()
	if err != nil {
		return nil, err
	}
	timeout := env.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	dialer := env.Egress.Dialer(min(timeout, 10*time.Second))
	s := &Sink{
		url: p.url, host: p.host, headers: p.headers, batch: c.Batch, gzip: p.gzip, signer: p.signer, reject: p.reject,
		timeout: timeout, dialer: dialer, transport: newTransport(dialer, c, p), tls: newTLS(p), redact: p.redact,
	}
	s.circuit, s.leave = env.Circuits.Join(p.endpoint, c.circuitOptions())
	return s, nil
}

// Deliver posts the batch.
func (s *Sink) Deliver(ctx context.Context, batch []sink.Message) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if len(batch) == 0 {
		return nil
	}
	if s.batch || len(batch) == 1 {
		return s.post(ctx, batch)
	}
	failed := make(map[int]error)
	for i := range batch {
		if err := s.post(ctx, batch[i:i+1]); err != nil {
			failed[i] = err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return &sink.BatchError{Failed: failed}
}

// Check resolves, connects and, for https, shakes hands. It sends no request.
func (s *Sink) Check(ctx context.Context) error {
	if s.closed.Load() {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, min(s.timeout, 10*time.Second))
	defer cancel()
	conn, err := s.dialer.DialContext(ctx, "tcp", dialAddress(s.url))
	if err != nil {
		return s.unreachable(err)
	}
	if s.url.Scheme == "https" {
		config := s.tls.Clone()
		config.ServerName = s.url.Hostname()
		if err := tls.Client(conn, config).HandshakeContext(ctx); err != nil {
			return s.unreachable(errors.Join(err, conn.Close()))
		}
	}
	if err := conn.Close(); err != nil {
		return fmt.Errorf("close the test connection: %w", err)
	}
	return nil
}

// Close gives up the idle connections. The caller has waited for its deliveries.
func (s *Sink) Close() error {
	if s.closed.CompareAndSwap(false, true) {
		s.transport.CloseIdleConnections()
		s.leave()
	}
	return nil
}

// Circuit reports whether the endpoint is being left alone.
func (s *Sink) Circuit() circuit.Status { return s.circuit.Status() }

func (s *Sink) unreachable(err error) error {
	if denied, ok := errors.AsType[*egress.DeniedError](err); ok {
		return problem.New("egress_denied", "the webhook endpoint at %s may not be connected to", s.url.Host).
			WithDetail("%v", denied).
			WithHint("use another address, or let the operator allow this one in the egress rules").Because(err)
	}
	return problem.New("webhook_unreachable", "the webhook endpoint at %s cannot be reached", s.url.Host).
		WithDetail("%s", s.redact.text(err.Error())).
		WithHint("check that the endpoint is up and that this machine can reach it").Because(err)
}
