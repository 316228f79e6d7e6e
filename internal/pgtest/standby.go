package pgtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// HoldCommit runs a statement until its commit waits for a synchronous standby that there is not: it is in the WAL then, and no snapshot sees it. The
// first runs may go through, until the server's processes have heard that there ought to be a standby. The commit waits until release is called, or
// the test ends. It needs a server of the test's own.
func (db *DB) HoldCommit(t testing.TB, sql string) (release func()) {
	t.Helper()
	const setting = "synchronous_standby_names"
	db.Server.Configure(t, map[string]string{setting: "nobody"})
	conn := db.Conn(t)
	ended := make(chan error, 1)
	release = sync.OnceFunc(func() {
		db.Server.Configure(t, map[string]string{setting: ""})
		require.NoError(t, <-ended)
	})
	t.Cleanup(release)
	run := func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), sql)
		ended <- err
	}
	go run()
	for deadline := time.Now().Add(time.Minute); ; {
		require.True(t, time.Now().Before(deadline), "no commit waits for a standby")
		select {
		case err := <-ended:
			require.NoError(t, err)
			go run()
		case <-time.After(5 * time.Millisecond):
			if Value[bool](t, db, "select exists (select from pg_stat_activity where wait_event = 'SyncRep' and datname = current_database())") {
				return release
			}
		}
	}
}
