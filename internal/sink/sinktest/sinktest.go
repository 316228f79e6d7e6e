// Package sinktest is the suite that every sink passes: that a batch arrives whole and in order, that failures name the right messages and
// say whether to retry, when, or never, that a cancelled delivery ends, that deliveries may run side by side, that Check writes nothing.
package sinktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/sink"
)

// Verdict is what the destination does with a message.
type Verdict int

// What a destination can do.
const (
	Accept Verdict = iota
	Fail           // an error that may pass
	Refuse         // an error that repetition cannot mend
	Later          // an error that asks to come back after Harness.Later
	Hang           // no answer until the destination is closed
)

// Destination is a fake that speaks the sink's protocol.
type Destination interface {
	// Judge sets how messages are answered, by their body; it may be called concurrently. A request with several messages that cannot be
	// answered one by one gets the worst verdict among them.
	Judge(judge func(body string) Verdict)
	// Accepted lists the bodies that were accepted, in order.
	Accepted() []string
	// Writes counts everything that reached the destination and could have changed it, accepted or not.
	Writes() int
	// Stop makes the destination unreachable.
	Stop()
}

// Harness describes one way of running a sink.
type Harness struct {
	Atomicity sink.Atomicity
	Open      func(t *testing.T) (sink.Sink, Destination) // a fresh pair; it cleans up after itself
	Refuses   bool                                        // the destination can say that a message will never do
	Later     time.Duration                               // how long Later asks to wait; 0 when the destination cannot ask
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Helper()
	cases := map[string]func(*testing.T, Harness){
		"whole batch in order":            wholeBatch,
		"order within a group":            groupOrder,
		"empty batch":                     emptyBatch,
		"partial failure":                 partialFailure,
		"failure is retried":              failure,
		"refusal is rejected":             refusal,
		"destination asks for time":       later,
		"cancel ends a delivery":          cancelled,
		"concurrent deliveries":           concurrent,
		"bodies are not kept":             bodiesNotKept,
		"unreachable destination":         unreachable,
		"check writes nothing":            checkWritesNothing,
		"check notices an absent one":     checkAbsent,
		"close twice and deliver no more": closed,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, h)
		})
	}
}

// Batch makes n messages with distinct bodies, ids and groups.
func Batch(prefix string, n int) []sink.Message {
	batch := make([]sink.Message, n)
	for i := range batch {
		name := fmt.Sprintf("%s-%d", prefix, i)
		batch[i] = sink.Message{ID: name, Group: name, Body: json.RawMessage(fmt.Sprintf(`{"record":{"name":%q}}`, name)), Attempt: 1}
	}
	return batch
}

func bodies(batch []sink.Message) []string {
	all := make([]string, len(batch))
	for i := range batch {
		all[i] = string(batch[i].Body)
	}
	return all
}

func (h Harness) size(n int) int {
	if h.Atomicity == sink.PerMessage {
		return min(n, 3)
	}
	return n
}

func wholeBatch(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	batch := Batch("whole", h.size(50))
	require.NoError(t, s.Deliver(t.Context(), batch))
	if h.Atomicity == sink.PerMessage {
		require.ElementsMatch(t, bodies(batch), d.Accepted())
		return
	}
	require.Equal(t, bodies(batch), d.Accepted())
}

func groupOrder(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	batch := Batch("order", 20)
	for i := range batch {
		batch[i].Group = "one"
	}
	if h.Atomicity == sink.PerMessage {
		for i := range batch {
			require.NoError(t, s.Deliver(t.Context(), batch[i:i+1]))
		}
	} else {
		require.NoError(t, s.Deliver(t.Context(), batch[:7]))
		require.NoError(t, s.Deliver(t.Context(), batch[7:]))
	}
	require.Equal(t, bodies(batch), d.Accepted())
}

func emptyBatch(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	require.NoError(t, s.Deliver(t.Context(), nil))
	require.Zero(t, d.Writes())
}

// partialFailure fails the message in the middle: what the sink says was accepted must be exactly what the destination has.
func partialFailure(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	batch := Batch("partial", 3)
	bad := string(batch[1].Body)
	d.Judge(func(body string) Verdict {
		if body == bad {
			return Fail
		}
		return Accept
	})
	err := s.Deliver(t.Context(), batch)
	require.Error(t, err)
	require.False(t, sink.IsReject(err))
	failed, partial := errors.AsType[*sink.BatchError](err)
	var accepted []string
	switch h.Atomicity {
	case sink.Atomic:
		require.False(t, partial, "all or nothing cannot name single messages: %v", err)
	case sink.Prefix:
		require.True(t, partial)
		require.Contains(t, failed.Failed, 1)
		require.NotContains(t, failed.Failed, 0)
		accepted = bodies(batch[:1])
	case sink.PerMessage:
		require.True(t, partial)
		require.Len(t, failed.Failed, 1)
		require.Error(t, failed.Failed[1])
		accepted = []string{string(batch[0].Body), string(batch[2].Body)}
	}
	require.ElementsMatch(t, accepted, d.Accepted())
}

