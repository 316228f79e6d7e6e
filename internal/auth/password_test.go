package auth_test

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestPasswords(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords()
	hash, err := p.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	require.Regexp(t, `^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`, hash)
	require.False(t, p.Outdated(hash))
	require.NoError(t, p.Verify(t.Context(), hash, "correct horse"))
	for _, wrong := range []string{"", "correct horsf", "correct horse ", "Correct horse"} {
		require.ErrorIs(t, p.Verify(t.Context(), hash, wrong), auth.ErrPassword)
	}
	again, err := p.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	require.NotEqual(t, hash, again, "salted")
}

// Hashes of other implementations and costs verify. These come from the reference implementation: echo -n password | argon2 somesalt …
func TestHashesOfTheReferenceImplementation(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords()
	for name, hash := range map[string]string{
		"64 MiB":    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"256 KiB":   "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"two lanes": "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, p.Verify(t.Context(), hash, "password"))
			require.ErrorIs(t, p.Verify(t.Context(), hash, "passwort"), auth.ErrPassword)
			require.True(t, p.Outdated(hash))
		})
	}
}

func TestDamagedHashesAreNeitherRightNorWrong(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords()
	salt, sum := base64.RawStdEncoding.EncodeToString(make([]byte, 16)), base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	for name, hash := range map[string]string{
		"garbage":        "hunter2",
		"another scheme": "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
		"argon2i":        "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + sum,
		"old version":    "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + sum,
		"no cost":        "$argon2id$v=19$$" + salt + "$" + sum,
		"no time":        "$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + sum,
		"no threads":     "$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + sum,
		"too dear":       "$argon2id$v=19$m=4194304,t=2,p=1$" + salt + "$" + sum,
		"for ever":       "$argon2id$v=19$m=19456,t=4000000000,p=1$" + salt + "$" + sum,
		"more cost":      "$argon2id$v=19$m=19456,t=2,p=1,x=1$" + salt + "$" + sum,
		"no salt":        "$argon2id$v=19$m=19456,t=2,p=1$$" + sum,
		"short sum":      "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AAAA",
		"no sum":         "$argon2id$v=19$m=19456,t=2,p=1$" + salt,
		"more parts":     "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + sum + "$",
		"not base64":     "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + strings.Repeat("!", 43),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := p.Verify(t.Context(), hash, "password")
			require.Error(t, err)
			require.NotErrorIs(t, err, auth.ErrPassword)
			require.False(t, p.Outdated(hash))
		})
	}
}

// Somebody who is not known must not be told from somebody who is, by the answer or by the time that it takes.
func TestAnUnknownUserCostsTheSame(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords()
	hash, err := p.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	fastest := func(hash string) time.Duration {
		least := time.Hour
		for range 5 { // the least of several: other tests run beside
			begin := time.Now()
			require.ErrorIs(t, p.Verify(t.Context(), hash, "wrong"), auth.ErrPassword)
			least = min(least, time.Since(begin))
		}
		return least
	}
	known, unknown := fastest(hash), fastest("")
	require.Greater(t, unknown, known/5)
	require.Less(t, unknown, known*5)
}

func TestWhoWaitsMayGiveUpAndTooManyAreTurnedAway(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords()
	release := p.Occupy()
	defer release()

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Verify(gone, "", "x"), context.Canceled)

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range auth.MostWaiting {
		wg.Go(func() {
			if err := p.Verify(ctx, "", "x"); err == nil {
				t.Error("verified")
			}
		})
	}
	require.Eventually(t, func() bool { return p.Waiting() == auth.MostWaiting }, time.Minute, time.Millisecond)
	_, err := p.Hash(t.Context(), "x")
	require.Equal(t, auth.CodeTooManyLogins, problem.Code(err))
	require.Equal(t, int64(auth.MostWaiting), p.Waiting())
	cancel()
	wg.Wait()
	require.Zero(t, p.Waiting())
	release()
	_, err = p.Hash(t.Context(), "x")
	require.NoError(t, err, "there is room again")
}
