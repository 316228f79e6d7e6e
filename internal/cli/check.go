package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/postgres"
)

// checkOptions are the flags of sequin check.
type checkOptions struct {
	tables          []string
	slot            string
	publication     string
	output          string
	passwordFile    string
	passwordCommand string
	strict          bool
	oldValues       bool
}

func newCheck(streams Streams) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check postgres://user@host/database",
		Short: "Tell whether a database is ready, and how to mend what is not",
		Long: "Connect to a database and look at all that capturing its changes needs: the way there, TLS, poolers in between, the server's settings, the role,\n" +
			"slot and publication, the tables. Each check says what was found, why it matters and what mends it, in the words of the database's provider\n" +
			"where there is one. It changes nothing on the server. The exit code is 0 without errors and 1 with some.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return checkDatabase(cmd.Context(), streams, args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.tables, "table", nil, "look at this `table` (schema.table, or a name in public); may be repeated. Default: those of the publication, or all")
	f.StringVar(&o.slot, "slot", "", "the replication slot that is to be used, or created")
	f.StringVar(&o.publication, "publication", "", "the publication that is to be used, or created")
	f.BoolVar(&o.oldValues, "old-values", false, "old values of all columns are wanted: warn of tables that do not send them")
	f.StringVar(&o.passwordFile, "password-file", "", "read the password from this file")
	f.StringVar(&o.passwordCommand, "password-command", "", "run this `command`, without a shell, and take the first line that it prints as the password")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 for warnings too")
	f.StringVarP(&o.output, "output", "o", "table", "`format`: table, json or yaml")
	return cmd
}

// checkDatabase runs the checks and shows them.
func checkDatabase(ctx context.Context, streams Streams, url string, o checkOptions) error {
	source, err := checkSource(url, o)
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	report := postgres.Check(ctx, source, postgres.PreflightOptions{
		Slot: o.slot, Publication: o.publication, CreateSlot: true, CreatePublication: true, Tables: tableNames(o.tables), OldValues: o.oldValues,
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := showReport(streams.Out, report, o.output); err != nil && !gone(err) {
		return err
	}
	if report.Status() == postgres.StatusFail || o.strict && report.Status() == postgres.StatusWarn {
		return &exitError{ExitError, errors.New("the database is not ready: " + tally(report))}
	}
	return nil
}

// checkSource is where to connect, and with which password.
func checkSource(url string, o checkOptions) (postgres.Config, error) {
	if formats := []string{"table", "json", "yaml"}; !slices.Contains(formats, o.output) {
		return postgres.Config{}, fmt.Errorf("--output is %q; it is one of %s", o.output, strings.Join(formats, ", "))
	}
	if o.passwordFile != "" && o.passwordCommand != "" {
		return postgres.Config{}, errors.New("--password-file and --password-command contradict each other; give one of them")
	}
	source, err := postgres.ParseURL(url)
	if err != nil {
		return postgres.Config{}, err
	}
	source.AppName = "sequin check"
	switch {
	case o.passwordFile != "":
		source.Password = postgres.PasswordFile(o.passwordFile)
	case o.passwordCommand != "":
		argv, err := words(o.passwordCommand)
		if err != nil {
			return postgres.Config{}, fmt.Errorf("--password-command: %w", err)
		}
		source.Password = postgres.PasswordCommand(argv)
	}
	return source, nil
}

// words splits a command at its spaces. Quotes keep spaces, and a backslash the character after it, as in a shell; nothing else is special.
func words(text string) ([]string, error) {
	var (
		all            []string
		word           strings.Builder
		begun, escaped bool
		quote          rune
	)
	for _, r := range text {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case unicode.IsSpace(r):
			if begun {
				all = append(all, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	switch {
	case quote != 0:
		return nil, fmt.Errorf("a %c is not closed", quote)
	case escaped:
		return nil, errors.New("it ends with a backslash")
	case begun:
		all = append(all, word.String())
	}
	if len(all) == 0 {
		return nil, errors.New("it is empty")
	}
	return all, nil
}

func showReport(w io.Writer, r postgres.Report, format string) error {
	if format == "table" {
		_, err := io.WriteString(w, reportTable(r))
		return err
	}
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	encoded = append(encoded, '\n')
	if format == "yaml" {
		if encoded, err = config.YAMLFromJSON(encoded); err != nil {
			return err
		}
	}
	_, err = w.Write(encoded)
	return err
}

// reportTable is the report for a terminal: a line for each check, and under those that are not well why they matter and what mends them.
func reportTable(r postgres.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s as %s", r.Database, r.Address, r.User)
	if r.VersionText != "" {
		fmt.Fprintf(&b, ": PostgreSQL %s", r.VersionText)
	}
	if r.Provider != postgres.ProviderNone {
		fmt.Fprintf(&b, ", %s", r.Provider)
	}
	b.WriteString("\n\n")
	width := 0
	for _, i := range r.Items {
		width = max(width, len(i.Name))
	}
	for _, i := range r.Items {
		name := strings.ReplaceAll(i.Name, "_", " ")
		if i.Problem == nil {
			fmt.Fprintf(&b, "%-8s %-*s  %s\n", i.Status, width, name, i.Found)
			continue
		}
		fmt.Fprintf(&b, "%-8s %-*s  %s  [%s]\n", i.Status, width, name, i.Problem.Message, i.Problem.Code)
		indent := strings.Repeat(" ", len("warning  ")+width+2)
		if i.Found != i.Problem.Message && i.Found != "" {
			fmt.Fprintf(&b, "%sfound:  %s\n", indent, i.Found)
		}
		if i.Problem.Detail != "" && i.Problem.Detail != i.Found {
			fmt.Fprintf(&b, "%sdetail: %s\n", indent, i.Problem.Detail)
		}
		fmt.Fprintf(&b, "%swhy:    %s\n%srepair: %s\n", indent, i.Why, indent, i.Problem.Hint)
	}
	fmt.Fprintf(&b, "\n%s", tally(r))
	if !r.Connected {
		b.WriteString("; the other checks need a connection")
	}
	if r.Status() != postgres.StatusOK {
		fmt.Fprintf(&b, "\nmore: %s", r.Provider.Guide())
	}
	b.WriteString("\n")
	return b.String()
}

// tally counts the outcomes.
func tally(r postgres.Report) string {
	number := func(n int, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %ss", n, one)
	}
	return fmt.Sprintf("%s, %s, %d ok", number(r.Count(postgres.StatusFail), "error"), number(r.Count(postgres.StatusWarn), "warning"), r.Count(postgres.StatusOK))
}
