package embedded

import (
	"context"
	"errors"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sequinstream/sequin/internal/engine"
)

// State is the store of small values.
type State struct{ e *Engine }

var _ engine.State = (*State)(nil)

// Get returns the value of a key.
func (st *State) Get(ctx context.Context, key string) (engine.Entry, error) {
	if err := ctx.Err(); err != nil {
		return engine.Entry{}, err
	}
	s, err := st.e.use()
	if err != nil {
		return engine.Entry{}, err
	}
	defer s.release()
	return s.entry(key)
}

func (s *store) entry(key string) (engine.Entry, error) {
	k := stateKey(key)
	v, closer, err := s.db.Get(k)
	if err != nil {
		return engine.Entry{}, storageError(err)
	}
	entry, err := decodeState(k, v)
	return entry, errors.Join(err, closer.Close())
}

// Apply writes ops, all or none of them.
func (st *State) Apply(ctx context.Context, ops ...engine.Op) error {
	if len(ops) == 0 {
		return ctx.Err()
	}
	size := 0
	for _, op := range ops {
		size += len(op.Key) + len(op.Value) + 32
	}
	return st.e.commit(ctx, size, func(w *write) error {
		for _, op := range ops {
			var err error
			if op.Value == nil {
				err = w.remove(op.Key)
			} else {
				_, err = w.set(op.Key, op.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// CompareAndSet writes a value if the key still has the revision.
func (st *State) CompareAndSet(ctx context.Context, key string, revision uint64, value []byte) (uint64, error) {
	var next uint64
	err := st.e.commit(ctx, len(key)+len(value)+32, func(w *write) error {
		entry, err := w.s.entry(key)
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
		if entry.Revision != revision {
			return engine.ErrConflict
		}
		next, err = w.set(key, value)
		return err
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// List walks the keys with the prefix in byte order, as of the moment the walk begins. It holds up Close.
func (st *State) List(ctx context.Context, prefix string) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		s, err := st.e.use()
		if err != nil {
			yield(engine.Entry{}, err)
			return
		}
		defer s.release()
		if err := s.list(ctx, prefix, yield); err != nil {
			yield(engine.Entry{}, err)
		}
	}
}

func (s *store) list(ctx context.Context, prefix string, yield func(engine.Entry, error) bool) (err error) {
	low := stateKey(prefix)
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: low, UpperBound: successor(low)})
	if err != nil {
		return storageError(err)
	}
	defer func() {
		if closeErr := it.Close(); err == nil {
			err = storageError(closeErr)
		}
	}()
	for it.First(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.failure() != nil {
			return s.refusal()
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return storageError(err)
		}
		entry, err := decodeState(it.Key(), v)
		if err != nil {
			return err
		}
		if !yield(entry, nil) {
			return nil
		}
	}
	return storageError(it.Error())
}

// DeletePrefix removes every key with the prefix.
func (st *State) DeletePrefix(ctx context.Context, prefix string) error {
	return st.e.commit(ctx, 256, func(w *write) error {
		keys, err := w.s.keys(ctx, prefix)
		if err != nil || len(keys) == 0 {
			return err
		}
		if len(keys) <= 64 {
			for _, k := range keys {
				if err := w.remove(k); err != nil {
					return err
				}
			}
			return nil
		}
		return w.removeRange(prefix, keys)
	})
}

// removeRange deletes many keys by one tombstone.
func (w *write) removeRange(prefix string, keys []string) error {
	for _, k := range keys {
		revision, err := w.revision()
		if err != nil {
			return err
		}
		w.entries = append(w.entries, engine.Entry{Key: k, Deleted: true, Revision: revision})
	}
	low := stateKey(prefix)
	return w.batch.DeleteRange(low, successor(low), nil)
}

// keys lists the keys with the prefix, not their values.
func (s *store) keys(ctx context.Context, prefix string) (keys []string, err error) {
	low := stateKey(prefix)
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: low, UpperBound: successor(low)})
	if err != nil {
		return nil, storageError(err)
	}
	defer func() {
		if closeErr := it.Close(); err == nil {
			err = storageError(closeErr)
		}
	}()
	for it.First(); it.Valid(); it.Next() {
		keys = append(keys, string(it.Key()[1:]))
	}
	return keys, storageError(it.Error())
}

// Watch reports writes under the prefix from now on, each once it is durable. After the storage failed and was reopened it may repeat a value.
func (st *State) Watch(ctx context.Context, prefix string) <-chan engine.Entry {
	return st.e.watchers.watch(ctx, prefix)
}
