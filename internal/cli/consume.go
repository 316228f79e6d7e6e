package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

const (
	maxReceive      = 512 << 20 // of one answer: one message always fits, however large
	settleTimeout   = 10 * time.Second
	writeGrace      = 2 * time.Second // for a write under way at an interrupt
	firstPause      = 250 * time.Millisecond
	lastPause       = 10 * time.Second
	settleTries     = 4
	answerAllowance = 30 * time.Second // beyond a long poll, for the answer to arrive
)

// consumeOptions are the flags of sequin consume.
type consumeOptions struct {
	batch int
	wait  time.Duration
	noAck bool
	count int

	output string
}

func (a *app) consumeCommand() *cobra.Command {
	o := consumeOptions{}
	cmd := &cobra.Command{
		Use: "consume SINK", Short: "Receive a sink's messages, print them and acknowledge them", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeNames(sinkKind),
		Long: "Receive the messages of a sink whose destination is sequin_stream, one JSON object a line, until interrupted. A message is acknowledged after it was\n" +
			"written to the standard output; what could not be written goes back and is delivered again. Nothing is lost when this is interrupted or killed.",
		Example: "  sequin consume orders | jq .record\n  sequin consume orders --count 1 --no-ack -o json",
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return (&consumption{app: a, client: c, sink: args[0], options: o}).run(cmd.Context())
		}),
	}
	cmd.Flags().IntVar(&o.batch, "batch", 100, "how many messages to receive at a time")
	cmd.Flags().DurationVar(&o.wait, "wait", 30*time.Second, "how long the server holds a request while there is nothing; with 0 the command ends when there is nothing left")
	cmd.Flags().BoolVar(&o.noAck, "no-ack", false, "acknowledge nothing: the messages come again when their leases end")
	cmd.Flags().IntVarP(&o.count, "count", "n", 0, "end after this many messages; 0 for no end")
	cmd.Flags().StringVarP(&o.output, "output", "o", "message", "what a line is: message, or json for {\"ack_id\", \"deliver_count\", \"data\"}")
	completeWith(cmd, "output", "message", "json")
	return cmd
}

func (o *consumeOptions) check() error {
	switch {
	case o.batch < 1 || o.batch > 1000:
		return usage("--batch is %d; it must be from 1 to 1000", o.batch)
	case o.wait < 0 || o.wait > 5*time.Minute:
		return usage("--wait is %s; it must be from 0 to 5m", o.wait)
	case o.output != "message" && o.output != "json":
		return usage("--output is %q; it is message or json", o.output)
	case o.count < 0:
		return usage("--count is %d; it must not be negative", o.count)
	}
	return nil
}

// consumption is one run of sequin consume.
type consumption struct {
	app     *app
	client  *client.Client
	sink    string
	options consumeOptions
	taken   int
	pause   time.Duration
	begun   bool // an answer came once
}

// received is one message.
type received struct {
	AckID string          `json:"ack_id"`
	Data  json.RawMessage `json:"data"`
	whole json.RawMessage
}

// run receives until it is interrupted, until there were enough, or with --wait 0 until there is nothing.
func (k *consumption) run(ctx context.Context) error {
	for {
		messages, err := k.receive(ctx)
		switch {
		case ctx.Err() != nil: // what came at the last moment goes back at once
			return k.settle(context.WithoutCancel(ctx), "nack", messages)
		case err != nil && k.retry(ctx, err):
			continue
		case err != nil:
			return err
		case len(messages) == 0 && k.options.wait == 0:
			return nil
		case len(messages) == 0:
			continue
		}
		err = k.handle(ctx, messages)
		k.taken += len(messages)
		if err != nil || ctx.Err() != nil || k.options.count > 0 && k.taken >= k.options.count {
			return err
		}
	}
}

