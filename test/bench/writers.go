package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// pace is a load: transactions at fixed intervals, spread evenly over connections. A connection that is late sends its next transactions at
// once, so the rate holds as long as the server keeps up on average.
type pace struct {
	rate        int // changes a second
	perTx       int // changes a transaction
	connections int
	lasting     time.Duration
}

// String tells a pace.
func (p pace) String() string {
	return fmt.Sprintf("%s changes/s in transactions of %d", number(float64(p.rate), 0), p.perTx)
}

// changes is the number of all changes.
func (p pace) changes() int { return p.each() * p.connections * p.perTx }

// each is the number of transactions of one connection.
func (p pace) each() int {
	return max(1, int(float64(p.rate)*p.lasting.Seconds())/(p.perTx*p.connections))
}

// timeline remembers, by the number of a change, when what happened, in Unix nanoseconds; 0 is never. Changes are numbered from 1.
type timeline struct {
	committed []int64 // when COMMIT had returned to the writer
	written   []int64 // the row's own clock_timestamp()
	arrived   []int64 // when it was first received

	mu      sync.Mutex
	missing int
	all     chan struct{} // closed when nothing is missing any more
}

func newTimeline(changes int) *timeline {
	return &timeline{
		committed: make([]int64, changes+1), written: make([]int64, changes+1), arrived: make([]int64, changes+1),
		missing: changes, all: make(chan struct{}),
	}
}

// arrival is one received change.
type arrival struct {
	id      int64
	written int64 // Unix microseconds
}

// note records changes that were received together.
func (t *timeline) note(at time.Time, received []arrival) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range received {
		if r.id < 1 || r.id >= int64(len(t.arrived)) || t.arrived[r.id] != 0 {
			continue
		}
		t.arrived[r.id] = at.UnixNano()
		t.written[r.id] = r.written * 1000
		if t.missing--; t.missing == 0 {
			close(t.all)
		}
	}
}

// complete waits until everything has arrived.
func (t *timeline) complete(ctx context.Context, patience time.Duration) error {
	select {
	case <-t.all:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		t.mu.Lock()
		defer t.mu.Unlock()
		return fmt.Errorf("%d of %d changes have not arrived %s after the last was written", t.missing, len(t.arrived)-1, patience)
	}
}

// delays are the times until arrival, sorted, without those of the first changes. What arrived before COMMIT returned took 0.
func (t *timeline) delays(since []int64, warmUp int) []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]time.Duration, 0, len(since))
	for id := 1 + warmUp; id < len(since); id++ {
		all = append(all, max(0, time.Duration(t.arrived[id]-since[id])))
	}
	slices.Sort(all)
	return all
}

// stream writes numbered changes at a pace and notes when each COMMIT returned. Each row carries the server's clock at the time of its insertion.
func (b *bench) stream(ctx context.Context, p pace, t *timeline, first int) error {
	const sql = "insert into bench_stream (id, payload, at_us) " +
		"select g, md5(g::text) || md5((g + 1)::text), (extract(epoch from clock_timestamp()) * 1000000)::bigint from generate_series($1::bigint, $2::bigint) g"
	each := p.each()
	return b.paced(ctx, p, func(ctx context.Context, conn *pgx.Conn, worker, i int) error {
		// Numbers rise with time over all connections.
		from := first + (i*p.connections+worker)*p.perTx
		if i >= each {
			return errEnough
		}
		if _, err := conn.Exec(ctx, sql, from, from+p.perTx-1); err != nil {
			return err
		}
		now := time.Now().UnixNano()
		for id := from; id < from+p.perTx; id++ {
			t.committed[id] = now
		}
		return nil
	})
}

const createStream = "create table bench_stream (id bigint primary key, payload text not null, at_us bigint not null)"

// errEnough ends one connection of paced.
var errEnough = errors.New("enough")

// paced runs one transaction after another on each connection, until it says enough.
func (b *bench) paced(ctx context.Context, p pace, tx func(ctx context.Context, conn *pgx.Conn, worker, i int) error) error {
	var conns []*pgx.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close(context.WithoutCancel(ctx)) // a farewell
		}
	}()
	for range p.connections {
		conn, err := pgx.Connect(ctx, b.pg.SocketURL(database))
		if err != nil {
			return err
		}
		conns = append(conns, conn)
	}
	interval := time.Duration(float64(time.Second) * float64(p.perTx*p.connections) / float64(p.rate))
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for worker, conn := range conns {
		group.Go(func() error {
			offset := interval * time.Duration(worker) / time.Duration(p.connections)
			for i := 0; ; i++ {
				if d := time.Until(begun.Add(offset + time.Duration(i)*interval)); d > 0 {
					if err := sleep(ctx, d); err != nil {
						return err
					}
				}
				switch err := tx(ctx, conn, worker, i); {
				case err == errEnough: //nolint:errorlint // ours, never wrapped
					return nil
				case err != nil:
					return err
				}
			}
		})
	}
	return group.Wait()
}
