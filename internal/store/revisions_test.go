package store_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/store"
)

func TestNothingIsDeclaredAtFirst(t *testing.T) {
	t.Parallel()
	s := store.New(start(t))
	rev, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, store.Revision{}, rev)
	require.Empty(t, objects)
	all, err := s.Revisions(t.Context(), "acme", 0, 10)
	require.NoError(t, err)
	require.Empty(t, all)
	for _, number := range []uint64{0, 1} {
		_, _, err = s.Revision(t.Context(), "acme", number)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	require.NoError(t, s.PruneRevisions(t.Context(), "acme", 10))
	require.NoError(t, s.Reseal(t.Context(), "acme", nil))
}

func TestARevisionIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	s := store.New(start(t))
	rev := store.Revision{
		At: day, What: "sequin.yaml", Actor: store.Actor{Kind: "token", Name: "ci", Address: "10.0.0.1", RequestID: "r-1"},
		Changes: []store.Change{{Kind: "sink", Name: "orders", Action: "create"}},
	}
	code := strings.Repeat("function() ", 10_000)
	written, err := s.Commit(t.Context(), "acme", 0, rev, []store.Object{object("b", "2"), object("a", code), object("c", "")})
	require.NoError(t, err)
	rev.Number = 1
	require.Equal(t, rev, written)
	for range 2 {
		got, objects, err := s.Head(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, rev, got)
		want := []store.Object{object("b", "2"), object("a", code), object("c", "")}
		for i := range want {
			want[i].Written = 1
		}
		require.Equal(t, want, objects, "in the order that they were given")
		got, objects, err = s.Revision(t.Context(), "acme", 1)
		require.NoError(t, err)
		require.Equal(t, rev, got)
		require.Equal(t, want, objects)
	}
	_, objects, err := s.Head(t.Context(), "another")
	require.NoError(t, err)
	require.Empty(t, objects, "accounts have nothing in common")
}

func TestTheTimeIsSetAndReadBack(t *testing.T) {
	t.Parallel()
	s := store.New(start(t))
	rev, err := s.Commit(t.Context(), "acme", 0, store.Revision{}, nil)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), rev.At, time.Minute)
	got, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, rev, got)
	require.Empty(t, objects, "to declare nothing is a revision too")
	elsewhere := time.FixedZone("", 3600)
	rev, err = s.Commit(t.Context(), "acme", 1, store.Revision{At: day.In(elsewhere)}, nil)
	require.NoError(t, err)
	require.Equal(t, day, rev.At)
}

func TestUnchangedObjectsAreNotWrittenAgain(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	commit := func(base uint64, objects ...store.Object) {
		t.Helper()
		_, err := s.Commit(t.Context(), "acme", base, store.Revision{}, objects)
		require.NoError(t, err)
	}
	commit(0, object("a", "a1"), object("b", "b1"))
	commit(1, same("a", 1), object("b", "b2"), object("c", "c2"))
	commit(2, same("c", 2), same("a", 1)) // b is gone
	commit(3, object("b", "b1"), same("a", 1), same("c", 2))
	renamed := same("a", 1)
	renamed.Name = "other"
	commit(4, renamed)

	for number, want := range map[uint64][]string{
		1: {"a@1=a1", "b@1=b1"},
		2: {"a@1=a1", "b@2=b2", "c@2=c2"},
		3: {"c@2=c2", "a@1=a1"},
		4: {"b@4=b1", "a@1=a1", "c@2=c2"},
		5: {"a@1=a1"},
	} {
		rev, objects, err := s.Revision(t.Context(), "acme", number)
		require.NoError(t, err)
		require.Equal(t, number, rev.Number)
		require.Equal(t, want, texts(objects))
	}
	_, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, "other", objects[0].Name)
	data := 0
	for key := range dump(t, state) {
		if strings.Contains(key, "/object/") {
			data++
		}
	}
	require.Equal(t, 5, data, "each was written once")
}

