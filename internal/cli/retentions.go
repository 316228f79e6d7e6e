package cli

import (
	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/postgres/eventtable"
	"github.com/sequinstream/sequin/internal/resource"
)

func (a *app) retentionsCommand() *cobra.Command { return a.command(retentionKind, a.retentionDDL()) }

// retentionDDL prints what makes the table that a change retention writes to.
func (a *app) retentionDDL() *cobra.Command {
	var partitioned bool
	cmd := &cobra.Command{
		Use: "ddl [SCHEMA.]TABLE", Short: "Print the SQL that makes a table for the changes that are kept", Args: cobra.ExactArgs(1),
		Long: "Print the SQL that makes the destination table of a change retention, with its unique key and indexes. It connects to nothing.\n" +
			"A partitioned one is partitioned by the time of the commit; its partitions are yours to make and to drop.",
		Example: "  sequin retentions ddl audit.user_events | psql postgres://localhost/app",
		RunE: func(_ *cobra.Command, args []string) error {
			name := resource.ParseTableName(args[0])
			return a.write(eventtable.DDL(eventtable.Name{Schema: name.Schema, Table: name.Name}, partitioned) + ";\n")
		},
	}
	cmd.Flags().BoolVar(&partitioned, "partitioned", false, "partition it by the time of the commit, for pg_partman")
	return cmd
}
