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
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/backfills"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/metrics"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/sink/circuit"
	"github.com/sequinstream/sequin/internal/sink/egress"
	"github.com/sequinstream/sequin/internal/store"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
	"github.com/sequinstream/sequin/internal/vault"
)

// Options of a server.
type Options struct {
	Version         string
	DataDir         string
	Ephemeral       bool
	Salvage         bool // open a store whose write-ahead log is damaged, without the writes from the damage on
	Prune           bool // remove what an earlier release left and nobody declares
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

	VaultKey         resource.Secret   // seals secrets at rest; "" for one that is made in the data directory
	VaultKeyPrevious []resource.Secret // older keys that may still open what they sealed
	LimitMemory      func(databases int)
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
	dbs      map[string]*database // by id
	applied  error                // what went wrong in the last Apply

	unapplied time.Time           // since when
	postponed postponed           // what is to be declared, and could not be written yet
	unkept    []resource.APIToken // made, and not in their files yet

	plane       *control.Plane
	registry    registry
	held        map[string]bool // what is kept undeclared, and was said so; guarded by applying
	again       chan struct{}   // Apply was called
	limitMemory func(databases int)
	socket      net.Listener // the local operator's; nil without
	functions   *sandbox.Pool
	signIns     *auth.Throttle

	backfills *backfills.Manager
	reading   *task // the backfills, while they run
}

// New opens the storage and the listeners. It starts nothing.
func New(ctx context.Context, opts Options) (*Server, error) {
	s, err := assemble(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := s.openPlane(ctx, s.Apply); err != nil {
		return nil, errors.Join(err, s.closeEngine())
	}
	if err := s.listen(ctx); err != nil {
		return nil, errors.Join(err, s.closeEngine())
	}
	return s, nil
}

// Offline serves the operator's routes without a server that runs: what is declared can be seen and changed, and takes effect with the next start.
// The data directory is held until the returned function is called.
func Offline(ctx context.Context, opts Options) (http.Handler, func() error, error) {
	s, err := assemble(ctx, opts)
	if err != nil {
		return nil, nil, err
	}
	if err := s.openPlane(ctx, nil); err != nil {
		return nil, nil, errors.Join(err, s.closeEngine())
	}
	return s.localHandler(), s.closeEngine, nil
}

// assemble opens the storage.
func assemble(ctx context.Context, opts Options) (*Server, error) {
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
		held: map[string]bool{}, again: make(chan struct{}, 1), limitMemory: opts.LimitMemory,
		signIns: auth.NewThrottle(signInAttempts, signInWindow),
	}
	cache := ""
	if opts.DataDir != "" {
		cache = filepath.Join(opts.DataDir, "functions")
	}
	s.functions = sandbox.New(sandbox.Options{Logger: opts.Logger, CacheDir: cache})
	if s.engine == nil {
		e, err := embedded.Open(ctx, embedded.Options{
			Dir: opts.DataDir, Logger: opts.Logger, AllowEphemeral: opts.Ephemeral, Salvage: opts.Salvage,
		})
		if err != nil {
			return nil, err
		}
		s.engine, s.owned, s.instance = e, true, e.Instance()
	}
	s.metrics = metrics.New(opts.Version, s.snapshot)
	s.ready = &readiness{state: s.engine.State()}
	return s, nil
}

