package throwaway

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnInstallationBehindAClosedDirectoryIsCopied(t *testing.T) {
	t.Parallel()
	// t.TempDir is closed to others only below a directory that we close ourselves.
	closed := filepath.Join(t.TempDir(), "closed")
	bin := filepath.Join(closed, "15", "bin")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	require.NoError(t, os.Chmod(closed, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "postgres"), []byte("program"), 0o755))
	require.NoError(t, os.Symlink("postgres", filepath.Join(bin, "postmaster")))

	in := Installation{Bin: bin, Major: 15}
	stranger := &account{credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	require.False(t, stranger.canReach(bin))
	got, err := stranger.reach(in, filepath.Join(t.TempDir(), "copy"))
	require.NoError(t, err)
	require.NotEqual(t, bin, got.Bin)
	content, err := os.ReadFile(filepath.Join(got.Bin, "postmaster"))
	require.NoError(t, err)
	require.Equal(t, "program", string(content))

	same, err := (&account{}).reach(in, filepath.Join(t.TempDir(), "unused"))
	require.NoError(t, err)
	require.Equal(t, in, same, "our own user can reach it")
}

func TestCopyFileKeepsTheMode(t *testing.T) {
	t.Parallel()
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	require.NoError(t, os.WriteFile(from, []byte("program"), 0o700))
	require.NoError(t, copyFile(from, to))
	info, err := os.Stat(to)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode())
}
