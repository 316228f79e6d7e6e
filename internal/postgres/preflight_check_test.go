package postgres_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/publication"
)

// checked runs every check, and holds the report to what every report promises.
func checked(t *testing.T, url string, change func(*postgres.Config), opts postgres.PreflightOptions) postgres.Report {
	t.Helper()
	cfg := config(t, url)
	if change != nil {
		change(&cfg)
	}
	report := postgres.Check(t.Context(), cfg, opts)
	seen := map[string]bool{}
	for _, i := range report.Items {
		require.False(t, seen[i.Name], "%s was checked twice", i.Name)
		seen[i.Name] = true
		require.NotEmpty(t, i.Found, i.Name)
		require.NotEmpty(t, i.Why, i.Name)
		require.Equal(t, i.Status == postgres.StatusOK, i.Problem == nil, i.Name)
		if i.Problem != nil {
			require.NotEmpty(t, i.Problem.Hint, i.Name)
			require.NotEqual(t, "check_not_possible", i.Problem.Code, "%s: %s", i.Name, i.Problem.Detail)
		}
	}
	return report
}

func tables(names ...string) []publication.Name {
	var list []publication.Name
	for _, n := range names {
		list = append(list, publication.Name{Schema: "public", Table: n})
	}
	return list
}

func TestCheckOfAGoodDatabase(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	name, pub := db.Slot(t), db.Publication(t)
	db.Exec(t, `create table a (id int primary key, n int)`)
	opts := postgres.PreflightOptions{Slot: name, Publication: pub, CreateSlot: true, CreatePublication: true}
	for _, url := range []string{db.URL, db.SocketURL} {
		report := checked(t, url, nil, opts)
		require.Equal(t, postgres.StatusOK, report.Status(), "%v %v", report.Err(), report.Warnings())
		require.True(t, report.Connected)
		require.Equal(t, db.Server.Version(t), report.Version)
		require.Equal(t, 28, report.Count(postgres.StatusOK))
		require.Equal(t, "address", report.Items[0].Name)
		require.Contains(t, item(t, report, "slot").Found, "is created on request")
	}
	db.Exec(t, `create publication "`+pub+`" for table a`)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, name)
	report := checked(t, db.URL, nil, opts)
	require.Equal(t, postgres.StatusOK, report.Status(), "%v %v", report.Err(), report.Warnings())
	require.Contains(t, item(t, report, "slot").Found, "pgoutput, not read")
	require.Contains(t, item(t, report, "slot").Found, "retained for it")
	require.Contains(t, item(t, report, "publication").Found, "1 table")
}

