package cli

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/config"
)

// admin is the local operator's part: it speaks over the socket in the data directory, which only the server's own user can open.
type admin struct {
	*app
	dataDir string
}

func (a *app) adminCommand() *cobra.Command {
	o := &admin{app: a}
	cmd := group("admin", "Operate this machine's server: accounts, users, tokens, the vault's key",
		"These commands speak to the server over the unix socket in its data directory; whoever may read that directory is the operator, and needs no token.\n"+
			"--account chooses the account, unless there is only one.",
		o.accounts(), o.users(),
		group("tokens", "API tokens of an account", "", a.tokenCommands(o.call, "revoke")...),
		o.action("rotate-vault-key", "Seal secrets with a new key",
			"Make a new key in the data directory, seal every stored secret with it, and forget the old one. A key that was given in SEQUIN_VAULT_KEY is rotated there.",
			client.Path("api", "admin", "vault", "rotate")),
		o.action("setup-link", "Print a new link to set the server up in a browser",
			"Print a link with which the first owner is made. It works once; an earlier one stops working.",
			client.Path("api", "admin", "setup_link")),
	)
	cmd.PersistentFlags().StringVar(&o.dataDir, "data-dir", "", "the server's data `directory` (SEQUIN_DATA_DIR; default that of sequin serve)")
	return cmd
}

// socket is where the server listens for the operator.
const socket = "admin.sock"

func (o *admin) dir() string {
	if o.dataDir != "" {
		return o.dataDir
	}
	if dir := strings.TrimSpace(o.getenv("SEQUIN_DATA_DIR")); dir != "" {
		return dir
	}
	return config.NewServer().DataDir
}

// call is a command on the socket; when no server listens there, on the data directory itself if that can be.
func (o *admin) call(run func(cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if o.contextName != "" || o.token != "" {
			return usage("sequin admin speaks to this machine's server over its socket; it takes no --context and no --token")
		}
		if o.url != "" && !strings.HasPrefix(o.url, "unix:") {
			return usage("sequin admin speaks to a unix socket; --url is unix:/path/of/%s", socket)
		}
		options := client.Options{URL: o.url, Account: o.account, UserAgent: "sequin/" + version(), Waiting: o.waiting}
		if options.URL == "" {
			dir, err := filepath.Abs(o.dir())
			if err != nil {
				return fmt.Errorf("find the data directory: %w", err)
			}
			options.URL = "unix:" + filepath.Join(dir, socket)
		}
		err := o.withServer(options, func(c *client.Client) error { return run(cmd, c, args) }, func() error { return o.probe(cmd, options) })
		return o.explainDir(err)
	}
}

// explainDir says when the data directory is not there at all: a wrong one is the usual mistake.
func (o *admin) explainDir(err error) error {
	away, ok := errors.AsType[*client.UnreachableError](err)
	if !ok || !away.NotRunning() || o.url != "" {
		return err
	}
	if _, missing := os.Stat(o.dir()); missing == nil {
		return err
	}
	p := *away.Problem
	p.Detail = fmt.Sprintf("the data directory %s does not exist, or this user may not look", o.dir())
	return &client.UnreachableError{Problem: &p}
}

// probe reports whether a server listens.
func (o *admin) probe(cmd *cobra.Command, options client.Options) error {
	c, err := client.New(options)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Do(cmd.Context(), client.Request{Path: client.Path("livez")})
	if _, answered := errors.AsType[*client.Error](err); answered {
		return nil
	}
	return err
}

func (o *admin) withServer(options client.Options, run func(*client.Client) error, probe func() error) error {
	if o.streams.OfflineHandler != nil && o.url == "" {
		away, ok := errors.AsType[*client.UnreachableError](probe())
		if ok && away.NotRunning() {
			if err := o.offline(options, run); !errors.Is(err, errNoDataDir) {
				return err
			}
		}
	}
	c, err := client.New(options)
	if err != nil {
		return err
	}
	defer c.Close()
	return run(c)
}

// offline serves the requests in this process. Whatever it did is closed, and so durable, before the command ends.
func (o *admin) offline(options client.Options, run func(*client.Client) error) (err error) {
	handler, closeDir, err := o.streams.OfflineHandler(o.dir())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDir()) }()
	options.Transport = client.Serve(handler)
	c, err := client.New(options)
	if err != nil {
		return err
	}
	defer c.Close()
	return run(c)
}

var accountColumns = []column{{"NAME", "name"}, {"ID", "id"}, {"CREATED", "inserted_at"}} //nolint:gochecknoglobals // a table

