// Package throwaway runs Postgres servers that live as long as the process that started them: for tests, for the demonstration and for
// benchmarks. It finds an installation (or fetches one into a cache), makes a cluster in a temporary directory, and starts it listening on
// loopback and on a unix socket, with logical decoding on and, unless asked otherwise, without fsync.
//
// Postgres refuses to run as root, so root runs it as the user "postgres" or, where there is none, "nobody". Whatever way the owning process
// ends (panic and SIGKILL included), a watchdog stops the server and removes its directory. A Cluster is safe for concurrent use.
package throwaway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
)

// ErrStopped is returned for what needs a running server when it is stopped.
var ErrStopped = errors.New("the throwaway postgres server is stopped")

// Options say what kind of server to start. The zero value is a server of any supported major version that trusts everybody on loopback.
type Options struct {
	Major     int               // major version, 12 to 18; 0: whatever is found first
	Settings  map[string]string // added to, and overriding, the defaults of postgresql.conf; values are quoted for you
	Superuser string            // default "postgres"
	Password  string            // of the superuser; when set, TCP connections need it (SCRAM)
	HBA       []string          // replaces the lines of pg_hba.conf
	TLS       bool              // serve TLS with a certificate for localhost and 127.0.0.1, signed by the authority in CAFile
	Durable   bool              // leave fsync and full_page_writes on, as in production
	Dir       string            // parent of the cluster's directory; default: a temporary directory that the server's user can reach
}

// Cluster is one server with its data.
type Cluster struct {
	opts         Options
	installation Installation
	account      *account
	dir          string
	port         int
	watchdog     *watchdog

	mu       sync.Mutex
	settings map[string]string
	process  *process // nil while stopped
}

// Start makes a cluster and starts its server. Remove it at the end.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	installation, err := Find(ctx, opts.Major)
	if err != nil {
		return nil, err
	}
	if opts.Superuser == "" {
		opts.Superuser = "postgres"
	}
	c := &Cluster{opts: opts, installation: installation, settings: maps.Clone(opts.Settings)}
	if err := c.create(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a throwaway postgres %s: %w", installation.Version, err), c.Remove(ctx))
	}
	return c, nil
}

func (c *Cluster) create(ctx context.Context) error {
	var err error
	if c.account, err = serverAccount(); err != nil {
		return err
	}
	if c.dir, err = c.account.tempDir(c.opts.Dir); err != nil {
		return err
	}
	if c.watchdog, err = startWatchdog(ctx, c.dir); err != nil {
		return err
	}
	if c.installation, err = c.account.reach(c.installation, filepath.Join(c.dir, "postgres")); err != nil {
		return err
	}
	if err := c.initdb(ctx); err != nil {
		return err
	}
	if err := c.configure(); err != nil {
		return err
	}
	// A port that looked free may be taken by the time the server binds it.
	for attempt := 1; ; attempt++ {
		if c.port, err = freePort(ctx); err != nil {
			return err
		}
		err = c.StartAgain(ctx)
		if err == nil || attempt == 5 || !c.portWasTaken() {
			return err
		}
	}
}

// Installation tells which Postgres the cluster runs.
func (c *Cluster) Installation() Installation { return c.installation }

// Port is the TCP port on 127.0.0.1; it stays the same over restarts.
func (c *Cluster) Port() int { return c.port }

// SocketDir is the directory of the unix socket.
func (c *Cluster) SocketDir() string { return c.dir }

// DataDir is the data directory.
func (c *Cluster) DataDir() string { return filepath.Join(c.dir, "data") }

// CAFile is the certificate that signed the server's, when Options.TLS is set.
func (c *Cluster) CAFile() string { return filepath.Join(c.dir, "ca.pem") }

// URL is the connection URL of a database over TCP, as the superuser.
func (c *Cluster) URL(database string) string {
	u := url.URL{Scheme: "postgres", Host: "127.0.0.1:" + strconv.Itoa(c.port), Path: "/" + database, User: c.user()}
	mode := "disable"
	if c.opts.TLS {
		mode = "require"
	}
	u.RawQuery = url.Values{"sslmode": {mode}}.Encode()
	return u.String()
}

// SocketURL is the connection URL of a database over the unix socket, as the superuser.
func (c *Cluster) SocketURL(database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database, User: c.user()}
	u.RawQuery = url.Values{"host": {c.dir}, "port": {strconv.Itoa(c.port)}, "sslmode": {"disable"}}.Encode()
	return u.String()
}

func (c *Cluster) user() *url.Userinfo {
	if c.opts.Password == "" {
		return url.User(c.opts.Superuser)
	}
	return url.UserPassword(c.opts.Superuser, c.opts.Password)
}

// Running reports whether the server runs.
func (c *Cluster) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process.alive()
}

// PID is the process id of the postmaster, 0 while stopped.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.process.alive() {
		return 0
	}
	return c.process.pid()
}

// StartAgain starts a stopped server on its data and returns when it accepts connections.
func (c *Cluster) StartAgain(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process.alive() {
		return nil
	}
	if err := c.writeSettings(); err != nil {
		return err
	}
	p, err := c.launch(ctx)
	if err != nil {
		return err
	}
	c.process = p
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.ready(ctx, p); err != nil {
		p.end(ctx, immediate)
		c.process = nil
		return fmt.Errorf("%w\n%s", err, c.LogTail(20))
	}
	return nil
}

// Stop ends the server's sessions, lets it write a checkpoint, and stops it ("fast" shutdown).
func (c *Cluster) Stop(ctx context.Context) error { return c.stop(ctx, fast) }

// Kill stops the server at once, without a checkpoint ("immediate" shutdown): the next start goes through crash recovery.
func (c *Cluster) Kill(ctx context.Context) error { return c.stop(ctx, immediate) }

func (c *Cluster) stop(ctx context.Context, mode shutdown) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	clean := c.process.end(ctx, mode)
	c.process = nil
	if !clean {
		return fmt.Errorf("the throwaway postgres server did not stop within %v and was killed\n%s", stopTimeout, c.LogTail(20))
	}
	return nil
}

// Restart stops the server ("fast") and starts it again.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.Stop(ctx); err != nil {
		return err
	}
	return c.StartAgain(ctx)
}

// Crash stops the server at once and starts it again, through crash recovery.
func (c *Cluster) Crash(ctx context.Context) error {
	if err := c.Kill(ctx); err != nil {
		return err
	}
	return c.StartAgain(ctx)
}

// Remove stops the server at once and deletes all of it. It may be called more than once, also with a context that is done.
func (c *Cluster) Remove(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	err := c.Kill(ctx)
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return errors.Join(err, c.watchdog.release())
}
