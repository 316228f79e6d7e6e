package capture_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// chownLike gives a file to the owner of the server's files.
func chownLike(t *testing.T, path string, info os.FileInfo) {
	t.Helper()
	st, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.NoError(t, os.Chown(path, int(st.Uid), int(st.Gid)))
}
