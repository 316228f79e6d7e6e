package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(envToken); url != "" {
		if err := printToken(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(pgtest.Main(m))
}

// config reads a URL that must be right.
func config(t *testing.T, url string) postgres.Config {
	t.Helper()
	cfg, err := postgres.ParseURL(url)
	require.NoError(t, err)
	return cfg
}

// fails connects, regularly and for replication, and returns the code of the problem that both give.
func fails(t *testing.T, cfg postgres.Config) string {
	t.Helper()
	_, err := cfg.Connect(t.Context())
	require.Error(t, err)
	_, replErr := cfg.ConnectReplication(t.Context())
	require.Error(t, replErr)
	require.Equal(t, problem.Code(err), problem.Code(replErr), "%v; %v", err, replErr)
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	require.NotEmpty(t, p.Hint)
	return p.Code
}

// TestOutputSettingsArePinned sets all of them otherwise for the role and the database.
func TestOutputSettingsArePinned(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	role := db.Publication(t) // a unique name
	db.Exec(t, `create role "`+role+`" login replication`)
	t.Cleanup(func() { db.Exec(t, `drop role "`+role+`"`) })
	for _, on := range []string{`database "` + db.Name + `"`, `role "` + role + `"`} {
		for _, setting := range []string{
			"datestyle = 'German'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Tokyo'", "bytea_output = 'escape'", "extra_float_digits = -5",
			"statement_timeout = '7s'", "lock_timeout = '7s'",
		} {
			db.Exec(t, "alter "+on+" set "+setting)
		}
	}
	for name, url := range map[string]string{"tcp": db.URL, "socket": db.SocketURL} {
		cfg := config(t, url)
		cfg.User = role
		cfg.Options = map[string]string{"timezone": "Asia/Tokyo", "work_mem": "7MB"} // the caller's spelling does not win either
		conn, err := cfg.Connect(t.Context())
		require.NoError(t, err, name)
		var text string
		require.NoError(t, conn.QueryRow(t.Context(), `select concat_ws('|', '2026-01-02 03:04:05+00'::timestamptz, '1 day 2 hours'::interval, '\x00ff'::bytea,
			0.1::float8 + 0.2::float8, current_setting('work_mem'), current_setting('application_name'))`).Scan(&text))
		require.Equal(t, `2026-01-02 03:04:05+00|1 day 02:00:00|\x00ff|0.30000000000000004|7MB|sequin`, text, name)
		require.NoError(t, conn.Close(t.Context()))

		repl, err := cfg.ConnectReplication(t.Context())
		require.NoError(t, err, name)
		for setting, want := range map[string]string{
			"datestyle": "ISO", "intervalstyle": "postgres", "timezone": "UTC", "statement_timeout": "0", "lock_timeout": "0", "extra_float_digits": "1",
			"client_encoding": "UTF8", "bytea_output": "hex",
		} {
			results, err := repl.Exec(t.Context(), "show "+setting).ReadAll()
			require.NoError(t, err)
			got, _, _ := strings.Cut(string(results[0].Rows[0][0]), ",") // without the order of day and month, which is for input
			require.Equal(t, want, got, "%s: %s", name, setting)
		}
		require.NoError(t, repl.Close(t.Context()))
	}
	require.Len(t, slices.Collect(maps.Keys(postgres.Pinned())), 6)
}

// TestPasswordRotation changes the password on the server; the next connection uses the new one, and the errors never hold either.
func TestPasswordRotation(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Password: "first-secret"})
	db := server.Database(t)
	cfg := config(t, db.URL)
	var current atomic.Pointer[string]
	first, second := "first-secret", "second-secret"
	current.Store(&first)
	cfg.Password = func(context.Context) (string, error) { return *current.Load(), nil }
	conn, err := cfg.Connect(t.Context())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `alter role postgres password 'second-secret'`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))

	_, err = cfg.Connect(t.Context())
	require.Equal(t, "wrong_password", problem.Code(err))
	require.NotContains(t, err.Error(), "secret")
	require.False(t, postgres.Transient(err))

	current.Store(&second)
	conn, err = cfg.Connect(t.Context())
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	repl, err := cfg.ConnectReplication(t.Context())
	require.NoError(t, err)
	require.NoError(t, repl.Close(t.Context()))

	broken := errors.New("vault is sealed")
	cfg.Password = func(context.Context) (string, error) { return "", broken }
	_, err = cfg.Connect(t.Context())
	require.ErrorIs(t, err, broken)
}

