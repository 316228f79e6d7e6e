package consumer

import (
	"slices"

	"github.com/sequinstream/sequin/internal/cdc"
)

// ageTrack remembers when the messages around some seqs were committed, to tell how old the oldest undelivered one is.
type ageTrack struct {
	seqs  []uint64
	times []cdc.Timestamp
}

const (
	maxAgeMarks = 512
	ageGrain    = 1_000_000 // microseconds
)

func (a *ageTrack) note(seq uint64, at cdc.Timestamp) {
	if n := len(a.seqs); n > 0 && (seq <= a.seqs[n-1] || (seq < a.seqs[n-1]+64 && at < a.times[n-1]+ageGrain)) {
		return
	}
	if len(a.seqs) == maxAgeMarks { // thin out: every other one goes
		for i := range maxAgeMarks / 2 {
			a.seqs[i], a.times[i] = a.seqs[2*i], a.times[2*i]
		}
		a.seqs, a.times = a.seqs[:maxAgeMarks/2], a.times[:maxAgeMarks/2]
	}
	a.seqs, a.times = append(a.seqs, seq), append(a.times, at)
}

// at is about when seq was committed; zero when that is not known.
func (a *ageTrack) at(seq uint64) cdc.Timestamp {
	i, found := slices.BinarySearch(a.seqs, seq)
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	if i > 0 { // older ones are not asked for again
		a.seqs = a.seqs[:copy(a.seqs, a.seqs[i:])]
		a.times = a.times[:copy(a.times, a.times[i:])]
		i = 0
	}
	return a.times[i]
}
