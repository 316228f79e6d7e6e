package publication_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// mixed makes tables of every kind. The safe ones have names that begin with "ok".
const mixed = `
create schema app; create schema sequin_streams;
create table ok_key (id int primary key, x text);
create table ok_full (x text); alter table ok_full replica identity full;
create table ok_index (id int not null, x text); create unique index ok_index_id on ok_index (id); alter table ok_index replica identity using index ok_index_id;
create table app."ok Quoted" (id int primary key);
create table bad_no_key (id int not null, x text);
create table bad_no_key_but_index (id int not null, x text); create unique index the_index on bad_no_key_but_index (id);
create table bad_nothing (id int primary key); alter table bad_nothing replica identity nothing;
create table bad_gone (id int not null); create unique index bad_gone_id on bad_gone (id); alter table bad_gone replica identity using index bad_gone_id; drop index bad_gone_id;
create table bad_deferrable (id int primary key deferrable);
create table ok_parent (id int primary key); create table bad_child () inherits (ok_parent);
create unlogged table unlogged (id int primary key);
create view a_view as select 1;
create table sequin_streams.own (id int primary key);
create table ok_part (id int primary key, x text) partition by range (id);
create table ok_part_1 partition of ok_part for values from (0) to (100);
create table ok_part_2 partition of ok_part for values from (100) to (200) partition by range (id);
create table ok_part_2a partition of ok_part_2 for values from (100) to (200);
create table bad_part (id int, x text) partition by range (id);
create table bad_part_1 partition of bad_part for values from (0) to (100);
create table bad_leaf (id int primary key) partition by range (id);
create table bad_leaf_1 partition of bad_leaf for values from (0) to (100); alter table bad_leaf_1 replica identity nothing;
create table bad_future (id int) partition by range (id);
create table bad_future_1 partition of bad_future for values from (0) to (100); alter table bad_future_1 replica identity full;
`

func names(list []publication.Name) []string {
	var out []string
	for _, n := range list {
		out = append(out, n.Schema+"."+n.Table)
	}
	return out
}

func reasons(list []publication.LeftOut) map[string]publication.Reason {
	out := map[string]publication.Reason{}
	for _, l := range list {
		out[l.Schema+"."+l.Table] = l.Reason
	}
	return out
}

