package ledger_test

import (
	"fmt"
	"testing"
)

// Promises P1, P3, P4 and P5 together, over everything that can go wrong.
func TestTheLedger(t *testing.T) {
	kinds := []fault{
		killSequin, killSequin, killSequin, killOnTheWayUp, stopSequin, stopSequin, stopOnTheWayUp, crashPostgres, crashPostgres, restartPostgres, killWalsender, crashBoth,
		outage, outage, reload, pauseSinks,
	}
	seeds(t, 2, func(seed uint64) bool {
		return t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			l := load{writers: 4, transactions: 120, faults: 10, kinds: kinds}
			if seed%2 == 0 || soaking() {
				l.bulk = 5000
			}
			newRig(t, seed, usualSinks()).run(l)
		})
	})
}
