package throwaway

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type entry struct{ name, content string }

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, e := range entries {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.content)), Mode: 0o644}))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, zipped.Close())
	return out.Bytes()
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "15")
	require.NoError(t, unpack(archive(t,
		entry{"package/native/bin/postgres", "program"},
		entry{"package/native/lib/libpq.so.5.15", "library"},
		entry{"package/native/pg-symlinks.json", `[{"source":"native/lib/libpq.so.5.15","target":"native/lib/libpq.so.5"}]`},
		entry{"package/dist/index.js", "not ours"},
	), dir))
	content, err := os.ReadFile(filepath.Join(dir, "lib", "libpq.so.5"))
	require.NoError(t, err)
	require.Equal(t, "library", string(content))
	info, err := os.Stat(filepath.Join(dir, "bin", "postgres"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode(), "programs can be run")
	require.NoFileExists(t, filepath.Join(dir, "dist", "index.js"))
}

func TestUnpackStaysInItsDirectory(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]byte{
		"file": archive(t, entry{"package/native/../../../escaped", "x"}),
		"link": archive(t, entry{"package/native/pg-symlinks.json", `[{"source":"native/lib/a","target":"native/../../escaped"}]`}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			require.ErrorContains(t, unpack(bad, filepath.Join(parent, "a", "b")), "unexpected")
			require.NoFileExists(t, filepath.Join(parent, "escaped"))
		})
	}
}

func TestEverySupportedVersionIsPinned(t *testing.T) {
	t.Parallel()
	var pins map[string]pin
	require.NoError(t, json.Unmarshal(versionsJSON, &pins))
	require.Len(t, pins, len(Supported))
	for _, major := range Supported {
		p := pins[strconv.Itoa(major)]
		require.True(t, strings.HasPrefix(p.Version, strconv.Itoa(major)+"."), "major %d is pinned to %q", major, p.Version)
		require.Contains(t, p.Integrity, "linux-x64", "major %d", major)
	}
}
