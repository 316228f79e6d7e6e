package cli

import (
	"maps"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

var backfillColumns = []column{ //nolint:gochecknoglobals // a table
	{"ID", "id"},
	{"STATE", "state"},
	{"TABLE", "table"},
	{"ROWS", "rows_processed_count"},
	{"OF", "rows_initial_count"},
	{"ROWS/S", "rows_per_second"},
	{"SECONDS LEFT", "seconds_left"},
	{"STARTED", "inserted_at"},
	{"ERROR", "error.message"},
}

func (a *app) backfillsCommand() *cobra.Command {
	cmd := group("backfills", "Backfills: existing rows for a sink",
		"Read the rows that a table has, or some of them, for one sink. They come as messages with the action \"read\", beside the changes and in order with them.",
		a.backfillsList(), a.backfillsShow(), a.backfillsCreate(),
		a.backfillsState("pause", "Stop reading; rows that were read are still delivered", "paused", "paused"),
		a.backfillsState("resume", "Go on reading where it stopped", "active", "resumed"),
		a.backfillsState("cancel", "End it; rows that were read are still delivered", "cancelled", "cancelled"))
	cmd.Aliases = []string{"backfill"}
	return cmd
}

func (a *app) backfillsList() *cobra.Command {
	cmd := a.sinkCommand("list SINK", "List a sink's backfills, the newest first", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		res, err := c.Do(cmd.Context(), client.Request{Path: sinkKind.path(args[0], "backfills")})
		if err != nil {
			return err
		}
		return a.list(res.Body, backfillColumns, "there are no backfills", "")
	})
	cmd.Aliases = []string{"ls"}
	return cmd
}

func (a *app) backfillsShow() *cobra.Command {
	return a.sinkCommand("show SINK ID", "Show a backfill with its progress", cobra.ExactArgs(2), func(cmd *cobra.Command, c *client.Client, args []string) error {
		return a.showPath(cmd, c, sinkKind.path(args[0], "backfills", args[1]), nil)
	})
}

// backfillFlags say what to read.
type backfillFlags struct {
	tables         []string
	where          string
	sort, from, to string
	keys           []string
	keyQuery       string
	workers, rate  int
	timeout        time.Duration
	paused         bool
	body           bodyFlags
}

func (f *backfillFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.tables, "table", nil, "the `table` to read, schema.table; may be repeated (default the one that the sink's source includes)")
	flags.StringVar(&f.where, "where", "", "read only rows that meet this `condition` in SQL")
	flags.StringVar(&f.sort, "sort-column", "", "read along this `column`, and then the key (default the key)")
	flags.StringVar(&f.from, "from", "", "read from this `value` of the column on")
	flags.StringVar(&f.to, "to", "", "read up to this `value` of the column, not included")
	flags.StringArrayVar(&f.keys, "key", nil, "read only the row with this `key`; may be repeated")
	flags.StringVar(&f.keyQuery, "key-query", "", "read only the rows whose keys this `query` on the source returns")
	flags.IntVar(&f.workers, "workers", 0, "readers of a big table at a time (default 1)")
	flags.IntVar(&f.rate, "max-rows-per-second", 0, "read no faster than this")
	flags.DurationVar(&f.timeout, "timeout", 0, "of one page's statement (default 5s)")
	flags.BoolVar(&f.paused, "paused", false, "do not read before it is resumed")
	f.body.bind(cmd)
}

// object is the request for one table.
func (f *backfillFlags) object(object map[string]any, table string) map[string]any {
	out := maps.Clone(object)
	for key, value := range map[string]string{
		"table": table, "where": f.where, "sort_column": f.sort, "start_position": f.from, "end_position": f.to, "key_query": f.keyQuery,
	} {
		if value != "" {
			out[key] = value
		}
	}
	if len(f.keys) > 0 {
		out["keys"] = f.keys
	}
	for key, value := range map[string]int{"workers": f.workers, "max_rows_per_second": f.rate, "timeout_ms": int(f.timeout.Milliseconds())} {
		if value != 0 {
			out[key] = value
		}
	}
	if f.paused {
		out["state"] = "paused"
	}
	return out
}

func (a *app) backfillsCreate() *cobra.Command {
	var f backfillFlags
	cmd := a.sinkCommand("create SINK", "Read the existing rows of a table for a sink", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		object, err := f.body.read(cmd.Context(), a)
		if err != nil {
			return err
		}
		tables := f.tables
		if len(tables) == 0 {
			tables = []string{""}
		}
		for _, table := range tables {
			request := client.Request{Method: http.MethodPost, Path: sinkKind.path(args[0], "backfills"), Body: f.object(object, table)}
			if err := a.change(cmd, c, request, "backfill", "created"); err != nil {
				return err
			}
		}
		return nil
	})
	cmd.Example = `  sequin backfills create orders --table public.orders
  sequin backfills create orders --table public.orders --where "status = 'open'"
  sequin backfills create orders --table public.orders --sort-column updated_at --from 2026-01-01`
	f.bind(cmd)
	return cmd
}

// backfillsState changes the state of a backfill.
func (a *app) backfillsState(verb, short, state, done string) *cobra.Command {
	return a.sinkCommand(verb+" SINK ID", short, cobra.ExactArgs(2), func(cmd *cobra.Command, c *client.Client, args []string) error {
		request := client.Request{Method: http.MethodPatch, Path: sinkKind.path(args[0], "backfills", args[1]), Body: map[string]any{"state": state}}
		return a.change(cmd, c, request, "backfill", done)
	})
}