// TestCheckOfTables declares tables with everything that can be wrong with them.
func TestCheckOfTables(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	major := db.Server.Major(t)
	role, owner := db.Publication(t), db.Publication(t) // unique names
	db.Exec(t, `create role "`+role+`" login replication; create role "`+owner+`"`)
	t.Cleanup(func() {
		db.Exec(t, `drop owned by "`+role+`", "`+owner+`"; drop role "`+role+`"; drop role "`+owner+`"`)
	})
	db.Exec(t, `
		create table good (id int primary key);
		create table keyless (x int);
		create table full_identity (x text); alter table full_identity replica identity full;
		create unlogged table cache (id int primary key);
		create view glimpse as select * from good;
		create table large (id int primary key, body text, raw bytea);
		create table computed (id int primary key, n int, twice int generated always as (n * 2) stored);
		create table secured (id int primary key); alter table secured enable row level security;
		create table parent (id int primary key); create table child (primary key (id)) inherits (parent);
		create table root (id int primary key) partition by range (id); create table leaf partition of root for values from (0) to (10);
		create table theirs (id int primary key); alter table theirs owner to "`+owner+`";
		create schema hidden; create table hidden.t (id int primary key);
		grant select on good, keyless, full_identity, large, computed, secured, parent, child, root, leaf to "`+role+`"`)
	all := postgres.PreflightOptions{CreateSlot: true, CreatePublication: true}
	cases := map[string]struct {
		user   string
		change func(*postgres.PreflightOptions)
		item   string
		status postgres.Status
		code   string
		text   []string // in what was found, the problem and its repair
	}{
		"keyless tables are named":              {item: "replica_identity", status: postgres.StatusWarn, code: "replica_identity_missing", text: []string{`"keyless"`, "replica identity full"}},
		"a keyless table is asked for":          {change: only("keyless"), item: "replica_identity", status: postgres.StatusFail, code: "replica_identity_missing", text: []string{`alter table "public"."keyless" replica identity full`}},
		"other roles' keyless tables are named": {user: role, item: "replica_identity", status: postgres.StatusWarn, code: "replica_identity_missing", text: []string{`"keyless"`, "replica identity full"}},
		"unlogged tables are left out":          {item: "tables", status: postgres.StatusOK, text: []string{`unlogged and foreign ones cannot be published: "public"."cache"`, `tables that inherit`, `"public"."parent"`}},
		"an unlogged table is asked for":        {change: only("cache"), item: "tables", status: postgres.StatusFail, code: "table_not_publishable", text: []string{"is unlogged", "SET LOGGED"}},
		"a view is asked for":                   {change: only("glimpse"), item: "tables", status: postgres.StatusFail, code: "table_not_publishable", text: []string{"is a view"}},
		"an unknown table is asked for":         {change: only("good", "nowhere"), item: "tables", status: postgres.StatusFail, code: "table_not_found", text: []string{`"public"."nowhere"`}},
		"a partition is asked for":              {change: only("leaf"), item: "tables", status: postgres.StatusOK, text: []string{`"public"."leaf" of root`}},
		"old values are not wanted":             {change: only("good", "full_identity"), item: "old_values", status: postgres.StatusOK, text: []string{"1 table without replica identity full"}},
		"old values are wanted":                 {change: wanting("good", "full_identity"), item: "old_values", status: postgres.StatusWarn, code: "old_values_missing", text: []string{`ALTER TABLE "public"."good" REPLICA IDENTITY FULL`}},
		"large values":                          {change: only("large"), item: "large_values", status: postgres.StatusOK, text: []string{`"public"."large" (body, raw)`}},
		"large values are wanted":               {change: wanting("large"), item: "large_values", status: postgres.StatusWarn, code: "large_values_left_out", text: []string{`"public"."large" (body, raw)`, "REPLICA IDENTITY FULL"}},
		"full identity leaves nothing out":      {change: wanting("full_identity"), item: "large_values", status: postgres.StatusOK, text: []string{"no update leaves a column out"}},
		"computed columns":                      {change: only("computed"), item: "generated_columns", status: postgres.StatusOK, text: []string{`"public"."computed".twice`}},
		"tables that cannot be read":            {user: role, change: only("good", "theirs"), item: "table_privileges", status: postgres.StatusWarn, code: "select_privilege_missing", text: []string{`GRANT SELECT ON "public"."theirs" TO "` + role + `"`}},
		"a schema that cannot be used": {
			user: role, change: func(o *postgres.PreflightOptions) { o.Tables = []publication.Name{{Schema: "hidden", Table: "t"}} },
			item: "table_privileges", status: postgres.StatusWarn, code: "select_privilege_missing", text: []string{`GRANT USAGE ON SCHEMA "hidden" TO "` + role + `"`, `GRANT SELECT ON "hidden"."t"`},
		},
		"policies hide rows":                     {user: role, change: only("good", "secured"), item: "row_security", status: postgres.StatusWarn, code: "row_security_active", text: []string{`"public"."secured"`, "BYPASSRLS", "CREATE POLICY"}},
		"policies hide nothing from a superuser": {change: only("secured"), item: "row_security", status: postgres.StatusOK, text: []string{"no table hides rows"}},
		"no right to create, unnamed":            {user: role, item: "create_privilege", status: postgres.StatusWarn, code: "publication_privilege_missing", text: []string{`create publication "sequin_pub" for table only`, `"public"."theirs"`, "11 tables belong to other roles"}},
		"no right to create, named": {
			user: role, change: func(o *postgres.PreflightOptions) { o.Publication = "wanted" },
			item: "create_privilege", status: postgres.StatusFail, code: "publication_privilege_missing", text: []string{`create publication "wanted" for table only`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { // one after the other: the last ones change the tables
			opts := all
			if c.change != nil {
				c.change(&opts)
			}
			report := checked(t, db.URL, func(cfg *postgres.Config) {
				if c.user != "" {
					cfg.User = c.user
				}
			}, opts)
			found := item(t, report, c.item)
			require.Equal(t, c.status, found.Status, "%+v", found)
			text := found.Found
			if found.Problem != nil {
				require.Equal(t, c.code, found.Problem.Code)
				text += found.Problem.Text()
			}
			for _, want := range c.text {
				require.Contains(t, text, want)
			}
		})
	}
	t.Run("some tables belong to others", func(t *testing.T) {
		db.Exec(t, `grant create on database "`+db.Name+`" to "`+role+`"; create table mine (id int primary key); alter table mine owner to "`+role+`"`)
		report := checked(t, db.URL, func(cfg *postgres.Config) { cfg.User = role }, all)
		found := item(t, report, "create_privilege")
		require.Equal(t, "tables_not_owned", found.Problem.Code)
		require.Contains(t, found.Problem.Hint, `create publication "sequin_pub" for table`)
		opts := all
		opts.Tables = tables("mine")
		db.Exec(t, `revoke create on database "`+db.Name+`" from "`+role+`"`)
		found = item(t, checked(t, db.URL, func(cfg *postgres.Config) { cfg.User = role }, opts), "create_privilege")
		require.Equal(t, "publication_privilege_missing", found.Problem.Code)
		require.Equal(t, `GRANT CREATE ON DATABASE "`+db.Name+`" TO "`+role+`"`, found.Problem.Hint)
	})
	t.Run("computed columns on 18", func(t *testing.T) {
		if major < 18 {
			return // publish_generated_columns came with 18
		}
		db.Exec(t, `create table seen (id int primary key, n int, v int generated always as (n * 3) virtual); create publication computing for table computed;
			create publication computed_too for table computed with (publish_generated_columns = stored)`)
		opts := all
		opts.Publication = "computing"
		found := item(t, checked(t, db.URL, nil, opts), "generated_columns")
		require.Equal(t, "generated_columns_left_out", found.Problem.Code)
		require.Equal(t, `ALTER PUBLICATION "computing" SET (publish_generated_columns = stored)`, found.Problem.Hint)
		opts.Publication = "computed_too"
		found = item(t, checked(t, db.URL, nil, opts), "generated_columns")
		require.Contains(t, found.Found, "changes hold the computed columns")
		opts = all
		opts.Tables = tables("seen")
		require.Contains(t, item(t, checked(t, db.URL, nil, opts), "generated_columns").Found, "leave out")
	})
}

func only(names ...string) func(*postgres.PreflightOptions) {
	return func(o *postgres.PreflightOptions) { o.Tables = tables(names...) }
}

func wanting(names ...string) func(*postgres.PreflightOptions) {
	return func(o *postgres.PreflightOptions) { o.Tables, o.OldValues = tables(names...), true }
}

// TestCheckOfAPublication: what it breaks now is an error, and tables asked for that it does not send are named with the repair.
func TestCheckOfAPublication(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table a (id int primary key); create table b (id int primary key); create table broken (x int);
		create publication partly for table a; create publication harmful for table broken`)
	opts := postgres.PreflightOptions{CreateSlot: true, CreatePublication: true, Publication: "partly", Tables: tables("a", "b")}
	found := item(t, checked(t, db.URL, nil, opts), "publication")
	require.Equal(t, "table_not_published", found.Problem.Code)
	require.Equal(t, `alter publication "partly" add table only "public"."b"`, found.Problem.Hint)
	opts.Tables = tables("a")
	require.Equal(t, postgres.StatusOK, item(t, checked(t, db.URL, nil, opts), "publication").Status)
	opts.Publication, opts.Tables = "harmful", nil
	found = item(t, checked(t, db.URL, nil, opts), "replica_identity")
	require.Equal(t, postgres.StatusFail, found.Status, "an application fails now")
}

// TestCheckOfHypertables stands in for TimescaleDB with the view that the check asks.
func TestCheckOfHypertables(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table conditions (at timestamptz not null, device int, primary key (at, device)); create schema timescaledb_information;
		create view timescaledb_information.hypertables as select 'public'::name hypertable_schema, 'conditions'::name hypertable_name`)
	opts := postgres.PreflightOptions{CreateSlot: true, CreatePublication: true}
	found := item(t, checked(t, db.URL, nil, opts), "tables")
	require.Equal(t, "hypertable_chunks", found.Problem.Code)
	require.Contains(t, found.Problem.Detail, `"public"."conditions"`)
	if db.Server.Major(t) >= 15 {
		require.Contains(t, found.Problem.Hint, "TABLES IN SCHEMA _timescaledb_internal")
	} else {
		require.Contains(t, found.Problem.Hint, "one by one")
	}
}