// touch updates and deletes in every table, and returns those that refuse.
func touch(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		select format('%I.%I', n.nspname, c.relname), (select attname::text from pg_attribute where attrelid = c.oid and attnum = 1)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind = 'r' and n.nspname in ('public', 'app', 'sequin_streams') order by 1`)
	require.NoError(t, err)
	type target struct{ Name, Column string }
	targets, err := pgx.CollectRows(rows, pgx.RowToStructByPos[target])
	require.NoError(t, err)
	var refused []string
	for _, x := range targets {
		_, errUpdate := conn.Exec(t.Context(), `update only `+x.Name+` set "`+x.Column+`" = "`+x.Column+`"`)
		_, errDelete := conn.Exec(t.Context(), `delete from only `+x.Name)
		require.Equal(t, errUpdate == nil, errDelete == nil, x.Name)
		if errUpdate != nil {
			refused = append(refused, x.Name)
		}
	}
	return refused
}

// TestNothingOfOursBreaksAStatement is promise P12 for publications: after ours was created, every UPDATE and DELETE works as before.
func TestNothingOfOursBreaksAStatement(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, mixed)
	conn := db.Conn(t)
	created, err := publication.Create(t.Context(), conn, publication.Options{Name: "pub"})
	require.NoError(t, err)
	require.Empty(t, touch(t, conn))

	// Partitions that are added later are the application's statements too.
	db.Exec(t, `create table ok_part_3 partition of ok_part for values from (200) to (300);
		create table bad_part_2 partition of bad_part for values from (100) to (200);
		create table bad_future_2 partition of bad_future for values from (100) to (200)`)
	require.Empty(t, touch(t, conn))

	wantIn := []string{"app.ok Quoted", "public.ok_full", "public.ok_index", "public.ok_key", "public.ok_parent", "public.ok_part"}
	wantOut := map[string]publication.Reason{
		"public.bad_no_key": publication.NoKey, "public.bad_no_key_but_index": publication.NoKey, "public.bad_nothing": publication.IdentityNothing,
		"public.bad_gone": publication.IndexGone, "public.bad_deferrable": publication.DeferrableKey, "public.bad_child": publication.NoKey,
		"public.bad_part": publication.NoKey, "public.bad_leaf": publication.IdentityNothing, "public.bad_future": publication.FuturePartitions,
	}
	if db.Server.Version(t) < 130000 { // only partitions can be published
		wantIn = []string{
			"app.ok Quoted", "public.bad_future_1", "public.ok_full", "public.ok_index", "public.ok_key", "public.ok_parent",
			"public.ok_part_1", "public.ok_part_2a",
		}
		for _, root := range []string{"bad_part", "bad_leaf", "bad_future"} {
			delete(wantOut, "public."+root)
		}
		wantOut["public.bad_part_1"], wantOut["public.bad_leaf_1"] = publication.NoKey, publication.IdentityNothing
	}
	require.Empty(t, cmp.Diff(wantIn, names(created.Tables)))
	require.Empty(t, cmp.Diff(wantOut, reasons(created.LeftOut)))
	for _, l := range created.LeftOut {
		require.NotEmpty(t, l.Explain())
	}
}

// TestRepairsMend runs each repair, after which the table can be published without harm.
func TestRepairsMend(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, mixed)
	conn := db.Conn(t)
	created, err := publication.Create(t.Context(), conn, publication.Options{Name: "pub"})
	require.NoError(t, err)
	var tables []publication.Name
	for _, l := range created.LeftOut {
		if l.Reason != publication.FuturePartitions { // that repair needs a choice of columns
			tables = append(tables, l.Name)
		}
	}
	for range 3 { // a partitioned table may need more than one
		missing, err := publication.Reconcile(t.Context(), conn, "pub", tables)
		require.NoError(t, err)
		for _, m := range missing {
			if m.Problem == nil || m.Problem.Reason != publication.FuturePartitions {
				require.NotEmpty(t, m.SQL, m.Name)
				db.Exec(t, m.SQL)
			}
		}
	}
	require.Empty(t, touch(t, conn))
	missing, err := publication.Reconcile(t.Context(), conn, "pub", []publication.Name{
		{Schema: "public", Table: "bad_no_key"},
		{Schema: "public", Table: "bad_no_key_but_index"},
		{Schema: "public", Table: "bad_nothing"},
		{Schema: "public", Table: "bad_gone"},
		{Schema: "public", Table: "bad_child"},
		{Schema: "public", Table: "bad_leaf"},
	})
	require.NoError(t, err)
	require.Empty(t, missing)
	require.Equal(t, "i", pgtest.Value[string](t, db, `select relreplident::text from pg_class where relname = 'bad_no_key_but_index'`))
}

func TestCreateForGivenTablesAndSchemas(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, mixed)
	conn := db.Conn(t)
	created, err := publication.Create(t.Context(), conn, publication.Options{Name: "some", Tables: []publication.Name{
		{Schema: "app", Table: "ok Quoted"}, {Schema: "public", Table: "bad_nothing"}, {Schema: "public", Table: "a_view"}, {Schema: "public", Table: "unlogged"},
	}})
	require.NoError(t, err)
	require.Equal(t, []string{"app.ok Quoted"}, names(created.Tables))
	require.Equal(t, map[string]publication.Reason{
		"public.bad_nothing": publication.IdentityNothing, "public.a_view": publication.NotPublishable, "public.unlogged": publication.NotPublishable,
	}, reasons(created.LeftOut))

	created, err = publication.Create(t.Context(), conn, publication.Options{Name: "one schema", Schemas: []string{"app"}})
	require.NoError(t, err)
	require.Equal(t, []string{"app.ok Quoted"}, names(created.Tables))

	_, err = publication.Create(t.Context(), conn, publication.Options{Name: "x", Tables: []publication.Name{{Schema: "public", Table: "nowhere"}}})
	require.Equal(t, "table_not_found", problem.Code(err))
	_, err = publication.Create(t.Context(), conn, publication.Options{Name: "some"})
	require.ErrorIs(t, err, publication.ErrExists)

	require.NoError(t, publication.Drop(t.Context(), conn, "some"))
	_, err = publication.Inspect(t.Context(), conn, "some")
	require.ErrorIs(t, err, publication.ErrNotFound)
}

func TestCreateWithoutTables(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	conn := db.Conn(t)
	created, err := publication.Create(t.Context(), conn, publication.Options{Name: "empty"})
	require.NoError(t, err)
	require.Empty(t, created.Tables)
	p, err := publication.Inspect(t.Context(), conn, "empty")
	require.NoError(t, err)
	require.Empty(t, p.Tables)
	require.Equal(t, db.Server.Version(t) >= 130000, p.ViaPartitionRoot)
}

// asRole connects as a fresh role, which is dropped with what it owns.
func asRole(t *testing.T, db *pgtest.DB, grants string) (*pgx.Conn, string) {
	t.Helper()
	role := db.Publication(t) // a unique name
	db.Exec(t, `create role "`+role+`" login`)
	t.Cleanup(func() { db.Exec(t, `drop owned by "`+role+`" cascade; drop role "`+role+`"`) })
	if grants != "" {
		db.Exec(t, grants+` to "`+role+`"`)
	}
	cfg, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	cfg.User = role
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn, role
}

func TestCreateLeavesOutTablesOfOthers(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table theirs (id int primary key)`)
	conn, role := asRole(t, db, `grant create on database "`+db.Name+`"`)
	db.Exec(t, `create table ours (id int primary key); alter table ours owner to "`+role+`"`)
	created, err := publication.Create(t.Context(), conn, publication.Options{Name: "pub"})
	require.NoError(t, err)
	require.Equal(t, []string{"public.ours"}, names(created.Tables))
	require.Equal(t, map[string]publication.Reason{"public.theirs": publication.NotOwner}, reasons(created.LeftOut))
	require.Equal(t, `grant "postgres" to "`+role+`"`, created.LeftOut[0].Repair)
}

