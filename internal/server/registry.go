package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/store"
)

// registry remembers which databases and sinks have ever been started here: what has state, and whose it is. What is declared says what shall
// run; the registry says what there is to remove, or to hold, when it is not declared any more.
type registry struct{ state engine.State }

// registered is one of them.
type registered struct {
	ID      string `json:"-"`
	Name    string `json:"name"`
	Parent  string `json:"parent,omitempty"`  // a sink's database, by id
	Account string `json:"account,omitempty"` // by id; "" for one that an earlier release left and nobody has declared since
	// Retention says that it is a change retention, which runs as a sink does.
	Retention bool `json:"retention,omitempty"`
}

// kind is the word for what it is.
func (r *registered) kind() string {
	if r.Retention {
		return "change_retention"
	}
	return "sink"
}

func registryPrefix(kind store.Kind) string { return "registered/" + string(kind) + "/" }

// add notes a resource, and tells whether it is new. What it was registered with is returned beside it.
func (r registry) add(ctx context.Context, kind store.Kind, want registered) (was registered, created bool, err error) {
	key := registryPrefix(kind) + want.ID
	entry, err := r.state.Get(ctx, key)
	switch {
	case err == nil:
		if was, err = decodeRegistered(entry, kind); err != nil || was == want {
			return was, false, err
		}
		if kind == store.Sink && was.Parent != want.Parent {
			return was, false, nil // the caller refuses it
		}
	case errors.Is(err, engine.ErrNotFound):
		was, created = want, true
	default:
		return registered{}, false, fmt.Errorf("look up %s %q: %w", kind, want.Name, err)
	}
	value, err := json.Marshal(want)
	if err != nil {
		return registered{}, false, fmt.Errorf("encode %s %q: %w", kind, want.Name, err)
	}
	if err := r.state.Apply(ctx, engine.Put(key, value)); err != nil {
		return registered{}, false, fmt.Errorf("remember %s %q: %w", kind, want.Name, err)
	}
	return was, created, nil
}

// list returns all of a kind.
func (r registry) list(ctx context.Context, kind store.Kind) ([]registered, error) {
	var all []registered
	for entry, err := range r.state.List(ctx, registryPrefix(kind)) {
		if err != nil {
			return nil, fmt.Errorf("list the %ss: %w", kind, err)
		}
		one, err := decodeRegistered(entry, kind)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// remove forgets one.
func (r registry) remove(ctx context.Context, kind store.Kind, id string) error {
	if err := r.state.Apply(ctx, engine.Delete(registryPrefix(kind)+id)); err != nil {
		return fmt.Errorf("forget %s %s: %w", kind, id, err)
	}
	return nil
}

// adopt takes over what a data directory of an earlier release knows: it kept identities by name.
func (r registry) adopt(ctx context.Context, identities *store.Store) error {
	for _, kind := range []store.Kind{store.Database, store.Sink} {
		old, err := identities.List(ctx, kind)
		if err != nil {
			return err
		}
		for _, id := range old {
			if _, err := r.state.Get(ctx, registryPrefix(kind)+id.ID); !errors.Is(err, engine.ErrNotFound) {
				if err != nil {
					return fmt.Errorf("look up %s %q: %w", kind, id.Name, err)
				}
				continue
			}
			if _, _, err := r.add(ctx, kind, registered{ID: id.ID, Name: id.Name, Parent: id.Parent}); err != nil {
				return err
			}
		}
	}
	return nil
}

func decodeRegistered(entry engine.Entry, kind store.Kind) (registered, error) {
	var one registered
	if err := json.Unmarshal(entry.Value, &one); err != nil {
		return one, fmt.Errorf("decode what is registered at %s: %w", entry.Key, err)
	}
	one.ID = strings.TrimPrefix(entry.Key, registryPrefix(kind))
	return one, nil
}
