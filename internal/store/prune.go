package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/engine"
)

// sweep removes what other commits of the same number left. They lost: their compare-and-set expects a head that is gone.
func (h history) sweep(ctx context.Context, won place) error {
	var ops []engine.Op
	for entry, err := range h.state.List(ctx, h.attempts(won.Number)) {
		if err != nil {
			return fmt.Errorf("list the commits of revision %d: %w", won.Number, err)
		}
		if !strings.HasPrefix(entry.Key, h.commitPrefix(won)) {
			ops = append(ops, engine.Delete(entry.Key))
		}
	}
	return apply(ctx, h.state, ops)
}

// prune removes all but the newest keep revisions. First it raises the floor, so that nobody finds them any more; then it removes them, oldest
// first. After a crash the next call goes on: a revision is in the index until everything else of it is gone.
func (h history) prune(ctx context.Context, keep int) error {
	head, _, err := h.head(ctx)
	if err != nil {
		return err
	}
	kept := uint64(max(keep, 1))
	if head.Number <= kept {
		return nil
	}
	floor, err := h.raiseFloor(ctx, head.Number-kept+1)
	if err != nil {
		return err
	}
	all, err := h.indexed(ctx)
	if err != nil {
		return err
	}
	all = append(slices.DeleteFunc(all, func(at place) bool { return at.Number >= head.Number }), head)
	for i, at := range all {
		if at.Number >= floor {
			break
		}
		after, err := h.survivor(ctx, all[i+1:])
		if err == nil && after != nil {
			err = h.drop(ctx, at, after)
		}
		if err != nil {
			return fmt.Errorf("remove revision %d: %w", at.Number, err)
		}
	}
	return nil
}

// survivor reads the manifest of the first of the revisions that is all there; the others are being removed by another prune, or were when it was
// interrupted. It is nil when that one has got past all of them.
func (h history) survivor(ctx context.Context, later []place) (*manifest, error) {
	for _, at := range later {
		m, err := h.manifest(ctx, at)
		if errors.Is(err, errMissing) {
			if err = h.missing(ctx, at.Number, err); errors.Is(err, ErrNotFound) {
				continue
			}
		}
		return m, err
	}
	return nil, nil //nolint:nilnil // as the comment says
}

// raiseFloor returns the floor, which is number or above.
func (h history) raiseFloor(ctx context.Context, number uint64) (uint64, error) {
	for {
		floor, revision, err := h.floor(ctx)
		if err != nil || floor >= number {
			return floor, err
		}
		_, err = h.state.CompareAndSet(ctx, h.floorKey(), revision, strconv.AppendUint(nil, number, 10))
		if err == nil {
			return number, nil
		}
		if !errors.Is(err, engine.ErrConflict) {
			return 0, fmt.Errorf("raise the oldest revision's number: %w", err)
		}
	}
}

// drop removes a revision below the floor. after is a later one: what that one does not refer to, none after it does.
func (h history) drop(ctx context.Context, at place, after *manifest) error {
	needed := map[string]bool{}
	for _, e := range after.Objects {
		needed[h.object(after.place(e), e)] = true
	}
	var ops []engine.Op
	before, err := h.manifest(ctx, at)
	switch {
	case err == nil:
		for _, e := range before.Objects {
			if key := h.object(before.place(e), e); !needed[key] {
				ops = append(ops, engine.Delete(key))
			}
		}
	case errors.Is(err, errMissing): // a crash came after its objects had gone
	default:
		return err
	}
	for entry, err := range h.state.List(ctx, h.attempts(at.Number)) {
		if err != nil {
			return err
		}
		if !needed[entry.Key] {
			ops = append(ops, engine.Delete(entry.Key))
		}
	}
	return apply(ctx, h.state, append(ops, engine.Delete(h.indexKey(at.Number))))
}

// reseal goes through the revisions, oldest first, and replaces each object once: by the oldest revision that refers to it.
func (h history) reseal(ctx context.Context, f func(kind, id string, data []byte) ([]byte, error)) error {
	head, _, err := h.head(ctx)
	if err != nil || head.Number == 0 {
		return err
	}
	floor, _, err := h.floor(ctx)
	if err != nil {
		return err
	}
	all, err := h.indexed(ctx)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, at := range append(all, head) {
		if at.Number < floor || at.Number > head.Number {
			continue
		}
		if err := h.resealRevision(ctx, at, done, f); err != nil {
			return fmt.Errorf("reseal revision %d: %w", at.Number, err)
		}
	}
	return nil
}

func (h history) resealRevision(ctx context.Context, at place, done map[string]bool, f func(kind, id string, data []byte) ([]byte, error)) error {
	m, err := h.manifest(ctx, at)
	if errors.Is(err, errMissing) {
		if err = h.missing(ctx, at.Number, err); errors.Is(err, ErrNotFound) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	for _, e := range m.Objects {
		key := h.object(m.place(e), e)
		if done[key] {
			continue
		}
		if err := h.resealObject(ctx, key, e, f); err != nil {
			return fmt.Errorf("%s %q: %w", e.Kind, e.Name, err)
		}
		done[key] = true
	}
	return nil
}

// resealObject replaces one value, unless it is removed meanwhile.
func (h history) resealObject(ctx context.Context, key string, e entry, f func(kind, id string, data []byte) ([]byte, error)) error {
	for {
		found, err := h.state.Get(ctx, key)
		if errors.Is(err, engine.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := f(e.Kind, e.ID, found.Value)
		if err != nil {
			return err
		}
		_, err = h.state.CompareAndSet(ctx, key, found.Revision, data)
		if !errors.Is(err, engine.ErrConflict) {
			return err
		}
	}
}
