package store_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/store"
)

// lifeOf commits five revisions and prunes twice, and goes on where an earlier run was stopped. Every step may be repeated.
func lifeOf(ctx context.Context, s *store.Store, account string) error {
	for n, objects := range life {
		head, _, err := s.Head(ctx, account)
		if err != nil {
			return err
		}
		if head.Number == uint64(n) {
			if _, err := s.Commit(ctx, account, head.Number, store.Revision{What: strconv.Itoa(n + 1), Changes: many}, objects); err != nil {
				return err
			}
		}
		if n == 2 || n == 4 {
			if err := s.PruneRevisions(ctx, account, 2); err != nil {
				return err
			}
		}
	}
	return nil
}

var life = [][]store.Object{
	{object("a", "a1"), object("b", "b1"), object("c", "c1")},
	{same("a", 1), object("b", "b2"), same("c", 1)},
	{same("a", 1), same("b", 2)},
	{object("a", "a4"), same("b", 2), object("c", "c4")},
	{same("a", 4), object("d", "d5"), same("c", 4)},
}

// many makes what is told of a revision longer than one chunk.
var many = func() []store.Change {
	all := make([]store.Change, 60)
	for i := range all {
		all[i] = store.Change{Kind: "sink", Name: strings.Repeat("n", 30) + strconv.Itoa(i), Action: "update"}
	}
	return all
}()

// wholes are the contents of the revisions of life.
var wholes = map[uint64][]string{
	1: {"a@1=a1", "b@1=b1", "c@1=c1"},
	2: {"a@1=a1", "b@2=b2", "c@1=c1"},
	3: {"a@1=a1", "b@2=b2"},
	4: {"a@4=a4", "b@2=b2", "c@4=c4"},
	5: {"a@4=a4", "d@5=d5", "c@4=c4"},
}

// requireWhole checks the head and every revision that is kept, and returns the head's number.
func requireWhole(t *testing.T, s *store.Store, account string) uint64 {
	t.Helper()
	head, objects, err := s.Head(t.Context(), account)
	require.NoError(t, err)
	if head.Number == 0 {
		return 0
	}
	require.Equal(t, wholes[head.Number], texts(objects))
	all, err := s.Revisions(t.Context(), account, 0, 0)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), int(min(head.Number, 2)))
	for i, r := range all {
		require.Equal(t, head.Number-uint64(i), r.Number)
		got, objects, err := s.Revision(t.Context(), account, r.Number)
		require.NoError(t, err)
		require.Equal(t, r, got)
		require.Equal(t, strconv.FormatUint(r.Number, 10), got.What)
		require.Equal(t, many, got.Changes)
		require.Equal(t, wholes[r.Number], texts(objects))
	}
	return head.Number
}

// The machine stops at every single write, once before and once after the compare-and-set that it meets, and once more while the work is taken
// up again. Each time what is kept is whole, no acknowledged revision is missing, and in the end nothing is left over.
func TestACrashAtAnyWriteLeavesWholeRevisions(t *testing.T) {
	t.Parallel()
	state := memory(t)
	done := false
	for cut := 0; !done; cut++ {
		require.Less(t, cut, 1000)
		for _, late := range []bool{false, true} {
			account := fmt.Sprintf("%d %v", cut, late)
			first := &crashing{State: state, left: cut, late: late}
			before := stopped(t, lifeOf(t.Context(), store.New(first), account))
			reached := requireWhole(t, store.New(state), account)
			second := &crashing{State: state, left: cut * 5 % 13, late: late}
			again := stopped(t, lifeOf(t.Context(), store.New(second), account))
			require.GreaterOrEqual(t, requireWhole(t, store.New(state), account), reached)

			s := store.New(state)
			require.NoError(t, lifeOf(t.Context(), s, account))
			require.Equal(t, uint64(5), requireWhole(t, s, account))
			garbage, err := s.Garbage(t.Context(), account)
			require.NoError(t, err)
			requireLostAttemptsOnly(t, garbage, before || again)
			finish(t, s, account)
			done = !before
		}
	}
}

// stopped reports whether a crash ended the work; nothing else may.
func stopped(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		require.ErrorIs(t, err, errCrash)
	}
	return err != nil
}

// requireLostAttemptsOnly checks that what is left over is of commits that failed and were met by a crash while they were removed.
func requireLostAttemptsOnly(t *testing.T, garbage []string, crashed bool) {
	t.Helper()
	for _, key := range garbage {
		require.Contains(t, key, "/commit/")
	}
	if !crashed {
		require.Empty(t, garbage)
	}
}

// finish prunes what a crash may have left for later: the next revision takes everything with it.
func finish(t *testing.T, s *store.Store, account string) {
	t.Helper()
	_, err := s.Commit(t.Context(), account, 5, store.Revision{}, []store.Object{same("a", 4)})
	require.NoError(t, err)
	require.NoError(t, s.PruneRevisions(t.Context(), account, 1))
	_, objects, err := s.Head(t.Context(), account)
	require.NoError(t, err)
	require.Equal(t, []string{"a@4=a4"}, texts(objects))
	garbage, err := s.Garbage(t.Context(), account)
	require.NoError(t, err)
	require.Empty(t, garbage)
}

