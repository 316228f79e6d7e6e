package postgres_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/problem"
)

// envToken makes this test binary a password command: it gives the role that the URL's server knows as "app" a new password for 15 minutes, as the
// token of a cloud provider is one, and prints it.
const envToken = "SEQUIN_TEST_TOKEN_URL"

func printToken(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	token := rand.Text()
	if _, err := conn.Exec(ctx, fmt.Sprintf(`alter role app password '%s' valid until '%s'`, token, time.Now().Add(15*time.Minute).UTC().Format(time.RFC3339))); err != nil {
		return err
	}
	fmt.Println(token)
	return nil
}

// TestTokensThatChange connects with a token that is another one at every call; the one before is not taken any more.
func TestTokensThatChange(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Password: "admin-secret"})
	db := server.Database(t)
	db.Exec(t, `create role app login replication`)
	t.Setenv(envToken, db.SocketURL)
	self, err := os.Executable()
	require.NoError(t, err)
	cfg := config(t, db.URL)
	var tokens []string
	command := postgres.PasswordCommand([]string{self})
	cfg.User = "app"
	cfg.Password = func(ctx context.Context) (string, error) {
		token, err := command(ctx)
		tokens = append(tokens, token)
		return token, err
	}
	for range 2 {
		conn, err := cfg.Connect(t.Context())
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
		repl, err := cfg.ConnectReplication(t.Context())
		require.NoError(t, err)
		require.NoError(t, repl.Close(t.Context()))
	}
	require.Len(t, tokens, 4)
	for i, token := range tokens[1:] {
		require.NotEqual(t, tokens[i], token)
	}
	stale := cfg
	stale.Password = postgres.StaticPassword(tokens[2])
	_, err = stale.Connect(t.Context())
	require.Equal(t, "wrong_password", problem.Code(err))
	require.NotContains(t, err.Error(), tokens[2])

	report := postgres.Check(t.Context(), cfg, postgres.PreflightOptions{})
	require.Equal(t, postgres.StatusOK, item(t, report, "replication").Status, "the check connects twice, each time with a token of its own")
	require.Len(t, tokens, 6)
}

func script(t *testing.T, text string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700)) //nolint:gosec // a program
	return []string{path}
}

func TestPasswordCommands(t *testing.T) {
	t.Parallel()
	good := map[string]struct {
		script string
		want   string
	}{
		"first line":         {"echo secret; echo more", "secret"},
		"no line end":        {"printf secret", "secret"},
		"Windows line end":   {`printf 'secret\r\nmore'`, "secret"},
		"spaces stay":        {`printf ' a b \n'`, " a b "},
		"complaints are let": {"echo warning >&2; echo secret", "secret"},
		"much output":        {"echo secret; head -c 1000000 /dev/zero", "secret"},
		"a child stays":      {"echo secret; sleep 60 &", "secret"},
	}
	for name, c := range good {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := postgres.PasswordCommand(script(t, c.script))(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	bad := map[string]struct {
		argv   []string
		code   string
		detail string
	}{
		"no command":         {nil, "password_command_failed", "no command"},
		"no such program":    {[]string{"/nonexistent/program"}, "password_command_failed", "no such file"},
		"it fails":           {script(t, "echo first >&2; echo 'the session has expired' >&2; echo >&2; exit 3"), "password_command_failed", "exit status 3: the session has expired"},
		"it prints nothing":  {script(t, "echo; echo late"), "password_command_failed", "printed nothing"},
		"it tells the token": {script(t, "echo hunter2; echo 'token hunter2 is bad' >&2; exit 1"), "password_command_failed", "token … is bad"},
		"control characters": {script(t, `printf 'a\033[2Jb\n' >&2; exit 1`), "password_command_failed", "a [2Jb"},
		"a long complaint":   {script(t, `head -c 5000 /dev/zero | tr '\0' x >&2; exit 1`), "password_command_failed", strings.Repeat("x", 200) + "…"},
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.PasswordCommand(c.argv)(t.Context())
			p, ok := problem.As(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, c.code, p.Code)
			require.Contains(t, p.Detail, c.detail)
			require.NotContains(t, p.Text(), "hunter2")
			require.NotEmpty(t, p.Hint)
		})
	}
}

// TestSlowPasswordCommands: a command that takes too long is ended with everything that it started.
func TestSlowPasswordCommands(t *testing.T) {
	t.Parallel()
	trace := filepath.Join(t.TempDir(), "child")
	argv := script(t, "sleep 300 & echo $! > '"+trace+".new'; mv '"+trace+".new' '"+trace+"'; echo 'asking the provider' >&2; wait")
	began := time.Now()
	_, err := postgres.RunPasswordCommand(t.Context(), argv, time.Second)
	require.Equal(t, "password_command_timeout", problem.Code(err), "%v", err)
	require.True(t, postgres.Transient(err))
	require.Less(t, time.Since(began), 30*time.Second)
	p, _ := problem.As(err)
	require.Contains(t, p.Detail, "asking the provider")
	pid, err := os.ReadFile(trace)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return ended(t, strings.TrimSpace(string(pid))) }, 10*time.Second, 10*time.Millisecond, "its child was left running")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = postgres.PasswordCommand(script(t, "sleep 300"))(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// ended reports whether a process has gone, or waits to be buried.
func ended(t *testing.T, pid string) bool {
	t.Helper()
	number, err := strconv.Atoi(pid)
	require.NoError(t, err)
	if status, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil {
		_, rest, _ := strings.Cut(string(status), ") ")
		return strings.HasPrefix(rest, "Z")
	}
	return syscall.Kill(number, 0) != nil
}

func TestPasswordFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	read := postgres.PasswordFile(path)
	_, err := read(t.Context())
	require.Equal(t, "password_file_unreadable", problem.Code(err))
	for _, text := range []string{"one", "two\n", "three\r\n"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := read(t.Context())
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(text), got)
	}
}
