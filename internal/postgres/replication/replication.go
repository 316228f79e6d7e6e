// Package replication is the streaming loop of one slot: START_REPLICATION, the frames that come back, keepalives and feedback (PostgreSQL
// manual, "Streaming Replication Protocol"). It reads large chunks, parses frames where they lie and hands each pgoutput message to a
// Handler in order, without copying. Feedback runs on its own goroutine: a Handler that blocks stops the reading, never the feedback, so the
// server's wal_sender_timeout does not fire because of us. What may be confirmed is the caller's word alone; nothing here invents an LSN.
package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Handler receives the stream. Calls come from one goroutine, in the order of the stream.
type Handler interface {
	// Data is one pgoutput message, valid during the call.
	Data(msg []byte) error
	// TooBig reports a message over Options.MaxMessage that was read past: its pgoutput kind, the relation if it has one, its size in bytes.
	TooBig(kind byte, relation uint32, size int) error
	// Keepalive is the server's WAL end as of everything received so far; reply says that the server waits to hear what is safe.
	Keepalive(walEnd cdc.LSN, reply bool)
	// Drained says that the socket is empty for now.
	Drained()
}

// Options of a stream.
type Options struct {
	Slot         string
	Publications []string
	Start        cdc.LSN // 0: from the slot's own confirmed position
	Messages     bool    // ask for logical messages (server 14 or newer)
	MaxMessage   int     // larger pgoutput messages are drained and reported by TooBig; 0 for 64 MiB
	ReadBuffer   int     // bytes read at once; 0 for 256 KiB
	// Confirmed is the LSN up to which everything is safe. It must not block.
	Confirmed func() cdc.LSN
	// Advanced is signalled when Confirmed may have moved; a capacity of 1 is enough.
	Advanced <-chan struct{}
	// StatusInterval is the longest time between two status updates; 0 for 10 s. A sixth of wal_sender_timeout or less is safe.
	StatusInterval time.Duration
	// NoNaps keeps the reader from sleeping when it has emptied the socket while far behind, which lets the kernel gather more for each
	// wake-up. Light traffic is not affected.
	NoNaps bool
	// Started is called when the server has begun to stream and the slot is ours, before anything is read or confirmed; an error ends the stream.
	// May be nil.
	Started func() error
	// Idle is called with true before and with false after each wait for input; may be nil.
	Idle func(bool)
	// Closing is called when ctx has ended and the reading has stopped, before the last status update: the place to sync what is complete.
	Closing func()
	Logger  *slog.Logger
}

const (
	defaultMaxMessage = 64 << 20
	defaultReadBuffer = 256 << 10
	defaultStatus     = 10 * time.Second

	// statusGap is the shortest time between two status updates that only report progress.
	statusGap = 20 * time.Millisecond

	// farewellTime is how long the server may take to answer the end of the copy.
	farewellTime = time.Second

	// backlogAge is how old a change must be when the server sends it for the stream to count as catching up.
	backlogAge = 100 * time.Millisecond
)

// ErrEnded reports that the server ended the stream in an orderly way, as it does on shutdown.
var ErrEnded = errors.New("the server ended the replication stream")

// Stream takes over conn, an idle connection in replication mode, and runs START_REPLICATION until ctx ends (it then reports the last
// confirmed LSN, closes and returns nil) or the stream breaks. conn is closed in every case.
func Stream(ctx context.Context, conn *pgconn.PgConn, opts Options, h Handler) error {
	opts = opts.withDefaults()
	hijacked, err := conn.Hijack()
	if err != nil {
		return fmt.Errorf("take over the replication connection: %w", err)
	}
	w, err := newWire(hijacked.Conn)
	if err != nil {
		return fmt.Errorf("take over the replication socket: %w", err)
	}
	defer w.close()

	s := &stream{wire: w, opts: opts, handler: h, in: newFrames(w, opts.ReadBuffer, opts.MaxMessage)}
	stop := context.AfterFunc(ctx, w.interrupt)
	defer stop()
	if err := s.start(startCommand(opts)); err != nil {
		return s.outcome(ctx, err)
	}
	if opts.Started != nil {
		if err := opts.Started(); err != nil {
			return s.outcome(ctx, err)
		}
	}
	fb := newFeedback(w, opts)
	s.reply, s.waits = fb.request, &fb.waits
	done := make(chan error, 1)
	// The feedback outlives ctx: the last confirmed LSN is sent after the reader has stopped.
	fbCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() { done <- fb.run(fbCtx) }()
	err = s.loop(ctx)
	cancel()
	if fbErr := <-done; fbErr != nil && ctx.Err() == nil && errors.Is(err, errInterrupted) {
		err = fbErr // it interrupted the reading
	}
	if ctx.Err() != nil && !isClosed(err) { // whether the reading was broken off or a handler gave up
		if opts.Closing != nil {
			opts.Closing()
		}
		if fb.farewell() == nil {
			s.awaitEnd()
		}
	}
	return s.outcome(ctx, err)
}

