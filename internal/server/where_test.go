package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// post sends JSON with the token of the configuration.
func (r *rig) post(path string, body any) (int, string) {
	r.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(r.t, err)
	return r.send(http.MethodPost, path, string(text))
}

// send sends a body as the owner of everything.
func (r *rig) send(method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.server.Addr()+path, strings.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+harness.Token)
	req.Header.Set("Content-Type", "application/json")
	return do(r.t, req)
}

// filtered is a pull sink with conditions on the sink and on its tables.
func filtered(where string) string {
	return "  - {name: pull, database: db, " + where + ", destination: {type: sequin_stream}}\n"
}

// Conditions of the sink and of a table must both hold; tables without one of their own obey the sink's.
func TestWhere(t *testing.T) {
	t.Parallel()
	const ddl = `
		create type mood as enum ('sad', 'ok', 'happy');
		create table t (id int primary key, v text, m mood, doc jsonb);
		create table u (id int primary key, v text);
		alter table t replica identity full`
	r := newRig(t, pgtest.Shared(t), ddl, filtered(`where: "id < 100 and metadata.action <> 'delete'", tables: [{name: t, where: "m > 'sad' or doc ->> 'vip' = 'yes'"}]`))
	r.begin()
	r.db.Exec(t, `
		insert into t values (1, 'a', 'sad', null), (2, 'b', 'happy', null), (3, 'c', 'sad', '{"vip": "yes"}'), (100, 'd', 'ok', null), (4, 'e', null, null);
		insert into u values (5, 'x'), (101, 'y');
		update t set m = 'ok' where id = 1;
		delete from t where id = 2;
		insert into t values (9, 'end', 'happy', null)`)
	require.Equal(t, []string{"2", "3", "5", "1", "9"}, r.receive("pull", 5))
	r.nothing("pull")
	r.healthy()
}

// A condition is known after a restart without asking the database, and changes in place.
func TestWhereOverRestartsAndChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, filtered(`where: "v = 'yes'"`))
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'no'), (2, 'yes')")
	require.Equal(t, []string{"2"}, r.receive("pull", 1))
	r.end()
	r.db.Exec(t, "insert into t values (3, 'no'), (4, 'yes')")
	r.begin()
	require.Equal(t, []string{"4"}, r.receive("pull", 1))
	r.config.Sinks = filtered(`where: "v = 'no'"`)
	r.apply()
	r.db.Exec(t, "insert into t values (5, 'no'), (6, 'yes')")
	require.Equal(t, []string{"5"}, r.receive("pull", 1))
	r.config.Sinks = pull
	r.apply()
	r.db.Exec(t, "insert into t values (7, 'no'), (8, 'yes')")
	require.Equal(t, []string{"7", "8"}, r.receive("pull", 2), "a document without a condition has none")
}

// Tables that change and tables that come: a condition is checked against what each change's table was.
func TestWhereFollowsTables(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, filtered(`where: "v <> 'no'"`))
	r.begin()
	r.db.Exec(t, `
		insert into t values (1, 'yes'), (2, 'no');
		alter table t add column extra numeric;
		insert into t values (3, 'yes', 1), (4, 'no', 2);
		alter table t alter v type varchar(10);
		insert into t values (5, 'yes', 1), (6, 'no', 2)`)
	require.Equal(t, []string{"1", "3", "5"}, r.receive("pull", 3))
	r.config.Sinks = filtered(`where: "v <> 'no' and extra > 1"`)
	r.apply()
	r.db.Exec(t, "insert into t values (7, 'yes', 1), (8, 'yes', 1.5)")
	require.Equal(t, []string{"8"}, r.receive("pull", 1))
	r.db.Exec(t, "alter table t drop column extra; insert into t values (10, 'yes')")
	require.Eventually(t, func() bool {
		r.nothing("pull")
		return r.entity("pull").has("messages_retrying")
	}, patience, 50*time.Millisecond, "it fails, and is not skipped")
	r.config.Sinks = filtered(`where: "v <> 'no'"`)
	r.apply()
	require.Equal(t, []string{"10"}, r.receive("pull", 1), "with a condition that fits it goes on")
}

// What does not fit is refused when it is declared, with the place in the expression.
func TestWhereIsCheckedWhenDeclared(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+"; create table u (id int primary key)", pull)
	r.begin()
	for _, c := range []struct{ sink, says string }{
		{`where: "v = 'x'"`, `sinks[0].where does not fit table public.u`},
		{`source: {include_tables: [t]}, where: "w = 'x'"`, `table public.t has no column`},
		{`tables: [{name: u, where: "v = 'x'"}]`, `sinks[0].tables[0].where does not fit table public.u`},
		{`where: "id = now()"`, "where"},
		{`where: "id ="`, "is not a condition in SQL"},
	} {
		wrong := r.config
		wrong.Sinks = filtered(c.sink)
		_, yaml, _ := strings.Cut(wrong.YAML(t), "databases:") // without the account: the token says which it is
		status, body := r.post("/api/config/apply", map[string]any{"yaml": "databases:" + yaml})
		require.GreaterOrEqual(t, status, http.StatusBadRequest, "%s: %s", c.sink, body)
		require.Less(t, status, http.StatusInternalServerError, body)
		require.Contains(t, body, c.says, c.sink)
	}
	r.healthy()
}

// Tables that a pattern means come by themselves, also those that are made later; warnings say what a condition will not know.
func TestSourcePatterns(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+"; create table t_1 (id int primary key, v text); create table other (id int primary key)",
		"  - {name: pull, database: db, source: {include_tables: ['t_*'], exclude_tables: null}, destination: {type: sequin_stream}}\n")
	r.begin()
	r.db.Exec(t, "insert into t values (1); insert into other values (2); insert into t_1 values (3); create table t_2 (id int primary key)")
	r.db.Exec(t, "alter publication "+r.config.Publication+" add table t_2")
	r.db.Exec(t, "insert into t_2 values (4)")
	require.Equal(t, []string{"3", "4"}, r.receive("pull", 2))
	r.nothing("pull")

	warned := r.config
	warned.Sinks = filtered(`source: {include_tables: [t]}, where: "old.v is distinct from new.v"`)
	_, yaml, _ := strings.Cut(warned.YAML(t), "databases:")
	status, body := r.post("/api/config/plan", map[string]any{"yaml": "databases:" + yaml})
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, "REPLICA IDENTITY FULL")
}
