package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// receiver is the endpoint that the webhook sink calls.
type receiver struct {
	url    string
	server *http.Server
	failed chan error
}

const maxBody = 8 << 20

func listen(ctx context.Context, out *printer) (*receiver, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for webhooks: %w", err)
	}
	r := &receiver{url: "http://" + l.Addr().String() + "/hook", failed: make(chan error, 1)}
	r.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
		if err == nil {
			err = out.delivered(pushed, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusOK) // any 2xx is an acknowledgement
	})}
	go func() {
		if err := r.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			r.failed <- fmt.Errorf("listen for webhooks: %w", err)
		}
	}()
	return r, nil
}

func (r *receiver) close() error { return r.server.Close() }

// pull receives messages by long polls, prints them and acknowledges them, until ctx ends.
func (d *demo) pull(ctx context.Context) error {
	for ctx.Err() == nil {
		status, body, err := d.call(ctx, http.MethodPost, "/api/sequin_streams/"+pulled+"/receive", `{"batch_size": 10, "wait_for": 30000}`)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("receive: status %d: %s", status, body)
		}
		var reply struct {
			Data []struct {
				AckID string          `json:"ack_id"`
				Data  json.RawMessage `json:"data"`
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &reply); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		ids := make([]string, 0, len(reply.Data))
		for _, m := range reply.Data {
			if err := d.out.delivered(pulled, m.Data); err != nil {
				return err
			}
			ids = append(ids, m.AckID)
		}
		if err := d.ack(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) ack(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	payload, err := json.Marshal(map[string][]string{"ack_ids": ids})
	if err != nil {
		return err
	}
	status, body, err := d.call(ctx, http.MethodPost, "/api/sequin_streams/"+pulled+"/ack", string(payload))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, body)
	}
	if err != nil {
		return fmt.Errorf("ack: %w", err)
	}
	return nil
}

// call asks the API.
func (d *demo) call(ctx context.Context, method, path, payload string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, d.api+path, strings.NewReader(payload))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it is read to the end
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return resp.StatusCode, body, err
}
