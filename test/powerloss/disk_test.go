package powerloss_test

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// controller is what one process sees of a disk: syncs take time, operations can be made to fail, room can run out, and when the process is
// killed nothing that it still does reaches the disk.
type controller struct {
	vfs.FS
	slow time.Duration // a sync takes up to so long

	mu    sync.RWMutex
	dead  bool
	fail  func(op, base string) error
	quota int64 // bytes; 0 for no end
	used  map[string]int64
	after *vfs.MemFS // takes what comes after the end
}

func newController(disk vfs.FS, slow time.Duration) *controller {
	return &controller{FS: disk, slow: slow, used: map[string]int64{}, after: vfs.NewMem()}
}

// kill ends the process for the disk.
func (c *controller) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
}

// fails installs what decides about each operation; nil for none.
func (c *controller) fails(f func(op, base string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = f
}

// limit sets the room beyond what is taken.
func (c *controller) limit(room int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quota = c.total() + room
}

func (c *controller) total() (sum int64) {
	for _, n := range c.used {
		sum += n
	}
	return sum
}

// do runs one operation, or not when the process is dead.
func (c *controller) do(op, name string, f func() error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.dead {
		return nil
	}
	if c.fail != nil {
		if err := c.fail(op, filepath.Base(name)); err != nil {
			return err
		}
	}
	return f()
}

func (c *controller) open(op, name string, f func() (vfs.File, error)) (file vfs.File, err error) {
	err = c.do(op, name, func() (err error) {
		file, err = f()
		return err
	})
	if err != nil {
		return nil, err
	}
	if file == nil {
		if err := c.after.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return nil, err
		}
		return c.after.Create(name, vfs.WriteCategoryUnspecified)
	}
	return &diskFile{File: file, c: c, name: name}, nil
}

func (c *controller) Create(name string, k vfs.DiskWriteCategory) (vfs.File, error) {
	c.forget(name)
	return c.open("create", name, func() (vfs.File, error) { return c.FS.Create(name, k) })
}

func (c *controller) ReuseForWrite(oldname, newname string, k vfs.DiskWriteCategory) (vfs.File, error) {
	c.forget(oldname)
	return c.open("create", newname, func() (vfs.File, error) { return c.FS.ReuseForWrite(oldname, newname, k) })
}

func (c *controller) OpenReadWrite(name string, k vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return c.open("open", name, func() (vfs.File, error) { return c.FS.OpenReadWrite(name, k, opts...) })
}

func (c *controller) OpenDir(name string) (vfs.File, error) {
	f, err := c.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, c: c, name: name}, nil
}

// forget gives the room of a file back.
func (c *controller) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.used, name)
}

func (c *controller) Link(oldname, newname string) error {
	return c.do("link", newname, func() error { return c.FS.Link(oldname, newname) })
}

func (c *controller) Rename(oldname, newname string) error {
	return c.do("rename", newname, func() error { return c.FS.Rename(oldname, newname) })
}

func (c *controller) Remove(name string) error {
	err := c.do("remove", name, func() error { return c.FS.Remove(name) })
	if err == nil {
		c.forget(name)
	}
	return err
}

func (c *controller) RemoveAll(name string) error {
	return c.do("remove", name, func() error { return c.FS.RemoveAll(name) })
}

func (c *controller) MkdirAll(dir string, perm os.FileMode) error {
	return c.do("mkdir", dir, func() error { return c.FS.MkdirAll(dir, perm) })
}

// Lock always succeeds: the process before is dead, only its goroutines do not know yet.
func (c *controller) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (c *controller) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.quota == 0 {
		return c.FS.GetDiskUsage(path)
	}
	used := c.total()
	return vfs.DiskUsage{AvailBytes: uint64(max(c.quota-used, 0)), TotalBytes: uint64(c.quota), UsedBytes: uint64(used)}, nil //nolint:gosec // not negative
}

func (c *controller) Unwrap() vfs.FS { return c.FS }

// diskFile is a file that is written, or a directory that is synced.
type diskFile struct {
	vfs.File
	c    *controller
	name string
}

func (f *diskFile) Write(p []byte) (n int, err error) {
	if !f.room(len(p)) {
		return 0, syscall.ENOSPC
	}
	n = len(p)
	err = f.c.do("write", f.name, func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

func (f *diskFile) WriteAt(p []byte, at int64) (n int, err error) {
	n = len(p)
	err = f.c.do("write", f.name, func() (err error) {
		n, err = f.File.WriteAt(p, at)
		return err
	})
	return n, err
}

// room takes so many bytes of what is left.
func (f *diskFile) room(n int) bool {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.c.quota > 0 && f.c.total()+int64(n) > f.c.quota {
		return false
	}
	f.c.used[f.name] += int64(n)
	return true
}

// sync takes a moment before it counts, so that a cut can come in between.
func (f *diskFile) sync(really func() error) error {
	if f.c.slow > 0 {
		pause := time.NewTimer(time.Duration(rand.Int64N(int64(f.c.slow)))) //nolint:gosec // only a delay
		<-pause.C
	}
	return f.c.do("sync", f.name, really)
}

func (f *diskFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *diskFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *diskFile) SyncTo(length int64) (full bool, err error) {
	err = f.sync(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}
