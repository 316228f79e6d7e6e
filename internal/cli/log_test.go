package cli_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/pgtest"
)

// printed are the records of printed messages, as action and id.
func printed(t *testing.T, out string) []string {
	t.Helper()
	all := []string{}
	for line := range strings.Lines(out) {
		var m struct {
			Action string
			Record struct{ ID json.Number }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		all = append(all, m.Action+" "+m.Record.ID.String())
	}
	return all
}

// inDir runs a command on the data directory.
func (i *installation) inDir(args ...string) (code int, out, errs string) {
	i.t.Helper()
	var o, e bytes.Buffer
	args = append(args, "--data-dir", i.DataDir())
	code = cli.Main(i.t.Context(), cli.Streams{Out: &o, Err: &e, OfflineHandler: cli.Offline}, args)
	return code, o.String(), e.String()
}

func TestLog(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.db.Exec(t, "create table other (id int primary key)")
	i.db.Exec(t, "insert into orders (id) select generate_series(1, 1200)")
	between := pgtest.Value[time.Time](t, i.db, "select clock_timestamp()")
	lsn := pgtest.Value[string](t, i.db, "select pg_current_wal_insert_lsn()::text")
	i.db.Exec(t, "update orders set id = 7000 where id = 7; delete from orders where id = 8")
	i.db.Exec(t, "delete from orders where id = 9")
	require.Eventually(t, func() bool { return len(printed(t, i.ok("log", "print"))) >= 1203 }, patience, 50*time.Millisecond)

	everything := i.ok("log", "print")
	require.Equal(t, []string{"insert 7", "update 7000"}, printed(t, i.ok("log", "print", "--table", "public.orders", "--key", "7")), "under the old key too")
	require.Equal(t, []string{"update 7000", "delete 8", "delete 9"}, printed(t, i.ok("log", "print", "db", "--from", between.Format(time.RFC3339Nano))))
	require.Len(t, printed(t, i.ok("log", "print", "--to", between.Format(time.RFC3339Nano))), 1200)
	require.Equal(t, []string{"update 7000", "delete 8", "delete 9"}, printed(t, i.ok("log", "print", "--from-lsn", lsn)))
	require.Len(t, printed(t, i.ok("log", "print", "--to-lsn", lsn)), 1200)
	require.Equal(t, []string{"insert 1", "insert 2"}, printed(t, i.ok("log", "print", "--limit", "2")))
	require.Len(t, printed(t, i.ok("log", "print", "--limit", "700")), 700)
	require.Empty(t, printed(t, i.ok("log", "print", "--table", "other")))
	require.Contains(t, i.fails(cli.ExitUsage, "log", "print", "--limit", "-1"), "cannot be negative")
	require.Contains(t, i.fails(cli.ExitError, "log", "print", "--from", "yesterday"), "2026-01-31T09:30:00Z")
	require.Contains(t, i.fails(cli.ExitNotFound, "log", "print", "nobody"), "database_not_declared")

	shown := i.ok("log", "show")
	require.Contains(t, shown, "public.orders: 1200 inserts, 1 updates, 2 deletes, 0 truncates")
	require.Contains(t, shown, "change log of db: ")
	require.Contains(t, i.ok("log", "verify"), "are as they were written")

	i.Stop()
	code, out, errs := i.inDir("log", "print", "db")
	require.Equal(t, cli.ExitOK, code, errs)
	require.Equal(t, printed(t, everything), printed(t, out))
	code, out, errs = i.inDir("log", "verify")
	require.Equal(t, cli.ExitOK, code, errs)
	require.Contains(t, out, "are as they were written")

	i.breakBlock(t)
	code, out, errs = i.inDir("log", "verify")
	require.Equal(t, cli.ExitError, code, errs)
	require.Contains(t, out, "db: damaged: entries 1 to ")
	require.Contains(t, errs, "log_damaged")
	code, out, errs = i.inDir("log", "print")
	require.Equal(t, cli.ExitError, code, errs+out[:min(len(out), 300)])
	require.Contains(t, errs, "damaged: entries 1 to ")
}

// breakBlock flips a bit in the first block of the log.
func (i *installation) breakBlock(t *testing.T) {
	t.Helper()
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: i.DataDir(), AllowEphemeral: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	var id string
	for entry, err := range e.State().List(t.Context(), "registered/database/") {
		require.NoError(t, err)
		id = strings.TrimPrefix(entry.Key, "registered/database/")
	}
	log, err := e.Log(t.Context(), id)
	require.NoError(t, err)
	b, err := log.Next(t.Context(), 0)
	require.NoError(t, err)
	b.Data[len(b.Data)-1] ^= 1
	require.NoError(t, log.Append(t.Context(), engine.Block{First: b.First, Data: b.Data}))
}
