package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/engine"
)

// AccountRecord is an account.
type AccountRecord struct {
	ID         string
	Name       string
	InsertedAt time.Time
}

const accountKind = "account"

// Accounts lists the accounts by name.
func (s *Store) Accounts(ctx context.Context) ([]AccountRecord, error) {
	_, objects, err := s.accounts().current(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the accounts: %w", err)
	}
	all := make([]AccountRecord, len(objects))
	for i := range objects {
		all[i] = AccountRecord{ID: objects[i].ID, Name: objects[i].Name, InsertedAt: objects[i].InsertedAt}
	}
	slices.SortFunc(all, func(a, b AccountRecord) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// CreateAccount adds an account under a new id, or returns ErrExists.
func (s *Store) CreateAccount(ctx context.Context, name string) (AccountRecord, error) {
	a := AccountRecord{ID: uuid.NewString(), Name: name, InsertedAt: now()}
	err := s.accounts().change(ctx, func(objects []Object) ([]Object, error) {
		if taken(objects, a.ID, name, exactly) {
			return nil, ErrExists
		}
		return append(objects, accountObject(a)), nil
	})
	if err != nil {
		return AccountRecord{}, fmt.Errorf("create account %q: %w", name, err)
	}
	return a, nil
}

// RenameAccount gives an account another name; ErrNotFound, ErrExists.
func (s *Store) RenameAccount(ctx context.Context, id, name string) error {
	err := s.accounts().change(ctx, func(objects []Object) ([]Object, error) {
		at := byID(objects, id)
		switch {
		case at < 0:
			return nil, ErrNotFound
		case taken(objects, id, name, exactly):
			return nil, ErrExists
		}
		objects[at] = accountObject(AccountRecord{ID: id, Name: name, InsertedAt: objects[at].InsertedAt})
		return objects, nil
	})
	if err != nil {
		return fmt.Errorf("rename account %s to %q: %w", id, name, err)
	}
	return nil
}

// accountObject has no data of its own yet: everything that is known of an account is in the list.
func accountObject(a AccountRecord) Object {
	return Object{Kind: accountKind, ID: a.ID, Name: a.Name, InsertedAt: a.InsertedAt, UpdatedAt: now(), Data: []byte("{}")}
}

// DeleteAccount removes an account with all of its records: tokens, memberships, revisions, audit log. ErrNotFound when there is none. The
// caller sees to it that nobody writes to the account meanwhile. What a crash interrupts, Tidy brings to its end.
func (s *Store) DeleteAccount(ctx context.Context, id string) error {
	if err := checkPart("account", id); err != nil {
		return err
	}
	_, objects, err := s.accounts().current(ctx)
	if err == nil && byID(objects, id) < 0 {
		err = ErrNotFound
	}
	if err == nil {
		err = s.state.Apply(ctx, engine.Put(deletingPrefix+id, nil))
	}
	if err == nil {
		err = s.finishDeletion(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("delete account %s: %w", id, err)
	}
	return nil
}

// finishDeletion first takes away what lets people in, then the account's name, then the rest.
func (s *Store) finishDeletion(ctx context.Context, id string) error {
	if err := s.deleteTokens(ctx, func(t TokenRecord) bool { return t.Account == id }); err != nil {
		return err
	}
	if err := s.endMemberships(ctx, id); err != nil {
		return err
	}
	err := s.accounts().change(ctx, func(objects []Object) ([]Object, error) {
		at := byID(objects, id)
		if at < 0 {
			return nil, ErrNotFound
		}
		return slices.Delete(objects, at, at+1), nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := s.state.DeletePrefix(ctx, accountPrefix+id+"/"); err != nil {
		return err
	}
	s.forgetAudit(id)
	return s.state.Apply(ctx, engine.Delete(deletingPrefix+id))
}

// Tidy finishes what was interrupted: the deletion of accounts, and the removal of what accounts and users were before. It is for the start,
// before anything else is asked of the store.
func (s *Store) Tidy(ctx context.Context) error {
	var ids []string
	for entry, err := range s.state.List(ctx, deletingPrefix) {
		if err != nil {
			return fmt.Errorf("list the accounts that are being deleted: %w", err)
		}
		ids = append(ids, strings.TrimPrefix(entry.Key, deletingPrefix))
	}
	for _, id := range ids {
		if err := s.finishDeletion(ctx, id); err != nil {
			return fmt.Errorf("delete account %s: %w", id, err)
		}
	}
	if err := errors.Join(s.accounts().tidy(ctx), s.users().tidy(ctx)); err != nil {
		return fmt.Errorf("tidy accounts and users: %w", err)
	}
	return nil
}
