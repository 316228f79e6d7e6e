package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// installation is a real server with a real database, and this command before it.
type installation struct {
	*harness.Sequin
	t  *testing.T
	db *pgtest.DB
}

func install(t *testing.T) *installation {
	t.Helper()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	config := harness.Config{
		DB: db, Slot: db.Slot(t), Publication: db.Publication(t), Endpoints: map[string]string{"hook": "http://127.0.0.1:1/hook"},
		Sinks: "  - {name: pull, database: db, destination: {type: sequin_stream}}\n",
	}
	s := harness.New(t, config.YAML(t))
	s.Start()
	s.WaitHealthy(patience)
	return &installation{Sequin: s, t: t, db: db}
}

// with is the same for a part of the test.
func (i *installation) with(t *testing.T) *installation {
	t.Helper()
	part := *i
	part.t = t
	return &part
}

// do runs a command against the server.
func (i *installation) do(stdin string, args ...string) (code int, out, errs string) {
	i.t.Helper()
	var o, e bytes.Buffer
	args = append(args, "--url", i.URL, "--token", harness.Token)
	if args[0] == "admin" {
		args = append(args[:len(args)-4], "--data-dir", i.DataDir())
	}
	code = cli.Main(i.t.Context(), cli.Streams{In: strings.NewReader(stdin), Out: &o, Err: &e}, args)
	return code, o.String(), e.String()
}

// ok is a command that works; what it prints.
func (i *installation) ok(args ...string) string {
	i.t.Helper()
	code, out, errs := i.do("", args...)
	require.Equal(i.t, cli.ExitOK, code, "sequin %s: %s%s", strings.Join(args, " "), out, errs)
	return out
}

// fails is a command that ends with a code; what it says.
func (i *installation) fails(code int, args ...string) string {
	i.t.Helper()
	got, out, errs := i.do("", args...)
	require.Equal(i.t, code, got, "sequin %s: %s%s", strings.Join(args, " "), out, errs)
	return errs
}

func TestAgainstARealServer(t *testing.T) {
	t.Parallel()
	i := install(t)
	t.Run("status", func(t *testing.T) {
		i := i.with(t)
		out := i.ok("status")
		require.Contains(t, out, "HEALTHY")
		require.Regexp(t, `(?m)^db +healthy .* streaming `, out)
		require.Regexp(t, `(?m)^pull +db +sequin_stream +active +healthy`, out)
	})
	t.Run("databases", func(t *testing.T) { i.with(t).databases() })
	t.Run("sinks", func(t *testing.T) { i.with(t).sinks() })
	t.Run("documents", func(t *testing.T) { i.with(t).documents() })
	t.Run("messages", func(t *testing.T) { i.with(t).messages() })
	t.Run("access", func(t *testing.T) { i.with(t).access() })
	t.Run("operator", func(t *testing.T) { i.with(t).operator() })
	t.Run("no server", func(t *testing.T) {
		i := i.with(t)
		i.Stop()
		require.Contains(t, i.fails(cli.ExitUnreachable, "status"), "server_unreachable")
		require.Contains(t, i.fails(cli.ExitUnreachable, "admin", "accounts", "list"), "server_not_running")
	})
}

func (i *installation) databases() {
	t := i.t
	require.Regexp(t, `(?m)^db +127\.0\.0\.1|^db +localhost`, i.ok("databases", "list"))
	require.Contains(t, i.ok("databases", "test", "db"), "can be used")
	require.Contains(t, i.ok("databases", "refresh", "db"), "read anew")
	require.Contains(t, i.ok("databases", "slot", "db"), "pgoutput")
	require.Contains(t, i.fails(cli.ExitError, "databases", "delete", "db", "--yes"), "sink")
	require.Contains(t, i.fails(cli.ExitNotFound, "databases", "show", "nosuch"), "postgres database")
}