func TestCreateExplainsAMissingPrivilege(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	conn, _ := asRole(t, db, "")
	_, err := publication.Create(t.Context(), conn, publication.Options{Name: "pub"})
	require.ErrorIs(t, err, publication.ErrNoPrivilege)
	require.Equal(t, "publication_privilege_missing", problem.Code(err))
}

func TestCheckInitSQL(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		sql, name string
		ok        bool
	}{
		"plain":          {"create publication pub for all tables", "pub", true},
		"upper case":     {"  CREATE\nPUBLICATION Pub", "pub", true},
		"quoted":         {`create publication "My ""Pub""" for all tables`, `My "Pub"`, true},
		"quoted case":    {`create publication "Pub"`, "pub", false},
		"other name":     {"create publication other", "pub", false},
		"longer name":    {"create publication pub2", "pub", false},
		"not a creation": {"drop publication pub", "pub", false},
		"empty":          {"", "pub", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := publication.CheckInitSQL(c.sql, c.name)
			if c.ok {
				require.NoError(t, err)
			} else {
				require.Equal(t, "init_sql_invalid", problem.Code(err))
			}
		})
	}
}

// TestInitSQLIsItsAuthorsWord: it is run as it is, and what it breaks is told.
func TestInitSQLIsItsAuthorsWord(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table good (id int primary key); create table bad (id int)`)
	conn := db.Conn(t)
	created, err := publication.Create(t.Context(), conn, publication.Options{Name: "pub", InitSQL: "create publication pub for all tables;"})
	require.NoError(t, err)
	require.Equal(t, []string{"public.bad", "public.good"}, names(created.Tables))
	require.Equal(t, map[string]publication.Reason{"public.bad": publication.NoKey}, reasons(created.Breaks))
	require.Equal(t, []string{"public.bad"}, touch(t, conn))

	_, err = publication.Create(t.Context(), conn, publication.Options{Name: "p2", InitSQL: "create publication p2; drop table good"})
	require.Equal(t, "init_sql_invalid", problem.Code(err))
	_, err = publication.Inspect(t.Context(), conn, "p2")
	require.ErrorIs(t, err, publication.ErrNotFound)
}

// TestKeyDroppedMeanwhile drops a primary key in a transaction that commits after the tables were chosen and before the publication is there.
func TestKeyDroppedMeanwhile(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table stays (id int primary key); create table loses (id int primary key)`)
	conn := db.Conn(t)
	tx, err := db.Conn(t).Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `alter table loses drop constraint loses_pkey`)
	require.NoError(t, err)

	type outcome struct {
		created publication.Created
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		created, err := publication.Create(t.Context(), conn, publication.Options{Name: "pub"})
		done <- outcome{created, err}
	}()
	waits := func() bool {
		return pgtest.Value[bool](t, db, `select exists (select from pg_locks where pid = $1 and not granted)`, int32(conn.PgConn().PID()))
	}
	require.Eventually(t, waits, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, tx.Commit(t.Context()))
	got := <-done
	require.NoError(t, got.err)
	require.Equal(t, []string{"public.stays"}, names(got.created.Tables))
	require.Equal(t, map[string]publication.Reason{"public.loses": publication.NoKey}, reasons(got.created.LeftOut))
	require.Empty(t, touch(t, conn))
}

