package capture

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

// Writer is the part of the change log that capture writes to; *changelog.Writer is one.
type Writer interface {
	Relation(rel *cdc.Relation)
	Begin(xid uint32, final cdc.LSN, commit cdc.Timestamp) (skip bool)
	Change(op cdc.Op, sourceID uint32, oldKind byte, old, new cdc.Tuple) error
	TooBig(op cdc.Op, sourceID uint32, size int) error
	Truncate(sourceIDs []uint32, cascade, restart bool) error
	Message(prefix string, content []byte) error
	Commit(end cdc.LSN) error
	Mark(lsn cdc.LSN)
	Flush()
	Abort()
	// Interrupt makes a call that waits for room return cause.
	Interrupt(cause error)
}

// Prefixes of the logical messages that Sequin itself sends, and the limit of what waits for a transaction's first row.
const (
	ownPrefix        = "sequin"
	maxWaitingBytes  = 1 << 20
	maxContentLogged = 1 << 20
)

// counters are written by the reader alone and read by anybody.
type counters struct {
	messages     atomic.Uint64 // pgoutput messages
	changes      atomic.Uint64 // inserts, updates, deletes, truncated relations
	bytes        atomic.Uint64
	transactions atomic.Uint64
	unknown      atomic.Uint64 // messages of a kind we do not know
	tooBig       atomic.Uint64
	skipped      atomic.Uint64 // transactions that the log had already
	received     atomic.Int64  // Unix microseconds of the last sign of life
	moved        atomic.Int64  // Unix microseconds of the last part of a transaction
	committed    atomic.Int64  // commit time of the last transaction, cdc.Timestamp
	latency      atomic.Int64  // microseconds from emitting a heartbeat to seeing it; -1 before the first
	heartbeat    atomic.Int64  // Unix microseconds when the last heartbeat came back
}

// HandlerOptions wire a Handler.
type HandlerOptions struct {
	Writer Writer
	// Relations joins what the server says of a table with the catalog.
	Relations func(ctx context.Context, rel pgoutput.Relation) (*cdc.Relation, error)
	Logger    *slog.Logger
	Counters  *counters                        // nil for none
	Pass      func(ctx context.Context) error  // called before each transaction, may wait; nil for always
	Keepalive func(walEnd cdc.LSN, reply bool) // nil for nothing
	Marks     *marks                           // who waits for watermarks, and what has committed; nil for nobody
}

// Handler turns pgoutput messages into log entries. It lives for one connection and is used by one goroutine.
type Handler struct {
	ctx  context.Context //nolint:containedctx // the stream's calls carry none, and a handler lives no longer than its stream
	opts HandlerOptions
	w    Writer

	count   *counters
	open    bool // between BEGIN and COMMIT
	skip    bool // the open transaction is in the log already
	rows    bool // the open transaction has reached the log
	waiting []waitingMessage
	held    int // bytes of waiting
	warned  [256]bool

	truncated []uint32
	xid       uint32   // of the open transaction
	final     cdc.LSN  // of its commit
	passed    []string // watermarks in it
	own       ownTables
	drained   uint64 // messages that had come when the socket was last empty

	complete atomic.Uint64 // LSN up to which everything was handed to the writer
}

// Complete is the LSN up to which everything received was handed to the writer whole.
func (h *Handler) Complete() cdc.LSN { return cdc.LSN(h.complete.Load()) }

// NewHandler makes a handler whose calls end with ctx.
func NewHandler(ctx context.Context, opts HandlerOptions) *Handler {
	h := &Handler{ctx: ctx, opts: opts, w: opts.Writer, count: opts.Counters}
	if h.count == nil {
		h.count = &counters{}
	}
	return h
}

// waitingMessage is a logical message that came before its transaction's first row. A transaction of nothing else (a heartbeat, another
// tool's signal) never reaches the log.
type waitingMessage struct {
	prefix  string
	content []byte
}

// Data handles one pgoutput message.
func (h *Handler) Data(msg []byte) error {
	h.count.messages.Add(1)
	h.count.bytes.Add(uint64(len(msg)))
	switch pgoutput.Kind(msg) {
	case 'I':
		return h.insert(msg)
	case 'U':
		return h.update(msg)
	case 'D':
		return h.delete(msg)
	case 'B':
		return h.begin(msg)
	case 'C':
		return h.commit(msg)
	case 'R':
		return h.relation(msg)
	case 'T':
		return h.truncate(msg)
	case 'M':
		return h.message(msg)
	case 'Y', 'O':
		return nil // types are read from the catalog; an origin changes nothing of what its transaction did
	case 0:
		return nil
	default:
		h.unknown(msg[0])
		return nil
	}
}