func (o Options) withDefaults() Options {
	if o.MaxMessage == 0 {
		o.MaxMessage = defaultMaxMessage
	}
	if o.ReadBuffer == 0 {
		o.ReadBuffer = defaultReadBuffer
	}
	if o.StatusInterval == 0 {
		o.StatusInterval = defaultStatus
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// startCommand builds START_REPLICATION with the slot as an identifier and the options as literals.
func startCommand(o Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "START_REPLICATION SLOT %s LOGICAL %s (proto_version '1', publication_names %s",
		quoteIdent(o.Slot), o.Start, quoteLiteral(identList(o.Publications)))
	if o.Messages {
		b.WriteString(", messages 'true'")
	}
	b.WriteString(")")
	return b.String()
}

func identList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteIdent(n)
	}
	return strings.Join(quoted, ",")
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func quoteLiteral(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }

type stream struct {
	wire    *wire
	in      *frames
	opts    Options
	handler Handler
	reply   func()        // asks the feedback goroutine for a status update at once
	waits   *atomic.Int64 // since when the reader waits for input, in Unix nanoseconds; 0 while it does not

	committed int64 // when the transaction that comes in was committed, in microseconds of the server's clock; 0 between transactions
	behind    bool  // what the server sends is old
	got       int   // bytes read since the last nap
}

// start sends the command and waits for the server to switch to copy mode.
func (s *stream) start(command string) error {
	query, err := (&pgproto3.Query{String: command}).Encode(nil)
	if err != nil {
		return fmt.Errorf("encode START_REPLICATION: %w", err)
	}
	if err := s.wire.write(query); err != nil {
		return fmt.Errorf("send START_REPLICATION: %w", err)
	}
	for {
		kind, body, err := s.in.next()
		if err != nil {
			return err
		}
		switch kind {
		case 'W':
			return nil
		case 'E':
			return fmt.Errorf("start replication on slot %q: %w", s.opts.Slot, serverError(body))
		case 'N', 'S':
		default:
			return fmt.Errorf("start replication on slot %q: unexpected message %q", s.opts.Slot, kind)
		}
	}
}