// one returns the error of the only message of a batch.
func one(t *testing.T, err error) error {
	t.Helper()
	require.Error(t, err)
	if batch, ok := errors.AsType[*sink.BatchError](err); ok {
		require.Len(t, batch.Failed, 1)
		return batch.Failed[0]
	}
	return err
}

func failure(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	d.Judge(func(string) Verdict { return Fail })
	batch := Batch("failure", 1)
	err := one(t, s.Deliver(t.Context(), batch))
	require.False(t, sink.IsReject(err))
	_, asked := sink.After(err)
	require.False(t, asked)
	require.Empty(t, d.Accepted())
	require.Equal(t, 1, d.Writes(), "a sink has no retries of its own")
	d.Judge(func(string) Verdict { return Accept })
	require.NoError(t, s.Deliver(t.Context(), batch))
	require.Equal(t, bodies(batch), d.Accepted())
}

func refusal(t *testing.T, h Harness) {
	t.Helper()
	if !h.Refuses {
		return
	}
	s, d := h.Open(t)
	d.Judge(func(string) Verdict { return Refuse })
	err := one(t, s.Deliver(t.Context(), Batch("refusal", 1)))
	require.True(t, sink.IsReject(err), "%v", err)
	require.Empty(t, d.Accepted())
}

func later(t *testing.T, h Harness) {
	t.Helper()
	if h.Later == 0 {
		return
	}
	s, d := h.Open(t)
	d.Judge(func(string) Verdict { return Later })
	err := one(t, s.Deliver(t.Context(), Batch("later", 1)))
	after, asked := sink.After(err)
	require.True(t, asked, "%v", err)
	require.InDelta(t, h.Later.Seconds(), after.Seconds(), 1.5)
	require.False(t, sink.IsReject(err))
}

func cancelled(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	arrived := make(chan struct{})
	var once sync.Once
	d.Judge(func(string) Verdict {
		once.Do(func() { close(arrived) })
		return Hang
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Deliver(ctx, Batch("cancel", 1)) }()
	<-arrived
	cancel()
	select {
	case err := <-ended:
		err = one(t, err)
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, sink.IsReject(err))
	case <-time.After(10 * time.Second):
		require.Fail(t, "Deliver did not end after its context was cancelled")
	}
	// The engine may start again with the same sink.
	d.Judge(func(string) Verdict { return Accept })
	require.NoError(t, s.Deliver(t.Context(), Batch("again", 1)))
}

func concurrent(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	const workers, rounds = 8, 20
	var want []string
	var wg sync.WaitGroup
	for w := range workers {
		var batches [][]sink.Message
		for r := range rounds {
			batch := Batch(fmt.Sprintf("concurrent-%d-%d", w, r), h.size(5))
			want = append(want, bodies(batch)...)
			batches = append(batches, batch)
		}
		wg.Go(func() {
			for _, batch := range batches {
				if err := s.Deliver(t.Context(), batch); err != nil {
					t.Errorf("deliver: %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.ElementsMatch(t, want, d.Accepted(), "each exactly once")
}

// bodiesNotKept writes over the bodies as soon as Deliver has returned, as the engine does with its buffers. The race detector is the
// judge of readers that the wrong bytes do not betray.
func bodiesNotKept(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	var want []string
	body := make([]byte, 64<<10)
	for r := range 50 {
		if r%5 == 4 { // a failing round: its reader may be late
			d.Judge(func(string) Verdict { return Fail })
		} else {
			d.Judge(func(string) Verdict { return Accept })
		}
		for i := range body {
			body[i] = 'a' + byte(r%26)
		}
		body[0], body[len(body)-1] = '"', '"'
		sent := string(body)
		err := s.Deliver(t.Context(), []sink.Message{{ID: fmt.Sprintf("kept-%d", r), Body: body, Attempt: 1}})
		for i := range body {
			body[i] = '!'
		}
		if err == nil {
			want = append(want, sent)
		}
	}
	require.Len(t, want, 40)
	require.Equal(t, want, d.Accepted())
}

func unreachable(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	d.Stop()
	err := s.Deliver(t.Context(), Batch("unreachable", 1))
	require.Error(t, err)
	require.False(t, sink.IsReject(one(t, err)), "an outage is no reason to give up a message")
}

func checkWritesNothing(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	require.NoError(t, s.Check(t.Context()))
	require.Zero(t, d.Writes())
}

func checkAbsent(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	d.Stop()
	require.Error(t, s.Check(t.Context()))
}

func closed(t *testing.T, h Harness) {
	t.Helper()
	s, d := h.Open(t)
	require.NoError(t, s.Deliver(t.Context(), Batch("before", 1)))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.Error(t, s.Deliver(t.Context(), Batch("after", 1)))
	require.Len(t, d.Accepted(), 1)
}
