package throwaway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/postgres/throwaway"
)

// envOwner makes the test binary behave as a program that owns a server, prints where it is, and ends only when it is killed.
const envOwner = "THROWAWAY_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(envOwner) != "" {
		own()
		return
	}
	goleak.VerifyTestMain(m)
}

func own() {
	cluster, err := throwaway.Start(context.Background(), throwaway.Options{})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Printf("%d\t%s\n", cluster.PID(), cluster.SocketDir())
	if os.Getenv(envOwner) == "panic" {
		panic("the owner panics")
	}
	select {}
}

func start(t *testing.T, opts throwaway.Options) *throwaway.Cluster {
	t.Helper()
	cluster, err := throwaway.Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cluster.Remove(context.WithoutCancel(t.Context()))) })
	return cluster
}

func query(t *testing.T, connURL, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), connURL)
	require.NoError(t, err)
	var got string
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&got))
	require.NoError(t, conn.Close(t.Context()))
	return got
}

func TestCommittedRowsOutliveRestartAndCrash(t *testing.T) {
	t.Parallel()
	cluster := start(t, throwaway.Options{Settings: map[string]string{"application_name": "it's quoted"}})
	address := cluster.URL("postgres")
	require.Equal(t, "it's quoted", query(t, address, `show application_name`))
	require.Equal(t, "logical", query(t, address, `show wal_level`))
	query(t, address, `select lo_create(4711)::text`)
	require.NoError(t, cluster.Restart(t.Context()))
	require.Equal(t, address, cluster.URL("postgres"), "the port stays the same")
	require.Equal(t, "4711", query(t, address, `select oid::text from pg_largeobject_metadata`))

	pid := cluster.PID()
	require.NoError(t, cluster.Crash(t.Context()))
	require.NotEqual(t, pid, cluster.PID())
	require.Equal(t, "4711", query(t, cluster.SocketURL("postgres"), `select oid::text from pg_largeobject_metadata`))
	require.Contains(t, cluster.LogTail(40), "was interrupted", "a crash goes through recovery")

	require.NoError(t, cluster.Configure(map[string]string{"wal_level": "replica"}))
	require.NoError(t, cluster.Restart(t.Context()))
	require.Equal(t, "replica", query(t, address, `show wal_level`))
}

func TestPasswordAndTLS(t *testing.T) {
	t.Parallel()
	cluster := start(t, throwaway.Options{TLS: true, Superuser: "boss", Password: "s3cret/%"})
	authority, err := os.ReadFile(cluster.CAFile())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(authority))

	config, err := pgx.ParseConfig(cluster.URL("postgres"))
	require.NoError(t, err)
	config.TLSConfig = &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err, "the certificate is good for localhost")
	var user string
	require.NoError(t, conn.QueryRow(t.Context(), `select current_user from pg_stat_ssl where pid = pg_backend_pid() and ssl`).Scan(&user))
	require.Equal(t, "boss", user)
	require.NoError(t, conn.Close(t.Context()))

	wrong, err := url.Parse(cluster.URL("postgres"))
	require.NoError(t, err)
	wrong.User = url.UserPassword("boss", "wrong")
	_, err = pgx.Connect(t.Context(), wrong.String())
	require.ErrorContains(t, err, "28P01")
}

func TestAFailedStartTellsTheServersReason(t *testing.T) {
	t.Parallel()
	_, err := throwaway.Start(t.Context(), throwaway.Options{Settings: map[string]string{"shared_buffers": "plenty"}})
	require.ErrorContains(t, err, `invalid value for parameter "shared_buffers"`)
}

func TestNoFittingServer(t *testing.T) {
	t.Parallel()
	_, err := throwaway.Start(t.Context(), throwaway.Options{Major: 11})
	require.ErrorIs(t, err, throwaway.ErrNotFound)
	require.ErrorContains(t, err, "make pg-11")
}

// The owner's own cleanup cannot run in either case, so this is the watchdog's work.
func TestTheServerDoesNotOutliveItsOwner(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"panic", "kill"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			owner := exec.CommandContext(t.Context(), os.Args[0])
			owner.Env = append(os.Environ(), envOwner+"="+end)
			out, err := owner.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, owner.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err, line)
			var pid int
			var dir string
			_, err = fmt.Sscanf(line, "%d\t%s\n", &pid, &dir)
			require.NoError(t, err, line)
			if end == "kill" {
				require.NoError(t, owner.Process.Kill())
			}
			require.Error(t, owner.Wait())

			require.Eventually(t, func() bool {
				_, err := os.Stat(dir)
				return os.IsNotExist(err) && syscall.Kill(pid, 0) != nil
			}, 30*time.Second, 20*time.Millisecond, "server %d and %s are still there", pid, dir)
		})
	}
}

func TestTheDirectoryMustBeReachable(t *testing.T) {
	t.Parallel()
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 90))
	require.NoError(t, os.Mkdir(long, 0o700))
	_, err := throwaway.Start(t.Context(), throwaway.Options{Dir: long})
	require.ErrorContains(t, err, "at most")
}
