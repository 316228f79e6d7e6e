package enginetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
)

var stateTests = []test{
	{"state/get put and delete", stateBasics},
	{"state/any key and value", stateKeys},
	{"state/later ops win", stateOrder},
	{"state/revisions grow across deletes and restarts", stateRevisions},
	{"state/compare and set", stateCAS},
	{"state/compare and set races", stateCASRace},
	{"state/concurrent writes", stateConcurrent},
	{"state/list", stateList},
	{"state/list does not see later writes", stateListIsolated},
	{"state/list can be left and interrupted", stateListLeft},
	{"state/delete prefix", stateDeletePrefix},
	{"state/100,000 keys", stateMany},
	{"state/like a map", stateModel},
	{"state/data is copied in and out", stateCopies},
}

func isNotFound(err error) bool { return errors.Is(err, engine.ErrNotFound) }

func stateBasics(t *testing.T, f *fixture) {
	s := f.state(t)
	_, ok := get(t, s, "k")
	require.False(t, ok)
	apply(t, s, engine.Put("k", []byte("v")), engine.Put("empty", nil), engine.Delete("never"))
	apply(t, s)
	for range 2 {
		e, ok := get(t, s, "k")
		require.True(t, ok)
		require.Equal(t, "v", string(e.Value))
		e, ok = get(t, s, "empty")
		require.True(t, ok, "an empty value is a value")
		require.Empty(t, e.Value)
		s = f.state(t)
	}
	apply(t, s, engine.Delete("k"))
	for range 2 {
		_, ok = get(t, s, "k")
		require.False(t, ok)
		s = f.state(t)
	}
}

func stateKeys(t *testing.T, f *fixture) {
	s := f.state(t)
	keys := []string{"", "/", "a", "a/", "a/b", "\x00", "\xff", "\xff\xff", "a\xffb", "ключ/键", strings.Repeat("long/", 200)}
	values := []string{"", "\x00", strings.Repeat("v", 5000), strings.Repeat("w", 3<<20)}
	for i, k := range keys {
		apply(t, s, engine.Put(k, []byte(values[i%len(values)])))
	}
	for range 2 {
		got, all := list(t, s, "")
		require.Equal(t, slices.Sorted(slices.Values(keys)), got)
		for i, k := range keys {
			require.True(t, all[k] == values[i%len(values)], "value of %q", k) //nolint:testifylint // megabytes, not to be printed
		}
		under, _ := list(t, s, "\xff")
		require.Equal(t, []string{"\xff", "\xff\xff"}, under)
		s = f.state(t)
	}
}

func stateOrder(t *testing.T, f *fixture) {
	s := f.state(t)
	apply(t, s, engine.Put("a", []byte("1")), engine.Put("a", []byte("2")), engine.Delete("b"), engine.Put("b", []byte("3")),
		engine.Put("c", []byte("4")), engine.Delete("c"))
	for range 2 {
		_, values := list(t, s, "")
		require.Equal(t, map[string]string{"a": "2", "b": "3"}, values)
		s = f.state(t)
	}
}

func stateRevisions(t *testing.T, f *fixture) {
	s := f.state(t)
	seen := uint64(0)
	for round := range 6 {
		apply(t, s, engine.Put("k", []byte("same")))
		e, ok := get(t, s, "k")
		require.True(t, ok)
		require.Greater(t, e.Revision, seen)
		seen = e.Revision
		switch round % 3 {
		case 1:
			apply(t, s, engine.Delete("k"))
		case 2:
			require.NoError(t, s.DeletePrefix(t.Context(), "k"))
			s = f.state(t)
		}
	}
}

