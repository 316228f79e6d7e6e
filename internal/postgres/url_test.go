package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		url      string
		want     postgres.Config
		password string
		address  string
	}{
		"full": {
			url: "postgres://ann:s%40crt@db.example.com:6000/app?sslmode=verify-full&sslrootcert=/ca.pem&application_name=x&connect_timeout=3",
			want: postgres.Config{
				Hosts: []postgres.Host{{Name: "db.example.com", Port: 6000}}, User: "ann", Database: "app", SSLMode: postgres.SSLVerifyFull,
				SSLRootCert: "/ca.pem", AppName: "x", ConnectTimeout: 3 * time.Second,
			},
			password: "s@crt", address: "db.example.com:6000",
		},
		"password with raw signs": {
			url:      "postgresql://ann:p:w@x@db/app",
			want:     postgres.Config{Hosts: []postgres.Host{{Name: "db"}}, User: "ann", Database: "app"},
			password: "p:w@x", address: "db:5432",
		},
		"several hosts": {
			url: "postgres://ann@a:1,b,[::1]:3/app?target_session_attrs=read-write",
			want: postgres.Config{
				Hosts: []postgres.Host{{Name: "a", Port: 1}, {Name: "b"}, {Name: "::1", Port: 3}}, User: "ann", Database: "app",
				TargetSessionAttrs: "read-write",
			},
			address: "a:1,b:5432,[::1]:3",
		},
		"socket in a parameter": {
			url:     "postgres://ann@/app?host=/var/run/postgresql&port=5433",
			want:    postgres.Config{Hosts: []postgres.Host{{Name: "/var/run/postgresql", Port: 5433}}, User: "ann", Database: "app"},
			address: "/var/run/postgresql/.s.PGSQL.5433",
		},
		"socket in the host": {
			url:     "postgres://ann@%2Ftmp/app",
			want:    postgres.Config{Hosts: []postgres.Host{{Name: "/tmp"}}, User: "ann", Database: "app"},
			address: "/tmp/.s.PGSQL.5432",
		},
		"all in parameters": {
			url:      "postgres://?host=h&user=u&password=p&dbname=d&ssl=true&options=-c%20search_path%3Dx",
			want:     postgres.Config{Hosts: []postgres.Host{{Name: "h"}}, User: "u", Database: "d", SSLMode: "require", Options: map[string]string{"options": "-c search_path=x"}},
			password: "p", address: "h:5432",
		},
		"database as the user": {
			url:     "postgres://ann@",
			want:    postgres.Config{Hosts: []postgres.Host{{Name: "localhost"}}, User: "ann", Database: "ann"},
			address: "localhost:5432",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := postgres.ParseURL(c.url)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(c.want, got, cmpopts.IgnoreFields(postgres.Config{}, "Password")))
			require.Equal(t, c.address, got.Address())
			if c.password == "" {
				require.Nil(t, got.Password)
				return
			}
			password, err := got.Password(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.password, password)
		})
	}
}

func TestParseURLErrorsKeepTheSecret(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"scheme":        "mysql://ann:hunter2@db/app",
		"no scheme":     "ann:hunter2@db/app",
		"port":          "postgres://ann:hunter2@db:port/app",
		"port zero":     "postgres://ann:hunter2@db:0/app",
		"encoding":      "postgres://ann:hunter2%zz@db/app",
		"unknown key":   "postgres://ann:hunter2@db/app?hunter=1",
		"sslmode":       "postgres://ann:hunter2@db/app?sslmode=hunter2",
		"ports":         "postgres://ann:hunter2@a,b,c/app?port=1,2",
		"bracket":       "postgres://ann:hunter2@[::1/app",
		"timeout":       "postgres://ann:hunter2@a/app?connect_timeout=soon",
		"bad parameter": "postgres://ann:hunter2@a/app?password=%zz",
		"ssl":           "postgres://ann:hunter2@a/app?ssl=maybe",
	} {
		_, err := postgres.ParseURL(url)
		require.Equal(t, "database_url_invalid", problem.Code(err), name)
		require.NotContains(t, err.Error(), "hunter2", name)
		p, _ := problem.As(err)
		require.NotContains(t, p.Text(), "hunter2", name)
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{
		"postgres://ann:s%40crt@db.example.com:6000/app?sslmode=verify-full", "postgres://a:1,b,[::1]:3/x?port=1,2,3&host=/a,b,c", "postgresql://@/?", "x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		cfg, err := postgres.ParseURL(url)
		if err != nil {
			require.Equal(t, "database_url_invalid", problem.Code(err))
			return
		}
		require.NotEmpty(t, cfg.Hosts)
		// Whatever was read, the driver either takes it or it is reported as a problem; certificates in files are not there.
		if _, err := cfg.PgConn(t.Context()); err != nil {
			require.NotEmpty(t, problem.Code(err), "%v", err)
		}
	})
}

func TestProvidersAndPoolersByTheirAddress(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		provider postgres.Provider
		pooler   bool
	}{
		"postgres://u@db.example.com/d":                                         {postgres.ProviderNone, false},
		"postgres://u@x.abc.eu-west-1.rds.amazonaws.com/d":                      {postgres.ProviderRDS, false},
		"postgres://u@x.proxy-abc.eu-west-1.rds.amazonaws.com/d":                {postgres.ProviderRDS, true},
		"postgres://u@db.abcdef.supabase.co/d":                                  {postgres.ProviderSupabase, false},
		"postgres://u@db.abcdef.supabase.co:6543/d":                             {postgres.ProviderSupabase, true},
		"postgres://u@aws-0-eu.pooler.supabase.com:5432/d":                      {postgres.ProviderSupabase, true},
		"postgres://u@ep-cool-123.eu-central-1.aws.neon.tech/d":                 {postgres.ProviderNeon, false},
		"postgres://u@ep-cool-123-pooler.eu-central-1.aws.neon.tech/d":          {postgres.ProviderNeon, true},
		"postgres://u@x-do-user-1.b.db.ondigitalocean.com:25060/d":              {postgres.ProviderDigitalOcean, false},
		"postgres://u@server.postgres.database.azure.com/d?sslmode=verify-full": {postgres.ProviderAzure, false},
	}
	for url, want := range cases {
		cfg, err := postgres.ParseURL(url)
		require.NoError(t, err)
		require.Equal(t, want.provider, cfg.Provider(), url)
		_, pooler := cfg.PoolerAddress()
		require.Equal(t, want.pooler, pooler, url)
	}
}
