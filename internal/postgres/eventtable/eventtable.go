// Package eventtable writes changes as rows of an event table: one row for each change, in the order of the log, in any Postgres database.
//
// Each change is written once. The position of the last change goes into a small table beside the event table, sequin_retention_position, in the
// transaction that writes the rows, and what lies at or below it is not written again. Where that table cannot be made, the event table's unique
// key alone recognizes what is there already. Rows of a transaction get their ids in the order of its changes.
//
// A Writer has one connection and is asked for one batch at a time; it holds nothing that a crash could lose. Retries, and when to give up, belong
// to whoever calls: every error is a *problem.Error with its repair, and says that nothing of the batch was written.
package eventtable

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// Name is a table's name.
type Name struct{ Schema, Table string }

func (n Name) String() string { return n.Schema + "." + n.Table }

func (n Name) quoted() string { return pgx.Identifier{n.Schema, n.Table}.Sanitize() }

// Options of a Writer.
type Options struct {
	Table    Name
	Database string // the source database's id, a UUID
	Writer   string // whose position it is, a UUID
	Life     string // a UUID that changes when the writer begins anew: positions of an earlier life say nothing
	Connect  func(ctx context.Context) (*pgx.Conn, error)
	Logger   *slog.Logger
	Timeout  time.Duration // of one batch; 0 for DefaultTimeout
}

// DefaultTimeout is how long a batch may take unless something else is asked for.
const DefaultTimeout = 30 * time.Second

// Row is a change on its way into the table.
type Row struct {
	Change *cdc.Change
	Record []byte // JSON, as package message builds it
	Again  bool   // it may have been passed over: that its position lies below says nothing
}

// Writer writes into one event table. It is safe for concurrent use.
type Writer struct {
	o Options

	mu       sync.Mutex
	conn     *pgx.Conn
	table    *table
	position *cdc.Position // of the last change that was written; nil when it is not known
	advice   *problem.Error

	highest *cdc.Position  // that was ever written by this writer
	setBack *problem.Error // the table has lost rows that it had
}

// New makes a writer. It connects to nothing yet.
func New(o Options) *Writer {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return &Writer{o: o}
}

// Close ends the connection. It does not wait for the network.
func (w *Writer) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disconnect(context.Background())
}

// Advice is something worth knowing about the table, nil for nothing.
func (w *Writer) Advice() *problem.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.advice
}

// SetBack says that the table has lost rows that it had, nil for no such thing: its server was restored, or replaced by a standby that lagged.
func (w *Writer) SetBack() *problem.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.setBack
}

// Check looks whether the table is there and fit to be written, and writes nothing.
func (w *Writer) Check(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	if err := w.connect(ctx); err != nil {
		return err
	}
	t, err := look(ctx, w.conn, w.o.Table)
	if err == nil {
		err = t.fit()
	}
	if err != nil {
		w.disconnect(ctx)
		return w.explain(ctx, err)
	}
	return nil
}

// Write writes rows, in order, all of them or none. Those that an earlier call has written already are passed over.
func (w *Writer) Write(ctx context.Context, rows []Row) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		used := w.table != nil
		err := w.write(ctx, rows)
		if err == nil {
			return nil
		}
		// What became of a transaction whose commit was not answered, its position tells; only a new connection may ask.
		stale := used && (w.conn == nil || w.conn.IsClosed()) || errors.Is(err, errMoved)
		w.disconnect(ctx)
		if !stale || attempt > 2 || ctx.Err() != nil {
			return w.explain(ctx, err)
		}
	}
}

// write is one attempt.
func (w *Writer) write(ctx context.Context, rows []Row) error {
	if err := w.ready(ctx); err != nil {
		return err
	}
	fresh := w.unwritten(rows)
	if len(fresh) == 0 {
		return nil
	}
	made := make([]row, len(fresh))
	for i := range fresh {
		made[i] = w.row(&fresh[i])
	}
	next := w.reached(fresh)
	whole, err := w.swift(ctx, made, next)
	if err != nil && !ofData(err) {
		return err
	}
	if !whole {
		if err := w.careful(ctx, made, next); err != nil {
			return err
		}
	}
	if w.table.keeps && next != nil {
		w.position, w.highest = next, next
	}
	return nil
}

// unwritten leaves the rows behind the position.
func (w *Writer) unwritten(rows []Row) []Row {
	if w.position == nil {
		return rows
	}
	fresh := make([]Row, 0, len(rows))
	for _, r := range rows {
		if r.Again || r.Change.Position.Compare(*w.position) > 0 {
			fresh = append(fresh, r)
		}
	}
	return fresh
}

// reached is the position behind rows, nil when they do not move it.
func (w *Writer) reached(rows []Row) *cdc.Position {
	var next *cdc.Position
	for i := range rows {
		p := rows[i].Change.Position
		if (w.position == nil || p.Compare(*w.position) > 0) && (next == nil || p.Compare(*next) > 0) {
			next = &p
		}
	}
	return next
}

func (w *Writer) connect(ctx context.Context) error {
	if w.conn != nil && !w.conn.IsClosed() {
		return nil
	}
	w.disconnect(ctx)
	conn, err := w.o.Connect(ctx)
	if err != nil {
		return err
	}
	w.conn = conn
	return nil
}

// ready connects and looks at the table, unless that was done.
func (w *Writer) ready(ctx context.Context) error {
	if err := w.connect(ctx); err != nil || w.table != nil {
		return err
	}
	t, err := look(ctx, w.conn, w.o.Table)
	if err != nil {
		return err
	}
	if err := t.fit(); err != nil {
		return err
	}
	if t.keeps, err = w.prepare(ctx, t); err != nil {
		return err
	}
	if t.keeps {
		if w.position, err = w.stored(ctx); err != nil {
			return err
		}
		w.compare()
	}
	w.table = t
	return nil
}

// farewell is how long a connection is given to end.
const farewell = time.Second

func (w *Writer) disconnect(ctx context.Context) {
	conn := w.conn
	w.conn, w.table, w.position = nil, nil, nil
	if conn == nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if err := conn.Close(ctx); err != nil {
			w.o.Logger.Debug("close the connection to an event table", "reason", err)
		}
	}()
}
