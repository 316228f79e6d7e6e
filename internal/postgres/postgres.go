// Package postgres reaches a source database: how to connect to it, what to check before streaming from it, who it is, and what its errors
// mean to the people who have to repair them.
//
// It promises that every connection has the same text output settings, whatever roles and databases have set, so that a value reads the same
// through the write-ahead log and through a query, and that no error or string it makes holds a password. A Config is immutable once used and
// safe for concurrent use; connections are not. Slots, publications, catalog facts and the stream are its subpackages.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// LoopbackBuffer is the receive buffer in bytes that replication connections ask for when the server is on this machine.
const LoopbackBuffer = 32 << 10

// DefaultPort is where Postgres listens unless told otherwise.
const DefaultPort = 5432

// DefaultConnectTimeout bounds an attempt to connect to one address.
const DefaultConnectTimeout = 10 * time.Second

// Host is one server to try: a name, an address, or the absolute path of the directory that holds the unix socket.
type Host struct {
	Name string
	Port uint16 // 0 means DefaultPort
}

// Config says how to reach a database.
type Config struct {
	Hosts    []Host // tried in order
	Database string
	User     string
	// Password is called for each connection, so that a rotated password or a short-lived token needs no restart. Nil means what libpq would
	// use: PGPASSWORD or the password file.
	Password func(ctx context.Context) (string, error)
	SSLMode  SSLMode // "" means prefer
	// SSLRootCert, SSLCert and SSLKey are PEM text or the paths of PEM files. SSLRootCert "system" stands for the system's roots.
	SSLRootCert        string
	SSLCert            string
	SSLKey             string
	IPv6               bool   // use IPv6 addresses only
	AppName            string // "" means sequin
	ConnectTimeout     time.Duration
	TargetSessionAttrs string // as in libpq; "" means any
	// Options are further run-time parameters for every connection. They cannot change what is pinned.
	Options map[string]string
}

// StaticPassword is a Config.Password that never changes.
func StaticPassword(password string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return password, nil }
}

// Pinned are the settings that change how values are printed; every connection has them like this.
func Pinned() map[string]string {
	return map[string]string{
		"client_encoding":    "UTF8",
		"DateStyle":          "ISO",
		"IntervalStyle":      "postgres",
		"TimeZone":           "UTC",
		"bytea_output":       "hex",
		"extra_float_digits": "1", // from 12 on, any value above 0 prints the shortest text that reads back exactly
	}
}

// Connect opens a regular connection.
func (c Config) Connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := c.PgConn(ctx)
	if err != nil {
		return nil, err
	}
	base, err := pgx.ParseConfig(c.dsn(c.hosts()[0]))
	if err != nil {
		return nil, c.badConfig(err)
	}
	base.Config = *cfg
	// No prepared statements: catalog queries run seldom, and a pooler in between must be able to answer so that it can be named.
	base.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, base)
	if err != nil {
		return nil, c.Explain(err)
	}
	return conn, nil
}

// ConnectReplication opens a connection in logical replication mode.
func (c Config) ConnectReplication(ctx context.Context) (*pgconn.PgConn, error) {
	cfg, err := c.Replication(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, c.Explain(err)
	}
	return conn, nil
}

// Replication is PgConn for a connection in logical replication mode, without timeouts that a role or database may have set.
func (c Config) Replication(ctx context.Context) (*pgconn.Config, error) {
	cfg, err := c.PgConn(ctx)
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = (&net.Dialer{Control: narrowLoopback}).DialContext
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["statement_timeout"] = "0"
	cfg.RuntimeParams["lock_timeout"] = "0"
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	return cfg, nil
}

