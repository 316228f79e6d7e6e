package postgres

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// expiresSoon is how long before its end a certificate is worth a warning.
const expiresSoon = 30 * 24 * time.Hour

// wire is what decides how safe a connection is from those on its way.
type wire struct {
	mode     SSLMode
	host     string // that the certificate should be for
	local    bool   // the server is on this machine
	offered  bool   // the server offers TLS
	chained  bool   // sslmode require verifies like verify-ca, since sslrootcert is set
	roots    *x509.CertPool
	provider Provider
	now      time.Time
}

// judgeClear judges a connection without TLS.
func (w wire) judgeClear() finding {
	mode := cmp.Or(w.mode, SSLPrefer)
	if w.local {
		return good("no TLS (sslmode %s), and the server is on this machine", mode)
	}
	p := problem.New("tls_off", "the connection is not encrypted").WithDetail("sslmode is %s", mode)
	if w.offered {
		return warn(p.WithHint("the server offers TLS: set sslmode to verify-full; %s", rootsHint(w.provider)))
	}
	return warn(p.WithDetail("sslmode is %s, and the server offers no TLS", mode).
		WithHint("turn on ssl on the server (ssl = on, ssl_cert_file, ssl_key_file), then set sslmode to verify-full"))
}

// judge judges a connection with TLS: how much of the certificate was verified, how much could be, and how long it lasts.
func (w wire) judge(state tls.ConnectionState) finding {
	if len(state.PeerCertificates) == 0 {
		return good("%s", tls.VersionName(state.Version))
	}
	cert := state.PeerCertificates[0]
	text := fmt.Sprintf("%s, certificate of %s, valid until %s", tls.VersionName(state.Version), cmp.Or(cert.Subject.CommonName, w.host),
		cert.NotAfter.UTC().Format("2006-01-02"))
	if left := cert.NotAfter.Sub(w.now); left < expiresSoon && !w.local {
		p := problem.New("tls_certificate_expiring", "the server's certificate ends in %d days", int(left.Hours()/24))
		if left < 0 {
			p = problem.New("tls_certificate_expiring", "the server's certificate ended on %s", cert.NotAfter.UTC().Format("2006-01-02"))
		}
		return warn(p.WithHint("renew it; with sslmode verify-ca or verify-full nothing connects once it has ended")).saying("%s", text)
	}
	full, why := w.verify(state)
	switch {
	case w.mode == SSLVerifyFull:
		return good("%s, verified in full", text)
	case w.mode == SSLVerifyCA, w.mode == SSLRequire && w.chained:
		if full {
			return good("%s, verified but for the host name; sslmode verify-full would pass too", text)
		}
		return good("%s, verified but for the host name", text)
	case w.local:
		return good("%s, not verified, and the server is on this machine", text)
	}
	p := problem.New("tls_not_verified", "the server's certificate is not verified").WithDetail("sslmode is %s", cmp.Or(w.mode, SSLPrefer))
	if full {
		return warn(p.WithHint("set sslmode to verify-full: the certificate passes")).saying("%s, not verified", text)
	}
	if _, named := errors.AsType[x509.HostnameError](why); named {
		return warn(p.WithHint("connect by a name that the certificate holds (%v) and set sslmode to verify-full; else set it to verify-ca", cert.DNSNames)).
			saying("%s, not verified", text)
	}
	return warn(p.WithHint("%s", rootsHint(w.provider))).saying("%s, not verified", text)
}

// verify tells whether the certificate would pass as sslmode verify-full asks, and why not.
func (w wire) verify(state tls.ConnectionState) (bool, error) {
	opts := x509.VerifyOptions{Roots: w.roots, Intermediates: x509.NewCertPool(), CurrentTime: w.now}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(opts); err != nil {
		return false, err
	}
	err := state.PeerCertificates[0].VerifyHostname(w.host)
	return err == nil, err
}
