package api

import (
	"log/slog"
	"net/http"
	"time"
)

// NewServer wraps a handler in a server whose timeouts let a long poll live and a stalled connection die: headers have a deadline, idle
// connections have one, and bodies and replies have their own, set by the handlers. There is no deadline for a whole request.
func NewServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}
