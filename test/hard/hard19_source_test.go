package hard_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// A publication that others made, and that makes statements of the application fail, is named table by table with the repairs; these mend it
// while Sequin runs. It is a warning: data flows.
func TestHard19BrokenTablesAreNamedWithTheirRepair(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{ddl: `create table keyless (v int); create table nothing (id int primary key, v int); alter table nothing replica identity nothing;
		create table fine (id int primary key, v int); insert into keyless values (1); insert into nothing values (1, 1); insert into fine values (1, 1)`})
	status, body := r.Get("/healthz")
	require.Equal(t, http.StatusOK, status, "data flows")
	for _, text := range []string{
		`"replica_identity_missing"`, `\"public\".\"keyless\" has no primary key`, `\"public\".\"nothing\" has replica identity nothing`,
		`alter table \"public\".\"keyless\" replica identity full`, `alter table \"public\".\"nothing\" replica identity default`,
	} {
		require.Contains(t, body, text)
	}
	require.NotContains(t, body, "fine")
	for _, table := range []string{"keyless", "nothing"} {
		_, err := r.db.Conn(t).Exec(t.Context(), "update "+table+" set v = 2")
		require.ErrorContains(t, err, "replica identity", "this is what the warning is about")
	}
	r.exec(`alter table "public"."keyless" replica identity full; alter table "public"."nothing" replica identity default`)
	for _, table := range []string{"keyless", "nothing", "fine"} {
		r.exec("update " + table + " set v = 2")
	}
	require.Equal(t, []string{
		`update keyless {"v":2} was {"v":1}`, `update nothing {"id":1,"v":2} was {}`, `update fine {"id":1,"v":2} was {}`,
	}, r.drained("pull"))
	r.Kill()
	r.start()
	_, body = r.Get("/healthz")
	require.NotContains(t, body, "replica_identity_missing")
}

// The publication that we make leaves the application's statements alone, also those that rebuild tables: a repack works on copies without a key.
func TestHard19OurPublicationBreaksNothing(t *testing.T) {
	t.Parallel()
	r := begin(t, setup{published: "ours", ddl: "create table t (id int primary key, v int)"})
	require.False(t, pgtest.Value[bool](t, r.db, "select puballtables from pg_publication where pubname = $1", r.pub))
	r.exec(`create schema repack; create table repack.copy (like t); insert into repack.copy values (1, 1);
		update repack.copy set v = 2; delete from repack.copy; truncate repack.copy; drop schema repack cascade`)
	r.exec("create table scratch (v int); insert into scratch values (1); update scratch set v = 2; delete from scratch")
	r.exec("insert into t values (1, 1); update t set v = 2")
	require.Equal(t, []string{`insert t {"id":1,"v":1}`, `update t {"id":1,"v":2} was {}`}, r.drained("pull"))
}
