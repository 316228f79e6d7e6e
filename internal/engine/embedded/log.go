package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"regexp"
	"sync"
	"sync/atomic"

	"github.com/sequinstream/sequin/internal/engine"
)

// Log is one log's blocks.
type Log struct {
	e    *Engine
	name string
	id   uint32

	dropped atomic.Bool
	// Bytes that only memory and the WAL hold: since the last flush began, and those that it is writing.
	fresh, flushing atomic.Int64

	mu    sync.Mutex // one append or trim at a time
	known bool       // last and empty are right
	empty bool
	last  uint64
}

var _ engine.Log = (*Log)(nil)

var logName = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)

// Log opens the named log, creating it empty.
func (e *Engine) Log(ctx context.Context, name string) (engine.Log, error) {
	if !logName.MatchString(name) {
		return nil, fmt.Errorf("log name %q: want letters, digits, '_', '.' and '-'", name)
	}
	e.logTurn.Lock()
	defer e.logTurn.Unlock()
	e.mu.Lock()
	l, ok := e.logs[name]
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return nil, engine.ErrClosed
	}
	if ok {
		return l, ctx.Err()
	}
	id, err := e.logID(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open log %q: %w", name, err)
	}
	l = &Log{e: e, name: name, id: id}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logs[name] = l
	return l, nil
}

// logID finds the log's id or gives it one. Ids are never used again, so the blocks of a dropped log cannot turn up in a new one.
func (e *Engine) logID(ctx context.Context, name string) (id uint32, err error) {
	s, err := e.use()
	if err != nil {
		return 0, err
	}
	v, err := s.get(nameKey(name))
	s.release()
	if err == nil {
		return decodeID(v)
	}
	if !errors.Is(err, engine.ErrNotFound) {
		return 0, err
	}
	err = e.commit(ctx, 64, func(w *write) error {
		id = 1
		v, err := w.s.get(keyNextLog)
		if err == nil {
			id, err = decodeID(v)
		} else if errors.Is(err, engine.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return err
		}
		if err := w.batch.Set(keyNextLog, binary.BigEndian.AppendUint32(nil, id+1), nil); err != nil {
			return err
		}
		return w.batch.Set(nameKey(name), binary.BigEndian.AppendUint32(nil, id), nil)
	})
	return id, err
}

func decodeID(v []byte) (uint32, error) {
	if len(v) != 4 {
		return 0, fmt.Errorf("%w: log id of %d bytes", engine.ErrCorrupt, len(v))
	}
	return binary.BigEndian.Uint32(v), nil
}

// DropLog removes a log and its blocks; open handles of it return ErrClosed from then on. A log that is not there is fine.
func (e *Engine) DropLog(ctx context.Context, name string) error {
	e.logTurn.Lock()
	defer e.logTurn.Unlock()
	s, err := e.use()
	if err != nil {
		return err
	}
	v, err := s.get(nameKey(name))
	s.release()
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop log %q: %w", name, err)
	}
	id, err := decodeID(v)
	if err != nil {
		return fmt.Errorf("drop log %q: %w", name, err)
	}
	e.mu.Lock()
	l := e.logs[name]
	e.mu.Unlock()
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	low, high := logKey(id, 0), logKey(id+1, 0)
	err = e.commit(ctx, 64, func(w *write) error {
		if err := w.batch.Delete(nameKey(name), nil); err != nil {
			return err
		}
		return w.batch.DeleteRange(low, high, nil)
	})
	if err != nil {
		return fmt.Errorf("drop log %q: %w", name, err)
	}
	if l != nil {
		l.dropped.Store(true)
		l.fresh.Store(0)
		l.flushing.Store(0)
	}
	e.mu.Lock()
	delete(e.logs, name)
	e.mu.Unlock()
	e.reclaimer.ask(low, high)
	return nil
}

func (l *Log) use() (*store, error) {
	if l.dropped.Load() {
		return nil, fmt.Errorf("log %q was dropped: %w", l.name, engine.ErrClosed)
	}
	return l.e.use()
}

// Append stores the blocks in order. It syncs at least every MiB, so that a crash may leave a prefix of them.
func (l *Log) Append(ctx context.Context, blocks ...engine.Block) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.appendable(ctx, blocks); err != nil {
		return fmt.Errorf("append to log %q: %w", l.name, err)
	}
	for len(blocks) > 0 {
		n, size := 0, 0
		for n < len(blocks) && size+len(blocks[n].Data) <= maxBatch {
			size += len(blocks[n].Data)
			n++
		}
		var err error
		if n > 0 {
			err = l.appendSmall(ctx, size, blocks[:n])
		} else {
			n = 1
			err = l.appendBig(ctx, blocks[0])
		}
		if err != nil {
			l.known = false
			return fmt.Errorf("append to log %q: %w", l.name, err)
		}
		blocks = blocks[n:]
	}
	return nil
}

