package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/publication"
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
	tables  []publication.Name
	name    string // of the first slot, and of the publication if it is ours
	pub     string
	version int
	out     *printer
	logger  *slog.Logger
	waits   time.Time // when it was last said that a slot waits
}

// tail connects, prints until ctx ends or the limit is reached, and cleans up.
func tail(ctx context.Context, streams Streams, url string, o tailOptions) error {
	source, err := postgres.ParseURL(url)
	if err == nil && o.limit < 0 {
		err = fmt.Errorf("--limit is %d; it must not be negative", o.limit)
	}
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	source.AppName = "sequin tail"
	t := &tailer{
		streams: streams, opts: o, source: source, name: publication.TemporaryPrefix + strings.ToLower(rand.Text()[:12]),
		tables: tableNames(o.tables),
		out:    newPrinter(bufio.NewWriterSize(streams.Out, 64<<10), source, o),
		logger: slog.New(slog.NewTextHandler(streams.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	conn, err := source.Connect(ctx)
	if err != nil {
		return unlessAsked(ctx, err)
	}
	defer closeConn(ctx, conn)
	if err := t.check(ctx, conn); err != nil {
		return unlessAsked(ctx, err)
	}
	cleanUp, err := t.publish(ctx, conn)
	if err != nil {
		return unlessAsked(ctx, err)
	}
	return errors.Join(t.follow(ctx, conn), cleanUp())
}

// unlessAsked is nil when ctx has ended: what was interrupted did not fail.
func unlessAsked(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// tableNames reads schema.table, or a name in public.
func tableNames(texts []string) []publication.Name {
	names := make([]publication.Name, 0, len(texts))
	for _, text := range texts {
		schema, table, ok := strings.Cut(text, ".")
		if !ok {
			schema, table = "public", text
		}
		names = append(names, publication.Name{Schema: schema, Table: table})
	}
	return names
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
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
	return report.Err()
}

// publish chooses or makes the publication, and returns what removes it.
func (t *tailer) publish(ctx context.Context, conn *pgx.Conn) (func() error, error) {
	if t.opts.publication != "" {
		t.pub = t.opts.publication
		return func() error { return nil }, t.useOther(ctx, conn)
	}
	removed, err := publication.RemoveStale(ctx, conn)
	if err != nil {
		t.note("stale publications of earlier runs could not be removed: %v", err)
	}
	for _, name := range removed {
		t.note("removed publication %q, which an earlier run left behind", name)
	}
	t.pub = t.name
	cleanUp := func() error { return t.unpublish(ctx) }
	made, err := t.create(ctx, conn, t.name)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errors.Join(err, cleanUp()) // it may have been created all the same
		}
		return nil, err
	}
	if len(made.Tables) == 0 {
		nothing := problem.New("publication_empty", "there is no table to follow").WithHint("name one with --table, or mend those left out above")
		return nil, errors.Join(nothing, cleanUp())
	}
	return cleanUp, nil
}

// create makes our publication and names what it leaves out.
func (t *tailer) create(ctx context.Context, conn *pgx.Conn, slot string) (publication.Created, error) {
	made, err := publication.CreateTemporary(ctx, conn, publication.Options{Name: t.name, Tables: t.tables}, slot)
	if err != nil {
		return made, err
	}
	for _, out := range made.LeftOut {
		t.note("left out %s: %s", out.Name, out.Explain())
		if out.Repair != "" {
			t.note("  repair: %s", out.Repair)
		}
	}
	return made, nil
}

// useOther complains of tables that somebody else's publication leaves out, and has others not printed.
func (t *tailer) useOther(ctx context.Context, conn *pgx.Conn) error {
	if len(t.tables) == 0 {
		return nil
	}
	missing, err := publication.Reconcile(ctx, conn, t.pub, t.tables)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		m := missing[0]
		if m.NotFound {
			return problem.New("table_not_found", "the database has no table %s", m.Name).WithHint("correct the name, schema included, or create the table")
		}
		return problem.New("table_not_published", "publication %q does not cover table %s", t.pub, m.Name).WithHint("%s", m.SQL)
	}
	return t.out.only(ctx, conn, t.tables)
}

// unpublish removes our publication, on a connection of its own: the first may be broken, and its context has ended.
func (t *tailer) unpublish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	conn, err := t.source.Connect(ctx)
	if err == nil {
		defer closeConn(ctx, conn)
		err = publication.Drop(ctx, conn, t.name)
	}
	if err == nil || errors.Is(err, publication.ErrNotFound) {
		return nil
	}
	return fmt.Errorf("publication %q is left behind; the next run removes it: %w", t.name, err)
}

// gone reports that whoever read our output went away, which ends the run and is no failure.
func gone(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) }
