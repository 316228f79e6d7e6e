// Package api serves the HTTP API under /api: JSON in and out, one shape of error everywhere. It decides who may call what and what a request
// says; what happens then belongs to the streams and resources that it is given. Every reply carries x-request-id.
//
// A request passes these checks in this order: route, Accept, token, content type, parameters. A handler starts only after all of them.
package api

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/auth"
)

// Deps is what the API works with.
type Deps struct {
	Streams Streams
	Sinks   Sinks     // nil: no routes that look into sinks
	Audit   AuditFunc // nil: nobody keeps an audit log
	Auth    *auth.Tokens
	Logger  *slog.Logger
	Limits  Limits
	DocsURL string // put before the code of an error; "" for docs/reference/errors.md#
}

// Limits bound a request. Zero values mean the defaults.
type Limits struct {
	BodyBytes     int64         // of a request: 8,000,000
	ResponseBytes int           // of a received batch: 8 MiB; one message always fits
	ReadTimeout   time.Duration // of a request's body: 30 s
	WriteTimeout  time.Duration // of a reply: 30 s
}

func (l Limits) withDefaults() Limits {
	if l.BodyBytes == 0 {
		l.BodyBytes = 8_000_000
	}
	if l.ResponseBytes == 0 {
		l.ResponseBytes = 8 << 20
	}
	if l.ReadTimeout == 0 {
		l.ReadTimeout = 30 * time.Second
	}
	if l.WriteTimeout == 0 {
		l.WriteTimeout = 30 * time.Second
	}
	return l
}

// API is the handler of everything under /api.
type API struct {
	streams Streams
	sinks   Sinks
	audit   AuditFunc
	auth    *auth.Tokens
	logger  *slog.Logger
	limits  Limits
	docs    string
	mux     *http.ServeMux

	drainOnce sync.Once
	draining  chan struct{}
}

// New makes the handler.
func New(deps Deps) *API {
	a := &API{
		streams: deps.Streams, sinks: deps.Sinks, audit: deps.Audit, auth: deps.Auth, logger: deps.Logger, limits: deps.Limits.withDefaults(), docs: deps.DocsURL,
		mux: http.NewServeMux(), draining: make(chan struct{}),
	}
	if a.docs == "" {
		a.docs = "docs/reference/errors.md#"
	}
	a.mux.HandleFunc("/", a.notFound)
	for _, r := range a.routes() {
		a.mux.Handle(r.method+" "+r.pattern, a.serve(r.handle))
		if r.method == http.MethodGet { // or else a HEAD would lease messages and throw them away
			a.mux.HandleFunc(http.MethodHead+" "+r.pattern, a.notFound)
		}
	}
	return a
}

// route is one line of the API.
type route struct {
	method, pattern string
	handle          func(w http.ResponseWriter, r *request) error
}

func (a *API) routes() []route {
	all := a.streamRoutes()
	if a.sinks != nil {
		all = append(append(all, a.messageRoutes()...), a.deadLetterRoutes()...)
	}
	return all
}

// Drain ends long polls: each answers at once with what it has. Call it when the server is about to stop.
func (a *API) Drain() { a.drainOnce.Do(func() { close(a.draining) }) }

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if w.Header().Get(requestIDHeader) == "" {
		w.Header().Set(requestIDHeader, requestID(r))
	}
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && err == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
			panic(v)
		}
		a.logger.Error("request panicked", "method", r.Method, "path", r.URL.Path, "request_id", w.Header().Get(requestIDHeader),
			"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		a.fail(w, r, errInternal())
	}()
	if clean := cleanPath(r.URL.Path); clean != r.URL.Path {
		u := *r.URL
		u.Path, u.RawPath = clean, ""
		r2 := *r
		r2.URL = &u
		r = &r2
	}
	a.mux.ServeHTTP(w, r)
}

// cleanPath removes doubled and trailing slashes, which some base URLs add, and the second /api of clients whose base URL ends in one.
func cleanPath(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if rest, ok := strings.CutPrefix(path, "/api/api/"); ok {
		path = "/api/" + rest
	}
	return path
}

const requestIDHeader = "X-Request-Id"

// requestID is the caller's own id if it has a sensible form, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get(requestIDHeader)
	if len(id) < 20 || len(id) > 200 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return strings.ToLower(rand.Text())
	}
	return id
}

// RequestID gives every response of next an x-request-id, for the routes beside the API.
func RequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(requestIDHeader, requestID(r))
		next.ServeHTTP(w, r)
	})
}
