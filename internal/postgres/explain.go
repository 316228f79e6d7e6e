package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/problem"
)

// Explain turns an error from connecting, or from a statement, into a problem with its cause and its repair. An error that it knows nothing
// of, and one that is a problem already, come back as they are.
func (c Config) Explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := problem.As(err); ok {
		return err
	}
	if errors.Is(err, ErrNotReplication) {
		return pooled(c, "it ignored the request for a replication connection").Because(err)
	}
	e := explainer{cfg: c, err: err}
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		e.connecting = true
		e.replication = connect.Config.RuntimeParams["replication"] != ""
	}
	if p := e.explain(); p != nil {
		return p.Because(err)
	}
	return err
}

// explainer holds what is known of one error.
type explainer struct {
	cfg         Config
	err         error
	connecting  bool
	replication bool
}

func (e explainer) explain() *problem.Error {
	if pg, ok := errors.AsType[*pgconn.PgError](e.err); ok {
		return e.server(pg)
	}
	if !e.connecting {
		return nil
	}
	if p := e.tls(); p != nil {
		return p
	}
	return e.network()
}

// server explains what the server answered. Its texts come in its own language, so codes and the names of its routines decide.
func (e explainer) server(pg *pgconn.PgError) *problem.Error {
	if e.connecting && pg.Code == "08P01" && pg.Routine == "" {
		// Postgres names the routine that raised an error; poolers do not.
		return pooled(e.cfg, "it answered: "+pg.Message)
	}
	if p := e.authentication(pg); p != nil {
		return p.WithDetail("the server said: %s", pg.Message)
	}
	if p := e.capacity(pg); p != nil {
		return p.WithDetail("the server said: %s", pg.Message)
	}
	return nil
}

func (e explainer) authentication(pg *pgconn.PgError) *problem.Error {
	c := e.cfg
	switch pg.Code {
	case "28P01":
		return problem.New("wrong_password", "the password for user %q is wrong on %s", c.User, c.Address()).
			WithHint("correct the password, or set it on the server: ALTER ROLE %s PASSWORD '…'", quoteIdent(c.User))
	case "28000":
		return e.authorization(pg)
	case "3D000":
		return problem.New("database_not_found", "database %q does not exist on %s", c.Database, c.Address()).
			WithHint("correct the name of the database; `psql -l` lists those of a server")
	case "42501":
		return e.privilege(pg)
	}
	return nil
}

// authorization tells the pg_hba.conf refusals from the other things that Postgres reports as 28000.
func (e explainer) authorization(pg *pgconn.PgError) *problem.Error {
	c := e.cfg
	if pg.Routine != "ClientAuthentication" {
		return problem.New("authentication_failed", "user %q may not log in on %s", c.User, c.Address()).
			WithHint("check that the role exists and may log in: ALTER ROLE %s LOGIN", quoteIdent(c.User))
	}
	p := problem.New("no_pg_hba_entry", "pg_hba.conf on %s does not let user %q reach database %q from here", c.Address(), c.User, c.Database)
	if c.SSLMode == SSLDisable {
		return p.WithHint("the server may ask for TLS: set sslmode to require or verify-full; or add a line to pg_hba.conf: host %s %s <address>/32 scram-sha-256",
			c.Database, c.User)
	}
	return p.WithHint("add a line to pg_hba.conf and reload: hostssl %s %s <address>/32 scram-sha-256", c.Database, c.User)
}

func (e explainer) privilege(pg *pgconn.PgError) *problem.Error {
	c := e.cfg
	switch {
	case pg.Routine == "CheckMyDatabase":
		return problem.New("no_connect_privilege", "user %q may not connect to database %q", c.User, c.Database).
			WithHint("GRANT CONNECT ON DATABASE %s TO %s", quoteIdent(c.Database), quoteIdent(c.User))
	case e.replication, pg.Routine == "CheckSlotPermissions", pg.Routine == "check_permissions", pg.Routine == "InitPostgres":
		return noReplicationPrivilege(c.User)
	default:
		return problem.New("privilege_missing", "user %q lacks a privilege in database %q", c.User, c.Database).
			WithHint("grant what the server names, or connect as a role that has it")
	}
}

