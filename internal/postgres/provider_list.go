package postgres

import "fmt"

// providerInfo is what we know of a provider: how to recognise it, and how its users do what others do with ALTER SYSTEM. The pages named in
// guide say the same at length, and which of it was tried.
type providerInfo struct {
	provider    Provider
	guide       string
	hosts       []string // ends of host names
	marks       marks
	logical     string                          // how to turn on logical decoding
	replication string                          // how to let a role replicate; %s is the role, quoted
	setting     func(name, value string) string // how to change another setting
	direct      string                          // where the server itself listens, when a pooler was reached
	roots       string                          // how to verify the server's certificate
	note        string                          // what else an operator should know
}

// infoOf is what we know of a provider; empty for none.
func infoOf(p Provider) *providerInfo {
	for _, info := range providers() {
		if info.provider == p {
			return info
		}
	}
	return &providerInfo{}
}

// Guide is the page of the documentation about connecting to a database of this provider.
func (p Provider) Guide() string {
	if info := infoOf(p); info.guide != "" {
		return "docs/how-to/" + info.guide
	}
	return "docs/how-to/connect-postgres.md"
}

// providers lists them in the order in which their marks are looked for: Aurora has the marks of RDS too, and Timescale Cloud and Supabase have
// extensions and roles that others install.
func providers() []*providerInfo {
	return []*providerInfo{
		aurora(), rds(), cloudSQL(), azure(), neon(), heroku(), supabase(), digitalOcean(), timescale(), crunchyBridge(),
	}
}

const amazonRoots = "set sslrootcert to Amazon's bundle (https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem) and sslmode to verify-full"

func aurora() *providerInfo {
	return &providerInfo{
		provider: ProviderAurora, guide: "connect-aurora.md",
		marks: marks{
			prefixes: []string{"rds"}, settings: []string{"rds.logical_replication"}, roles: []string{"rdsadmin", "rds_superuser"},
			functions: []string{"aurora_version"}, both: true,
		},
		logical: "set rds.logical_replication = 1 in a custom DB cluster parameter group of the Aurora cluster, then reboot the writer instance: " +
			"the parameter is static",
		replication: "GRANT rds_replication TO %s",
		setting: func(name, value string) string {
			return fmt.Sprintf("set %s = %s in the DB cluster parameter group of the Aurora cluster", name, value)
		},
		direct: "Amazon: the cluster endpoint (the writer's), not that of the proxy",
		roots:  amazonRoots,
		note:   "only the writer streams: use the cluster endpoint, which follows a failover",
	}
}

func rds() *providerInfo {
	return &providerInfo{
		provider: ProviderRDS, guide: "connect-rds.md",
		hosts: []string{".rds.amazonaws.com", ".rds.amazonaws.com.cn"},
		marks: marks{
			prefixes: []string{"rds"}, settings: []string{"rds.logical_replication"}, roles: []string{"rdsadmin", "rds_superuser"},
		},
		logical: "set rds.logical_replication = 1 in a custom DB parameter group, assign the group to the instance and reboot it: " +
			"the parameter is static, and sets wal_level = logical",
		replication: "GRANT rds_replication TO %s",
		setting: func(name, value string) string {
			return fmt.Sprintf("set %s = %s in the instance's DB parameter group", name, value)
		},
		direct: "Amazon: the endpoint of the instance or of the cluster's writer, not that of the proxy",
		roots:  amazonRoots,
		note:   "a slot does not survive the promotion of a read replica; a Multi-AZ failover keeps it",
	}
}

func cloudSQL() *providerInfo {
	return &providerInfo{
		provider: ProviderCloudSQL, guide: "connect-cloud-sql.md",
		hosts: []string{".sql.goog"},
		marks: marks{
			prefixes: []string{"cloudsql"}, settings: []string{"cloudsql.logical_decoding", "cloudsql.iam_authentication"},
			roles: []string{"cloudsqladmin", "cloudsqlsuperuser"},
		},
		logical: "set the flag cloudsql.logical_decoding = on; the instance restarts. " +
			"`gcloud sql instances patch INSTANCE --database-flags=…` replaces all flags, so name those that are set already too",
		replication: "ALTER USER %s WITH REPLICATION, as a member of cloudsqlsuperuser that has REPLICATION itself, such as postgres",
		setting: func(name, value string) string {
			return fmt.Sprintf("set the flag %s to %s in the instance's flags (`gcloud sql instances patch` replaces all of them)", name, value)
		},
		direct: "Cloud SQL: the instance's own address and port 5432",
		roots:  "download the instance's server CA certificate (Connections, Security), set sslrootcert to it, and sslmode to verify-ca: the certificate may name the instance and not the address",
	}
}

func azure() *providerInfo {
	return &providerInfo{
		provider: ProviderAzure, guide: "connect-azure.md",
		hosts: []string{".postgres.database.azure.com", ".postgres.database.chinacloudapi.cn", ".postgres.database.usgovcloudapi.net"},
		marks: marks{
			prefixes: []string{"azure"}, settings: []string{"azure.extensions", "azure.accepted_password_auth_method"},
			roles: []string{"azuresu", "azure_pg_admin"},
		},
		logical:     "set the server parameter wal_level to logical, and max_worker_processes to 16 or more, on the page Server parameters; save and restart the server",
		replication: "ALTER ROLE %s WITH REPLICATION, as the server's administrator",
		setting: func(name, value string) string {
			return fmt.Sprintf("set the server parameter %s to %s on the page Server parameters", name, value)
		},
		direct: "Azure: port 5432, not 6432",
		roots:  "set sslmode to verify-full and sslrootcert to system, or to the root certificates that Azure offers for download",
		note:   "before version 17, slots survive a failover only with the PG failover slots extension",
	}
}

