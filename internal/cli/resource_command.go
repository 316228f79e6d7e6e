package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

// kind is a kind of declared resource: the commands for all of them are the same.
type kind struct {
	use     string // "sinks"
	one     string // "sink"
	aliases []string
	short   string
	long    string
	route   []string // {"api", "sinks"}
	columns []column
	example string // an object for the help

	prepare   func(object map[string]any, file string) error // before it is sent; nil for nothing
	sensitive bool                                           // list and show can reveal secrets
}

func (k *kind) path(more ...string) string {
	return client.Path(append(append([]string{}, k.route...), more...)...)
}

// command is the kind's group with list, show, create, update and delete, and what else it has.
func (a *app) command(k *kind, more ...*cobra.Command) *cobra.Command {
	cmd := group(k.use, k.short, k.long, a.listCommand(k), a.showCommand(k), a.createCommand(k), a.updateCommand(k), a.deleteCommand(k))
	cmd.Aliases = k.aliases
	cmd.AddCommand(more...)
	return cmd
}

// query is what a list or show asks for.
func (k *kind) query(sensitive bool) url.Values {
	q := url.Values{}
	if sensitive {
		q.Set("show_sensitive", "true")
	}
	return q
}

func (a *app) listCommand(k *kind) *cobra.Command {
	var sensitive bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the " + k.use, Aliases: []string{"ls"}, Args: cobra.NoArgs,
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Do(cmd.Context(), client.Request{Path: k.path(), Query: k.query(sensitive)})
			if err != nil {
				return err
			}
			return a.list(res.Body, k.columns, "there are no "+k.use, "")
		}),
	}
	a.outputFlag(cmd)
	k.sensitiveFlag(cmd, &sensitive)
	return cmd
}

func (k *kind) sensitiveFlag(cmd *cobra.Command, sensitive *bool) {
	if k.sensitive {
		cmd.Flags().BoolVar(sensitive, "show-sensitive", false, "show passwords in clear")
	}
}

func (a *app) showCommand(k *kind) *cobra.Command {
	var sensitive bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show " + article(k.one) + ", by name or id", Aliases: []string{"get", "info"}, Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames(k),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return a.showPath(cmd, c, k.path(args[0]), k.query(sensitive))
		}),
	}
	a.outputFlag(cmd)
	k.sensitiveFlag(cmd, &sensitive)
	return cmd
}

func (a *app) showPath(cmd *cobra.Command, c *client.Client, path string, query url.Values) error {
	res, err := c.Do(cmd.Context(), client.Request{Path: path, Query: query})
	if err != nil {
		return err
	}
	return a.answer(res.Body, func() error { return a.showObject(res.Body) })
}

func (a *app) createCommand(k *kind) *cobra.Command {
	var body bodyFlags
	cmd := &cobra.Command{
		Use: "create [NAME]", Short: "Create " + article(k.one), Args: cobra.MaximumNArgs(1),
		Example: k.example,
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			object, err := k.object(cmd, a, &body, args)
			if err != nil {
				return err
			}
			return a.change(cmd, c, client.Request{Method: http.MethodPost, Path: k.path(), Body: object, Timeout: connectTimeout}, k.one, "created")
		}),
	}
	body.bind(cmd)
	a.outputFlag(cmd)
	return cmd
}

// object is what is sent; a name in the arguments goes before one in the file.
func (k *kind) object(cmd *cobra.Command, a *app, body *bodyFlags, args []string) (map[string]any, error) {
	if body.empty() {
		return nil, usage("nothing says what the %s is; give -f FILE, or --set key=value", k.one)
	}
	object, err := body.read(cmd.Context(), a)
	if err != nil {
		return nil, err
	}
	if len(args) > 0 && cmd.Name() == "create" {
		object["name"] = args[0]
	}
	if k.prepare != nil {
		err = k.prepare(object, body.file)
	}
	return object, err
}

