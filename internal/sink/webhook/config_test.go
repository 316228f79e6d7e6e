package webhook_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

func TestMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	c := webhook.Config{
		URL: "ftp://example.test", Path: "orders\n", Headers: map[string]string{"bad name": "x", "Content-Length": "1", "content-encoding": "br"},
		EncryptedHeaders: map[string]string{"X-A": "a\r\nb"}, SigningSecrets: []string{"whsec_!", "plain", "whsec_YWJj"},
		RejectStatus: []int{200, 429, 400}, MaxConnections: -1, CircuitFailures: -1, CircuitMaxWait: -1, CACert: "none",
	}
	err := c.Validate()
	p, ok := problem.As(err)
	require.True(t, ok)
	require.Equal(t, "webhook_invalid", p.Code)
	for field, count := range map[string]int{
		"url": 1, "http_endpoint_path": 1, "headers": 3, "encrypted_headers": 1, "signing_secrets": 4, "reject_status": 2, "max_connections": 1,
		"circuit_failures": 1, "circuit_max_wait": 1, "ca_cert": 1,
	} {
		require.Len(t, p.Fields[field], count, "%s: %v", field, p.Fields[field])
		require.Contains(t, p.Error(), field)
	}
	for _, secret := range []string{"YWJj", "plain"} {
		require.NotContains(t, err.Error(), secret)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for raw, good := range map[string]bool{
		"":                       false,
		"example.test":           false,
		"http://":                false,
		"http://:80":             false,
		"https://example.test":   true,
		"http://[::1]:80/x":      true,
		"http://u:p@h:1/x?y=1#z": true,
		"http://u:p@h:x/":        false,
	} {
		c := webhook.DefaultConfig()
		c.URL = raw
		err := c.Validate()
		require.Equal(t, good, err == nil, "%s: %v", raw, err)
		if err != nil {
			require.NotContains(t, err.Error(), "u:p@")
		}
	}
	for path, good := range map[string]bool{
		"": true, "/a/b": true, "?x=1": true, "#f": true, "a": false, "/a b": false, "/a\tb": false, "/%zz": false, "/ä": true,
		"/" + strings.Repeat("x", 1999): true, "/" + strings.Repeat("x", 2000): false,
	} {
		c := webhook.Config{URL: "http://example.test", Path: path}
		require.Equal(t, good, c.Validate() == nil, path)
	}
}
