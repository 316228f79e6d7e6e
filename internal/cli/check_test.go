package cli_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/pgtest"
)

var updateCheck = flag.Bool("update-check", false, "rewrite the golden files of sequin check")

// check runs sequin check to its end.
func check(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Main(t.Context(), cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, append([]string{"check"}, args...))
	return code, stdout.String(), stderr.String()
}

// as is the database's URL for another role.
func as(t *testing.T, db *pgtest.DB, user string) string {
	t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.User = url.UserPassword(user, "wrong")
	return u.String()
}

// steady replaces what differs between runs and major versions.
func steady(text string, db *pgtest.DB) string {
	text = strings.ReplaceAll(text, db.Name, "app")
	for _, r := range [][2]string{
		{`127\.0\.0\.1:\d+`, "127.0.0.1:5432"},
		{`PostgreSQL \d+[.\w]*( \([^)]*\))?`, "PostgreSQL 17.0"},
		{`backend \d+`, "backend 42"},
		{`\d+(\.\d+)?(ns|µs|ms|s)\b`, "1ms"},
		{`within \S+`, "within 1ms"},
		{`1m1ms`, "1m0s"},
		{`differ by \S+,`, "differ by 1ms,"},
		{`system \d+, timeline \d+, WAL at \S+`, "system 7, timeline 1, WAL at 0/1"},
		{`\d+ of 64 in use.*`, "1 of 64 in use"},
		{`(wal_sender_timeout is [^,\n]+).*`, "$1"},
		{`\d+ transactions? writes?[^,]*, `, "0 transactions write, "},
		{`t_check[a-z_0-9]+`, `role`},
		{` with \(publish_via_partition_root = true\)`, ``}, // from 13 on
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return text
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *updateCheck {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644)) //nolint:gosec // part of the sources
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestCheckPrintsAReport(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table orders (id int primary key, total int); create table logs (at timestamptz)`)
	role := db.Publication(t) // a unique name
	db.Exec(t, `create role "`+role+`" login`)
	t.Cleanup(func() { db.Exec(t, `drop role "`+role+`"`) })

	code, out, errs := check(t, db.URL)
	require.Equal(t, cli.ExitOK, code, "warnings do not fail: %s", errs)
	require.Empty(t, errs)
	golden(t, "check_warning.golden", steady(out, db))

	code, out, errs = check(t, "--strict", db.URL)
	require.Equal(t, cli.ExitError, code)
	require.Equal(t, "the database is not ready: 0 errors, 1 warning, 27 ok\n", errs)
	require.Contains(t, out, "[replica_identity_missing]")

	code, out, _ = check(t, "--strict", "--table", "orders", db.URL)
	require.Equal(t, cli.ExitOK, code, out)

	code, out, errs = check(t, as(t, db, role), "--slot", "sequin_slot", "--publication", "sequin_pub", "--table", "orders", "--table", "public.logs", "--old-values")
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errs, "the database is not ready: ")
	golden(t, "check_error.golden", steady(out, db))
}

func TestCheckWithoutAConnection(t *testing.T) {
	t.Parallel()
	code, out, errs := check(t, "postgres://app:s3cret@127.0.0.1:1/app")
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, out, "[connection_refused]")
	require.Contains(t, out, "the other checks need a connection")
	require.Contains(t, errs, "not ready")
	require.NotContains(t, out+errs, "s3cret")
}

func TestCheckFormats(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	code, out, _ := check(t, db.URL, "-o", "json")
	require.Equal(t, cli.ExitOK, code)
	var report struct {
		Status string
		Checks []struct{ Name, Status, Found, Why string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, "ok", report.Status)
	require.Len(t, report.Checks, 28)
	code, out, _ = check(t, db.URL, "-o", "yaml")
	require.Equal(t, cli.ExitOK, code)
	require.True(t, strings.HasPrefix(out, "status: ok\nerrors: 0\n"), out)
	require.Contains(t, out, "  - name: wal_level\n    status: ok\n    found: wal_level is logical\n")
}

func TestCheckUsage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		text string
	}{
		"no URL":               {nil, "accepts 1 arg"},
		"not a URL":            {[]string{"app"}, "[database_url_invalid]"},
		"an unknown format":    {[]string{"postgres://h/d", "-o", "xml"}, `--output is "xml"; it is one of table, json, yaml`},
		"two passwords":        {[]string{"postgres://h/d", "--password-file", "f", "--password-command", "c"}, "contradict each other"},
		"an open quote":        {[]string{"postgres://h/d", "--password-command", `echo "a`}, `a " is not closed`},
		"nothing to run":       {[]string{"postgres://h/d", "--password-command", "  "}, "it is empty"},
		"a backslash too many": {[]string{"postgres://h/d", "--password-command", `echo a\`}, "ends with a backslash"},
	} {
		code, out, errs := check(t, c.args...)
		require.Equal(t, cli.ExitUsage, code, name)
		require.Empty(t, out, name)
		require.Contains(t, errs, c.text, name)
	}
}

// TestCheckPasswords: the password comes from a file or a command, whatever the URL says, and is not shown.
func TestCheckPasswords(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t, pgtest.Options{Password: "s3cret pass"}).Database(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "the password")
	require.NoError(t, os.WriteFile(file, []byte("s3cret pass\n"), 0o600))
	for name, c := range map[string]struct {
		args []string
		code string
	}{
		"file":           {[]string{"--password-file", file}, ""},
		"command":        {[]string{"--password-command", `cat "` + file + `"`}, ""},
		"escaped spaces": {[]string{"--password-command", `cat ` + strings.ReplaceAll(file, " ", `\ `)}, ""},
		"single quotes":  {[]string{"--password-command", `/bin/sh -c 'cat "` + file + `" #'`}, ""},
		"no shell":       {[]string{"--password-command", `cat "` + file + `" | cat`}, "password_command_failed"},
		"no file":        {[]string{"--password-file", file + "s"}, "password_file_unreadable"},
		"no command":     {[]string{"--password-command", filepath.Join(dir, "nothing")}, "password_command_failed"},
	} {
		code, out, errs := check(t, append(c.args, as(t, db, "postgres"))...)
		if c.code == "" {
			require.Equal(t, cli.ExitOK, code, "%s: %s", name, out)
		} else {
			require.Equal(t, cli.ExitError, code, name)
			require.Contains(t, out, "["+c.code+"]", name)
		}
		require.NotContains(t, out+errs, "s3cret", name)
	}
}
