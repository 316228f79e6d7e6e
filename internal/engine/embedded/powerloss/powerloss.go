// Package powerloss is a disk for tests that can lose its power: what was not synced is dropped or torn at random, block by block and
// directory entry by directory entry. A test writes, cuts, opens what is left and compares it with what it was promised.
package powerloss

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sequinstream/sequin/internal/engine/embedded"
)

// Dir is the data directory on a disk, unless Options name another.
const Dir = "/data"

// Disk is a file system in memory that knows what was synced. It is safe for concurrent use.
type Disk struct{ fs *vfs.MemFS }

// Options are those of an engine on a disk.
type Options struct {
	embedded.Options
	// SkipSync makes a faulty engine, one that does not sync its write-ahead log: a test worth its name must fail with it.
	SkipSync bool
	// Wrap puts a file system of the test's own between the engine and the disk; nil for none.
	Wrap func(disk vfs.FS) vfs.FS
}

// New returns an empty disk.
func New() *Disk { return &Disk{fs: vfs.NewCrashableMem()} }

// Open opens an engine on the disk.
func (d *Disk) Open(ctx context.Context, opts Options) (*embedded.Engine, error) {
	o := opts.Options
	o.FS = d.FS()
	if opts.Wrap != nil {
		o.FS = opts.Wrap(o.FS)
	}
	if opts.SkipSync {
		o.FS = lazyFS{o.FS}
	}
	if o.Dir == "" {
		o.Dir = Dir
	}
	return embedded.Open(ctx, o)
}

// FS is the disk's file system, for wrapping in another one that fails; pass the result to embedded.Open.
func (d *Disk) FS() vfs.FS { return d.fs }

// Cut returns the disk as a power cut at this moment could leave it. The seed chooses how much of what was not synced survives: nothing,
// everything, or some of it. The disk itself goes on undisturbed, and so does an engine on it; close that engine after the cut.
func (d *Disk) Cut(seed uint64) *Disk {
	rng := rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)) //nolint:gosec // repeatable on purpose
	percent := 0
	switch rng.IntN(4) {
	case 0:
	case 1:
		percent = 100
	default:
		percent = 1 + rng.IntN(99)
	}
	return &Disk{fs: d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})}
}

// Copy returns a disk with the same content, all of it synced.
func (d *Disk) Copy() (*Disk, error) {
	c := New()
	if _, err := vfs.Clone(d.fs, c.fs, "/", "/", vfs.CloneSync); err != nil {
		return nil, fmt.Errorf("copy the disk: %w", err)
	}
	return c, nil
}

// lazyFS forgets to sync the write-ahead log.
type lazyFS struct{ vfs.FS }

func (l lazyFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return lazy(name)(l.FS.Create(name, c))
}

func (l lazyFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return lazy(newname)(l.FS.ReuseForWrite(oldname, newname, c))
}

func (l lazyFS) Unwrap() vfs.FS { return l.FS }

func lazy(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil || filepath.Ext(name) != ".log" {
			return f, err
		}
		return lazyFile{f}, nil
	}
}

type lazyFile struct{ vfs.File }

func (lazyFile) Sync() error                { return nil }
func (lazyFile) SyncData() error            { return nil }
func (lazyFile) SyncTo(int64) (bool, error) { return true, nil }
