package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sequinstream/sequin/internal/engine"
)

// witness remembers how much of the newest WAL and of the newest MANIFEST was synced, and its checksum. Pebble takes damage in either for
// the torn end of a write that a power cut interrupted, drops what follows, and removes the files that only the lost part mentions: one
// flipped bit in the MANIFEST would leave an empty store. With the witness such damage is told from a torn end before Pebble looks.
//
// The witness is written after each sync and not synced itself. It is exact after a crash of the process; after a power cut it may be older
// than the files, and then vouches for less. What it says was true when it was written, and both files only grow, so it is never wrong.
type witness struct {
	mu   sync.Mutex
	file vfs.File
	log  testimony
	man  testimony
}

// testimony says that the first size bytes of a file were synced.
type testimony struct {
	name string
	size int64
	sum  uint32
}

const (
	witnessFile  = "SYNCED"
	witnessMagic = "SQW1"
	nameBytes    = 32
	slotBytes    = nameBytes + 8 + 4
	witnessBytes = len(witnessMagic) + 2*slotBytes + 4
)

func openWitness(fs vfs.FS, path string) (*witness, error) {
	file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	w := &witness{file: file}
	buf := make([]byte, witnessBytes)
	if n, err := file.ReadAt(buf, 0); n < witnessBytes {
		if err == nil || errors.Is(err, io.EOF) {
			return w, nil // new
		}
		return nil, errors.Join(err, file.Close())
	}
	w.decode(buf)
	return w, nil
}

func (w *witness) close() error { return w.file.Close() }

func isManifest(base string) bool { return strings.HasPrefix(base, "MANIFEST") }
func isWAL(base string) bool      { return strings.HasSuffix(base, ".log") }

// note records a sync.
func (w *witness) note(t testimony) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if isManifest(t.name) {
		w.man = t
	} else {
		w.log = t
	}
	if _, err := w.file.WriteAt(w.encode(), 0); err != nil {
		return // it vouches for less
	}
}

func (w *witness) encode() []byte {
	b := append(make([]byte, 0, witnessBytes), witnessMagic...)
	for _, t := range []testimony{w.log, w.man} {
		name := make([]byte, nameBytes)
		copy(name, t.name)
		b = append(b, name...)
		b = binary.BigEndian.AppendUint64(b, uint64(t.size)) //nolint:gosec // not negative
		b = binary.BigEndian.AppendUint32(b, t.sum)
	}
	return binary.BigEndian.AppendUint32(b, checksum(nil, b))
}

// decode ignores what is damaged: it vouches for nothing.
func (w *witness) decode(b []byte) {
	body := b[:witnessBytes-4]
	if string(b[:len(witnessMagic)]) != witnessMagic || binary.BigEndian.Uint32(b[witnessBytes-4:]) != checksum(nil, body) {
		return
	}
	body = body[len(witnessMagic):]
	for _, t := range []*testimony{&w.log, &w.man} {
		t.name = strings.TrimRight(string(body[:nameBytes]), "\x00")
		t.size = int64(binary.BigEndian.Uint64(body[nameBytes:])) //nolint:gosec // as it was written
		t.sum = binary.BigEndian.Uint32(body[nameBytes+8:])
		body = body[slotBytes:]
	}
}

// errWAL marks damage to the write-ahead log, from which there is a way on.
var errWAL = errors.New("write-ahead log")

// check compares the files of a store with the testimony. Files that have been succeeded by newer ones do not matter; but a WAL that was neither
// succeeded nor is there is gone: its name was on the disk before anything was synced into it.
func (w *witness) check(fs vfs.FS, dir string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil // what opens the store meets it, too
	}
	desc, err := pebble.Peek(dir, fs)
	if err == nil && desc.Exists && filepath.Base(desc.ManifestFilename) == w.man.name {
		if err := w.man.verify(fs, dir); err != nil {
			return err
		}
	}
	newest := ""
	if logs := walNames(names); len(logs) > 0 {
		newest = logs[len(logs)-1]
	}
	age := compareWALs(newest, w.log.name)
	switch {
	case w.log.size == 0 || age > 0:
		return nil
	case age == 0:
		err = w.log.verify(fs, dir)
	default:
		err = fmt.Errorf("%w: %s is gone, of which %d bytes were synced", engine.ErrCorrupt, w.log.name, w.log.size)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWAL, err)
	}
	return nil
}

// walNames are the WALs among the files of a store, oldest first.
func walNames(names []string) []string {
	logs := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !isWAL(n) })
	slices.SortFunc(logs, compareWALs)
	return logs
}

// compareWALs compares names by their numbers, of six digits or more. No name is the oldest.
func compareWALs(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func (t testimony) verify(fs vfs.FS, dir string) (err error) {
	f, err := fs.Open(fs.PathJoin(dir, t.name))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, io.LimitReader(f, t.size))
	if err != nil {
		return err
	}
	if n < t.size {
		return fmt.Errorf("%w: %s has %d bytes, %d were synced", engine.ErrCorrupt, t.name, n, t.size)
	}
	if sum.Sum32() != t.sum {
		return fmt.Errorf("%w: the first %d bytes of %s: %w", engine.ErrCorrupt, t.size, t.name, errDamaged)
	}
	return nil
}
