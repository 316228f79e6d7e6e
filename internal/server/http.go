package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/problem"
)

// handler routes the main listener: health, and the API.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	health.Routes(mux, health.Deps{Version: s.opts.Version, Entities: s.entities, Ready: s.ready.check})
	mux.Handle("/", s.routes)
	return api.RequestID(mux)
}

// readiness proves that state can be written, at most once a second however often it is asked.
type readiness struct {
	state engine.State

	mu   sync.Mutex
	at   time.Time
	last error
}

const (
	readyFor     = time.Second
	readyTimeout = 5 * time.Second
)

func (r *readiness) check(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < readyFor {
		return r.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	err := r.state.Apply(ctx, engine.Put("ready", []byte(time.Now().UTC().Format(time.RFC3339))))
	r.at, r.last = time.Now(), nil
	if err != nil {
		p := problem.New("state_unwritable", "the state cannot be written").WithDetail("%s", err).Because(err)
		if errors.Is(err, engine.ErrNoSpace) {
			p = p.WithHint("make room on the data directory's file system; writing goes on by itself")
		}
		r.last = p
	}
	return r.last
}

// streams finds pull sinks for the API.
type streams struct{ s *Server }

// StreamByName finds a pull sink by name. There is one account so far, and every token is its own.
func (f streams) StreamByName(_, name string) (api.Stream, bool) {
	return f.find(func(r *sinkRun) bool { return r.name == name })
}

// StreamByID finds a pull sink by id.
func (f streams) StreamByID(_, id string) (api.Stream, bool) {
	return f.find(func(r *sinkRun) bool { return r.id == id })
}

func (f streams) find(match func(*sinkRun) bool) (api.Stream, bool) {
	for _, d := range f.s.databases() {
		d.mu.Lock()
		if d.live != nil {
			for _, r := range d.live.sinks {
				if match(r) && r.push == nil {
					d.mu.Unlock()
					return stream{r}, true
				}
			}
		}
		d.mu.Unlock()
	}
	return nil, false
}