// TestCheckOfOpenTransactions: whoever has a transaction id would hold up the creation of a slot.
func TestCheckOfOpenTransactions(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_prepared_transactions": "2"}})
	db := server.Database(t)
	name := db.Slot(t)
	db.Exec(t, `create role plain login replication; create table a (id int primary key)`)
	opts := postgres.PreflightOptions{Slot: name, CreateSlot: true}
	report := checked(t, db.URL, nil, opts)
	require.Contains(t, item(t, report, "open_transactions").Found, "none older than 10s")

	writer := db.Conn(t)
	tx, err := writer.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	_, err = tx.Exec(t.Context(), "insert into a values (1);   select 'this is what it did last'", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	found := item(t, postgres.CheckAtOnce(t.Context(), config(t, db.URL), opts), "open_transactions").Problem
	require.Equal(t, "transactions_open", found.Code)
	require.Contains(t, found.Detail, fmt.Sprintf("PID %d", writer.PgConn().PID()))
	require.Contains(t, found.Detail, "idle in transaction, open for 0s")
	require.Contains(t, found.Detail, "insert into a values (1); select 'this is what it did last'")
	require.Contains(t, found.Hint, "pg_terminate_backend(")
	_, err = tx.Exec(t.Context(), "alter role plain PASSWORD 'hunter2'", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	secret := item(t, postgres.CheckAtOnce(t.Context(), config(t, db.URL), opts), "open_transactions").Problem
	require.Contains(t, secret.Detail, "alter role plain PASSWORD …")
	require.NotContains(t, secret.Detail, "hunter2")
	report = checked(t, db.URL, nil, opts)
	require.Contains(t, item(t, report, "open_transactions").Found, "1 transaction writes, none older than 10s")
	report = checked(t, db.URL, func(c *postgres.Config) { c.User = "plain" }, opts)
	require.Contains(t, item(t, report, "open_transactions").Found, "cannot be seen without pg_read_all_stats")

	_, err = writer.Exec(t.Context(), "prepare transaction 'it''s prepared'")
	require.NoError(t, err)
	defer db.Exec(t, `rollback prepared 'it''s prepared'`)
	found = item(t, postgres.CheckAtOnce(t.Context(), config(t, db.URL), opts), "open_transactions").Problem
	require.Contains(t, found.Hint, "ROLLBACK PREPARED 'it''s prepared'")
}

func TestCheckOfSettings(t *testing.T) {
	t.Parallel()
	t.Run("nothing left", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_replication_slots": "0", "max_wal_senders": "0"}}).Database(t)
		report := checked(t, db.URL, nil, postgres.PreflightOptions{CreateSlot: true})
		require.Equal(t, "no_slot_left", item(t, report, "replication_slots").Problem.Code)
		require.Contains(t, item(t, report, "replication_slots").Problem.Hint, "ALTER SYSTEM SET max_replication_slots = '10'; then restart")
		require.Equal(t, "no_walsender_left", item(t, report, "wal_senders").Problem.Code)
	})
	t.Run("encoding", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Start(t, pgtest.Options{})
		db := server.Database(t)
		for encoding, status := range map[string]postgres.Status{"SQL_ASCII": postgres.StatusWarn, "LATIN1": postgres.StatusOK} {
			name := "in_" + strings.ToLower(encoding)
			db.Exec(t, `create database `+name+` template template0 encoding '`+encoding+`' lc_collate 'C' lc_ctype 'C'`)
			cfg := server.Cluster(t).URL(name)
			require.Equal(t, status, item(t, checked(t, cfg, nil, postgres.PreflightOptions{}), "encoding").Status, encoding)
		}
	})
	t.Run("idle slots and a standby that does not know the slot", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Shared(t).Database(t)
		one, two := db.Slot(t), db.Slot(t)
		db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput'), pg_create_logical_replication_slot($2, 'pgoutput')`, one, two)
		report := checked(t, db.URL, nil, postgres.PreflightOptions{Slot: one})
		require.Contains(t, item(t, report, "replication_slots").Found, two)
	})
}