// loop reads frames until the stream ends.
func (s *stream) loop(ctx context.Context) error {
	for {
		kind, body, err := s.in.buffered()
		if errors.Is(err, errNeedMore) {
			if err := s.more(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := s.frame(kind, body); err != nil {
			return err
		}
	}
}

// more fetches bytes: what is there at once, else it tells the handler that the socket is empty and waits. While far behind it first naps, so
// that the server's next sends find no sleeper to wake and gather in the kernel.
func (s *stream) more(ctx context.Context) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	n, err := s.in.tryFill()
	s.got += n
	if n > 0 || err != nil {
		return err
	}
	if s.behind && !s.opts.NoNaps && s.wire.nap(s.got) {
		s.got, err = s.in.tryFill()
		if s.got > 0 || err != nil {
			return err
		}
	}
	s.handler.Drained()
	s.idle(true)
	err = s.in.fill()
	s.idle(false)
	return err
}

// idle notes that a wait for input begins or ends. While the reader is busy with what has come, the server is not silent.
func (s *stream) idle(waits bool) {
	if waits {
		s.waits.Store(time.Now().UnixNano())
	} else {
		s.waits.Store(0)
	}
	if s.opts.Idle != nil {
		s.opts.Idle(waits)
	}
}

// awaitEnd reads on, dropping what comes, until the server has answered the end of the copy: closing a TCP socket with unread bytes resets it,
// and a server that meets the reset first never reads our last status update.
func (s *stream) awaitEnd() {
	s.wire.last = time.Now().Add(farewellTime)
	for time.Now().Before(s.wire.last) {
		kind, _, err := s.in.buffered()
		switch {
		case err == nil && (kind == 'c' || kind == 'C' || kind == 'E'):
			return
		case err == nil:
			continue
		case !errors.Is(err, errNeedMore):
			return
		}
		n, err := s.in.tryFill()
		if err != nil {
			return
		}
		if n == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// frame handles one message of the frontend/backend protocol.
func (s *stream) frame(kind byte, body []byte) error {
	switch kind {
	case 'd':
		return s.copyData(body)
	case 'c', 'C': // a server that shuts down says at once that the command is complete
		return ErrEnded
	case 'E':
		return serverError(body)
	case 'N', 'S':
		return nil
	case kindDrained:
		return s.drained(body)
	default:
		return fmt.Errorf("unexpected message %q in the replication stream", kind)
	}
}

// Offsets in XLogData ('w': start, end, send time, then the payload) and the primary keepalive ('k': WAL end, send time, reply requested).
const (
	xlogHeader      = 1 + 8 + 8 + 8
	keepaliveLength = 1 + 8 + 8 + 1
)

func (s *stream) copyData(body []byte) error {
	if len(body) == 0 {
		return errors.New("empty CopyData message in the replication stream")
	}
	switch body[0] {
	case 'w':
		if len(body) < xlogHeader {
			return fmt.Errorf("XLogData of %d bytes is too short", len(body))
		}
		if len(body) == xlogHeader {
			return nil // 12 and 13 send an empty message in place of an origin that the transaction itself created
		}
		s.noteAge(body)
		return s.handler.Data(body[xlogHeader:])
	case 'k':
		if len(body) < keepaliveLength {
			return fmt.Errorf("keepalive of %d bytes is too short", len(body))
		}
		wantsReply := body[17] != 0
		if !wantsReply {
			s.behind = false
		}
		s.handler.Keepalive(cdc.LSN(be64(body[1:])), wantsReply)
		if wantsReply {
			s.reply()
		}
		return nil
	default:
		s.opts.Logger.Warn("unknown message in the replication stream", "kind", string(rune(body[0])))
		return nil
	}
}

// noteAge compares, within a transaction, the time of sending with that of the commit: both are the server's clock.
func (s *stream) noteAge(body []byte) {
	kind := body[xlogHeader]
	if kind == 'B' && len(body) >= xlogHeader+17 {
		s.committed = int64(be64(body[xlogHeader+9:])) //nolint:gosec // Int64 on the wire; the bits are meant
	}
	if s.committed == 0 {
		return
	}
	s.behind = int64(be64(body[17:]))-s.committed > backlogAge.Microseconds() //nolint:gosec // as above
	if kind == 'C' {
		s.committed = 0
	}
}

// drained reports a message that was read past: body holds its first bytes and its true size.
func (s *stream) drained(head []byte) error {
	size := s.in.drainedSize - xlogHeader
	if len(head) < xlogHeader+1 || head[0] != 'w' {
		return fmt.Errorf("message of %d bytes in the replication stream exceeds the limit of %d", s.in.drainedSize, s.opts.MaxMessage)
	}
	kind := head[xlogHeader]
	var relation uint32
	if len(head) >= xlogHeader+5 {
		relation = be32(head[xlogHeader+1:])
	}
	return s.handler.TooBig(kind, relation, size)
}

// outcome turns the loop's error into the caller's: the end of ctx, however it showed, is no error.
func (s *stream) outcome(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the caller asked for the end
	}
	return err
}

func serverError(body []byte) error {
	var msg pgproto3.ErrorResponse
	if err := msg.Decode(body); err != nil {
		return fmt.Errorf("decode the server's error: %w", err)
	}
	return pgconn.ErrorResponseToPgError(&msg)
}

func be64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0])<<56 | uint64(b[1])<<48 | uint64(b[2])<<40 | uint64(b[3])<<32 | uint64(b[4])<<24 | uint64(b[5])<<16 | uint64(b[6])<<8 | uint64(b[7])
}

func be32(b []byte) uint32 {
	_ = b[3]
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