func (o *admin) accounts() *cobra.Command {
	path := client.Path("api", "admin", "accounts")
	list := &cobra.Command{
		Use: "list", Short: "List the accounts", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		RunE: o.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Do(cmd.Context(), client.Request{Path: path})
			if err != nil {
				return err
			}
			return o.list(res.Body, accountColumns, "there are no accounts", "")
		}),
	}
	create := &cobra.Command{
		Use: "create NAME", Short: "Make an account", Args: cobra.ExactArgs(1),
		RunE: o.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return o.change(cmd, c, client.Request{Method: http.MethodPost, Path: path, Body: map[string]any{"name": args[0]}}, "account", "created")
		}),
	}
	rename := &cobra.Command{
		Use: "rename NAME NEWNAME", Short: "Rename an account", Args: cobra.ExactArgs(2),
		RunE: o.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			r := client.Request{Method: http.MethodPatch, Path: path + client.Path(args[0]), Body: map[string]any{"name": args[1]}}
			return o.change(cmd, c, r, "account", "is its name now")
		}),
	}
	for _, cmd := range []*cobra.Command{list, create, rename} {
		o.outputFlag(cmd)
	}
	var yes bool
	del := &cobra.Command{
		Use: "delete NAME", Short: "Delete an account that declares nothing any more", Aliases: []string{"rm"}, Args: cobra.ExactArgs(1),
		RunE: o.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			question := fmt.Sprintf("delete account %q with its tokens and memberships?", args[0])
			if err := o.certain(cmd.Context(), yes, question); err != nil {
				return err
			}
			return o.deleteEach(cmd, args, true, "account", func(name string) error {
				_, err := c.Do(cmd.Context(), client.Request{Method: http.MethodDelete, Path: path + client.Path(name)})
				return err
			})
		}),
	}
	yesFlag(del, &yes)
	return group("accounts", "Accounts", "", list, create, rename, del)
}

var adminUserColumns = []column{{"EMAIL", "email"}, {"ROLE", "role"}, {"ACCOUNT", "account.name|account"}, {"CREATED", "inserted_at"}, {"ID", "id"}} //nolint:gochecknoglobals // a table

func (o *admin) users() *cobra.Command {
	path := client.Path("api", "admin", "users")
	list := &cobra.Command{
		Use: "list", Short: "List the users", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		RunE: o.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Do(cmd.Context(), client.Request{Path: path})
			if err != nil {
				return err
			}
			return o.list(res.Body, adminUserColumns, "there are no users", "")
		}),
	}
	o.outputFlag(list)
	var password passwordFlag
	set := &cobra.Command{
		Use: "set-password EMAIL", Short: "Give a user a new password; it is asked for", Args: cobra.ExactArgs(1),
		RunE: o.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			secret, err := password.read(cmd.Context(), o.app, true)
			if err != nil {
				return err
			}
			if _, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: path + client.Path(args[0], "password"), Body: map[string]any{"password": secret}}); err != nil {
				return err
			}
			return o.write(fmt.Sprintf("user %q has a new password\n", args[0]))
		}),
	}
	password.bind(set)
	var yes bool
	del := &cobra.Command{
		Use: "delete EMAIL...", Short: "Remove users from an account", Aliases: []string{"rm"}, Args: cobra.MinimumNArgs(1),
		RunE: o.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return o.deleteEach(cmd, args, yes, "user", func(email string) error {
				return o.removeUser(cmd, c, path, email)
			})
		}),
	}
	yesFlag(del, &yes)
	return group("users", "Users", "", list, o.userCreate(o.call, path), set, del)
}

// removeUser removes a user from the account that was named, or from the only one that they are in.
func (o *admin) removeUser(cmd *cobra.Command, c *client.Client, path, email string) error {
	res, err := c.Do(cmd.Context(), client.Request{Path: path})
	if err != nil {
		return err
	}
	d, err := readData(res.Body)
	if err != nil {
		return err
	}
	var id string
	var accounts []string
	for _, u := range d.Data {
		if strings.EqualFold(short(at(u, "email")), email) || short(at(u, "id")) == email {
			id = short(at(u, "id"))
			accounts = append(accounts, short(at(u, "account.name|account")))
		}
	}
	switch {
	case len(accounts) == 0:
		return noneNamed("user", email)
	case len(accounts) > 1:
		return usage("user %q is in several accounts: %s; say with --account which", email, strings.Join(accounts, ", "))
	}
	_, err = c.Do(cmd.Context(), client.Request{Method: http.MethodDelete, Path: client.Path("api", "users", id), Account: accounts[0]})
	return err
}

// action is a command without arguments whose answer is shown as it comes; a link alone.
func (o *admin) action(use, about, long, path string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: about, Long: long, Args: cobra.NoArgs,
		RunE: o.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: path, Timeout: connectTimeout})
			if err != nil {
				return err
			}
			return o.answer(res.Body, func() error {
				v, err := mapOf(res)
				if link := short(at(v, "url|link|setup_link")); err == nil && link != "" {
					return o.write(clean(link, false) + "\n")
				}
				return o.showObject(res.Body)
			})
		}),
	}
	o.outputFlag(cmd)
	return cmd
}
