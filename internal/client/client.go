// Package client speaks to a Sequin server's HTTP API, over TCP, over the local operator's unix socket, or to a handler in this process. Only
// 200 and 201 are success; everything else is an *Error with what the server said, and what never got an answer is an *UnreachableError. Both
// hold a problem.Error. The token is sent to the address it was given for and to no other: redirects are not followed. A Client is safe for
// concurrent use.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// DefaultURL is where a server listens that was told nothing else.
const DefaultURL = "http://127.0.0.1:7376"

// Limits of a request that says nothing else.
const (
	DefaultTimeout  = 60 * time.Second
	DefaultResponse = 64 << 20
	dialTimeout     = 10 * time.Second
)

// Options of a client.
type Options struct {
	URL       string            // http://host:port, https://host/prefix, or unix:/path/of/a/socket
	Token     string            // "" sends none
	Account   string            // acts in this account; the unix socket alone lets one choose
	UserAgent string            // "" for Go's
	Transport http.RoundTripper // instead of the network: Serve

	// Waiting is called when a request is sent, and what it returns when it is over; for telling people. nil for nothing.
	Waiting func() (over func())
}

// Client sends requests to one server.
type Client struct {
	base    *url.URL
	socket  string
	options Options
	http    *http.Client
}

// New checks the options; it connects to nothing.
func New(o Options) (*Client, error) {
	c := &Client{options: o}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
	}
	if socket, ok := strings.CutPrefix(o.URL, "unix:"); ok {
		c.socket = strings.TrimPrefix(socket, "//")
		if c.socket == "" {
			return nil, badURL("it names no socket")
		}
		c.base = &url.URL{Scheme: "http", Host: "sequin"}
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", c.socket)
		}
	} else {
		base, err := parseURL(o.URL)
		if err != nil {
			return nil, err
		}
		c.base = base
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, problem.New("token_malformed", "the token holds a character that no token has").WithHint("copy it again, without spaces and line ends")
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if o.Transport != nil {
		c.http.Transport = o.Transport
	}
	return c, nil
}

func badURL(detail string) error {
	return problem.New("server_url_invalid", "the server's URL cannot be used").WithDetail("%s", detail).
		WithHint("give it as http://host:7376, https://host or unix:/path/of/admin.sock")
}

// parseURL never shows the URL: a password may be in it.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https":
		return nil, badURL("it does not begin with http:// or https://")
	case u.Host == "":
		return nil, badURL("it names no host")
	case u.User != nil:
		return nil, badURL("it holds a user name; the token is given apart from it")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, badURL("it has a query or a fragment")
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/api") // the API's own clients have base URLs that end so
	u.RawPath = ""
	return u, nil
}

// Address is the server's, for people.
func (c *Client) Address() string {
	if c.socket != "" {
		return "unix:" + c.socket
	}
	return c.base.String()
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Path joins segments, each escaped: a name stays one segment whatever it holds.
func Path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// Request is one call.
type Request struct {
	Method      string // "" for GET
	Path        string // from Path
	Query       url.Values
	Body        any           // is sent as JSON; a json.RawMessage as it is
	Timeout     time.Duration // from beginning to end; 0 for DefaultTimeout
	MaxResponse int64         // 0 for DefaultResponse
	Account     string        // instead of the options'
	Quiet       bool          // does without Waiting
}

// Response is a good answer.
type Response struct {
	Status    int
	RequestID string
	Body      []byte
}

// Decode reads the answer. Anything but what was expected gives an error that says so.
func (r *Response) Decode(v any) error {
	d := json.NewDecoder(bytes.NewReader(r.Body))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return &Error{Status: r.Status, RequestID: r.RequestID, Problem: problem.New("unexpected_reply", "the server's answer cannot be read").
			WithDetail("%v", err).WithHint("check that the address is that of a Sequin server, and that its version fits this one: sequin status").Because(err)}
	}
	return nil
}

// Do sends a request and reads the answer whole.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	deadline, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := c.request(deadline, r)
	if err != nil {
		return nil, err
	}
	if c.options.Waiting != nil && !r.Quiet {
		defer c.options.Waiting()()
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, timeout, err)
	}
	defer func() { _ = res.Body.Close() }() // it was read, or is of no use
	limit := r.MaxResponse
	if limit == 0 {
		limit = DefaultResponse
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, c.unreachable(ctx, timeout, err)
	}
	id := res.Header.Get("X-Request-Id")
	if int64(len(body)) > limit {
		return nil, &Error{Status: res.StatusCode, RequestID: id, Problem: problem.New("reply_too_large", "the server's answer is larger than %d bytes", limit).
			WithHint("ask for less at a time, with --limit or --batch")}
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		return nil, readError(res, body)
	}
	return &Response{Status: res.StatusCode, RequestID: id, Body: body}, nil
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	u := *c.base
	plain, err := url.PathUnescape(r.Path)
	if err != nil {
		return nil, fmt.Errorf("path of a request: %w", err)
	}
	for segment := range strings.SplitSeq(plain, "/") {
		if segment == "." || segment == ".." {
			return nil, problem.New("name_not_addressable", "%q cannot stand in a URL", segment).WithHint("use the id")
		}
	}
	u.Path, u.RawPath = c.base.Path+plain, c.base.EscapedPath()+r.Path
	u.RawQuery = r.Query.Encode()
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	var body []byte
	if r.Body != nil {
		if body, err = json.Marshal(r.Body); err != nil {
			return nil, fmt.Errorf("encode a request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if method != http.MethodGet && method != http.MethodDelete {
		req.Header.Set("Content-Type", "application/json") // the original wants it with an empty body too
	}
	if c.options.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.options.Token)
	}
	if account := cmp.Or(r.Account, c.options.Account); account != "" {
		req.Header.Set("X-Sequin-Account", account)
	}
	if c.options.UserAgent != "" {
		req.Header.Set("User-Agent", c.options.UserAgent)
	}
	return req, nil
}

// Get reads one path into v.
func (c *Client) Get(ctx context.Context, path string, query url.Values, v any) error {
	res, err := c.Do(ctx, Request{Path: path, Query: query})
	if err != nil {
		return err
	}
	return res.Decode(v)
}
