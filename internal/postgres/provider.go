package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Provider is who runs a database; repairs differ between them.
type Provider string

// The providers whose ways differ from a server of one's own.
const (
	ProviderNone          Provider = ""
	ProviderRDS           Provider = "Amazon RDS"
	ProviderAurora        Provider = "Amazon Aurora"
	ProviderCloudSQL      Provider = "Google Cloud SQL"
	ProviderAzure         Provider = "Azure Database for PostgreSQL"
	ProviderNeon          Provider = "Neon"
	ProviderSupabase      Provider = "Supabase"
	ProviderDigitalOcean  Provider = "DigitalOcean"
	ProviderTimescale     Provider = "Timescale Cloud"
	ProviderCrunchyBridge Provider = "Crunchy Bridge"
	ProviderHeroku        Provider = "Heroku Postgres"
)

// Provider is who runs the database, judged by the host name.
func (c Config) Provider() Provider {
	for _, h := range c.Hosts {
		name := strings.ToLower(strings.TrimSuffix(h.Name, "."))
		for _, info := range providers() {
			if info.hasHost(name) {
				return info.provider
			}
		}
	}
	return ProviderNone
}

// hasHost reports whether a host name in lower case is one of the provider's.
func (i *providerInfo) hasHost(name string) bool {
	if i.provider == ProviderAurora { // its endpoints look like those of RDS, but for the ones of a cluster
		return strings.Contains(name, ".rds.amazonaws.com") && auroraEndpoint(name) != ""
	}
	return slices.ContainsFunc(i.hosts, func(end string) bool { return strings.HasSuffix(name, end) })
}

// auroraEndpoint is the part of a host name that tells what kind of endpoint of an Aurora cluster it is: cluster, cluster-ro, cluster-custom or
// limitless; "" for any other host.
func auroraEndpoint(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	for _, kind := range []string{"cluster-ro", "cluster-custom", "cluster"} {
		if strings.HasPrefix(rest, kind+"-") {
			return kind
		}
	}
	return ""
}

// PoolerAddress reports whether the address itself says that a connection pooler listens there, and how it says so.
func (c Config) PoolerAddress() (how string, found bool) {
	provider := c.Provider()
	for _, h := range c.Hosts {
		name := strings.ToLower(strings.TrimSuffix(h.Name, "."))
		switch {
		case strings.Contains(name, "pooler.supabase"):
			return "the host name is that of Supavisor, Supabase's pooler", true
		case strings.HasSuffix(name, ".neon.tech") && strings.Contains(name, "-pooler."):
			return "the host name is that of Neon's pooler", true
		case strings.Contains(name, ".proxy-") && strings.Contains(name, ".rds.amazonaws.com"):
			return "the host name is that of an RDS proxy", true
		case provider == ProviderSupabase && h.Port == 6543:
			return "port 6543 is Supabase's pooler", true
		case provider == ProviderAzure && h.Port == 6432:
			return "port 6432 is PgBouncer, which Azure runs beside the server", true
		case provider == ProviderCrunchyBridge && h.Port == 5431:
			return "port 5431 is PgBouncer, which Crunchy Bridge runs beside the server", true
		case provider == ProviderDigitalOcean && h.Port == 25061:
			return "port 25061 is DigitalOcean's connection pool", true
		}
	}
	return "", false
}

// directAddress tells where the database itself listens.
func directAddress(c Config) string {
	if info := infoOf(c.Provider()); info.direct != "" {
		return info.direct
	}
	return "PgBouncer and the like: the host and port in the pooler's own configuration, often port 5432"
}

// evidence is what a server shows of who runs it.
type evidence struct {
	settings   []string
	roles      []string
	extensions []string
	schemas    []string
	functions  []string
	superuser  bool // we are one
}

// first returns the first of the wanted names that is there, with what it is.
func first(kind string, wanted, there []string) string {
	for _, name := range wanted {
		if slices.Contains(there, name) {
			return kind + " " + name
		}
	}
	return ""
}

// marksQuery reads the marks that need no privilege. Settings of a provider's own module are listed; those that were only given a value are
// placeholders, which current_setting alone knows.
const marksQuery = `
select 'setting', name::text from pg_settings where split_part(name, '.', 1) = any ($1::text[]) and position('.' in name) > 0
union all select 'role', rolname::text from pg_roles where rolname = any ($2::text[])
union all select 'extension', extname::text from pg_extension
union all select 'schema', nspname::text from pg_namespace where nspname = any ($3::text[])
union all select distinct 'function', proname::text from pg_proc where proname = any ($4::text[])`

