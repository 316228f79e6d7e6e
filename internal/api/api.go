// Package api serves the HTTP API under /api: JSON in and out, one shape of error everywhere. It decides who may call what and what a request
// says; what happens then belongs to control, which changes what is declared, and to the streams and sinks that it is given. Every reply carries
// x-request-id.
//
// A request passes these checks in this order: route, Accept, token, what the token may do, content type, parameters. A handler starts only after
// all of them. The same routes are served to the network and, to the operator on this machine, over a unix socket; only there are those that
// concern the installation as a whole.
//
// The contract is openapi/openapi.yaml: a route that is not in it, or is in it and not here, fails a test.
package api

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/control"
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

	Control   *control.Plane // nil: streams and dead letters only
	Runtime   Runtime
	Functions Functions
	Backfills Backfills
	Logs      Logs
	SignIns   *auth.Throttle             // slows down the guessing of passwords
	SetupLink func(secret string) string // where the first owner is made
}

// Limits bound a request. Zero values mean the defaults.
type Limits struct {
	RequestTime   time.Duration // of everything but the pull API, whose polls are long: 60 s
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
	if l.RequestTime == 0 {
		l.RequestTime = time.Minute
	}
	return l
}

// API is the handler of everything under /api.
type API struct {
	streams Streams
	sinks   Sinks
	noted   AuditFunc
	auth    *auth.Tokens
	logger  *slog.Logger
	limits  Limits
	docs    string

	control   *control.Plane
	runtime   Runtime
	functions Functions
	backfills Backfills
	logs      Logs
	signIns   *auth.Throttle
	signingIn chan struct{} // a place for each password that is being checked
	unknown   *auth.Throttle
	setupLink func(secret string) string

	network *door

	drainOnce sync.Once
	draining  chan struct{}
}

// New makes the handler.
func New(deps Deps) *API {
	a := &API{
		streams: deps.Streams, sinks: deps.Sinks, noted: deps.Audit, auth: deps.Auth, logger: deps.Logger, limits: deps.Limits.withDefaults(), docs: deps.DocsURL,
		control: deps.Control, runtime: deps.Runtime, functions: deps.Functions, backfills: deps.Backfills, logs: deps.Logs, signIns: deps.SignIns, setupLink: deps.SetupLink,
		signingIn: make(chan struct{}, signInsAtOnce), unknown: auth.NewThrottle(unknownTokens, unknownWindow), draining: make(chan struct{}),
	}
	if a.docs == "" {
		a.docs = "docs/reference/errors.md#"
	}
	a.network = a.open(a.routes(), a.bearer)
	return a
}

// Local is the handler for the operator on this machine: whoever reaches it may do everything, in the account that the header X-Sequin-Account
// names, and what concerns the installation as a whole.
func (a *API) Local() http.Handler { return a.open(append(a.routes(), a.adminRoutes()...), a.operator) }

// routes are those of every door.
func (a *API) routes() []entry {
	all := guard(consumes, a.streamRoutes()...)
	if a.sinks != nil {
		all = append(all, guarded(slices.Concat(a.messageRoutes(), a.moveRoutes(), a.replayRoutes(), a.deadLetterRoutes()))...)
	}
	if a.control != nil {
		all = append(all, a.managementRoutes()...)
	}
	return all
}

// Drain ends long polls: each answers at once with what it has. Call it when the server is about to stop.
func (a *API) Drain() { a.drainOnce.Do(func() { close(a.draining) }) }

// ServeHTTP answers one request from the network.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.network.ServeHTTP(w, r) }

// door is a way in: the network or the operator's socket. identify tells who comes through it.
type door struct {
	api      *API
	mux      *http.ServeMux
	identify func(r *http.Request, x access) (auth.Identity, error)
}

func (a *API) open(entries []entry, identify func(*http.Request, access) (auth.Identity, error)) *door {
	d := &door{api: a, mux: http.NewServeMux(), identify: identify}
	d.mux.HandleFunc("/", a.notFound)
	for _, e := range entries {
		d.mux.Handle(e.method+" "+e.pattern, d.serve(e))
	}
	return d
}

// ServeHTTP answers one request.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
		d.api.logger.Error("request panicked", "method", r.Method, "path", r.URL.Path, "request_id", w.Header().Get(requestIDHeader),
			"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		d.api.fail(w, r, errInternal())
	}()
	if clean := cleanPath(r.URL.Path); clean != r.URL.Path {
		u := *r.URL
		u.Path, u.RawPath = clean, ""
		r2 := *r
		r2.URL = &u
		r = &r2
	}
	// HEAD is a GET by another name: it would lease messages and throw them away. A path with dot segments would be sent elsewhere by the mux.
	if r.Method == http.MethodHead || path.Clean(r.URL.Path) != r.URL.Path {
		d.api.notFound(w, r)
		return
	}
	d.mux.ServeHTTP(w, r)
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
