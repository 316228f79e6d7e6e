// Package server is the composition root: it opens the storage, introduces the packages to each other, runs what is declared and applies changes
// of the declaration in place. Each database has a runtime of its own, each sink within it too: one's trouble shows in its health and leaves
// its neighbours alone. Shutdown follows the data: stop reading WAL, let deliveries finish until a deadline, save what was acknowledged, confirm
// the last LSN, close. Killing the process at any point is safe; shutdown only makes it tidy.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/backoff"
	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/metrics"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/sink/circuit"
	"github.com/sequinstream/sequin/internal/sink/egress"
	"github.com/sequinstream/sequin/internal/store"
)

// Options of a server.
type Options struct {
	Version         string
	DataDir         string
	Ephemeral       bool
	Salvage         bool // open a store whose write-ahead log is damaged, without the writes from the damage on
	Prune           bool // remove what is no longer declared
	Listen          string
	MetricsListen   string // "" for none
	MetricsUser     string
	MetricsPassword string
	ShutdownTimeout time.Duration
	Logger          *slog.Logger
	// Engine replaces the embedded one; the server then does not close it.
	Engine engine.Engine
	// Instance names the installation when Engine is given.
	Instance string
}

// drain is how long deliveries under way may take to finish; the rest of the shutdown needs some time of its own.
func (o Options) drain() time.Duration { return max(o.ShutdownTimeout-5*time.Second, time.Second) }

// Server runs everything that is declared.
type Server struct {
	opts     Options
	logger   *slog.Logger
	engine   engine.Engine
	owned    bool // engine is ours to close
	instance string
	store    *store.Store
	metrics  *metrics.Metrics
	circuits *circuit.Group
	egress   *egress.Policy
	tokens   *auth.Tokens
	routes   *api.API
	ready    *readiness

	api, metricsAPI net.Listener

	applying sync.Mutex // one Apply at a time
	mu       sync.RWMutex
	dbs      map[string]*database // by name
	applied  error                // what went wrong in the last Apply

	unapplied time.Time // since when
}

// New opens the storage and the listeners. It starts nothing.
func New(ctx context.Context, opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	policy, err := egress.New(egress.DefaultDeny(), nil)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, logger: opts.Logger, engine: opts.Engine, instance: opts.Instance,
		circuits: &circuit.Group{}, egress: policy, dbs: map[string]*database{}, tokens: auth.NewTokens(nil),
	}
	if s.engine == nil {
		e, err := embedded.Open(ctx, embedded.Options{
			Dir: opts.DataDir, Logger: opts.Logger, AllowEphemeral: opts.Ephemeral, Salvage: opts.Salvage,
		})
		if err != nil {
			return nil, err
		}
		s.engine, s.owned, s.instance = e, true, e.Instance()
	}
	s.store = store.New(s.engine.State())
	s.metrics = metrics.New(opts.Version, s.snapshot)
	s.ready = &readiness{state: s.engine.State()}
	s.routes = api.New(api.Deps{Streams: streams{s}, Sinks: streams{s}, Auth: s.tokens, Logger: s.logger})
	if err := s.listen(ctx); err != nil {
		return nil, errors.Join(err, s.closeEngine())
	}
	return s, nil
}

func (s *Server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	var err error
	if s.api, err = lc.Listen(ctx, "tcp", s.opts.Listen); err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	if s.opts.MetricsListen == "" {
		return nil
	}
	if s.metricsAPI, err = lc.Listen(ctx, "tcp", s.opts.MetricsListen); err != nil {
		return errors.Join(fmt.Errorf("listen for metrics: %w", err), s.api.Close())
	}
	return nil
}

func (s *Server) closeEngine() error {
	if !s.owned {
		return nil
	}
	return s.engine.Close()
}

// Addr is the address of the API.
func (s *Server) Addr() string { return s.api.Addr().String() }

// MetricsAddr is the address of /metrics, "" without.
func (s *Server) MetricsAddr() string {
	if s.metricsAPI == nil {
		return ""
	}
	return s.metricsAPI.Addr().String()
}

// Run applies the declaration, serves until ctx ends, and shuts down. A declaration received from reload replaces the first.
func (s *Server) Run(ctx context.Context, declared *resource.Set, reload <-chan *resource.Set) error {
	// Requests that come before tokens and sinks are known wait in the listener's queue rather than be told that there are none.
	again := s.applyOrAgain(ctx, declared, 1)
	s.awaitLogs(ctx)
	servers := s.serve()
	s.logger.Info("ready", "version", s.opts.Version, "listen", s.Addr(), "metrics", s.MetricsAddr(), "data_dir", s.opts.DataDir)
	var failed error
	for running, tries := true, 1; running; {
		select {
		case <-ctx.Done():
			running = false
		case declared = <-reload:
			tries = 1
			again = s.applyOrAgain(ctx, declared, tries)
		case <-again:
			tries++
			again = s.applyOrAgain(ctx, declared, tries)
		case failed = <-servers.failed:
			running = false
		}
	}
	s.logger.Info("stopping")
	return errors.Join(failed, s.shutdown(context.WithoutCancel(ctx), servers))
}

