package consumer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
)

// On a real engine, a consumer is moved, acknowledges, and is moved again or back; then the power goes, in the middle of that or right after the
// answer. What was answered holds, and what was not is there or not, whole.
func TestPowerLossKeepsMoves(t *testing.T) {
	t.Parallel()
	const n = 300
	for round := range uint64(iterations(24)) {
		log := newEndless(n, distinct)
		disk := powerloss.New()
		open := func(disk *powerloss.Disk) (*embedded.Engine, *running) {
			engine, err := disk.Open(t.Context(), powerloss.Options{})
			require.NoError(t, err)
			return engine, start(t, log, engine.State(), pullConfig())
		}
		engine, c := open(disk)
		first := gather(t, c, 100)
		c.ack(first[:90]...) // 91 to 100 stay out
		_, err := c.Move(t.Context(), consumer.MoveRequest{To: 31})
		require.NoError(t, err)
		again := gather(t, c, 150) // 31 to 180
		c.ack(again[100:]...)      // 131 to 180

		cut := make(chan *powerloss.Disk, 1)
		answered := round%3 > 0
		if !answered {
			go func() { cut <- disk.Cut(round) }()
		}
		_, err = c.UndoMove(t.Context(), "")
		require.NoError(t, err)
		if answered {
			cut <- disk.Cut(round)
		}
		kept := <-cut
		c.stop()
		require.NoError(t, engine.Close())

		engine, c = open(kept)
		generation := c.Stats().Generation
		if answered {
			require.EqualValues(t, 2, generation)
		}
		if generation == 1 { // it did not happen, and can be done once more
			_, err = c.UndoMove(t.Context(), "")
			require.NoError(t, err)
		}
		const left = n - 90 - 50
		ds := gather(t, c, left)
		seen := map[uint64]bool{}
		for _, d := range ds {
			require.False(t, d.Seq <= 90 || (d.Seq > 130 && d.Seq <= 180), "round %d: message %d was acknowledged", round, d.Seq)
			seen[d.Seq] = true
		}
		require.Len(t, seen, left)
		c.ack(ds...)
		require.EqualValues(t, n+1, c.Cursor())
		c.stop()
		require.NoError(t, engine.Close())
	}
}

// gather receives n messages.
func gather(t *testing.T, c *running, n int) (all []*consumer.Delivery) {
	t.Helper()
	for len(all) < n {
		ds, err := c.Receive(t.Context(), consumer.ReceiveOptions{Max: n - len(all), Wait: minute})
		require.NoError(t, err)
		require.NotEmpty(t, ds)
		all = append(all, ds...)
	}
	return all
}
