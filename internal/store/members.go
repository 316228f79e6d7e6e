package store

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Accounts and users are few, and their names must differ. So each of the two is one history of which only the head is kept: a change is one
// compare-and-set, like any other commit.

// change commits what edit makes of the objects; edit gives Data to those it changes. The loser of a race edits again.
func (h history) change(ctx context.Context, edit func([]Object) ([]Object, error)) error {
	for {
		rev, objects, err := h.current(ctx)
		if err != nil {
			return err
		}
		for i := range objects {
			objects[i].Data = nil
		}
		objects, err = edit(objects)
		if err != nil {
			return err
		}
		_, err = h.commit(ctx, rev.Number, Revision{}, objects)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err == nil {
			_ = h.prune(ctx, 1) // the next change does what is left of it
		}
		return err
	}
}

// tidy removes everything but the head.
func (h history) tidy(ctx context.Context) error {
	if err := h.prune(ctx, 1); err != nil {
		return err
	}
	at, _, err := h.head(ctx)
	if err != nil || at.Number == 0 {
		return err
	}
	return h.sweep(ctx, at)
}

// byID is the place of an id among objects, or -1.
func byID(objects []Object, id string) int {
	for i := range objects {
		if objects[i].ID == id {
			return i
		}
	}
	return -1
}

// taken reports whether another object than that of id has the name.
func taken(objects []Object, id, name string, same func(a, b string) bool) bool {
	for i := range objects {
		if objects[i].ID != id && same(objects[i].Name, name) {
			return true
		}
	}
	return false
}

func exactly(a, b string) bool { return a == b }

// sameEmail compares addresses as people do.
func sameEmail(a, b string) bool { return strings.EqualFold(a, b) }

// now is the time for records: UTC, whole seconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
