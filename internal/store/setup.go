package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/sequinstream/sequin/internal/engine"
)

// SetupHash returns the hash of the one-time set-up link's secret, if there is one.
func (s *Store) SetupHash(ctx context.Context) (hash [32]byte, there bool, err error) {
	entry, err := s.state.Get(ctx, setupKey)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return hash, false, nil
	case err != nil:
		return hash, false, fmt.Errorf("read the set-up link's hash: %w", err)
	case len(entry.Value) != len(hash):
		return hash, false, fmt.Errorf("%w: the set-up link's hash has %d bytes", engine.ErrCorrupt, len(entry.Value))
	}
	return [32]byte(entry.Value), true, nil
}

// PutSetupHash replaces the hash of the set-up link's secret.
func (s *Store) PutSetupHash(ctx context.Context, hash [32]byte) error {
	if err := s.state.Apply(ctx, engine.Put(setupKey, hash[:])); err != nil {
		return fmt.Errorf("store the set-up link's hash: %w", err)
	}
	return nil
}

// DeleteSetupHash ends the set-up link.
func (s *Store) DeleteSetupHash(ctx context.Context) error {
	if err := s.state.Apply(ctx, engine.Delete(setupKey)); err != nil {
		return fmt.Errorf("delete the set-up link's hash: %w", err)
	}
	return nil
}