func stateCAS(t *testing.T, f *fixture) {
	s := f.state(t)
	conflict := func(key string, revision uint64) {
		t.Helper()
		_, err := s.CompareAndSet(t.Context(), key, revision, []byte("no"))
		require.ErrorIs(t, err, engine.ErrConflict)
	}
	conflict("k", 1)
	r1, err := s.CompareAndSet(t.Context(), "k", 0, []byte("1"))
	require.NoError(t, err)
	conflict("k", 0)
	conflict("k", r1+1)
	r2, err := s.CompareAndSet(t.Context(), "k", r1, []byte("2"))
	require.NoError(t, err)
	require.Greater(t, r2, r1)
	conflict("k", r1)
	s = f.state(t)
	e, ok := get(t, s, "k")
	require.True(t, ok)
	require.Equal(t, r2, e.Revision)
	require.Equal(t, "2", string(e.Value))
	apply(t, s, engine.Put("k", []byte("3")))
	conflict("k", r2)
	apply(t, s, engine.Delete("k"))
	e.Revision = r2
	conflict("k", r2)
	r3, err := s.CompareAndSet(t.Context(), "k", 0, []byte("4"))
	require.NoError(t, err)
	require.Greater(t, r3, r2)
}

// stateCASRace counts with compare-and-set from many goroutines: no increment is lost.
func stateCASRace(t *testing.T, f *fixture) {
	s := f.state(t)
	const workers, each = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), s, "counter"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	e, ok := get(t, f.state(t), "counter")
	require.True(t, ok)
	require.Equal(t, uint64(workers*each), binary.BigEndian.Uint64(e.Value))
}

func increment(ctx context.Context, s engine.State, key string) error {
	for {
		n := uint64(0)
		e, err := s.Get(ctx, key)
		switch {
		case err == nil:
			n = binary.BigEndian.Uint64(e.Value)
		case !isNotFound(err):
			return err
		}
		_, err = s.CompareAndSet(ctx, key, e.Revision, binary.BigEndian.AppendUint64(nil, n+1))
		if !errors.Is(err, engine.ErrConflict) {
			return err
		}
	}
}

func stateConcurrent(t *testing.T, f *fixture) {
	s := f.state(t)
	const workers, each = 16, 40
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				err := s.Apply(t.Context(), engine.Put(fmt.Sprintf("%d/%d", w, i), []byte{byte(i)}), engine.Put(fmt.Sprintf("last/%d", w), []byte{byte(i)}))
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s = f.state(t)
	keys, values := list(t, s, "")
	require.Len(t, keys, workers*each+workers)
	for w := range workers {
		require.Equal(t, string([]byte{each - 1}), values[fmt.Sprintf("last/%d", w)])
	}
}

func stateList(t *testing.T, f *fixture) {
	s := f.state(t)
	apply(t, s, engine.Put("b/2", nil), engine.Put("b/10", nil), engine.Put("b", nil), engine.Put("c", nil), engine.Put("a/1", nil),
		engine.Put("b0", nil), engine.Put("b/1", nil), engine.Delete("b/10"))
	for prefix, want := range map[string][]string{
		"b/":   {"b/1", "b/2"},
		"b":    {"b", "b/1", "b/2", "b0"},
		"":     {"a/1", "b", "b/1", "b/2", "b0", "c"},
		"d":    nil,
		"b/1/": nil,
	} {
		keys, _ := list(t, s, prefix)
		require.Equal(t, want, keys, "prefix %q", prefix)
	}
}

func stateListIsolated(t *testing.T, f *fixture) {
	s := f.state(t)
	for i := range 200 {
		apply(t, s, engine.Put(fmt.Sprintf("k/%03d", i), []byte("old")))
	}
	n := 0
	for e, err := range s.List(t.Context(), "k/") {
		require.NoError(t, err)
		require.Equal(t, "old", string(e.Value), e.Key)
		require.Equal(t, fmt.Sprintf("k/%03d", n), e.Key)
		if n == 0 {
			require.NoError(t, s.DeletePrefix(t.Context(), "k/1"))
			apply(t, s, engine.Put("k/050", []byte("new")), engine.Put("k/0505", []byte("new")), engine.Put("k/999", []byte("new")))
		}
		n++
	}
	require.Equal(t, 200, n)
	keys, _ := list(t, s, "k/")
	require.Len(t, keys, 102)
}