// retry waits before the next attempt when a server that answered before is away, or is busy. Anything else ends the command.
func (k *consumption) retry(ctx context.Context, err error) bool {
	wait := time.Duration(0)
	if answer, ok := errors.AsType[*client.Error](err); ok {
		if answer.Status != http.StatusServiceUnavailable && answer.Status != http.StatusTooManyRequests && (answer.Status < 502 || !k.begun) {
			return false
		}
		wait = answer.RetryAfter
	} else if _, away := errors.AsType[*client.UnreachableError](err); !away || !k.begun {
		return false
	}
	if k.pause == 0 {
		k.app.note("%s\nit is tried again", text(err))
	}
	k.pause = min(max(2*k.pause, firstPause), lastPause)
	select {
	case <-ctx.Done():
	case <-time.After(max(wait, k.pause)):
	}
	return true
}

func (k *consumption) receive(ctx context.Context) ([]received, error) {
	batch := k.options.batch
	if k.options.count > 0 {
		batch = min(batch, k.options.count-k.taken)
	}
	res, err := k.client.Do(ctx, client.Request{
		Method: http.MethodPost, Path: k.path("receive"), Body: map[string]any{"batch_size": batch, "wait_for": k.options.wait.Milliseconds()},
		Timeout: k.options.wait + answerAllowance, MaxResponse: maxReceive, Quiet: true,
	})
	if err != nil {
		return nil, err
	}
	raw, err := rawList(res.Body)
	if err != nil {
		return nil, err
	}
	messages := make([]received, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &messages[i]); err != nil || messages[i].AckID == "" {
			return nil, noAnswer("messages")
		}
		messages[i].whole = raw[i]
	}
	k.begun, k.pause = true, 0
	return messages, nil
}

func (k *consumption) path(verb string) string {
	return client.Path("api", "sequin_streams", k.sink, verb)
}

// handle writes a batch, acknowledges what was written, and gives back the rest.
func (k *consumption) handle(ctx context.Context, messages []received) error {
	written, err := k.write(ctx, messages)
	if k.options.noAck {
		return ended(err)
	}
	// What was printed counts, and what was not must not wait for its lease: neither depends on the interrupt.
	settle := context.WithoutCancel(ctx)
	if ackErr := k.settle(settle, "ack", messages[:written]); ackErr != nil {
		k.app.note("%s\n%d messages were printed and could not be acknowledged; they will come again", text(ackErr), written)
	}
	if written < len(messages) {
		if nackErr := k.settle(settle, "nack", messages[written:]); nackErr != nil {
			k.app.note("%d messages could not be given back; they come again when their leases end", len(messages)-written)
		}
	}
	return ended(err)
}

// ended tells a reader who went away, and an interrupt, from a failure.
func ended(err error) error {
	if gone(err) {
		return &exitError{ExitOK, errSaid}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("write messages: %w", err)
	}
	return nil
}

// write writes the messages, one a line, and tells how many are out for certain. An interrupt does not wait for a reader that does not read.
func (k *consumption) write(ctx context.Context, messages []received) (int, error) {
	var b bytes.Buffer
	ends := make([]int, len(messages))
	for i := range messages {
		line := messages[i].Data
		if k.options.output == "json" {
			line = messages[i].whole
		}
		if err := json.Compact(&b, line); err != nil { // cannot happen: it was read from JSON
			return 0, err
		}
		b.WriteByte('\n')
		ends[i] = b.Len()
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := k.app.streams.Out.Write(b.Bytes())
		done <- result{n, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		select {
		case r = <-done:
		case <-time.After(writeGrace):
			r = result{0, ctx.Err()}
		}
	}
	written := 0
	for written < len(ends) && ends[written] <= r.n {
		written++
	}
	return written, r.err
}

// settle acknowledges or gives back. It tries again for a while: a restart of the server must not print messages twice.
func (k *consumption) settle(ctx context.Context, verb string, messages []received) error {
	if len(messages) == 0 {
		return nil
	}
	ids := make([]string, len(messages))
	for i := range messages {
		ids[i] = messages[i].AckID
	}
	pause := firstPause
	for try := 1; ; try++ {
		_, err := k.client.Do(ctx, client.Request{Method: http.MethodPost, Path: k.path(verb), Body: map[string]any{"ack_ids": ids}, Timeout: settleTimeout, Quiet: true})
		if err == nil || try == settleTries {
			return err
		}
		if answer, ok := errors.AsType[*client.Error](err); ok && answer.Status < 500 && answer.Status != http.StatusTooManyRequests {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		pause *= 2
	}
}