func neon() *providerInfo {
	return &providerInfo{
		provider: ProviderNeon, guide: "connect-neon.md",
		hosts:   []string{".neon.tech"},
		marks:   marks{prefixes: []string{"neon"}, settings: []string{"neon.timeline_id", "neon.tenant_id"}, roles: []string{"neon_superuser"}},
		logical: "turn on logical replication in the Neon console: Settings, Logical Replication, Enable. It cannot be turned off again, and all computes restart",
		replication: "ALTER ROLE %s WITH REPLICATION, as a role made in the Neon console, its CLI or its API: those are members of neon_superuser " +
			"and may replicate",
		setting: func(name, value string) string {
			return fmt.Sprintf("%s is Neon's to set (wanted: %s): ask its support", name, value)
		},
		direct: "Neon: the host name without -pooler",
		roots:  "set sslmode to verify-full and sslrootcert to system: the certificate comes from a public authority",
		note: "while a stream is open the compute does not scale to zero; a slot that is idle for about 40 hours is removed if others are active; " +
			"restoring a branch removes its slots",
	}
}

func heroku() *providerInfo {
	return &providerInfo{
		provider: ProviderHeroku, guide: "connect-heroku.md",
		marks:       marks{schemas: []string{"heroku_ext"}},
		logical:     "Heroku Postgres does not offer logical replication: move the database to a provider that does",
		replication: "Heroku Postgres gives no role the right to replicate (%s): move the database to a provider that does",
		setting: func(name, value string) string {
			return fmt.Sprintf("%s is Heroku's to set (wanted: %s): ask its support", name, value)
		},
		direct: "Heroku: the address in DATABASE_URL, not in a variable of its connection pooling",
		roots:  "Heroku's certificates are signed by themselves: sslmode require is the most that can be had",
	}
}

func supabase() *providerInfo {
	return &providerInfo{
		provider: ProviderSupabase, guide: "connect-supabase.md",
		hosts:       []string{".supabase.co", ".supabase.com"},
		marks:       marks{prefixes: []string{"supautils"}, roles: []string{"supabase_admin"}},
		logical:     "Supabase sets wal_level = logical by itself; ask its support if yours is otherwise",
		replication: "connect as postgres; from Postgres 17 on another role can be let: ALTER ROLE %s WITH REPLICATION, as postgres",
		setting: func(name, value string) string {
			return fmt.Sprintf("set %s to %s with the Supabase CLI (postgres-config) or its management API", name, value)
		},
		direct: "Supabase: db.<project>.supabase.co port 5432, which has an IPv6 address unless the project has the IPv4 add-on",
		roots:  "download the certificate in the dashboard (Database Settings, SSL Configuration), set sslrootcert to it and sslmode to verify-full",
		note:   "the direct host has an IPv6 address only, unless the project has the IPv4 add-on",
	}
}

func digitalOcean() *providerInfo {
	return &providerInfo{
		provider: ProviderDigitalOcean, guide: "connect-digitalocean.md",
		hosts:       []string{".db.ondigitalocean.com"},
		marks:       marks{roles: []string{"doadmin"}},
		logical:     "DigitalOcean sets wal_level = logical by itself; ask its support if yours is otherwise",
		replication: "ALTER ROLE %s WITH REPLICATION, as doadmin",
		setting: func(name, value string) string {
			return fmt.Sprintf("set %s to %s in the cluster's advanced configuration; what is not offered there only the support can change", name, value)
		},
		direct: "DigitalOcean: the cluster's own port, 25060, not that of a connection pool",
		roots:  "download the cluster's CA certificate in the control panel, set sslrootcert to it and sslmode to verify-full",
		note:   "doadmin is no superuser: a publication names its tables, FOR ALL TABLES is not possible",
	}
}

func timescale() *providerInfo {
	return &providerInfo{
		provider: ProviderTimescale, guide: "connect-timescale.md",
		hosts:       []string{".tsdb.cloud.timescale.com"},
		marks:       marks{roles: []string{"tsdbadmin"}},
		logical:     "Timescale Cloud does not offer logical decoding to its customers: ask its support, or run TimescaleDB yourself",
		replication: "Timescale Cloud decides who may replicate (%s): ask its support, or run TimescaleDB yourself",
		setting: func(name, value string) string {
			return fmt.Sprintf("set %s to %s among the service's database parameters in the console", name, value)
		},
		direct: "Timescale: the service's own host and port, not those of its connection pooler",
		roots:  "set sslmode to verify-full and sslrootcert to system, or to the CA certificate that the console offers",
		note:   "rows of a hypertable live in chunks, and changes are reported for those",
	}
}

func crunchyBridge() *providerInfo {
	return &providerInfo{
		provider: ProviderCrunchyBridge, guide: "connect-crunchy-bridge.md",
		hosts:       []string{".postgresbridge.com"},
		marks:       marks{extensions: []string{"crunchy_pooler"}, roles: []string{"crunchy_pooler"}},
		logical:     "Crunchy Bridge sets wal_level = logical by itself; if yours is otherwise, set it in the cluster's configuration parameters and restart",
		replication: "ALTER ROLE %s REPLICATION, as postgres, which is superuser there",
		setting: func(name, value string) string {
			return fmt.Sprintf("set %s to %s in the cluster's configuration parameters", name, value)
		},
		direct: "Crunchy Bridge: port 5432, not 5431",
		roots:  "download the team's CA certificate in the dashboard, set sslrootcert to it and sslmode to verify-ca",
		note:   "slots survive a failover from Postgres 17 on, if they were created with failover => true",
	}
}
