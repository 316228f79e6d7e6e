package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

// connectTimeout is for requests that make the server reach a database.
const connectTimeout = 2 * time.Minute

var (
	databaseKind = &kind{ //nolint:gochecknoglobals // a table, like those below
		use: "databases", one: "database", aliases: []string{"database", "dbs", "db"}, short: "Databases whose changes are captured", sensitive: true,
		route: []string{"api", "postgres_databases"},
		columns: []column{
			{"NAME", "name"},
			{"HOST", "hostname"},
			{"PORT", "port"},
			{"DATABASE", "database"},
			{"SLOT", "replication_slots.0.slot_name"},
			{"PUBLICATION", "replication_slots.0.publication_name"},
			{"STATUS", "replication_slots.0.status"},
		},
		example: "  sequin databases create -f shop.yaml\n" +
			"  sequin databases create shop --set url=postgres://sequin:secret@db.internal:5432/shop \\\n" +
			"    --set 'replication_slots=[{\"slot_name\":\"sequin_slot\",\"publication_name\":\"sequin_pub\"}]'",
	}
	sinkKind = &kind{ //nolint:gochecknoglobals // as above
		use: "sinks", one: "sink", aliases: []string{"sink"}, short: "Sinks: where changes go",
		route: []string{"api", "sinks"},
		columns: []column{
			{"NAME", "name"}, {"DATABASE", "database"}, {"TYPE", "destination.type"}, {"STATUS", "status"}, {"HEALTH", "health.status"}, {"ACTIONS", "actions"},
		},
		prepare: asShown,
		example: "  sequin sinks create orders --set database=shop --set destination.type=sequin_stream --set 'source.include_tables=[\"public.orders\"]'\n" +
			"  sequin sinks create -f sink.yaml",
	}
	endpointKind = &kind{ //nolint:gochecknoglobals // as above
		use: "endpoints", one: "HTTP endpoint", aliases: []string{"endpoint", "http-endpoints"}, short: "HTTP endpoints that webhooks go to",
		route:   []string{"api", "destinations", "http_endpoints"},
		columns: []column{{"NAME", "name"}, {"URL", "url|path"}, {"HEADERS", "headers"}, {"ENCRYPTED HEADERS", "encrypted_headers"}},
		example: "  sequin endpoints create hook --set url=https://api.example.com/hook --set 'encrypted_headers={\"Authorization\":\"Bearer …\"}'",
	}
	functionKind = &kind{ //nolint:gochecknoglobals // as above
		use: "functions", one: "function", aliases: []string{"function"}, short: "Functions that filter, transform, route or enrich",
		route:   []string{"api", "functions"},
		columns: []column{{"NAME", "name"}, {"TYPE", "type"}, {"LANGUAGE", "language"}, {"SINK TYPE", "sink_type"}, {"DESCRIPTION", "description"}},
		long:    "Functions that filter, transform, route or enrich messages. In the file of -f, the key file names a file with the code, relative to it.",
		example: "  sequin functions create only-id --set type=path --set path=record.id\n  sequin functions create -f shape.yaml",
		prepare: inlineCode,
	}
	retentionKind = &kind{ //nolint:gochecknoglobals // as above
		use: "retentions", one: "change retention", aliases: []string{"retention", "change-retentions"}, short: "Change retentions: tables whose changes are kept in another table",
		route: []string{"api", "change_retentions"},
		columns: []column{
			{"NAME", "name"},
			{"STATUS", "status"},
			{"FROM", "source_database"},
			{"SCHEMA", "source_table_schema"},
			{"TABLE", "source_table_name"},
			{"TO", "destination_database"},
			{"SCHEMA", "destination_table_schema"},
			{"TABLE", "destination_table_name"},
		},
		example: "  sequin retentions create -f audit.yaml",
	}
)

// asShown takes out what show tells of a sink and nobody declares, so that what was shown can be changed and sent back.
func asShown(object map[string]any, _ string) error {
	delete(object, "health")
	delete(object, "active_backfills")
	return nil
}

func (a *app) databasesCommand() *cobra.Command {
	k := databaseKind
	action := func(use, short, route, done string) *cobra.Command {
		cmd := &cobra.Command{
			Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeNames(k),
			RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
				res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: k.path(args[0], route), Timeout: connectTimeout})
				if err != nil {
					return err
				}
				return a.answer(res.Body, func() error { return a.write(fmt.Sprintf(done+"\n", args[0])) })
			}),
		}
		a.outputFlag(cmd)
		return cmd
	}
	slot := &cobra.Command{
		Use: "slot NAME", Short: "Show slot, publication and retained WAL as Postgres has them, beside the log", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeNames(k),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return a.showPath(cmd, c, k.path(args[0], "slot"), nil)
		}),
	}
	a.outputFlag(slot)
	return a.command(k,
		action("test", "Connect to a database and check all that capture needs", "test_connection", "database %q can be used"),
		action("refresh", "Read the tables of a database anew", "refresh_tables", "the tables of database %q are read anew"),
		slot,
	)
}

func (a *app) sinksCommand() *cobra.Command {
	position := &cobra.Command{
		Use: "position NAME", Short: "Show how far a sink has got in the log", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeNames(sinkKind),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return a.showPath(cmd, c, sinkKind.path(args[0], "position"), nil)
		}),
	}
	a.outputFlag(position)
	return a.command(sinkKind,
		a.statusChange("pause", "Keep changes for a sink, and deliver none", "paused", ""),
		a.statusChange("resume", "Deliver again", "active", ""),
		a.statusChange("disable", "Keep nothing for a sink; it returns at what comes then", "disabled", "disable sink %s? It will not get the changes that come in the meantime."),
		position, a.sinksMove(), a.sinksUndoMove(), a.sinksMoves(),
	)
}

// statusChange sets the status of sinks; one that loses something asks first.
func (a *app) statusChange(use, short, status, question string) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: use + " NAME...", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeNames(sinkKind),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if question != "" {
				if err := a.certain(cmd.Context(), yes, fmt.Sprintf(question, quoted(args))); err != nil {
					return err
				}
			}
			for _, name := range args {
				r := client.Request{Method: http.MethodPatch, Path: sinkKind.path(name), Body: map[string]any{"status": status}}
				if err := a.change(cmd, c, r, "sink", "is "+status); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	if question != "" {
		yesFlag(cmd, &yes)
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) endpointsCommand() *cobra.Command { return a.command(endpointKind) }
func (a *app) functionsCommand() *cobra.Command {
	return a.command(functionKind, a.tryCommand(), a.functionsBuild(), a.functionsConvert())
}
