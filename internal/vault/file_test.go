package vault_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/vault"
)

func TestFileThatOthersMayReadIsRefused(t *testing.T) {
	t.Parallel()
	for mode, refused := range map[os.FileMode]bool{0o604: true, 0o644: true, 0o602: true, 0o600: false, 0o400: false, 0o640: false, 0o660: false} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "vault.key")
			open(t, vault.Options{File: path})
			require.NoError(t, os.Chmod(path, mode))
			_, err := vault.Open(vault.Options{File: path})
			if !refused {
				require.NoError(t, err)
				return
			}
			p := requireProblem(t, err, vault.CodeKeyUnreadable)
			require.Equal(t, "chmod 600 "+path, p.Hint)
		})
	}
}

func TestFilesThatHoldNoKeys(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ content, detail string }{
		"empty":         {"", ""},
		"comments only": {"# key\n\n", ""},
		"garbage":       {"\x00\xff\xfegarbage\n", "line 1 is not base64"},
		"a later line":  {"# key\n" + supplied(1) + "\n\n" + "correct horse\n", "line 4 is not base64"},
		"half a key":    {supplied(1)[:20] + "\n", "line 1 has less than 32 bytes"},
		"a long line":   {strings.Repeat("A", 100_000), "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "vault.key")
			require.NoError(t, os.WriteFile(path, []byte(test.content), 0o600))
			for _, o := range []vault.Options{{File: path}, {File: path, Key: supplied(2)}} {
				_, err := vault.Open(o)
				p := requireProblem(t, err, vault.CodeKeyUnreadable)
				require.Contains(t, p.Detail, test.detail)
				require.NotContains(t, p.Text(), "horse")
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, test.content, string(after), "a file that is damaged is not touched: it may be all that is left")
		})
	}
}

func TestFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	_, err := vault.Open(vault.Options{File: filepath.Join(t.TempDir(), "nowhere", "vault.key")})
	requireCode(t, err, vault.CodeKeyUnreadable)
	_, err = vault.Open(vault.Options{File: t.TempDir()})
	requireCode(t, err, vault.CodeKeyUnreadable)
}

func TestSeveralKeysInTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vault.key")
	require.NoError(t, os.WriteFile(path, []byte(supplied(2)+"\r\n# older\n"+supplied(1)), 0o600))
	k := open(t, vault.Options{File: path})
	require.Equal(t, open(t, vault.Options{Key: supplied(2)}).Current(), k.Current())
	requireOpens(t, k, open(t, vault.Options{Key: supplied(1)}).Seal([]byte("old"), "place"), "old")
}

func TestRotateAndRetire(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vault.key")
	k := open(t, vault.Options{File: path})
	first := k.Current()
	old := k.Seal([]byte("old"), "place")
	second, err := k.Rotate()
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.Equal(t, second, k.Current())
	young := k.Seal([]byte("young"), "place")
	for _, ring := range []*vault.Keyring{k, open(t, vault.Options{File: path})} {
		require.Equal(t, second, ring.Current())
		requireOpens(t, ring, old, "old")
		requireOpens(t, ring, young, "young")
	}

	require.NoError(t, k.Retire())
	for _, ring := range []*vault.Keyring{k, open(t, vault.Options{File: path})} {
		requireOpens(t, ring, young, "young")
		_, err := ring.Unseal(old, "place")
		require.Contains(t, requireProblem(t, err, vault.CodeKeyMissing).Message, string(first))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// A key that cannot be kept must not seal: after a restart nobody could open it.
func TestRotateThatCannotBeWrittenChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vault.key")
	k := open(t, vault.Options{File: path})
	require.NoError(t, os.MkdirAll(filepath.Join(path+".new", "in the way"), 0o700))
	before := k.Current()
	_, err := k.Rotate()
	requireCode(t, err, vault.CodeKeyUnreadable)
	require.Equal(t, before, k.Current())
	requireCode(t, k.Retire(), vault.CodeKeyUnreadable)
	require.Equal(t, before, open(t, vault.Options{File: path}).Current())
}

func TestFromAFileToASuppliedKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vault.key")
	old := open(t, vault.Options{File: path}).Seal([]byte("old"), "place")
	k := open(t, vault.Options{File: path, Key: supplied(1)})
	require.Equal(t, open(t, vault.Options{Key: supplied(1)}).Current(), k.Current())
	requireOpens(t, k, old, "old")
	_, err := k.Rotate()
	requireCode(t, err, vault.CodeKeySupplied)
	require.NoError(t, k.Retire())
	require.NoFileExists(t, path)
	_, err = k.Unseal(old, "place")
	requireCode(t, err, vault.CodeKeyMissing)
	require.NoError(t, k.Retire(), "there is no file any more")
}

func TestNoFileIsMadeBesideASuppliedKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vault.key")
	open(t, vault.Options{File: path, Key: supplied(1)})
	require.NoFileExists(t, path)
}

func TestFromASuppliedKeyToAFile(t *testing.T) {
	t.Parallel()
	old := open(t, vault.Options{Key: supplied(1)}).Seal([]byte("old"), "place")
	k := open(t, vault.Options{File: filepath.Join(t.TempDir(), "vault.key"), Previous: []string{supplied(1)}})
	requireOpens(t, k, old, "old")
	require.NoError(t, k.Retire())
	requireOpens(t, k, old, "old") // what the operator supplies is the operator's to retire
}