// applyOrAgain applies a declaration and returns when to try again: never when all of it could be applied.
func (s *Server) applyOrAgain(ctx context.Context, declared *resource.Set, try int) <-chan time.Time {
	err := s.Apply(ctx, declared)
	if err == nil {
		return nil
	}
	wait := backoff.Schedule{Base: time.Second, Cap: 30 * time.Second}.Delay(try, nil)
	s.logger.Error("part of the declaration could not be applied", "reason", err, "again_in", wait)
	return time.After(wait)
}

// openTimeout bounds the wait for change logs at the start; it takes milliseconds, whatever their size.
const openTimeout = 5 * time.Second

// awaitLogs waits until every change log was opened, or could not be, so that whoever comes as soon as we are ready finds the sinks running.
func (s *Server) awaitLogs(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	for _, d := range s.databases() {
		select {
		case <-d.opened:
		case <-ctx.Done():
			return
		}
	}
}

// httpServers are the two listeners' servers.
type httpServers struct {
	all    []*http.Server
	failed chan error
}

func (s *Server) serve() *httpServers {
	h := &httpServers{failed: make(chan error, 2)}
	run := func(l net.Listener, handler http.Handler) {
		srv := api.NewServer(handler, s.logger)
		h.all = append(h.all, srv)
		go func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				h.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		}()
	}
	run(s.api, s.handler())
	if s.metricsAPI != nil {
		run(s.metricsAPI, s.metrics.Handler(s.opts.MetricsUser, s.opts.MetricsPassword))
	}
	return h
}

// shutdown ends everything in the order of the data.
func (s *Server) shutdown(ctx context.Context, servers *httpServers) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.ShutdownTimeout+10*time.Second)
	defer cancel()
	s.applying.Lock()
	defer s.applying.Unlock()
	s.mu.RLock()
	all := make([]*database, 0, len(s.dbs))
	for _, d := range s.dbs {
		all = append(all, d)
	}
	s.mu.RUnlock()
	s.routes.Drain() // long polls answer now; acknowledgements under way still find their consumers
	var tasks []func() error
	for _, srv := range servers.all {
		tasks = append(tasks, func() error { return endRequests(ctx, srv) })
	}
	err := together(tasks)
	tasks = nil
	for _, d := range all {
		tasks = append(tasks, func() error { return d.task.stop(ctx) })
	}
	return errors.Join(err, together(tasks), s.closeEngine())
}

// requestTime is how long requests under way may take to end at a stop. A client that reads slowly must not cost the deliveries their time.
const requestTime = 4 * time.Second

// endRequests closes the listener, lets requests under way end, and cuts off those that do not.
func endRequests(ctx context.Context, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return srv.Close()
}

