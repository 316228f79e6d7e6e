package postgres_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/postgres"
)

// state is a connection whose server showed a certificate for db.example.com that lasts for so long.
func (a authority) state(t *testing.T, lasts time.Duration) *tls.ConnectionState {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "db.example.com"}, DNSNames: []string{"db.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{cert}}
}

// TestTLSToAnotherMachine: verify-full is offered first wherever the certificate passes, and what is lacking is named where it does not.
func TestTLSToAnotherMachine(t *testing.T) {
	t.Parallel()
	authority, now := newAuthority(t), time.Now()
	roots := x509.NewCertPool()
	roots.AddCert(authority.cert)
	long, soon, over := authority.state(t, 1000*time.Hour), authority.state(t, 100*time.Hour), authority.state(t, -time.Minute)
	cases := map[string]struct {
		wire   postgres.Wire
		state  *tls.ConnectionState
		status postgres.Status
		code   string
		text   string // of what was found, or the repair
	}{
		"verified in full":          {postgres.Wire{Mode: postgres.SSLVerifyFull, Roots: roots}, long, postgres.StatusOK, "", "verified in full"},
		"verify-ca, full passes":    {postgres.Wire{Mode: postgres.SSLVerifyCA, Roots: roots}, long, postgres.StatusOK, "", "verify-full would pass too"},
		"verify-ca, another name":   {postgres.Wire{Mode: postgres.SSLVerifyCA, Roots: roots, Host: "other.example.com"}, long, postgres.StatusOK, "", "but for the host name"},
		"require with roots":        {postgres.Wire{Mode: postgres.SSLRequire, Roots: roots, Chained: true}, long, postgres.StatusOK, "", "verified but for the host name"},
		"require, full passes":      {postgres.Wire{Mode: postgres.SSLRequire, Roots: roots}, long, postgres.StatusWarn, "tls_not_verified", "set sslmode to verify-full: the certificate passes"},
		"default, full passes":      {postgres.Wire{Roots: roots}, long, postgres.StatusWarn, "tls_not_verified", "set sslmode to verify-full"},
		"another name":              {postgres.Wire{Roots: roots, Host: "other.example.com"}, long, postgres.StatusWarn, "tls_not_verified", "[db.example.com]"},
		"another authority":         {postgres.Wire{Roots: x509.NewCertPool()}, long, postgres.StatusWarn, "tls_not_verified", "set sslrootcert to the certificate of the authority"},
		"another authority, RDS":    {postgres.Wire{Roots: x509.NewCertPool(), Provider: postgres.ProviderRDS}, long, postgres.StatusWarn, "tls_not_verified", "global-bundle.pem"},
		"ends soon":                 {postgres.Wire{Mode: postgres.SSLVerifyFull, Roots: roots}, soon, postgres.StatusWarn, "tls_certificate_expiring", "renew it"},
		"has ended":                 {postgres.Wire{Mode: postgres.SSLRequire, Roots: roots}, over, postgres.StatusWarn, "tls_certificate_expiring", "renew it"},
		"in clear, though offered":  {postgres.Wire{Mode: postgres.SSLDisable, Offered: true}, nil, postgres.StatusWarn, "tls_off", "set sslmode to verify-full"},
		"in clear, and not offered": {postgres.Wire{}, nil, postgres.StatusWarn, "tls_off", "turn on ssl on the server"},
	}
	for name, c := range cases {
		if c.wire.Host == "" {
			c.wire.Host = "db.example.com"
		}
		status, found, p := postgres.JudgeWire(c.wire, c.state, now)
		require.Equal(t, c.status, status, name)
		if c.code == "" {
			require.Nil(t, p, name)
			require.Contains(t, found, c.text, name)
			continue
		}
		require.Equal(t, c.code, p.Code, name)
		require.Contains(t, p.Hint, c.text, name)
	}
}

func TestClocks(t *testing.T) {
	t.Parallel()
	at := time.Now()
	status, p := postgres.JudgeClocks(at, at.Add(time.Second), at.Add(100*time.Millisecond))
	require.Equal(t, postgres.StatusOK, status)
	require.Nil(t, p)
	status, _ = postgres.JudgeClocks(at, at.Add(6*time.Second), at.Add(10*time.Second))
	require.Equal(t, postgres.StatusOK, status, "a slow answer tells little")
	status, p = postgres.JudgeClocks(at, at.Add(time.Minute), at.Add(time.Millisecond))
	require.Equal(t, postgres.StatusWarn, status)
	require.Equal(t, "clock_difference", p.Code)
	require.Contains(t, p.Message, "1m0s ahead")
	_, p = postgres.JudgeClocks(at, at.Add(-time.Minute), at.Add(time.Millisecond))
	require.Contains(t, p.Message, "behind")
}
