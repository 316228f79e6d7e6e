package embedded

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard stands between Pebble and the file system, because Pebble takes a failed write to its WAL or MANIFEST for the end of the process.
//
//   - A full disk only delays a write to those files: the write waits and is repeated until there is room. Writers see ErrNoSpace meanwhile.
//   - Any other failure there (a sync that returned an error, above all: what it should have written may be gone) kills this guard. A dead
//     guard swallows every change and reports success, so that Pebble winds down in an orderly way without touching the directory, while
//     the engine opens it afresh and reads back what is really there. Every caller whose write was not synced before the death gets an error.
//   - Failures on tables go back to Pebble, which repeats the flush or the compaction; a pause keeps it from spinning.
type guard struct {
	vfs.FS
	fatal   func(error)          // a write that may not fail failed; called once, after death
	stalled func(err error) bool // a write began to wait for room (err) or ended waiting (nil); false: do not wait
	synced  func(testimony)      // a WAL or MANIFEST was synced

	strict atomic.Bool // while the store opens or closes: a full disk is fatal too, nothing waits

	mu   sync.RWMutex // held for reading during each change; kill takes it, so that nothing is in flight afterwards
	died chan struct{}
	once sync.Once
}

// ioError marks what the file system refused, wherever Pebble wraps it.
type ioError struct {
	op, path string
	err      error
}

func (e *ioError) Error() string { return fmt.Sprintf("%s %s: %v", e.op, filepath.Base(e.path), e.err) }
func (e *ioError) Unwrap() error { return e.err }

const (
	roomPoll  = 50 * time.Millisecond  // between attempts to write to a full disk
	tablePace = 100 * time.Millisecond // after a failure on a table
)

func newGuard(fs vfs.FS) *guard {
	g := &guard{FS: fs, died: make(chan struct{})}
	g.strict.Store(true)
	return g
}

// kill makes the guard swallow changes from now on. It returns once none is in flight.
func (g *guard) kill() {
	g.once.Do(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		close(g.died)
	})
}

func (g *guard) dead() bool {
	select {
	case <-g.died:
		return true
	default:
		return false
	}
}

// isNoSpace reports that the storage is full.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// vital tells the files whose failed writes Pebble cannot survive.
func vital(name string) bool {
	base := filepath.Base(name)
	return strings.HasSuffix(base, ".log") || strings.HasPrefix(base, "MANIFEST") || strings.HasPrefix(base, "marker")
}

// try runs one change unless the guard is dead.
func (g *guard) try(change func() error) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.dead() {
		return nil
	}
	return change()
}

// change runs an operation that alters the file system. A nil error of a dead guard means that nothing was done.
func (g *guard) change(op, path string, isVital bool, f func() error) error {
	waiting := false
	defer func() {
		if waiting {
			g.stalled(nil)
		}
	}()
	for {
		err := g.try(f)
		if err == nil {
			return nil
		}
		err = &ioError{op: op, path: path, err: err}
		switch {
		case g.strict.Load():
			g.die(err)
			return err
		case !isVital:
			g.pause(tablePace)
			return err
		case !isNoSpace(err) || op == "sync":
			g.die(err)
			return nil
		}
		if !waiting {
			waiting = true
			if !g.stalled(err) {
				g.die(err)
				return nil
			}
		}
		g.pause(roomPoll)
	}
}

func (g *guard) die(err error) {
	g.kill()
	g.fatal(err)
}

func (g *guard) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.died:
	}
}

// open runs a change that yields a file; of a dead guard it is a hole.
func (g *guard) open(op, name string, f func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	isVital := vital(name)
	err := g.change(op, name, isVital, func() (err error) {
		file, err = f()
		return err
	})
	if err != nil {
		return nil, err
	}
	if file == nil {
		return &hole{}, nil
	}
	base := filepath.Base(name)
	return &guardedFile{File: file, g: g, name: name, vital: isVital, witnessed: isManifest(base) || isWAL(base)}, nil
}

func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open("create", name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.open("open", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, opts...) })
}

