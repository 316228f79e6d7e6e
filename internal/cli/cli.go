// Package cli is the sequin command: one file per subcommand. Commands write to the streams they are given and return errors made for people;
// Main turns those into text and an exit code.
package cli

//go:generate go run ../../scripts/clireference ../../docs/reference/cli.md

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// Streams are the process's own.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Reload   <-chan os.Signal // asks serve to read its configuration again

	// OfflineHandler opens a data directory whose server does not run, for sequin admin: it answers as the operator's socket would, until it is
	// closed. nil: that cannot be done.
	OfflineHandler func(dataDir string) (handler http.Handler, closeDir func() error, err error)
}

// Version is set when a release is linked.
var Version = "" //nolint:gochecknoglobals // the linker can set nothing else

// version is the release, or what the build knows of its commit.
func version() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}

// Main runs one command and returns the exit code.
func Main(ctx context.Context, streams Streams, args []string) int {
	root := newRoot(streams) //nolint:contextcheck // the commands get ctx from cobra
	begun := false
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true } // flags and arguments were fine
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if !begun {
		err = &exitError{ExitUsage, fmt.Errorf("%w\nsee sequin --help", err)}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintln(streams.Err, text(err))
	}
	return exitCode(err)
}

func newRoot(streams Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "sequin",
		Short:         "Send Postgres changes anywhere",
		Long:          "Sequin connects to Postgres over logical replication, keeps every change in its own durable log, and hands each to independent consumers until they acknowledge it.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.SetVersionTemplate("sequin {{.Version}}\n")
	a := newApp(streams)
	a.globalFlags(root)
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupDeclare, Title: "Declare:"},
		&cobra.Group{ID: groupWatch, Title: "Watch and repair:"},
		&cobra.Group{ID: groupAccess, Title: "Access:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupRun, newServe(streams), newTail(streams), a.consumeCommand())
	add(groupDeclare, a.configCommand(), a.databasesCommand(), a.sinksCommand(), a.endpointsCommand(), a.functionsCommand(), a.retentionsCommand(),
		a.backfillsCommand(), a.revisionsCommand())
	add(groupWatch, newCheck(streams), a.statusCommand(), a.messagesCommand(), a.logCommand(), a.auditCommand())
	add(groupAccess, a.contextCommand(), a.loginCommand(), a.logoutCommand(), a.accountCommand(), a.usersCommand(), a.tokensCommand(), a.adminCommand())
	root.AddCommand(newVersion(streams), newTunnel())
	for _, c := range root.Commands() {
		keepUsage(c)
	}
	return root
}

// Groups of commands in the help.
const (
	groupRun     = "run"
	groupDeclare = "declare"
	groupWatch   = "watch"
	groupAccess  = "access"
)

// Commands is the whole command, for the reference page.
func Commands() *cobra.Command {
	return newRoot(Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
}

func newVersion(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(streams.Out, "sequin", version())
			return err
		},
	}
}