func noReplicationPrivilege(user string) *problem.Error {
	return problem.New("replication_privilege_missing", "user %q lacks the REPLICATION privilege", user).
		WithHint("ALTER ROLE %[1]s REPLICATION; on Amazon RDS and Aurora: GRANT rds_replication TO %[1]s", quoteIdent(user))
}

func (e explainer) capacity(pg *pgconn.PgError) *problem.Error {
	c := e.cfg
	switch pg.Code {
	case "53300":
		if e.replication && pg.Routine == "InitProcess" {
			return problem.New("no_walsender_left", "all walsenders of %s are taken", c.Address()).
				WithHint("raise max_wal_senders and restart the server; `select * from pg_stat_replication` shows who holds them")
		}
		return problem.New("too_many_connections", "%s takes no more connections", c.Address()).
			WithHint("close idle connections or raise max_connections; `select * from pg_stat_activity` shows who holds them")
	case "53400":
		return noSlotLeft(c.Address())
	case "57P03":
		return problem.New("server_starting", "%s is starting up, shutting down or recovering", c.Address()).
			WithHint("nothing to do: connecting is tried again; the server's log tells how far it is")
	case "57P01", "57P02":
		return problem.New("server_shutdown", "%s ended the connection", c.Address()).
			WithHint("nothing to do: connecting is tried again")
	}
	return nil
}

func noSlotLeft(address string) *problem.Error {
	return problem.New("no_slot_left", "all replication slots of %s are taken", address).
		WithHint("drop one that nobody uses, pg_drop_replication_slot('…'), or raise max_replication_slots and restart the server; " +
			"`select * from pg_replication_slots` lists them")
}

// tls explains a handshake that did not succeed.
func (e explainer) tls() *problem.Error {
	c := e.cfg
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		remote    *net.OpError
		record    tls.RecordHeaderError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(e.err, &hostname):
		return problem.New("tls_hostname_mismatch", "the certificate of %s is for another host name", c.Address()).
			WithDetail("%v", hostname).
			WithHint("connect by a name that the certificate holds, or use sslmode=verify-ca")
	case errors.As(e.err, &authority):
		return problem.New("tls_unknown_authority", "the certificate of %s comes from an authority that is not trusted", c.Address()).
			WithDetail("%v", authority).
			WithHint("set sslrootcert to the authority's certificate; cloud providers offer it for download")
	case errors.As(e.err, &invalid), errors.As(e.err, &verify):
		return problem.New("tls_certificate_invalid", "the certificate of %s is not valid", c.Address()).WithDetail("%v", innermost(e.err)).
			WithHint("renew the server's certificate; check the clocks of both machines")
	case errors.As(e.err, &remote) && remote.Op == "remote error": // an alert that the server sent
		return problem.New("tls_refused", "%s refused the TLS connection", c.Address()).WithDetail("%v", remote.Err).
			WithHint("check whether the server wants a client certificate (sslcert, sslkey), and which TLS versions it takes")
	case errors.As(e.err, &record), refusedTLS(e.err):
		return problem.New("tls_not_offered", "%s does not offer TLS", c.Address()).
			WithHint("turn on `ssl` on the server, or set sslmode=disable if the network between is yours")
	}
	return nil
}

// refusedTLS knows the driver's error for a server that answers a request for TLS with no. The driver gives it no type.
func refusedTLS(err error) bool {
	return strings.Contains(err.Error(), "server refused TLS connection")
}

