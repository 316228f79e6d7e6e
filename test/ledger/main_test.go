// Package ledger_test proves the promises of order, completeness and exactly-once processing on the real binary and a real Postgres. Random
// transactions run against tables whose triggers keep a ledger of every change. Meanwhile Sequin and Postgres are killed, stopped and crashed at
// random points, pull workers forget, give back and acknowledge, and webhook receivers fail in every way that they can. In the end each
// consumer's acknowledged messages must be the ledger, key by key, with nothing lost, changed, reordered or repeated beyond what promise P4 allows.
//
// The load and the faults follow from a seed. A failure names it; SEQUIN_SEED=n replays that plan alone. SEQUIN_SOAK makes it long: a number of
// seeds, or a duration.
package ledger_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	harness.CleanUp()
	os.Exit(code)
}

// Environment variables.
const (
	envSeed = "SEQUIN_SEED" // replays one plan
	envSoak = "SEQUIN_SOAK" // how many seeds, or for how long; 1 for the usual length
)

const usualSoak = 200 // seeds

// soaking reports whether the long versions run.
func soaking() bool { return os.Getenv(envSoak) != "" }

// seeds calls f for each seed that is due: short ones in a normal run.
func seeds(t *testing.T, short int, f func(seed uint64) bool) {
	t.Helper()
	if text := os.Getenv(envSeed); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, envSeed)
		f(seed)
		return
	}
	count, until := short, time.Time{}
	if text := os.Getenv(envSoak); text != "" {
		n, err := strconv.Atoi(text)
		d, derr := time.ParseDuration(text)
		switch {
		case err == nil && n > 1:
			count = n
		case err != nil && derr == nil:
			count, until = 1<<30, time.Now().Add(d)
		default:
			count = usualSoak
		}
	}
	for seed := uint64(1); seed <= uint64(count); seed++ { //nolint:gosec // a count
		if !until.IsZero() && time.Now().After(until) || !f(seed) {
			return
		}
	}
}
