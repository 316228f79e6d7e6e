package store

import (
	"context"
	"time"
)

// Object is one declared resource.
type Object struct {
	Kind       string
	ID         string
	Name       string
	InsertedAt time.Time
	UpdatedAt  time.Time
	Written    uint64 // the revision that wrote Data
	Data       []byte // sealed by the caller
}

// Change is what a revision did to one object.
type Change struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action string `json:"action"` // create, update, delete
}

// Actor is who did something.
type Actor struct {
	Kind      string `json:"kind"` // token, user, file, local, server
	Name      string `json:"name,omitempty"`
	Address   string `json:"address,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// Revision is what is told of one state of what an account declares.
type Revision struct {
	Number  uint64
	At      time.Time
	Actor   Actor
	What    string
	Changes []Change
}

// revisionRecord is a Revision as it is stored.
type revisionRecord struct {
	Number  uint64    `json:"number"`
	At      time.Time `json:"at"`
	Actor   Actor     `json:"actor"`
	What    string    `json:"what"`
	Changes []Change  `json:"changes"`
}

// Head returns the newest revision of what an account declares, and its objects in the order that Commit was given. Without any, the number
// is 0.
func (s *Store) Head(ctx context.Context, account string) (Revision, []Object, error) {
	h, err := s.history(account)
	if err != nil {
		return Revision{}, nil, err
	}
	return h.current(ctx)
}

// Revision returns a revision that is kept, or ErrNotFound.
func (s *Store) Revision(ctx context.Context, account string, number uint64) (Revision, []Object, error) {
	h, err := s.history(account)
	if err != nil {
		return Revision{}, nil, err
	}
	return h.past(ctx, number)
}

// Revisions lists the revisions below before, newest first; before 0 begins with the head, limit 0 goes on to the oldest that is kept.
func (s *Store) Revisions(ctx context.Context, account string, before uint64, limit int) ([]Revision, error) {
	h, err := s.history(account)
	if err != nil {
		return nil, err
	}
	return h.list(ctx, before, limit)
}

// Commit makes base's successor the head: objects, all of them, in this order. One with Data is written; one without, whose Written says which
// revision wrote it, must be in base with that Written, and is not written again. rev.Number is set here, rev.At unless the caller did.
// ErrConflict says that the head is not base, and that nothing changed. After another error Head tells whether the commit took effect.
func (s *Store) Commit(ctx context.Context, account string, base uint64, rev Revision, objects []Object) (Revision, error) {
	h, err := s.history(account)
	if err != nil {
		return Revision{}, err
	}
	return h.commit(ctx, base, rev, objects)
}

// PruneRevisions removes all but the newest keep revisions, at least the head stays, and the objects that only they refer to.
func (s *Store) PruneRevisions(ctx context.Context, account string, keep int) error {
	h, err := s.history(account)
	if err != nil {
		return err
	}
	return h.prune(ctx, keep)
}

// Reseal replaces the data of every object of every revision that is kept by what f makes of it, one after another, in place. An error ends
// it and it may be repeated: f may meet its own results. A Commit that runs meanwhile is not seen; the caller excludes it.
func (s *Store) Reseal(ctx context.Context, account string, f func(kind, id string, data []byte) ([]byte, error)) error {
	h, err := s.history(account)
	if err != nil {
		return err
	}
	return h.reseal(ctx, f)
}