// TestCheckOfFailoverSlots connects a walsender without a database, as a standby does.
func TestCheckOfFailoverSlots(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	if server.Major(t) < 17 {
		return // failover slots came with 17
	}
	db := server.Database(t)
	name := db.Slot(t)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, name)
	opts := postgres.PreflightOptions{Slot: name}
	require.Equal(t, postgres.StatusOK, item(t, checked(t, db.URL, nil, opts), "slot").Status, "there is no standby")
	physical(t, db)
	found := item(t, checked(t, db.URL, nil, opts), "slot")
	require.Equal(t, "slot_not_failover", found.Problem.Code)
	require.Contains(t, found.Problem.Hint, "ALTER_REPLICATION_SLOT "+name+" (FAILOVER true)")
	db.Exec(t, `select pg_drop_replication_slot($1)`, name)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput', failover => true)`, name)
	found = item(t, checked(t, db.URL, nil, opts), "slot")
	require.Equal(t, postgres.StatusOK, found.Status)
	require.Contains(t, found.Found, "failover on")
}

// physical opens a replication connection as a standby does, and begins to stream.
func physical(t *testing.T, db *pgtest.DB) {
	t.Helper()
	cfg, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	cfg.RuntimeParams["replication"] = "true"
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.PgConn().Conn().Close() })
}

