package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Everything that can go wrong, in any order, while everything that an application may do to its tables goes on.
func TestTheLedger(t *testing.T) {
	t.Parallel()
	kinds := []fault{
		killSequin, killSequin, killSequin, killOnTheWayUp, stopSequin, stopSequin, stopOnTheWayUp, crashPostgres, crashPostgres, restartPostgres, killWalsender,
		crashBoth, outage, outage, reload, pauseSinks,
	}
	seeds(t, 2, func(seed uint64) bool {
		return t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			if !soaking() {
				t.Parallel()
			}
			l := load{writers: 4, transactions: 120, faults: 8, kinds: kinds}
			if seed%2 == 0 {
				l.bulk = 5000
			}
			if soaking() {
				l.faults = 12
			}
			newRig(t, seed, usualSinks()).run(l)
		})
	})
}

// Deploys: after an orderly stop nothing that was acknowledged or accepted comes again, to anybody, however often.
func TestRollingRestartsRepeatNothing(t *testing.T) {
	t.Parallel()
	restarts := 10
	if soaking() {
		restarts = 500
	}
	g := newRig(t, 1, usualSinks())
	g.run(load{writers: 2, transactions: 1 << 30, pace: 40 * time.Millisecond, endless: true, faults: restarts, apart: 100, kinds: []fault{stopSequin}})
	for _, h := range g.hooks {
		require.Zero(t, h.repeats(), h.name)
	}
}
