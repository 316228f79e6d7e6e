package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// contextFlags are those of context add and context edit, as the original has them.
type contextFlags struct {
	hostname, apiToken, portal, tunnelPorts string
	tls, noTLS, setDefault, force           bool
}

func (f *contextFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.hostname, "hostname", "", "the server's `host`, with its port: localhost:7376; or unix:/path/of/admin.sock")
	flags.BoolVar(&f.tls, "tls", false, "speak HTTPS (default for hosts that are not local)")
	flags.BoolVar(&f.noTLS, "no-tls", false, "speak plain HTTP")
	flags.StringVar(&f.apiToken, "api-token", "", "the API `token`; - reads it from the standard input")
	flags.BoolVar(&f.setDefault, "set-default", false, "select this context")
	flags.StringVar(&f.portal, "portal-base-url", "", "kept for the original, whose portal is closed")
	flags.StringVar(&f.tunnelPorts, "tunnel-ports", "", "kept for the original: `port:name`,…")
}

func (a *app) contextCommand() *cobra.Command {
	var add, edit contextFlags
	addCmd := &cobra.Command{
		Use: "add [name]", Short: "Add or overwrite a context", Args: cobra.MaximumNArgs(1),
		Long:    "Add a context, or overwrite the one of that name. What is missing is asked for on a terminal.",
		Example: "  sequin context add prod --hostname sequin.example.com --set-default\n  sequin context add dev --hostname localhost:7376 --api-token - < token.txt",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.contextAdd(cmd, args, &add) },
	}
	add.bind(addCmd)
	editCmd := &cobra.Command{
		Use: "edit [name]", Short: "Change a context", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeContexts,
		Long: "Change a context: only what the flags name. The difference is shown and confirmed.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.contextEdit(cmd, args, &edit) },
	}
	edit.bind(editCmd)
	editCmd.Flags().BoolVar(&edit.force, "force", false, "do not ask")
	one := func(use, about string, aliases []string, run func(context.Context, string) error, question string) *cobra.Command {
		return &cobra.Command{
			Use: use + " [name]", Short: about, Aliases: aliases, Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeContexts,
			RunE: func(cmd *cobra.Command, args []string) error {
				name, err := a.contextArg(cmd.Context(), args, question)
				if err != nil {
					return err
				}
				return run(cmd.Context(), name)
			},
		}
	}
	ls := &cobra.Command{Use: "ls", Short: "List the contexts", Aliases: []string{"list"}, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return a.contextList() }}
	info := one("info", "Show a context; its token is masked", []string{"show"}, a.contextInfo, "show which context?")
	a.outputFlag(ls)
	a.outputFlag(info)
	return group("context", "Keep servers and their tokens under names",
		"A context is a server's address and token under a name, in ~/.sequin/contexts, in the original's format. One of them is selected, and used\n"+
			"when neither --context nor --url nor SEQUIN_URL names a server.",
		addCmd, ls, info,
		one("select", "Select the context to use", nil, a.contextSelect, "select which context?"),
		editCmd,
		one("rm", "Remove a context", []string{"remove"}, a.contextRemove, "remove which context?"),
	)
}

// contextArg is the name that was given, or picked.
func (a *app) contextArg(ctx context.Context, args []string, question string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	store, err := a.contexts()
	if err != nil {
		return "", err
	}
	names, err := store.names()
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", usage("there is no context yet; make one with sequin context add")
	}
	name, err := a.pick(ctx, question, names)
	if errors.Is(err, errNobody) {
		return "", usage("name the context: %s (there is no terminal to ask on)", strings.Join(names, ", "))
	}
	return name, err
}

