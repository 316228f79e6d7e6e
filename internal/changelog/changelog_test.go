package changelog_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/changelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEverythingReadsBackAsWritten(t *testing.T) {
	t.Parallel()
	for _, blockBytes := range []int{300, 2000, 64 << 10} {
		r := rand.New(rand.NewPCG(1, uint64(blockBytes)))
		txns := random(r, 400)
		want := expect(txns)
		m := &memory{}
		l, stop := open(t, m, changelog.Options{BlockBytes: blockBytes, CacheBytes: 1 << 20})
		w := l.Writer(0)
		for i := range txns {
			write(t, w, txns[i])
			if r.IntN(3) == 0 {
				w.Flush()
			}
		}
		settle(t, l, w, uint64(len(want)))
		requireSame(t, want, content(t, l))
		stop()

		again, _ := open(t, m, changelog.Options{BlockBytes: blockBytes, CacheBytes: 1 << 10})
		require.Equal(t, l.End(), again.End())
		requireSame(t, want, content(t, again))
	}
}
