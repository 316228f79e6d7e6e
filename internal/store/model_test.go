package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/store"
)

// model is what a store ought to hold, kept as simply as can be: every revision with a copy of everything.
type model struct {
	revisions []modelRevision // number 1 first; pruned ones stay, below floor
	floor     int
}

type modelRevision struct {
	told    store.Revision
	objects []store.Object
}

func (m *model) head() int { return len(m.revisions) }

func (m *model) at(number int) modelRevision {
	if number == 0 {
		return modelRevision{}
	}
	return m.revisions[number-1]
}

// same compares the store with the model.
func (m *model) compare(t *testing.T, s *store.Store) {
	t.Helper()
	told, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, m.at(m.head()).told, told)
	require.Equal(t, texts(m.at(m.head()).objects), texts(objects))
	all, err := s.Revisions(t.Context(), "acme", 0, 0)
	require.NoError(t, err)
	require.Len(t, all, m.head()-m.floor)
	for number := range m.head() + 3 {
		told, objects, err := s.Revision(t.Context(), "acme", uint64(number))
		if number <= m.floor || number > m.head() {
			require.ErrorIs(t, err, store.ErrNotFound)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, m.at(number).told, told)
		require.Equal(t, told, all[m.head()-number])
		require.Equal(t, m.at(number).objects, objects)
	}
	garbage, err := s.Garbage(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, garbage)
}

// commit commits something at random, on the head or now and then on another base, which must conflict.
func (m *model) commit(t *testing.T, s *store.Store, r *rand.Rand) {
	t.Helper()
	base := m.head()
	if r.IntN(5) == 0 {
		base = r.IntN(m.head() + 3)
	}
	given, kept := []store.Object{}, []store.Object{}
	for _, o := range m.at(min(base, m.head())).objects {
		switch r.IntN(4) {
		case 0: // it goes
		case 1:
			o.Data, o.Written = fmt.Appendf(nil, "%d, %*d", r.IntN(100), r.IntN(9000), 0), uint64(base+1)
			given, kept = append(given, o), append(kept, o)
		default:
			if r.IntN(3) == 0 {
				o.Name = fmt.Sprint("renamed ", r.IntN(100))
			}
			kept = append(kept, o)
			o.Data = nil
			given = append(given, o)
		}
	}
	for range r.IntN(5) {
		o := object(fmt.Sprintf("%d-%d", m.head(), r.Int()), "new")
		o.Written = uint64(base + 1)
		given, kept = append(given, o), append(kept, o)
	}
	r.Shuffle(len(given), func(i, j int) { given[i], given[j], kept[i], kept[j] = given[j], given[i], kept[j], kept[i] })
	told := store.Revision{What: strconv.Itoa(r.Int()), At: day, Changes: []store.Change{{Kind: "sink", Name: "x", Action: "update"}}}
	rev, err := s.Commit(t.Context(), "acme", uint64(base), told, given)
	if base != m.head() {
		require.ErrorIs(t, err, store.ErrConflict)
		return
	}
	require.NoError(t, err)
	told.Number = uint64(base + 1)
	require.Equal(t, told, rev)
	m.revisions = append(m.revisions, modelRevision{told, kept})
}

// reseal changes the data of every revision that is kept. An object that several revisions share is changed once.
func (m *model) reseal(t *testing.T, s *store.Store) {
	t.Helper()
	require.NoError(t, s.Reseal(t.Context(), "acme", func(_, id string, data []byte) ([]byte, error) {
		return append(data, "+"...), nil
	}))
	for n := range m.revisions {
		for i := range m.revisions[n].objects {
			o := &m.revisions[n].objects[i]
			o.Data = append(slices.Clip(o.Data), "+"...)
		}
	}
}

// Whatever is done in whatever order, a store holds what a plain list of copies would, and nothing else.
func TestLikeAListOfCopies(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			state := memory(t)
			r := rand.New(rand.NewPCG(seed, 1))
			s, m := store.New(state), &model{}
			for range 40 {
				switch r.IntN(10) {
				case 0:
					keep := r.IntN(6)
					require.NoError(t, s.PruneRevisions(t.Context(), "acme", keep))
					m.floor = max(m.floor, m.head()-max(keep, 1))
				case 1:
					m.reseal(t, s)
				case 2:
					s = store.New(state)
				default:
					m.commit(t, s, r)
				}
				m.compare(t, s)
			}
			require.Greater(t, m.head(), 10)
		})
	}
}