func TestOnlyTheBaseCanBeReferredTo(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	_, err := s.Commit(t.Context(), "acme", 0, store.Revision{}, []store.Object{object("a", "a1"), object("b", "b1")})
	require.NoError(t, err)
	_, err = s.Commit(t.Context(), "acme", 1, store.Revision{}, []store.Object{object("a", "a2")})
	require.NoError(t, err)
	before := dump(t, state)
	for name, objects := range map[string][]store.Object{
		"an earlier one":   {same("a", 1)},
		"a later one":      {same("a", 3)},
		"one that went":    {same("b", 1)},
		"one never there":  {same("x", 2)},
		"another kind":     {{Kind: "database", ID: "a", Written: 2}},
		"without anything": {{Kind: "sink", ID: "a"}},
		"twice":            {same("a", 2), object("a", "a3")},
		"without kind":     {{ID: "a", Data: []byte("x")}},
		"without id":       {{Kind: "sink", Data: []byte("x")}},
		"a slash":          {object("a/b", "x")},
	} {
		_, err := s.Commit(t.Context(), "acme", 2, store.Revision{}, objects)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, store.ErrConflict, name)
	}
	require.Equal(t, before, dump(t, state), "what is refused writes nothing")
	for _, account := range []string{"", "a/b"} {
		_, err := s.Commit(t.Context(), account, 0, store.Revision{}, nil)
		require.Error(t, err)
		_, _, err = s.Head(t.Context(), account)
		require.Error(t, err)
	}
}

func TestACommitOnAnotherBaseConflicts(t *testing.T) {
	t.Parallel()
	s := store.New(start(t))
	for _, base := range []uint64{1, 7} {
		_, err := s.Commit(t.Context(), "acme", base, store.Revision{}, nil)
		require.ErrorIs(t, err, store.ErrConflict)
	}
	_, err := s.Commit(t.Context(), "acme", 0, store.Revision{}, []store.Object{object("a", "a1")})
	require.NoError(t, err)
	for _, base := range []uint64{0, 2} {
		_, err := s.Commit(t.Context(), "acme", base, store.Revision{}, []store.Object{object("a", "lost")})
		require.ErrorIs(t, err, store.ErrConflict)
	}
	_, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"a@1=a1"}, texts(objects))
}

// Of commits that race on one base exactly one wins, and nothing of the others stays.
func TestOfCommitsThatRaceOneWins(t *testing.T) {
	t.Parallel()
	state := start(t)
	stores := []*store.Store{store.New(state), store.New(state)} // as two processes would
	const rounds, racers = 20, 8
	for round := range uint64(rounds) {
		var wg sync.WaitGroup
		won := make(chan string, racers)
		for racer := range racers {
			wg.Go(func() {
				mine := fmt.Sprintf("round %d, racer %d", round, racer)
				rev, err := stores[racer%2].Commit(t.Context(), "acme", round, store.Revision{What: mine}, []store.Object{
					object("a", mine), object(fmt.Sprintf("own %d", racer), mine),
				})
				switch {
				case err == nil && rev.Number == round+1:
					won <- mine
				case !errors.Is(err, store.ErrConflict):
					t.Errorf("%s: revision %d, %v", mine, rev.Number, err)
				}
			})
		}
		wg.Wait()
		close(won)
		require.Len(t, won, 1)
		winner := <-won
		rev, objects, err := stores[0].Head(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, winner, rev.What)
		require.Len(t, objects, 2)
		for _, o := range objects {
			require.Equal(t, winner, string(o.Data))
		}
	}
	commits := map[string]bool{}
	for key := range dump(t, state) {
		if rest, ok := strings.CutPrefix(key, "account/acme/commit/"); ok {
			commits[strings.Split(rest, "/")[0]] = true
		}
	}
	require.Len(t, commits, rounds, "what lost was removed")
}

func TestRevisionsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	s := store.New(start(t))
	for n := range uint64(10) {
		_, err := s.Commit(t.Context(), "acme", n, store.Revision{What: strconv.FormatUint(n+1, 10)}, []store.Object{object("a", "x")})
		require.NoError(t, err)
	}
	require.NoError(t, s.PruneRevisions(t.Context(), "acme", 7))
	for name, test := range map[string]struct {
		before uint64
		limit  int
		want   []uint64
	}{
		"all":            {0, 0, []uint64{10, 9, 8, 7, 6, 5, 4}},
		"first page":     {0, 3, []uint64{10, 9, 8}},
		"second page":    {8, 3, []uint64{7, 6, 5}},
		"last page":      {5, 3, []uint64{4}},
		"before any":     {4, 3, nil},
		"before 1":       {1, 3, nil},
		"after the head": {99, 2, []uint64{10, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := s.Revisions(t.Context(), "acme", test.before, test.limit)
			require.NoError(t, err)
			var got []uint64
			for _, r := range all {
				require.Equal(t, strconv.FormatUint(r.Number, 10), r.What)
				got = append(got, r.Number)
			}
			require.Equal(t, test.want, got)
		})
	}
}

