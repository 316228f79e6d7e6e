package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/problem"
)

// Versions of the data directory. A change that older binaries can live with raises formatVersion only; one that they cannot read raises
// readerVersion to it as well. FORMAT.md tells each.
const (
	formatVersion = 1 // what this binary writes
	readerVersion = 1 // what a binary must know to open what this one writes
)

const (
	formatFile = "FORMAT"
	lockFile   = "LOCK"
	pidFile    = "PID"
	storeName  = "store"
	magicLine  = "sequin data directory"
)

// directory is the content of the FORMAT file.
type directory struct {
	format, reader int
	instance       string
}

func (d directory) encode() []byte {
	body := fmt.Sprintf("%s\nformat %d\nreader %d\ninstance %s\n", magicLine, d.format, d.reader, d.instance)
	return fmt.Appendf([]byte(body), "crc32c %08x\n", checksum(nil, []byte(body)))
}

var errFormatFile = errors.New("not what it should be")

func parseDirectory(data []byte) (directory, error) {
	var d directory
	body, sum, ok := strings.Cut(string(data), "crc32c ")
	if !ok || sum != fmt.Sprintf("%08x\n", checksum(nil, []byte(body))) {
		return d, fmt.Errorf("%w: %w", errFormatFile, errDamaged)
	}
	n, err := fmt.Sscanf(body, magicLine+"\nformat %d\nreader %d\ninstance %36s\n", &d.format, &d.reader, &d.instance)
	if err != nil {
		return d, fmt.Errorf("%w: field %d: %w", errFormatFile, n+1, err)
	}
	return d, nil
}

func (e *Engine) path(name string) string { return e.opts.FS.PathJoin(e.opts.Dir, name) }
func (e *Engine) storeDir() string        { return e.path(storeName) }

// openDir checks the directory before anything is written, then locks it, and sets up a new one.
func (e *Engine) openDir() error {
	if err := e.checkStorage(); err != nil {
		return err
	}
	if _, _, err := e.readFormat(); err != nil {
		return err
	}
	if err := mkdirDurably(e.opts.FS, e.opts.Dir); err != nil {
		return e.openError(err)
	}
	if err := e.lockDir(); err != nil {
		return err
	}
	err := e.setUp()
	if err == nil {
		if e.witness, err = openWitness(e.opts.FS, e.path(witnessFile)); err != nil {
			err = e.openError(err)
		}
	}
	if err != nil {
		return errors.Join(err, e.unlockDir())
	}
	return nil
}

// checkStorage refuses storage that forgets.
func (e *Engine) checkStorage() error {
	if e.opts.FS == vfs.Default {
		kind, err := ephemeralStorage(e.opts.Dir)
		if err != nil {
			return e.openError(err)
		}
		e.ephemeral = kind != ""
		if e.ephemeral && !e.opts.AllowEphemeral {
			return problem.New("ephemeral_storage", "data directory %s is on storage that will not survive", e.opts.Dir).
				WithDetail("%s: its content is gone when the machine or container is", kind).
				WithHint("put it on a volume; in a compose file these lines do:\n"+
					"            volumes: [\"sequin_data:%s\"]   # below the service\n        volumes:\n          sequin_data:\n        or accept the loss with --ephemeral", e.opts.Dir)
		}
	}
	return nil
}

// readFormat reads and checks the FORMAT file; ok tells whether there is one.
func (e *Engine) readFormat() (d directory, ok bool, err error) {
	data, err := readFile(e.opts.FS, e.path(formatFile))
	if errors.Is(err, os.ErrNotExist) {
		return d, false, e.checkVirgin()
	}
	if err != nil {
		return d, false, e.openError(err)
	}
	d, err = parseDirectory(data)
	if err != nil {
		return d, false, problem.New("data_format_damaged", "%s is damaged", e.path(formatFile)).
			WithDetail("%v", err).
			WithHint("restore the file %s from a backup of the data directory", formatFile).
			Because(fmt.Errorf("%w: %w", engine.ErrCorrupt, err))
	}
	if d.reader > formatVersion {
		return d, false, problem.New("data_format_too_new", "data directory %s was written by a newer version of sequin", e.opts.Dir).
			WithDetail("it needs a version that reads format %d; this one reads up to %d", d.reader, formatVersion).
			WithHint("start the version that was used last, or a newer one")
	}
	return d, true, nil
}

