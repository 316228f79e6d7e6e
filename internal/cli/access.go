package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/problem"
)

var (
	tokenColumns = []column{{"NAME", "name"}, {"SCOPES", "scopes"}, {"EXPIRES", "expires_at"}, {"CREATED", "inserted_at"}, {"ID", "id"}} //nolint:gochecknoglobals // a table
	userColumns  = []column{{"EMAIL", "email"}, {"ROLE", "role"}, {"CREATED", "inserted_at"}, {"ID", "id"}}                              //nolint:gochecknoglobals // a table
	roles        = []string{"owner", "editor", "viewer"}                                                                                 //nolint:gochecknoglobals // the words of the API
)

// caller opens the client of a command: the server's, or the operator's socket.
type caller func(run func(cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error

// identify finds the id behind a name in a list; an id is taken as it is. E-mail addresses are compared without case.
func identify(ctx context.Context, c *client.Client, path, key, name, what string) (string, error) {
	if isUUID(name) {
		return name, nil
	}
	res, err := c.Do(ctx, client.Request{Path: path})
	if err != nil {
		return "", err
	}
	d, err := readData(res.Body)
	if err != nil {
		return "", err
	}
	for _, o := range d.Data {
		if is := short(at(o, key)); is == name || key == "email" && strings.EqualFold(is, name) {
			return short(at(o, "id")), nil
		}
	}
	return "", noneNamed(what, name)
}

func noneNamed(what, name string) error {
	return &exitError{ExitNotFound, problem.New("named_not_found", "there is no %s %q", what, name).WithHint("list them for their names")}
}

func (a *app) tokensCommand() *cobra.Command {
	cmd := group("tokens", "API tokens", "API tokens open an account as far as their scopes go: admin, read, or consume:<sink>. A token is shown once, when it is made.", a.tokenCommands(a.call, "delete")...)
	cmd.Aliases = []string{"token", "api-keys"}
	return cmd
}

// tokenCommands are the same over the API and on the operator's socket.
func (a *app) tokenCommands(call caller, remove string) []*cobra.Command {
	path := client.Path("api", "api_keys")
	list := &cobra.Command{
		Use: "list", Short: "List the tokens", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		RunE: call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Do(cmd.Context(), client.Request{Path: path})
			if err != nil {
				return err
			}
			return a.list(res.Body, tokenColumns, "there are no tokens", "")
		}),
	}
	a.outputFlag(list)
	var yes, yesRotate bool
	rotate := &cobra.Command{
		Use: "rotate NAME", Short: "Replace a token's secret; the old one stops working at once", Args: cobra.ExactArgs(1),
		RunE: call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if err := a.certain(cmd.Context(), yesRotate, fmt.Sprintf("rotate token %q? What uses the old secret is refused from then on.", args[0])); err != nil {
				return err
			}
			id, err := identify(cmd.Context(), c, path, "name", args[0], "token")
			if err != nil {
				return err
			}
			return a.newToken(cmd, c, client.Request{Method: http.MethodPost, Path: path + client.Path(id, "rotate")})
		}),
	}
	yesFlag(rotate, &yesRotate)
	a.outputFlag(rotate)
	del := &cobra.Command{
		Use: remove + " NAME...", Short: "Remove tokens; they stop working at once", Aliases: []string{"rm"}, Args: cobra.MinimumNArgs(1),
		RunE: call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return a.deleteEach(cmd, args, yes, "token", func(name string) error {
				id, err := identify(cmd.Context(), c, path, "name", name, "token")
				if err != nil {
					return err
				}
				_, err = c.Do(cmd.Context(), client.Request{Method: http.MethodDelete, Path: path + client.Path(id)})
				return err
			})
		}),
	}
	yesFlag(del, &yes)
	return []*cobra.Command{list, a.tokenCreate(call), rotate, del}
}

func (a *app) tokenCreate(call caller) *cobra.Command {
	var scopes []string
	var expires time.Duration
	var own bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token and show it, once", Args: cobra.ExactArgs(1),
		Example: "  sequin tokens create ci --scope read\n  sequin tokens create worker --scope consume:orders --expires-in 720h",
		RunE: call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			body := map[string]any{"name": args[0]}
			if len(scopes) > 0 {
				body["scopes"] = scopes
			}
			if expires < 0 {
				return usage("--expires-in is negative")
			}
			if expires > 0 {
				body["expires_at"] = time.Now().Add(expires).UTC().Format(time.RFC3339)
			}
			if own {
				secret, err := a.secret(cmd.Context(), "", true)
				if err != nil {
					return err
				}
				body["token"] = strings.TrimSpace(secret)
			}
			return a.newToken(cmd, c, client.Request{Method: http.MethodPost, Path: client.Path("api", "api_keys"), Body: body})
		}),
	}
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "what it may do: admin, read or consume:`sink`; may be repeated (default admin)")
	cmd.Flags().DurationVar(&expires, "expires-in", 0, "how long it works, for example 720h; 0 for ever")
	cmd.Flags().BoolVar(&own, "secret-stdin", false, "take the secret from the standard input instead of a generated one")
	a.outputFlag(cmd)
	return cmd
}

