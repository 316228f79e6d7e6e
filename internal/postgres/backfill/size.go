package backfill

import "time"

// Sizes of a page, in rows and bytes.
const (
	FirstSize  = 1000
	MaxSize    = 4_000
	PageBytes  = 4 << 20
	sizeMemory = 20
)

// Sizer finds how many rows to ask for: as many as fit the time and the bytes of a page.
type Sizer struct {
	budget  time.Duration
	history []attempt
}

// attempt is one page that was asked for.
type attempt struct {
	size     int
	took     time.Duration
	timedOut bool
}

// NewSizer makes a Sizer for pages that may take so long.
func NewSizer(budget time.Duration) *Sizer { return &Sizer{budget: budget} }

// Note tells what became of a page; bytes is 0 when it timed out.
func (s *Sizer) Note(size int, took time.Duration, bytes int, timedOut bool) {
	if bytes > PageBytes { // as if the time had been spent that so many bytes may take
		took = max(took, time.Duration(float64(s.budget)*float64(bytes)/PageBytes))
	}
	s.history = append(s.history, attempt{size, took, timedOut})
	if len(s.history) > sizeMemory {
		s.history = s.history[1:]
	}
}

// Next is the size of the next page.
func (s *Sizer) Next() int {
	if len(s.history) == 0 {
		return FirstSize
	}
	last := s.history[len(s.history)-1]
	var good, bad int // the largest that went well, the smallest that did not
	for _, a := range s.history {
		if !a.timedOut {
			good = max(good, a.size)
		} else if bad == 0 || a.size < bad {
			bad = a.size
		}
	}
	next := last.size
	switch {
	case bad == 0:
		if ratio := s.ratio(last); ratio > 1.2 || ratio < 0.8 {
			next = int(float64(last.size) * ratio)
		}
	case good == 0:
		next = last.size * 8 / 10
	case good < bad:
		next = (good + bad) / 2
	default:
		next = good * 9 / 10
	}
	next = min(max(next, last.size/2), last.size*2, MaxSize)
	return max(rounded(next), 1)
}

// ratio is by how much a page could be bigger: at most twice.
func (s *Sizer) ratio(a attempt) float64 {
	if a.took <= 0 {
		return 2
	}
	return min(float64(s.budget)/float64(a.took), 2)
}

func rounded(n int) int {
	switch {
	case n < 10:
		return n
	case n < 100:
		return n / 10 * 10
	case n < 1000:
		return n / 50 * 50
	}
	return n / 100 * 100
}
