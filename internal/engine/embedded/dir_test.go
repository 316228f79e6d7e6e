package embedded_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/problem"
)

var update = flag.Bool("update", false, "write the golden data directory anew")

// snapshot is what the files of a directory hold.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[path] = string(data)
		return err
	}))
	return out
}

func formatText(format, reader int) []byte {
	body := fmt.Sprintf("sequin data directory\nformat %d\nreader %d\ninstance 8f14e45f-ceea-467f-9575-28e4f3c4c1a3\n", format, reader)
	return fmt.Appendf([]byte(body), "crc32c %08x\n", crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)))
}

func TestInstanceIsForever(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	e := open(t, dir)
	instance := e.Instance()
	require.Equal(t, uuid.Version(4), uuid.MustParse(instance).Version())
	require.NoError(t, e.Close())
	e = open(t, dir)
	require.Equal(t, instance, e.Instance())
	require.NotEqual(t, instance, open(t, t.TempDir()).Instance())
	require.NoError(t, e.Close())
	data, err := os.ReadFile(filepath.Join(dir, "FORMAT"))
	require.NoError(t, err)
	require.Contains(t, string(data), "format 1\nreader 1\ninstance "+instance)
}

func TestNewerFormatIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := open(t, dir)
	require.NoError(t, e.State().Apply(t.Context(), engine.Put("k", nil)))
	require.NoError(t, e.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "FORMAT"), formatText(7, 5), 0o600))
	before := snapshot(t, dir)
	_, err := embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
	require.Equal(t, "data_format_too_new", problem.Code(err))
	require.ErrorContains(t, err, "format 5")
	require.Equal(t, before, snapshot(t, dir))
}

func TestNewerFormatThatWeCanReadOpens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "FORMAT"), formatText(7, 1), 0o600))
	require.Equal(t, "8f14e45f-ceea-467f-9575-28e4f3c4c1a3", open(t, dir).Instance())
	data, err := os.ReadFile(filepath.Join(dir, "FORMAT"))
	require.NoError(t, err)
	require.Equal(t, string(formatText(7, 1)), string(data), "a newer format is not lowered")
}

func TestDamagedFormatFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, open(t, dir).Close())
	name := filepath.Join(dir, "FORMAT")
	good, err := os.ReadFile(name)
	require.NoError(t, err)
	for i := 0; i < len(good); i += 7 {
		bad := append([]byte{}, good...)
		bad[i] ^= 4
		require.NoError(t, os.WriteFile(name, bad, 0o600))
		_, err = embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
		require.Equal(t, "data_format_damaged", problem.Code(err))
		require.ErrorIs(t, err, engine.ErrCorrupt)
	}
	require.NoError(t, os.Remove(name))
	_, err = embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
	require.Equal(t, "data_format_damaged", problem.Code(err), "a store without its FORMAT is not a new directory")
}

// TestSecondProcessIsRefused starts a second process: this test itself, with a directory in its environment.
func TestSecondProcessIsRefused(t *testing.T) {
	if dir := os.Getenv("SEQUIN_TEST_OPEN_DIR"); dir != "" {
		e, err := embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
		if err == nil {
			require.NoError(t, e.Close())
		}
		out, jsonErr := json.Marshal([]any{problem.Code(err), errors.Is(err, engine.ErrLocked), fmt.Sprint(err)})
		require.NoError(t, jsonErr)
		fmt.Printf("RESULT%s\n", out)
		return
	}
	dir := t.TempDir()
	e := open(t, dir)
	second := func() string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSecondProcessIsRefused$") //nolint:gosec // ourselves
		cmd.Env = append(os.Environ(), "SEQUIN_TEST_OPEN_DIR="+dir)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		_, result, _ := strings.Cut(string(out), "RESULT")
		return result
	}
	require.Contains(t, second(), fmt.Sprintf(`["data_dir_locked",true,"data directory %s is in use by PID %d`, dir, os.Getpid()))
	_, err := embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
	require.ErrorIs(t, err, engine.ErrLocked, "nor may the same process")
	require.NoError(t, e.State().Apply(t.Context(), engine.Put("k", nil)), "the holder is not disturbed")
	require.NoError(t, e.Close())
	require.Contains(t, second(), `["",false,"`)
}

