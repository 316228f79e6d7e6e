package embedded_test

import (
	"path/filepath"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// quotaFS is a disk of a given size: a write that does not fit is taken in part and then refused.
type quotaFS struct {
	vfs.FS
	mu    sync.Mutex
	limit int64
	used  map[string]int64
}

func newQuotaFS(fs vfs.FS, limit int64) *quotaFS {
	return &quotaFS{FS: fs, limit: limit, used: map[string]int64{}}
}

func (q *quotaFS) grow(by int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit += by
}

// take lets a file grow to size, as far as there is room.
func (q *quotaFS) take(name string, size int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	total := int64(0)
	for _, n := range q.used {
		total += n
	}
	size = max(q.used[name], min(size, q.used[name]+q.limit-total))
	q.used[name] = size
	return size
}

func (q *quotaFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	total := int64(0)
	for _, n := range q.used {
		total += n
	}
	free := uint64(max(0, q.limit-total))
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: uint64(q.limit), UsedBytes: uint64(total)}, nil
}

func (q *quotaFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if q.take("", 0) < 0 {
		return nil, syscall.ENOSPC
	}
	f, err := q.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used[name] = 0
	return &quotaFile{File: f, q: q, name: name}, nil
}

func (q *quotaFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := q.FS.ReuseForWrite(oldname, newname, c)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used[newname] = q.used[oldname]
	delete(q.used, oldname)
	return &quotaFile{File: f, q: q, name: newname}, nil
}

func (q *quotaFS) Rename(oldname, newname string) error {
	if err := q.FS.Rename(oldname, newname); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used[newname] = q.used[oldname]
	delete(q.used, oldname)
	return nil
}

func (q *quotaFS) Remove(name string) error {
	if err := q.FS.Remove(name); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.used, name)
	return nil
}

type quotaFile struct {
	vfs.File
	q    *quotaFS
	name string
	pos  int64
}

func (f *quotaFile) Write(p []byte) (int, error) {
	room := f.q.take(f.name, f.pos+int64(len(p))) - f.pos
	take := min(int64(len(p)), max(0, room))
	n, err := f.File.Write(p[:take])
	f.pos += int64(n)
	if err == nil && n < len(p) {
		err = syscall.ENOSPC
	}
	return n, err
}

// faultFS fails chosen operations.
type faultFS struct {
	vfs.FS
	mu   sync.Mutex
	fail func(op, base string) error
}

func (f *faultFS) set(fail func(op, base string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faultFS) check(op, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(op, filepath.Base(name))
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check("create", name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.Create(name, c))
}

func (f *faultFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check("create", newname); err != nil {
		return nil, err
	}
	return f.wrap(newname)(f.FS.ReuseForWrite(oldname, newname, c))
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) { return f.wrap(name)(f.FS.OpenDir(name)) }

func (f *faultFS) Rename(oldname, newname string) error {
	if err := f.check("rename", newname); err != nil {
		return err
	}
	return f.FS.Rename(oldname, newname)
}

func (f *faultFS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(file vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		return &faultFile{File: file, fs: f, name: name}, nil
	}
}

type faultFile struct {
	vfs.File
	fs   *faultFS
	name string
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.fs.check("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.fs.check("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.fs.check("sync", f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}
