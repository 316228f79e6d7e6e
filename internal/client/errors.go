package client

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// Error is an answer that says no, or that cannot be understood.
type Error struct {
	Status     int
	RequestID  string
	RetryAfter time.Duration // 0 unless the server named one
	Problem    *problem.Error
}

func (e *Error) Error() string { return e.Problem.Error() }
func (e *Error) Unwrap() error { return e.Problem }

// UnreachableError is a request that got no answer.
type UnreachableError struct {
	Problem *problem.Error
}

func (e *UnreachableError) Error() string { return e.Problem.Error() }
func (e *UnreachableError) Unwrap() error { return e.Problem }

// NotRunning reports that nothing listens at the socket: a server that runs would.
func (e *UnreachableError) NotRunning() bool {
	return e.Problem.Code == CodeNotRunning
}

// Codes of what gets no answer.
const (
	CodeNotRunning  = "server_not_running"
	CodeUnreachable = "server_unreachable"
	CodeTimeout     = "server_timeout"
	CodeSocket      = "admin_socket_denied"
)

// unreachable explains why there is no answer. What the caller cancelled is the caller's.
func (c *Client) unreachable(ctx context.Context, timeout time.Duration, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err // the URL is named anyway
	}
	p := problem.New(CodeUnreachable, "the server at %s cannot be reached", c.Address()).WithDetail("%v", cause)
	var netErr net.Error
	switch {
	case c.socket != "":
		p = c.socketProblem(cause)
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout():
		p = problem.New(CodeTimeout, "the server at %s did not answer within %s", c.Address(), timeout).
			WithHint("see whether it is busy: sequin status; what was asked may have been done all the same")
	case errors.Is(err, syscall.ECONNREFUSED):
		p = p.WithHint("start it with sequin serve, or name its address with --url, SEQUIN_URL or a context: sequin context add")
	case strings.Contains(cause.Error(), "server gave HTTP response to HTTPS client"):
		p = p.WithHint("it does not speak TLS: use http:// in the address, or sequin context edit --no-tls")
	case isCertificate(err):
		p = p.WithHint("if the certificate is of an authority of your own, name its file in the variable SSL_CERT_FILE")
	default:
		p = p.WithHint("check the address and the network between; what was asked may have been done all the same if the connection broke late")
	}
	return &UnreachableError{Problem: p.Because(err)}
}

func (c *Client) socketProblem(cause error) *problem.Error {
	switch {
	case errors.Is(cause, fs.ErrNotExist), errors.Is(cause, syscall.ECONNREFUSED):
		return problem.New(CodeNotRunning, "the server does not run").WithDetail("nothing listens at %s", c.Address()).
			WithHint("start it, or name its data directory with --data-dir or SEQUIN_DATA_DIR")
	case errors.Is(cause, fs.ErrPermission):
		return problem.New(CodeSocket, "the local operator's socket does not let this user in").WithDetail("%s", c.Address()).
			WithHint("run this as the user that the server runs as")
	case errors.Is(cause, context.DeadlineExceeded):
		return problem.New(CodeTimeout, "the server at %s did not answer in time", c.Address()).
			WithHint("see whether it is busy: sequin status; what was asked may have been done all the same")
	}
	return problem.New(CodeUnreachable, "the server at %s cannot be reached", c.Address()).WithDetail("%v", cause)
}

func isCertificate(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// body is the shape of errors. The original has the first three keys alone, and errors where no handler has spoken.
type body struct {
	Summary          string          `json:"summary"`
	ValidationErrors json.RawMessage `json:"validation_errors"`
	Code             string          `json:"code"`
	Detail           string          `json:"detail"`
	Hint             string          `json:"hint"`
	Errors           struct {
		Detail string `json:"detail"`
	} `json:"errors"`
	Reason string `json:"reason"` // of a connection test
	Error  string `json:"error"`  // of a delete that is refused
}

// readError makes an error of an answer that is not 200 or 201.
func readError(res *http.Response, text []byte) error {
	e := &Error{Status: res.StatusCode, RequestID: res.Header.Get("X-Request-Id")}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(min(seconds, 3600)) * time.Second
	}
	status := fmt.Sprintf("%d %s", res.StatusCode, http.StatusText(res.StatusCode))
	var b body
	if location := res.Header.Get("Location"); location != "" && res.StatusCode/100 == 3 {
		e.Problem = problem.New("unexpected_reply", "the server at this address sends one elsewhere").WithDetail("%s to %s", status, clip(location)).
			WithHint("use that address; a token is never sent on")
		return e
	}
	if json.Unmarshal(text, &b) != nil {
		e.Problem = problem.New("unexpected_reply", "the server answered %s", status).WithDetail("%s", clip(string(text))).
			WithHint("check that the address is that of a Sequin server, and what stands between")
		return e
	}
	p := &problem.Error{Code: b.Code, Message: b.Summary, Detail: b.Detail, Hint: b.Hint, Fields: fields(b.ValidationErrors)}
	for _, other := range []string{b.Reason, b.Error, b.Errors.Detail, status} {
		if p.Message == "" {
			p.Message = other
		}
	}
	if p.Code == "" {
		p.Code = fmt.Sprintf("http_%d", res.StatusCode)
	}
	e.Problem = p
	return e
}

// fields flattens validation errors. Ours are lists of texts by path; the original nests them as the resource is nested.
func fields(raw json.RawMessage) map[string][]string {
	var tree any
	if len(raw) == 0 || json.Unmarshal(raw, &tree) != nil {
		return nil
	}
	flat := map[string][]string{}
	flatten(flat, "", tree)
	if len(flat) == 0 {
		return nil
	}
	return flat
}

func flatten(flat map[string][]string, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, below := range v {
			sub := key
			if path != "" {
				sub = path + "." + key
			}
			flatten(flat, sub, below)
		}
	case []any:
		for i, below := range v {
			if text, ok := below.(string); ok {
				flat[path] = append(flat[path], text)
				continue
			}
			flatten(flat, fmt.Sprintf("%s[%d]", path, i), below)
		}
	case nil:
	default:
		flat[path] = append(flat[path], fmt.Sprint(v))
	}
}

// clip shortens what a stranger sent.
func clip(text string) string {
	const most = 200
	text = strings.ToValidUTF8(string(bytes.TrimSpace([]byte(text))), "?")
	if r := []rune(text); len(r) > most {
		return string(slices.Concat(r[:most], []rune("…")))
	}
	return text
}
