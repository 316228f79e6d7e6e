package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

func (a *app) configCommand() *cobra.Command {
	return group("config", "Declare everything in a file: plan, apply, export",
		"sequin.yaml declares databases, endpoints, functions and sinks. Variables (${NAME}, ${NAME:-default}) are filled in here, from this environment, and\n"+
			"the files that functions name are read here; the server sees neither. What the server has and the file has not stays, unless --prune.",
		a.configPlan(), a.configApply(), a.configExport(), a.configInterpolate(), a.configValidate(), a.configSchema())
}

// fileArg is the document's name.
func fileArg(args []string) string {
	if len(args) == 0 {
		return config.DefaultFile
	}
	return args[0]
}

// source reads a document and fills it in.
func (a *app) source(ctx context.Context, name string) (*config.Source, error) {
	text, err := a.readInput(ctx, name)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		p := problem.New("config_unreadable", "the configuration file cannot be read").WithDetail("%v", err).WithHint("name the file: sequin config plan FILE")
		return nil, &exitError{ExitInvalid, p}
	}
	dir, shown := filepath.Dir(name), name
	if name == "-" {
		dir, shown = ".", "stdin"
	}
	s, err := config.ReadSource(shown, text, config.SourceOptions{
		Lookup: os.LookupEnv,
		Read: func(file string) ([]byte, error) {
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			return readCode(file)
		},
	})
	if err != nil {
		return nil, err
	}
	for _, w := range s.Warnings {
		a.note("warning: %s", w)
	}
	return s, nil
}

// planRequest asks for a plan.
func planRequest(s *config.Source, prune bool) client.Request {
	body := map[string]any{"yaml": string(s.Text)}
	if prune {
		body["prune"] = true
	}
	return client.Request{Method: http.MethodPost, Path: client.Path("api", "config", "plan"), Body: body, Timeout: connectTimeout}
}

func (a *app) configPlan() *cobra.Command {
	var prune, detailed bool
	cmd := &cobra.Command{
		Use: "plan [FILE]", Short: "Show what an apply would change", Args: cobra.MaximumNArgs(1),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			s, err := a.source(cmd.Context(), fileArg(args))
			if err != nil {
				return err
			}
			res, err := c.Do(cmd.Context(), planRequest(s, prune))
			if err != nil {
				return locate(err, s)
			}
			p, err := readPlan(res.Body)
			if err != nil {
				return err
			}
			a.planWarnings(p)
			if err := a.answer(res.Body, func() error { return a.write(a.renderPlan(p)) }); err != nil {
				return err
			}
			if detailed && len(p.changes) > 0 {
				return &exitError{2, errSaid}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&prune, "prune", false, "also remove what the server has and the file has not")
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 2 when there are changes")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) planWarnings(p *plan) {
	for _, w := range p.warnings {
		a.note("warning: %s", w)
	}
}

func (a *app) configApply() *cobra.Command {
	var prune, approve bool
	cmd := &cobra.Command{
		Use: "apply [FILE]", Short: "Make the server do what the file declares", Args: cobra.MaximumNArgs(1),
		Long: "Show the plan, ask, and apply it: exactly what was shown, or nothing if something else was changed in the meantime.",
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			s, err := a.source(cmd.Context(), fileArg(args))
			if err != nil {
				return err
			}
			return a.apply(cmd.Context(), c, s, prune, approve)
		}),
	}
	cmd.Flags().BoolVar(&approve, "auto-approve", false, "do not ask")
	cmd.Flags().BoolVar(&prune, "prune", false, "also remove what the server has and the file has not")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) apply(ctx context.Context, c *client.Client, s *config.Source, prune, approve bool) error {
	request := planRequest(s, prune)
	res, err := c.Do(ctx, request)
	if err != nil {
		return locate(err, s)
	}
	p, err := readPlan(res.Body)
	if err != nil {
		return err
	}
	a.planWarnings(p)
	out := a.streams.Out
	if a.output != formatTable { // the answer of the apply is the data then
		out = a.streams.Err
	}
	if _, err := fmt.Fprint(out, a.renderPlan(p)); err != nil && !gone(err) {
		return fmt.Errorf("write the plan: %w", err)
	}
	if len(p.changes) == 0 {
		if a.output == formatTable {
			return nil
		}
		return a.answer([]byte(`{"resources":[]}`), nil)
	}
	if !approve {
		if err := a.approved(ctx); err != nil {
			return err
		}
	}
	request.Path = client.Path("api", "config", "apply")
	if body, ok := request.Body.(map[string]any); ok && p.revision != "" {
		body["expect_revision"] = p.revision
	}
	if res, err = c.Do(ctx, request); err != nil {
		return locate(err, s)
	}
	return a.answer(res.Body, func() error {
		add, modify, destroy := p.counts()
		if err := a.write(fmt.Sprintf("\nApply complete: %d added, %d changed, %d destroyed.\n", add, modify, destroy)); err != nil {
			return err
		}
		return a.newTokens(res)
	})
}

// newTokens shows the secrets that were made for tokens of the document, for the only time.
func (a *app) newTokens(res *client.Response) error {
	v, err := mapOf(res)
	if err != nil {
		return err
	}
	tokens, _ := v["tokens"].([]any)
	if len(tokens) == 0 {
		return nil
	}
	if err := a.write("\n"); err != nil {
		return err
	}
	a.note("these tokens were made; they are shown only now:")
	return a.printTable(listTable([]column{{"TOKEN", "name"}, {"SECRET", "token"}}, tokens))
}

