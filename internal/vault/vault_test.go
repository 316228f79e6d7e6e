package vault_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/vault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// supplied is a key as an operator gives it; each n is another.
func supplied(n byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) }

func open(t *testing.T, o vault.Options) *vault.Keyring {
	t.Helper()
	k, err := vault.Open(o)
	require.NoError(t, err)
	return k
}

func requireOpens(t *testing.T, k *vault.Keyring, sealed []byte, want string) {
	t.Helper()
	plain, err := k.Unseal(sealed, "place")
	require.NoError(t, err)
	require.Equal(t, want, string(plain))
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	_ = requireProblem(t, err, code)
}

func requireProblem(t *testing.T, err error, code string) *problem.Error {
	t.Helper()
	require.Error(t, err)
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, p.Code, "%s", p.Text())
	require.NotEmpty(t, p.Hint)
	return p
}

func TestSealedIsOpenedByTheSameKeyAndContext(t *testing.T) {
	t.Parallel()
	k := open(t, vault.Options{Key: supplied(1)})
	for name, plain := range map[string]string{"empty": "", "short": "s", "a function": strings.Repeat("code ", 22_000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sealed := k.Seal([]byte(plain), "place")
			requireOpens(t, k, sealed, plain)
			requireOpens(t, open(t, vault.Options{Key: supplied(1)}), sealed, plain)
			require.NotEqual(t, sealed, k.Seal([]byte(plain), "place"), "no two are alike")
			require.False(t, len(plain) > 1 && bytes.Contains(sealed, []byte(plain)))
			with, ok := k.SealedWith(sealed)
			require.True(t, ok)
			require.Equal(t, k.Current(), with)

			_, err := k.Unseal(sealed, "another place")
			p := requireProblem(t, err, vault.CodeDamaged)
			require.Contains(t, p.Detail, "another place")
		})
	}
}

func TestKeyIDIsThatOfTheKeyItself(t *testing.T) {
	t.Parallel()
	// printf '\1%.0s' {1..32} | sha256sum | head -c 16
	require.Equal(t, vault.KeyID("72cd6e8422c407fb"), open(t, vault.Options{Key: supplied(1)}).Current())
}

// What an earlier release sealed must open for ever.
func TestFormat1IsKept(t *testing.T) {
	t.Parallel()
	sealed, err := base64.StdEncoding.DecodeString(format1)
	require.NoError(t, err)
	requireOpens(t, open(t, vault.Options{Key: supplied(1)}), sealed, "hunter2")
}

func TestKeysInEveryAlphabetOfBase64(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte{0xfb, 0xef, 0xff, 0x01}, 8)
	secret = append(secret, 0xff, 0xfe) // so that there is padding, and each of + / - _
	want := open(t, vault.Options{Key: base64.StdEncoding.EncodeToString(secret)})
	sealed := want.Seal([]byte("x"), "place")
	for name, text := range map[string]string{
		"raw":         base64.RawStdEncoding.EncodeToString(secret),
		"url":         base64.URLEncoding.EncodeToString(secret),
		"raw url":     base64.RawURLEncoding.EncodeToString(secret),
		"white space": " " + base64.StdEncoding.EncodeToString(secret) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := open(t, vault.Options{Key: text})
			require.Equal(t, want.Current(), k.Current())
			requireOpens(t, k, sealed, "x")
		})
	}
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		o      vault.Options
		detail string
	}{
		"not base64":   {vault.Options{Key: "correct horse battery staple!"}, "is not base64"},
		"too short":    {vault.Options{Key: base64.StdEncoding.EncodeToString(make([]byte, 31))}, "has less than 32 bytes"},
		"a previous":   {vault.Options{Key: supplied(1), Previous: []string{supplied(2), "correct horse battery staple!"}}, "is not base64"},
		"none at all":  {vault.Options{}, ""},
		"only earlier": {vault.Options{Previous: []string{supplied(1)}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := vault.Open(test.o)
			p := requireProblem(t, err, vault.CodeKeyInvalid)
			require.Contains(t, p.Detail, test.detail)
			require.NotContains(t, p.Text(), "horse", "an error never shows a key")
		})
	}
}

