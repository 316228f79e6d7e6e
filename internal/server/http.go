package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/shape"
)

// handler routes the main listener: health, and the API.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	health.Routes(mux, health.Deps{Version: s.opts.Version, Entities: s.entities, Ready: s.ready.check})
	mux.HandleFunc("GET /setup", s.setupPage)
	mux.HandleFunc("POST /setup", s.setUp)
	mux.Handle("/", s.routes)
	return api.RequestID(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The API cleans paths itself: the mux would answer a doubled slash with a redirect, which makes a GET of a POST.
		if strings.HasPrefix(strings.TrimLeft(r.URL.Path, "/"), "api/") {
			s.routes.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
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

// StreamByName finds a pull sink of an account by name.
func (f streams) StreamByName(account, name string) (api.Stream, bool) {
	return f.find(account, func(_, named string) bool { return named == name })
}

// StreamByID finds a pull sink of an account by id.
func (f streams) StreamByID(account, id string) (api.Stream, bool) {
	return f.find(account, func(identified, _ string) bool { return identified == id })
}

func (f streams) find(account string, match func(id, name string) bool) (api.Stream, bool) {
	for _, d := range f.s.databases() {
		if d.account != account {
			continue
		}
		if found, ok := d.stream(match); ok {
			return found, true
		}
	}
	return nil, false
}

// stream finds a pull sink of this database. One that is declared and does not run yet, or not at the moment, is there all the same.
func (d *database) stream(match func(id, name string) bool) (api.Stream, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live != nil {
		for _, r := range d.live.sinks {
			if want := r.declared(); match(r.id, want.called()) && r.push == nil {
				return stream{r}, true
			}
		}
	}
	for name := range d.wanted {
		want := d.wanted[name]
		if match(want.id, want.called()) && want.sink.Destination.Type == resource.DestinationStream {
			return absentStream(name), true
		}
	}
	return nil, false
}

// absentStream is a pull sink that does not run: it starts with its database's change log, or starts again after trouble.
type absentStream string

// Name is the sink's name.
func (s absentStream) Name() string { return string(s) }

// Receive asks the client to come back.
func (s absentStream) Receive(context.Context, consumer.ReceiveOptions) ([]*consumer.Delivery, error) {
	return nil, consumer.ErrStopped
}

// Ack asks the client to come back.
func (s absentStream) Ack(context.Context, []string) error { return consumer.ErrStopped }

// Nack asks the client to come back.
func (s absentStream) Nack(context.Context, []string, time.Duration) error {
	return consumer.ErrStopped
}

// Extend asks the client to come back.
func (s absentStream) Extend(context.Context, []string, time.Duration) ([]string, error) {
	return nil, consumer.ErrStopped
}

// Settle has nothing to settle: nothing is handed out.
func (s absentStream) Settle(context.Context, []consumer.Result) error { return consumer.ErrStopped }

// Shape has no message to make.
func (s absentStream) Shape(context.Context, *shape.Batch) {}