// approved asks for yes, in so many letters. It takes the answer from a pipe too, as the original does.
func (a *app) approved(ctx context.Context) error {
	_, _ = fmt.Fprint(a.streams.Err, "\nApply these changes? Only 'yes' is taken as yes: ")
	answer, err := a.readLine(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !a.screen.asks() {
		a.note("")
	}
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was applied; answer yes, or use --auto-approve")
	}
	return nil
}

// mistakeLine is how the server names a place in what it was sent.
var mistakeLine = regexp.MustCompile(`^(?:[^:\s]*:)?\d+:\d+: (\S+) `)

// locate makes places in the document that was sent places in the file that was read.
func locate(err error, s *config.Source) error {
	answer, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	p := *answer.Problem
	at := func(path string) string {
		file, line, column := s.Position(path)
		return fmt.Sprintf("%s:%d:%d: ", file, line, column)
	}
	if p.Detail == "" {
		for _, path := range sortedKeys(p.Fields) {
			for _, what := range p.Fields[path] {
				p.Detail += "\n" + at(path) + path + " " + what
			}
		}
		p.Detail = strings.TrimPrefix(p.Detail, "\n")
	} else {
		lines := strings.Split(p.Detail, "\n")
		for i, line := range lines {
			if m := mistakeLine.FindStringSubmatchIndex(line); m != nil {
				lines[i] = at(line[m[2]:m[3]]) + line[m[2]:]
			}
		}
		p.Detail = strings.Join(lines, "\n")
	}
	return &client.Error{Status: answer.Status, RequestID: answer.RequestID, Problem: &p}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (a *app) configExport() *cobra.Command {
	var sensitive bool
	cmd := &cobra.Command{
		Use: "export", Short: "Print what the account declares as sequin.yaml", Args: cobra.NoArgs,
		Long: "Print what the account declares as YAML that plan and apply read. Without --show-sensitive secrets are masked; account and users are never part of it.",
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			q := url.Values{"show-sensitive": {strconv.FormatBool(sensitive)}}
			res, err := c.Do(cmd.Context(), client.Request{Path: client.Path("api", "config", "export"), Query: q})
			if err != nil {
				return err
			}
			v, err := mapOf(res)
			if err != nil {
				return err
			}
			text, ok := v["yaml"].(string)
			if !ok {
				return noAnswer("yaml")
			}
			if err := a.write(strings.TrimRight(text, "\n") + "\n"); err != nil {
				return err
			}
			if !sensitive {
				a.note("secrets are masked: fill them in before you apply this, or export with --show-sensitive")
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&sensitive, "show-sensitive", false, "show passwords and encrypted headers in clear")
	return cmd
}

func (a *app) configInterpolate() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "interpolate [FILE]", Short: "Print a file with its variables filled in", Args: cobra.MaximumNArgs(1),
		Long: "Print a file as plan and apply send it: variables filled in, the files of functions in their place. - reads the standard input. Nothing is sent.",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.source(cmd.Context(), fileArg(args))
			if err != nil {
				return err
			}
			if output == "" {
				return a.write(string(s.Text))
			}
			if err := os.WriteFile(output, s.Text, 0o644); err != nil {
				return fmt.Errorf("write the result: %w", err)
			}
			a.note("written to %s", output)
			return nil
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "write to this `file` instead of the standard output")
	return cmd
}

func (a *app) configValidate() *cobra.Command {
	return &cobra.Command{
		Use: "validate [FILE]", Short: "Check a file without a server", Args: cobra.MaximumNArgs(1),
		Long: "Check a file by the rules of the server, without one: form, values, names, references within the file. Every mistake is shown with its line.",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.source(cmd.Context(), fileArg(args))
			if err != nil {
				return err
			}
			set, warnings, err := config.Parse(s.Name, s.Text, nil)
			if invalid, ok := errors.AsType[*resource.InvalidError](err); ok {
				return relocate(invalid, s)
			}
			if err != nil {
				return err
			}
			for _, w := range warnings {
				w.File, w.Line, w.Column = s.Position(w.Path)
				a.note("warning: %s", w)
			}
			return a.write(fmt.Sprintf("%s is valid: %d databases, %d HTTP endpoints, %d functions, %d change retentions, %d sinks\n",
				s.Name, len(set.Databases), len(set.HTTPEndpoints), len(set.Functions), len(set.ChangeRetentions), len(set.Sinks)))
		},
	}
}

// relocate gives mistakes the places of the file that was read.
func relocate(invalid *resource.InvalidError, s *config.Source) error {
	moved := &resource.InvalidError{Mistakes: slices.Clone(invalid.Mistakes)}
	for i := range moved.Mistakes {
		m := &moved.Mistakes[i]
		if m.Path != "" {
			m.File, m.Line, m.Column = s.Position(m.Path)
		}
	}
	slices.SortStableFunc(moved.Mistakes, func(a, b resource.Mistake) int { return a.Line - b.Line })
	return moved
}

func (a *app) configSchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of sequin.yaml, for editors", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			a.output = formatJSON
			return a.answer(config.Schema(), nil)
		},
	}
}