// TestPlan: a plan is what a creation does, with what owners could publish besides, and leaves no trace.
func TestPlan(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	role := db.Publication(t) // a unique name
	db.Exec(t, `create role "`+role+`" login; create table mine (id int primary key); create table keyless (x int); create table theirs (id int primary key);
		create table theirs_keyless (x int); alter table mine owner to "`+role+`"; alter table keyless owner to "`+role+`"`)
	t.Cleanup(func() { db.Exec(t, `drop owned by "`+role+`"; drop role "`+role+`"`) })
	conn := db.Conn(t)
	_, err := conn.Exec(t.Context(), `set role "`+role+`"`)
	require.NoError(t, err)
	plan, err := publication.Plan(t.Context(), conn, publication.Options{Name: "p"})
	require.NoError(t, err)
	named := func(table string) publication.Name { return publication.Name{Schema: "public", Table: table} }
	require.Equal(t, []publication.Name{named("mine")}, plan.Tables)
	require.Equal(t, []publication.Name{named("mine"), named("theirs")}, plan.Publishable)
	reasons := map[string][]publication.Reason{}
	for _, l := range plan.LeftOut {
		reasons[l.Table] = append(reasons[l.Table], l.Reason)
	}
	require.Equal(t, map[string][]publication.Reason{
		"keyless": {publication.NoKey}, "theirs": {publication.NotOwner}, "theirs_keyless": {publication.NotOwner, publication.NoKey},
	}, reasons)
	require.Zero(t, pgtest.Value[int](t, db, `select count(*) from pg_publication`))
	db.Exec(t, plan.SQL)
	got, err := publication.Inspect(t.Context(), db.Conn(t), "p")
	require.NoError(t, err)
	require.Len(t, got.Tables, 2)

	_, err = publication.Plan(t.Context(), conn, publication.Options{Name: "p", Tables: []publication.Name{named("nowhere")}})
	require.Equal(t, "table_not_found", problem.Code(err))
}

// Several who create the same publication at once: one does, and the others are told that it exists, however the server puts it.
func TestCreatedByOneOfSeveral(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, "create table t (id int primary key)")
	for round := range 10 {
		errs := make(chan error)
		const many = 4
		for range many {
			conn := db.Conn(t)
			go func() {
				_, err := publication.Create(t.Context(), conn, publication.Options{Name: fmt.Sprintf("pub_%d", round)})
				errs <- err
			}()
		}
		made := 0
		for range many {
			if err := <-errs; err != nil {
				require.ErrorIs(t, err, publication.ErrExists)
				require.Equal(t, "publication_exists", problem.Code(err))
			} else {
				made++
			}
		}
		require.Equal(t, 1, made)
	}
}