func stateListLeft(t *testing.T, f *fixture) {
	s := f.state(t)
	for i := range 50 {
		apply(t, s, engine.Put(fmt.Sprintf("%02d", i), nil))
	}
	for e, err := range s.List(t.Context(), "") {
		require.NoError(t, err)
		if e.Key == "10" {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range s.List(ctx, "") {
		n++
		last = err
		cancel()
	}
	require.ErrorIs(t, last, context.Canceled)
	require.Equal(t, 2, n)
}

func stateDeletePrefix(t *testing.T, f *fixture) {
	s := f.state(t)
	for i := range 300 {
		apply(t, s, engine.Put(fmt.Sprintf("many/%d", i), nil), engine.Put(fmt.Sprintf("few/%d", i%10), nil))
	}
	apply(t, s, engine.Put("many", nil), engine.Put("many0", nil), engine.Put("\xff\xff", nil))
	require.NoError(t, s.DeletePrefix(t.Context(), "many/"))
	require.NoError(t, s.DeletePrefix(t.Context(), "few/1"))
	require.NoError(t, s.DeletePrefix(t.Context(), "nothing"))
	require.NoError(t, s.DeletePrefix(t.Context(), "\xff"))
	for range 2 {
		keys, _ := list(t, s, "")
		require.Equal(t, []string{"few/0", "few/2", "few/3", "few/4", "few/5", "few/6", "few/7", "few/8", "few/9", "many", "many0"}, keys)
		s = f.state(t)
	}
	apply(t, s, engine.Put("many/1", nil))
	require.NoError(t, s.DeletePrefix(t.Context(), ""))
	keys, _ := list(t, s, "")
	require.Empty(t, keys)
}

func stateMany(t *testing.T, f *fixture) {
	s := f.state(t)
	const n = 100_000
	var ops []engine.Op
	for i := range n {
		ops = append(ops, engine.Put(fmt.Sprintf("group/%06d", i), fmt.Appendf(nil, "value %d", i)))
		if len(ops) == 1000 {
			apply(t, s, ops...)
			ops = ops[:0]
		}
	}
	for range 2 {
		i := 0
		for e, err := range s.List(t.Context(), "group/") {
			require.NoError(t, err)
			if want := fmt.Sprintf("group/%06d", i); e.Key != want || string(e.Value) != fmt.Sprintf("value %d", i) {
				t.Fatalf("entry %d is %s = %s", i, e.Key, e.Value)
			}
			i++
		}
		require.Equal(t, n, i)
		s = f.state(t)
	}
	require.NoError(t, s.DeletePrefix(t.Context(), "group/"))
	keys, _ := list(t, s, "")
	require.Empty(t, keys)
}

// stateModel does random writes to the store and to a map, restarting now and then.
func stateModel(t *testing.T, f *fixture) {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable on purpose
	s := f.state(t)
	model := map[string]string{}
	revisions := map[string]uint64{}
	for step := range 600 {
		var ops []engine.Op
		for range 1 + rng.IntN(5) {
			key := fmt.Sprintf("%c/%d", 'a'+rng.IntN(3), rng.IntN(20))
			if rng.IntN(4) == 0 {
				ops = append(ops, engine.Delete(key))
				delete(model, key)
				continue
			}
			value := strconv.Itoa(step)
			ops = append(ops, engine.Put(key, []byte(value)))
			model[key] = value
		}
		apply(t, s, ops...)
		if rng.IntN(40) == 0 {
			prefix := fmt.Sprintf("%c/", 'a'+rng.IntN(3))
			require.NoError(t, s.DeletePrefix(t.Context(), prefix))
			for k := range model {
				if strings.HasPrefix(k, prefix) {
					delete(model, k)
				}
			}
		}
		for _, op := range ops {
			if e, ok := get(t, s, op.Key); ok {
				require.GreaterOrEqual(t, e.Revision, revisions[op.Key])
				revisions[op.Key] = e.Revision
			}
		}
		if step%100 == 99 {
			s = f.state(t)
			_, values := list(t, s, "")
			require.Equal(t, model, values)
		}
	}
}

func stateCopies(t *testing.T, f *fixture) {
	s := f.state(t)
	value := []byte("value")
	apply(t, s, engine.Put("k", value))
	value[0] = 'X'
	e, _ := get(t, s, "k")
	require.Equal(t, "value", string(e.Value))
	e.Value[0] = 'Y'
	for e, err := range s.List(t.Context(), "k") {
		require.NoError(t, err)
		require.Equal(t, "value", string(e.Value))
		e.Value[0] = 'Z'
	}
	e, _ = get(t, s, "k")
	require.Equal(t, "value", string(e.Value))
}