func (i *installation) sinks() {
	t := i.t
	file := filepath.Join(t.TempDir(), "sink.yaml")
	require.NoError(t, os.WriteFile(file, []byte("name: hooked\ndatabase: db\ndestination: {type: webhook, http_endpoint: hook}\nstatus: paused\nsource: {include_tables: [orders]}\n"), 0o600))
	require.Contains(t, i.ok("sinks", "create", "-f", file, "--set", "batch_size=10", "--set", "annotations.team=shop"), `sink "hooked" created`)
	out := i.ok("sinks", "show", "hooked")
	require.Regexp(t, `(?m)^batch_size +10$`, out)
	require.Regexp(t, `(?m)^annotations.team +shop$`, out)
	require.Regexp(t, `(?m)^hooked +db +webhook +paused +paused`, i.ok("sinks", "list"))
	require.Contains(t, i.ok("sinks", "resume", "hooked"), "is active")
	require.Contains(t, i.ok("sinks", "pause", "hooked"), "is paused")
	i.ok("sinks", "update", "hooked", "--set", "max_retry_count=3")
	require.Contains(t, i.fails(cli.ExitInvalid, "sinks", "update", "hooked", "--set", "batch_size=0"), "batch_size")
	require.Contains(t, i.fails(cli.ExitInvalid, "sinks", "create", "x", "--set", "colour=red", "--set", "database=db", "--set", "destination.type=sequin_stream"), "colour")
	require.Contains(t, i.fails(cli.ExitInvalid, "backfills", "create", "pull", "--table", "public.nowhere"), "backfill_table_missing")
	require.Contains(t, i.ok("backfills", "create", "pull", "--set", "table=public.orders"), "created")
	require.Contains(t, i.ok("backfills", "list", "pull"), "public.orders")
	require.Contains(t, i.ok("sinks", "position", "pull"), "log_end")
	i.roundTrips("sinks", "hooked")
	i.roundTrips("databases", "db")
	i.roundTrips("endpoints", "hook")
	i.ok("sinks", "delete", "hooked", "--yes")
	i.ok("functions", "create", "only-id", "--set", "type=path", "--set", "path=record.id")
	require.Regexp(t, `(?m)^only-id +path`, i.ok("functions", "list"))
	i.ok("functions", "delete", "only-id", "--yes")
}

// roundTrips sends back what was shown, secrets masked as they are: nothing changes.
func (i *installation) roundTrips(kind, name string) {
	t := i.t
	before := i.ok("revisions", "list")
	for _, format := range []string{"yaml", "json"} {
		code, _, errs := i.do(i.ok(kind, "show", name, "-o", format), kind, "update", "-f", "-")
		require.Equal(t, cli.ExitOK, code, errs)
	}
	require.Equal(t, before, i.ok("revisions", "list"))
}

