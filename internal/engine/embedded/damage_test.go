package embedded_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/problem"
)

const (
	damagedBlocks = 60
	damagedKeys   = 200
)

func damageSize(first uint64) int {
	if first%20 == 0 {
		return 2<<20 + 9
	}
	return int(first%7) * 9000 //nolint:gosec // small
}

// fillForDamage writes a log and a state, in tables when flushed, in the WAL otherwise.
func fillForDamage(t *testing.T, dir string, flushed bool) {
	t.Helper()
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true, MemtableBytes: 4 << 20})
	require.NoError(t, err)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)
	for first := uint64(1); first <= damagedBlocks; first++ {
		if !flushed && damageSize(first) > 1<<20 {
			continue // all of it fits into one WAL
		}
		require.NoError(t, l.Append(t.Context(), numbered(first, damageSize(first))))
	}
	for k := range damagedKeys {
		require.NoError(t, e.State().Apply(t.Context(), engine.Put(fmt.Sprintf("k/%03d", k), fmt.Appendf(nil, "value %d", k))))
	}
	require.NoError(t, e.Close())
	if flushed { // opening flushes what the WAL holds
		e, err = embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
		require.NoError(t, err)
		require.NoError(t, e.Close())
	}
}

// outcome is what a damaged store still tells.
type outcome struct{ blocks, lostBlocks, keys, lostKeys int }

// readDamaged reads everything. Wrong bytes fail the test, and so does an error that is not about damage.
func readDamaged(t *testing.T, e *embedded.Engine) (o outcome) {
	t.Helper()
	l, err := e.Log(t.Context(), "a")
	if err != nil {
		require.ErrorIs(t, err, engine.ErrCorrupt)
		return o
	}
	for seq := uint64(0); seq < 1<<40; {
		b, err := l.Next(t.Context(), seq)
		if errors.Is(err, engine.ErrNotFound) {
			break
		}
		if err != nil {
			require.ErrorIs(t, err, engine.ErrCorrupt)
			var lost *engine.DamageError
			require.ErrorAs(t, err, &lost)
			require.Greater(t, lost.From, seq)
			require.GreaterOrEqual(t, lost.To, lost.From)
			o.lostBlocks++
			seq = lost.To
			continue
		}
		require.Equal(t, numbered(b.First, damageSize(b.First)).Data, b.Data, "block %d", b.First)
		again, err := l.Read(t.Context(), b.First)
		require.NoError(t, err)
		require.Equal(t, b, again)
		o.blocks++
		seq = b.First
	}
	for k := range damagedKeys {
		entry, err := e.State().Get(t.Context(), fmt.Sprintf("k/%03d", k))
		switch {
		case err == nil:
			require.Equal(t, fmt.Sprintf("value %d", k), string(entry.Value))
			o.keys++
		case errors.Is(err, engine.ErrNotFound):
		default:
			require.ErrorIs(t, err, engine.ErrCorrupt)
			o.lostKeys++
		}
	}
	for entry, err := range e.State().List(t.Context(), "k/") {
		if err != nil {
			require.ErrorIs(t, err, engine.ErrCorrupt)
			break
		}
		require.Contains(t, string(entry.Value), "value ")
	}
	return o
}

// damage copies a store, flips one byte of one of its files and opens it.
func damage(t *testing.T, from, file string, at float64, flip byte) (outcome, error) {
	t.Helper()
	return damageIn(t, t.TempDir(), from, file, at, flip)
}

func damageIn(t *testing.T, dir, from, file string, at float64, flip byte) (outcome, error) {
	t.Helper()
	require.NoError(t, os.CopyFS(dir, os.DirFS(from)))
	name := filepath.Join(dir, "store", file)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	if len(data) == 0 {
		return outcome{blocks: -1}, nil
	}
	data[int(at*float64(len(data)))] ^= flip
	require.NoError(t, os.WriteFile(name, data, 0o600))
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
	if err != nil {
		require.ErrorIs(t, err, engine.ErrCorrupt, "opening after damage to %s", file)
		require.Contains(t, []string{"storage_damaged", "wal_damaged"}, problem.Code(err))
		return outcome{}, err
	}
	o := readDamaged(t, e)
	require.NoError(t, e.Close())
	return o, nil
}

func files(t *testing.T, dir, suffix string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "store"))
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			out = append(out, e.Name())
		}
	}
	require.NotEmpty(t, out, "no file %s", suffix)
	return out
}

// TestFlippedBitInBlockFileCostsOneBlock: the data of blocks is most of what a disk holds, so that is where a bit flips.
func TestFlippedBitInBlockFileCostsOneBlock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fillForDamage(t, dir, true)
	rng := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // repeatable on purpose
	reported := 0
	for _, file := range files(t, dir, ".blob") {
		for range 8 {
			o, err := damage(t, dir, file, rng.Float64(), 1<<rng.IntN(8))
			require.NoError(t, err)
			require.LessOrEqual(t, o.lostBlocks, 1)
			require.Equal(t, damagedBlocks, o.blocks+o.lostBlocks)
			require.Equal(t, damagedKeys, o.keys)
			reported += o.lostBlocks
		}
	}
	require.Greater(t, reported, 5, "flips in blocks go unnoticed")
}