func readEvidence(ctx context.Context, conn *pgx.Conn) (evidence, error) {
	var (
		e                                  evidence
		prefixes, roles, schemas, routines []string
		named                              []string
	)
	for _, info := range providers() {
		prefixes = append(prefixes, info.marks.prefixes...)
		named = append(named, info.marks.settings...)
		roles = append(roles, info.marks.roles...)
		schemas = append(schemas, info.marks.schemas...)
		routines = append(routines, info.marks.functions...)
	}
	rows, err := conn.Query(ctx, marksQuery, prefixes, roles, schemas, routines)
	if err != nil {
		return e, err
	}
	var kind, name string
	_, err = pgx.ForEachRow(rows, []any{&kind, &name}, func() error {
		switch kind {
		case "setting":
			e.settings = append(e.settings, name)
		case "role":
			e.roles = append(e.roles, name)
		case "extension":
			e.extensions = append(e.extensions, name)
		case "schema":
			e.schemas = append(e.schemas, name)
		default:
			e.functions = append(e.functions, name)
		}
		return nil
	})
	if err != nil {
		return e, err
	}
	given, err := settingsGiven(ctx, conn, named)
	e.settings = append(e.settings, given...)
	return e, err
}

// settingsGiven returns those of the settings that have a value. A setting that only some may see makes the server refuse, which tells nothing.
func settingsGiven(ctx context.Context, conn *pgx.Conn, names []string) ([]string, error) {
	rows, err := conn.Query(ctx, "select s from unnest($1::text[]) s where current_setting(s, true) is not null", names)
	if err != nil {
		return nil, err
	}
	given, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return nil, nil
	}
	return given, err
}

// judge names the provider and how it is known. The host name decides; without one that tells, settings do, and then what else the provider
// leaves in its databases. Roles alone come along with a dump to a server of one's own, where one is superuser.
func (e evidence) judge(c Config) (provider Provider, how string) {
	if provider = c.Provider(); provider == ProviderRDS && slices.Contains(e.functions, "aurora_version") {
		return ProviderAurora, "host name, function aurora_version"
	}
	if provider != ProviderNone {
		return provider, "host name"
	}
	for _, roles := range []bool{false, true} {
		if roles && e.superuser {
			break
		}
		for _, info := range providers() {
			if how := info.marks.shown(e, roles); how != "" {
				return info.provider, how
			}
		}
	}
	return ProviderNone, ""
}

// marks are what a provider leaves in its databases.
type marks struct {
	prefixes   []string // of settings that its own modules define
	settings   []string // of those, the ones to ask for by name
	roles      []string
	extensions []string
	schemas    []string
	functions  []string
	both       bool // one of the functions is needed beside one of the others
}

// shown tells which of the marks the evidence has: a role, or one of the others.
func (m marks) shown(e evidence, roles bool) string {
	how := first("role", m.roles, e.roles)
	if !roles {
		how = cmp.Or(m.setting(e), first("extension", m.extensions, e.extensions), first("schema", m.schemas, e.schemas))
	}
	if how == "" || !m.both {
		return how
	}
	function := first("function", m.functions, e.functions)
	if function == "" {
		return ""
	}
	return how + ", " + function
}

func (m marks) setting(e evidence) string {
	for _, name := range e.settings {
		if prefix, _, _ := strings.Cut(name, "."); slices.Contains(m.prefixes, prefix) {
			return "setting " + name
		}
	}
	return ""
}

// readerEndpoint names the Aurora reader endpoint that the configuration connects to, and the writer's in its place.
func readerEndpoint(c Config) (reader, writer string) {
	for _, h := range c.Hosts {
		if name := strings.ToLower(h.Name); strings.Contains(name, ".rds.amazonaws.com") && auroraEndpoint(name) == "cluster-ro" {
			return h.Name, strings.Replace(name, ".cluster-ro-", ".cluster-", 1)
		}
	}
	return "", ""
}

// changeSetting tells how to give a setting another value at this provider.
func changeSetting(p Provider, name, value string, restart bool) string {
	if info := infoOf(p); info.setting != nil {
		text := info.setting(name, value)
		if restart {
			text += "; it takes effect at a restart"
		}
		return text
	}
	if restart {
		return fmt.Sprintf("ALTER SYSTEM SET %s = '%s'; then restart the server", name, value)
	}
	return fmt.Sprintf("ALTER SYSTEM SET %s = '%s'; SELECT pg_reload_conf()", name, value)
}

// walLevelHint tells how to turn on logical decoding.
func walLevelHint(p Provider) string {
	if info := infoOf(p); info.logical != "" {
		return info.logical
	}
	return "ALTER SYSTEM SET wal_level = logical; then restart the server"
}

// replicationHint tells how to give a role the right to replicate.
func replicationHint(p Provider, user string) string {
	if info := infoOf(p); info.replication != "" {
		return fmt.Sprintf(info.replication, quoteIdent(user))
	}
	return "ALTER ROLE " + quoteIdent(user) + " REPLICATION"
}

// rootsHint tells where the certificate of the provider's authority is to be had.
func rootsHint(p Provider) string {
	if info := infoOf(p); info.roots != "" {
		return info.roots
	}
	return "set sslrootcert to the certificate of the authority that signed the server's, and sslmode to verify-full"
}