func TestAnotherKeyIsNamed(t *testing.T) {
	t.Parallel()
	one, other := open(t, vault.Options{Key: supplied(1)}), open(t, vault.Options{Key: supplied(2)})
	_, err := other.Unseal(one.Seal([]byte("hunter2"), "place"), "place")
	p := requireProblem(t, err, vault.CodeKeyMissing)
	require.Contains(t, p.Message, string(one.Current()))
	require.NotContains(t, p.Text(), "hunter2")

	both := open(t, vault.Options{Key: supplied(2), Previous: []string{supplied(3), "", supplied(1)}})
	requireOpens(t, both, one.Seal([]byte("hunter2"), "place"), "hunter2")
	require.Equal(t, other.Current(), both.Current())
}

func TestEveryDamagedByteIsNoticed(t *testing.T) {
	t.Parallel()
	k := open(t, vault.Options{Key: supplied(1)})
	sealed := k.Seal([]byte("hunter2"), "place")
	for i := range sealed {
		for _, flip := range []byte{1, 0x80} {
			broken := bytes.Clone(sealed)
			broken[i] ^= flip
			_, err := k.Unseal(broken, "place")
			code := vault.CodeDamaged
			if i >= 1 && i < 9 {
				code = vault.CodeKeyMissing // it names another key now
			}
			requireCode(t, err, code)
		}
	}
	for n := range sealed {
		_, err := k.Unseal(sealed[:n], "place")
		requireCode(t, err, vault.CodeDamaged)
	}
	_, err := k.Unseal(append(bytes.Clone(sealed), 0), "place")
	requireCode(t, err, vault.CodeDamaged)
	_, ok := k.SealedWith([]byte(`{"password":"an old record, from before anything was sealed"}`))
	require.False(t, ok)
}

// Two keys that differ, with the id of the one on what the other sealed: the id is not what protects.
func TestAForgedKeyIDDoesNotOpen(t *testing.T) {
	t.Parallel()
	k := open(t, vault.Options{Key: supplied(1), Previous: []string{supplied(2)}})
	forged := open(t, vault.Options{Key: supplied(2)}).Seal([]byte("x"), "place")
	copy(forged[1:9], k.Seal(nil, "")[1:9])
	_, err := k.Unseal(forged, "place")
	requireCode(t, err, vault.CodeDamaged)
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	k := open(t, vault.Options{File: filepath.Join(t.TempDir(), "vault.key")})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 50 {
				text := fmt.Sprint(worker, i)
				sealed := k.Seal([]byte(text), text)
				plain, err := k.Unseal(sealed, text)
				if err != nil || string(plain) != text {
					t.Errorf("%q came back as %q: %v", text, plain, err)
				}
			}
		})
	}
	for range 10 {
		_, err := k.Rotate()
		require.NoError(t, err)
	}
	wg.Wait()
}

func FuzzUnseal(f *testing.F) {
	k, err := vault.Open(vault.Options{Key: supplied(1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, "")
	f.Add(k.Seal([]byte("hunter2"), "place"), "place")
	f.Add(k.Seal(nil, "place"), "elsewhere")
	f.Add(bytes.Repeat([]byte{1}, 64), "place")
	golden, err := base64.StdEncoding.DecodeString(format1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sealed []byte, context string) {
		plain, err := k.Unseal(sealed, context)
		if err != nil {
			require.Contains(t, []string{vault.CodeDamaged, vault.CodeKeyMissing}, problem.Code(err))
		} else if !bytes.Equal(sealed, golden) { // only what was sealed opens, and nobody can find that by chance
			again, err := k.Unseal(k.Seal(plain, context), context)
			require.NoError(t, err)
			require.Equal(t, plain, again)
		}
		requireOpens(t, k, k.Seal(sealed, "place"), string(sealed))
	})
}

// format1 is "hunter2" for "place" by the key of 32 times 1, as the first release sealed it.
const format1 = "AXLNboQixAf7LOoAwt1ZBOH0VTpVaGqwIbWiKTm3yVvCXanbgWCnonZZkZE="

func TestFileIsMadeForUsAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vault.key")
	require.NoError(t, os.WriteFile(path+".new", []byte("what a crash left"), 0o644))
	k := open(t, vault.Options{File: path})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	sealed := k.Seal([]byte("x"), "place")
	again := open(t, vault.Options{File: path})
	require.Equal(t, k.Current(), again.Current())
	requireOpens(t, again, sealed, "x")
	require.NoFileExists(t, path+".new")
}
