//go:build linux

package postgres_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
)

// leash runs a program until the input ends, which it does when the test is over or dies in any way.
const leash = `"$@" & cat >/dev/null; kill -INT $! 2>/dev/null; wait`

// run starts a program for the time of the test, and waits until it listens.
func run(t *testing.T, port int, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/usr/sbin/" + program // where Debian keeps servers, out of the PATH of ordinary users
		_, err = os.Stat(path)
	}
	require.NoError(t, err, "%s is not installed: make poolers", program)
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", leash, "leash", path}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return nil } // the end of its input ends it in an orderly way
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	logs, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = logs, logs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, input.Close())
		_ = cmd.Wait() // it was ended
		if t.Failed() {
			text, _ := os.ReadFile(logs.Name())
			t.Logf("%s said:\n%s", program, text)
		}
		require.NoError(t, logs.Close())
	})
	require.Eventually(t, func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, 30*time.Second, 20*time.Millisecond, "%s does not listen", program)
}

// unused is a port that is free now.
func unused(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}

// file writes a configuration that the pooler's user can read.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644)) //nolint:gosec // it holds no secret
	return path
}

// behind is the URL of a database through the port of a pooler.
func behind(t *testing.T, db *pgtest.DB, port int) string {
	t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return u.String()
}

func upstream(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	return u.Port()
}

// TestPgBouncer goes through PgBouncer in each of its modes. Left as it is, it refuses our settings; told to ignore them, it is found out by what
// it does with sessions, and does not pass replication on.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	const ignore = "ignore_startup_parameters = extra_float_digits,bytea_output,IntervalStyle,replication,statement_timeout,lock_timeout,idle_in_transaction_session_timeout\n"
	cases := map[string]struct {
		mode, more string
		status     postgres.Status
		detail     string
	}{
		"as it is":    {mode: "session", status: postgres.StatusFail, detail: "unsupported startup parameter"},
		"session":     {mode: "session", more: ignore, status: postgres.StatusWarn, detail: "the connection said backend"},
		"transaction": {mode: "transaction", more: ignore, status: postgres.StatusFail, detail: "it pools by transaction"},
		"statement":   {mode: "statement", more: ignore, status: postgres.StatusFail, detail: "it pools by statement"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := unused(t)
			user := ""
			if os.Geteuid() == 0 {
				user = "user = nobody\n"
			}
			run(t, port, "pgbouncer", file(t, "pgbouncer.ini", fmt.Sprintf(
				"[databases]\n* = host=127.0.0.1 port=%s user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = %s\n%s%s",
				upstream(t, db), port, c.mode, user, c.more)))
			report := postgres.Check(t.Context(), config(t, behind(t, db, port)), postgres.PreflightOptions{})
			found := item(t, report, "pooler")
			require.Equal(t, c.status, found.Status, "%+v", found)
			require.Equal(t, "pooled_connection", found.Problem.Code)
			require.Contains(t, found.Problem.Detail, c.detail)
			require.Equal(t, postgres.StatusFail, report.Status(), "no stream passes in any mode")
			if report.Connected && found.Status == postgres.StatusWarn {
				require.Equal(t, "pooled_connection", item(t, report, "replication").Problem.Code)
			}
		})
	}
}

// TestPgpool goes through Pgpool-II, which passes on everything that gives poolers away.
func TestPgpool(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	port, dir := unused(t), t.TempDir()
	conf := fmt.Sprintf(`listen_addresses = '127.0.0.1'
port = %d
pcp_listen_addresses = ''
pcp_port = %d
socket_dir = '%[3]s'
pcp_socket_dir = '%[3]s'
unix_socket_directories = '%[3]s'
backend_clustering_mode = 'raw'
backend_hostname0 = '127.0.0.1'
backend_port0 = %[4]s
enable_pool_hba = off
pid_file_name = '%[3]s/pid'
logdir = '%[3]s'
num_init_children = 4
`, port, unused(t), dir, upstream(t, db))
	run(t, port, "pgpool", "-n", "-f", file(t, "pgpool.conf", conf), "-F", file(t, "pcp.conf", ""))
	report := postgres.Check(t.Context(), config(t, behind(t, db, port)), postgres.PreflightOptions{})
	found := item(t, report, "pooler")
	require.Equal(t, postgres.StatusFail, found.Status, "%+v", found)
	require.Contains(t, found.Problem.Detail, "Pgpool-II")
}