func (a *app) updateCommand(k *kind) *cobra.Command {
	var body bodyFlags
	cmd := &cobra.Command{
		Use: "update [NAME]", Short: "Change " + article(k.one) + ", by name or id", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeNames(k),
		Long: "Change " + article(k.one) + ". What is not given keeps its value. Without NAME, the file's name or id says which.",
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			object, err := k.object(cmd, a, &body, args)
			if err != nil {
				return err
			}
			which := ""
			if len(args) > 0 {
				which = args[0]
			} else if which = short(at(object, "id|name")); which == "" {
				return usage("name the %s to change", k.one)
			}
			return a.change(cmd, c, client.Request{Method: http.MethodPatch, Path: k.path(which), Body: object, Timeout: connectTimeout}, k.one, "updated")
		}),
	}
	body.bind(cmd)
	a.outputFlag(cmd)
	return cmd
}

// change sends a change and says what became of it.
func (a *app) change(cmd *cobra.Command, c *client.Client, r client.Request, what, done string) error {
	res, err := c.Do(cmd.Context(), r)
	if err != nil {
		return err
	}
	var object any
	if err := res.Decode(&object); err != nil {
		return err
	}
	a.warnings(object)
	return a.answer(res.Body, func() error {
		return a.write(clean(fmt.Sprintf("%s %s %s", what, strconv.Quote(short(at(object, "name|email|id"))), done), false) + "\n")
	})
}

// warnings shows what to know about a change that was made.
func (a *app) warnings(answer any) {
	all, _ := at(answer, "warnings").([]any)
	for _, w := range all {
		a.note("warning: %s", warningText(w))
	}
}

func (a *app) deleteCommand(k *kind) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME...", Short: "Delete " + k.use + ", by name or id", Aliases: []string{"rm"}, Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeNames(k),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return a.deleteEach(cmd, args, yes, k.one, func(name string) error {
				_, err := c.Do(cmd.Context(), client.Request{Method: http.MethodDelete, Path: k.path(name)})
				return err
			})
		}),
	}
	yesFlag(cmd, &yes)
	return cmd
}

func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask; needed where there is no terminal")
}

// deleteEach asks once, and goes on after an error: what is asked for is tried.
func (a *app) deleteEach(cmd *cobra.Command, names []string, yes bool, one string, remove func(string) error) error {
	question := fmt.Sprintf("delete %s %s?", one, quoted(names))
	if err := a.certain(cmd.Context(), yes, question); err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		if err := remove(name); err != nil {
			if len(names) > 1 {
				err = fmt.Errorf("%s %q: %w", one, name, err)
			}
			failed = append(failed, err)
			continue
		}
		if err := a.write(fmt.Sprintf("%s %q deleted\n", one, name)); err != nil {
			return err
		}
	}
	if len(failed) == 1 {
		return failed[0]
	}
	return errors.Join(failed...)
}

func quoted(names []string) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = strconv.Quote(n)
	}
	return strings.Join(texts, ", ")
}

func article(noun string) string {
	if strings.HasPrefix(noun, "HTTP") {
		return "an " + noun
	}
	return "a " + noun
}

// limitFlags page through a list.
type limitFlags struct {
	limit int
	from  string
	flag  string // "after" or "before"
}

func (f *limitFlags) bind(cmd *cobra.Command, flag, what string) {
	f.flag = flag
	cmd.Flags().IntVarP(&f.limit, "limit", "n", 0, "how many at most")
	cmd.Flags().StringVar(&f.from, flag, "", "only what comes "+flag+" this `"+what+"`")
}

func (f *limitFlags) query() url.Values {
	q := url.Values{}
	if f.limit > 0 {
		q.Set("limit", strconv.Itoa(f.limit))
	}
	if f.from != "" {
		q.Set(f.flag, f.from)
	}
	return q
}

// mapOf is an answer as an object.
func mapOf(res *client.Response) (map[string]any, error) {
	var v map[string]any
	err := res.Decode(&v)
	return v, err
}

// rawList splits a list without reading what is in it.
func rawList(body []byte) ([]json.RawMessage, error) {
	var d struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &d); err != nil || d.Data == nil {
		return nil, noAnswer("list")
	}
	return d.Data, nil
}
