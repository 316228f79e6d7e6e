package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/engine"
)

// history is a line of revisions, each a whole list of objects, under one prefix of the state store.
type history struct {
	state  engine.State
	prefix string // ends in a slash
}

// place is a revision's number and the random name of the commit that made it. There may be other commits of that number; they failed.
type place struct {
	Number uint64 `json:"number"`
	Commit string `json:"commit"`
}

// errMissing reports a record that ought to be there. Whoever reads while revisions are pruned may meet it.
var errMissing = errors.New("a record of the revision is missing")

func (h history) headKey() string  { return h.prefix + "head" }
func (h history) floorKey() string { return h.prefix + "floor" }
func (h history) indexes() string  { return h.prefix + "revision/" }

// indexKey is where the commit of a revision below the head is found.
func (h history) indexKey(number uint64) string { return fmt.Sprintf("%s%016x", h.indexes(), number) }

// attempts is the prefix of all commits of a number, commit that of one.
func (h history) attempts(number uint64) string {
	return fmt.Sprintf("%scommit/%016x.", h.prefix, number)
}
func (h history) commitPrefix(p place) string    { return h.attempts(p.Number) + p.Commit + "/" }
func (h history) objects(p place) string         { return h.commitPrefix(p) + "object/" }
func (h history) object(p place, e entry) string { return h.objects(p) + e.Kind + "/" + e.ID }

// head reads the place of the newest revision, number 0 when there is none, and the key's revision for a compare-and-set.
func (h history) head(ctx context.Context) (at place, revision uint64, err error) {
	entry, err := h.state.Get(ctx, h.headKey())
	if errors.Is(err, engine.ErrNotFound) {
		return place{}, 0, nil
	}
	if err == nil {
		err = decodeJSON(entry, &at)
	}
	if err != nil {
		return place{}, 0, fmt.Errorf("read the head: %w", err)
	}
	return at, entry.Revision, nil
}

// floor reads the number of the oldest revision that is kept.
func (h history) floor(ctx context.Context) (number, revision uint64, err error) {
	entry, err := h.state.Get(ctx, h.floorKey())
	if errors.Is(err, engine.ErrNotFound) {
		return 1, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the oldest revision's number: %w", err)
	}
	number, err = strconv.ParseUint(string(entry.Value), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, entry.Key, err)
	}
	return number, entry.Revision, nil
}

// find returns the place of a revision that is kept, or ErrNotFound.
func (h history) find(ctx context.Context, number uint64) (place, error) {
	at, _, err := h.head(ctx)
	if err != nil {
		return place{}, err
	}
	floor, _, err := h.floor(ctx)
	switch {
	case err != nil:
		return place{}, err
	case number < floor || number > at.Number:
		return place{}, fmt.Errorf("revision %d: %w", number, ErrNotFound)
	case number == at.Number:
		return at, nil
	}
	entry, err := h.state.Get(ctx, h.indexKey(number))
	if errors.Is(err, engine.ErrNotFound) {
		return place{}, h.missing(ctx, number, fmt.Errorf("%w: the index", errMissing))
	}
	if err != nil {
		return place{}, fmt.Errorf("look up revision %d: %w", number, err)
	}
	return place{Number: number, Commit: string(entry.Value)}, nil
}

// missing tells why a record of a revision was not there: the revision was pruned meanwhile, or the data is damaged.
func (h history) missing(ctx context.Context, number uint64, cause error) error {
	floor, _, err := h.floor(ctx)
	if err != nil {
		return err
	}
	if number < floor {
		return fmt.Errorf("revision %d: %w", number, ErrNotFound)
	}
	return fmt.Errorf("%w: revision %d: %w", engine.ErrCorrupt, number, cause)
}

// current reads the newest revision with its objects.
func (h history) current(ctx context.Context) (Revision, []Object, error) {
	for {
		at, _, err := h.head(ctx)
		if err != nil || at.Number == 0 {
			return Revision{}, nil, err
		}
		revision, objects, err := h.read(ctx, at)
		if !errors.Is(err, errMissing) {
			return revision, objects, err
		}
		now, _, headErr := h.head(ctx)
		if headErr != nil {
			return Revision{}, nil, headErr
		}
		if now == at {
			return Revision{}, nil, fmt.Errorf("%w: revision %d: %w", engine.ErrCorrupt, at.Number, err)
		}
	}
}

// past reads a revision that is kept.
func (h history) past(ctx context.Context, number uint64) (Revision, []Object, error) {
	at, err := h.find(ctx, number)
	if err != nil {
		return Revision{}, nil, err
	}
	revision, objects, err := h.read(ctx, at)
	if errors.Is(err, errMissing) {
		err = h.missing(ctx, number, err)
	}
	return revision, objects, err
}

// read reads a revision with its objects.
func (h history) read(ctx context.Context, at place) (Revision, []Object, error) {
	revision, err := h.revision(ctx, at)
	if err != nil {
		return Revision{}, nil, err
	}
	m, err := h.manifest(ctx, at)
	if err != nil {
		return Revision{}, nil, err
	}
	objects := make([]Object, len(m.Objects))
	for i, e := range m.Objects {
		key := h.object(m.place(e), e)
		found, err := h.state.Get(ctx, key)
		if errors.Is(err, engine.ErrNotFound) {
			return Revision{}, nil, fmt.Errorf("%w: %s %q", errMissing, e.Kind, e.Name)
		}
		if err != nil {
			return Revision{}, nil, fmt.Errorf("read %s %q: %w", e.Kind, e.Name, err)
		}
		objects[i] = Object{
			Kind: e.Kind, ID: e.ID, Name: e.Name, InsertedAt: e.InsertedAt, UpdatedAt: e.UpdatedAt, Written: e.Written, Data: found.Value,
		}
	}
	return revision, objects, nil
}

// list reads the revisions below before, newest first, without their objects.
func (h history) list(ctx context.Context, before uint64, limit int) ([]Revision, error) {
	at, _, err := h.head(ctx)
	if err != nil || at.Number == 0 {
		return nil, err
	}
	number := at.Number
	if before > 0 {
		number = min(number, before-1)
	}
	var all []Revision
	for ; number > 0 && (limit <= 0 || len(all) < limit); number-- {
		at, err := h.find(ctx, number)
		if errors.Is(err, ErrNotFound) {
			break // pruned
		}
		if err != nil {
			return nil, err
		}
		revision, err := h.revision(ctx, at)
		if errors.Is(err, errMissing) {
			if err = h.missing(ctx, number, err); errors.Is(err, ErrNotFound) {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, revision)
	}
	return all, nil
}

// indexed lists the revisions below the head that have not been removed, oldest first.
func (h history) indexed(ctx context.Context) ([]place, error) {
	var all []place
	for entry, err := range h.state.List(ctx, h.indexes()) {
		if err != nil {
			return nil, fmt.Errorf("list the revisions: %w", err)
		}
		number, err := strconv.ParseUint(strings.TrimPrefix(entry.Key, h.indexes()), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: key %q: %w", engine.ErrCorrupt, entry.Key, err)
		}
		all = append(all, place{Number: number, Commit: string(entry.Value)})
	}
	return all, nil
}

// encodeHead is the value of the head's key.
func encodeHead(at place) ([]byte, error) { return json.Marshal(at) }
