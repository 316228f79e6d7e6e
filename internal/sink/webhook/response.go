package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink"
)

// How much of an answer is read.
const (
	keptBody     = 64 << 10  // of a failure, for people
	drainedBody  = 256 << 10 // so that the connection can be used again; beyond, it is closed
	drainTime    = time.Second
	shownBody    = 500
	maxRetryWait = time.Hour
)

// StatusError is an answer other than 2xx.
type StatusError struct {
	Status int
	Body   []byte // at most 64 KiB, secrets taken out
}

func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("answered %d %s", e.Status, http.StatusText(e.Status)))
}

// failing says whether the answer tells of an endpoint in trouble, and not of a message that it does not like.
func (e *StatusError) failing() bool { return e.Status >= 500 || transient(e.Status) }

func transient(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests
}

// settle reads and closes the answer and turns it into a delivery outcome.
func (s *Sink) settle(resp *http.Response, cancel context.CancelFunc) error {
	accepted := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if resp.Body == http.NoBody || resp.ContentLength == 0 {
		err := resp.Body.Close()
		if accepted {
			return nil
		}
		return s.refused(resp, nil, err)
	}
	// The answer has been given: what follows is not worth the worker's time.
	impatient := time.AfterFunc(drainTime, cancel)
	defer impatient.Stop()
	var kept []byte
	var err error
	if !accepted {
		kept, err = io.ReadAll(io.LimitReader(resp.Body, keptBody))
	}
	if err == nil {
		_, err = io.CopyN(io.Discard, resp.Body, drainedBody)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	err = errors.Join(err, resp.Body.Close())
	if accepted {
		return nil // whatever became of the rest of the answer
	}
	return s.refused(resp, kept, err)
}

func (s *Sink) refused(resp *http.Response, body []byte, reading error) error {
	text := s.redact.text(string(body))
	status := &StatusError{Status: resp.StatusCode, Body: []byte(text)}
	var err error
	if resp.StatusCode >= 300 && resp.StatusCode <= 399 {
		err = s.redirected(resp, status)
	} else {
		p := problem.New("webhook_status", "the webhook endpoint at %s %s", s.url.Host, status.Error())
		if shown := excerpt([]byte(text), shownBody); shown != "" {
			p = p.WithDetail("%s", shown)
		} else if reading != nil {
			p = p.WithDetail("its answer could not be read: %s", s.redact.text(reading.Error()))
		}
		err = p.WithHint("%s", statusHint(resp.StatusCode)).Because(status)
	}
	if s.reject[resp.StatusCode] {
		return sink.Reject(err)
	}
	if after, ok := retryAfter(resp.Header, time.Now()); ok {
		return sink.RetryAfter(err, after)
	}
	return err
}

// redirected names where the endpoint points to without the parts that may be secret.
func (s *Sink) redirected(resp *http.Response, status *StatusError) error {
	target := "elsewhere"
	if location, err := s.url.Parse(resp.Header.Get("Location")); err == nil && location.Host != "" {
		target = "to " + (&url.URL{Scheme: location.Scheme, Host: location.Host}).String()
	}
	return problem.New("webhook_redirect", "the webhook endpoint at %s redirects %s (%d), and redirects are not followed", s.url.Host, target, resp.StatusCode).
		WithHint("set the endpoint's url to where it ends up").Because(status)
}

func statusHint(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "check the endpoint's encrypted_headers and signing_secrets"
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		return "check the endpoint's url and the sink's http_endpoint_path"
	case http.StatusRequestEntityTooLarge:
		return "lower the sink's batch_size, or let the endpoint accept larger bodies"
	case http.StatusTooManyRequests:
		return "lower the sink's concurrency, or raise batch_size"
	}
	return "look into the endpoint's own log: any answer from 200 to 299 acknowledges"
}

// retryAfter reads the header in both its forms: seconds, and a date, which is compared with the answer's own clock if that is known.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryWait/time.Second) {
			return maxRetryWait, true
		}
		return time.Duration(seconds) * time.Second, seconds > 0
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	wait := min(at.Sub(now), maxRetryWait)
	return wait, wait > 0
}
