package postgres_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/problem"
)

// TestProvidersByWhatTheServerShows makes one server look like each provider in turn: it gets the provider's roles, or its settings as
// placeholders of the database. The repairs are then the provider's own.
func TestProvidersByWhatTheServerShows(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica"}})
	server.Database(t).Exec(t, `create role app login`)
	cases := map[string]struct {
		disguise, undo string
		superuser      bool
		want           postgres.Provider
		how            string
		logical, role  string
		setting        string
	}{
		"RDS by its setting": {
			disguise: `alter database "%" set rds.logical_replication = off`, superuser: true,
			want: postgres.ProviderRDS, how: "setting rds.logical_replication", logical: "rds.logical_replication = 1 in a custom DB parameter group",
			role: `GRANT rds_replication TO "app"`, setting: "DB parameter group",
		},
		"RDS by its roles": {
			disguise: `create role rdsadmin; create role rds_superuser`, undo: `drop role rdsadmin; drop role rds_superuser`,
			want: postgres.ProviderRDS, how: "role rdsadmin", logical: "reboot", role: `GRANT rds_replication TO "app"`, setting: "DB parameter group",
		},
		"Aurora": {
			disguise: `alter database "%" set rds.logical_replication = off; create function aurora_version() returns text language sql as 'select ''15.4'''`, superuser: true,
			want: postgres.ProviderAurora, how: "setting rds.logical_replication, function aurora_version", logical: "DB cluster parameter group",
			role: `GRANT rds_replication TO "app"`, setting: "DB cluster parameter group",
		},
		"Cloud SQL by its setting": {
			disguise: `alter database "%" set cloudsql.logical_decoding = off`, superuser: true,
			want: postgres.ProviderCloudSQL, how: "setting cloudsql.logical_decoding", logical: "cloudsql.logical_decoding = on", role: `ALTER USER "app" WITH REPLICATION`, setting: "flag",
		},
		"Cloud SQL by its roles": {
			disguise: `create role cloudsqlsuperuser`, undo: `drop role cloudsqlsuperuser`,
			want: postgres.ProviderCloudSQL, how: "role cloudsqlsuperuser", logical: "cloudsql.logical_decoding = on", role: "cloudsqlsuperuser", setting: "flag",
		},
		"Azure by its setting": {
			disguise: `alter database "%" set azure.extensions = ''`, superuser: true,
			want: postgres.ProviderAzure, how: "setting azure.extensions", logical: "server parameter wal_level to logical", role: `ALTER ROLE "app" WITH REPLICATION`, setting: "Server parameters",
		},
		"Azure by its roles": {
			disguise: `create role azure_pg_admin`, undo: `drop role azure_pg_admin`,
			want: postgres.ProviderAzure, how: "role azure_pg_admin", logical: "restart the server", role: "administrator", setting: "Server parameters",
		},
		"Neon by its setting": {
			disguise: `alter database "%" set neon.timeline_id = 'x'`, superuser: true,
			want: postgres.ProviderNeon, how: "setting neon.timeline_id", logical: "Neon console", role: "neon_superuser", setting: "Neon",
		},
		"Neon by its roles": {
			disguise: `create role neon_superuser`, undo: `drop role neon_superuser`,
			want: postgres.ProviderNeon, how: "role neon_superuser", logical: "Logical Replication, Enable", role: "neon_superuser", setting: "Neon",
		},
		"Supabase": {
			disguise: `create role supabase_admin`, undo: `drop role supabase_admin`,
			want: postgres.ProviderSupabase, how: "role supabase_admin", logical: "Supabase", role: "connect as postgres", setting: "postgres-config",
		},
		"DigitalOcean": {
			disguise: `create role doadmin`, undo: `drop role doadmin`,
			want: postgres.ProviderDigitalOcean, how: "role doadmin", logical: "DigitalOcean", role: "as doadmin", setting: "advanced configuration",
		},
		"Timescale": {
			disguise: `create role tsdbadmin`, undo: `drop role tsdbadmin`,
			want: postgres.ProviderTimescale, how: "role tsdbadmin", logical: "run TimescaleDB yourself", role: "Timescale Cloud", setting: "console",
		},
		"Crunchy Bridge": {
			disguise: `create role crunchy_pooler`, undo: `drop role crunchy_pooler`,
			want: postgres.ProviderCrunchyBridge, how: "role crunchy_pooler", logical: "configuration parameters", role: `ALTER ROLE "app" REPLICATION`, setting: "configuration parameters",
		},
		"Heroku": {
			disguise: `create schema heroku_ext`, superuser: true,
			want: postgres.ProviderHeroku, how: "schema heroku_ext", logical: "move the database", role: "move the database", setting: "Heroku",
		},
		"a server of one's own": {superuser: true, want: postgres.ProviderNone, logical: "ALTER SYSTEM SET wal_level = logical", role: `ALTER ROLE "app" REPLICATION`, setting: "ALTER SYSTEM"},
		"a server of one's own with the roles of a dump": {
			disguise: `create role rds_superuser`, undo: `drop role rds_superuser`, superuser: true,
			want: postgres.ProviderNone, logical: "ALTER SYSTEM SET wal_level = logical", setting: "ALTER SYSTEM",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { // one after the other: roles are the server's
			db := server.Database(t)
			if c.disguise != "" {
				db.Exec(t, strings.ReplaceAll(c.disguise, "%", db.Name))
			}
			if c.undo != "" {
				defer db.Exec(t, c.undo)
			}
			db.Exec(t, `alter database "`+db.Name+`" set wal_sender_timeout = '2s'`)
			report := checked(t, db.URL, func(o *postgres.Config) {
				if !c.superuser {
					o.User = "app"
				}
			}, postgres.PreflightOptions{})
			require.Equal(t, c.want, report.Provider)
			require.Equal(t, c.how, report.Evidence)
			require.Contains(t, item(t, report, "wal_level").Problem.Hint, c.logical)
			require.Contains(t, item(t, report, "timeouts").Problem.Hint, c.setting)
			if c.want == postgres.ProviderHeroku {
				require.Equal(t, "provider_not_supported", item(t, report, "provider").Problem.Code)
			} else {
				require.Equal(t, postgres.StatusOK, item(t, report, "provider").Status)
			}
			report = checked(t, db.URL, func(o *postgres.Config) { o.User = "app" }, postgres.PreflightOptions{})
			if c.role != "" {
				require.Contains(t, item(t, report, "replication").Problem.Hint, c.role)
			}
		})
	}
}