// unknown counts a message that we never asked for, such as a stray stream abort of Postgres 18, and goes on.
func (h *Handler) unknown(kind byte) {
	h.count.unknown.Add(1)
	if !h.warned[kind] {
		h.warned[kind] = true
		h.opts.Logger.Warn("the server sent a message of a kind that was not asked for; it is ignored", "kind", string(rune(kind)))
	}
}

func (h *Handler) begin(msg []byte) error {
	b, err := pgoutput.ParseBegin(msg)
	if err != nil {
		return err
	}
	h.count.moved.Store(h.received())
	if h.opts.Pass != nil {
		if err := h.opts.Pass(h.ctx); err != nil {
			return err
		}
	}
	h.open, h.rows = true, false
	h.xid, h.final, h.passed = b.XID, b.FinalLSN, h.passed[:0]
	h.waiting, h.held = h.waiting[:0], 0
	h.skip = h.w.Begin(b.XID, b.FinalLSN, b.CommitTime)
	if h.skip {
		h.count.skipped.Add(1)
	}
	return nil
}

func (h *Handler) commit(msg []byte) error {
	c, err := pgoutput.ParseCommit(msg)
	if err != nil {
		return err
	}
	h.open = false
	if h.opts.Marks != nil && (h.rows || h.skip) {
		h.opts.Marks.committed(h.xid)
	}
	h.count.transactions.Add(1)
	h.count.committed.Store(int64(c.CommitTime))
	if h.skip {
		h.skip = false
		h.w.Mark(c.EndLSN)
	} else if err := h.w.Commit(c.EndLSN); err != nil {
		return err
	}
	h.complete.Store(uint64(c.EndLSN))
	for _, id := range h.passed {
		h.opts.Marks.passed(id, Mark{Commit: h.final, End: c.EndLSN})
	}
	return nil
}

func (h *Handler) insert(msg []byte) error {
	if h.skip {
		return nil
	}
	m, err := pgoutput.ParseInsert(msg)
	if err != nil {
		return err
	}
	if h.own.has(m.RelationID) {
		return h.ownRow(m.RelationID, m.New)
	}
	if err := h.row(); err != nil {
		return err
	}
	return h.w.Change(cdc.OpInsert, m.RelationID, 0, nil, m.New)
}

func (h *Handler) update(msg []byte) error {
	if h.skip {
		return nil
	}
	m, err := pgoutput.ParseUpdate(msg)
	if err != nil {
		return err
	}
	if h.own.has(m.RelationID) {
		return h.ownRow(m.RelationID, m.New)
	}
	if err := h.row(); err != nil {
		return err
	}
	return h.w.Change(cdc.OpUpdate, m.RelationID, m.OldKind, m.Old, m.New)
}

func (h *Handler) delete(msg []byte) error {
	if h.skip {
		return nil
	}
	m, err := pgoutput.ParseDelete(msg)
	if err != nil {
		return err
	}
	if h.own.has(m.RelationID) {
		return h.ownRow(m.RelationID, nil)
	}
	if err := h.row(); err != nil {
		return err
	}
	return h.w.Change(cdc.OpDelete, m.RelationID, m.OldKind, m.Old, nil)
}

func (h *Handler) truncate(msg []byte) error {
	if h.skip {
		return nil
	}
	m, err := pgoutput.ParseTruncate(msg)
	if err != nil {
		return err
	}
	h.truncated = m.AppendRelationIDs(h.truncated[:0])
	named := len(h.truncated)
	if h.truncated = slices.DeleteFunc(h.truncated, h.own.has); named > 0 && len(h.truncated) == 0 {
		return h.ownRow(0, nil)
	}
	if err := h.row(); err != nil {
		return err
	}
	h.count.changes.Add(uint64(max(len(h.truncated)-1, 0)))
	return h.w.Truncate(h.truncated, m.Cascade, m.RestartIdentity)
}

// row counts a change and lets the messages before it through.
func (h *Handler) row() error {
	h.count.changes.Add(1)
	h.rows = true
	return h.release()
}

func (h *Handler) release() error {
	for i := range h.waiting {
		if err := h.w.Message(h.waiting[i].prefix, h.waiting[i].content); err != nil {
			return err
		}
		h.waiting[i] = waitingMessage{}
	}
	h.waiting, h.held = h.waiting[:0], 0
	return nil
}

