package cli_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/pgtest"
)

const pollEvery = 20 * time.Millisecond

// slot waits until the database has one slot that is streamed from and was not known before, and returns its name.
func slot(t *testing.T, db *pgtest.DB, before string) string {
	t.Helper()
	var name string
	require.Eventually(t, func() bool {
		name = pgtest.Value[string](t, db, `
			select coalesce(min(r.slot_name::text), '') from pg_replication_slots r join pg_stat_replication s on s.pid = r.active_pid
			where r.database = current_database() and r.slot_name <> $1`, before)
		return name != ""
	}, patience, pollEvery)
	return name
}

const killStream = `select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()`

func TestTailGoesOnAfterALostConnection(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	c := follow(t, db)
	db.Exec(t, `insert into orders values (1, 'new')`)
	require.JSONEq(t, `{"id": 1, "status": "new", "doc": null}`, string(c.message().Record))
	first := slot(t, db, "")

	db.Exec(t, killStream)
	gap := c.message().Gap
	require.NotNil(t, gap)
	from, err := cdc.ParseLSN(gap.From)
	require.NoError(t, err)
	to, err := cdc.ParseLSN(gap.To)
	require.NoError(t, err)
	require.NotZero(t, from)
	require.LessOrEqual(t, from, to)
	require.NotEmpty(t, gap.Reason)
	require.WithinDuration(t, time.Now(), gap.At, patience)
	require.Contains(t, c.errs.String(), "the connection was lost")

	second := slot(t, db, first)
	require.NotEqual(t, first, second)
	db.Exec(t, `insert into orders values (2, 'new')`)
	require.JSONEq(t, `{"id": 2, "status": "new", "doc": null}`, string(c.message().Record))
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailMakesItsPublicationAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	c := follow(t, db)
	slot(t, db, "")
	db.Exec(t, `drop publication `+publications(t, db)+`; `+killStream)
	require.NotNil(t, c.message().Gap)
	db.Exec(t, `insert into orders values (2, 'new')`)
	require.Equal(t, "insert", c.message().Action)
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailEndsWhenSomebodyDropsThePublication(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders+`; create publication mine for table orders`)
	c := follow(t, db, "--publication", "mine")
	slot(t, db, "")
	// Until 17 the server ends the stream itself at the next change, from 18 on it sends nothing any more.
	db.Exec(t, `drop publication mine; `+killStream)
	require.Equal(t, cli.ExitError, c.end())
	require.Contains(t, c.errs.String(), "[publication_not_found]")
	noSlotLeft(t, db)
}

func TestTailOutlivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db := server.Database(t)
	db.Exec(t, orders)
	c := follow(t, db)
	slot(t, db, "")
	for i, restart := range []func(testing.TB){server.Restart, server.Crash} {
		restart(t)
		require.NotNil(t, c.message().Gap)
		db.Exec(t, `insert into orders values ($1, 'new')`, i)
		require.Equal(t, "insert", c.message().Action)
	}
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailEndsWhileTheServerIsDown(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db := server.Database(t)
	db.Exec(t, orders)
	c := follow(t, db)
	slot(t, db, "")
	server.Stop(t)
	c.errs.has(t, "the connection was lost")
	c.stop()
	require.Equal(t, cli.ExitError, c.end())
	require.Contains(t, c.errs.String(), "is left behind; the next run removes it")
	require.Contains(t, c.errs.String(), "[connection_refused]")
	server.StartAgain(t)
	c = follow(t, db)
	require.Contains(t, c.errs.String(), "which an earlier run left behind")
	c.stop()
	require.Equal(t, cli.ExitOK, c.end())
	nothingLeft(t, db)
}

func TestTailSaysWhatTheServerLacks(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Password: "right", Settings: map[string]string{"wal_level": "replica"}})
	db := server.Database(t)
	for _, tt := range []struct {
		name, url string
		want      []string
	}{
		{"wal_level", db.URL, []string{"[wal_level_not_logical]", "wal_level is replica", "hint:"}},
		{"password", server.Cluster(t).URL("postgres") + "&password=wrong", []string{"[wrong_password]", "hint:"}},
		{"database", server.Cluster(t).URL("nothing_here"), []string{"[database_not_found]", "hint:"}},
		{"port", "postgres://127.0.0.1:1/x?sslmode=disable", []string{"[connection_refused]", "hint:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := run(t, "tail", tt.url)
			require.Equal(t, cli.ExitError, code, "%s", errs)
			require.Empty(t, out)
			for _, want := range tt.want {
				require.Contains(t, errs, want)
			}
			require.NotContains(t, errs, "right")
		})
	}
}
