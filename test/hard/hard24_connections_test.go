package hard_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// With verify-full only a server whose certificate comes from the given authority and holds its name is talked to; a wrong authority or name
// shows with its repair, and mending the file that is read again is all it takes.
func TestHard24VerifyFullWithAnAuthorityOfOnesOwn(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{TLS: true, Password: "secret", HBA: []string{
		"local all all trust", "hostssl all all 127.0.0.1/32 scram-sha-256", "hostnossl all all 127.0.0.1/32 reject",
	}})
	authority, err := os.ReadFile(server.Cluster(t).CAFile())
	require.NoError(t, err)
	another, err := os.ReadFile(pgtest.Start(t, pgtest.Options{TLS: true}).Cluster(t).CAFile())
	require.NoError(t, err)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(roots, another, 0o600))

	r := prepare(t, setup{server: server, ddl: "create table t (id int primary key)", database: "    sslmode: verify-full\n    sslrootcert: " + roots})
	r.Start()
	body := r.WaitProblem("tls_unknown_authority", patience)
	require.Contains(t, body, "sslrootcert")
	require.NoError(t, os.WriteFile(roots, authority, 0o600))
	r.eventually(r.streaming, "the slot is read")
	require.True(t, pgtest.Value[bool](t, r.db, `
		select bool_and(ssl) from pg_stat_ssl join pg_replication_slots on pid = active_pid where slot_name = $1`, r.slot))
	r.exec("insert into t values (1)")
	require.Equal(t, []string{`insert t {"id":1}`}, r.drained("pull"))

	r.config.Database = "    sslmode: disable"
	r.reload()
	r.WaitProblem("no_pg_hba_entry", patience)
	r.config.Database = "    sslmode: require"
	r.reload()
	r.eventually(r.streaming, "the slot is read")
	r.exec("insert into t values (2)")
	require.Equal(t, []string{`insert t {"id":2}`}, r.drained("pull"))
}

// A password that is rotated while rows are written is no incident: the file is read at each connect, and a new password in the configuration
// takes effect with the reload. A wrong one shows, and says whose it is.
func TestHard24PasswordRotation(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{
		HBA: []string{
			"local all all trust", "host all capturer 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 trust",
		},
		Settings: map[string]string{"password_encryption": "scram-sha-256"}, // 12 and 13 store MD5 otherwise
	})
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) { require.NoError(t, os.WriteFile(file, []byte(password+"\n"), 0o600)) }
	r := prepare(t, setup{server: server, ddl: "create table t (id int primary key)", database: "    password_file: " + file})
	r.exec("create role capturer superuser login password 'first'")
	write("first")
	r.at(func(u *url.URL) { u.User = url.UserPassword("capturer", "not this one") })
	r.start()
	load := r.background(func(conn *pgx.Conn, n int) {
		_, _ = conn.Exec(context.Background(), "insert into t values ($1)", n) // counted below
	})
	for i := range 3 {
		password := "rotated " + strconv.Itoa(i) + ` ' \ é`
		r.exec("alter role capturer password '" + strings.ReplaceAll(password, "'", "''") + "'")
		write(password) // who connects between the two is refused, and tries again
		r.exec("select pg_terminate_backend(pid) from pg_stat_replication")
		r.eventually(r.streaming, "it streams with the new password")
	}
	// the old file for a moment: it shows, and passes
	r.exec("alter role capturer password 'late'")
	r.exec("select pg_terminate_backend(pid) from pg_stat_replication")
	body := r.WaitProblem("wrong_password", patience)
	require.Contains(t, body, `\"capturer\"`)
	require.NotContains(t, body+r.Log(), "rotated 2", "a password is never shown")
	write("late")
	r.eventually(r.streaming, "it streams with the new password")

	r.config.Database = ""
	r.exec("alter role capturer password 'in the file'")
	r.at(func(u *url.URL) { u.User = url.UserPassword("capturer", "in the file") })
	r.reload()
	r.eventually(func() bool { return r.streaming() && r.metric("sequin_slot_streaming") == 1 }, "it streams with the password of the configuration")
	rows := load()
	got := r.drain("pull")
	require.Len(t, got, rows)
	require.True(t, increasing(inOrder(got)))
}

// A pooler in between is refused with the clear code and the way out, at the start and after a reload, and leaving it mends everything.
func TestHard24PoolerInBetween(t *testing.T) {
	t.Parallel()
	r := prepare(t, setup{ddl: "create table t (id int primary key)", database: plainly})
	direct := r.config.DB.URL
	pooler := poolerOf(t)
	r.at(func(u *url.URL) { u.Host = pooler })
	r.Start()
	body := r.WaitProblem("pooled_connection", patience)
	require.Contains(t, body, "direct address")
	status, _ := r.Get("/healthz?database=db")
	require.Equal(t, http.StatusServiceUnavailable, status)
	r.config.DB = &pgtest.DB{URL: direct}
	r.reload()
	r.eventually(r.streaming, "the slot is read")
	r.exec("insert into t values (1)")
	require.Equal(t, []string{`insert t {"id":1}`}, r.drained("pull"))
}

// poolerOf answers as PgBouncer does in its default configuration when a connection asks for what it cannot pass on.
func poolerOf(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			client := pgproto3.NewBackend(conn, conn)
			if start, err := client.ReceiveStartupMessage(); err == nil {
				if startup, ok := start.(*pgproto3.StartupMessage); ok {
					for name := range startup.Parameters {
						if name == "user" || name == "database" || name == "application_name" {
							continue
						}
						client.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: " + name})
						break
					}
				}
				_ = client.Flush() // the client may have gone
			}
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}
