package api_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/consumer"
)

// listen serves the API on a loopback port and returns its base URL.
func listen(t *testing.T, handler http.Handler, adjust func(*http.Server)) string {
	t.Helper()
	server := api.NewServer(handler, slog.New(slog.DiscardHandler))
	if adjust != nil {
		adjust(server)
	}
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return "http://" + l.Addr().String()
}

func post(ctx context.Context, url, body string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer admin-token")
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return client.Do(r)
}

func TestServerHasNoDeadlineForARequest(t *testing.T) {
	t.Parallel()
	s := api.NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	require.Zero(t, s.WriteTimeout, "it would cut long polls")
	require.Zero(t, s.ReadTimeout, "it would cancel the context of long polls")
	require.NotZero(t, s.ReadHeaderTimeout)
	require.NotZero(t, s.IdleTimeout)
	require.NotZero(t, s.MaxHeaderBytes)
}

// The deadlines for the body and for an earlier reply on the same connection must not reach into a long poll.
func TestLongPollOutlivesBodyAndReplyDeadlines(t *testing.T) {
	t.Parallel()
	const deadline = 50 * time.Millisecond
	s := &fakeStream{receive: func(ctx context.Context, o consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
		if o.Wait == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(6 * deadline):
			return []*consumer.Delivery{delivery(ackID, "1", 1)}, nil
		}
	}}
	a := newAPIWith(s, api.Limits{ReadTimeout: deadline, WriteTimeout: deadline})
	base := listen(t, a, nil)
	client := &http.Client{}
	defer client.CloseIdleConnections()
	for _, body := range []string{`{}`, `{"wait_for":60000}`, `{"wait_for":60000}`} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/sequin_streams/orders/receive", strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer admin-token")
		r.Header.Set("Content-Type", "application/json")
		reply, err := client.Do(r)
		require.NoError(t, err)
		text := readAll(t, reply.Body)
		require.NoError(t, reply.Body.Close())
		require.Equal(t, http.StatusOK, reply.StatusCode)
		if body != `{}` {
			require.Contains(t, text, ackID)
		}
	}
}

// A client that goes away during a long poll loses nothing: what was leased for it is given back.
func TestMessagesOfAVanishedClientAreGivenBack(t *testing.T) {
	t.Parallel()
	polling := make(chan struct{})
	s := &fakeStream{}
	s.receive = func(ctx context.Context, _ consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
		close(polling)
		<-ctx.Done() // the message arrives at the moment the client goes
		return []*consumer.Delivery{delivery(ackID, "1", 1)}, nil
	}
	handled := make(chan struct{})
	a := newAPI(s)
	base := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(handled)
		a.ServeHTTP(w, r)
	}), nil)
	ctx, leave := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		reply, err := post(ctx, base+"/api/sequin_streams/orders/receive", `{"wait_for":300000}`)
		if err == nil {
			err = reply.Body.Close()
		}
		failed <- err
	}()
	<-polling
	leave()
	require.ErrorIs(t, <-failed, context.Canceled)
	<-handled
	require.Equal(t, []string{ackID}, s.released)
}

func TestDrainEndsLongPolls(t *testing.T) {
	t.Parallel()
	for name, found := range map[string][]*consumer.Delivery{"with nothing": nil, "with a message": {delivery(ackID, "1", 1)}} {
		polling := make(chan struct{})
		s := &fakeStream{receive: func(ctx context.Context, _ consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
			close(polling)
			<-ctx.Done()
			if found != nil {
				return found, nil
			}
			return nil, ctx.Err()
		}}
		a := newAPI(s)
		go func() {
			<-polling
			a.Drain()
			a.Drain()
		}()
		w := call(t, a, "POST", "/api/sequin_streams/orders/receive", `{"wait_for":300000}`)
		require.Equal(t, http.StatusOK, w.Code, name)
		require.Equal(t, len(found), strings.Count(w.Body.String(), "ack_id"), name)
		require.Empty(t, s.released, name)
	}
}

// A body that never arrives must not hold its connection.
func TestStalledBodyIsCutOff(t *testing.T) {
	t.Parallel()
	a := newAPIWith(&fakeStream{}, api.Limits{ReadTimeout: 50 * time.Millisecond})
	base := listen(t, a, nil)
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(base, "http://"))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = conn.Write([]byte("POST /api/sequin_streams/orders/receive HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\n" +
		"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	require.Contains(t, readAll(t, conn), "400 Bad Request")
}