func (e explainer) network() *problem.Error {
	c := e.cfg
	var (
		dns  *net.DNSError
		addr *net.AddrError
	)
	switch {
	case errors.As(e.err, &addr):
		return problem.New("host_unknown", "the address %q cannot be used", addr.Addr).WithDetail("%v", addr).
			WithHint("correct the host; turn ipv6 off for an IPv4 address")
	case errors.As(e.err, &dns) && dns.IsNotFound:
		p := problem.New("host_unknown", "the host name %q is not known", dns.Name)
		if c.IPv6 {
			return p.WithHint("the name needs an IPv6 address while ipv6 is on; correct the name or turn ipv6 off")
		}
		return p.WithHint("correct the host name, and check the name servers of this machine")
	case errors.As(e.err, &dns):
		return problem.New("host_lookup_failed", "the host name %q could not be looked up", dns.Name).WithDetail("%v", dns).
			WithHint("check the name servers of this machine; it is tried again")
	case errors.Is(e.err, syscall.ECONNREFUSED), errors.Is(e.err, syscall.ENOENT):
		return problem.New("connection_refused", "nothing listens on %s", c.Address()).
			WithHint("check host and port, that the server runs, and its listen_addresses")
	case errors.Is(e.err, syscall.ENETUNREACH), errors.Is(e.err, syscall.EHOSTUNREACH):
		return problem.New("host_unreachable", "%s cannot be reached from here", c.Address()).WithDetail("%v", innermost(e.err)).
			WithHint("if the host has IPv6 addresses only, this machine needs IPv6, or the provider's IPv4 address")
	case pgconn.Timeout(e.err), errors.Is(e.err, context.DeadlineExceeded):
		return problem.New("connection_timeout", "%s did not answer in time", c.Address()).
			WithHint("check host and port, firewalls, security groups and the provider's list of allowed addresses")
	case errors.Is(e.err, io.EOF), errors.Is(e.err, io.ErrUnexpectedEOF), errors.Is(e.err, syscall.ECONNRESET), errors.Is(e.err, syscall.EPIPE):
		p := problem.New("connection_closed", "%s closed the connection while it was set up", c.Address())
		if c.SSLCert != "" { // with TLS 1.3 a refusal comes after the handshake, and the end of the connection can overtake it
			return p.WithHint("the server may have refused the client certificate (sslcert): its log tells")
		}
		return p.WithHint("check that host and port are those of Postgres, and any proxy in between; it is tried again")
	}
	return nil
}

// Transient reports whether trying again later may help without anyone repairing anything.
func Transient(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return transientState(pg.Code)
	}
	switch problem.Code(err) {
	case "host_lookup_failed", "connection_refused", "host_unreachable", "connection_timeout", "connection_closed", "password_command_timeout":
		return true
	case "":
	default:
		return false
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}

// transientState knows the SQLSTATEs that pass: connection trouble (08, without the protocol violations by which a pooler refuses),
// resources (53), serialization and deadlocks (40), operator intervention (57), an object in use (55006), a lock timeout (55P03).
func transientState(code string) bool {
	if code == "08P01" || code == "53400" || len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "08", "53", "40", "57":
		return true
	}
	return code == "55006" || code == "55P03"
}

func pooled(c Config, how string) *problem.Error {
	return problem.New("pooled_connection", "%s is a connection pooler, not Postgres itself", c.Address()).WithDetail("%s", how).
		WithHint("give the direct address of the database: logical replication does not work through a pooler (%s)", directAddress(c))
}

func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func (c Config) badConfig(err error) error {
	return problem.New("database_config_invalid", "the connection settings of database %q are not valid", c.Database).
		WithDetail("%v", withoutDSN(err)).Because(err).WithHint("correct host, port, sslmode and the other connection settings")
}

// withoutDSN leaves the driver's repetition of the connection string out of its errors.
func withoutDSN(err error) error {
	if parse, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		if inner := errors.Unwrap(parse); inner != nil {
			return inner
		}
		return errors.New("the driver refuses them")
	}
	return err
}

func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
