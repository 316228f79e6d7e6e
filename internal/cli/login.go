package cli

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

func (a *app) loginCommand() *cobra.Command {
	var email string
	var force bool
	var password passwordFlag
	cmd := &cobra.Command{
		Use: "login", Short: "Sign in with e-mail and password; the session is kept in the context", Args: cobra.NoArgs,
		Long: "Sign in. The session's token is kept in the context that is used, or in a new one for the server that --url or SEQUIN_URL names.\n" +
			"With --url, --context is the name of the context to keep it in.",
		Example: "  sequin login --email ops@example.com\n  sequin login --email ops@example.com --url https://sequin.example.com --context prod",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if email == "" {
				return usage("give your e-mail address with --email")
			}
			return a.login(cmd, email, &password, force)
		},
	}
	cmd.Flags().StringVar(&email, "email", "", "your e-mail `address`")
	cmd.Flags().BoolVar(&force, "force", false, "replace an API token that the context holds")
	password.bind(cmd)
	return cmd
}

func (a *app) login(cmd *cobra.Command, email string, password *passwordFlag, force bool) error {
	store, err := a.contexts()
	if err != nil {
		return err
	}
	saved, err := a.loginContext(store)
	if err != nil {
		return err
	}
	if saved.APIToken != "" && saved.Session == nil && !force {
		return usage("context %q holds an API token, which signing in would replace; name another with --context and --url, or say so with --force", saved.Name)
	}
	c, err := client.New(client.Options{URL: saved.url(), UserAgent: "sequin/" + version()})
	if err != nil {
		return err
	}
	defer c.Close()
	secret, err := password.read(cmd.Context(), a, false)
	if err != nil {
		return err
	}
	body := map[string]any{"email": email, "password": secret}
	if a.account != "" {
		body["account"] = a.account
	}
	res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("api", "sessions"), Body: body})
	if err != nil {
		return explain(err, target{url: saved.url(), context: saved.Name, token: "given"})
	}
	v, err := mapOf(res)
	if err != nil {
		return err
	}
	if saved.APIToken = short(v["token"]); saved.APIToken == "" {
		return noAnswer("token")
	}
	saved.Session = &savedSession{Email: email, Account: short(at(v, "account.name|account")), Role: short(v["role"]), ExpiresAt: short(v["expires_at"])}
	return a.keepSession(store, saved)
}

func (a *app) keepSession(store contextStore, saved savedContext) error {
	if err := store.save(saved); err != nil {
		return err
	}
	selected, err := store.defaultName()
	if err == nil && selected == "" {
		err = store.selectDefault(saved.Name)
	}
	if err != nil {
		return err
	}
	until := ""
	if saved.Session.ExpiresAt != "" {
		until = " until " + saved.Session.ExpiresAt
	}
	a.note("signed in to %s as %s%s; the session is kept in context %q", saved.url(), saved.Session.Email, until, saved.Name)
	return nil
}

// loginContext is the context that will keep the session.
func (a *app) loginContext(store contextStore) (savedContext, error) {
	address := a.url
	if address == "" {
		address = strings.TrimSpace(a.getenv("SEQUIN_URL"))
	}
	if address == "" {
		name := a.contextName
		if name == "" {
			var err error
			if name, err = store.defaultName(); err != nil {
				return savedContext{}, err
			}
		}
		if name != "" {
			return store.load(name)
		}
		address = client.DefaultURL
	}
	return a.contextFor(store, address)
}

// contextFor is a context for an address: the one that is named, if it is there, with that address.
func (a *app) contextFor(store contextStore, address string) (savedContext, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return savedContext{}, usage("a session needs a server's address of the form http://host:7376 or https://host")
	}
	c := savedContext{Name: a.contextName, Hostname: u.Host + strings.TrimRight(u.Path, "/"), TLS: u.Scheme == "https"}
	if c.Name == "" {
		c.Name = strings.ReplaceAll(u.Host, ":", "-")
	}
	old, err := store.load(c.Name)
	if exit, ok := errors.AsType[*exitError](err); ok && exit.code == ExitNotFound {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if old.url() != c.url() && a.contextName == "" {
		return c, usage("context %q is another server's; name one with --context", c.Name)
	}
	if old.url() != c.url() {
		old.APIToken, old.Session = "", nil // it was for another address
	}
	old.Hostname, old.TLS = c.Hostname, c.TLS
	return old, nil
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "End the session that the context keeps", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := a.contexts()
			if err != nil {
				return err
			}
			name := a.contextName
			if name == "" {
				if name, err = store.defaultName(); err != nil {
					return err
				}
			}
			if name == "" {
				return usage("no context is selected, so there is no session; name the context with --context")
			}
			saved, err := store.load(name)
			if err != nil {
				return err
			}
			if saved.Session == nil {
				return usage("context %q keeps no session", name)
			}
			return a.logout(cmd, store, saved)
		},
	}
}

// logout ends the session at the server and forgets it here. It is forgotten here in any case.
func (a *app) logout(cmd *cobra.Command, store contextStore, saved savedContext) error {
	c, err := client.New(client.Options{URL: saved.url(), Token: saved.APIToken, UserAgent: "sequin/" + version()})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Do(cmd.Context(), client.Request{Method: http.MethodDelete, Path: client.Path("api", "sessions", "current")})
	if answer, ok := errors.AsType[*client.Error](err); ok && answer.Status == http.StatusUnauthorized {
		err = nil // it has ended already
	}
	saved.APIToken, saved.Session = "", nil
	if saveErr := store.save(saved); saveErr != nil {
		return errors.Join(err, saveErr)
	}
	if err != nil {
		a.note("the session is forgotten here; the server still knows it until it expires")
		return err
	}
	a.note("signed out of %s", saved.url())
	return nil
}
