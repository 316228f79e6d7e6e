package consumer

import (
	"slices"

	"github.com/sequinstream/sequin/internal/cdc"
)

// ageTrack remembers when the messages around some seqs were committed, to tell how old the oldest undelivered one is. The marks are evenly
// spread over the window: the wider it is, the wider they are.
type ageTrack struct {
	seqs   []uint64
	times  []cdc.Timestamp
	coarse uint // the distance between marks is doubled so often
}

const (
	maxAgeMarks = 512
	ageSeqs     = 64        // distance between marks: so many messages,
	ageMicros   = 1_000_000 // or so much time
)

func (a *ageTrack) note(seq uint64, at cdc.Timestamp) {
	if n := len(a.seqs); n > 0 {
		near := seq < a.seqs[n-1]+ageSeqs<<a.coarse && at < a.times[n-1]+ageMicros<<a.coarse
		if near || seq <= a.seqs[n-1] {
			return
		}
	}
	if len(a.seqs) == maxAgeMarks { // every other one goes
		for i := range maxAgeMarks / 2 {
			a.seqs[i], a.times[i] = a.seqs[2*i], a.times[2*i]
		}
		a.seqs, a.times = a.seqs[:maxAgeMarks/2], a.times[:maxAgeMarks/2]
		a.coarse++
	}
	a.seqs, a.times = append(a.seqs, seq), append(a.times, at)
}

// at is about when seq was committed, rather too early than too late; zero when that is not known. Marks before seq are forgotten.
func (a *ageTrack) at(seq uint64) cdc.Timestamp {
	i, found := slices.BinarySearch(a.seqs, seq)
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	a.seqs, a.times = slices.Delete(a.seqs, 0, i), slices.Delete(a.times, 0, i)
	if len(a.seqs) < maxAgeMarks/8 {
		a.coarse = 0
	}
	return a.times[0]
}