// relation joins what the server says of a table with the catalog. It counts in a transaction that is skipped too: the server sends a relation
// once for each connection.
func (h *Handler) relation(msg []byte) error {
	m, err := pgoutput.ParseRelation(msg)
	if err != nil {
		return err
	}
	rel, err := h.opts.Relations(h.ctx, m)
	if err != nil {
		return fmt.Errorf("read the catalog for table %s.%s: %w", m.Schema, m.Name, err)
	}
	h.w.Relation(rel)
	h.own.note(m)
	return nil
}

// message handles a logical message. One outside a transaction has no place in its order and is never delivered; one inside counts as an
// entry of its transaction.
func (h *Handler) message(msg []byte) error {
	m, err := pgoutput.ParseMessage(msg)
	if err != nil {
		return err
	}
	h.ours(m.Prefix, m.Content)
	if !m.Transactional || !h.open || h.skip {
		return nil
	}
	return h.logical(m.Prefix, m.Content)
}

// logical puts a message into its place in the transaction.
func (h *Handler) logical(prefix string, content []byte) error {
	if !strings.HasPrefix(prefix, ownPrefix) || len(content) > maxContentLogged {
		content = nil // of other tools' messages, and of absurd ones, only their place in the transaction matters
	}
	if h.rows {
		return h.w.Message(prefix, content)
	}
	h.waiting = append(h.waiting, waitingMessage{strings.Clone(prefix), append([]byte(nil), content...)})
	if h.held += len(prefix) + len(content) + 64; h.held > maxWaitingBytes {
		h.rows = true
		return h.release()
	}
	return nil
}

// ours looks at a message that Sequin may have sent itself.
func (h *Handler) ours(prefix string, content []byte) {
	switch prefix {
	case postgres.HeartbeatPrefix:
		h.heartbeat(content)
	case postgres.WatermarkPrefix:
		if mark, err := postgres.ParseWatermark(content); err == nil && h.open && h.opts.Marks != nil { // else another tool's idea of one
			h.passed = append(h.passed, mark.ID)
		}
	}
}

func (h *Handler) heartbeat(content []byte) {
	beat, err := postgres.ParseHeartbeat(content)
	if err != nil || beat.EmittedAt.IsZero() {
		return // another tool's idea of a heartbeat
	}
	now := time.Now()
	h.count.heartbeat.Store(now.UnixMicro())
	h.count.latency.Store(max(now.Sub(beat.EmittedAt).Microseconds(), 0))
}

// TooBig logs a stub for a change that was read past.
func (h *Handler) TooBig(kind byte, relation uint32, size int) error {
	if h.skip {
		return nil
	}
	switch op := cdc.Op(kind); op {
	case cdc.OpInsert, cdc.OpUpdate, cdc.OpDelete:
		if h.own.has(relation) {
			return h.ownRow(relation, nil)
		}
		h.count.tooBig.Add(1)
		h.opts.Logger.Warn("a change exceeds the size limit and becomes a dead letter of each consumer that wants it", "bytes", size, "op", op.Action())
		if err := h.row(); err != nil {
			return err
		}
		return h.w.TooBig(op, relation, size)
	case cdc.OpMessage:
		// In a logical message the flags stand where a change has its relation; the lowest one says transactional.
		if transactional := relation>>24&1 == 1; !transactional || !h.open {
			return nil
		}
		if err := h.release(); err != nil {
			return err
		}
		h.rows = true
		return h.w.Message("", nil)
	default:
		return fmt.Errorf("a message of kind %q with %d bytes exceeds the size limit", kind, size)
	}
}

// Keepalive queues the server's WAL end behind what was received before it.
func (h *Handler) Keepalive(walEnd cdc.LSN, reply bool) {
	h.received()
	if !h.open {
		h.w.Mark(walEnd)
	}
	if h.opts.Keepalive != nil {
		h.opts.Keepalive(walEnd, reply)
	}
}

// Drained hands over what is complete.
func (h *Handler) Drained() {
	now := h.received()
	if n := h.count.messages.Load(); n != h.drained {
		h.drained = n
		h.count.moved.Store(now)
	}
	h.w.Flush()
}

// received notes a sign of life and returns its time in Unix microseconds.
func (h *Handler) received() int64 {
	now := time.Now().UnixMicro()
	h.count.received.Store(now)
	return now
}
