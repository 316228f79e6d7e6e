package api

import (
	"log/slog"
	"net/http"
	"time"
)

// bodyTime is how long the body of a request may take to come. Handlers that read bodies may set a time of their own.
const bodyTime = 30 * time.Second

// NewServer wraps a handler in a server whose timeouts let a long poll live and a stalled connection die: headers have a deadline, idle
// connections have one, bodies have one until they are read, and replies have theirs, set by the handlers. There is no deadline for a whole
// request.
func NewServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           withBodyDeadline(handler),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// withBodyDeadline bounds the wait for a body that no handler reads, because the request is refused or is one that has none: net/http reads what is
// left of it before it answers, and would wait for ever. It knows of the next request by itself and gives that its own deadlines.
func withBodyDeadline(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // without a connection (in tests) there is none to set
		}
		handler.ServeHTTP(w, r)
	})
}
