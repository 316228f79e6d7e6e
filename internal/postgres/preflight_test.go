package postgres_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

func item(t *testing.T, r postgres.Report, name string) postgres.Item {
	t.Helper()
	for _, i := range r.Items {
		if i.Name == name {
			return i
		}
	}
	require.Fail(t, "no such item", name)
	return postgres.Item{}
}

// connect opens a connection that ends with the test.
func connect(t *testing.T, cfg postgres.Config) *pgx.Conn {
	t.Helper()
	conn, err := cfg.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func preflight(t *testing.T, url string, change func(*postgres.PreflightOptions)) postgres.Report {
	t.Helper()
	opts := postgres.PreflightOptions{Config: config(t, url)}
	if change != nil {
		change(&opts)
	}
	report, err := postgres.Preflight(t.Context(), connect(t, opts.Config), opts)
	require.NoError(t, err)
	for _, i := range report.Items {
		require.Equal(t, i.Status == postgres.StatusOK, i.Problem == nil, i.Name)
		if i.Problem != nil {
			require.NotEmpty(t, i.Problem.Hint, i.Name)
		}
	}
	return report
}

func TestPreflightOfAGoodDatabase(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	name, pub := db.Slot(t), db.Publication(t)
	for _, url := range []string{db.URL, db.SocketURL} {
		report := preflight(t, url, func(o *postgres.PreflightOptions) {
			o.Slot, o.Publication, o.CreateSlot, o.CreatePublication = name, pub, true, true
		})
		require.NoError(t, report.Err())
		require.Empty(t, report.Warnings())
		require.Equal(t, db.Server.Version(t), report.Version)
		require.Equal(t, db.Name, report.Identity.Database)
		require.Nil(t, report.Slot)
	}
	db.Exec(t, `create table a (id int primary key); create publication "`+pub+`" for table a`)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, name)
	report := preflight(t, db.URL, func(o *postgres.PreflightOptions) { o.Slot, o.Publication = name, pub })
	require.NoError(t, report.Err())
	require.Empty(t, report.Warnings())
	require.Equal(t, name, report.Slot.Name)
	require.Equal(t, "a", report.Publication.Tables[0].Table)
}