func TestProvidersByHostName(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		provider postgres.Provider
		pooler   string
	}{
		"postgres://u@db.example.com/d":                                           {postgres.ProviderNone, ""},
		"postgres://u@x.abc.eu-west-1.rds.amazonaws.com/d":                        {postgres.ProviderRDS, ""},
		"postgres://u@x.abc.cn-north-1.rds.amazonaws.com.cn/d":                    {postgres.ProviderRDS, ""},
		"postgres://u@x.cluster-abc.eu-west-1.rds.amazonaws.com/d":                {postgres.ProviderAurora, ""},
		"postgres://u@x.cluster-ro-abc.eu-west-1.rds.amazonaws.com/d":             {postgres.ProviderAurora, ""},
		"postgres://u@cluster-1.abc.eu-west-1.rds.amazonaws.com/d":                {postgres.ProviderRDS, ""}, // an instance that is called so
		"postgres://u@x.proxy-abc.eu-west-1.rds.amazonaws.com/d":                  {postgres.ProviderRDS, "RDS proxy"},
		"postgres://u@abc.def.europe-west1.sql.goog/d":                            {postgres.ProviderCloudSQL, ""},
		"postgres://u@server.postgres.database.azure.com/d":                       {postgres.ProviderAzure, ""},
		"postgres://u@server.postgres.database.azure.com:6432/d":                  {postgres.ProviderAzure, "PgBouncer"},
		"postgres://u@db.abcdef.supabase.co/d":                                    {postgres.ProviderSupabase, ""},
		"postgres://u@db.abcdef.supabase.co:6543/d":                               {postgres.ProviderSupabase, "6543"},
		"postgres://u@aws-0-eu.pooler.supabase.com:5432/d":                        {postgres.ProviderSupabase, "Supavisor"},
		"postgres://u@ep-cool-123.eu-central-1.aws.neon.tech/d":                   {postgres.ProviderNeon, ""},
		"postgres://u@ep-cool-123-pooler.eu-central-1.aws.neon.tech/d":            {postgres.ProviderNeon, "Neon"},
		"postgres://u@x-do-user-1.b.db.ondigitalocean.com:25060/d":                {postgres.ProviderDigitalOcean, ""},
		"postgres://u@x-do-user-1.b.db.ondigitalocean.com:25061/d":                {postgres.ProviderDigitalOcean, "connection pool"},
		"postgres://u@abc.def.tsdb.cloud.timescale.com:30000/d":                   {postgres.ProviderTimescale, ""},
		"postgres://u@p.abc.db.postgresbridge.com/d":                              {postgres.ProviderCrunchyBridge, ""},
		"postgres://u@p.abc.db.postgresbridge.com:5431/d":                         {postgres.ProviderCrunchyBridge, "PgBouncer"},
		"postgres://u@EP-COOL-123-pooler.EU-CENTRAL-1.aws.neon.tech.:5432/d":      {postgres.ProviderNeon, "Neon"},
		"postgres://u@a.example.com,x.abc.eu-west-1.rds.amazonaws.com/d":          {postgres.ProviderRDS, ""},
		"postgres://u@my-rds.amazonaws.com.example.com/d":                         {postgres.ProviderNone, ""},
		"postgres://u@x.notcluster-ro-abc.eu-west-1.rds.amazonaws.com/d":          {postgres.ProviderRDS, ""},
		"postgres://u@x.cluster-custom-abc.eu-west-1.rds.amazonaws.com:5432/db?x": {postgres.ProviderAurora, ""},
	}
	for url, want := range cases {
		cfg, err := postgres.ParseURL(strings.TrimSuffix(url, "?x"))
		require.NoError(t, err)
		require.Equal(t, want.provider, cfg.Provider(), url)
		how, pooler := cfg.PoolerAddress()
		require.Equal(t, want.pooler != "", pooler, url)
		require.Contains(t, how, want.pooler, url)
	}
}

