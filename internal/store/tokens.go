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

// TokenRecord is what is kept of a token, or of a session.
type TokenRecord struct {
	ID         string
	Account    string // by id
	Name       string
	Hash       [32]byte
	Scopes     []string
	Origin     string // "file", "api", "setup", "session"
	User       string // of a session, by id
	InsertedAt time.Time
	ExpiresAt  time.Time // zero: never
}

// tokenRecord is a TokenRecord as it is stored; the id is in the key.
type tokenRecord struct {
	Account    string    `json:"account"`
	Name       string    `json:"name"`
	Hash       []byte    `json:"sha256"`
	Scopes     []string  `json:"scopes,omitempty"`
	Origin     string    `json:"origin"`
	User       string    `json:"user,omitempty"`
	InsertedAt time.Time `json:"inserted_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
}

// Tokens lists the tokens and sessions of all accounts, the oldest first.
func (s *Store) Tokens(ctx context.Context) ([]TokenRecord, error) {
	var all []TokenRecord
	for entry, err := range s.state.List(ctx, tokenPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the tokens: %w", err)
		}
		t, err := decodeToken(entry)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(a, b TokenRecord) int { return cmp.Or(a.InsertedAt.Compare(b.InsertedAt), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

func decodeToken(entry engine.Entry) (TokenRecord, error) {
	var r tokenRecord
	if err := decodeJSON(entry, &r); err != nil {
		return TokenRecord{}, err
	}
	t := TokenRecord{
		ID: strings.TrimPrefix(entry.Key, tokenPrefix), Account: r.Account, Name: r.Name, Scopes: r.Scopes, Origin: r.Origin, User: r.User,
		InsertedAt: r.InsertedAt, ExpiresAt: r.ExpiresAt,
	}
	if copy(t.Hash[:], r.Hash) != len(t.Hash) || len(r.Hash) != len(t.Hash) {
		return TokenRecord{}, fmt.Errorf("%w: %s: a hash of %d bytes", engine.ErrCorrupt, entry.Key, len(r.Hash))
	}
	return t, nil
}

// PutToken adds a token or replaces the one with that id.
func (s *Store) PutToken(ctx context.Context, t TokenRecord) error {
	if err := errors.Join(checkPart("token", t.ID), checkPart("account", t.Account)); err != nil {
		return err
	}
	value, err := json.Marshal(tokenRecord{
		Account: t.Account, Name: t.Name, Hash: t.Hash[:], Scopes: t.Scopes, Origin: t.Origin, User: t.User,
		InsertedAt: t.InsertedAt.UTC(), ExpiresAt: t.ExpiresAt.UTC(),
	})
	if err != nil {
		return fmt.Errorf("encode token %s: %w", t.ID, err)
	}
	if err := s.state.Apply(ctx, engine.Put(tokenPrefix+t.ID, value)); err != nil {
		return fmt.Errorf("store token %s: %w", t.ID, err)
	}
	return nil
}

// DeleteToken removes a token; one that is not there is fine.
func (s *Store) DeleteToken(ctx context.Context, id string) error {
	if err := s.state.Apply(ctx, engine.Delete(tokenPrefix+id)); err != nil {
		return fmt.Errorf("delete token %s: %w", id, err)
	}
	return nil
}

// deleteTokens removes the tokens that which names.
func (s *Store) deleteTokens(ctx context.Context, which func(TokenRecord) bool) error {
	all, err := s.Tokens(ctx)
	if err != nil {
		return err
	}
	var ops []engine.Op
	for i := range all {
		if which(all[i]) {
			ops = append(ops, engine.Delete(tokenPrefix+all[i].ID))
		}
	}
	return apply(ctx, s.state, ops)
}
