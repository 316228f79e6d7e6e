// Package backoff computes how long to wait before the next attempt: doubling from a base up to a cap, with jitter below the cap so that
// messages that failed together do not come back together. It is pure; callers own the clock and the random source.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Jitter below the cap: the delay is multiplied by a uniform factor between these.
const (
	jitterLow  = 0.85
	jitterHigh = 1.15
)

// Schedule says how delays grow with the number of failures.
type Schedule struct {
	Base time.Duration // after the first failure
	Cap  time.Duration // the longest delay; reached exactly, without jitter
}

// Delivery is the schedule of failed deliveries: 1 s, 2 s, 4 s … 256 s, and 600 s from the tenth failure on.
func Delivery() Schedule { return Schedule{Base: time.Second, Cap: 600 * time.Second} }

// Delay is the wait after failure n, counted from 1; smaller numbers count as the first. A nil r means no jitter. From failure
// trunc(log2(Cap/Base)+1) on it is the cap. It is not safe for concurrent use of one r.
func (s Schedule) Delay(n int, r *rand.Rand) time.Duration {
	if s.Base <= 0 {
		return max(s.Cap, 0)
	}
	d := s.Base
	for i := 1; i < n; i++ {
		if d > s.Cap/2 {
			return s.Cap
		}
		d *= 2
	}
	if d > s.Cap/2 {
		return s.Cap
	}
	if r == nil {
		return d
	}
	return time.Duration(float64(d) * (jitterLow + (jitterHigh-jitterLow)*r.Float64()))
}