func TestEphemeralStorageIsRefused(t *testing.T) {
	t.Parallel()
	const tmpfs = "/dev/shm"                  // on every Linux
	dir, err := os.MkdirTemp(tmpfs, "sequin") //nolint:usetesting // it is the memory that matters
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	data := filepath.Join(dir, "not", "yet")
	_, err = embedded.Open(t.Context(), embedded.Options{Dir: data})
	require.Equal(t, "ephemeral_storage", problem.Code(err))
	p, _ := problem.As(err)
	require.Contains(t, p.Hint, "--ephemeral")
	require.NoDirExists(t, filepath.Join(dir, "not"))
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: data, AllowEphemeral: true})
	require.NoError(t, err)
	require.True(t, e.Usage().Ephemeral)
	require.NoError(t, e.Close())
}

func TestDirectoryThatIsNotOurs(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := embedded.Open(t.Context(), embedded.Options{Dir: filepath.Join(file, "data"), AllowEphemeral: true})
	require.Error(t, err)
	require.NotErrorIs(t, err, engine.ErrLocked)
}

// TestCreationSurvivesPowerCuts cuts the power while directories are being made and opened again.
func TestCreationSurvivesPowerCuts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		disk := powerloss.New()
		instance := ""
		for step := range uint64(4) {
			e, err := disk.Open(t.Context(), powerloss.Options{})
			require.NoError(t, err, "seed %d, step %d", seed, step)
			if instance == "" {
				instance = e.Instance()
			}
			require.Equal(t, instance, e.Instance())
			next := disk.Cut(seed*10 + step)
			require.NoError(t, e.Close())
			disk = next
		}
	}
}

// golden is the content of testdata/format1.
func checkGolden(t *testing.T, e *embedded.Engine) {
	t.Helper()
	l, err := e.Log(t.Context(), "orders")
	require.NoError(t, err)
	for first := uint64(2); first <= 5; first++ {
		b, err := l.Read(t.Context(), first)
		require.NoError(t, err)
		require.Equal(t, numbered(first, int(first)*20_000), b) //nolint:gosec // small
	}
	_, err = l.Read(t.Context(), 1)
	require.ErrorIs(t, err, engine.ErrNotFound)
	entry, err := e.State().Get(t.Context(), "sink/orders/cursor")
	require.NoError(t, err)
	require.Equal(t, "42", string(entry.Value))
	require.NotZero(t, entry.Revision)
	_, err = e.State().Get(t.Context(), "sink/gone")
	require.ErrorIs(t, err, engine.ErrNotFound)
}

func makeGolden(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.MkdirAll(dir, 0o750))
	for round := range 2 { // so that there is something in tables and something in the WAL
		e := open(t, dir)
		l, err := e.Log(t.Context(), "orders")
		require.NoError(t, err)
		if round == 0 {
			for first := uint64(1); first <= 4; first++ {
				require.NoError(t, l.Append(t.Context(), numbered(first, int(first)*20_000))) //nolint:gosec // small
			}
			require.NoError(t, e.State().Apply(t.Context(), engine.Put("sink/gone", []byte("x")), engine.Put("sink/orders/cursor", []byte("41"))))
		} else {
			require.NoError(t, l.TrimFront(t.Context(), 2))
			require.NoError(t, l.Append(t.Context(), numbered(5, 100_000)))
			require.NoError(t, e.State().Apply(t.Context(), engine.Delete("sink/gone"), engine.Put("sink/orders/cursor", []byte("42"))))
		}
		require.NoError(t, e.Close())
	}
	trimZeros(t, filepath.Join(dir, "store"))
}

// trimZeros cuts what was only preallocated off the WALs; the last record may end in a few zeros of its own.
func trimZeros(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	require.NoError(t, err)
	for _, name := range logs {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		used := len(strings.TrimRight(string(data), "\x00"))
		require.NoError(t, os.WriteFile(name, data[:min(len(data), used+64)], 0o600))
	}
}

// TestFormat1Opens opens the data directory of the first release, as every later one must, and goes on writing to it.
func TestFormat1Opens(t *testing.T) {
	t.Parallel()
	const golden = "testdata/format1"
	if *update {
		makeGolden(t, golden)
	}
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(golden)))
	for range 2 {
		e := open(t, dir)
		checkGolden(t, e)
		l, err := e.Log(t.Context(), "orders")
		require.NoError(t, err)
		require.NoError(t, l.Append(t.Context(), numbered(6, 10)))
		require.NoError(t, e.Close())
	}
}
