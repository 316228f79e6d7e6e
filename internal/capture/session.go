package capture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres/replication"
)

// session is one life of the stream: connect, check, stream.
type session struct {
	c       *Capture
	cfg     Config
	catalog *catalogReader
	version int // server_version_num
}

// session runs one connection until it breaks, ctx ends, or the configuration changes.
func (c *Capture) session(ctx context.Context) error {
	s := &session{c: c, cfg: c.config()}
	s.catalog = &catalogReader{source: s.cfg.Source, records: c.records, log: c.deps.Logger}
	defer s.catalog.close(ctx)
	c.connecting()
	conn, err := s.cfg.Source.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	if err := s.prepare(ctx, conn); err != nil {
		return err
	}
	stream, err := s.cfg.Source.ConnectReplication(ctx)
	if err != nil {
		return err
	}
	c.backend.Store(stream.PID())
	defer c.backend.Store(0)
	// From here on Stream owns the connection, unless the check below fails.
	if err := s.verify(ctx, conn, stream); err != nil {
		return errors.Join(err, stream.Close(context.WithoutCancel(ctx)))
	}
	return s.stream(ctx, conn, stream)
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // a farewell; the server notices in any case
}

// stream runs the reader, and beside it what keeps the slot moving: the confirm bound, heartbeats and a look at the slot each minute.
func (s *session) stream(ctx context.Context, conn *pgx.Conn, repl *pgconn.PgConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := s.c.deps.Log.Writer(s.c.remembered.Epoch)
	h := NewHandler(ctx, HandlerOptions{
		Writer: w, Relations: s.catalog.relation, Logger: s.c.deps.Logger, Counters: &s.c.count,
		Pass: s.pass, Marks: &s.c.marks,
		Keepalive: func(_ cdc.LSN, reply bool) {
			if reply {
				signal(s.c.raise)
			}
		},
	})
	// A writer that waits for room in the log lets go soon after the end, so that a full disk does not hold up a shutdown.
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(settleTime, func() { w.Interrupt(errStopping) }) })
	defer stop()
	interval := s.statusInterval(ctx, conn)
	var beside sync.WaitGroup
	err := replication.Stream(ctx, repl, replication.Options{
		Slot: s.cfg.Slot, Publications: []string{s.cfg.Publication}, Messages: s.version >= 140000, MaxMessage: s.cfg.MaxChange,
		Confirmed: s.c.confirmed, Advanced: s.c.advanced, StatusInterval: interval,
		Started: func() error {
			if err := s.unmoved(ctx, conn); err != nil {
				return err
			}
			beside.Go(func() { s.keepBound(ctx) })
			beside.Go(func() { s.lookAfter(ctx, conn) })
			s.c.streams()
			s.c.meter.work(true)
			s.c.deps.Logger.Info("streaming", "slot", s.cfg.Slot, "publication", s.cfg.Publication, "complete_to", s.c.end().String())
			return nil
		},
		Idle:    s.c.meter.idle,
		Closing: func() { s.settle(ctx, w, h.Complete()) },
		Logger:  s.c.deps.Logger,
	}, h)
	s.c.meter.work(false)
	cancel()
	w.Abort()
	beside.Wait()
	return err
}

// pass lets the reader go on, or makes it wait while reading is held.
func (s *session) pass(ctx context.Context) error {
	if s.c.gate.isOpen() {
		return nil
	}
	s.c.meter.idle(true)
	defer s.c.meter.idle(false)
	return s.c.gate.pass(ctx)
}

var errStopping = errors.New("the capture is stopping")

// settleTime is how long the last words to Postgres wait for the last sync.
const settleTime = 3 * time.Second

// settle makes everything that is complete durable, so that the last status update covers it. It comes after the end of ctx.
func (s *session) settle(ctx context.Context, w Writer, complete cdc.LSN) {
	w.Abort()
	w.Flush()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	for s.c.deps.Log.Durable() < complete && ctx.Err() == nil {
		select {
		case <-s.c.advanced:
		case <-time.After(time.Millisecond):
		}
	}
	if err := s.raiseBound(ctx); err != nil {
		s.c.deps.Logger.Warn("the confirm bound could not be raised before the end", "reason", err)
	}
}

// statusInterval is a sixth of wal_sender_timeout, at most 10 s.
func (s *session) statusInterval(ctx context.Context, conn *pgx.Conn) time.Duration {
	const most = 10 * time.Second
	var ms int64
	err := conn.QueryRow(ctx, "select setting::bigint from pg_settings where name = 'wal_sender_timeout'").Scan(&ms)
	if err != nil || ms <= 0 {
		return most
	}
	return max(min(time.Duration(ms)*time.Millisecond/6, most), 10*time.Millisecond)
}

// boundInterval is how often an idle stream's confirm bound rises, at most.
const boundInterval = time.Second

// keepBound raises the confirm bound beside the log while keepalives and empty transactions move the durable LSN past what the log holds.
func (s *session) keepBound(ctx context.Context) {
	tick := time.NewTicker(boundInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.c.raise: // the server waits for an answer, as it does when it shuts down
		}
		if err := s.raiseBound(ctx); err != nil && ctx.Err() == nil {
			s.c.deps.Logger.Warn("the confirm bound could not be raised", "reason", err)
		}
		select { // one raise an interval, whatever the server asks
		case <-ctx.Done():
			return
		case <-time.After(boundInterval / 4):
		}
	}
}

// raiseBound stores the durable LSN as the bound if neither the log nor the stored bound reaches it.
func (s *session) raiseBound(ctx context.Context) error {
	durable := s.c.deps.Log.Durable()
	if durable <= s.c.deps.Log.CommitEnd() || durable <= cdc.LSN(s.c.bound.Load()) {
		return nil
	}
	if err := s.c.records.putBound(ctx, durable); err != nil {
		return err
	}
	s.c.bound.Store(uint64(durable))
	signal(s.c.advanced)
	return nil
}

// Intervals of lookAfter.
const (
	slotInterval = 15 * time.Second
	queryTimeout = 10 * time.Second
)

// lookAfter sends heartbeats and looks at the slot and the publication from a connection of its own.
func (s *session) lookAfter(ctx context.Context, conn *pgx.Conn) {
	look := time.NewTicker(slotInterval)
	defer look.Stop()
	var beats <-chan time.Time
	if s.cfg.Heartbeat > 0 {
		ticker := time.NewTicker(s.cfg.Heartbeat)
		defer ticker.Stop()
		beats = ticker.C
	}
	keeper := &keeper{session: s, conn: conn}
	keeper.look(ctx)
	keeper.beat(ctx)
	for {
		select {
		case <-ctx.Done():
			keeper.close(ctx)
			return
		case <-beats:
			keeper.beat(ctx)
		case <-look.C:
			keeper.look(ctx)
		}
	}
}

// keeper owns the regular connection beside a stream and replaces it when it breaks.
type keeper struct {
	*session
	conn *pgx.Conn
	own  bool // conn is the keeper's own and not the session's
}

func (k *keeper) close(ctx context.Context) {
	if k.own {
		closeConn(ctx, k.conn)
	}
}

// do runs one piece of work on a live connection, within its time.
func (k *keeper) do(ctx context.Context, work func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if k.conn.IsClosed() {
		k.close(ctx)
		conn, err := k.cfg.Source.Connect(ctx)
		if err != nil {
			return fmt.Errorf("reconnect: %w", err)
		}
		k.conn, k.own = conn, true
	}
	return work(ctx, k.conn)
}