func TestAuthenticationErrorsAreExplained(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{TLS: true})
	db := server.Database(t)
	db.Exec(t, `create role plain login; create role locked; create role barred login replication; revoke connect on database "`+db.Name+`" from public`)
	db.Exec(t, `grant connect on database "`+db.Name+`" to plain`)
	server.SetHBA(t, "local all all trust", "hostnossl all encrypted 127.0.0.1/32 reject", "host all stranger 127.0.0.1/32 reject", "host all all 127.0.0.1/32 trust")
	cases := map[string]struct {
		change func(*postgres.Config)
		code   string
		hint   string
	}{
		"no such database":        {func(c *postgres.Config) { c.Database = "nowhere" }, "database_not_found", "psql -l"},
		"no such role":            {func(c *postgres.Config) { c.User = "nobody_here" }, "authentication_failed", "LOGIN"},
		"may not log in":          {func(c *postgres.Config) { c.User = "locked" }, "authentication_failed", "LOGIN"},
		"rejected by pg_hba.conf": {func(c *postgres.Config) { c.User = "stranger" }, "no_pg_hba_entry", "hostssl"},
		"only with TLS":           {func(c *postgres.Config) { c.User, c.SSLMode = "encrypted", "disable" }, "no_pg_hba_entry", "set sslmode"},
		"may not connect":         {func(c *postgres.Config) { c.User = "barred" }, "no_connect_privilege", "GRANT CONNECT"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, db.URL)
			cfg.SSLMode = postgres.SSLPrefer
			c.change(&cfg)
			require.Equal(t, c.code, fails(t, cfg))
			_, err := cfg.Connect(t.Context())
			p, _ := problem.As(err)
			require.Contains(t, p.Hint, c.hint)
			require.False(t, postgres.Transient(err))
		})
	}
	cfg := config(t, db.URL)
	cfg.User = "plain"
	_, err := cfg.ConnectReplication(t.Context())
	require.Equal(t, "replication_privilege_missing", problem.Code(err), "%v", err)
}

func TestNoRoomIsExplained(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_wal_senders": "1"}})
	db := server.Database(t)
	cfg := config(t, db.URL)
	repl, err := cfg.ConnectReplication(t.Context())
	require.NoError(t, err)
	_, err = cfg.ConnectReplication(t.Context())
	require.Equal(t, "no_walsender_left", problem.Code(err), "%v", err)
	require.True(t, postgres.Transient(err))
	require.NoError(t, repl.Close(t.Context()))

	db.Exec(t, `create role few login connection limit 0`)
	cfg.User = "few"
	_, err = cfg.Connect(t.Context())
	require.Equal(t, "too_many_connections", problem.Code(err), "%v", err)
	require.True(t, postgres.Transient(err))
}

func TestUnreachableServersAreExplained(t *testing.T) {
	t.Parallel()
	closed := listen(t, func(c net.Conn) { _ = c.Close() })
	silent := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := free.Addr().String()
	require.NoError(t, free.Close())
	cases := map[string]struct {
		url  string
		code string
	}{
		"refused":          {"postgres://u@" + nobody + "/d?sslmode=disable", "connection_refused"},
		"no socket":        {"postgres://u@/d?host=/nonexistent", "connection_refused"},
		"closed at once":   {"postgres://u@" + closed + "/d?sslmode=disable", "connection_closed"},
		"never an answer":  {"postgres://u@" + silent + "/d?sslmode=disable", "connection_timeout"},
		"TLS never begins": {"postgres://u@" + silent + "/d?sslmode=require", "connection_timeout"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, c.url)
			cfg.ConnectTimeout = 500 * time.Millisecond
			require.Equal(t, c.code, fails(t, cfg))
			_, err := cfg.Connect(t.Context())
			require.True(t, postgres.Transient(err))
		})
	}
}

