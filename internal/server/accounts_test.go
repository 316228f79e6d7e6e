package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/test/harness"
)

// Two accounts may use the same names for different things; each sees its own.
func TestAccountsUseTheSameNames(t *testing.T) {
	t.Parallel()
	pg := pgtest.Shared(t)
	r := newRig(t, pg, table, pull)
	r.begin()
	other := pg.Database(t)
	other.Exec(t, table)
	config := harness.Config{DB: other, Slot: other.Slot(t), Publication: other.Publication(t), Sinks: pull}
	const token = "token-of-the-other-account"
	yaml := strings.NewReplacer("account: {name: test}", "account: {name: other}", harness.Token, token).Replace(config.YAML(t))
	require.NoError(t, r.declare(yaml))
	r.healthy()
	r.db.Exec(t, "insert into t values (1)")
	other.Exec(t, "insert into t values (2)")
	require.Equal(t, []string{"1"}, r.receive("pull", 1))
	require.Contains(t, post(t, r, token, "/api/sequin_streams/pull/receive", `{"wait_for":"20s"}`), `"record":{"id":2`)
	r.end()
	r.begin()
	r.db.Exec(t, "insert into t values (3)")
	require.Equal(t, []string{"3"}, r.receive("pull", 1))
}

// post sends a request with a token and returns the body of the answer.
func post(t *testing.T, r *rig, token, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.server.Addr()+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	_, text := do(t, req)
	return text
}

// Another password or another host reconnects the database that was edited, and nothing else.
func TestEditedConnectionReconnectsOnlyItself(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.Options{Password: "first"})
	r := newRig(t, pg, table, pull)
	r.begin()
	second := pg.Database(t)
	second.Exec(t, table)
	config := harness.Config{DB: second, Slot: second.Slot(t), Publication: second.Publication(t), Sinks: pull}
	yaml := strings.NewReplacer("account: {name: test}", "account: {name: other}", harness.Token, "token-of-the-other-account").Replace(config.YAML(t))
	require.NoError(t, r.declare(yaml))
	r.healthy()
	pid := func(slot string) int32 {
		return pgtest.Value[int32](t, r.db, "select coalesce((select active_pid from pg_replication_slots where slot_name = $1), 0)", slot)
	}
	r.eventually("both stream", func() bool { return pid(r.config.Slot) != 0 && pid(config.Slot) != 0 })
	edited, untouched := pid(config.Slot), pid(r.config.Slot)
	for i := range 5 {
		account, err := r.server.Plane().FindAccount("other")
		require.NoError(t, err)
		_, err = r.server.Plane().Apply(t.Context(), account.ID, control.Edit{
			Actor: control.Actor{Kind: control.ByLocal}, What: "edit the connection",
			Change: func(set *resource.Set) error {
				host := []string{"localhost", "127.0.0.1"}[i%2]
				set.Databases[0].Hostname, set.Databases[0].Annotations = host, fmt.Appendf(nil, `{"n":%d}`, i)
				return nil
			},
		})
		require.NoError(t, err)
		r.eventually("it streams again", func() bool { p := pid(config.Slot); return p != 0 && p != edited })
		edited = pid(config.Slot)
		require.Equal(t, untouched, pid(r.config.Slot))
	}
	second.Exec(t, "insert into t values (7)")
	require.Contains(t, post(t, r, "token-of-the-other-account", "/api/sequin_streams/pull/receive", `{"wait_for":"20s"}`), `"record":{"id":7`)
}

// While there is nobody who could sign in, a link makes the first owner, once.
func TestSetupLink(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), "", "")
	r.bare = true
	r.start()
	var link string
	r.eventually("the link is printed", func() bool {
		_, after, found := strings.Cut(r.log.tail(100), "link=")
		link, _, _ = strings.Cut(after, "\n")
		return found
	})
	link = strings.Trim(link, `"`)
	status, page := r.get(link)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "This link makes the first owner")
	_, secret, _ := strings.Cut(link, "token=")
	form := func(token, password string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.server.Addr()+"/setup",
			strings.NewReader("email=ada%40example.com&token="+token+"&password="+password))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return do(t, req)
	}
	status, page = form("guessed", "correct+horse")
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, page, "not valid")
	status, page = form(secret, "short")
	require.Equal(t, http.StatusUnprocessableEntity, status)
	require.Contains(t, page, "8 to 72")
	status, page = form(secret, "correct+horse")
	require.Equal(t, http.StatusOK, status, page)
	require.Contains(t, page, "shown only now")
	status, _ = form(secret, "correct+horse")
	require.Equal(t, http.StatusForbidden, status)
	status, _ = r.get(link)
	require.Equal(t, http.StatusNotFound, status)
	for range 12 {
		status, _ = form("guessed", "correct+horse")
	}
	require.Equal(t, http.StatusTooManyRequests, status, "guessing is slowed down")
}

// Whoever takes a slot over from another tool gets what was committed while nobody read it.
func TestSinksOfANewDatabaseBeginWhereItsSlotStands(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.db.Exec(t, "create publication "+r.config.Publication+" for table t")
	r.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", r.config.Slot)
	r.db.Exec(t, "insert into t values (1)")
	r.begin()
	require.Equal(t, []string{"1"}, r.receive("pull", 1))
	r.config.Sinks = pull + "  - {name: later, database: db, destination: {type: sequin_stream}}\n"
	r.apply()
	r.db.Exec(t, "insert into t values (2)")
	require.Equal(t, []string{"2"}, r.receive("later", 1), "a sink that comes later begins then")
}