// appendable checks the request and the room, and finds the end of the log if it is not known.
func (l *Log) appendable(ctx context.Context, blocks []engine.Block) error {
	size := 0
	for _, b := range blocks {
		if len(b.Data) > maxBlock {
			return fmt.Errorf("block of %d bytes: the most is %d", len(b.Data), maxBlock)
		}
		size += len(b.Data)
	}
	s, err := l.use()
	if err != nil {
		return err
	}
	defer s.release()
	if err := l.e.room.check(size); err != nil {
		return err
	}
	if l.known {
		return nil
	}
	b, err := s.lastHeader(ctx, l.id)
	switch {
	case err == nil:
		l.known, l.empty, l.last = true, false, b
	case errors.Is(err, engine.ErrNotFound):
		l.known, l.empty = true, true
	default:
		return err
	}
	return nil
}

// appendSmall writes blocks that fit one batch.
func (l *Log) appendSmall(ctx context.Context, size int, blocks []engine.Block) error {
	err := l.e.commit(ctx, batchSize(size, len(blocks)), func(w *write) error {
		for _, b := range blocks {
			incarnation, err := w.revision()
			if err != nil {
				return err
			}
			if !l.empty && b.First <= l.last {
				if err := w.batch.DeleteRange(partsKey(l.id, b.First), partsAbove(l.id, b.First), nil); err != nil {
					return err
				}
			}
			h := header{incarnation: incarnation, size: uint64(len(b.Data))}
			if err := w.parts(l.id, b.First, incarnation, 0, b.Data); err != nil {
				return err
			}
			if err := w.header(l.id, b.First, h); err != nil {
				return err
			}
			l.advance(b.First)
		}
		return nil
	})
	if err == nil {
		l.fresh.Add(int64(size))
	}
	return err
}

// batchSize guesses the bytes of a batch with so much data.
func batchSize(data, blocks int) int {
	const perPart, perBlock = 48, 192
	return data + data/partSize*perPart + blocks*perBlock
}

// appendBig writes a block in several batches, and its header with the last. A crash in between leaves parts without a header, which nobody
// sees; they go when the block is written again or trimmed.
func (l *Log) appendBig(ctx context.Context, b engine.Block) error {
	h := header{size: uint64(len(b.Data))}
	for from := 0; from < len(b.Data); from += maxBatch {
		data := b.Data[from:min(from+maxBatch, len(b.Data))]
		err := l.e.commit(ctx, batchSize(len(data), 1), func(w *write) (err error) {
			if from == 0 {
				if h.incarnation, err = w.revision(); err != nil {
					return err
				}
			}
			if err := w.parts(l.id, b.First, h.incarnation, uint32(from/partSize), data); err != nil { //nolint:gosec // at most 1 GiB
				return err
			}
			if from+len(data) < len(b.Data) {
				return nil
			}
			older := partKey(l.id, b.First, h.incarnation, 0)
			if err := w.batch.DeleteRange(partsKey(l.id, b.First), older, nil); err != nil {
				return err
			}
			return w.header(l.id, b.First, h)
		})
		if err != nil {
			return err
		}
		l.fresh.Add(int64(len(data)))
	}
	l.advance(b.First)
	return nil
}

func (l *Log) advance(first uint64) {
	if l.empty || first > l.last {
		l.empty, l.last = false, first
	}
}

// parts writes data as parts from number n on.
func (w *write) parts(id uint32, first, incarnation uint64, n uint32, data []byte) error {
	for ; len(data) > 0; n++ {
		part := data[:min(partSize, len(data))]
		data = data[len(part):]
		key := partKey(id, first, incarnation, n)
		op := w.batch.SetDeferred(len(key), crcSize+len(part))
		copy(op.Key, key)
		binary.BigEndian.PutUint32(op.Value, checksum(key, part))
		copy(op.Value[crcSize:], part)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	return nil
}

func (w *write) header(id uint32, first uint64, h header) error {
	key := headerKey(id, first)
	return w.batch.Set(key, h.encode(key), nil)
}

// TrimFront removes the blocks before seq and has their room given back in the background.
func (l *Log) TrimFront(ctx context.Context, seq uint64) error {
	if seq == 0 {
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.trim(ctx, logKey(l.id, headerKind), headerKey(l.id, seq), logKey(l.id, partKind), partsKey(l.id, seq)); err != nil {
		return fmt.Errorf("trim front of log %q: %w", l.name, err)
	}
	l.e.reclaimer.ask(logKey(l.id, partKind), partsKey(l.id, seq))
	return nil
}

// TrimBack removes the blocks after seq.
func (l *Log) TrimBack(ctx context.Context, seq uint64) error {
	if seq == math.MaxUint64 {
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.trim(ctx, headersAbove(l.id, seq), logKey(l.id, headerKind+1), partsAbove(l.id, seq), logKey(l.id, partKind+1))
	if err != nil {
		return fmt.Errorf("trim back of log %q: %w", l.name, err)
	}
	l.e.reclaimer.ask(partsAbove(l.id, seq), logKey(l.id, partKind+1))
	return nil
}

// trim deletes a range of headers and the parts that belong to it. The caller holds mu.
func (l *Log) trim(ctx context.Context, headersLow, headersHigh, partsLow, partsHigh []byte) error {
	s, err := l.use()
	if err != nil {
		return err
	}
	s.release()
	l.known = false
	return l.e.commit(ctx, 256, func(w *write) error {
		if err := w.batch.DeleteRange(headersLow, headersHigh, nil); err != nil {
			return err
		}
		return w.batch.DeleteRange(partsLow, partsHigh, nil)
	})
}
