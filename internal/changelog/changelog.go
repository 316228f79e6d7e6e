// Package changelog is the durable change log of one database: everything the publication sent, in commit order, in blocks that are synced in
// groups.
//
// A Writer takes what the walsender sends and fills blocks; Run syncs them; readers get decoded segments. Every entry has a number (seq), dense
// and ascending for ever, and a position, its identity in the history of the database. What the package promises:
//
//   - Readers see a transaction once the block with its commit is synced, never before, and never a part of it.
//   - Durable never passes an LSN before which something was received that is not synced.
//   - A block is either whole transactions (the first may be the end of a big one) or a part of one transaction. After a crash the parts that
//     lack their commit are cut off, so that replay begins at a transaction boundary, and get the same numbers when they come again.
//   - A damaged, exchanged or missing block is reported as a GapError and never skipped silently. Numbers that were lost are not given again.
//   - Memory is bounded by Options, whatever the size of transactions.
//
// One goroutine writes, any number read. Connections, consumers and the choice of what to retain are left to others. FORMAT.md describes the
// blocks.
package changelog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// ErrEnd reports that no entry with the wanted number or a greater one is visible yet.
var ErrEnd = errors.New("end of the change log")

// Defaults of Options.
const (
	DefaultBlockBytes     = 256 << 10
	DefaultCacheBytes     = 32 << 20
	DefaultMaxChangeBytes = 64 << 20

	queuedBlocks = 16      // blocks between the writer and the storage
	minQueue     = 1 << 20 // bytes
)

// LargestChange is the limit of BlockBytes and MaxChangeBytes.
const LargestChange = 256 << 20

// Options configure a Log.
type Options struct {
	Name           string // for messages
	Blocks         engine.Log
	Logger         *slog.Logger
	BlockBytes     int           // raw size at which a block is full
	CacheBytes     int64         // of decoded blocks kept for readers
	MaxChangeBytes int           // a bigger change becomes a stub
	Linger         time.Duration // how long an idle log waits for more before it syncs a block that is not full
}

// Log is an open change log. It is safe for concurrent use; its Writer is not.
type Log struct {
	name       string
	blocks     engine.Log
	log        *slog.Logger
	blockBytes int
	maxChange  int
	linger     time.Duration

	queue     *queue
	cache     *cache
	relations interned
	loads     loads
	ahead     chan uint64 // numbers to read ahead
	running   atomic.Bool
	report    Report
	tail      chain // of the recovered log; the appender's afterwards

	end       atomic.Pointer[End]
	firstSeq  atomic.Uint64
	endOffset atomic.Uint64 // bytes of all blocks since the log began
	stats     counters

	changedMu sync.Mutex
	changed   chan struct{} // guarded by changedMu; nil until somebody asks

	durableMu sync.Mutex
	epoch     uint32 // guarded by durableMu
	durable   atomic.Uint64
	listeners []func(cdc.LSN) // guarded by durableMu

	writerMu sync.Mutex
	writer   *Writer // guarded by writerMu
	written  written // as recovered

	trimMu sync.Mutex
	oldest header // guarded by trimMu; first 0 when it is not known
}

// written is where a writer goes on.
type written struct {
	seq   uint64
	final cdc.LSN
	epoch uint32
}

// End is the newest entry that is durable and visible.
type End struct {
	Seq        uint64
	Position   cdc.Position
	CommitEnd  cdc.LSN // end LSN of the last durable commit
	CommitTime cdc.Timestamp
}

// Open recovers the log from its tail: it cuts off an incomplete transaction, checks the newest block, and records what was lost.
func Open(ctx context.Context, o Options) (*Log, error) {
	if o.Blocks == nil {
		return nil, errors.New("open change log: no storage")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.BlockBytes = orDefault(o.BlockBytes, DefaultBlockBytes)
	o.CacheBytes = orDefault(o.CacheBytes, DefaultCacheBytes)
	o.MaxChangeBytes = orDefault(o.MaxChangeBytes, DefaultMaxChangeBytes)
	if o.BlockBytes > LargestChange || o.MaxChangeBytes > LargestChange {
		return nil, fmt.Errorf("open change log %q: block and change sizes are limited to %d bytes", o.Name, LargestChange)
	}
	l := &Log{
		name: o.Name, blocks: o.Blocks, log: o.Logger.With("log", o.Name),
		blockBytes: o.BlockBytes, maxChange: o.MaxChangeBytes, linger: o.Linger,
		queue: newQueue(max(queuedBlocks*o.BlockBytes, minQueue), o.BlockBytes+frameOverhead),
		cache: newCache(o.CacheBytes),
		ahead: make(chan uint64, readAhead),
	}
	if err := l.recover(ctx); err != nil {
		return nil, fmt.Errorf("open change log %q: %w", o.Name, err)
	}
	return l, nil
}

func orDefault[T int | int64](n, otherwise T) T {
	if n <= 0 {
		return otherwise
	}
	return n
}

// End returns the newest entry that readers can see.
func (l *Log) End() End { return *l.end.Load() }

// FirstSeq is the first number that is retained, or the one to come in an empty log.
func (l *Log) FirstSeq() uint64 { return l.firstSeq.Load() }

// Changed returns a channel that is closed at the next advance of End.
func (l *Log) Changed() <-chan struct{} {
	l.changedMu.Lock()
	defer l.changedMu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// Wait returns once End().Seq is greater than after.
func (l *Log) Wait(ctx context.Context, after uint64) error {
	for l.end.Load().Seq <= after {
		changed := l.Changed()
		if l.end.Load().Seq > after {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// advanceEnd makes what was synced visible and wakes who waits for it.
func (l *Log) advanceEnd(end End) {
	l.end.Store(&end)
	l.changedMu.Lock()
	changed := l.changed
	l.changed = nil
	l.changedMu.Unlock()
	if changed != nil {
		close(changed)
	}
}

// Durable is the highest LSN such that everything received before it is synced; 0 when nothing is known in the writer's epoch.
func (l *Log) Durable() cdc.LSN { return cdc.LSN(l.durable.Load()) }

// OnDurable has f called after each advance of Durable. It is called from the goroutines that write and sync, one call at a time, and must not
// block.
func (l *Log) OnDurable(f func(cdc.LSN)) {
	l.durableMu.Lock()
	defer l.durableMu.Unlock()
	l.listeners = append(l.listeners, f)
}

func (l *Log) advanceDurable(epoch uint32, lsn cdc.LSN) {
	l.durableMu.Lock()
	defer l.durableMu.Unlock()
	if epoch != l.epoch || uint64(lsn) <= l.durable.Load() {
		return
	}
	l.durable.Store(uint64(lsn))
	for _, f := range l.listeners {
		f(lsn)
	}
}

// newEpoch forgets how far the earlier history was durable: its LSNs say nothing about the new one.
func (l *Log) newEpoch(epoch uint32) {
	l.durableMu.Lock()
	defer l.durableMu.Unlock()
	if epoch > l.epoch {
		l.epoch = epoch
		l.durable.Store(0)
	}
}
