package publication_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/publication"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	conn := db.Conn(t)
	db.Exec(t, `create table a (id int primary key, secret text); create table b (id int); alter table b replica identity full;
		create publication pub for table a, b with (publish = 'insert, delete'); comment on publication pub is 'mine'`)
	p, err := publication.Inspect(t.Context(), conn, "pub")
	require.NoError(t, err)
	for i := range p.Tables {
		p.Tables[i].OID = 0
	}
	want := publication.Publication{
		Name: "pub", Insert: true, Delete: true, Comment: "mine",
		Tables: []publication.Published{
			{Name: publication.Name{Schema: "public", Table: "a"}, Kind: "r", Identity: "d"},
			{Name: publication.Name{Schema: "public", Table: "b"}, Kind: "r", Identity: "f"},
		},
	}
	require.Empty(t, cmp.Diff(want, p))
}

// TestInspectFindsWhatFails compares what Inspect says with what the server does, for publications of every form.
func TestInspectFindsWhatFails(t *testing.T) {
	t.Parallel()
	version := pgtest.Shared(t).Version(t)
	cases := map[string]struct {
		from   int
		sql    string
		breaks map[string]publication.Reason
	}{
		"all tables": {12, `create publication pub for all tables`, map[string]publication.Reason{
			"public.bad_no_key": publication.NoKey, "public.bad_no_key_but_index": publication.NoKey, "public.bad_nothing": publication.IdentityNothing,
			"public.bad_gone": publication.IndexGone, "public.bad_deferrable": publication.DeferrableKey, "public.bad_child": publication.NoKey,
			"public.bad_part_1": publication.NoKey, "public.bad_leaf_1": publication.IdentityNothing,
		}},
		"inserts only":     {12, `create publication pub for all tables with (publish = 'insert')`, nil},
		"some":             {12, `create publication pub for table ok_key, bad_gone`, map[string]publication.Reason{"public.bad_gone": publication.IndexGone}},
		"partitioned root": {13, `create publication pub for table bad_leaf`, map[string]publication.Reason{"public.bad_leaf_1": publication.IdentityNothing}},
		"via root": {13, `create publication pub for table bad_part with (publish_via_partition_root)`, map[string]publication.Reason{
			"public.bad_part_1": publication.NoKey,
		}},
		"schema":                   {15, `create publication pub for tables in schema app`, nil},
		"column list":              {15, `create publication pub for table ok_key (x)`, map[string]publication.Reason{"public.ok_key": publication.ColumnList}},
		"column list with key":     {15, `create publication pub for table ok_key (id)`, nil},
		"column list and full":     {15, `create publication pub for table ok_full (x)`, map[string]publication.Reason{"public.ok_full": publication.ColumnList}},
		"row filter on the key":    {15, `create publication pub for table ok_key where (id > 1)`, nil},
		"row filter beyond it":     {15, `create publication pub for table ok_key where (x <> '')`, map[string]publication.Reason{"public.ok_key": publication.RowFilter}},
		"row filter and full":      {15, `create publication pub for table ok_full where (x <> '')`, nil},
		"row filter, index, other": {15, `create publication pub for table ok_index where (x <> '')`, map[string]publication.Reason{"public.ok_index": publication.RowFilter}},
	}
	for name, c := range cases {
		if version/10000 < c.from {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t).Database(t)
			db.Exec(t, mixed)
			db.Exec(t, c.sql)
			conn := db.Conn(t)
			p, err := publication.Inspect(t.Context(), conn, "pub")
			require.NoError(t, err)
			got := reasons(p.Breaks)
			if c.breaks == nil {
				require.Empty(t, got)
			} else {
				require.Empty(t, cmp.Diff(c.breaks, got))
			}
			refused := touch(t, conn)
			require.Len(t, refused, len(got), "%v", refused)
			for _, table := range refused {
				require.Contains(t, got, strings.ReplaceAll(table, `"`, ""))
			}
		})
	}
}

func TestInspectColumnListsFiltersAndSchemas(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	if db.Server.Version(t) < 150000 {
		return // these came with 15
	}
	db.Exec(t, `create schema app; create table app.x (id int primary key); create table a (id int primary key, b int, c int);
		create publication parts for table a (id, c) where (id > 5); create publication whole for tables in schema app`)
	p, err := publication.Inspect(t.Context(), db.Conn(t), "parts")
	require.NoError(t, err)
	require.Equal(t, []string{"id", "c"}, p.Tables[0].Columns)
	require.Equal(t, "(id > 5)", p.Tables[0].RowFilter)
	p, err = publication.Inspect(t.Context(), db.Conn(t), "whole")
	require.NoError(t, err)
	require.Equal(t, []string{"app"}, p.Schemas)
	require.Nil(t, p.Tables[0].Columns)
}

func TestReconcileNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, mixed)
	conn := db.Conn(t)
	_, err := publication.Create(t.Context(), conn, publication.Options{Name: "pub", Tables: []publication.Name{
		{Schema: "public", Table: "ok_key"}, {Schema: "public", Table: "ok_part"},
	}})
	require.NoError(t, err)
	tables := []publication.Name{
		{Schema: "public", Table: "ok_key"},
		{Schema: "public", Table: "ok_part"},
		{Schema: "public", Table: "ok_part_1"},
		{Schema: "public", Table: "ok_part_2a"},
		{Schema: "app", Table: "ok Quoted"},
		{Schema: "public", Table: "bad_nothing"},
		{Schema: "public", Table: "nowhere"},
	}
	missing, err := publication.Reconcile(t.Context(), conn, "pub", tables)
	require.NoError(t, err)
	require.Len(t, missing, 3)
	require.Equal(t, `alter publication "pub" add table only "app"."ok Quoted"`, missing[0].SQL)
	require.Nil(t, missing[0].Problem)
	require.Equal(t, publication.IdentityNothing, missing[1].Problem.Reason)
	require.Equal(t, `alter table "public"."bad_nothing" replica identity default; alter publication "pub" add table only "public"."bad_nothing"`, missing[1].SQL)
	require.True(t, missing[2].NotFound)
	db.Exec(t, missing[0].SQL)
	db.Exec(t, missing[1].SQL)
	missing, err = publication.Reconcile(t.Context(), conn, "pub", tables[:6])
	require.NoError(t, err)
	require.Empty(t, missing)

	db.Exec(t, `create publication everything for all tables`)
	missing, err = publication.Reconcile(t.Context(), conn, "everything", tables[:6])
	require.NoError(t, err)
	require.Empty(t, missing)
}

func TestMarks(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create publication pub; comment on publication pub is E'owned by\nO''Brien \\ team {"sequin": 1}'`)
	conn := db.Conn(t)
	since := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	_, found, err := publication.ReadMark(t.Context(), conn, "pub", "slot_a")
	require.NoError(t, err)
	require.False(t, found)

	a := publication.Mark{Instance: "one", Slot: "slot_a", Since: since}
	b := publication.Mark{Instance: "two", Slot: "slot_b", Since: since}
	require.NoError(t, publication.WriteMark(t.Context(), conn, "pub", a))
	require.NoError(t, publication.WriteMark(t.Context(), conn, "pub", b))
	a.Instance = "three"
	require.NoError(t, publication.WriteMark(t.Context(), conn, "pub", a))
	for _, want := range []publication.Mark{a, b} {
		got, found, err := publication.ReadMark(t.Context(), conn, "pub", want.Slot)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, want, got)
	}
	require.NoError(t, publication.RemoveMark(t.Context(), conn, "pub", "slot_a"))
	require.NoError(t, publication.RemoveMark(t.Context(), conn, "pub", "slot_b"))
	p, err := publication.Inspect(t.Context(), conn, "pub")
	require.NoError(t, err)
	require.Equal(t, "owned by\nO'Brien \\ team {\"sequin\": 1}", p.Comment, "the owner's comment stays")

	_, _, err = publication.ReadMark(t.Context(), conn, "nowhere", "s")
	require.ErrorIs(t, err, publication.ErrNotFound)
	require.ErrorIs(t, publication.WriteMark(t.Context(), conn, "nowhere", a), publication.ErrNotFound)
}

func TestMarkNeedsOwnership(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create publication pub`)
	conn, _ := asRole(t, db, "")
	err := publication.WriteMark(t.Context(), conn, "pub", publication.Mark{Instance: "i", Slot: "s"})
	require.ErrorIs(t, err, publication.ErrNoPrivilege)
	_, found, err := publication.ReadMark(t.Context(), conn, "pub", "s")
	require.NoError(t, err)
	require.False(t, found)
}

// TestTemporaryPublications: one in use stays, before and after its slot exists; what a killed command left goes; look-alikes of others stay.
func TestTemporaryPublications(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table a (id int primary key); create table b (id int);
		create publication sequin_tail_by_hand; comment on publication sequin_tail_by_hand is 'not a mark'; create publication other for table a`)
	slotName := db.Slot(t)
	owner := db.Conn(t)
	name := publication.TemporaryPrefix + "x1"
	created, err := publication.CreateTemporary(t.Context(), owner, publication.Options{Name: name}, slotName)
	require.NoError(t, err)
	require.Equal(t, []string{"public.a"}, names(created.Tables))
	require.Equal(t, map[string]publication.Reason{"public.b": publication.NoKey}, reasons(created.LeftOut))

	other := db.Conn(t)
	remove := func() []string {
		removed, err := publication.RemoveStale(t.Context(), other)
		require.NoError(t, err)
		return removed
	}
	require.Empty(t, remove(), "locked: its slot is about to be made")
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, slotName)
	require.NoError(t, owner.Close(t.Context()))
	require.Empty(t, remove(), "its slot lives")
	db.Exec(t, `select pg_drop_replication_slot($1)`, slotName)
	require.Eventually(t, func() bool { return len(remove()) == 1 }, 10*time.Second, 10*time.Millisecond, "the server frees the lock")
	_, err = publication.Inspect(t.Context(), other, name)
	require.ErrorIs(t, err, publication.ErrNotFound)
	for _, kept := range []string{"sequin_tail_by_hand", "other"} {
		_, err = publication.Inspect(t.Context(), other, kept)
		require.NoError(t, err)
	}
	_, err = publication.CreateTemporary(t.Context(), other, publication.Options{Name: "mine"}, slotName)
	require.ErrorContains(t, err, publication.TemporaryPrefix)
}
