// Package cdc holds what flows through Sequin: log sequence numbers, positions, relations, rows and changes. It is pure data: it knows the
// wire form of a row (PostgreSQL manual, chapter "Logical Replication Message Formats", TupleData) and nothing of connections, storage or
// delivery. Values alias the buffers they were read from; whoever keeps one longer than its buffer copies it.
package cdc

import (
	"encoding/base64"
	"strconv"
	"sync/atomic"
	"time"
)

// Op says what happened to a row, with the letter that pgoutput uses for it where there is one.
type Op byte

// The operations a change can stand for.
const (
	OpInsert   Op = 'I'
	OpUpdate   Op = 'U'
	OpDelete   Op = 'D'
	OpTruncate Op = 'T'
	OpMessage  Op = 'M' // a transactional logical message; counted, never delivered as a row
	OpRead     Op = 'R' // a row read by a backfill
)

// Action is the word for the operation in a message: insert, update, delete, truncate, read or message.
func (o Op) Action() string {
	switch o {
	case OpInsert:
		return "insert"
	case OpUpdate:
		return "update"
	case OpDelete:
		return "delete"
	case OpTruncate:
		return "truncate"
	case OpMessage:
		return "message"
	case OpRead:
		return "read"
	}
	return "unknown"
}

// Timestamp counts microseconds since the Unix epoch, UTC.
type Timestamp int64

// postgresEpoch is 2000-01-01 00:00:00 UTC in microseconds since the Unix epoch.
const postgresEpoch = 946684800 * 1e6

// FromPostgres converts the server's count of microseconds since 2000-01-01.
func FromPostgres(microseconds int64) Timestamp { return Timestamp(microseconds + postgresEpoch) }

// Time is the same instant as a time.Time in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMicro(int64(t)).UTC() }

// Position is a change's identity for ever: the commit LSN of its transaction (from BEGIN) and its index among everything that the
// transaction sent. Epoch 0 is the history the log began with; it rises when a gap with another or diverged history is accepted.
type Position struct {
	LSN   LSN
	Index uint32
	Epoch uint32
}

// Compare orders positions by epoch, then LSN, then index.
func (p Position) Compare(q Position) int {
	switch {
	case p.Epoch != q.Epoch:
		if p.Epoch < q.Epoch {
			return -1
		}
		return 1
	case p.LSN != q.LSN:
		if p.LSN < q.LSN {
			return -1
		}
		return 1
	case p.Index != q.Index:
		if p.Index < q.Index {
			return -1
		}
		return 1
	}
	return 0
}

// AppendKey appends the plain text behind the idempotency key: "lsn:index", with ":e<epoch>" in later epochs.
func (p Position) AppendKey(dst []byte) []byte {
	dst = strconv.AppendUint(dst, uint64(p.LSN), 10)
	dst = append(dst, ':')
	dst = strconv.AppendUint(dst, uint64(p.Index), 10)
	if p.Epoch > 0 {
		dst = append(dst, ":e"...)
		dst = strconv.AppendUint(dst, uint64(p.Epoch), 10)
	}
	return dst
}

// IdempotencyKey is the padded Base64 form that consumers see.
func (p Position) IdempotencyKey() string {
	return base64.StdEncoding.EncodeToString(p.AppendKey(nil))
}

// Change is one decoded entry of the change log. Seq is the log's own monotone number; every entry that consumes an index in its
// transaction has one, logical messages included. Relation, Annotations and the tuples alias the block that they were decoded from.
type Change struct {
	Seq         uint64
	Position    Position
	Op          Op
	OldKind     byte      // 0 none, 'K' key columns only, 'O' the whole old row (replica identity FULL)
	TooBig      bool      // the change exceeded the size limit; its tuples were not kept
	XID         uint32    // of the top-level transaction
	CommitTime  Timestamp // of the transaction
	Relation    *Relation // nil for OpMessage
	Old         Tuple     // nil unless OldKind says otherwise
	New         Tuple     // nil for delete, truncate and message
	Annotations []byte    // transaction annotations in force, JSON; nil for none
	Prefix      string    // OpMessage: the message's; OpRead: the backfill's id
	Content     []byte    // OpMessage only
	Size        int       // bytes on the wire, for budgets; the true size of a change that was too big
	TruncateN   int       // OpTruncate: how many relations the statement truncated (more than one adds ":t<oid>" to the key)

	// Encoded caches the message's JSON without its per-consumer tail, one slot for each encoding variant. It belongs to package message:
	// whoever encodes first stores, later readers of the same decoded block share.
	Encoded [Variants]atomic.Pointer[[]byte]
}

// Variants is the number of different encodings a change can have in the cache: timestamp format × unchanged TOAST rendering.
const Variants = 4

// IdempotencyKey is the change's key as consumers see it (Position.IdempotencyKey, told apart by table for a multi-table TRUNCATE).
func (c *Change) IdempotencyKey() string {
	return base64.StdEncoding.EncodeToString(c.AppendKey(nil))
}

// AppendKey appends the plain text behind IdempotencyKey: that of the position; for a row that was read, "backfill:key1:key2", and where the table
// has no primary key the position behind the backfill, which is another when the row is read again.
func (c *Change) AppendKey(dst []byte) []byte {
	if c.Op == OpRead {
		return c.appendReadKey(dst)
	}
	dst = c.Position.AppendKey(dst)
	if c.Op == OpTruncate && c.TruncateN > 1 && c.Relation != nil {
		dst = append(dst, ":t"...)
		dst = strconv.AppendUint(dst, uint64(c.Relation.SourceID), 10)
	}
	return dst
}

func (c *Change) appendReadKey(dst []byte) []byte {
	dst = append(dst, c.Prefix...)
	if c.Relation == nil || len(c.Relation.PrimaryKey) == 0 {
		return c.Position.AppendKey(append(dst, ':'))
	}
	for _, i := range c.Relation.PrimaryKey {
		d, _ := c.New.Column(i)
		dst = append(append(dst, ':'), d.Text...)
	}
	return dst
}