// A write that was reported as failed may come true after another commit of the same number has won.
func TestALateWriteDoesNotMixWithTheCommitThatWon(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	_, err := s.Commit(t.Context(), "acme", 0, store.Revision{}, []store.Object{object("a", "a1"), object("b", "b1")})
	require.NoError(t, err)
	late := &doubtful{State: state, fail: func([]engine.Op) bool { return true }}
	_, err = store.New(late).Commit(t.Context(), "acme", 1, store.Revision{}, []store.Object{object("a", "late"), object("c", "late")})
	require.ErrorIs(t, err, errDoubt)
	_, err = s.Commit(t.Context(), "acme", 1, store.Revision{}, []store.Object{object("a", "a2"), same("b", 1)})
	require.NoError(t, err)
	require.NoError(t, late.release(t.Context()))
	_, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"a@2=a2", "b@1=b1"}, texts(objects))
	_, objects, err = s.Revision(t.Context(), "acme", 1)
	require.NoError(t, err)
	require.Equal(t, []string{"a@1=a1", "b@1=b1"}, texts(objects))
	garbage, err := s.Garbage(t.Context(), "acme")
	require.NoError(t, err)
	require.NotEmpty(t, garbage)

	_, err = s.Commit(t.Context(), "acme", 2, store.Revision{}, []store.Object{same("b", 1), same("a", 2)})
	require.NoError(t, err)
	require.NoError(t, s.PruneRevisions(t.Context(), "acme", 1))
	_, objects, err = s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"b@1=b1", "a@2=a2"}, texts(objects))
	garbage, err = s.Garbage(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, garbage, "it goes with the revision whose number it has")
}

// The head was moved and the answer was lost: whoever repeats the commit is told of a conflict, and finds its own revision.
func TestALostAnswerIsFoundOut(t *testing.T) {
	t.Parallel()
	state := start(t)
	cut := &crashing{State: state, late: true, left: 3} // an object, what is told, the manifest; then the head
	_, err := store.New(cut).Commit(t.Context(), "acme", 0, store.Revision{What: "mine"}, []store.Object{object("a", "a1")})
	require.ErrorIs(t, err, errCrash)
	s := store.New(state)
	_, err = s.Commit(t.Context(), "acme", 0, store.Revision{What: "again"}, []store.Object{object("a", "a1")})
	require.ErrorIs(t, err, store.ErrConflict)
	head, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, "mine", head.What)
	require.Equal(t, []string{"a@1=a1"}, texts(objects))
}

// The head may have moved although the write failed, so what it names stays.
func TestWhatMayBeTheHeadIsNotRemoved(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(&recovering{&crashing{State: state, late: true, left: 3}})
	_, err := s.Commit(t.Context(), "acme", 0, store.Revision{}, []store.Object{object("a", "a1")})
	require.ErrorIs(t, err, errCrash)
	head, objects, err := s.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, uint64(1), head.Number)
	require.Equal(t, []string{"a@1=a1"}, texts(objects))
}

func TestWhatAFailedCommitLeftGoesWithTheNext(t *testing.T) {
	t.Parallel()
	state := start(t)
	_, err := store.New(&crashing{State: state, left: 2}).Commit(t.Context(), "acme", 0, store.Revision{}, []store.Object{object("a", "lost")})
	require.ErrorIs(t, err, errCrash)
	s := store.New(state)
	garbage, err := s.Garbage(t.Context(), "acme")
	require.NoError(t, err)
	require.Len(t, garbage, 2)
	_, err = s.Commit(t.Context(), "acme", 0, store.Revision{}, []store.Object{object("a", "a1")})
	require.NoError(t, err)
	garbage, err = s.Garbage(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, garbage)
}

// Whoever is outrun after looking at the head writes everything, loses, and takes it back.
func TestWhoLosesAtTheHeadLeavesNothing(t *testing.T) {
	t.Parallel()
	state := start(t)
	winner := store.New(state)
	loser := store.New(&interposed{State: state, before: func() {
		_, err := winner.Commit(t.Context(), "acme", 0, store.Revision{What: "winner"}, []store.Object{object("a", "a1")})
		require.NoError(t, err)
	}})
	_, err := loser.Commit(t.Context(), "acme", 0, store.Revision{What: "loser"}, []store.Object{object("a", "lost"), object("b", "lost")})
	require.ErrorIs(t, err, store.ErrConflict)
	head, objects, err := winner.Head(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, "winner", head.What)
	require.Equal(t, []string{"a@1=a1"}, texts(objects))
	garbage, err := winner.Garbage(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, garbage)
}
