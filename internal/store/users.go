package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/engine"
)

// UserRecord is somebody who may sign in.
type UserRecord struct {
	ID           string
	Email        string
	PasswordHash string // argon2id, as a PHC string
	Memberships  []Membership
	InsertedAt   time.Time
}

// Membership is a user's role in an account.
type Membership struct {
	Account string `json:"account"` // by id
	Role    string `json:"role"`
}

// userData is what of a user is not in the list.
type userData struct {
	PasswordHash string       `json:"password_hash"`
	Memberships  []Membership `json:"memberships"`
}

const userKind = "user"

// Users lists the users by e-mail address.
func (s *Store) Users(ctx context.Context) ([]UserRecord, error) {
	_, objects, err := s.users().current(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the users: %w", err)
	}
	all := make([]UserRecord, len(objects))
	for i := range objects {
		if all[i], err = userOf(&objects[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b UserRecord) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Email), strings.ToLower(b.Email)), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

func userOf(o *Object) (UserRecord, error) {
	var d userData
	if err := json.Unmarshal(o.Data, &d); err != nil {
		return UserRecord{}, fmt.Errorf("%w: user %s: %w", engine.ErrCorrupt, o.ID, err)
	}
	return UserRecord{ID: o.ID, Email: o.Name, PasswordHash: d.PasswordHash, Memberships: d.Memberships, InsertedAt: o.InsertedAt}, nil
}

func userObject(u UserRecord) (Object, error) {
	data, err := json.Marshal(userData{PasswordHash: u.PasswordHash, Memberships: u.Memberships})
	if err != nil {
		return Object{}, fmt.Errorf("encode user %s: %w", u.ID, err)
	}
	return Object{Kind: userKind, ID: u.ID, Name: u.Email, InsertedAt: u.InsertedAt, UpdatedAt: now(), Data: data}, nil
}

// PutUser adds a user or replaces the one with that id. ErrExists says that another has the e-mail address; addresses are compared without case.
func (s *Store) PutUser(ctx context.Context, u UserRecord) error {
	object, err := userObject(u)
	if err != nil {
		return err
	}
	err = s.users().change(ctx, func(objects []Object) ([]Object, error) {
		if taken(objects, u.ID, u.Email, sameEmail) {
			return nil, ErrExists
		}
		if at := byID(objects, u.ID); at >= 0 {
			objects[at] = object
			return objects, nil
		}
		return append(objects, object), nil
	})
	if err != nil {
		return fmt.Errorf("store user %s: %w", u.ID, err)
	}
	return nil
}

// DeleteUser removes a user, and the sessions with it; one that is not there is fine.
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	theirs := func(t TokenRecord) bool { return t.User == id }
	if err := s.deleteTokens(ctx, theirs); err != nil {
		return fmt.Errorf("delete the sessions of user %s: %w", id, err)
	}
	err := s.users().change(ctx, func(objects []Object) ([]Object, error) {
		at := byID(objects, id)
		if at < 0 {
			return nil, ErrNotFound
		}
		return slices.Delete(objects, at, at+1), nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("delete user %s: %w", id, err)
	}
	if err := s.deleteTokens(ctx, theirs); err != nil { // a sign-in may have come in between
		return fmt.Errorf("delete the sessions of user %s: %w", id, err)
	}
	return nil
}

// endMemberships takes every user out of an account.
func (s *Store) endMemberships(ctx context.Context, account string) error {
	of := func(m Membership) bool { return m.Account == account }
	users, err := s.Users(ctx)
	if err != nil {
		return err
	}
	for _, u := range users {
		if !slices.ContainsFunc(u.Memberships, of) {
			continue
		}
		u.Memberships = slices.DeleteFunc(u.Memberships, of)
		if err := s.PutUser(ctx, u); err != nil {
			return err
		}
	}
	return nil
}
