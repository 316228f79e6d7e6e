// Package cli is the sequin command: one file per subcommand. Commands write to the streams they are given and return errors made for people;
// Main turns those into text and an exit code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/problem"
)

// Streams are the process's own.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Reload   <-chan os.Signal // asks serve to read its configuration again
}

// Exit codes; docs/reference/cli.md explains them.
const (
	ExitOK      = 0
	ExitError   = 1 // it did not work
	ExitUsage   = 2 // wrong flags or arguments
	ExitInvalid = 3 // the configuration is not valid
)

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

// exitError carries an exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

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
	fmt.Fprintln(streams.Err, text(err))
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	return ExitError
}

// text renders an error for a terminal: each problem with its detail and its hint, each of several errors on lines of its own.
func text(err error) string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parts, lines []string
		for _, e := range joined.Unwrap() {
			parts, lines = append(parts, e.Error()), append(lines, text(e))
		}
		if strings.Join(parts, "\n") == err.Error() {
			return strings.Join(lines, "\n")
		}
	}
	p, ok := problem.As(err)
	if !ok {
		return err.Error()
	}
	context, _ := strings.CutSuffix(err.Error(), p.Error())
	if context == err.Error() {
		context = "" // the problem sums the error up
	}
	return context + p.Text()
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
	root.AddCommand(newServe(streams), newTail(streams), newCheck(streams), newVersion(streams))
	return root
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
