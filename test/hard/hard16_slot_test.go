package hard_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// A slot cannot be created while an older transaction is open. Who that is shows within seconds, and the stream begins when it ends.
func TestHard16SlotCreationNamesTheBlocker(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{}) // on a shared one, the open transaction would hold up every other slot
	r := prepare(t, setup{server: server, ddl: "create table t (id int primary key)"})
	open, err := r.db.Conn(t).Begin(t.Context())
	require.NoError(t, err)
	_, err = open.Exec(t.Context(), "insert into t values (1) /* the long report */")
	require.NoError(t, err)
	pid := open.Conn().PgConn().PID()
	r.Start()
	began := time.Now()
	body := r.WaitProblem("slot_creation_waits", patience)
	took := time.Since(began)
	// Five seconds on a quiet machine; a busy one is given the time that it takes to ask for the health a few times.
	began = time.Now()
	for range 20 {
		r.Get("/healthz")
	}
	require.Less(t, took, max(5*time.Second, 10*time.Since(began)))
	require.Contains(t, body, fmt.Sprintf("PID %d ", pid))
	require.Contains(t, body, "idle in transaction")
	require.Regexp(t, `open for \d+`, body)
	require.Contains(t, body, "the long report", "its statement")
	require.Contains(t, body, "pg_terminate_backend("+strconv.Itoa(int(pid))+")")
	status, _ := r.Get("/healthz?database=db")
	require.Equal(t, 503, status, "changes do not flow")
	status, _ = r.Get("/readyz")
	require.Equal(t, 200, status)

	require.NoError(t, open.Commit(t.Context()))
	r.eventually(r.streaming, "the slot is read")
	r.WaitHealthy(patience)
	r.exec("insert into t values (2)")
	require.Equal(t, []string{`insert t {"id":2}`}, r.drained("pull"), "what was open when the slot began is older than the slot")
}

// Stopping while the slot is still being created leaves no slot behind, and the next start tries again.
func TestHard16StoppingWhileTheSlotIsCreated(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := prepare(t, setup{server: server, ddl: "create table t (id int primary key)"})
	open, err := r.db.Conn(t).Begin(t.Context())
	require.NoError(t, err)
	_, err = open.Exec(t.Context(), "insert into t values (1)")
	require.NoError(t, err)
	r.Start()
	r.WaitProblem("slot_creation_waits", patience)
	r.Stop()
	require.NoError(t, open.Commit(t.Context()))
	require.Zero(t, pgtest.Value[int](t, r.db, "select count(*) from pg_replication_slots"))
	r.start()
	r.exec("insert into t values (2)")
	require.Equal(t, []string{`insert t {"id":2}`}, r.drained("pull"))
}