func (i *installation) documents() {
	t := i.t
	dir := t.TempDir()
	file := filepath.Join(dir, "sequin.yaml")
	exported := i.ok("config", "export", "--show-sensitive")
	require.NoError(t, os.WriteFile(file, []byte(exported), 0o600))
	require.Contains(t, i.ok("config", "plan", file, "--detailed-exitcode"), "0 to add, 0 to change, 0 to destroy", "what was exported changes nothing")

	more := exported + "functions:\n  - name: shape\n    type: transform\n    language: lua\n    file: shape.lua\n"
	more = strings.Replace(more, "sinks:\n", "sinks:\n  - {name: second, database: db, destination: {type: sequin_stream}}\n", 1)
	require.NoError(t, os.WriteFile(file, []byte(more), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shape.lua"), []byte("function transform(action, record) return 1 end\n"), 0o600))
	code, out, errs := i.do("", "config", "plan", file, "--detailed-exitcode")
	require.Equal(t, 2, code, errs)
	require.Contains(t, out, "+ sink second")
	require.Contains(t, out, "+ function shape")
	require.Contains(t, out, "Plan: 2 to add, 0 to change, 0 to destroy.")
	require.Contains(t, i.ok("config", "apply", file, "--auto-approve"), "Apply complete: 2 added, 0 changed, 0 destroyed.")

	require.NoError(t, os.WriteFile(file, []byte(exported), 0o600))
	code, out, errs = i.do("yes\n", "config", "apply", file, "--prune")
	require.Equal(t, cli.ExitOK, code, errs)
	require.Contains(t, out, "- sink second")
	require.Contains(t, out, "2 destroyed")
	require.Regexp(t, `(?m)^[0-9]+ .*- sink second`, i.ok("revisions", "list"))
	i.restores()
	i.mistakes(file)
}

func (i *installation) restores() {
	t := i.t
	var list struct {
		Data []struct{ Number json.Number }
	}
	require.NoError(t, json.Unmarshal([]byte(i.ok("revisions", "list", "-o", "json")), &list))
	now, before := list.Data[0].Number.String(), list.Data[1].Number.String()
	require.Contains(t, i.ok("revisions", "show", before), "second")
	require.Contains(t, i.ok("revisions", "compare", before, now), "- sink second")
	require.Contains(t, i.ok("revisions", "restore", before, "--yes"), "revision "+before+" is restored")
	require.Contains(t, i.ok("sinks", "list"), "second")
	require.Contains(t, i.fails(cli.ExitNotFound, "revisions", "show", "99999"), "revision")
	require.Regexp(t, `(?m)token.* (apply|restore|update)`, i.ok("audit", "list"))
	i.ok("sinks", "delete", "second", "--yes")
	i.ok("functions", "delete", "shape", "--yes")
}

func (i *installation) mistakes(file string) {
	t := i.t
	require.NoError(t, os.WriteFile(file, []byte("# a comment\n\n\nsinks:\n  - name: ${HOME}\n    database: db\n    destination: {type: sequin_stream}\n    colour: red\n"), 0o600))
	errs := i.fails(cli.ExitInvalid, "config", "plan", file)
	require.Contains(t, errs, file+":8:5: sinks[0].colour", "where it was written")
	require.NoError(t, os.WriteFile(file, []byte("sinks:\n  - name: x\n    database: nosuch\n    destination: {type: sequin_stream}\n"), 0o600))
	require.Contains(t, i.fails(cli.ExitInvalid, "config", "apply", file, "--auto-approve"), "nosuch")
	require.NoError(t, os.WriteFile(file, []byte("sinks: [\n"), 0o600))
	i.fails(cli.ExitInvalid, "config", "plan", file)
}

func (i *installation) messages() {
	t := i.t
	i.db.Exec(t, `insert into orders select n, 'new' from generate_series(1, 5) n`)
	out := i.ok("consume", "pull", "--count", "2", "--batch", "2", "--no-ack", "-o", "json")
	require.Equal(t, 2, strings.Count(out, `"ack_id"`))
	require.Regexp(t, `(?m)^[0-9]+ +delivering +public.orders +insert`, i.ok("messages", "list", "pull", "--state", "delivering"))
	var list struct {
		Data []struct{ Seq json.Number }
	}
	require.NoError(t, json.Unmarshal([]byte(i.ok("messages", "list", "pull", "--state", "available", "-o", "json")), &list))
	require.Len(t, list.Data, 3)
	last := list.Data[2].Seq.String()
	require.Contains(t, i.ok("messages", "show", "pull", last), `"status": "new"`)
	require.Contains(t, i.ok("messages", "discard", "pull", last, "--yes"), "1 discarded")
	out = i.ok("consume", "pull", "--count", "2", "--batch", "1")
	require.Equal(t, 2, strings.Count(out, `"action":"insert"`))
	require.Contains(t, i.ok("messages", "list", "pull", "--state", "delivering"), "delivering", "what was not acknowledged is out still")
	i.db.Exec(t, `insert into orders select n, 'more' from generate_series(6, 8) n`)
	require.Eventually(t, func() bool {
		return strings.Contains(i.ok("messages", "list", "pull", "--newest", "--limit", "1"), " 8 ")
	}, patience, pollEvery)
	require.Regexp(t, `(?m)^[0-9]+ +available .* 7 `, i.ok("messages", "list", "pull", "--key", "7"))
	require.Contains(t, i.ok("messages", "discard", "pull", "--state", "available", "--table", "public.orders", "--yes"), "3 discarded")
	require.Contains(t, i.ok("messages", "discard", "pull", "--all", "--yes"), "discarded")
	require.Contains(t, i.fails(cli.ExitNotFound, "messages", "redeliver", "pull", "99999"), "not 99999: not_found")
	code, out, errs := i.do("", "messages", "dead", "pull")
	require.Equal(t, cli.ExitOK, code)
	require.Empty(t, out)
	require.Contains(t, errs, "there are no dead letters")
}

func (i *installation) access() {
	t := i.t
	out := i.ok("tokens", "create", "ci", "--scope", "read", "--expires-in", "1h")
	require.Regexp(t, `(?m)^token +\S{20,}$`, out)
	require.Regexp(t, `(?m)^ci +read +20`, i.ok("tokens", "list"))
	require.Regexp(t, `(?m)^token +\S{20,}$`, i.ok("tokens", "rotate", "ci", "--yes"))
	i.ok("tokens", "delete", "ci", "--yes")
	code, _, errs := i.do("correct horse\n", "users", "create", "ada@acme.test", "--role", "owner", "--password-stdin")
	require.Equal(t, cli.ExitOK, code, errs)
	i.ok("users", "update", "ADA@acme.test", "--role", "owner")
	require.Regexp(t, `(?m)^ada@acme.test +owner`, i.ok("users", "list"))
	require.Regexp(t, `(?m)^name +test$`, i.ok("account", "show"))
}

func (i *installation) operator() {
	t := i.t
	require.Regexp(t, `(?m)^test `, i.ok("admin", "accounts", "list"))
	i.ok("admin", "accounts", "create", "second")
	i.ok("admin", "accounts", "rename", "second", "third")
	i.ok("admin", "accounts", "delete", "third", "--yes")
	require.Regexp(t, `(?m)^ada@acme.test +owner +test `, i.ok("admin", "users", "list"))
	code, _, errs := i.do("another horse\n", "admin", "users", "set-password", "ada@acme.test", "--password-stdin")
	require.Equal(t, cli.ExitOK, code, errs)
	require.Regexp(t, `(?m)^token +\S{20,}$`, i.ok("admin", "tokens", "create", "local"))
	i.ok("admin", "tokens", "revoke", "local", "--yes")
	require.Contains(t, i.ok("admin", "rotate-vault-key"), "key_id")
	code, _, errs = i.do("long enough\n", "admin", "users", "create", "bob@acme.test", "--role", "viewer", "--password-stdin")
	require.Equal(t, cli.ExitOK, code, errs)
	i.ok("admin", "users", "delete", "bob@acme.test", "--yes")
	i.signsIn()
}

// signsIn signs in with the real binary, which keeps the session below a home of its own.
func (i *installation) signsIn() {
	t := i.t
	home := t.TempDir()
	inHome := func(stdin string, args ...string) (int, string) {
		cmd := exec.Command(harness.ReleaseBinary(t), args...)
		cmd.Env = []string{"HOME=" + home}
		cmd.Stdin = strings.NewReader(stdin)
		text, _ := cmd.CombinedOutput() // the exit code tells
		return cmd.ProcessState.ExitCode(), string(text)
	}
	code, errs := inHome("another horse\n", "login", "--email", "ada@acme.test", "--password-stdin", "--url", i.URL, "--context", "real")
	require.Equal(t, cli.ExitOK, code, errs)
	code, errs = inHome("", "sinks", "list")
	require.Equal(t, cli.ExitOK, code, errs)
	code, errs = inHome("", "logout")
	require.Equal(t, cli.ExitOK, code, errs)
	code, errs = inHome("wrong\n", "login", "--email", "ada@acme.test", "--password-stdin")
	require.Equal(t, cli.ExitDenied, code, errs)
}