// PgConn is the driver's configuration for a regular connection, with the password of this moment in it.
func (c Config) PgConn(ctx context.Context) (*pgconn.Config, error) {
	hosts := c.hosts()
	if len(hosts) == 0 {
		return nil, c.badConfig(errors.New("no host"))
	}
	cfg, err := pgconn.ParseConfig(c.dsn(hosts[0]))
	if err != nil {
		return nil, c.badConfig(err)
	}
	if c.Password != nil {
		if cfg.Password, err = c.Password(ctx); err != nil {
			return nil, fmt.Errorf("password for user %q on %s: %w", c.User, c.Address(), err)
		}
	}
	if err := c.addHosts(cfg, hosts); err != nil {
		return nil, err
	}
	cfg.RuntimeParams = maps.Clone(c.Options)
	if cfg.RuntimeParams == nil {
		cfg.RuntimeParams = map[string]string{}
	}
	cfg.RuntimeParams["application_name"] = c.appName()
	setPinned(cfg.RuntimeParams)
	cfg.ConnectTimeout = c.connectTimeout()
	if c.IPv6 {
		cfg.LookupFunc = lookupIPv6
	}
	return cfg, nil
}

// setPinned puts the pinned settings into params; parameter names have no case, so the caller's spelling of one gives way.
func setPinned(params map[string]string) {
	for name, value := range Pinned() {
		for other := range params {
			if strings.EqualFold(other, name) {
				delete(params, other)
			}
		}
		params[name] = value
	}
}

// addHosts fills in every host with the TLS variants of its mode, in the order in which they are tried.
func (c Config) addHosts(cfg *pgconn.Config, hosts []Host) error {
	var all []*pgconn.FallbackConfig
	for _, h := range hosts {
		variants := []*tls.Config{nil}
		if !h.socket() {
			var err error
			if variants, err = c.tlsVariants(h.Name); err != nil {
				return err
			}
		}
		for _, v := range variants {
			all = append(all, &pgconn.FallbackConfig{Host: h.Name, Port: h.Port, TLSConfig: v})
		}
	}
	cfg.Host, cfg.Port, cfg.TLSConfig, cfg.Fallbacks = all[0].Host, all[0].Port, all[0].TLSConfig, all[1:]
	return nil
}

// dsn names everything that the driver would otherwise take from the environment.
func (c Config) dsn(h Host) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	attrs := c.TargetSessionAttrs
	if attrs == "" {
		attrs = "any"
	}
	var b strings.Builder
	for _, kv := range [][2]string{
		{"host", h.Name},
		{"port", strconv.Itoa(int(h.Port))},
		{"user", c.User},
		{"dbname", c.Database},
		{"sslmode", "disable"}, // TLS is set up by addHosts
		{"sslrootcert", ""},
		{"sslcert", ""},
		{"sslkey", ""},
		{"sslnegotiation", "postgres"},
		{"sslcertmode", "allow"},
		{"target_session_attrs", attrs},
	} {
		fmt.Fprintf(&b, "%s='%s' ", kv[0], quote.Replace(kv[1]))
	}
	return b.String()
}

func (c Config) hosts() []Host {
	hosts := make([]Host, 0, len(c.Hosts))
	for _, h := range c.Hosts {
		if h.Port == 0 {
			h.Port = DefaultPort
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func (c Config) appName() string {
	if c.AppName == "" {
		return "sequin"
	}
	return c.AppName
}

func (c Config) connectTimeout() time.Duration {
	if c.ConnectTimeout <= 0 {
		return DefaultConnectTimeout
	}
	return c.ConnectTimeout
}

// Address is the host and port for people, several separated by commas.
func (c Config) Address() string {
	parts := make([]string, 0, len(c.Hosts))
	for _, h := range c.hosts() {
		parts = append(parts, h.String())
	}
	return strings.Join(parts, ",")
}

// String is the address of the host: host:port, or the path of the socket.
func (h Host) String() string {
	if h.socket() {
		return fmt.Sprintf("%s/.s.PGSQL.%d", strings.TrimSuffix(h.Name, "/"), h.Port)
	}
	return net.JoinHostPort(h.Name, strconv.Itoa(int(h.Port)))
}

func (h Host) socket() bool { return strings.HasPrefix(h.Name, "/") }

// lookupIPv6 resolves a name to its IPv6 addresses.
func lookupIPv6(ctx context.Context, host string) ([]string, error) {
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip6", host)
	if err != nil {
		return nil, fmt.Errorf("look up an IPv6 address: %w", err)
	}
	addrs := make([]string, 0, len(ips))
	for _, ip := range ips {
		addrs = append(addrs, ip.String())
	}
	return addrs, nil
}
