// Package powerloss_test proves what a killed process cannot: that everything promised was on the disk. SIGKILL keeps the page cache, so a build
// that never syncs would pass any number of kills. Here the whole server runs inside the test, on a disk that can lose its power. At random
// points under load the disk drops or tears what was not synced, and at the same instant the machine's connections to Postgres, to its pull
// workers and to its webhook receiver are cut. A new machine boots on what is left, against the same Postgres, and goes on. In between, and in
// the end, a ledger of what was committed is compared with what was acknowledged.
//
// Faulty builds, which skip a sync or do not wait for it, are part of the tests: the ledger must find them out.
//
// SEQUIN_SOAK makes the runs long: 1 for 1,000 points in all, any other number for so many. SEQUIN_SEED=n begins with that seed; what depends
// on time differs between runs of one seed.
package powerloss_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/pgtest"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")))
}

// Environment variables.
const (
	envSoak = "SEQUIN_SOAK"
	envSeed = "SEQUIN_SEED"
)

const usualSoak = 1000 // points of all tests together

// points is how often a test cuts the power: short in a normal run, its share of the total in a soak.
func points(t *testing.T, short int, share float64) int {
	t.Helper()
	text := os.Getenv(envSoak)
	if text == "" {
		return short
	}
	total, err := strconv.Atoi(text)
	if err != nil || total <= 1 {
		total = usualSoak
	}
	return max(int(share*float64(total)), short)
}

func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	if text := os.Getenv(envSeed); text != "" {
		var err error
		n, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, envSeed)
	}
	t.Logf("%s=%d", envSeed, n)
	return n
}