// TestCheckWithoutAConnection: the report ends with what prevents it, in its place.
func TestCheckWithoutAConnection(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{TLS: true, Password: "s3cret"})
	db := server.Database(t)
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := free.Addr().(*net.TCPAddr).Port
	require.NoError(t, free.Close())
	cases := map[string]struct {
		change     func(*postgres.Config)
		item, code string
	}{
		"nobody listens":      {func(c *postgres.Config) { c.Hosts[0].Port = uint16(nobody) }, "address", "connection_refused"},
		"no such host":        {func(c *postgres.Config) { c.Hosts[0].Name = "db.invalid" }, "address", "host_unknown"},
		"no socket":           {func(c *postgres.Config) { c.Hosts[0].Name = "/nonexistent" }, "address", "connection_refused"},
		"no IPv6":             {func(c *postgres.Config) { c.IPv6 = true }, "address", "host_unknown"},
		"wrong password":      {func(c *postgres.Config) { c.Password = postgres.StaticPassword("guess") }, "authentication", "wrong_password"},
		"no password":         {func(c *postgres.Config) { c.Password = postgres.PasswordFile("/nonexistent") }, "authentication", "password_file_unreadable"},
		"no such database":    {func(c *postgres.Config) { c.Database = "nowhere" }, "authentication", "database_not_found"},
		"unknown authority":   {func(c *postgres.Config) { c.SSLMode = postgres.SSLVerifyFull }, "tls", "tls_unknown_authority"},
		"no root certificate": {func(c *postgres.Config) { c.SSLMode, c.SSLRootCert = postgres.SSLVerifyFull, "/nonexistent" }, "tls", "tls_file_invalid"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := checked(t, db.URL, c.change, postgres.PreflightOptions{})
			require.False(t, report.Connected)
			last := report.Items[len(report.Items)-1]
			require.Equal(t, c.item, last.Name)
			require.Equal(t, c.code, last.Problem.Code, "%+v", last.Problem)
			encoded, err := json.Marshal(report)
			require.NoError(t, err)
			require.NotContains(t, string(encoded), "s3cret")
			require.NotContains(t, string(encoded), "guess")
		})
	}
	report := checked(t, db.URL, func(c *postgres.Config) {
		c.SSLMode, c.SSLRootCert = postgres.SSLVerifyFull, server.Cluster(t).CAFile()
	}, postgres.PreflightOptions{})
	require.Contains(t, item(t, report, "tls").Found, "verified in full")
	report = checked(t, db.URL, func(c *postgres.Config) { c.SSLMode = postgres.SSLRequire }, postgres.PreflightOptions{})
	require.Contains(t, item(t, report, "tls").Found, "the server is on this machine")
}