func (a *app) contextAdd(cmd *cobra.Command, args []string, f *contextFlags) error {
	store, err := a.contexts()
	if err == nil && f.tls && f.noTLS {
		err = usage("--tls and --no-tls exclude each other")
	}
	if err != nil {
		return err
	}
	c := savedContext{Hostname: f.hostname, PortalBaseURL: f.portal, TLS: f.tls}
	if c.Name, err = a.newContextName(cmd.Context(), args); err != nil {
		return err
	}
	if err := checkContextName(c.Name); err != nil {
		return err
	}
	if !f.tls && !f.noTLS {
		c.TLS = c.Hostname != "" && !isLocal(c.Hostname)
	}
	c.takeURL()
	if c.APIToken, err = a.tokenFlag(cmd.Context(), f); err != nil {
		return err
	}
	if f.apiToken == "" && a.screen.asks() {
		if c.APIToken, err = a.secret(cmd.Context(), "API token (empty for none):", false); err != nil {
			return err
		}
	}
	if c.TunnelPorts, err = parseTunnelPorts(f.tunnelPorts); err != nil {
		return err
	}
	if err := store.save(c); err != nil {
		return err
	}
	a.note("context %q is saved: %s", c.Name, c.url())
	return a.offerDefault(cmd.Context(), store, c.Name, f)
}

func (a *app) newContextName(ctx context.Context, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	name, err := a.ask(ctx, "name of the context:")
	if errors.Is(err, errNobody) {
		return "", usage("name the context: sequin context add NAME")
	}
	return strings.TrimSpace(name), err
}

// offerDefault selects the new context when that was asked for, or is answered with yes, or when there is no other.
func (a *app) offerDefault(ctx context.Context, store contextStore, name string, f *contextFlags) error {
	names, err := store.names()
	if err != nil {
		return err
	}
	wanted := f.setDefault || len(names) == 1
	if !wanted && a.screen.asks() {
		if wanted, err = a.confirm(ctx, fmt.Sprintf("select %q?", name)); err != nil {
			return err
		}
	}
	if !wanted {
		return nil
	}
	return a.contextSelect(ctx, name)
}

// tokenFlag is the token of the flag, or of the standard input.
func (a *app) tokenFlag(ctx context.Context, f *contextFlags) (string, error) {
	if f.apiToken != "-" {
		return f.apiToken, nil
	}
	token, err := a.secret(ctx, "", true)
	return strings.TrimSpace(token), err
}

func parseTunnelPorts(text string) ([]tunnelPort, error) {
	if text == "" {
		return nil, nil
	}
	var all []tunnelPort
	for pair := range strings.SplitSeq(text, ",") {
		port, name, ok := strings.Cut(pair, ":")
		if !ok || port == "" || name == "" || strings.Contains(name, ":") {
			return nil, usage("--tunnel-ports has %q; it is a list of port:name", pair)
		}
		all = append(all, tunnelPort{NameOrID: name, Port: port})
	}
	return all, nil
}

func formatTunnelPorts(ports []tunnelPort) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = p.Port + ":" + p.NameOrID
	}
	return strings.Join(texts, ", ")
}

func (a *app) contextList() error {
	store, err := a.contexts()
	if err != nil {
		return err
	}
	names, err := store.names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		a.note("there is no context yet; make one with sequin context add")
		return nil
	}
	t := table{head: []string{"NAME", "HOSTNAME", "TLS", "DEFAULT"}}
	shown := []json.RawMessage{}
	for _, name := range names {
		c, err := store.load(name)
		if err != nil {
			a.note("%s", text(err))
			continue
		}
		selected := ""
		if c.Default {
			selected = "✓"
		}
		t.add(c.Name, c.Hostname, strconv.FormatBool(c.TLS), selected)
		shown = append(shown, c.shown())
	}
	body, err := json.Marshal(map[string]any{"data": shown})
	if err != nil {
		return fmt.Errorf("encode the contexts: %w", err)
	}
	return a.answer(body, func() error { return a.printTable(&t) })
}

func (a *app) contextInfo(_ context.Context, name string) error {
	store, err := a.contexts()
	if err != nil {
		return err
	}
	c, err := store.load(name)
	if err != nil {
		return err
	}
	return a.answer(c.shown(), func() error { return a.printTable(&table{rows: contextRows(&c)}) })
}

