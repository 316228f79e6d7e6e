package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// SSLMode is libpq's sslmode: how much protection TLS has to give.
type SSLMode string

// The modes, from none to all.
const (
	SSLDisable    SSLMode = "disable"     // never TLS
	SSLAllow      SSLMode = "allow"       // TLS when the server insists
	SSLPrefer     SSLMode = "prefer"      // TLS when the server offers it
	SSLRequire    SSLMode = "require"     // always TLS; the certificate is checked only if SSLRootCert is set
	SSLVerifyCA   SSLMode = "verify-ca"   // the certificate must come from a trusted authority
	SSLVerifyFull SSLMode = "verify-full" // and be for this host name
)

// SSLModes lists the modes.
func SSLModes() []SSLMode {
	return []SSLMode{SSLDisable, SSLAllow, SSLPrefer, SSLRequire, SSLVerifyCA, SSLVerifyFull}
}

// tlsVariants are the TLS settings to try with a host, in order; nil stands for a connection in clear.
func (c Config) tlsVariants(host string) ([]*tls.Config, error) {
	mode := c.SSLMode
	if mode == "" {
		mode = SSLPrefer
	}
	if !slices.Contains(SSLModes(), mode) {
		return nil, c.badConfig(fmt.Errorf("sslmode %q is not one of %v", mode, SSLModes()))
	}
	if mode == SSLDisable {
		return []*tls.Config{nil}, nil
	}
	cfg, err := c.tlsConfig(mode, host)
	if err != nil {
		return nil, err
	}
	switch mode {
	case SSLAllow:
		return []*tls.Config{nil, cfg}, nil
	case SSLPrefer:
		return []*tls.Config{cfg, nil}, nil
	default:
		return []*tls.Config{cfg}, nil
	}
}

// tlsConfig follows libpq: require with a root certificate checks like verify-ca, and verify-ca does not look at the host name.
func (c Config) tlsConfig(mode SSLMode, host string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if net.ParseIP(host) == nil {
		cfg.ServerName = host // sent to the server, which may choose its certificate by it
	}
	if err := c.loadRoots(cfg); err != nil {
		return nil, err
	}
	if err := c.loadClientCert(cfg); err != nil {
		return nil, err
	}
	switch {
	case mode == SSLVerifyFull:
		cfg.ServerName = host
	case mode == SSLVerifyCA, mode == SSLRequire && c.SSLRootCert != "":
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = verifyChain(cfg.RootCAs)
	default:
		cfg.InsecureSkipVerify = true
	}
	return cfg, nil
}

// verifyChain checks that a certificate comes from a trusted authority, whatever name it is for.
func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, cert := range state.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(opts)
		return err
	}
}

func (c Config) loadRoots(cfg *tls.Config) error {
	if c.SSLRootCert == "" || c.SSLRootCert == resource.SystemRoots {
		return nil // nil roots are the system's
	}
	text, err := pemText("sslrootcert", c.SSLRootCert)
	if err != nil {
		return err
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(text) {
		return problem.New("tls_file_invalid", "sslrootcert holds no PEM certificate").
			WithHint("give the path of the authority's certificate in PEM form, or its text")
	}
	return nil
}

func (c Config) loadClientCert(cfg *tls.Config) error {
	if c.SSLCert == "" && c.SSLKey == "" {
		return nil
	}
	if c.SSLCert == "" || c.SSLKey == "" {
		return problem.New("tls_file_invalid", "a client certificate needs both sslcert and sslkey").
			WithHint("set both, or neither")
	}
	cert, err := pemText("sslcert", c.SSLCert)
	if err != nil {
		return err
	}
	key, err := pemText("sslkey", c.SSLKey)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return problem.New("tls_file_invalid", "sslcert and sslkey do not make a pair").WithDetail("%v", err).Because(err).
			WithHint("give the client certificate and its unencrypted private key, both in PEM form")
	}
	cfg.Certificates = []tls.Certificate{pair}
	return nil
}

// pemText is the value itself if it is PEM text, else the file that it names. Files are read for each connection: certificates are rotated.
func pemText(key, value string) ([]byte, error) {
	if resource.IsPEM(value) {
		return []byte(value), nil
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return nil, problem.New("tls_file_invalid", "%s cannot be read", key).WithDetail("%v", err).Because(err).
			WithHint("check that the file exists and that the process may read it")
	}
	return text, nil
}