// newToken shows a secret, for the only time.
func (a *app) newToken(cmd *cobra.Command, c *client.Client, r client.Request) error {
	res, err := c.Do(cmd.Context(), r)
	if err != nil {
		return err
	}
	return a.answer(res.Body, func() error {
		if err := a.showObject(res.Body); err != nil {
			return err
		}
		v, err := mapOf(res)
		if err == nil && short(v["token"]) != "" {
			a.note("the token is shown only now; keep it where only its user can read it")
		}
		return err
	})
}

// passwordFlag reads a new password: from the standard input, or twice from the terminal.
type passwordFlag struct{ stdin bool }

func (f *passwordFlag) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.stdin, "password-stdin", false, "read the password from the standard input instead of asking")
}

func (f *passwordFlag) read(ctx context.Context, a *app, twice bool) (string, error) {
	first, err := a.secret(ctx, "password:", f.stdin)
	if errors.Is(err, errNobody) {
		return "", usage("there is no terminal to ask for the password on; pass it with --password-stdin")
	}
	if err != nil || f.stdin || !twice {
		return first, err
	}
	second, err := a.secret(ctx, "again:", false)
	if err == nil && first != second {
		err = errors.New("the two passwords differ; nothing was done")
	}
	return first, err
}

func roleFlag(cmd *cobra.Command, role *string) {
	cmd.Flags().StringVar(role, "role", "", "`role`: "+strings.Join(roles, ", "))
	completeWith(cmd, "role", roles...)
}

func checkRole(role string) error {
	if role != "" && !slices.Contains(roles, role) {
		return usage("--role is %q; it is one of %s", role, strings.Join(roles, ", "))
	}
	return nil
}

func (a *app) usersCommand() *cobra.Command {
	path := client.Path("api", "users")
	list := &cobra.Command{
		Use: "list", Short: "List the account's users", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Do(cmd.Context(), client.Request{Path: path})
			if err != nil {
				return err
			}
			return a.list(res.Body, userColumns, "there are no users", "")
		}),
	}
	a.outputFlag(list)
	var yes bool
	del := &cobra.Command{
		Use: "delete EMAIL...", Short: "Remove users from the account", Aliases: []string{"rm"}, Args: cobra.MinimumNArgs(1),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return a.deleteEach(cmd, args, yes, "user", func(email string) error {
				id, err := identify(cmd.Context(), c, path, "email", email, "user")
				if err != nil {
					return err
				}
				_, err = c.Do(cmd.Context(), client.Request{Method: http.MethodDelete, Path: path + client.Path(id)})
				return err
			})
		}),
	}
	yesFlag(del, &yes)
	cmd := group("users", "Users of the account", "", list, a.userCreate(a.call, path), a.userUpdate(path), del)
	cmd.Aliases = []string{"user"}
	return cmd
}

func (a *app) userCreate(call caller, path string) *cobra.Command {
	var role string
	var password passwordFlag
	cmd := &cobra.Command{
		Use: "create EMAIL", Short: "Make a user; the password is asked for", Args: cobra.ExactArgs(1),
		RunE: call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if err := checkRole(role); err != nil {
				return err
			}
			text, err := password.read(cmd.Context(), a, true)
			if err != nil {
				return err
			}
			body := map[string]any{"email": args[0], "password": text}
			if role != "" {
				body["role"] = role
			}
			return a.change(cmd, c, client.Request{Method: http.MethodPost, Path: path, Body: body}, "user", "created")
		}),
	}
	roleFlag(cmd, &role)
	password.bind(cmd)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) userUpdate(path string) *cobra.Command {
	var role string
	var change bool
	var password passwordFlag
	cmd := &cobra.Command{
		Use: "update EMAIL", Short: "Change a user's role or password", Args: cobra.ExactArgs(1),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if err := checkRole(role); err != nil {
				return err
			}
			body := map[string]any{}
			if role != "" {
				body["role"] = role
			}
			if change || password.stdin {
				text, err := password.read(cmd.Context(), a, true)
				if err != nil {
					return err
				}
				body["password"] = text
			}
			if len(body) == 0 {
				return usage("say what changes: --role, --password or --password-stdin")
			}
			id, err := identify(cmd.Context(), c, path, "email", args[0], "user")
			if err != nil {
				return err
			}
			return a.change(cmd, c, client.Request{Method: http.MethodPatch, Path: path + client.Path(id), Body: body}, "user", "updated")
		}),
	}
	roleFlag(cmd, &role)
	cmd.Flags().BoolVar(&change, "password", false, "ask for a new password")
	password.bind(cmd)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accountCommand() *cobra.Command {
	path := client.Path("api", "account")
	show := &cobra.Command{
		Use: "show", Short: "Show the account that the token opens", Args: cobra.NoArgs,
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error { return a.showPath(cmd, c, path, nil) }),
	}
	rename := &cobra.Command{
		Use: "rename NAME", Short: "Rename the account", Args: cobra.ExactArgs(1),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			body := json.RawMessage(compactJSON(map[string]any{"name": args[0]}))
			return a.change(cmd, c, client.Request{Method: http.MethodPatch, Path: path, Body: body}, "account", "is its name now")
		}),
	}
	for _, cmd := range []*cobra.Command{show, rename} {
		a.outputFlag(cmd)
	}
	return group("account", "The account", "", show, rename)
}
