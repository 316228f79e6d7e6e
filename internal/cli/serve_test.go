package cli_test

import (
	"context"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// serve is sequin serve on loopback with a directory of its own.
func serve(t *testing.T, args ...string) (code int, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var e text
	code = cli.Main(ctx, cli.Streams{In: strings.NewReader(""), Out: &e, Err: &e},
		append([]string{"serve", "--data-dir", filepath.Join(t.TempDir(), "data"), "--ephemeral", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, args...))
	require.NoError(t, ctx.Err(), "it should have ended by itself: %s", &e)
	return code, e.String()
}

const mistaken = `account: {name: acme}
databases:
  - name: shop
    hostname: localhost
    port: 99999
    slot: {name: UPPER}
    publication: {name: pub}
    colour: red
sinks:
  - name: orders
    database: shopp
    destination: {type: sequin_stream}
`

func TestServeReportsEveryMistakeOfTheConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sequin.yaml")
	require.NoError(t, os.WriteFile(file, []byte(mistaken), 0o600))
	code, errs := serve(t, "--config", file)
	require.Equal(t, cli.ExitInvalid, code)
	for _, want := range []string{
		"[validation_failed]",
		file + ":5:", "port", // out of range
		file + ":6:", "UPPER",
		file + ":8:", "colour", // unknown
		file + ":11:", "shopp", // no such database
	} {
		require.Contains(t, errs, want)
	}

	code, errs = serve(t, "--config", file+".not-there")
	require.Equal(t, cli.ExitInvalid, code)
	require.Contains(t, errs, file+".not-there")
}

func TestServeReportsAMistakenConfigurationInTheEnvironment(t *testing.T) {
	t.Setenv("SEQUIN_CONFIG_YAML", base64.StdEncoding.EncodeToString([]byte("sinks: 7")))
	code, errs := serve(t)
	require.Equal(t, cli.ExitInvalid, code)
	require.Contains(t, errs, "sinks")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"unknown command", []string{"frobnicate"}, []string{`"frobnicate"`, "see sequin --help"}},
		{"unknown flag", []string{"serve", "--colour"}, []string{"--colour", "see sequin --help"}},
		{"argument of serve", []string{"serve", "now"}, []string{`"now"`, "see sequin --help"}},
		{"bad values", []string{"serve", "--listen", "nowhere", "--log-level", "loud", "--log-format", "xml"}, []string{"--listen", "--log-level", "loud", "--log-format", "xml"}},
		{"not a duration", []string{"serve", "--shutdown-timeout", "soon"}, []string{"--shutdown-timeout"}},
		{"tail of nothing", []string{"tail"}, []string{"accepts 1 arg", "see sequin --help"}},
		{"tail of no URL", []string{"tail", "localhost"}, []string{"[database_url_invalid]", "postgres://user:password@host"}},
		{"a negative limit", []string{"tail", "postgres://localhost/x", "-n", "-1"}, []string{"--limit"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := run(t, tt.args...)
			require.Equal(t, cli.ExitUsage, code, "%s", errs)
			require.Empty(t, out)
			for _, want := range tt.want {
				require.Contains(t, errs, want)
			}
		})
	}
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	code, version, errs := run(t, "version")
	require.Equal(t, cli.ExitOK, code)
	require.Empty(t, errs)
	require.Regexp(t, `^sequin \S+\n$`, version)
	code, out, _ := run(t, "--version")
	require.Equal(t, cli.ExitOK, code)
	require.Equal(t, version, out)
	code, out, errs = run(t, "--help")
	require.Equal(t, cli.ExitOK, code)
	require.Empty(t, errs)
	for _, command := range []string{"serve", "tail", "version"} {
		require.Contains(t, out, command)
	}
}

func TestServeRefusesStorageThatForgets(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // what forgets is told apart on Linux alone
	}
	dir, err := os.MkdirTemp("/dev/shm", "sequin") //nolint:usetesting // it is the memory that matters
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	code, errs := serve(t, "--data-dir", data, "--ephemeral=false")
	require.Equal(t, cli.ExitError, code)
	for _, want := range []string{"[ephemeral_storage]", data, "hint:", "--ephemeral"} {
		require.Contains(t, errs, want)
	}
	require.NoDirExists(t, data)
}

// TestServeLocksItsDataDirectory starts a second server on the directory of one that runs, and sees that the first goes on unharmed.
func TestServeLocksItsDataDirectory(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	s := harness.New(t, harness.Config{
		DB: db, Slot: db.Slot(t), Publication: db.Publication(t), Sinks: "  - {name: pull, database: db, destination: {type: sequin_stream}}",
	}.YAML(t))
	s.Start()
	s.WaitHealthy(patience)
	code, errs := serve(t, "--data-dir", s.DataDir(), "--config", s.ConfigPath())
	require.Equal(t, cli.ExitError, code)
	for _, want := range []string{"[data_dir_locked]", s.DataDir(), "PID " + strconv.Itoa(s.PID()), "hint:"} {
		require.Contains(t, errs, want)
	}

	db.Exec(t, `insert into orders values (1, 'new')`)
	batch, err := s.Stream("pull").Receive(t.Context(), 10, 30*time.Second)
	require.NoError(t, err)
	require.Len(t, batch, 1)
	require.NoError(t, s.Stream("pull").Ack(t.Context(), harness.AckIDs(batch)...))
	s.Stop()
}

func TestServeNamesAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	for _, flag := range []string{"--listen", "--metrics-listen"} {
		code, errs := serve(t, flag, l.Addr().String())
		require.Equal(t, cli.ExitError, code)
		require.Contains(t, errs, l.Addr().String())
	}
}

func TestEveryFlagOfTailIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/reference/cli.md")
	require.NoError(t, err)
	_, help, _ := run(t, "tail", "--help")
	flags := regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(help, -1)
	require.Contains(t, flags, "--publication")
	for _, flag := range flags {
		if flag != "--help" {
			require.Contains(t, string(page), "`"+flag+"`")
		}
	}
}