func TestReaderEndpoint(t *testing.T) {
	t.Parallel()
	for url, want := range map[string][2]string{
		"postgres://u@x.cluster-ro-abc.eu-west-1.rds.amazonaws.com/d": {"x.cluster-ro-abc.eu-west-1.rds.amazonaws.com", "x.cluster-abc.eu-west-1.rds.amazonaws.com"},
		"postgres://u@x.cluster-abc.eu-west-1.rds.amazonaws.com/d":    {},
		"postgres://u@x.cluster-ro-abc.example.com/d":                 {},
	} {
		reader, writer := postgres.ReaderEndpoint(config(t, url))
		require.Equal(t, want, [2]string{reader, writer}, url)
	}
}

// TestRefusedReplication: what the role lacks comes first, and tokens of Amazon need a setting of their own.
func TestRefusedReplication(t *testing.T) {
	t.Parallel()
	wrong := func() error { return problem.New("wrong_password", "the password is wrong").WithHint("correct it") }
	require.Contains(t, postgres.ExplainRefusal(postgres.ProviderRDS, true, wrong()).Hint, "rds.iam_auth_for_replication = 1")
	require.Equal(t, "correct it", postgres.ExplainRefusal(postgres.ProviderNone, true, wrong()).Hint)
	found := postgres.ExplainRefusal(postgres.ProviderAurora, false, problem.New("no_walsender_left", "all walsenders are taken"))
	require.Equal(t, "replication_privilege_missing", found.Code)
	require.Equal(t, `GRANT rds_replication TO "app"`, found.Hint)
	found = postgres.ExplainRefusal(postgres.ProviderNone, false, problem.New("pooled_connection", "it is a pooler"))
	require.Equal(t, "pooled_connection", found.Code)
}

// TestGuides: each provider's page is there, and says plainly whether it was tried.
func TestGuides(t *testing.T) {
	t.Parallel()
	for _, p := range []postgres.Provider{
		postgres.ProviderNone, postgres.ProviderRDS, postgres.ProviderAurora, postgres.ProviderCloudSQL, postgres.ProviderAzure, postgres.ProviderNeon,
		postgres.ProviderSupabase, postgres.ProviderDigitalOcean, postgres.ProviderTimescale, postgres.ProviderCrunchyBridge, postgres.ProviderHeroku,
	} {
		page, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(p.Guide())))
		require.NoError(t, err, p)
		want := "**From the provider's manual.**"
		if p == postgres.ProviderNone {
			want = "**Tested**"
		}
		require.Contains(t, string(page), want, p)
	}
}
