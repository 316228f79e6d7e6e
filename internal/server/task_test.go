package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A component that fails or panics starts again, later each time, and says why; one that lasts is sound again.
func TestComponentStartsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var starts []time.Duration
		c := start(slog.New(slog.DiscardHandler), "part", func(ctx context.Context) error {
			starts = append(starts, time.Since(begun))
			switch len(starts) {
			case 1:
				return errors.New("no luck")
			case 2:
				panic("at the disco")
			case 3:
				return nil // not what it was asked for
			}
			<-ctx.Done()
			return ctx.Err()
		})
		_, broken := c.trouble()
		require.False(t, broken)
		for i, want := range []string{"no luck", "panic: at the disco", errEndedEarly.Error()} {
			time.Sleep(firstRestart<<i - time.Millisecond)
			synctest.Wait()
			f, broken := c.trouble()
			require.True(t, broken)
			require.ErrorContains(t, f.err, want)
			require.Zero(t, f.since.Sub(begun), "since the first failure")
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		require.Equal(t, []time.Duration{0, firstRestart, 3 * firstRestart, 7 * firstRestart}, starts)
		time.Sleep(lasting)
		_, broken = c.trouble()
		require.True(t, broken, "it has not lasted yet")
		time.Sleep(time.Millisecond)
		_, broken = c.trouble()
		require.False(t, broken)
		c.end()
	})
}

// One that is asked to end while it waits for its next start ends at once.
func TestComponentEndsWhileItWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := start(slog.New(slog.DiscardHandler), "part", func(context.Context) error { return errors.New("never") })
		time.Sleep(time.Minute)
		at := time.Now()
		require.NoError(t, c.stop(t.Context()))
		require.Zero(t, time.Since(at))
	})
}
