package egress_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/sink/egress"
)

func TestDefaultPolicy(t *testing.T) {
	t.Parallel()
	for addr, allowed := range map[string]bool{
		"127.0.0.1":                  true,
		"::1":                        true,
		"0.0.0.0":                    true,
		"10.1.2.3":                   true,
		"192.168.1.1":                true,
		"172.16.0.1":                 true,
		"fd12:3456::1":               true,
		"93.184.216.34":              true,
		"2606:2800:220:1::1":         true,
		"169.254.169.254":            false,
		"169.254.170.2":              false,
		"169.253.255.255":            true,
		"169.255.0.0":                true,
		"fe80::1":                    false,
		"fe80::1%eth0":               false,
		"febf:ffff::1":               false,
		"fec0::1":                    true,
		"fd00:ec2::254":              false,
		"fd20:ce::254":               false,
		"168.63.129.16":              false,
		"168.63.129.17":              true,
		"100.100.100.200":            false,
		"192.0.0.192":                false,
		"::ffff:169.254.169.254":     false,
		"64:ff9b::169.254.169.254":   false,
		"64:ff9b::8.8.8.8":           true,
		"64:ff9b:1::169.254.169.254": false,
		"2002:a9fe:a9fe::1":          false,
		"2002:0808:0808::1":          true,
		"::169.254.169.254":          false,
	} {
		var policy *egress.Policy
		err := policy.Check(netip.MustParseAddr(addr))
		if allowed {
			require.NoError(t, err, addr)
			continue
		}
		var denied *egress.DeniedError
		require.ErrorAs(t, err, &denied, addr)
		require.Contains(t, err.Error(), denied.Rule.String())
	}
}

func TestOwnLists(t *testing.T) {
	t.Parallel()
	policy, err := egress.New([]string{"10.0.0.0/8", "127.0.0.1", "fd00::/8"}, []string{"10.9.0.0/16"})
	require.NoError(t, err)
	for addr, allowed := range map[string]bool{
		"10.1.2.3":         false,
		"10.9.2.3":         true,
		"::ffff:10.1.2.3":  false,
		"127.0.0.1":        false,
		"127.0.0.2":        true,
		"0.0.0.0":          false,
		"::":               false,
		"fd12::1":          false,
		"169.254.169.254":  true,
		"64:ff9b::a01:203": false,
	} {
		require.Equal(t, allowed, policy.Check(netip.MustParseAddr(addr)) == nil, addr)
	}
}

func TestBadLists(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"10.0.0.0/33", "localhost", "", "10.0.0"} {
		_, err := egress.New([]string{bad}, nil)
		require.ErrorContains(t, err, "egress deny list")
		_, err = egress.New(nil, []string{bad})
		require.ErrorContains(t, err, "egress allow list")
	}
}

// The name is harmless and the address it resolves to is not: what counts is what is dialled.
func TestDialerJudgesTheResolvedAddress(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)

	policy, err := egress.New([]string{"127.0.0.0/8", "::1"}, nil)
	require.NoError(t, err)
	_, err = policy.Dialer(time.Second).DialContext(t.Context(), "tcp", net.JoinHostPort("localhost", port))
	var denied *egress.DeniedError
	require.ErrorAs(t, err, &denied)

	var open *egress.Policy
	conn, err := open.Dialer(time.Second).DialContext(t.Context(), "tcp", net.JoinHostPort("localhost", port))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}
