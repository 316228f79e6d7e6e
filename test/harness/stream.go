package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Message is one message as clients see it.
type Message struct {
	Record   json.RawMessage `json:"record"`
	Changes  json.RawMessage `json:"changes"`
	Action   string          `json:"action"`
	Metadata struct {
		TableSchema            string          `json:"table_schema"`
		TableName              string          `json:"table_name"`
		CommitTimestamp        time.Time       `json:"commit_timestamp"`
		CommitLSN              uint64          `json:"commit_lsn"`
		CommitIdx              uint32          `json:"commit_idx"`
		IdempotencyKey         string          `json:"idempotency_key"`
		RecordPKs              []string        `json:"record_pks"`
		TransactionAnnotations json.RawMessage `json:"transaction_annotations"`
		UnchangedColumns       []string        `json:"unchanged_columns"`
		PartitionName          string          `json:"partition_name"`
		Redriven               bool            `json:"redriven"`
		Replay                 bool            `json:"replay,omitempty"`
	} `json:"metadata"`
}

// Received is a message with its lease.
type Received struct {
	AckID        string  `json:"ack_id"`
	DeliverCount int     `json:"deliver_count"`
	Data         Message `json:"data"`
}

// Stream is a client of one pull sink. Calls return errors instead of failing the test: the process may be killed at any moment.
type Stream struct {
	Base   func() string // URL of the API; it changes with each process
	Name   string
	Client *http.Client // nil for the default one
}

// Stream returns a client of the named sink.
func (s *Sequin) Stream(name string) *Stream {
	return &Stream{Base: func() string { return s.URL }, Name: name}
}

// Receive pulls up to n messages, waiting for the first one.
func (c *Stream) Receive(ctx context.Context, n int, wait time.Duration) ([]Received, error) {
	var reply struct {
		Data []Received `json:"data"`
	}
	err := c.Call(ctx, "receive", map[string]any{"batch_size": n, "wait_for": wait.Milliseconds()}, &reply)
	return reply.Data, err
}

// Ack acknowledges; Nack gives back; both by ack id.
func (c *Stream) Ack(ctx context.Context, ids ...string) error {
	return c.Call(ctx, "ack", map[string]any{"ack_ids": ids}, nil)
}

// Nack gives messages back.
func (c *Stream) Nack(ctx context.Context, ids ...string) error {
	return c.Call(ctx, "nack", map[string]any{"ack_ids": ids}, nil)
}

// StatusError is an answer other than 200.
type StatusError struct {
	Verb   string
	Status int
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("%s: %d %s", e.Verb, e.Status, e.Body) }

// Call posts a body to one of the sink's routes and reads the answer into reply, unless that is nil.
func (c *Stream) Call(ctx context.Context, verb string, body, reply any) error {
	payload, err := json.Marshal(body)
	if err != nil {
		return err
	}
	url := c.Base() + "/api/sequin_streams/" + c.Name + "/" + verb
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+Token)
	req.Header.Set("Content-Type", "application/json")
	client := c.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &StatusError{verb, resp.StatusCode, string(answer)}
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(answer, reply)
}

// AckIDs are the ack ids of a batch.
func AckIDs(batch []Received) []string {
	ids := make([]string, len(batch))
	for i := range batch {
		ids[i] = batch[i].AckID
	}
	return ids
}
