package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/problem"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue makes a client certificate and its key, as PEM.
func (a authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// encrypted tells whether the server sees TLS on a connection with the configuration.
func encrypted(t *testing.T, cfg postgres.Config) bool {
	t.Helper()
	conn, err := cfg.Connect(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	var on bool
	require.NoError(t, conn.QueryRow(t.Context(), `select ssl from pg_stat_ssl where pid = pg_backend_pid()`).Scan(&on))
	return on
}

// TestSSLModes tries every mode against a server with TLS and one without.
func TestSSLModes(t *testing.T) {
	t.Parallel()
	with := pgtest.Start(t, pgtest.Options{TLS: true})
	tlsDB := with.Database(t)
	clearDB := pgtest.Start(t, pgtest.Options{}).Database(t)
	ca := with.Cluster(t).CAFile()
	other := newAuthority(t).pem
	const inClear, inTLS = "clear", "tls"
	cases := map[string]struct {
		mode     postgres.SSLMode
		root     string
		host     string // "" is the server's 127.0.0.1
		with     string // what a server with TLS gives: clear, tls or the code of a problem
		withhold string // the same for one without
	}{
		"disable":                      {mode: "disable", with: inClear, withhold: inClear},
		"allow":                        {mode: "allow", with: inClear, withhold: inClear},
		"prefer":                       {mode: "prefer", with: inTLS, withhold: inClear},
		"the default":                  {mode: "", with: inTLS, withhold: inClear},
		"require":                      {mode: "require", with: inTLS, withhold: "tls_not_offered"},
		"require, the right authority": {mode: "require", root: ca, with: inTLS, withhold: "tls_not_offered"},
		"require, another authority":   {mode: "require", root: other, with: "tls_unknown_authority", withhold: "tls_not_offered"},
		"verify-ca":                    {mode: "verify-ca", root: ca, with: inTLS, withhold: "tls_not_offered"},
		"verify-ca, other name":        {mode: "verify-ca", root: ca, host: "127.0.0.2", with: inTLS, withhold: "tls_not_offered"},
		"verify-ca, another authority": {mode: "verify-ca", root: other, with: "tls_unknown_authority", withhold: "tls_not_offered"},
		"verify-ca, system's roots":    {mode: "verify-ca", with: "tls_unknown_authority", withhold: "tls_not_offered"},
		"verify-full":                  {mode: "verify-full", root: ca, with: inTLS, withhold: "tls_not_offered"},
		"verify-full, by name":         {mode: "verify-full", root: ca, host: "localhost", with: inTLS, withhold: "tls_not_offered"},
		"verify-full, other name":      {mode: "verify-full", root: ca, host: "127.0.0.2", with: "tls_hostname_mismatch", withhold: "tls_not_offered"},
		"verify-full, other authority": {mode: "verify-full", root: other, with: "tls_unknown_authority", withhold: "tls_not_offered"},
		"verify-full, system's roots":  {mode: "verify-full", root: "system", with: "tls_unknown_authority", withhold: "tls_not_offered"},
		"root that is no certificate":  {mode: "verify-full", root: "-----BEGIN nothing", with: "tls_file_invalid", withhold: "tls_file_invalid"},
		"root that cannot be read":     {mode: "verify-full", root: "/nonexistent", with: "tls_file_invalid", withhold: "tls_file_invalid"},
	}
	with.Configure(t, map[string]string{"listen_addresses": "127.0.0.1,127.0.0.2"})
	with.Restart(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, try := range []struct {
				url, want string
			}{{tlsDB.URL, c.with}, {clearDB.URL, c.withhold}} {
				cfg := config(t, try.url)
				cfg.SSLMode, cfg.SSLRootCert = c.mode, c.root
				if c.host != "" && try.url == tlsDB.URL {
					cfg.Hosts[0].Name = c.host
				}
				switch try.want {
				case inClear, inTLS:
					require.Equal(t, try.want == inTLS, encrypted(t, cfg))
				default:
					require.Equal(t, try.want, fails(t, cfg))
					_, err := cfg.Connect(t.Context())
					require.False(t, postgres.Transient(err))
				}
			}
		})
	}
	t.Run("unix socket", func(t *testing.T) {
		cfg := config(t, tlsDB.SocketURL)
		cfg.SSLMode, cfg.SSLRootCert = "verify-full", ca
		conn, err := cfg.Connect(t.Context()) // TLS makes no sense there, as in libpq
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	})
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{TLS: true})
	db := server.Database(t)
	clients := newAuthority(t)
	file := filepath.Join(server.Cluster(t).DataDir(), "clients.pem")
	require.NoError(t, os.WriteFile(file, []byte(clients.pem), 0o644)) // the server runs as another user
	server.Configure(t, map[string]string{"ssl_ca_file": file})
	server.SetHBA(t, "local all all trust", "hostssl all all 127.0.0.1/32 cert")
	cfg := config(t, db.URL)
	cfg.SSLMode, cfg.SSLRootCert = postgres.SSLVerifyFull, server.Cluster(t).CAFile()

	cert, key := clients.issue(t, "postgres")
	cfg.SSLCert, cfg.SSLKey = cert, key
	require.True(t, encrypted(t, cfg), "as text")
	dir := t.TempDir()
	cfg.SSLCert, cfg.SSLKey = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	require.NoError(t, os.WriteFile(cfg.SSLCert, []byte(cert), 0o600))
	require.NoError(t, os.WriteFile(cfg.SSLKey, []byte(key), 0o600))
	require.True(t, encrypted(t, cfg), "as files")

	cfg.SSLCert, cfg.SSLKey = clients.issue(t, "somebody_else")
	require.Equal(t, "authentication_failed", fails(t, cfg))
	cfg.SSLCert, cfg.SSLKey = newAuthority(t).issue(t, "postgres")
	_, err := cfg.Connect(t.Context())
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	require.Contains(t, []string{"tls_refused", "connection_closed"}, p.Code, "the server's reason can be lost with the connection")
	require.Contains(t, p.Hint, "client certificate")
	cfg.SSLCert, cfg.SSLKey = "", ""
	require.Equal(t, "no_pg_hba_entry", fails(t, cfg))
	cfg.SSLCert = cert
	require.Equal(t, "tls_file_invalid", fails(t, cfg))
	cfg.SSLKey = cert
	require.Equal(t, "tls_file_invalid", fails(t, cfg))
	_, err = cfg.Connect(t.Context())
	require.NotContains(t, err.Error(), "BEGIN")
	require.Equal(t, "tls_file_invalid", problem.Code(err))
}