// checkVirgin refuses a store without its FORMAT file: it is half of a backup, not a new directory.
func (e *Engine) checkVirgin() error {
	files, err := e.opts.FS.List(e.storeDir())
	if err != nil || len(files) == 0 {
		return nil //nolint:nilerr // not there, or not readable, which comes out when it is opened
	}
	return problem.New("data_format_damaged", "data directory %s has a store and no file %s", e.opts.Dir, formatFile).
		WithHint("restore the file %s from a backup of the data directory", formatFile).
		Because(engine.ErrCorrupt)
}

// setUp writes the FORMAT file of a new directory, or of one whose format this binary raises. It comes before the store, so that a crash
// between the two leaves an empty directory that has its identity.
func (e *Engine) setUp() error {
	d, ok, err := e.readFormat() // again: another process may have made it meanwhile
	if err != nil {
		return err
	}
	if !ok {
		d.instance = uuid.NewString()
	}
	e.instance = d.instance
	if ok && d.format >= formatVersion {
		return nil
	}
	d.format, d.reader = formatVersion, readerVersion
	if err := writeFile(e.opts.FS, e.opts.Dir, formatFile, d.encode()); err != nil {
		return e.openError(err)
	}
	return nil
}

// lockDir takes the lock, which the system releases when the process ends, and leaves the pid for whoever finds it taken.
func (e *Engine) lockDir() error {
	lock, err := e.opts.FS.Lock(e.path(lockFile))
	var create *os.PathError // the file could not be made; without a path, the lock is taken
	switch {
	case errors.As(err, &create):
		return e.openError(err)
	case err != nil:
		return e.lockedError(err)
	}
	e.lock = lock
	if err := writeFile(e.opts.FS, e.opts.Dir, pidFile, []byte(strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return errors.Join(e.openError(err), e.unlockDir())
	}
	return nil
}

func (e *Engine) lockedError(cause error) error {
	holder := "another process"
	if data, err := readFile(e.opts.FS, e.path(pidFile)); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			holder = fmt.Sprintf("PID %d", pid)
		}
	}
	return problem.New("data_dir_locked", "data directory %s is in use by %s", e.opts.Dir, holder).
		WithHint("stop that process, or start this one with a directory of its own").
		Because(fmt.Errorf("%w: %w", engine.ErrLocked, cause))
}

func (e *Engine) unlockDir() error {
	if e.lock == nil {
		return nil
	}
	var err error
	if e.witness != nil {
		err = e.witness.close()
		e.witness = nil
	}
	err = errors.Join(err, removeIfThere(e.opts.FS, e.path(pidFile)))
	err = errors.Join(err, e.lock.Close())
	e.lock = nil
	return err
}

func removeIfThere(fs vfs.FS, name string) error {
	if err := fs.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// openError makes what stops a start readable.
func (e *Engine) openError(err error) error {
	switch {
	case isNoSpace(err):
		return problem.New("no_space", "no room to open the data directory %s", e.opts.Dir).
			WithDetail("%v", err).
			WithHint("free some space on its storage").
			Because(fmt.Errorf("%w: %w", engine.ErrNoSpace, err))
	case errors.Is(err, os.ErrPermission):
		return problem.New("data_dir_permission", "data directory %s is not ours to write", e.opts.Dir).
			WithDetail("%v", err).
			WithHint("give the user that runs sequin the directory: chown -R %d %s", os.Getuid(), e.opts.Dir).
			Because(err)
	case errors.Is(err, errWAL):
		return problem.New("wal_damaged", "the write-ahead log in %s is damaged", e.storeDir()).
			WithDetail("%v", err).
			WithHint("restore the data directory from a backup, or start once with --salvage to go on without the writes from the damage on").
			Because(fmt.Errorf("%w: %w", engine.ErrCorrupt, err))
	case errors.Is(err, engine.ErrCorrupt), pebble.IsCorruptionError(err):
		return problem.New("storage_damaged", "the store in %s is damaged and cannot be opened", e.storeDir()).
			WithDetail("%v", err).
			WithHint("restore the data directory from a backup, or start with an empty one and backfill").
			Because(fmt.Errorf("%w: %w", engine.ErrCorrupt, err))
	}
	return fmt.Errorf("open data directory %s: %w", e.opts.Dir, err)
}

func readFile(fs vfs.FS, name string) (data []byte, err error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, 4<<10))
}

// writeFile replaces a file so that a crash leaves the old or the new content.
func writeFile(fs vfs.FS, dir, name string, data []byte) error {
	target := fs.PathJoin(dir, name)
	f, err := fs.Create(target+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(target+".new", target); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// mkdirDurably makes a directory and syncs the entries that lead to it.
func mkdirDurably(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(filepath.Clean(dir))
	if parent != dir && parent != "" {
		if err := mkdirDurably(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return syncDir(fs, parent)
}