// A value holds a few kilobytes, however many objects there are.
func TestAThousandObjects(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	var objects []store.Object
	var rev store.Revision
	for i := range 1000 {
		id := fmt.Sprintf("0b7e3c1e-8f61-4b06-9a3c-%012d", i)
		objects = append(objects, object(id, strings.Repeat("sealed", 100)))
		rev.Changes = append(rev.Changes, store.Change{Kind: "sink", Name: "name of " + id, Action: "create"})
	}
	_, err := s.Commit(t.Context(), "acme", 0, rev, objects)
	require.NoError(t, err)
	for key, value := range dump(t, state) {
		require.LessOrEqual(t, len(value), 4<<10, key)
	}
	for i := range objects {
		objects[i].Data, objects[i].Written = nil, 1
	}
	objects[500] = object(objects[500].ID, "changed")
	began := time.Now()
	_, err = s.Commit(t.Context(), "acme", 1, store.Revision{}, objects)
	require.NoError(t, err)
	got, all, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	t.Logf("one of 1,000 changed and read again in %s", time.Since(began))
	require.Equal(t, uint64(2), got.Number)
	require.Len(t, all, 1000)
	require.Equal(t, "changed", string(all[500].Data))
	require.Equal(t, uint64(1), all[999].Written)
	first, _, err := s.Revision(t.Context(), "acme", 1)
	require.NoError(t, err)
	require.Equal(t, rev.Changes, first.Changes)
}

func TestResealReplacesEveryObjectOnce(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	for n, objects := range [][]store.Object{
		{object("a", "a1"), object("b", "b1")},
		{same("a", 1), object("b", "b2")},
		{object("a", "a3"), same("b", 2), object("c", "c3")},
		{same("a", 3), same("c", 3)},
	} {
		_, err := s.Commit(t.Context(), "acme", uint64(n), store.Revision{}, objects)
		require.NoError(t, err)
	}
	require.NoError(t, s.PruneRevisions(t.Context(), "acme", 3))
	seen := map[string]int{}
	require.NoError(t, s.Reseal(t.Context(), "acme", func(kind, id string, data []byte) ([]byte, error) {
		require.Equal(t, "sink", kind)
		require.Equal(t, id, string(data[:1]))
		seen[string(data)]++
		return append(data, '!'), nil
	}))
	require.Equal(t, map[string]int{"a1": 1, "b2": 1, "a3": 1, "c3": 1}, seen, "b1 is not kept")
	for number, want := range map[uint64][]string{2: {"a@1=a1!", "b@2=b2!"}, 3: {"a@3=a3!", "b@2=b2!", "c@3=c3!"}, 4: {"a@3=a3!", "c@3=c3!"}} {
		_, objects, err := s.Revision(t.Context(), "acme", number)
		require.NoError(t, err)
		require.Equal(t, want, texts(objects))
	}
	failure := errors.New("no key")
	err := s.Reseal(t.Context(), "acme", func(string, string, []byte) ([]byte, error) { return nil, failure })
	require.ErrorIs(t, err, failure)
	_, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"a@3=a3!", "c@3=c3!"}, texts(objects))
}

// Whoever repeats a value that moved under Reseal must see what is there now.
func TestResealMeetsAWriteBesideIt(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	_, err := s.Commit(t.Context(), "acme", 0, store.Revision{}, []store.Object{object("a", "1")})
	require.NoError(t, err)
	key := ""
	for k := range dump(t, state) {
		if strings.Contains(k, "/object/") {
			key = k
		}
	}
	calls := 0
	require.NoError(t, s.Reseal(t.Context(), "acme", func(_, _ string, data []byte) ([]byte, error) {
		if calls++; calls == 1 {
			require.NoError(t, state.Apply(t.Context(), engine.Put(key, []byte("2"))))
		}
		return append(data, '!'), nil
	}))
	require.Equal(t, "2!", dump(t, state)[key])
	require.NoError(t, s.Reseal(t.Context(), "acme", func(string, string, []byte) ([]byte, error) {
		return []byte("back"), state.Apply(t.Context(), engine.Delete(key))
	}))
	require.NotContains(t, dump(t, state), key, "what is removed meanwhile stays so")
}
