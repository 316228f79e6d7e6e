package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/replication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
)

// tailOptions are the flags of sequin tail.
type tailOptions struct {
	tables      []string
	publication string
	limit       int
	recordOnly  bool
}

func newTail(streams Streams) *cobra.Command {
	var o tailOptions
	cmd := &cobra.Command{
		Use:   "tail postgres://user@host/database",
		Short: "Print a database's changes as they happen, one JSON object a line",
		Long: "Print the changes of a database as NDJSON, from now on, until interrupted. It uses a temporary slot, which vanishes with the connection, and\n" +
			"either --publication or one of its own, which it removes at the end. Tables whose UPDATE or DELETE a publication would make fail are left\n" +
			"out of its own, and named. A lost connection shows as a line {\"gap\": …}.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return tail(cmd.Context(), streams, args[0], o) },
	}
	cmd.Flags().StringArrayVar(&o.tables, "table", nil, "only this `table` (schema.table, or a name in public); may be repeated")
	cmd.Flags().StringVar(&o.publication, "publication", "", "use this `publication` and make none")
	cmd.Flags().IntVarP(&o.limit, "limit", "n", 0, "end after this many changes; 0 for no end")
	cmd.Flags().BoolVar(&o.recordOnly, "record-only", false, "print the row alone")
	return cmd
}

// tailer is one run of sequin tail.
type tailer struct {
	streams Streams
	opts    tailOptions
	source  postgres.Config
	name    string // of the slot, and of the publication if it is ours
	pub     string
	version int
	out     *printer
	logger  *slog.Logger
}

// tail connects, prints until ctx ends or the limit is reached, and cleans up.
func tail(ctx context.Context, streams Streams, url string, o tailOptions) error {
	source, err := postgres.ParseURL(url)
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	source.AppName = "sequin tail"
	t := &tailer{
		streams: streams, opts: o, source: source, name: publication.TemporaryPrefix + strings.ToLower(rand.Text()[:12]),
		out:    newPrinter(bufio.NewWriterSize(streams.Out, 64<<10), source, o),
		logger: slog.New(slog.NewTextHandler(streams.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	conn, err := source.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if err := t.check(ctx, conn); err != nil {
		return err
	}
	cleanUp, err := t.publish(ctx, conn)
	if err != nil {
		return err
	}
	return errors.Join(t.follow(ctx, conn), cleanUp())
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // a farewell
}

func (t *tailer) note(format string, args ...any) {
	_, _ = fmt.Fprintf(t.streams.Err, format+"\n", args...) // nobody is left to tell when this fails
}

// check stops at the first thing that would not work.
func (t *tailer) check(ctx context.Context, conn *pgx.Conn) error {
	report, err := postgres.Preflight(ctx, conn, postgres.PreflightOptions{Config: t.source, Publication: t.opts.publication})
	if err != nil {
		return err
	}
	t.version = report.Version
	for _, item := range report.Items {
		if item.Status == postgres.StatusFail {
			return item.Problem
		}
	}
	return nil
}

// publish chooses or makes the publication, and returns what removes it.
func (t *tailer) publish(ctx context.Context, conn *pgx.Conn) (func() error, error) {
	names := make([]publication.Name, 0, len(t.opts.tables))
	for _, text := range t.opts.tables {
		schema, table, ok := strings.Cut(text, ".")
		if !ok {
			schema, table = "public", text
		}
		names = append(names, publication.Name{Schema: schema, Table: table})
	}
	t.out.only(names)
	if t.opts.publication != "" {
		t.pub = t.opts.publication
		return func() error { return nil }, t.covered(ctx, conn, names)
	}
	removed, err := publication.RemoveStale(ctx, conn)
	if err != nil {
		t.note("stale publications of earlier runs could not be removed: %v", err)
	}
	for _, name := range removed {
		t.note("removed publication %q, which an earlier run left behind", name)
	}
	made, err := publication.CreateTemporary(ctx, conn, publication.Options{Name: t.name, Tables: names}, t.name)
	if err != nil {
		return nil, err
	}
	t.pub = t.name
	for _, out := range made.LeftOut {
		t.note("left out %s: %s", out.Name, out.Explain())
		if out.Repair != "" {
			t.note("  repair: %s", out.Repair)
		}
	}
	cleanUp := func() error { return t.unpublish(ctx) }
	if len(made.Tables) == 0 {
		return nil, errors.Join(problem.New("publication_empty", "there is no table to follow").WithHint("name one with --table, or mend those left out above"), cleanUp())
	}
	return cleanUp, nil
}

// covered complains of tables that the given publication leaves out.
func (t *tailer) covered(ctx context.Context, conn *pgx.Conn, names []publication.Name) error {
	missing, err := publication.Reconcile(ctx, conn, t.pub, names)
	if err != nil || len(missing) == 0 {
		return err
	}
	first := missing[0]
	return problem.New("table_not_published", "publication %q does not cover table %s", t.pub, first.Name).WithHint("%s", first.SQL)
}

// unpublish removes our publication, on a connection of its own: the first may be broken, and its context has ended.
func (t *tailer) unpublish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	conn, err := t.source.Connect(ctx)
	if err != nil {
		return fmt.Errorf("publication %q is left behind; the next run removes it: %w", t.name, err)
	}
	defer closeConn(conn)
	if err := publication.Drop(ctx, conn, t.name); err != nil && !errors.Is(err, publication.ErrNotFound) {
		return err
	}
	return nil
}

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
)

var errLimit = errors.New("limit reached")

// follow streams, and starts again with a new slot when the connection is lost, saying what lies between.
func (t *tailer) follow(ctx context.Context, conn *pgx.Conn) error {
	wait := firstRetry
	for first := true; ; first = false {
		started := time.Now()
		err := t.once(ctx, conn, first)
		switch {
		case ctx.Err() != nil || errors.Is(err, errLimit):
			return t.out.flush()
		case t.out.err != nil:
			return nil // whoever read our output is gone
		case first && !t.out.streaming:
			return err
		case !errors.Is(err, replication.ErrEnded) && !postgres.Transient(err):
			return err
		}
		t.note("the connection was lost: %v", err)
		if time.Since(started) > lastRetry {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return t.out.flush()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// once creates a slot and streams from it.
func (t *tailer) once(ctx context.Context, conn *pgx.Conn, first bool) error {
	repl, err := t.source.ConnectReplication(ctx)
	if err != nil {
		return err
	}
	from, err := slot.CreateTemporary(ctx, repl, t.source.Connect, slot.Options{
		Name: t.name, Waiting: func(w slot.Wait) { t.note("%s", w.Problem(t.name).Text()) },
	})
	if err != nil {
		return errors.Join(err, repl.Close(context.WithoutCancel(ctx)))
	}
	if first {
		closeConn(conn) // it held the lock that says that the publication is in use; now the slot says so
		t.note("following %s from %s; interrupt to end", t.source.Address(), from)
	} else {
		t.out.gap(from)
	}
	t.out.streaming = true
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.out.stop = cancel
	catalog := capture.NewCatalog(t.source, t.logger)
	defer catalog.Close()
	h := capture.NewHandler(ctx, capture.HandlerOptions{Writer: t.out, Relations: catalog.Relation, Logger: t.logger})
	err = replication.Stream(ctx, repl, replication.Options{
		Slot: t.name, Publications: []string{t.pub}, Messages: t.version >= 140000, Confirmed: t.out.confirmed, Logger: t.logger,
		StatusInterval: time.Second,
	}, h)
	if cause := context.Cause(ctx); errors.Is(cause, errLimit) {
		return cause
	}
	return err
}