func TestUnknownHostIsExplained(t *testing.T) {
	t.Parallel()
	cfg := config(t, "postgres://u@db.invalid/d")
	notFound := &net.DNSError{Err: "no such host", Name: "db.invalid", IsNotFound: true}
	err := cfg.Explain(connectError(t, cfg, notFound))
	require.Equal(t, "host_unknown", problem.Code(err))
	require.False(t, postgres.Transient(err))
	err = cfg.Explain(connectError(t, cfg, &net.DNSError{Err: "server misbehaving", Name: "db.invalid", IsTemporary: true}))
	require.Equal(t, "host_lookup_failed", problem.Code(err))
	require.True(t, postgres.Transient(err))

	cfg = config(t, "postgres://u@127.0.0.1/d")
	cfg.IPv6 = true
	_, err = cfg.Connect(t.Context())
	require.Error(t, err)
	require.Equal(t, "host_unknown", problem.Code(err), "an IPv4 address is no IPv6 address: %v", err)
	cfg = config(t, "postgres://u@[::1]:1/d?connect_timeout=1")
	cfg.IPv6 = true
	_, err = cfg.Connect(t.Context())
	require.Contains(t, []string{"connection_refused", "host_unreachable"}, problem.Code(err), "%v", err)
}

// connectError is the driver's error for a lookup that fails.
func connectError(t *testing.T, cfg postgres.Config, lookup error) error {
	t.Helper()
	pg, err := cfg.PgConn(t.Context())
	require.NoError(t, err)
	pg.LookupFunc = func(context.Context, string) ([]string, error) { return nil, lookup }
	_, err = pgconn.ConnectConfig(t.Context(), pg)
	require.Error(t, err)
	return err
}

// listen serves connections on loopback until the test ends, and returns the address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		<-done
	})
	return l.Addr().String()
}

func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	cfg := config(t, db.URL)
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(free.Addr().String())
	require.NoError(t, err)
	require.NoError(t, free.Close())
	number, err := strconv.ParseUint(port, 10, 16)
	require.NoError(t, err)
	cfg.Hosts = append([]postgres.Host{{Name: "127.0.0.1", Port: uint16(number)}}, cfg.Hosts...)
	conn, err := cfg.Connect(t.Context())
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))

	cfg.TargetSessionAttrs = "standby"
	_, err = cfg.Connect(t.Context())
	require.Error(t, err)
}

func TestRestartsAreTransient(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db := server.Database(t)
	cfg := config(t, db.URL)
	conn, err := cfg.Connect(t.Context())
	require.NoError(t, err)
	server.Crash(t)
	_, err = conn.Exec(t.Context(), `select 1`)
	require.Error(t, err)
	require.True(t, postgres.Transient(err), "%v", err)
	server.Stop(t)
	_, err = cfg.Connect(t.Context())
	require.Equal(t, "connection_refused", problem.Code(err))
	require.True(t, postgres.Transient(err), "%v", err)
	server.StartAgain(t)

	for code, want := range map[string]bool{
		"57P03": true, "57P01": true, "53300": true, "08006": true, "40P01": true, "55006": true, "55P03": true,
		"28P01": false, "3D000": false, "42704": false, "55000": false, "08P01": false, "53400": false, "": false,
	} {
		require.Equal(t, want, postgres.Transient(&pgconn.PgError{Code: code}), code)
	}
	starting := cfg.Explain(&pgconn.PgError{Code: "57P03"})
	require.Equal(t, "server_starting", problem.Code(starting))
	require.True(t, postgres.Transient(starting))
	require.False(t, postgres.Transient(context.Canceled))
	require.False(t, postgres.Transient(nil))
	require.NoError(t, cfg.Explain(nil))
}

func TestBadSettingsAreExplained(t *testing.T) {
	t.Parallel()
	_, err := postgres.Config{}.PgConn(t.Context())
	require.Equal(t, "database_config_invalid", problem.Code(err))
	cfg := config(t, "postgres://u@h/d")
	cfg.SSLMode = "sometimes"
	_, err = cfg.PgConn(t.Context())
	require.Equal(t, "database_config_invalid", problem.Code(err))
	cfg = config(t, "postgres://u:hunter2@h/d?target_session_attrs=nonsense")
	_, err = cfg.PgConn(t.Context())
	require.Equal(t, "database_config_invalid", problem.Code(err))
	require.NotContains(t, err.Error(), "hunter2")
}
