package circuit_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/sink/circuit"
)

var errDown = errors.New("connection refused")

func fail(t *testing.T, b *circuit.Breaker, times int) {
	t.Helper()
	for range times {
		call, err := b.Begin()
		require.NoError(t, err)
		call.Fail(errDown, 0)
	}
}

func requireOpen(t *testing.T, b *circuit.Breaker) *circuit.OpenError {
	t.Helper()
	_, err := b.Begin()
	var open *circuit.OpenError
	require.ErrorAs(t, err, &open)
	require.ErrorIs(t, err, errDown)
	return open
}

func TestOpensAfterConsecutiveFailuresOnly(t *testing.T) {
	t.Parallel()
	b := circuit.New(circuit.Options{Failures: 3})
	fail(t, b, 2)
	call, err := b.Begin()
	require.NoError(t, err)
	call.Succeed()
	fail(t, b, 2)
	require.False(t, b.Status().Open, "a success in between starts the count again")
	fail(t, b, 1)
	require.True(t, b.Status().Open)
	require.Equal(t, 3, b.Status().Failures)
	_ = requireOpen(t, b)
}

func TestProbesOneAtATimeAndDoublesTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := circuit.New(circuit.Options{Failures: 1, MinWait: time.Second, MaxWait: 3 * time.Second})
		fail(t, b, 1)
		for _, wait := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
			require.Equal(t, wait, requireOpen(t, b).After)
			time.Sleep(wait - time.Nanosecond)
			_ = requireOpen(t, b)
			time.Sleep(time.Nanosecond)
			probe, err := b.Begin()
			require.NoError(t, err)
			_ = requireOpen(t, b)
			probe.Fail(errDown, 0)
		}
		time.Sleep(3 * time.Second)
		probe, err := b.Begin()
		require.NoError(t, err)
		waiting := requireOpen(t, b)
		probe.Succeed()
		<-waiting.Changed
		require.Equal(t, circuit.Status{}, b.Status())
		_, err = b.Begin()
		require.NoError(t, err)
	})
}

func TestRetryAfterLengthensTheWaitWithinItsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := circuit.New(circuit.Options{Failures: 1, MinWait: time.Second, MaxWait: 20 * time.Second})
		call, err := b.Begin()
		require.NoError(t, err)
		call.Fail(errDown, 7*time.Second)
		require.Equal(t, 7*time.Second, requireOpen(t, b).After)
		time.Sleep(7 * time.Second)
		probe, err := b.Begin()
		require.NoError(t, err)
		probe.Fail(errDown, time.Hour)
		require.Equal(t, 20*time.Second, requireOpen(t, b).After)
	})
}

func TestAbandonedProbeLetsAnotherGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := circuit.New(circuit.Options{Failures: 1})
		fail(t, b, 1)
		time.Sleep(circuit.DefaultMinWait)
		probe, err := b.Begin()
		require.NoError(t, err)
		waiting := requireOpen(t, b)
		probe.Abandon()
		<-waiting.Changed
		probe, err = b.Begin()
		require.NoError(t, err)
		probe.Succeed()
		require.False(t, b.Status().Open)
	})
}

// A request that was sent before the outage ends after it: sixty timeouts that arrive late must not open the breaker again.
func TestOutcomesOfAnEarlierEpochSayNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := circuit.New(circuit.Options{Failures: 2})
		var stragglers []circuit.Call
		for range 60 {
			call, err := b.Begin()
			require.NoError(t, err)
			stragglers = append(stragglers, call)
		}
		stragglers[0].Fail(errDown, 0)
		stragglers[1].Fail(errDown, 0)
		require.True(t, b.Status().Open)
		stragglers[2].Succeed()
		require.True(t, b.Status().Open, "only a probe closes it")
		time.Sleep(circuit.DefaultMinWait)
		probe, err := b.Begin()
		require.NoError(t, err)
		probe.Succeed()
		for _, late := range stragglers[3:] {
			late.Fail(errDown, 0)
		}
		require.False(t, b.Status().Open)
	})
}

func TestNeverOpensWhenSwitchedOff(t *testing.T) {
	t.Parallel()
	b := circuit.New(circuit.Options{Failures: -1})
	fail(t, b, 1000)
	require.False(t, b.Status().Open)
}

func TestGroupSharesUntilTheLastLeaves(t *testing.T) {
	t.Parallel()
	var g circuit.Group
	a, leaveA := g.Join("hook", circuit.Options{Failures: 1})
	b, leaveB := g.Join("hook", circuit.Options{})
	other, leaveOther := g.Join("other", circuit.Options{})
	require.Same(t, a, b)
	require.NotSame(t, a, other)
	fail(t, a, 1)
	require.True(t, g.Status()["hook"].Open)
	require.False(t, g.Status()["other"].Open)
	leaveA()
	leaveA()
	c, leaveC := g.Join("hook", circuit.Options{})
	require.Same(t, b, c, "still in use")
	leaveB()
	leaveC()
	leaveOther()
	require.Empty(t, g.Status())

	var none *circuit.Group
	own, leave := none.Join("hook", circuit.Options{})
	leave()
	require.False(t, own.Status().Open)
}

func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	b := circuit.New(circuit.Options{Failures: 5, MinWait: time.Microsecond, MaxWait: time.Microsecond})
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			for range 1000 {
				call, err := b.Begin()
				switch {
				case err != nil:
				case i%3 == 0:
					call.Fail(errDown, 0)
				case i%3 == 1:
					call.Succeed()
				default:
					call.Abandon()
				}
			}
		})
	}
	workers.Wait()
}
