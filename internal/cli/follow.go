package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/replication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
)

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second

	// waitNote is the time between two notes about a slot that waits.
	waitNote = 30 * time.Second
)

var errLimit = errors.New("limit reached")

// follow streams, and starts again with a new slot when the connection is lost, saying what lies between.
func (t *tailer) follow(ctx context.Context, conn *pgx.Conn) error {
	wait := firstRetry
	for attempt := 0; ; attempt++ {
		started := time.Now()
		err := t.once(ctx, conn, attempt)
		conn = nil
		switch {
		case t.out.err != nil:
			return t.output()
		case ctx.Err() != nil || errors.Is(err, errLimit):
			return t.output()
		case !t.out.streaming, !errors.Is(err, replication.ErrEnded) && !postgres.Transient(err):
			return err
		}
		t.note("the connection was lost: %v", err)
		if time.Since(started) > lastRetry {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return t.output()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// output writes out what is left, and tells how writing went.
func (t *tailer) output() error {
	if err := t.out.flush(); !gone(err) {
		return err
	}
	return nil
}

// once creates a slot and streams from it. conn is the connection that holds the lock on our new publication; without it, it is taken again.
func (t *tailer) once(ctx context.Context, conn *pgx.Conn, attempt int) error {
	name := t.name
	if conn == nil {
		name = fmt.Sprintf("%s_%d", t.name, attempt) // the server may not have noticed yet that the old slot's connection is gone
		var err error
		if conn, err = t.again(ctx, name); err != nil {
			return err
		}
	}
	defer closeConn(ctx, conn)
	repl, err := t.source.ConnectReplication(ctx)
	if err != nil {
		return err
	}
	from, err := slot.CreateTemporary(ctx, repl, t.source.Connect, slot.Options{Name: name, Waiting: func(w slot.Wait) { t.waiting(name, w) }})
	if err != nil {
		return errors.Join(err, repl.Close(context.WithoutCancel(ctx)))
	}
	closeConn(ctx, conn) // it held the lock that says that the publication is in use; now the slot says so
	t.note("following %s from %s; interrupt to end", t.source.Address(), from)
	t.out.begin(from)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.out.stop = cancel
	catalog := capture.NewCatalog(t.source, t.logger)
	defer catalog.Close(ctx)
	h := capture.NewHandler(ctx, capture.HandlerOptions{Writer: t.out, Relations: catalog.Relation, Logger: t.logger})
	err = replication.Stream(ctx, repl, replication.Options{
		Slot: name, Publications: []string{t.pub}, Messages: t.version >= 140000, Confirmed: t.out.confirmed, Logger: t.logger,
		StatusInterval: time.Second,
	}, h)
	if cause := context.Cause(ctx); errors.Is(cause, errLimit) {
		return cause
	}
	return err
}

// again connects, looks whether all is as it was, and claims our publication for a new slot. Without its slot it looked stale: somebody may
// have removed it.
func (t *tailer) again(ctx context.Context, slot string) (*pgx.Conn, error) {
	conn, err := t.source.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err = t.check(ctx, conn); err == nil && t.opts.publication == "" {
		err = publication.RenewTemporary(ctx, conn, t.name, slot)
		if errors.Is(err, publication.ErrNotFound) {
			_, err = t.create(ctx, conn, slot)
		}
	}
	if err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	return conn, nil
}

// waiting says now and then for whom a slot waits.
func (t *tailer) waiting(name string, w slot.Wait) {
	if time.Since(t.waits) < waitNote {
		return
	}
	t.waits = time.Now()
	t.note("%s", w.Problem(name).Text())
}
