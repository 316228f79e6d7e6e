// Package engine is the seam between Sequin and where it keeps things: a Log of blocks for each database, and a State store of small keyed
// values. Every engine passes the suite in enginetest.
//
// What callers may rely on: a write that returned nil survives a power cut; writes to one Log or one call of State.Apply take effect in the
// order given, and a crash leaves a prefix of them. Nothing spans the two: no call changes the log and the state together.
//
// What they may not rely on: a write that returned an error, or whose call has not returned yet, may be visible and may turn out durable.
// Whoever repeats it, or reads what became of it, is right either way.
package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Errors that callers decide on.
var (
	// ErrNotFound reports a key or block that is not there.
	ErrNotFound = errors.New("not found")
	// ErrConflict reports a compare-and-set that lost.
	ErrConflict = errors.New("revision conflict")
	// ErrCorrupt wraps what failed its checksum: the data is damaged, and repeating the read will not help.
	ErrCorrupt = errors.New("corrupt data")
	// ErrNoSpace wraps a write that the storage refused for want of room. Nothing of it took effect that was reported; it may be repeated.
	ErrNoSpace = errors.New("no space left")
	// ErrClosed reports use after Close.
	ErrClosed = errors.New("engine is closed")
	// ErrLocked reports a data directory that another process has open.
	ErrLocked = errors.New("data directory is in use")
)

// DamageError tells which blocks of a log cannot be read: those with From ≤ First ≤ To, as far as the engine can know. Reading goes on with
// Next(To). It wraps ErrCorrupt.
type DamageError struct {
	From, To uint64
	Cause    error
}

func (e *DamageError) Error() string {
	if e.From == e.To {
		return fmt.Sprintf("block %d: %v", e.From, e.Cause)
	}
	return fmt.Sprintf("blocks %d to %d: %v", e.From, e.To, e.Cause)
}

// Unwrap returns ErrCorrupt and the cause.
func (e *DamageError) Unwrap() []error { return []error{ErrCorrupt, e.Cause} }

// Engine owns the storage.
type Engine interface {
	// Log opens the named log, creating it empty. Names are [a-zA-Z0-9_.-]+. The same name gives the same log.
	Log(ctx context.Context, name string) (Log, error)
	// DropLog removes a log and all its blocks.
	DropLog(ctx context.Context, name string) error
	// State is the store of small values.
	State() State
	// Usage tells the room that is taken and left.
	Usage() Usage
	Close() error
}

// Usage is the engine's share of its storage, in bytes.
type Usage struct {
	Used      uint64 // by this engine
	Free      uint64 // left on the storage
	Total     uint64 // size of the storage
	Ephemeral bool   // the storage does not outlive the machine or container (tmpfs, overlay)
}

// Block is a run of log entries in the caller's own format, stored whole. First is the number of its first entry and its key: unique and
// ascending.
type Block struct {
	First uint64
	Data  []byte
}

// Log is an append-only sequence of blocks. One writer appends; any number of readers read.
type Log interface {
	// Append stores the blocks in order and returns when they are durable. A block whose First is already there is replaced, so a repeated
	// append is harmless. It does not keep Data after it returns.
	Append(ctx context.Context, blocks ...Block) error
	// Read returns the block with the greatest First ≤ seq, or ErrNotFound when there is none. The caller owns Data. Damage is a *DamageError,
	// here and in Next and Last.
	Read(ctx context.Context, seq uint64) (Block, error)
	// Next returns the block with the smallest First > seq, or ErrNotFound.
	Next(ctx context.Context, seq uint64) (Block, error)
	// Last returns the block with the greatest First, or ErrNotFound for an empty log.
	Last(ctx context.Context) (Block, error)
	// TrimFront removes every block with First < seq, and gives the room back soon after.
	TrimFront(ctx context.Context, seq uint64) error
	// TrimBack removes every block with First > seq, durably.
	TrimBack(ctx context.Context, seq uint64) error
	// Size is the approximate number of bytes that the blocks take on the storage.
	Size(ctx context.Context) (uint64, error)
}

// Op is one write: Value nil deletes the key.
type Op struct {
	Key   string
	Value []byte
}

// Put writes a value.
func Put(key string, value []byte) Op {
	if value == nil {
		value = []byte{}
	}
	return Op{Key: key, Value: value}
}

// Delete removes a key; one that is not there is fine.
func Delete(key string) Op { return Op{Key: key} }

// Entry is a stored value. Revision grows with every write of the key (across deletes too) and is never 0.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	Deleted  bool // Watch only
}

// State keeps small values (a few kilobytes) under slash-separated keys.
type State interface {
	Get(ctx context.Context, key string) (Entry, error) // ErrNotFound
	// Apply writes ops in order and returns when they are durable; concurrent calls share a sync. A crash leaves a prefix of ops.
	Apply(ctx context.Context, ops ...Op) error
	// CompareAndSet writes value if the key's revision is still revision (0: the key must not exist), durably, and returns the new one, or
	// ErrConflict.
	CompareAndSet(ctx context.Context, key string, revision uint64, value []byte) (uint64, error)
	// List walks the keys with the prefix in byte order, as of the moment the walk begins. The caller owns what it gets. An error ends it.
	List(ctx context.Context, prefix string) iter.Seq2[Entry, error]
	// DeletePrefix removes every key with the prefix.
	DeletePrefix(ctx context.Context, prefix string) error
	// Watch reports writes under the prefix from now on, each once it is durable, until ctx or the engine ends and the channel closes; a slow
	// reader may miss intermediate values of a key, never the last. A value may be reported again. To follow a prefix, Watch first, List then.
	Watch(ctx context.Context, prefix string) <-chan Entry
}
