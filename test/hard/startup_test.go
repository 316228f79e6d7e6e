package hard_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// Whatever is missing on the server shows with its cause and its repair, one after the other, and each repair is noticed without a restart of
// Sequin.
func TestStartUpChecksNameTheRepair(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica", "max_replication_slots": "1"}})
	r := prepare(t, setup{server: server, published: "ours", ddl: "create table t (id int primary key); create table keyless (v int)"})
	other := server.Database(t)
	r.exec("create role capturer login")
	r.exec("alter table t owner to capturer; alter table fence owner to capturer") // keyless stays another's
	r.at(func(u *url.URL) { u.User = url.User("capturer") })
	r.Start()

	red := func(code string, texts ...string) {
		t.Helper()
		body := r.WaitProblem(code, patience)
		for _, text := range texts {
			require.Contains(t, body, text)
		}
		status, _ := r.Get("/healthz")
		require.Equal(t, http.StatusServiceUnavailable, status)
	}
	red("wal_level_not_logical", "wal_level is replica", "ALTER SYSTEM SET wal_level")
	server.Configure(t, map[string]string{"wal_level": "logical"})
	server.Restart(t)

	red("replication_privilege_missing", "capturer", "ALTER ROLE")
	other.Exec(t, "alter role capturer replication")
	other.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", other.Slot(t))

	red("no_slot_left", "max_replication_slots", "pg_drop_replication_slot")
	other.Exec(t, "select pg_drop_replication_slot(slot_name) from pg_replication_slots")

	red("publication_privilege_missing", "GRANT CREATE ON DATABASE")
	r.exec(`grant create on database "` + r.db.Name + `" to capturer`)

	r.eventually(r.streaming, "the slot is read")
	r.exec("insert into t values (1); insert into keyless values (1); update keyless set v = 2")
	require.Equal(t, []string{`insert t {"id":1}`}, r.drained("pull"), "the table without a key is left out, and its updates work")
}
