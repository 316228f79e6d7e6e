package postgres

import "strings"

// Provider is who runs a database, as far as its host name tells; repairs differ between them.
type Provider string

// The providers whose ways differ from a server of one's own.
const (
	ProviderNone         Provider = ""
	ProviderRDS          Provider = "Amazon RDS or Aurora"
	ProviderCloudSQL     Provider = "Google Cloud SQL"
	ProviderAzure        Provider = "Azure Database for PostgreSQL"
	ProviderSupabase     Provider = "Supabase"
	ProviderNeon         Provider = "Neon"
	ProviderDigitalOcean Provider = "DigitalOcean"
	ProviderTimescale    Provider = "Timescale"
)

// providerSuffixes maps the ends of host names to providers.
func providerSuffixes() map[string]Provider {
	return map[string]Provider{
		".rds.amazonaws.com":           ProviderRDS,
		".rds.amazonaws.com.cn":        ProviderRDS,
		".sql.goog":                    ProviderCloudSQL,
		".postgres.database.azure.com": ProviderAzure,
		".supabase.co":                 ProviderSupabase,
		".supabase.com":                ProviderSupabase,
		".neon.tech":                   ProviderNeon,
		".db.ondigitalocean.com":       ProviderDigitalOcean,
		".tsdb.cloud.timescale.com":    ProviderTimescale,
	}
}

// Provider is who runs the database, judged by the host name.
func (c Config) Provider() Provider {
	for _, h := range c.Hosts {
		name := strings.ToLower(strings.TrimSuffix(h.Name, "."))
		for suffix, p := range providerSuffixes() {
			if strings.HasSuffix(name, suffix) {
				return p
			}
		}
	}
	return ProviderNone
}

// PoolerAddress reports whether the address itself says that a connection pooler listens there, and how it says so.
func (c Config) PoolerAddress() (how string, found bool) {
	for _, h := range c.Hosts {
		name := strings.ToLower(h.Name)
		switch {
		case strings.Contains(name, "pooler.supabase"):
			return "the host name is that of Supabase's pooler", true
		case strings.HasSuffix(name, ".neon.tech") && strings.Contains(name, "-pooler."):
			return "the host name is that of Neon's pooler", true
		case strings.Contains(name, ".proxy-") && strings.Contains(name, ".rds.amazonaws.com"):
			return "the host name is that of an RDS proxy", true
		case c.Provider() == ProviderSupabase && h.Port == 6543:
			return "port 6543 is Supabase's pooler", true
		}
	}
	return "", false
}

// directAddress tells where the database itself listens.
func directAddress(c Config) string {
	switch c.Provider() {
	case ProviderSupabase:
		return "Supabase: db.<project>.supabase.co port 5432, which has an IPv6 address unless the project has the IPv4 add-on"
	case ProviderNeon:
		return "Neon: the host name without -pooler"
	case ProviderRDS:
		return "Amazon: the endpoint of the instance or of the cluster's writer, not of the proxy"
	case ProviderAzure:
		return "Azure: port 5432, not 6432"
	default:
		return "PgBouncer and the like: the host and port in the pooler's own configuration, often port 5432"
	}
}

// walLevelHint tells how to turn on logical decoding.
func walLevelHint(p Provider) string {
	switch p {
	case ProviderRDS:
		return "set rds.logical_replication = 1 in the parameter group and reboot the instance"
	case ProviderCloudSQL:
		return "set the flag cloudsql.logical_decoding = on; the instance restarts"
	case ProviderAzure:
		return "set the server parameter wal_level to logical and restart the server"
	case ProviderNeon:
		return "turn on logical replication in the settings of the Neon project"
	default:
		return "ALTER SYSTEM SET wal_level = logical; then restart the server"
	}
}

// replicationHint tells how to give a role the right to replicate.
func replicationHint(p Provider, user string) string {
	switch p {
	case ProviderRDS:
		return "GRANT rds_replication TO " + quoteIdent(user)
	case ProviderNeon:
		return "make the role in the Neon console or API; roles made there may replicate"
	default:
		return "ALTER ROLE " + quoteIdent(user) + " REPLICATION"
	}
}

// quirk is what an operator should know about a provider, "" for nothing.
func quirk(p Provider) string {
	switch p {
	case ProviderRDS:
		return "on Aurora, connect to the writer endpoint: readers cannot stream, and during a failover the endpoint may point at one"
	case ProviderNeon:
		return "Neon removes slots that are idle for long, and an open stream keeps the compute from scaling to zero"
	case ProviderSupabase:
		return "Supabase's direct host has an IPv6 address only, unless the project has the IPv4 add-on"
	case ProviderDigitalOcean:
		return "DigitalOcean gives no superuser, so FOR ALL TABLES is not possible; a publication names its tables"
	case ProviderTimescale:
		return "rows of a hypertable live in chunks, and changes are reported for those"
	default:
		return ""
	}
}
