package store_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/store"
)

func TestPruneKeepsTheNewest(t *testing.T) {
	t.Parallel()
	for keep, kept := range map[int]uint64{-1: 1, 0: 1, 1: 1, 2: 2, 4: 4, 5: 5, 6: 5, 1000: 5} {
		t.Run(strconv.Itoa(keep), func(t *testing.T) {
			t.Parallel()
			s := store.New(start(t))
			for n, objects := range life {
				_, err := s.Commit(t.Context(), "acme", uint64(n), store.Revision{}, objects)
				require.NoError(t, err)
			}
			for range 2 {
				require.NoError(t, s.PruneRevisions(t.Context(), "acme", keep))
				for number := range uint64(6) {
					_, objects, err := s.Revision(t.Context(), "acme", number+1)
					if number+1 > 5-kept && number < 5 {
						require.NoError(t, err)
						require.Equal(t, wholes[number+1], texts(objects))
						continue
					}
					require.ErrorIs(t, err, store.ErrNotFound)
				}
				garbage, err := s.Garbage(t.Context(), "acme")
				require.NoError(t, err)
				require.Empty(t, garbage)
			}
			require.NoError(t, s.PruneRevisions(t.Context(), "acme", 1000), "what is gone stays gone")
			all, err := s.Revisions(t.Context(), "acme", 0, 0)
			require.NoError(t, err)
			require.Len(t, all, int(kept))
		})
	}
}

// Whoever reads while others commit and prune sees whole revisions, or is told that one is not kept.
func TestReadersMeetOnlyWholeRevisions(t *testing.T) {
	t.Parallel()
	state := memory(t)
	const commits = 60
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() { // two prune at once
			s := store.New(state)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.PruneRevisions(t.Context(), "acme", 2); err != nil {
					t.Errorf("prune: %v", err)
				}
			}
		})
	}
	for range 3 {
		wg.Go(func() {
			s := store.New(state)
			last := uint64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := readAll(t.Context(), s, &last); err != nil {
					t.Errorf("read: %v", err)
				}
			}
		})
	}
	s := store.New(state)
	var objects []store.Object
	for n := range uint64(commits) {
		number := n + 1
		next := []store.Object{object("always", strconv.FormatUint(number, 10))}
		for _, o := range objects { // each object lives on unchanged for five revisions
			if o.ID != "always" && o.Written+5 > number {
				next = append(next, same(o.ID, o.Written))
			}
		}
		next = append(next, object("of "+strconv.FormatUint(number, 10), strconv.FormatUint(number, 10)))
		_, err := s.Commit(t.Context(), "acme", n, store.Revision{What: strconv.FormatUint(number, 10)}, next)
		require.NoError(t, err)
		_, objects, err = s.Head(t.Context(), "acme")
		require.NoError(t, err)
	}
	close(stop)
	wg.Wait()
	require.NoError(t, s.PruneRevisions(t.Context(), "acme", 2))
	garbage, err := s.Garbage(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, garbage)
}

func readAll(ctx context.Context, s *store.Store, last *uint64) error {
	head, objects, err := s.Head(ctx, "acme")
	if err != nil {
		return err
	}
	if head.Number < *last {
		return errors.New("the head went back")
	}
	*last = head.Number
	if err := judge(head, objects); err != nil || head.Number == 0 {
		return err
	}
	for number := head.Number; number+3 > head.Number && number > 0; number-- {
		rev, objects, err := s.Revision(ctx, "acme", number)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err == nil {
			err = judge(rev, objects)
		}
		if err != nil {
			return err
		}
	}
	_, err = s.Revisions(ctx, "acme", 0, 0)
	return err
}

// judge checks what TestReadersMeetOnlyWholeRevisions committed.
func judge(rev store.Revision, objects []store.Object) error {
	if rev.Number == 0 {
		return nil
	}
	if rev.What != strconv.FormatUint(rev.Number, 10) || len(objects) != int(min(rev.Number, 5))+1 {
		return errors.New("revision " + strconv.FormatUint(rev.Number, 10) + " is not whole")
	}
	for _, o := range objects {
		if string(o.Data) != strconv.FormatUint(o.Written, 10) {
			return errors.New("revision " + strconv.FormatUint(rev.Number, 10) + " has data of another")
		}
	}
	return nil
}

// What ought to be there and is not must not look like an account without anything, which would stop every sink.
func TestDamageIsNotTakenForAbsence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		part string
		head bool // whether the head is concerned
	}{
		"an object of the head":   {"/commit/0000000000000003.*/object/", true},
		"the head's manifest":     {"/commit/0000000000000003.*/manifest/", true},
		"the head's description":  {"/commit/0000000000000003.*/revision/", true},
		"a past manifest":         {"/commit/0000000000000002.*/manifest/", false},
		"a past object":           {"/commit/0000000000000002.*/object/", false},
		"the way to a past one":   {"/revision/0000000000000002", false},
		"a past one's first part": {"/commit/0000000000000002.*/revision/00000000", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := start(t)
			s := store.New(state)
			for n := range uint64(3) {
				_, err := s.Commit(t.Context(), "acme", n, store.Revision{Changes: many}, []store.Object{object("a", "x")})
				require.NoError(t, err)
			}
			before, after, _ := strings.Cut(test.part, "*")
			removed := 0
			for key := range dump(t, state) {
				rest, ok := strings.CutPrefix(key, "account/acme"+before)
				if ok && strings.Contains(rest, after) {
					require.NoError(t, state.Apply(t.Context(), engine.Delete(key)))
					removed++
				}
			}
			require.NotZero(t, removed)
			_, _, err := s.Head(t.Context(), "acme")
			if test.head {
				require.ErrorIs(t, err, engine.ErrCorrupt)
			} else {
				require.NoError(t, err)
				_, _, err = s.Revision(t.Context(), "acme", 2)
				require.ErrorIs(t, err, engine.ErrCorrupt)
				require.NotErrorIs(t, err, store.ErrNotFound)
			}
			if strings.Contains(test.part, "/manifest/") && test.head {
				_, err = s.Commit(t.Context(), "acme", 3, store.Revision{}, []store.Object{same("a", 3)})
				require.ErrorIs(t, err, engine.ErrCorrupt)
				_, err = s.Commit(t.Context(), "acme", 3, store.Revision{}, []store.Object{object("a", "anew")})
				require.NoError(t, err, "to declare everything anew is a way out")
			}
		})
	}
}

func TestValuesThatAreNotOurs(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"head", "floor", "revision/xyz"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			state := start(t)
			s := store.New(state)
			for n := range uint64(3) {
				_, err := s.Commit(t.Context(), "acme", n, store.Revision{}, nil)
				require.NoError(t, err)
			}
			require.NoError(t, state.Apply(t.Context(), engine.Put("account/acme/"+key, []byte("?"))))
			require.ErrorIs(t, s.PruneRevisions(t.Context(), "acme", 1), engine.ErrCorrupt)
		})
	}
}
