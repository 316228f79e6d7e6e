// Package pgtest gives tests real Postgres servers, with logical decoding on, and each test a database of its own.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	func TestInsert(t *testing.T) {
//		db := pgtest.Shared(t).Database(t)
//		db.Exec(t, `create table orders (id int primary key)`)
//		slot := db.Slot(t)
//		…
//	}
//
// Shared is one server per test binary, or the one in TEST_DATABASE_URL. A test that restarts, crashes or reconfigures its server uses Start.
// SEQUIN_TEST_PG_MAJOR chooses the major version; without it the installed server is used. Without any server tests fail; they never skip.
//
// Everything is undone when the test ends, and however the test binary ends no server survives it. A replication slot that a test leaves behind
// without having announced it fails that test.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/postgres/throwaway"
)

// Environment variables that choose the server.
const (
	EnvURL   = "TEST_DATABASE_URL"    // an existing server for Shared: superuser, wal_level=logical
	EnvMajor = "SEQUIN_TEST_PG_MAJOR" // major version of the servers that are started
)

// patience bounds each administrative step; a machine busy with other tests can be slow.
const patience = 2 * time.Minute

// Options of a server; see throwaway.Options. Major 0 means SEQUIN_TEST_PG_MAJOR, and without it the installed server.
type Options = throwaway.Options

// Server is a Postgres server that runs for tests.
type Server struct {
	cluster *throwaway.Cluster // nil: the server of TEST_DATABASE_URL
	url     string             // of TEST_DATABASE_URL

	versionOnce sync.Once
	version     int
}

// Start starts a server that belongs to the test, which may restart and crash it. It is removed when the test ends.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	ctx, cancel := deadline(t)
	defer cancel()
	cluster, err := start(ctx, opts)
	require.NoError(t, err, "start a throwaway server")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", cluster.LogTail(40))
		}
		require.NoError(t, cluster.Remove(context.WithoutCancel(t.Context())), "remove the throwaway server")
	})
	return &Server{cluster: cluster}
}

func start(ctx context.Context, opts Options) (*throwaway.Cluster, error) {
	if opts.Major == 0 {
		if env := os.Getenv(EnvMajor); env != "" {
			major, err := strconv.Atoi(env)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", EnvMajor, err)
			}
			opts.Major = major
		}
	}
	return throwaway.Start(ctx, opts)
}

// shared is the state of one test binary: a server is a process-wide resource, and tests have no other place to meet.
var shared struct {
	sync.Mutex
	inMain bool
	server *Server
	err    error
}

// Main runs the tests of a package and stops the server that Shared started. When they pass, a goroutine that is left over fails them; ignored
// tells which ones may be. It returns the exit code.
func Main(m *testing.M, ignored ...goleak.Option) int {
	shared.Lock()
	shared.inMain = true
	shared.Unlock()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil && shared.server.cluster != nil {
		if err := shared.server.cluster.Remove(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "remove the shared server:", err)
			code = max(code, 1)
		}
	}
	if code == 0 {
		if err := goleak.Find(ignored...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// Shared returns the server that all tests of this binary use. The first call starts it, with default options.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	require.True(t, shared.inMain, "the package needs: func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }")
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = openShared(t)
	}
	require.NoError(t, shared.err, "start the shared server")
	return shared.server
}

func openShared(t testing.TB) (*Server, error) {
	t.Helper()
	if url := os.Getenv(EnvURL); url != "" {
		if _, err := pgx.ParseConfig(url); err != nil {
			return nil, fmt.Errorf("%s: %w", EnvURL, err)
		}
		return &Server{url: url}, nil
	}
	ctx, cancel := deadline(t)
	defer cancel()
	cluster, err := start(ctx, Options{})
	if err != nil {
		return nil, err
	}
	return &Server{cluster: cluster}, nil
}

// deadline is a context for an administrative step. Unlike t.Context it still works in a cleanup.
func deadline(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(context.WithoutCancel(t.Context()), patience)
}

// Version is the server's server_version_num, such as 150018.
func (s *Server) Version(t testing.TB) int {
	t.Helper()
	s.versionOnce.Do(func() {
		ctx, cancel := deadline(t)
		defer cancel()
		conn := s.admin(ctx, t)
		defer closeConn(ctx, t, conn)
		require.NoError(t, conn.QueryRow(ctx, `select current_setting('server_version_num')::int`).Scan(&s.version))
	})
	return s.version
}

// Major is the server's major version, such as 15.
func (s *Server) Major(t testing.TB) int {
	t.Helper()
	return s.Version(t) / 10000
}

// Restart stops the server in an orderly way and starts it again, on the same port.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.do(t, "restart", (*throwaway.Cluster).Restart)
}

// Crash stops the server at once, with no checkpoint and no farewell, and starts it again.
func (s *Server) Crash(t testing.TB) {
	t.Helper()
	s.do(t, "crash", (*throwaway.Cluster).Crash)
}

// Stop stops the server in an orderly way, which waits for replication connections to receive the rest.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.do(t, "stop", (*throwaway.Cluster).Stop)
}

// Kill stops the server at once.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.do(t, "kill", (*throwaway.Cluster).Kill)
}

// StartAgain starts a stopped server.
func (s *Server) StartAgain(t testing.TB) {
	t.Helper()
	s.do(t, "start again", (*throwaway.Cluster).StartAgain)
}

// Configure changes settings in the running server. Those that take effect only at a start need a Restart, the others a moment.
func (s *Server) Configure(t testing.TB, settings map[string]string) {
	t.Helper()
	s.do(t, "configure", func(c *throwaway.Cluster, _ context.Context) error { return c.Configure(settings) })
}

// SetHBA replaces the access rules. They apply to new connections, a moment later.
func (s *Server) SetHBA(t testing.TB, lines ...string) {
	t.Helper()
	s.do(t, "set the access rules of", func(c *throwaway.Cluster, _ context.Context) error { return c.SetHBA(lines...) })
}

// Cluster is the server itself: port, socket, log, process id.
func (s *Server) Cluster(t testing.TB) *throwaway.Cluster {
	t.Helper()
	require.NotNil(t, s.cluster, "the server of %s is not ours: a test that needs more than a database uses pgtest.Start", EnvURL)
	return s.cluster
}

func (s *Server) do(t testing.TB, what string, action func(*throwaway.Cluster, context.Context) error) {
	t.Helper()
	cluster := s.Cluster(t)
	shared.Lock()
	mine := s != shared.server
	shared.Unlock()
	require.True(t, mine, "cannot %s the shared server, other tests use it: use pgtest.Start", what)
	ctx, cancel := deadline(t)
	defer cancel()
	require.NoError(t, action(cluster, ctx), "%s the server", what)
}
