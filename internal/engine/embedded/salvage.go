package embedded

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// damagedDir keeps the originals of WALs that were cut.
const damagedDir = "damaged"

// salvage cuts the WAL before its first damaged record: what was written before it stays, what came later is lost. The originals are kept. Of a
// WAL that is gone everything is lost.
func (e *Engine) salvage() error {
	fs, dir := e.opts.FS, e.storeDir()
	if err := mkdirDurably(fs, dir); err != nil {
		return err
	}
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	if err := fs.MkdirAll(e.path(damagedDir), 0o750); err != nil {
		return err
	}
	logs := walNames(names)
	for i, name := range logs {
		end, clean, err := intact(fs, fs.PathJoin(dir, name))
		if err != nil {
			return err
		}
		if clean && i < len(logs)-1 {
			continue
		}
		e.opts.Logger.Warn("cutting the damaged end of the write-ahead log off", "file", name, "kept_bytes", end, "originals", e.path(damagedDir))
		if err := e.cutWAL(name, end); err != nil {
			return err
		}
		for _, later := range logs[i+1:] { // their writes may build on what was lost
			if err := fs.Rename(fs.PathJoin(dir, later), fs.PathJoin(e.path(damagedDir), later)); err != nil {
				return err
			}
		}
		break
	}
	e.witness.note(testimony{name: ".log"}) // what it said is no longer so
	return errors.Join(syncDir(fs, e.path(damagedDir)), syncDir(fs, dir))
}

// intact finds where the whole records of a WAL end, and whether that is its proper end.
func intact(fs vfs.FS, path string) (end int64, clean bool, err error) {
	number, err := strconv.ParseUint(strings.TrimSuffix(fs.PathBase(path), ".log"), 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("name of write-ahead log: %w", err)
	}
	f, err := fs.Open(path)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	records := newReader(record.NewReader, f, number)
	for {
		r, err := records.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			return end, errors.Is(err, io.EOF), nil
		}
		end = records.Offset()
	}
}

// newReader makes a record.Reader, whose number has a type that Pebble does not export.
func newReader[N ~uint64](open func(io.Reader, N) *record.Reader, r io.Reader, number uint64) *record.Reader {
	return open(r, N(number))
}

// cutWAL keeps the first bytes of a WAL and moves the original away.
func (e *Engine) cutWAL(name string, size int64) (err error) {
	fs := e.opts.FS
	path, original := fs.PathJoin(e.storeDir(), name), fs.PathJoin(e.path(damagedDir), name)
	in, err := fs.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := fs.Create(path+".cut", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, size))
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := fs.Rename(path, original); err != nil {
		return err
	}
	return fs.Rename(path+".cut", path)
}