func (g *guard) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open("reuse", newname, func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, c) })
}

// OpenDir opens a directory; its sync is vital.
func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardedFile{File: f, g: g, name: name, vital: true}, nil
}

func (g *guard) Link(oldname, newname string) error {
	return g.change("link", newname, vital(newname), func() error { return g.FS.Link(oldname, newname) })
}

func (g *guard) Rename(oldname, newname string) error {
	return g.change("rename", newname, vital(newname), func() error { return g.FS.Rename(oldname, newname) })
}

func (g *guard) MkdirAll(dir string, perm os.FileMode) error {
	return g.change("mkdir", dir, true, func() error { return g.FS.MkdirAll(dir, perm) })
}

// Remove passes failures on as they are: Pebble only logs them.
func (g *guard) Remove(name string) error {
	return g.try(func() error { return g.FS.Remove(name) })
}

func (g *guard) RemoveAll(name string) error {
	return g.try(func() error { return g.FS.RemoveAll(name) })
}

// Lock does nothing: the engine holds the lock of the directory across reopening.
func (g *guard) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (g *guard) Unwrap() vfs.FS { return g.FS }

// guardedFile is a file that was opened for writing, or a directory.
type guardedFile struct {
	vfs.File
	g     *guard
	name  string
	vital bool

	// A WAL or MANIFEST is written front to back by one goroutine at a time.
	witnessed bool
	size      int64
	sum       uint32
}

func (f *guardedFile) Write(p []byte) (int, error) {
	done := 0
	err := f.g.change("write", f.name, f.vital, func() error {
		sum := uint32(0)
		if f.witnessed { // before the write, which may alter p
			sum = crc32.Update(f.sum, castagnoli, p[done:])
		}
		n, err := f.File.Write(p[done:])
		f.witnessed = f.witnessed && n == len(p)-done // nobody knows the sum of a part
		f.size, f.sum = f.size+int64(n), sum
		done += n // what a full disk took of it is not written twice
		return err
	})
	if err != nil {
		return done, err
	}
	return len(p), nil
}

func (f *guardedFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.g.change("write", f.name, f.vital, func() error {
		_, err := f.File.WriteAt(p, off)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *guardedFile) Sync() error {
	return f.sync(f.File.Sync)
}

func (f *guardedFile) SyncData() error {
	return f.sync(f.File.SyncData)
}

func (f *guardedFile) sync(sync func() error) error {
	return f.g.change("sync", f.name, f.vital, func() error {
		err := sync()
		if err == nil && f.witnessed {
			f.g.synced(testimony{name: filepath.Base(f.name), size: f.size, sum: f.sum})
		}
		return err
	})
}

func (f *guardedFile) SyncTo(length int64) (full bool, err error) {
	err = f.g.change("sync", f.name, f.vital, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// hole is a file of a dead guard.
type hole struct{ size atomic.Int64 }

func (*hole) Close() error                           { return nil }
func (*hole) Read([]byte) (int, error)               { return 0, io.EOF }
func (*hole) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (*hole) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (*hole) Preallocate(int64, int64) error         { return nil }
func (*hole) Sync() error                            { return nil }
func (*hole) SyncTo(int64) (bool, error)             { return true, nil }
func (*hole) SyncData() error                        { return nil }
func (*hole) Prefetch(int64, int64) error            { return nil }
func (*hole) Fd() uintptr                            { return vfs.InvalidFd }

func (h *hole) Write(p []byte) (int, error) {
	h.size.Add(int64(len(p)))
	return len(p), nil
}

func (h *hole) Stat() (vfs.FileInfo, error) { return holeInfo{size: h.size.Load()}, nil }

type holeInfo struct{ size int64 }

func (holeInfo) Name() string           { return "hole" }
func (i holeInfo) Size() int64          { return i.size }
func (holeInfo) Mode() os.FileMode      { return 0o600 }
func (holeInfo) ModTime() time.Time     { return time.Time{} }
func (holeInfo) IsDir() bool            { return false }
func (holeInfo) Sys() any               { return nil }
func (holeInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
