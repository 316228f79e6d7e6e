package backfill

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Snapshot tells which transactions a page has seen (PostgreSQL manual, "Transaction ID and Snapshot Information Functions").
type Snapshot struct {
	Xmin, Xmax uint64
	InProgress []uint64 // ascending
}

// ParseSnapshot reads "xmin:xmax:xip,…".
func ParseSnapshot(text string) (Snapshot, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return Snapshot{}, fmt.Errorf("snapshot %q is not of the form xmin:xmax:list", text)
	}
	var s Snapshot
	var err error
	if s.Xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", text, err)
	}
	if s.Xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", text, err)
	}
	if parts[2] == "" {
		return s, nil
	}
	for xid := range strings.SplitSeq(parts[2], ",") {
		n, err := strconv.ParseUint(xid, 10, 64)
		if err != nil {
			return Snapshot{}, fmt.Errorf("snapshot %q: %w", text, err)
		}
		s.InProgress = append(s.InProgress, n)
	}
	slices.Sort(s.InProgress)
	return s, nil
}

// Sees tells whether the snapshot has what a committed transaction did. The WAL has the lower half of a transaction's id; the upper one is that
// of the nearest to the snapshot.
func (s Snapshot) Sees(xid uint32) bool {
	full := s.Xmax + uint64(int64(int32(xid-uint32(s.Xmax)))) //nolint:gosec // ids go in a circle
	switch {
	case full < s.Xmin:
		return true
	case full >= s.Xmax:
		return false
	}
	_, running := slices.BinarySearch(s.InProgress, full)
	return !running
}
