package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"
)

// master is the slot that holds a backlog. It is never read: every contender gets a copy, so all of them drain the same WAL from the same place.
const master = "master"

func (b *bench) createSlot(ctx context.Context, name string) error {
	return b.exec(ctx, "select pg_create_logical_replication_slot('"+name+"', 'pgoutput')")
}

func (b *bench) copySlot(ctx context.Context) (string, error) {
	name := b.unique("copy")
	return name, b.exec(ctx, "select pg_copy_logical_replication_slot('"+master+"', '"+name+"')")
}

// dropSlot waits until nobody uses the slot any more.
func (b *bench) dropSlot(ctx context.Context, name string) error {
	ctx = context.WithoutCancel(ctx)
	for range 500 {
		var pid *int
		err := b.conn.QueryRow(ctx, "select active_pid from pg_replication_slots where slot_name = $1", name).Scan(&pid)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if pid == nil {
			return b.exec(ctx, "select pg_drop_replication_slot('"+name+"')")
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("slot %s is still in use", name)
}

// walsender looks at the backend that serves a slot.
type walsender struct {
	pid      int
	begun    time.Time
	cpuBegun time.Duration
	cpu      time.Duration // the last value seen: it is gone soon after its client
}

// attached waits until a client streams from the slot.
func (b *bench) attached(ctx context.Context, slot string, client *child) (*walsender, error) {
	for {
		var pid *int
		if err := b.conn.QueryRow(ctx, "select active_pid from pg_replication_slots where slot_name = $1", slot).Scan(&pid); err != nil {
			return nil, err
		}
		if pid != nil {
			w := &walsender{pid: *pid, begun: time.Now(), cpuBegun: cpuOf(*pid)}
			w.look()
			return w, nil
		}
		if err := client.alive(); err != nil {
			if client.err == nil { // the backlog was so small that it is through already
				return &walsender{begun: client.since}, nil
			}
			return nil, err
		}
		if err := sleep(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (w *walsender) look() {
	if now := cpuOf(w.pid) - w.cpuBegun; now > w.cpu {
		w.cpu = now
	}
}

// poll is how often a slot is looked at while it is drained.
const poll = 10 * time.Millisecond

// confirmed waits until the client has confirmed the position.
func (b *bench) confirmed(ctx context.Context, slot, end string, client *child, w *walsender) error {
	for {
		w.look()
		var done bool
		err := b.conn.QueryRow(ctx, "select confirmed_flush_lsn >= $2::text::pg_lsn from pg_replication_slots where slot_name = $1", slot, end).Scan(&done)
		if err != nil || done {
			return err
		}
		// The client may end by itself once it has confirmed: that is seen at the next look.
		select {
		case <-client.done:
			if client.err != nil {
				return client.alive()
			}
		default:
		}
		if err := sleep(ctx, poll); err != nil {
			return err
		}
	}
}

// receive starts pg_recvlogical on a slot: to the position, or for ever without one. It writes to nowhere, or to out.
func (b *bench) receive(slot, publication, end string, socket bool, out io.Writer) (*child, error) {
	target := b.pg.URL(database)
	if socket {
		target = b.pg.SocketURL(database)
	}
	args := []string{
		"-d", target, "--slot", slot, "--start", "--no-loop", "-o", "proto_version=1", "-o", "publication_names=" + publication,
	}
	if end != "" {
		args = append(args, "-E", end)
	}
	if out == nil {
		args = append(args, "-f", "/dev/null")
	} else {
		args = append(args, "-f", "-")
	}
	cmd := exec.Command(b.recvlogical, args...)
	cmd.Stdout = out
	return spawn("pg_recvlogical", cmd, nil)
}