// TestCheckChangesNothing compares the catalogs before and after, for roles with every privilege and with none.
func TestCheckChangesNothing(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"autovacuum": "off"}})
	db := server.Database(t)
	name := db.Slot(t)
	db.Exec(t, `create role nothing login; create role owner login replication; create schema s authorization owner; revoke all on schema public from public;
		create table s.a (id int primary key, body text); create table s.b (x int); alter table s.a owner to owner; alter table s.b owner to owner;
		create publication p for table s.a, s.b; revoke connect on database "`+db.Name+`" from public; grant connect on database "`+db.Name+`" to nothing, owner;
		revoke execute on all functions in schema pg_catalog from nothing`)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, name)
	before := catalogs(t, db)
	for _, user := range []string{"postgres", "owner", "nothing"} {
		for _, opts := range []postgres.PreflightOptions{
			{CreateSlot: true, CreatePublication: true},
			{CreateSlot: true, CreatePublication: true, Slot: name, Publication: "p"},
			{CreateSlot: true, CreatePublication: true, Slot: "new_one", Publication: "new_one", OldValues: true, Tables: []publication.Name{{Schema: "s", Table: "a"}}},
		} {
			report := checked(t, db.URL, func(c *postgres.Config) { c.User = user }, opts)
			require.Len(t, report.Items, 28, user)
			require.True(t, report.Connected)
			if user == "nothing" {
				require.Equal(t, "replication_privilege_missing", item(t, report, "replication").Problem.Code)
				require.Equal(t, "select_privilege_missing", item(t, report, "table_privileges").Problem.Code)
			}
			require.Empty(t, cmp.Diff(before, catalogs(t, db)), "%s %+v", user, opts)
		}
	}
}

