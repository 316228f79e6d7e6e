package changelog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sequinstream/sequin/internal/engine"
)

const (
	readAhead    = 16 // requests that may wait
	aheadWorkers = 2
)

// GapError reports numbers whose content is lost: a block that is damaged, missing, or not the one that belongs there. Reading goes on at To+1.
type GapError struct {
	From, To uint64
	Cause    error
}

func (e *GapError) Error() string {
	return fmt.Sprintf("change log entries %d to %d are lost: %v", e.From, e.To, e.Cause)
}

func (e *GapError) Unwrap() error { return e.Cause }

// Causes of a gap that are not damage.
var (
	errMissing  = fmt.Errorf("%w: no block holds them", errDamaged)
	errRecorded = fmt.Errorf("%w: found when the log was opened", errDamaged)
	errChain    = fmt.Errorf("%w: it does not follow its predecessor", errDamaged)
)

// Segment returns the decoded block that holds seq or, when seq is no longer retained, the first one that is. It returns ErrEnd when nothing
// from seq on is visible yet, and a *GapError when what seq stands for is lost.
func (l *Log) Segment(ctx context.Context, seq uint64) (*Segment, error) {
	for {
		seq = max(seq, l.FirstSeq())
		if seq > l.end.Load().Seq {
			return nil, ErrEnd
		}
		e := l.cache.find(seq)
		if e != nil {
			l.stats.hits.Add(1)
		} else {
			l.stats.misses.Add(1)
			var err error
			if e, err = l.load(ctx, seq); err != nil {
				if seq < l.FirstSeq() {
					continue // trimmed meanwhile
				}
				return nil, l.readError(err)
			}
		}
		seg, err := l.decoded(e)
		if err != nil {
			return nil, l.readError(&GapError{From: seq, To: e.last, Cause: err})
		}
		if !e.fresh {
			l.readAhead(e.last + 1)
		}
		return seg, nil
	}
}

func (l *Log) readError(err error) error {
	if gap, ok := errors.AsType[*GapError](err); ok {
		l.stats.gaps.Add(1)
		return gap
	}
	return err
}

// decoded decodes e once for all readers.
func (l *Log) decoded(e *entry) (*Segment, error) {
	e.once.Do(func() {
		e.seg, e.err = decode(&e.header, e.raw, &l.relations)
		e.raw = nil
		l.cache.decoded(e)
	})
	return e.seg, e.err
}

// loads makes readers who want the same block share one read.
type loads struct {
	mu      sync.Mutex
	running map[uint64]*load // guarded by mu
}

type load struct {
	done  chan struct{}
	entry *entry
	err   error
}

// load reads the block that holds seq from the storage, unless another reader is at it.
func (l *Log) load(ctx context.Context, seq uint64) (*entry, error) {
	for {
		l.loads.mu.Lock()
		other, ok := l.loads.running[seq]
		if !ok {
			break
		}
		l.loads.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if other.err == nil || !isCanceled(other.err) {
			return other.entry, other.err
		}
	}
	own := &load{done: make(chan struct{})}
	if l.loads.running == nil {
		l.loads.running = make(map[uint64]*load)
	}
	l.loads.running[seq] = own
	l.loads.mu.Unlock()

	own.entry, own.err = l.fetch(ctx, seq)
	l.loads.mu.Lock()
	delete(l.loads.running, seq)
	l.loads.mu.Unlock()
	close(own.done)
	return own.entry, own.err
}

func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// fetch reads, checks and caches the block that holds seq, which is visible.
func (l *Log) fetch(ctx context.Context, seq uint64) (*entry, error) {
	b, err := l.blocks.Read(ctx, seq)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil, l.gap(ctx, seq, 0, errMissing)
	case errors.Is(err, engine.ErrCorrupt):
		return nil, l.gap(ctx, seq, damageEnd(seq, err), err)
	case err != nil:
		return nil, fmt.Errorf("read the change log at %d: %w", seq, err)
	}
	h, err := parseBlock(b)
	switch {
	case isVersion(err):
		return nil, err
	case err != nil:
		return nil, l.gap(ctx, seq, b.First, err)
	case h.lost() && h.last >= seq:
		return nil, &GapError{From: seq, To: min(h.last, l.end.Load().Seq), Cause: errRecorded}
	case h.last < seq:
		return nil, l.gap(ctx, seq, b.First, errMissing)
	}
	if err := l.follows(ctx, &h); err != nil {
		if errors.Is(err, errChain) {
			return nil, &GapError{From: seq, To: h.last, Cause: err}
		}
		return nil, err
	}
	raw, err := unpack(&h, b.Data)
	if err != nil {
		return nil, &GapError{From: seq, To: h.last, Cause: err}
	}
	return l.cache.add(newEntry(h, raw, false)), nil
}

// follows checks that h names the block before it by its checksum.
func (l *Log) follows(ctx context.Context, h *header) error {
	if h.prev == 0 || h.first <= l.FirstSeq() {
		return nil
	}
	sum, ok := l.cache.linkTo(h.first - 1)
	if !ok {
		b, err := l.blocks.Read(ctx, h.first-1)
		switch {
		case errors.Is(err, engine.ErrNotFound), errors.Is(err, engine.ErrCorrupt):
			return nil // trimmed meanwhile, or a gap that its own readers are told about
		case err != nil:
			return fmt.Errorf("read the change log at %d: %w", h.first-1, err)
		}
		p, ok := intactHeader(b)
		if !ok || p.last != h.first-1 {
			return nil // likewise
		}
		sum = p.sum
		l.cache.remember(p.last, p.sum)
	}
	if sum != h.prev {
		return errChain
	}
	return nil
}

// gap tells how far the loss at seq reaches: up to the next block behind the key after, as far as it is visible.
func (l *Log) gap(ctx context.Context, seq, after uint64, cause error) error {
	end := l.end.Load().Seq
	next, err := l.nextFirst(ctx, after)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return &GapError{From: seq, To: end, Cause: cause}
	case err != nil:
		return fmt.Errorf("read the change log behind %d: %w", seq, err)
	}
	return &GapError{From: seq, To: max(seq, min(next-1, end)), Cause: cause}
}

// nextFirst is the key of the next block behind after. A block that is damaged itself counts: its readers are told when they get there.
func (l *Log) nextFirst(ctx context.Context, after uint64) (uint64, error) {
	for {
		b, err := l.blocks.Next(ctx, after)
		if err == nil {
			return b.First, nil
		}
		var damage *engine.DamageError
		if !errors.As(err, &damage) {
			return 0, err
		}
		if damage.From == damage.To {
			return damage.From, nil
		}
		if damage.To <= after {
			return 0, err
		}
		after = damage.To // a stretch in which no block can be found
	}
}

// damageEnd is how far the damage reaches that the storage met at seq.
func damageEnd(seq uint64, err error) uint64 {
	if damage, ok := errors.AsType[*engine.DamageError](err); ok {
		return max(seq, damage.To)
	}
	return seq
}

// readAhead asks for the block at seq to be there when its reader comes. Requests beyond what the workers can take are dropped.
func (l *Log) readAhead(seq uint64) {
	if seq > l.end.Load().Seq || l.cache.peek(seq) != nil || !l.running.Load() {
		return
	}
	select {
	case l.ahead <- seq:
	default:
	}
}

// readAheadLoop reads and decodes what lagging readers want next. Errors are for those readers themselves to meet.
func (l *Log) readAheadLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case seq := <-l.ahead:
			if l.cache.peek(seq) != nil {
				continue
			}
			if e, err := l.load(ctx, seq); err == nil {
				_, _ = l.decoded(e)
			}
		}
	}
}
