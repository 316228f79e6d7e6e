package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/problem"
)

// app is one run of a command that speaks to a server.
type app struct {
	streams Streams
	screen  screen
	lines   *bufio.Reader // of the input
	getenv  func(string) string

	contextName, url, token, account string // the global flags
	output                           format
}

func newApp(streams Streams) *app {
	return &app{streams: streams, screen: newScreen(streams), getenv: os.Getenv, output: formatTable}
}

func (a *app) globalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.contextName, "context", "", "use the context of this `name` instead of the default one")
	f.StringVar(&a.url, "url", "", "the server's `address`: http://host:7376, https://host, unix:/path/of/admin.sock (SEQUIN_URL)")
	f.StringVar(&a.token, "token", "", "the API `token`; better in SEQUIN_TOKEN or in a context, where other users of the machine cannot see it")
	f.StringVar(&a.account, "account", "", "act in the account of this `name` or id; on the unix socket, and at login")
	complete(root, "context", func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.completeContexts(nil, nil, begun)
	})
}

// target is a server and what opens it.
type target struct {
	url, token string
	context    string // its name; "" when none was used
	session    bool   // the token is that of a login
}

// find chooses the server: a flag, a context that was named, the environment, the default context, and else this machine. A context's token
// goes to that context's address alone.
func (a *app) find() (target, error) {
	token := a.token
	if token == "" {
		token = strings.TrimSpace(a.getenv("SEQUIN_TOKEN"))
	}
	if a.url != "" && a.contextName != "" {
		return target{}, usage("--url and --context each name a server; give one")
	}
	if a.url != "" {
		return target{url: a.url, token: token}, nil
	}
	if env := strings.TrimSpace(a.getenv("SEQUIN_URL")); env != "" && a.contextName == "" {
		return target{url: env, token: token}, nil
	}
	store, err := a.contexts()
	if err != nil {
		return target{}, err
	}
	name := a.contextName
	if name == "" {
		if name, err = store.defaultName(); err != nil {
			return target{}, err
		}
	}
	if name == "" {
		return target{url: client.DefaultURL, token: token}, nil
	}
	c, err := store.load(name)
	if err != nil {
		return target{}, err
	}
	switch {
	case a.token != "":
		token = a.token
	case a.contextName != "" || token == "": // a context that was named wins over the environment
		token = c.APIToken
		return target{url: c.url(), token: token, context: name, session: c.Session != nil}, nil
	}
	return target{url: c.url(), token: token, context: name}, nil
}

// client connects to nothing yet.
func (a *app) client() (*client.Client, error) {
	t, err := a.find()
	if err != nil {
		return nil, err
	}
	return a.dial(t)
}

func (a *app) dial(t target) (*client.Client, error) {
	if a.account != "" && !strings.HasPrefix(t.url, "unix:") {
		return nil, usage("--account chooses an account on the unix socket (sequin admin, --url unix:/…) and at login; a token belongs to one account")
	}
	return client.New(client.Options{URL: t.url, Token: t.token, Account: a.account, UserAgent: "sequin/" + version(), Waiting: a.waiting})
}

// call is a command that speaks to the server. It explains a missing token.
func (a *app) call(run func(cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		t, err := a.find()
		if err != nil {
			return err
		}
		c, err := a.dial(t)
		if err != nil {
			return err
		}
		defer c.Close()
		return explain(run(cmd, c, args), t)
	}
}

// explain adds what only this side knows: that there was no token, and why this address was tried.
func explain(err error, t target) error {
	if answer, ok := errors.AsType[*client.Error](err); ok && answer.Status == http.StatusUnauthorized && (t.token == "" || t.session) {
		p := *answer.Problem
		p.Hint = "give a token with SEQUIN_TOKEN or sequin context add, or sign in with sequin login"
		if t.session {
			p.Hint = "the session of this context has ended; sign in again: sequin login --context " + t.context
		}
		return &client.Error{Status: answer.Status, RequestID: answer.RequestID, Problem: &p}
	}
	away, ok := errors.AsType[*client.UnreachableError](err)
	if !ok {
		return err
	}
	p := *away.Problem
	switch {
	case t.context == "" && t.url == client.DefaultURL:
		p.Hint = "no context is selected, so this machine was tried: start the server with sequin serve, or name another with --url, SEQUIN_URL or sequin context add"
	case strings.Contains(t.url, cloudHost):
		p.Hint = "that was the original's cloud, which is closed; name your own server: sequin context edit " + t.context + " --hostname HOST"
	}
	return &client.UnreachableError{Problem: &p}
}

// cloudHost is where contexts of the original may still point.
const cloudHost = "api.sequinstream.com"

// format is how answers are printed.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

// String, Set and Type make it a flag.
func (f *format) String() string { return string(*f) }

// Set takes one of the formats.
func (f *format) Set(text string) error {
	switch format(text) {
	case formatTable, formatJSON, formatYAML:
		*f = format(text)
		return nil
	}
	return errors.New("it is table, json or yaml")
}

// Type is the flag's word in the help.
func (f *format) Type() string { return "format" }

// outputFlag adds -o.
func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().VarP(&a.output, "output", "o", "table, json or yaml")
	completeWith(cmd, "output", string(formatTable), string(formatJSON), string(formatYAML))
}

func completeWith(cmd *cobra.Command, flag string, words ...string) {
	complete(cmd, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func complete(cmd *cobra.Command, flag string, words cobra.CompletionFunc) {
	// The only error is a flag that does not exist or was completed before, which every run of the command would show.
	if err := cmd.RegisterFlagCompletionFunc(flag, words); err != nil {
		panic(fmt.Sprintf("complete --%s: %v", flag, err))
	}
}

// group is a command that only holds others.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long}
	cmd.AddCommand(commands...)
	return cmd
}

// keepUsage makes wrong words below a group an error; cobra would print the help and report success.
func keepUsage(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		keepUsage(c)
	}
	if cmd.Runnable() || !cmd.HasSubCommands() {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
		}
		return err
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// write writes data to the standard output. That nobody reads any more ends a command without being a failure.
func (a *app) write(text string) error {
	_, err := io.WriteString(a.streams.Out, text)
	if gone(err) {
		return &exitError{ExitOK, errSaid}
	}
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// noAnswer is for answers of another shape than this command knows.
func noAnswer(what string) error {
	return problem.New("unexpected_reply", "the server's answer has no %s", what).
		WithHint("its version may not fit this one: compare sequin version with sequin status")
}