// together runs tasks side by side and joins their errors.
func together(tasks []func() error) error {
	errs := make([]error, len(tasks))
	var wg sync.WaitGroup
	for i, f := range tasks {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Apply makes what runs match what is declared, in place. What is no longer declared is held back like a paused sink, or removed with Prune. It
// goes on after errors and returns them together.
func (s *Server) Apply(ctx context.Context, set *resource.Set) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	err := s.apply(ctx, set)
	s.mu.Lock()
	if err != nil && s.applied == nil {
		s.unapplied = time.Now()
	}
	s.applied = err
	s.mu.Unlock()
	return err
}

func (s *Server) apply(ctx context.Context, set *resource.Set) error {
	s.tokens.Replace(auth.FromResources(set.Account.Name, set.APITokens))
	var errs []error
	for i := range set.Databases {
		if err := s.applyDatabase(ctx, set, set.Databases[i]); err != nil {
			errs = append(errs, fmt.Errorf("database %q: %w", set.Databases[i].Name, err))
		}
	}
	return errors.Join(append(errs, s.retire(ctx, set))...)
}

func (s *Server) applyDatabase(ctx context.Context, set *resource.Set, res resource.Database) error {
	id, _, err := s.store.Identify(ctx, store.Database, res.Name, "")
	if err != nil {
		return err
	}
	res.ID = id.ID
	s.mu.RLock()
	db, there := s.dbs[res.Name]
	s.mu.RUnlock()
	var running map[string]declared
	if there {
		running = db.declared()
	}
	sinks, err := s.identifySinks(ctx, set, res, running)
	if there {
		return errors.Join(err, db.apply(ctx, res, sinks))
	}
	db = newDatabase(s, id.ID, res, sinks)
	db.task = start(db.logger, "database", db.run) //nolint:contextcheck // it outlives the call that starts it
	s.mu.Lock()
	s.dbs[res.Name] = db
	s.mu.Unlock()
	return err
}

// identifySinks finds out which consumers the declared sinks of a database are. One sink's trouble leaves the others alone: they are returned
// beside the error. A sink that runs keeps running when it cannot be looked up.
func (s *Server) identifySinks(ctx context.Context, set *resource.Set, res resource.Database, running map[string]declared) (map[string]declared, error) {
	sinks := map[string]declared{}
	var errs []error
	for i := range set.Sinks {
		sk := set.Sinks[i]
		if sk.Database != res.Name {
			continue
		}
		id, created, err := s.store.Identify(ctx, store.Sink, sk.Name, res.ID)
		if err != nil {
			errs = append(errs, err)
			if was, there := running[sk.Name]; there {
				sinks[sk.Name] = was
			}
			continue
		}
		if id.Parent != res.ID {
			errs = append(errs, problem.New("sink_of_another_database", "sink %q belongs to another database", sk.Name).
				WithDetail("its place in that one's changes means nothing in database %q", res.Name).WithHint("declare it under another name"))
			continue
		}
		sk.ID = id.ID
		d := declared{id: id.ID, sink: sk, created: created}
		if ep, ok := set.HTTPEndpoint(sk.Destination.Webhook.HTTPEndpoint); ok && sk.Destination.Type == resource.DestinationWebhook {
			d.endpoint = ep
		}
		sinks[sk.Name] = d
	}
	return sinks, errors.Join(errs...)
}

// retire deals with what was declared once and is not any more.
func (s *Server) retire(ctx context.Context, set *resource.Set) error {
	var errs []error
	s.mu.RLock()
	names := make([]string, 0, len(s.dbs))
	for name := range s.dbs {
		names = append(names, name)
	}
	s.mu.RUnlock()
	for _, name := range names {
		if _, keep := set.Database(name); keep {
			continue
		}
		s.mu.Lock()
		db := s.dbs[name]
		delete(s.dbs, name)
		s.mu.Unlock()
		errs = append(errs, db.task.stop(ctx))
		db.forgetMetrics()
	}
	errs = append(errs, s.forgetSinks(ctx, set), s.forgetDatabases(ctx, set))
	return errors.Join(errs...)
}

// prunes tells whether what is not declared is removed. A declaration of nothing at all is more likely a file that was not found than an order to
// remove everything.
func (s *Server) prunes(set *resource.Set) bool {
	if !s.opts.Prune || len(set.Databases) > 0 || len(set.Sinks) > 0 {
		return s.opts.Prune
	}
	s.logger.Error("nothing at all is declared; --prune removes nothing then", "hint", "declare at least one database, or remove the data directory yourself")
	return false
}

func (s *Server) forgetSinks(ctx context.Context, set *resource.Set) error {
	known, err := s.store.List(ctx, store.Sink)
	if err != nil {
		return err
	}
	prune := s.prunes(set)
	var errs []error
	for _, id := range known {
		if _, keep := set.Sink(id.Name); keep {
			continue
		}
		if !prune {
			s.logger.Warn("a sink is no longer declared; it is held like a paused one, and its messages are kept", "sink", id.Name,
				"hint", "declare it again, or start with --prune to remove it and what it has not delivered")
			continue
		}
		if err := s.engine.State().DeletePrefix(ctx, "consumer/"+id.ID+"/"); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.store.Forget(ctx, store.Sink, id.Name))
		s.metrics.Forget(id.ID, id.Name)
		s.logger.Info("removed a sink", "sink", id.Name)
	}
	return errors.Join(errs...)
}

func (s *Server) forgetDatabases(ctx context.Context, set *resource.Set) error {
	known, err := s.store.List(ctx, store.Database)
	if err != nil {
		return err
	}
	prune := s.prunes(set)
	var errs []error
	for _, id := range known {
		if _, keep := set.Database(id.Name); keep {
			continue
		}
		if !prune {
			s.logger.Warn("a database is no longer declared; its slot still holds WAL on the server", "database", id.Name,
				"hint", "declare it again; or start with --prune to remove its change log, and drop its slot: select pg_drop_replication_slot('…')")
			continue
		}
		errs = append(errs, s.engine.DropLog(ctx, id.ID), capture.Forget(ctx, s.engine.State(), id.ID), s.store.Forget(ctx, store.Database, id.Name))
		s.logger.Info("removed a database's change log", "database", id.Name)
	}
	return errors.Join(errs...)
}

// databases returns the running databases by name.
func (s *Server) databases() []*database {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*database, 0, len(s.dbs))
	for _, d := range s.dbs {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *database) int { return strings.Compare(a.id, b.id) })
	return all
}

// cacheBytes is a database's share of the memory for decoded blocks.
func (s *Server) cacheBytes() int64 {
	const total, least = 48 << 20, 8 << 20
	s.mu.RLock()
	defer s.mu.RUnlock()
	return max(total/int64(max(len(s.dbs), 1)), least)
}
