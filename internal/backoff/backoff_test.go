package backoff_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/backoff"
)

func TestDeliverySchedule(t *testing.T) {
	t.Parallel()
	s := backoff.Delivery()
	want := map[int]int{-3: 1, 0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 32, 7: 64, 8: 128, 9: 256, 10: 600, 11: 600, 64: 600, 1 << 30: 600}
	for n, seconds := range want {
		require.Equal(t, time.Duration(seconds)*time.Second, s.Delay(n, nil), "failure %d", n)
	}
}

func TestJitterStaysInItsBandAndFillsIt(t *testing.T) {
	t.Parallel()
	s := backoff.Delivery()
	r := rand.New(rand.NewPCG(1, 2))
	for n := 1; n < 10; n++ {
		base := s.Delay(n, nil)
		lo, hi := time.Duration(math.MaxInt64), time.Duration(0)
		for range 2000 {
			d := s.Delay(n, r)
			lo, hi = min(lo, d), max(hi, d)
		}
		require.GreaterOrEqual(t, lo, base*85/100)
		require.LessOrEqual(t, hi, base*115/100)
		require.Less(t, lo, base*87/100, "failure %d: the band is used", n)
		require.Greater(t, hi, base*113/100, "failure %d: the band is used", n)
	}
	require.Equal(t, 600*time.Second, s.Delay(10, r), "no jitter at the cap")
}

func TestSameSeedSameDelays(t *testing.T) {
	t.Parallel()
	a, b := rand.New(rand.NewPCG(7, 7)), rand.New(rand.NewPCG(7, 7))
	for n := range 20 {
		require.Equal(t, backoff.Delivery().Delay(n, a), backoff.Delivery().Delay(n, b))
	}
}

// The generic rule: the cap from failure trunc(log2(cap/base)+1) on.
func TestOtherSchedules(t *testing.T) {
	t.Parallel()
	for _, s := range []backoff.Schedule{
		{Base: 500 * time.Millisecond, Cap: 3 * time.Minute},
		{Base: time.Second, Cap: 64 * time.Second},
		{Base: time.Second, Cap: time.Second},
		{Base: 3 * time.Second, Cap: time.Second},
	} {
		capAt := int(math.Trunc(math.Log2(float64(s.Cap)/float64(s.Base)) + 1))
		for n := 1; n < 30; n++ {
			want := s.Cap
			if n < capAt {
				want = s.Base << (n - 1)
			}
			require.Equal(t, want, s.Delay(n, nil), "%v failure %d", s, n)
		}
	}
	require.Equal(t, time.Second, backoff.Schedule{Cap: time.Second}.Delay(3, nil))
}
