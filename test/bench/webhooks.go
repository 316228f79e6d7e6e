package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// posting is one way to send webhooks.
type posting struct {
	batch       int // 1: one message a request, its bare body
	concurrency int
}

// posted is what a receiver saw in one round.
type posted struct {
	messages float64 // a second
	cpu      float64 // cores, of Sequin
}

// webhooks measures how many messages an endpoint takes, beside a bare HTTP client that posts a body of the same size in a loop.
func (b *bench) webhooks(ctx context.Context) error {
	t := b.report.add("webhook", "Webhooks: messages accepted by one endpoint", 1, "Body", "Concurrent requests", "Sequin (messages/s)", "Bare client (messages/s)",
		"Sequin to bare client", "Sequin's CPU (cores)", others)
	t.note("From a backlog, to a receiver on the same machine that reads the body and answers 200. The bare client is a loop around Go's net/http " +
		"that posts a body captured from Sequin over and over: what the machine can carry.")
	f, err := b.fill(ctx, b.scaled(million))
	if err != nil {
		return err
	}
	defer f.remove()
	for _, batch := range []int{1, 100} {
		for _, concurrency := range []int{1, 10, 100} {
			if err := f.posting(ctx, t, posting{batch, concurrency}); err != nil {
				return err
			}
		}
	}
	return f.end(ctx)
}

// posting runs the rounds of one row.
func (f *filled) posting(ctx context.Context, t *table, p posting) error {
	var ours, bare, cpu sample
	var disturbed disturbance
	sampleBody, err := f.oneBody(ctx, p)
	if err != nil {
		return err
	}
	turn := func(who string, send sender) (posted, error) {
		var found posted
		d, err := f.b.measure(ctx, fmt.Sprintf("batch %d, %d concurrent, %s", p.batch, p.concurrency, who), func(ctx context.Context) (what string, err error) {
			found, err = f.counted(ctx, counting{
				send: func(ctx context.Context, url string) error { return send(ctx, p, url) }, in: func(body []byte) int { return messagesIn(body, p) },
				cpu: func() (time.Duration, error) { return f.cpu(), nil },
			})
			return number(found.messages, 0) + " messages/s", err
		})
		disturbed.join(d)
		return found, err
	}
	for round := range f.b.opts.rounds {
		turns := []func() error{
			func() error {
				found, err := turn("sequin", f.sendOurs)
				ours, cpu = append(ours, found.messages), append(cpu, found.cpu)
				return err
			},
			func() error {
				found, err := turn("bare client", func(ctx context.Context, p posting, url string) error { return sendBare(ctx, p, url, sampleBody) })
				bare = append(bare, found.messages)
				return err
			},
		}
		for i := range turns {
			if err := turns[(i+round)%2](); err != nil {
				return err
			}
		}
	}
	body := "one message"
	if p.batch > 1 {
		body = fmt.Sprintf("batches of %d", p.batch)
	}
	t.row(body, number(float64(p.concurrency), 0), number(ours.median(), 0), number(bare.median(), 0), ratios(ours, bare).spread(2), number(cpu.median(), 2),
		disturbed.String())
	return nil
}

// sender posts to the endpoint until ctx ends.
type sender func(ctx context.Context, p posting, url string) error

func (f *filled) sendOurs(ctx context.Context, p posting, url string) error {
	sink := fmt.Sprintf("{name: %s, database: db, start: beginning, batch_size: %d, concurrency: %d, max_ack_pending: 100000, "+
		"destination: {type: webhook, http_endpoint: hook, batch: %t}}", f.b.unique("hook"), p.batch, p.concurrency, p.batch > 1)
	if err := f.with(url, sink); err != nil {
		return err
	}
	return errors.Join(f.until(ctx), f.with(""))
}

func sendBare(ctx context.Context, p posting, url string, body []byte) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: p.concurrency}}
	defer client.CloseIdleConnections()
	group, ctx := errgroup.WithContext(ctx)
	for range p.concurrency {
		group.Go(func() error {
			for ctx.Err() == nil {
				if err := post(ctx, client, url, body); err != nil {
					return unlessDone(ctx, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func post(ctx context.Context, client *http.Client, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// counting is how messages are sent and counted.
type counting struct {
	send func(ctx context.Context, url string) error
	in   func(body []byte) int // messages
	cpu  func() (time.Duration, error)
}

// counted counts messages from the first request on, for a while or until all have come.
func (f *filled) counted(ctx context.Context, c counting) (posted, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var messages, begun, last atomic.Int64
	started := make(chan struct{})
	hook, err := listen(func(at time.Time, body []byte) {
		if ctx.Err() != nil {
			return
		}
		if begun.CompareAndSwap(0, at.UnixNano()) {
			close(started)
		}
		last.Store(at.UnixNano())
		if messages.Add(int64(c.in(body))) >= int64(f.changes) {
			cancel()
		}
	})
	if err != nil {
		return posted{}, err
	}
	defer hook.close()
	var cpu time.Duration
	group, sending := errgroup.WithContext(ctx)
	group.Go(func() error { return c.send(sending, hook.url) })
	group.Go(func() error {
		defer cancel()
		select {
		case <-started:
		case <-sending.Done():
			return nil
		}
		before, err := c.cpu()
		if err != nil {
			return err
		}
		_ = sleep(sending, f.b.lasting(4*time.Second)) // it ends early when everything has come
		after, err := c.cpu()
		cpu = after - before
		return err
	})
	if err := group.Wait(); err != nil {
		return posted{}, err
	}
	seconds := float64(last.Load()-begun.Load()) / 1e9
	return posted{messages: float64(messages.Load()) / seconds, cpu: cpu.Seconds() / seconds}, nil
}

func messagesIn(body []byte, p posting) int {
	if p.batch == 1 {
		return 1
	}
	return bytes.Count(body, []byte(`{"record":`))
}

// oneBody is a request's body as Sequin sends it.
func (f *filled) oneBody(ctx context.Context, p posting) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bodies := make(chan []byte, 1)
	hook, err := listen(func(_ time.Time, body []byte) {
		if messagesIn(body, p) != p.batch {
			return
		}
		select {
		case bodies <- bytes.Clone(body):
			cancel()
		default:
		}
	})
	if err != nil {
		return nil, err
	}
	defer hook.close()
	if err := f.sendOurs(ctx, p, hook.url); err != nil {
		return nil, err
	}
	select {
	case body := <-bodies:
		return body, nil
	default:
		return nil, ctx.Err()
	}
}