// TestFlippedBitInTable may cost more than one block, but never goes unnoticed where it matters, and never ends the process.
func TestFlippedBitInTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fillForDamage(t, dir, true)
	rng := rand.New(rand.NewPCG(2, 2)) //nolint:gosec // repeatable on purpose
	noticed := 0
	for _, file := range files(t, dir, ".sst") {
		for range 8 {
			o, err := damage(t, dir, file, rng.Float64(), 1<<rng.IntN(8))
			if err != nil || o.lostBlocks > 0 || o.lostKeys > 0 {
				noticed++
				continue
			}
			require.Equal(t, damagedBlocks, o.blocks, "blocks are gone without a word")
			require.Equal(t, damagedKeys, o.keys, "keys are gone without a word")
		}
	}
	require.NotZero(t, noticed)
}

// TestFlippedBitInWAL: nothing is missing without a word; and once a person has given theirs, what precedes the damage is there.
func TestFlippedBitInWAL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fillForDamage(t, dir, false)
	rng := rand.New(rand.NewPCG(3, 3)) //nolint:gosec // repeatable on purpose
	noticed, saved := 0, 0
	for _, file := range files(t, dir, ".log") {
		for range 10 {
			copied := t.TempDir()
			o, err := damageIn(t, copied, dir, file, rng.Float64(), 1<<rng.IntN(8))
			if err == nil {
				require.Zero(t, o.lostBlocks+o.lostKeys)
				if o.blocks >= 0 {
					require.Equal(t, damagedKeys, o.keys, "writes are gone without a word")
				}
				continue
			}
			noticed++
			require.Equal(t, "wal_damaged", problem.Code(err), "%v", err)
			e, err := embedded.Open(t.Context(), embedded.Options{Dir: copied, AllowEphemeral: true, Salvage: true})
			require.NoError(t, err)
			o = readDamaged(t, e)
			require.Zero(t, o.lostBlocks+o.lostKeys)
			require.Less(t, o.keys, damagedKeys)
			saved += o.blocks + o.keys
			require.NoError(t, e.State().Apply(t.Context(), engine.Put("k", nil)))
			require.NoError(t, e.Close())
			require.FileExists(t, filepath.Join(copied, "damaged", file))
			e = open(t, copied) // without anybody's word
			require.NoError(t, e.Close())
		}
	}
	require.Greater(t, noticed, 5)
	require.Greater(t, saved, 50)
}

// TestMissingWAL: a WAL that a lying disk never had a name for, or a store that somebody removed, is no older state of the store.
func TestMissingWAL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fillForDamage(t, dir, true)
	e := open(t, dir)
	require.NoError(t, e.State().Apply(t.Context(), engine.Put("k/new", nil)))
	require.NoError(t, e.Close())
	logs := files(t, dir, ".log")
	for name, gone := range map[string]string{"newest": filepath.Join("store", logs[len(logs)-1]), "store": "store"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied := t.TempDir()
			require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
			require.NoError(t, os.RemoveAll(filepath.Join(copied, gone)))
			_, err := embedded.Open(t.Context(), embedded.Options{Dir: copied, AllowEphemeral: true})
			require.Equal(t, "wal_damaged", problem.Code(err), "%v", err)
			require.ErrorContains(t, err, "is gone")
			e, err := embedded.Open(t.Context(), embedded.Options{Dir: copied, AllowEphemeral: true, Salvage: true})
			require.NoError(t, err)
			o := readDamaged(t, e)
			require.Zero(t, o.lostBlocks+o.lostKeys)
			if name == "newest" {
				require.Equal(t, outcome{blocks: damagedBlocks, keys: damagedKeys}, o)
			}
			require.NoError(t, e.Close())
			e = open(t, copied) // without anybody's word
			require.NoError(t, e.Close())
		})
	}
}

// TestFlippedBitInManifest must not pass for an older state of the store.
func TestFlippedBitInManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fillForDamage(t, dir, true)
	rng := rand.New(rand.NewPCG(4, 4)) //nolint:gosec // repeatable on purpose
	noticed := 0
	for _, file := range files(t, dir, "") {
		if !strings.HasPrefix(file, "MANIFEST") {
			continue
		}
		for range 20 {
			o, err := damage(t, dir, file, rng.Float64(), 1<<rng.IntN(8))
			if err != nil {
				noticed++
			} else {
				require.Equal(t, outcome{blocks: damagedBlocks, keys: damagedKeys}, o)
			}
		}
	}
	require.Greater(t, noticed, 5)
}