// openPlane reads what is declared.
func (s *Server) openPlane(ctx context.Context, runtime func(context.Context, []*resource.Set) error) error {
	s.store, s.registry = store.New(s.engine.State()), registry{s.engine.State()}
	if err := s.store.Tidy(ctx); err != nil {
		return fmt.Errorf("finish what an earlier process began: %w", err)
	}
	if err := s.registry.adopt(ctx, s.store); err != nil {
		return err
	}
	keys, err := s.openVault()
	if err != nil {
		return err
	}
	s.plane, err = control.Open(ctx, control.Deps{
		Store: s.store, Vault: keys, Tokens: s.tokens, Source: looker{}, Shapes: shapes{s.functions}, Runtime: runtime, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	if s.backfills, err = backfills.New(ctx, s.engine.State(), s.backfillTarget, s.tablesOfSink, s.logger); err != nil {
		return err
	}
	s.routes = api.New(s.apiDeps())
	return nil
}

// How many failed sign-ins of one address, or for one user, are answered within a window.
const (
	signInAttempts = 10
	signInWindow   = 5 * time.Minute
)

// openVault opens the key that secrets are sealed with.
func (s *Server) openVault() (*vault.Keyring, error) {
	o := vault.Options{Key: s.opts.VaultKey.Reveal()}
	for _, k := range s.opts.VaultKeyPrevious {
		o.Previous = append(o.Previous, k.Reveal())
	}
	if s.opts.DataDir != "" {
		o.File = filepath.Join(s.opts.DataDir, "vault.key")
	}
	return vault.Open(o)
}

func (s *Server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	var err error
	if s.api, err = lc.Listen(ctx, "tcp", s.opts.Listen); err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	if s.opts.MetricsListen != "" {
		if s.metricsAPI, err = lc.Listen(ctx, "tcp", s.opts.MetricsListen); err != nil {
			return errors.Join(fmt.Errorf("listen for metrics: %w", err), s.api.Close())
		}
	}
	s.socket = s.listenLocal(ctx)
	return nil
}

// closeListeners closes what nobody serves yet.
func (s *Server) closeListeners() error {
	var errs []error
	for _, l := range []net.Listener{s.api, s.metricsAPI, s.socket} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// closeEngine lets go of the storage, and of the processes that functions ran in.
func (s *Server) closeEngine() error {
	err := s.functions.Close()
	if !s.owned {
		return err
	}
	return errors.Join(err, s.engine.Close())
}

// Plane is where what is declared can be changed.
func (s *Server) Plane() *control.Plane { return s.plane }

// Addr is the address of the API.
func (s *Server) Addr() string { return s.api.Addr().String() }

// MetricsAddr is the address of /metrics, "" without.
func (s *Server) MetricsAddr() string {
	if s.metricsAPI == nil {
		return ""
	}
	return s.metricsAPI.Addr().String()
}

// Run applies the document that the server was started with, if there is one, serves until ctx ends, and shuts down. A document received from
// reload is applied in place; one that is not valid changes nothing.
func (s *Server) Run(ctx context.Context, boot *control.Document, reload <-chan *control.Document) error {
	// Requests that come before tokens and sinks are known wait in the listener's queue rather than be told that there are none.
	if err := s.boot(ctx, boot); err != nil {
		if ctx.Err() != nil {
			err = nil // asked to stop before it had begun
		}
		return errors.Join(err, s.closeListeners(), s.shutdown(context.WithoutCancel(ctx), &httpServers{}))
	}
	s.awaitLogs(ctx)
	s.reading = start(s.logger, "backfills", s.backfills.Run) //nolint:contextcheck // it ends in shutdown
	servers := s.serve()
	s.logger.Info("ready", "version", s.opts.Version, "listen", s.Addr(), "metrics", s.MetricsAddr(), "data_dir", s.opts.DataDir)
	s.offerSetup(ctx)
	defer time.AfterFunc(settleTime, debug.FreeOSMemory).Stop()
	failed := s.follow(ctx, reload, servers)
	s.logger.Info("stopping")
	return errors.Join(failed, s.shutdown(context.WithoutCancel(ctx), servers))
}

// settleTime is how long after the start what it left in memory is given back: a server that rests would keep it for minutes.
const settleTime = 5 * time.Second

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
	h := &httpServers{failed: make(chan error, 3)}
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
	if s.socket != nil {
		run(s.socket, s.localHandler())
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
	if s.reading != nil {
		err = errors.Join(err, s.reading.stop(ctx))
	}
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
