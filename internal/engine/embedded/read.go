package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sequinstream/sequin/internal/engine"
)

// Read returns the block with the greatest First ≤ seq.
func (l *Log) Read(ctx context.Context, seq uint64) (engine.Block, error) {
	return l.read(ctx, func(r *reader) (engine.Block, error) { return r.block(r.atOrBefore(seq)) })
}

// Next returns the block with the smallest First > seq.
func (l *Log) Next(ctx context.Context, seq uint64) (engine.Block, error) {
	return l.read(ctx, func(r *reader) (engine.Block, error) { return r.block(r.after(seq)) })
}

// Last returns the block with the greatest First.
func (l *Log) Last(ctx context.Context) (engine.Block, error) {
	return l.read(ctx, func(r *reader) (engine.Block, error) { return r.block(r.atOrBefore(math.MaxUint64)) })
}

// read runs f on a snapshot of the log.
func (l *Log) read(ctx context.Context, f func(r *reader) (engine.Block, error)) (b engine.Block, err error) {
	s, err := l.use()
	if err != nil {
		return engine.Block{}, err
	}
	defer s.release()
	r, err := s.reader(ctx, l.id)
	if err != nil {
		return engine.Block{}, err
	}
	defer func() {
		if closeErr := r.it.Close(); err == nil && closeErr != nil {
			err = storageError(closeErr)
		}
		if err == nil && s.failure() != nil {
			err = s.refusal()
		}
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			err = fmt.Errorf("read log %q: %w", l.name, err)
		}
	}()
	return f(r)
}

// lastHeader is the First of the last block.
func (s *store) lastHeader(ctx context.Context, id uint32) (first uint64, err error) {
	r, err := s.reader(ctx, id)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closeErr := r.it.Close(); err == nil {
			err = storageError(closeErr)
		}
	}()
	first, _, err = r.atOrBefore(math.MaxUint64)
	return first, err
}

// reader finds blocks on a snapshot of one log. Its bounds keep the search for headers away from the parts, so that damage to one block's
// data cannot hide another block.
type reader struct {
	it *pebble.Iterator
	id uint32
}

func (s *store) reader(ctx context.Context, id uint32) (*reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: logKey(id, headerKind), UpperBound: logKey(id, headerKind+1),
	})
	if err != nil {
		return nil, storageError(err)
	}
	return &reader{it: it, id: id}, nil
}

func (r *reader) atOrBefore(seq uint64) (uint64, header, error) {
	if r.it.SeekLT(headersAbove(r.id, seq)) {
		return r.header()
	}
	return 0, header{}, r.miss(func() error { return r.lostBefore(seq) })
}

func (r *reader) after(seq uint64) (uint64, header, error) {
	if seq == math.MaxUint64 {
		return 0, header{}, engine.ErrNotFound
	}
	if r.it.SeekGE(headerKey(r.id, seq+1)) {
		return r.header()
	}
	return 0, header{}, r.miss(func() error { return r.lostAfter(seq) })
}

// miss tells an end from damage.
func (r *reader) miss(extent func() error) error {
	err := r.it.Error()
	if err == nil {
		return engine.ErrNotFound
	}
	if pebble.IsCorruptionError(err) {
		return extent()
	}
	return storageError(err)
}

// header decodes what the iterator stands on.
func (r *reader) header() (uint64, header, error) {
	first := firstOf(r.it.Key())
	v, err := r.it.ValueAndErr()
	if err != nil {
		return 0, header{}, r.damaged(first, storageError(err))
	}
	h, err := decodeHeader(r.it.Key(), v)
	if err != nil {
		return 0, header{}, r.damaged(first, err)
	}
	return first, h, nil
}

// damaged reports one block as lost if the error is about damage.
func (r *reader) damaged(first uint64, err error) error {
	if !errors.Is(err, engine.ErrCorrupt) {
		return err
	}
	return &engine.DamageError{From: first, To: first, Cause: err}
}

// lostAfter finds how far damage among the headers reaches above seq. A seek fails exactly while it lands in the damaged part of a file,
// so the first number that can be sought again is found by halving.
func (r *reader) lostAfter(seq uint64) error {
	cause := storageError(r.it.Error())
	low, high := seq, uint64(math.MaxUint64) // low+1 is known to fail; high is the answer when nothing else works
	for low+1 < high {
		mid := low + (high-low)/2
		r.it.SeekGE(headerKey(r.id, mid+1))
		if r.it.Error() != nil {
			low = mid
		} else {
			high = mid
		}
	}
	return &engine.DamageError{From: seq + 1, To: high, Cause: cause}
}

// lostBefore is lostAfter downwards.
func (r *reader) lostBefore(seq uint64) error {
	cause := storageError(r.it.Error())
	low, high := uint64(0), seq
	for low < high {
		mid := low + (high-low)/2
		r.it.SeekLT(headersAbove(r.id, mid))
		if r.it.Error() != nil {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return &engine.DamageError{From: low, To: seq, Cause: cause}
}

// block loads the parts of the block that was found.
func (r *reader) block(first uint64, h header, err error) (engine.Block, error) {
	if err != nil {
		return engine.Block{}, err
	}
	data := make([]byte, 0, h.size)
	parts := h.parts()
	r.it.SetBounds(partKey(r.id, first, h.incarnation, 0), partKey(r.id, first, h.incarnation, parts))
	for n := range parts { // and no further: what comes next may be damaged
		valid := false
		if n == 0 {
			valid = r.it.First()
		} else {
			valid = r.it.Next()
		}
		if data, err = r.part(valid, partKey(r.id, first, h.incarnation, n), data); err != nil {
			return engine.Block{}, r.damaged(first, err)
		}
	}
	if uint64(len(data)) != h.size {
		return engine.Block{}, r.damaged(first, fmt.Errorf("%w: block of %d bytes, want %d", engine.ErrCorrupt, len(data), h.size))
	}
	return engine.Block{First: first, Data: data}, nil
}

// part appends the part that the iterator stands on.
func (r *reader) part(valid bool, key, dst []byte) ([]byte, error) {
	if err := r.it.Error(); err != nil {
		return nil, storageError(err)
	}
	if !valid || !bytes.Equal(r.it.Key(), key) {
		return nil, fmt.Errorf("%w: block part is missing", engine.ErrCorrupt)
	}
	v, err := r.it.ValueAndErr()
	if err != nil {
		return nil, storageError(err)
	}
	data, err := decodePart(key, v)
	if err != nil {
		return nil, err
	}
	return append(dst, data...), nil
}
