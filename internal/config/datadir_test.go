package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDefaultDataDir(t *testing.T) {
	t.Parallel()
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	require.Equal(t, "/var/lib/sequin", defaultDataDir(0, env(map[string]string{"HOME": "/root"})))
	require.Equal(t, "/data/sequin", defaultDataDir(1000, env(map[string]string{"XDG_DATA_HOME": "/data", "HOME": "/home/u"})))
	require.Equal(t, "/home/u/.local/share/sequin", defaultDataDir(1000, env(map[string]string{"HOME": "/home/u"})))
	require.Empty(t, defaultDataDir(1000, env(nil)))
}