// TestCheckOfAClosedCatalog: what cannot be asked is a warning of its own, and an error when the rest depends on it.
func TestCheckOfAClosedCatalog(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db := server.Database(t)
	db.Exec(t, `create role blind login; revoke select on pg_prepared_xacts from public`)
	cfg := config(t, db.URL)
	cfg.User = "blind"
	report := postgres.Check(t.Context(), cfg, postgres.PreflightOptions{})
	found := item(t, report, "open_transactions")
	require.Equal(t, postgres.StatusWarn, found.Status)
	require.Equal(t, "check_not_possible", found.Problem.Code)
	require.Contains(t, found.Problem.Detail, "pg_prepared_xacts")
	require.Len(t, report.Items, 28, "the others go on")

	db.Exec(t, `revoke select on pg_roles from public`)
	report = postgres.Check(t.Context(), cfg, postgres.PreflightOptions{})
	last := report.Items[len(report.Items)-1]
	require.Equal(t, postgres.StatusFail, last.Status)
	require.Contains(t, last.Problem.Detail, "pg_roles")
	require.Len(t, report.Items, 4)
}

// catalogs is everything that the server has, the next transaction id and its settings included.
func catalogs(t *testing.T, db *pgtest.DB) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, catalog := range []string{
		"pg_class", "pg_attribute", "pg_proc", "pg_namespace", "pg_publication", "pg_publication_rel", "pg_authid", "pg_auth_members", "pg_database", "pg_db_role_setting",
		"pg_description", "pg_shdescription", "pg_depend", "pg_extension", "pg_event_trigger", "pg_subscription", "pg_trigger", "pg_type",
	} {
		all[catalog] = pgtest.Value[string](t, db, `select coalesce(md5(string_agg(x.ctid::text || x.xmin::text || x::text, '|' order by x.ctid)), '') from `+catalog+` x`)
	}
	all["slots"] = pgtest.Value[string](t, db, `select coalesce(string_agg(slot_name || confirmed_flush_lsn::text || restart_lsn::text, ',' order by 1), '') from pg_replication_slots`)
	all["settings"] = pgtest.Value[string](t, db, `select md5(string_agg(name || coalesce(setting, ''), ',' order by name)) from pg_settings where name <> 'application_name'`)
	all["next transaction"] = pgtest.Value[string](t, db, `select txid_snapshot_xmax(txid_current_snapshot())::text`)
	return all
}

func TestCheckOfAStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db := server.Database(t)
	server.Stop(t)
	signal := filepath.Join(server.Cluster(t).DataDir(), "standby.signal")
	require.NoError(t, os.WriteFile(signal, nil, 0o666)) // the server runs as another user
	require.NoError(t, os.Chmod(signal, 0o666))          // the umask must not win
	server.StartAgain(t)
	report := checked(t, db.URL, nil, postgres.PreflightOptions{})
	require.True(t, report.InRecovery)
	found := item(t, report, "recovery")
	if report.Version < 160000 {
		require.Equal(t, "standby_not_supported", found.Problem.Code)
	} else {
		require.Equal(t, "primary_missing", found.Problem.Code)
		require.Contains(t, found.Problem.Detail, "hot_standby_feedback is off")
		require.Contains(t, found.Problem.Detail, "primary_slot_name is empty")
	}
	db.Exec(t, `select pg_promote()`)
}

// TestReportAsJSON: the form that clients read.
func TestReportAsJSON(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create table keyless (x int)`)
	report := checked(t, db.URL, nil, postgres.PreflightOptions{CreateSlot: true, CreatePublication: true})
	encoded, err := json.Marshal(report)
	require.NoError(t, err)
	var got struct {
		Status   string
		Errors   int
		Warnings int
		Provider *struct{ Name string }
		Checks   []struct{ Name, Status, Found, Why, Code, Message, Hint string }
	}
	require.NoError(t, json.Unmarshal(encoded, &got))
	require.Equal(t, "warning", got.Status)
	require.Zero(t, got.Errors)
	require.Equal(t, 1, got.Warnings)
	require.Nil(t, got.Provider)
	require.Len(t, got.Checks, 28)
	for _, c := range got.Checks {
		if c.Name == "replica_identity" {
			require.Equal(t, "replica_identity_missing", c.Code)
			require.NotEmpty(t, c.Hint)
			return
		}
	}
	require.Fail(t, "no such check")
}
