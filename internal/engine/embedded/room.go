package embedded

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sequinstream/sequin/internal/engine"
)

const (
	reserveMost      = 64 << 20
	reservePart      = 20 // of the storage
	reserveMemtables = 4  // at least: what is in memory must still fit, or nothing can be trimmed
	// roomAge and roomBytes are how long, and for how many bytes appended, a look at the storage is good.
	roomAge   = 100 * time.Millisecond
	roomBytes = 8 << 20
)

// room keeps appends from taking the last of the storage, which acks, trims and the next start need.
type room struct {
	fs      vfs.FS
	dir     string
	reserve int64
	least   uint64

	mu    sync.Mutex
	at    time.Time
	spent int
	err   error
}

func newRoom(o Options) *room {
	return &room{fs: o.FS, dir: o.Dir, reserve: o.ReserveBytes, least: uint64(o.MemtableBytes) * reserveMemtables} //nolint:gosec // positive
}

// check says whether so many bytes may be appended.
func (r *room) check(size int) error {
	if r.reserve < 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spent += size
	if now := time.Now(); now.Sub(r.at) > roomAge || r.spent > roomBytes {
		r.at, r.spent = now, size
		r.err = r.look()
	}
	return r.err
}

func (r *room) look() error {
	du, err := r.fs.GetDiskUsage(r.dir)
	if err != nil {
		return nil //nolint:nilerr // a storage that cannot tell has no reserve
	}
	reserve := uint64(r.reserve) //nolint:gosec // not negative
	if reserve == 0 {
		reserve = max(r.least, min(reserveMost, du.TotalBytes/reservePart))
	}
	if du.AvailBytes < reserve {
		return fmt.Errorf("%w: %d bytes are left, the last %d are kept for acks and trims", engine.ErrNoSpace, du.AvailBytes, reserve)
	}
	return nil
}

// unknownRoom stands for a storage that cannot tell its size.
const unknownRoom = math.MaxInt64

// Usage tells the room that is taken and left. A storage that cannot tell seems endless; while it is being reopened nothing seems used.
func (e *Engine) Usage() engine.Usage {
	u := engine.Usage{Free: unknownRoom, Total: unknownRoom, Ephemeral: e.ephemeral}
	if du, err := e.opts.FS.GetDiskUsage(e.opts.Dir); err == nil {
		u.Free, u.Total = du.AvailBytes, du.TotalBytes
	}
	if s, err := e.use(); err == nil {
		defer s.release()
		m := s.db.Metrics()
		// Pebble forgets the blob files that it finds when it opens a store in the local sum; the other one is right.
		u.Used = m.DiskSpaceUsage() - m.BlobFiles.Local.LiveSize + m.BlobFiles.LiveSize
	}
	return u
}
