package server_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// A password that comes from a file of the machine is not shown to a server of a client's choice: not by moving the database, and not by a standby
// that an enrichment asks, be it declared or only tried.
func TestPasswordOfTheMachineGoesNowhereElse(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	evil, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	called := make(chan struct{}, 1)
	go func() {
		for {
			conn, err := evil.Accept()
			if err != nil {
				close(called)
				return
			}
			_ = conn.Close() // it has been called, which is enough
			select {
			case called <- struct{}{}:
			default:
			}
		}
	}()
	r := newRig(t, pgtest.Shared(t), table, pull)
	file := filepath.Join(r.dir, "password")
	require.NoError(t, os.WriteFile(file, []byte("unused"), 0o600))
	r.config.Database = "    password_file: " + file
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'a')")
	require.Equal(t, []string{"1"}, r.receive("pull", 1))
	port := evil.Addr().(*net.TCPAddr).Port
	enrichment := fmt.Sprintf(`{"name": "e", "type": "enrichment", "database": "db", "code": "select id from t where id = any($1)", "replica": {"hostname": "127.0.0.1", "port": %d}}`, port)
	for _, ask := range []struct{ path, body string }{
		{"/api/functions/test", `{"function": ` + enrichment + `, "database": "db", "table": "t"}`},
		{"/api/functions", enrichment},
		{"/api/databases/test_connection", fmt.Sprintf(`{"hostname": "127.0.0.1", "port": %d, "database": "d", "username": "u", "password_file": %q}`, port, file)},
	} {
		status, answer := r.post(ask.path, json.RawMessage(ask.body))
		require.Equal(t, http.StatusUnprocessableEntity, status, answer)
		require.Contains(t, answer, `"local_only"`, ask.path)
	}
	require.NoError(t, evil.Close())
	_, open := <-called
	require.False(t, open, "somebody has called")
}