func TestPreflightOfSlotAndPublication(t *testing.T) {
	t.Parallel()
	db, elsewhere := pgtest.Shared(t).Database(t), pgtest.Shared(t).Database(t)
	good, decoding := db.Slot(t), db.Slot(t)
	foreign := elsewhere.Slot(t)
	db.Exec(t, `create table ok (id int primary key); create table bad (id int);
		create publication fine for table ok; create publication harmful for table ok, bad; create publication partial for table ok with (publish = 'insert, update');
		create publication empty`)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, good)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'test_decoding')`, decoding)
	elsewhere.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, foreign)
	cases := map[string]struct {
		slot, publication string
		create            bool
		item              string
		status            postgres.Status
		code, text        string
	}{
		"slot missing":         {slot: "nowhere", item: "slot", status: postgres.StatusFail, code: "slot_not_found", text: "pg_create_logical_replication_slot('nowhere'"},
		"slot name invalid":    {slot: "No-Where", create: true, item: "slot", status: postgres.StatusFail, code: "slot_name_invalid", text: "lower-case"},
		"other plugin":         {slot: decoding, item: "slot", status: postgres.StatusFail, code: "slot_unusable", text: "slot.name"},
		"other database":       {slot: foreign, item: "slot", status: postgres.StatusFail, code: "slot_unusable", text: "slot.name"},
		"publication missing":  {publication: "nowhere", item: "publication", status: postgres.StatusFail, code: "publication_not_found", text: `create publication "nowhere"`},
		"publication partial":  {publication: "partial", item: "publication", status: postgres.StatusWarn, code: "publication_incomplete", text: "set (publish"},
		"publication empty":    {publication: "empty", item: "publication", status: postgres.StatusWarn, code: "publication_empty", text: "add table"},
		"tables without a key": {publication: "harmful", item: "replica_identity", status: postgres.StatusWarn, code: "replica_identity_missing", text: `alter table "public"."bad" replica identity full`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := preflight(t, db.URL, func(o *postgres.PreflightOptions) {
				o.Slot, o.Publication, o.CreateSlot = c.slot, c.publication, c.create
			})
			found := item(t, report, c.item)
			require.Equal(t, c.status, found.Status)
			require.Equal(t, c.code, found.Problem.Code)
			require.Contains(t, found.Problem.Hint, c.text)
			require.Equal(t, c.status == postgres.StatusFail, report.Err() != nil)
		})
	}
}

func TestPreflightOfASlotInUse(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	cfg := config(t, db.URL)
	cfg.AppName = "the other one"
	repl, err := cfg.ConnectReplication(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, repl.Close(t.Context())) }()
	name := db.Slot(t)
	_, err = slot.CreateTemporary(t.Context(), repl, cfg.Connect, slot.Options{Name: name})
	require.NoError(t, err)

	report := preflight(t, db.URL, func(o *postgres.PreflightOptions) { o.Slot = name })
	require.ErrorIs(t, report.Err(), slot.ErrInUse)
	found := item(t, report, "slot").Problem
	require.Contains(t, found.Detail, `application_name "the other one"`)
	require.Contains(t, found.Detail, "since")
	report = preflight(t, db.URL, func(o *postgres.PreflightOptions) { o.Slot, o.OwnPID = name, report.Slot.ActivePID })
	require.NoError(t, report.Err(), "our own stream is no obstacle")
}

func TestPreflightOfPrivileges(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	plain, replica := db.Publication(t), db.Publication(t) // unique names
	db.Exec(t, `create role "`+plain+`" login; create role "`+replica+`" login replication`)
	t.Cleanup(func() { db.Exec(t, `drop role "`+plain+`"; drop role "`+replica+`"`) })
	report := preflight(t, db.URL, func(o *postgres.PreflightOptions) { o.Config.User = plain })
	require.Equal(t, "replication_privilege_missing", problem.Code(report.Err()))
	require.Contains(t, item(t, report, "replication").Problem.Hint, `ALTER ROLE "`+plain+`" REPLICATION`)
	report = preflight(t, db.URL, func(o *postgres.PreflightOptions) { o.Config.User = replica })
	require.NoError(t, report.Err())
}

func TestPreflightOfSettings(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		settings map[string]string
		from     int
		item     string
		status   postgres.Status
		code     string
	}{
		"wal_level":           {map[string]string{"wal_level": "replica"}, 12, "wal_level", postgres.StatusFail, "wal_level_not_logical"},
		"no walsender":        {map[string]string{"max_wal_senders": "0"}, 12, "replication", postgres.StatusFail, "no_walsender_left"},
		"short timeout":       {map[string]string{"wal_sender_timeout": "2s"}, 12, "timeouts", postgres.StatusWarn, "wal_sender_timeout_short"},
		"little WAL kept":     {map[string]string{"max_slot_wal_keep_size": "64MB"}, 13, "wal_retention", postgres.StatusWarn, "wal_retention_small"},
		"idle slots let go":   {map[string]string{"idle_replication_slot_timeout": "1h"}, 18, "timeouts", postgres.StatusWarn, "idle_slot_timeout"},
		"no replication slot": {map[string]string{"max_replication_slots": "0"}, 12, "slot", postgres.StatusFail, "no_slot_left"},
	}
	major := pgtest.Shared(t).Major(t)
	for name, c := range cases {
		if major < c.from {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Start(t, pgtest.Options{Settings: c.settings}).Database(t)
			report := preflight(t, db.URL, func(o *postgres.PreflightOptions) { o.Slot, o.CreateSlot = "one", true })
			found := item(t, report, c.item)
			require.Equal(t, c.status, found.Status)
			require.Equal(t, c.code, found.Problem.Code)
			require.Equal(t, c.status == postgres.StatusFail, report.Err() != nil)
		})
	}
}

// TestStandbyAndPromotion makes the server a standby of nobody, and promotes it.
func TestStandbyAndPromotion(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db := server.Database(t)
	cfg := config(t, db.URL)
	before := identify(t, cfg)
	require.Equal(t, uint32(1), before.Timeline)
	require.Equal(t, db.Name, before.Database)
	require.NotZero(t, before.Position)

	server.Stop(t)
	signal := filepath.Join(server.Cluster(t).DataDir(), "standby.signal")
	require.NoError(t, os.WriteFile(signal, nil, 0o666)) // the server runs as another user
	require.NoError(t, os.Chmod(signal, 0o666))          // the umask must not win
	server.StartAgain(t)
	report := preflight(t, db.URL, nil)
	require.True(t, report.InRecovery)
	if report.Version < 160000 {
		require.Equal(t, "standby_not_supported", problem.Code(report.Err()))
	} else {
		require.Equal(t, "primary_missing", problem.Code(report.Err()))
		report = preflight(t, db.URL, func(o *postgres.PreflightOptions) { o.HasPrimary = true })
		require.NoError(t, report.Err())
		require.Equal(t, "hot_standby_feedback_off", item(t, report, "recovery").Problem.Code)
	}
	_, err := postgres.EmitHeartbeat(t.Context(), connect(t, cfg), "s", "p")
	require.Error(t, err)

	db.Exec(t, `select pg_promote()`)
	after := identify(t, cfg)
	require.Equal(t, before.SystemID, after.SystemID)
	require.Equal(t, uint32(2), after.Timeline)
	repl, err := cfg.ConnectReplication(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, repl.Close(t.Context())) }()
	history, err := postgres.TimelineHistory(t.Context(), repl, after.Timeline)
	require.NoError(t, err)
	require.Len(t, history, 1)
	at, ok := postgres.SwitchPoint(history, 1)
	require.True(t, ok)
	require.GreaterOrEqual(t, at, before.Position)
	require.LessOrEqual(t, at, after.Position)
	_, ok = postgres.SwitchPoint(history, 7)
	require.False(t, ok)
	history, err = postgres.TimelineHistory(t.Context(), repl, 1)
	require.NoError(t, err)
	require.Empty(t, history)
}

func identify(t *testing.T, cfg postgres.Config) postgres.Identity {
	t.Helper()
	repl, err := cfg.ConnectReplication(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, repl.Close(t.Context())) }()
	id, err := postgres.Identify(t.Context(), repl)
	require.NoError(t, err)
	require.NotEmpty(t, id.SystemID)
	return id
}

func TestParseTimelineHistory(t *testing.T) {
	t.Parallel()
	got, err := postgres.ParseTimelineHistory("# a comment\n1\t0/3000148\tno recovery target specified\n\n2\t16/B374D848\tbefore 2000-01-01\n")
	require.NoError(t, err)
	require.Equal(t, []postgres.Switch{
		{Timeline: 1, At: 0x3000148, Reason: "no recovery target specified"}, {Timeline: 2, At: 0x16B374D848, Reason: "before 2000-01-01"},
	}, got)
	for _, bad := range []string{"x\t0/1\tr", "1\tnowhere\tr", "1"} {
		_, err := postgres.ParseTimelineHistory(bad)
		require.Error(t, err)
	}
}
