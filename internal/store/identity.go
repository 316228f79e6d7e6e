package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/engine"
)

// Kind of a resource.
type Kind string

// The kinds that have an identity.
const (
	Database     Kind = "database"
	Sink         Kind = "sink"
	HTTPEndpoint Kind = "http_endpoint"
	Account      Kind = "account"
)

// Identity is a resource's name and id.
type Identity struct {
	ID       string    `json:"id"`
	Name     string    `json:"-"`
	Parent   string    `json:"parent,omitempty"` // a sink's database, by id
	Inserted time.Time `json:"inserted_at"`
}

func prefix(k Kind) string { return "identity/" + string(k) + "/" }

// Identify returns the id of the named resource, making one the first time. created tells which it was.
func (s *Store) Identify(ctx context.Context, kind Kind, name, parent string) (id Identity, created bool, err error) {
	key := prefix(kind) + name
	for {
		entry, err := s.state.Get(ctx, key)
		switch {
		case err == nil:
			id, err := decode(entry, kind)
			return id, false, err
		case !errors.Is(err, engine.ErrNotFound):
			return Identity{}, false, fmt.Errorf("look up %s %q: %w", kind, name, err)
		}
		id := Identity{ID: uuid.NewString(), Name: name, Parent: parent, Inserted: time.Now().UTC().Truncate(time.Second)}
		value, err := json.Marshal(id)
		if err != nil {
			return Identity{}, false, fmt.Errorf("encode the identity of %s %q: %w", kind, name, err)
		}
		_, err = s.state.CompareAndSet(ctx, key, 0, value)
		if errors.Is(err, engine.ErrConflict) {
			continue
		}
		if err != nil {
			return Identity{}, false, fmt.Errorf("remember %s %q: %w", kind, name, err)
		}
		return id, true, nil
	}
}

// List returns all identities of a kind, by name.
func (s *Store) List(ctx context.Context, kind Kind) ([]Identity, error) {
	var all []Identity
	for entry, err := range s.state.List(ctx, prefix(kind)) {
		if err != nil {
			return nil, fmt.Errorf("list the %ss: %w", kind, err)
		}
		id, err := decode(entry, kind)
		if err != nil {
			return nil, err
		}
		all = append(all, id)
	}
	return all, nil
}

// Forget removes a name.
func (s *Store) Forget(ctx context.Context, kind Kind, name string) error {
	if err := s.state.Apply(ctx, engine.Delete(prefix(kind)+name)); err != nil {
		return fmt.Errorf("forget %s %q: %w", kind, name, err)
	}
	return nil
}

func decode(entry engine.Entry, kind Kind) (Identity, error) {
	var id Identity
	if err := json.Unmarshal(entry.Value, &id); err != nil {
		return id, fmt.Errorf("decode the identity at %s: %w", entry.Key, err)
	}
	id.Name = strings.TrimPrefix(entry.Key, prefix(kind))
	return id, nil
}