func contextRows(c *savedContext) [][]cell {
	t := table{}
	t.add("Name", c.Name)
	if c.Description != "" {
		t.add("Description", c.Description)
	}
	t.add("Hostname", c.Hostname)
	t.add("TLS", strconv.FormatBool(c.TLS))
	t.add("URL", c.url())
	t.add("Default", strconv.FormatBool(c.Default))
	t.add("API Token", masked(c.APIToken))
	if s := c.Session; s != nil {
		t.add("Session", strings.TrimSpace(s.Email+" "+s.Role))
		t.add("Account", s.Account)
		t.add("Expires", s.ExpiresAt)
	}
	if c.PortalBaseURL != "" {
		t.add("Portal Base URL", c.PortalBaseURL)
	}
	if len(c.TunnelPorts) > 0 {
		t.add("Tunnel Ports", formatTunnelPorts(c.TunnelPorts))
	}
	return t.rows
}

func (a *app) contextSelect(_ context.Context, name string) error {
	store, err := a.contexts()
	if err != nil {
		return err
	}
	if _, err := store.load(name); err != nil {
		return err
	}
	if err := store.selectDefault(name); err != nil {
		return err
	}
	a.note("context %q is selected", name)
	return nil
}

func (a *app) contextRemove(_ context.Context, name string) error {
	store, err := a.contexts()
	if err != nil {
		return err
	}
	if err := store.remove(name); err != nil {
		return err
	}
	a.note("context %q is removed", name)
	return nil
}

func (a *app) contextEdit(cmd *cobra.Command, args []string, f *contextFlags) error {
	name, err := a.contextArg(cmd.Context(), args, "change which context?")
	if err != nil {
		return err
	}
	store, err := a.contexts()
	if err != nil {
		return err
	}
	old, err := store.load(name)
	if err != nil {
		return err
	}
	changed, err := a.editedContext(cmd, old, f)
	if err != nil {
		return err
	}
	lines := contextDiff(&old, &changed)
	if len(lines) == 0 && !f.setDefault {
		a.note("nothing changes")
		return nil
	}
	if len(lines) > 0 {
		for _, line := range lines {
			a.note("%s", line)
		}
		if err := a.certain(cmd.Context(), f.force, fmt.Sprintf("change context %q?", name)); err != nil {
			return sayForce(err)
		}
		if err := store.save(changed); err != nil {
			return err
		}
		a.note("context %q is changed", name)
	}
	if f.setDefault {
		return a.contextSelect(cmd.Context(), name)
	}
	return nil
}

// sayForce names the flag that this command has for historical reasons.
func sayForce(err error) error {
	if exit, ok := errors.AsType[*exitError](err); ok && exit.code == ExitUsage {
		return usage("there is no terminal to ask on; say so with --force")
	}
	return err
}

func (a *app) editedContext(cmd *cobra.Command, c savedContext, f *contextFlags) (savedContext, error) {
	given := cmd.Flags().Changed
	if given("tls") && given("no-tls") {
		return c, usage("--tls and --no-tls exclude each other")
	}
	if given("hostname") {
		c.Hostname = f.hostname
		c.takeURL()
	}
	if given("portal-base-url") {
		c.PortalBaseURL = f.portal
	}
	switch {
	case given("tls"):
		c.TLS = f.tls
	case given("no-tls"):
		c.TLS = !f.noTLS
	}
	var err error
	if given("api-token") {
		c.APIToken, err = a.tokenFlag(cmd.Context(), f)
		c.Session = nil
	}
	if err == nil && given("tunnel-ports") {
		c.TunnelPorts, err = parseTunnelPorts(f.tunnelPorts)
	}
	return c, err
}

func contextDiff(old, changed *savedContext) []string {
	var lines []string
	diff := func(key, from, to string) {
		if from != to {
			lines = append(lines, fmt.Sprintf("~ %s: %q → %q", key, from, to))
		}
	}
	diff("hostname", old.Hostname, changed.Hostname)
	diff("tls", strconv.FormatBool(old.TLS), strconv.FormatBool(changed.TLS))
	diff("portal_hostname", old.PortalBaseURL, changed.PortalBaseURL)
	if old.APIToken != changed.APIToken {
		lines = append(lines, fmt.Sprintf("~ api_token: %s → %s", masked(old.APIToken), masked(changed.APIToken)))
	}
	diff("tunnelPorts", formatTunnelPorts(old.TunnelPorts), formatTunnelPorts(changed.TunnelPorts))
	return lines
}
